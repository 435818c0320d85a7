"""How many wrong passwords are heard: per address and network, per address, per network, and per known device.

The counters do not depend on whether an account exists, and they forget: no guess keeps an address locked for longer
than ``ATTEMPT_WINDOW``.
"""

import secrets
from ipaddress import IPv6Address, IPv6Network, ip_address

from deeplens.access.api_keys import digest
from deeplens.common.ports import Clock
from deeplens.identity.model import AttemptCounter, User
from deeplens.identity.ports import SignInAttempts, Users
from deeplens.identity.signing_keys import DerivationKey
from deeplens.telemetry.security import security_event

MAX_ATTEMPTS = 5
"""For one address from one network, or from a device that signed in to it before."""
MAX_ATTEMPTS_PER_ADDRESS = 20
"""For one address from all networks together, known devices excluded: 80 an hour."""
MAX_ATTEMPTS_PER_NETWORK = 100
"""For all addresses from one network: many people may share it."""


class SignInThrottled(Exception):
    """Too many wrong passwords: this one was not looked at."""


def network_of(host: str) -> str:
    """The /32 of an IPv4 address, the /64 of an IPv6 address: what one customer of a provider has."""
    try:
        address = ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or IPv6Network((int(address), 64), strict=False))
    return str(address)


def counters_of(email: str, host: str, device: str | None) -> list[AttemptCounter]:
    """The counters of an attempt, its own first. A known device has its own alone: others' guesses lock it never.

    ``email`` is the address, or whatever else the guessed secret belongs to.
    """
    if device:
        return [AttemptCounter(digest(f"device\0{device}\0{email}"), MAX_ATTEMPTS)]
    network = network_of(host)
    return [
        AttemptCounter(digest(f"address and network\0{email}\0{network}"), MAX_ATTEMPTS),
        AttemptCounter(digest(f"address\0{email}"), MAX_ATTEMPTS_PER_ADDRESS),
        AttemptCounter(digest(f"network\0{network}"), MAX_ATTEMPTS_PER_NETWORK),
    ]


class SignIn:
    """Check a password, unless too many wrong ones came before."""

    def __init__(self, users: Users, attempts: SignInAttempts, derivation_key: DerivationKey, clock: Clock) -> None:
        self._users, self._attempts, self._key, self._clock = users, attempts, derivation_key, clock

    def __call__(self, email: str, password: str, host: str, mark: str) -> User | None:
        """The user with this password, or None.

        Parameters
        ----------
        host : the network address that the request came from.
        mark : the cookie of ``mark_device``; an invalid one is ignored.

        Raises
        ------
        SignInThrottled
            Whether or not there is such an account, and whatever the password.
        """
        email = email.strip().lower()
        device = self.device_of(mark, email)
        counters = counters_of(email, host, device)
        # Counted before the password is looked at: guesses at the same time get no more tries than one by one.
        attempt = {"email_sha256": digest(email).hex(), "known_device": device is not None}
        if not self._attempts.count(counters, self._clock.now()):
            security_event("locked_out", **attempt)
            raise SignInThrottled
        user = self._users.sign_in(email, password)
        if user is None:
            security_event("sign_in_failed", **attempt)
            return None
        self._attempts.forgive(counters)
        security_event("signed_in", **attempt, user_id=user.id, tenant_id=user.tenant_id)
        return user

    def device_of(self, mark: str, email: str) -> str | None:
        """The device of a cookie of ``mark_device``, if it signed in to this address before."""
        device = mark.partition(".")[0]
        known = bool(device) and secrets.compare_digest(self._mark(device, email.lower()).encode(), mark.encode())
        return device if known else None

    def mark_device(self, user: User) -> str:
        """A cookie for the device that has just signed in: it is good for this user's address alone."""
        return self._mark(secrets.token_urlsafe(16), user.email.lower())

    def _mark(self, device: str, email: str) -> str:
        return f"{device}.{self._key.derive('device', f'{device}\0{email}')}"
