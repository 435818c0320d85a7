"""Change the address of one owner's user."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends

from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.identity.model import ATTEMPT_WINDOW
from deeplens.identity.owners import OWNERS, Owner, manageable_user
from deeplens.identity.ports import Users
from deeplens.identity.recovery.email import MAX_CHANGES, ManagedDomain, RequestEmailChange
from deeplens.identity.recovery.model import Throttled
from deeplens.identity.schemas import EmailChangeRequest, UserView


def email_router(prefix: str, owner_of: Callable[..., Owner]) -> APIRouter:
    router = APIRouter(prefix=f"{prefix}/users/{{user_id}}/email", tags=["users"])
    InPath = Annotated[Owner, Depends(owner_of)]

    @router.post("", status_code=202, summary="Change a user's address", responses=responses(404, 409, 429))
    def change_email(
        owner: InPath,
        users: Injected[Users],
        change: Injected[RequestEmailChange],
        clock: Injected[Clock],
        user_id: str,
        body: EmailChangeRequest,
    ) -> UserView:
        """Mails a link to the new address, which changes it once it is confirmed; the answer has the present one. The
        answer is the same whether or not the address has an account. Needs every scope that the user has."""
        account = manageable_user(owner, users, user_id, clock.now())
        if account.status != "active":
            detail = "The user is disabled, and cannot confirm an address. Enable the user first."
            raise ApiError(409, "user-disabled", "User is disabled", detail)
        try:
            change.of_user(account, body.email, body.language)
        except ManagedDomain:
            detail = "Another organisation manages the addresses of this domain with its identity provider."
            raise ApiError(409, "domain-taken", "Domain taken", detail) from None
        except Throttled:
            raise _too_many() from None
        return view(UserView, account, user_id=account.id)

    return router


def _too_many() -> ApiError:
    minutes = int(ATTEMPT_WINDOW.total_seconds()) // 60
    detail = f"Within {minutes} minutes {MAX_CHANGES} mails are sent for one account, and to one address. Wait."
    return ApiError(429, "too-many-mails", "Too many mails", detail, {"Retry-After": f"{minutes * 60}"})


routers = [email_router(prefix, owner_of) for prefix, owner_of, _ in OWNERS]
