"""Change a user on behalf of an administrator."""

from collections.abc import Callable

from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.identity.model import Account, AccountChange
from deeplens.identity.ports import Users
from deeplens.identity.recovery.model import DEFAULT_LANGUAGE
from deeplens.identity.recovery.notify import NotifyCredentialChange
from deeplens.identity.recovery.ports import Invitations


class ChangeUser:
    """Change a user, and tell them of a new password."""

    def __init__(self, users: Users, invitations: Invitations, notify: NotifyCredentialChange, clock: Clock) -> None:
        self._users, self._invitations, self._notify, self._clock = users, invitations, notify, clock

    def __call__(
        self, owner: str | None, user_id: str, change: AccountChange, check: Callable[[Account], None]
    ) -> Account | None:
        """The changed user; None if there is no such user. Raises what ``check`` raises, and ``ApiError`` 409 for a
        person who is only invited."""
        account = self._users.change(owner, user_id, change, self._clock.now(), check)
        if account is None and self._invitations.find(owner, user_id):
            detail = "The user is invited. To change the invitation, delete the user and invite again."
            raise ApiError(409, "user-invited", "User is invited", detail)
        if account is not None and change.password is not None:
            self._notify(account, "password-set-by-administrator", DEFAULT_LANGUAGE)
        return account
