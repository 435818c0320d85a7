"""The sign-in that a browser has begun and not completed."""

import secrets
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from deeplens.common.ports import Clock
from deeplens.identity.forms import Browser
from deeplens.identity.model import User
from deeplens.identity.ports import Users
from deeplens.identity.second_factors.model import PENDING_LIFE, Factors, PendingSignIn
from deeplens.identity.second_factors.ports import PendingSignIns, SecondFactors
from deeplens.identity.sign_in import PENDING_COOKIE

WEBAUTHN_CHALLENGE_BYTES, ENROLMENT_BYTES = 32, 16
"""Their lengths tell the two kinds of challenges apart."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in with its user, who is active, and the secret of its cookie."""

    secret: str
    sign_in: PendingSignIn
    user: User
    factors: Factors


class PendingOfBrowser:
    """Finds a browser's sign-in, and keeps its challenges."""

    def __init__(
        self, browser: Browser, pending: PendingSignIns, users: Users, factors: SecondFactors, clock: Clock
    ) -> None:
        self._browser, self._pending, self._users = browser, pending, users
        self._factors, self._clock = factors, clock

    def find(self, request: Request) -> Pending | None:
        secret = self._browser.cookies.read(request, PENDING_COOKIE) or ""
        sign_in = self._pending.find(secret, self._clock.now())
        user = self._users.find(sign_in.user_id) if sign_in and sign_in.user_id else None
        return Pending(secret, sign_in, user, self._factors.of(user.id)) if sign_in and user else None

    def begin_passkey(self, response: Response, goal: str, challenge: bytes) -> None:
        """Begin a sign-in whose user the passkey will tell."""
        secret = self._pending.begin(PendingSignIn(None, (), goal), self._clock.now())
        self._pending.set_challenge(secret, challenge)
        self._browser.cookies.write(response, PENDING_COOKIE, secret, int(PENDING_LIFE.total_seconds()))

    def end_passkey(self, request: Request) -> tuple[PendingSignIn, bytes] | None:
        """The sign-in that ``begin_passkey`` began, and its challenge: once."""
        secret = self._browser.cookies.read(request, PENDING_COOKIE) or ""
        sign_in = self._pending.find(secret, self._clock.now())
        challenge = self.take_challenge(secret)
        anonymous = sign_in is not None and sign_in.user_id is None and self._pending.end(secret)
        return (sign_in, challenge) if sign_in and anonymous and challenge else None

    def new_challenge(self, secret: str) -> bytes:
        challenge = secrets.token_bytes(WEBAUTHN_CHALLENGE_BYTES)
        self._pending.set_challenge(secret, challenge)
        return challenge

    def take_challenge(self, secret: str) -> bytes | None:
        """The challenge for a passkey, once."""
        challenge = self._pending.take_challenge(secret, self._clock.now())
        return challenge if challenge and len(challenge) == WEBAUTHN_CHALLENGE_BYTES else None

    def enrolment(self, secret: str) -> bytes:
        """What the secret of a new authenticator app derives from; it stays the same when the page is shown again."""
        found = self._pending.challenge(secret, self._clock.now())
        if found is not None and len(found) == ENROLMENT_BYTES:
            return found
        enrolment = secrets.token_bytes(ENROLMENT_BYTES)
        self._pending.set_challenge(secret, enrolment)
        return enrolment

    def end(self, pending: Pending) -> bool:
        return self._pending.end(pending.secret)
