"""Dangerous routes: a person who calls one gave the second factor minutes ago (RFC 9470).

Programs with an API key or a client's own token have no second factor, and pass: their secrets are made for machines.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic_core import from_json

from deeplens.access.caller import Authenticated
from deeplens.access.model import Principal
from deeplens.access.ports import SecondFactorRequirements
from deeplens.access.scopes import ADMIN, ROLES
from deeplens.common.ports import Clock
from deeplens.common.resolve import Lazy
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.telemetry.security import security_event

STRONG_ACR = "aal2"
MAX_AGE = timedelta(minutes=10)
CHALLENGE = {
    "WWW-Authenticate": (
        'Bearer realm="deeplens", error="insufficient_user_authentication", '
        f'error_description="Sign in again with a second factor", acr_values="{STRONG_ACR}", '
        f'max_age="{int(MAX_AGE.total_seconds())}"'
    )
}
type Body = Any
"""The request's JSON; None if it is none, and then every condition holds."""


def always(_: Body) -> bool:
    return True


def gives_admin_scope(body: Body) -> bool:
    return _has(body, "scopes", {ADMIN})


def gives_admin_role(body: Body) -> bool:
    return _has(body, "roles", {role for role, scopes in ROLES.items() if ADMIN in scopes})


def not_only_disables(body: Body) -> bool:
    return bool(body != {"status": "disabled"})


def _has(body: Body, name: str, values: set[str]) -> bool:
    """Whether a list in the body has one of the values; also if the body is not what the route takes."""
    listed = body.get(name, []) if isinstance(body, dict) else None
    return not isinstance(listed, list) or any(value in values for value in listed if isinstance(value, str))


TENANT, PLATFORM = "/v1/admin/tenants/{tenant_id}", "/v1/admin"
DANGEROUS: Mapping[tuple[str, str], Callable[[Body], bool]] = {
    ("DELETE", TENANT): always,
    ("POST", f"{TENANT}/keys"): gives_admin_scope,
    ("POST", f"{TENANT}/keys/{{prefix}}/rotate"): always,
    ("DELETE", f"{TENANT}/keys/{{prefix}}"): always,
    **{
        (method, f"{owner}/{path}"): condition
        for owner in (TENANT, PLATFORM)
        for method, path, condition in (
            ("POST", "users", gives_admin_role),
            ("PATCH", "users/{user_id}", not_only_disables),
            ("DELETE", "users/{user_id}", always),
            ("POST", "users/{user_id}/invitation", always),
            ("POST", "users/{user_id}/email", always),
            ("DELETE", "users/{user_id}/second-factors", always),
            ("DELETE", "users/{user_id}/sessions", always),
            ("DELETE", "users/{user_id}/sessions/{session_id}", always),
            ("DELETE", "users/{user_id}/applications/{client_id}", always),
            ("POST", "clients", gives_admin_scope),
            ("DELETE", "clients/{client_id}", always),
            ("POST", "clients/{client_id}/rotate", always),
            ("PUT", "clients/{client_id}/keys", always),
        )
    },
    ("PUT", f"{TENANT}/sign-in-policy"): always,
    ("PUT", f"{TENANT}/identity-provider"): always,
    ("DELETE", f"{TENANT}/identity-provider"): always,
    ("POST", f"{TENANT}/identity-provider/domains/{{domain}}/verify"): always,
    ("DELETE", f"{PLATFORM}/signing-keys/{{kid}}"): always,
}
"""Routes that destroy a tenant, end others' sessions and credentials, give or strengthen credentials of administrators,
or weaken sign-ins; and of which requests each is dangerous. To disable a user is not: it can be undone, and comes first
when an account is stolen.
"""


class StepUp:
    """Refuses people who have, or must have, a second factor and did not give it recently."""

    def __init__(self, requirements: Lazy[SecondFactorRequirements], clock: Clock) -> None:
        self._requirements, self._clock = requirements, clock

    def check(self, principal: Principal) -> None:
        """Raise ``ApiError`` 401 with the challenge of RFC 9470."""
        signed_in = principal.signed_in
        # Without the scope the route answers 403: a stronger sign-in would not help.
        if signed_in is None or ADMIN not in principal.scopes:
            return
        if signed_in.acr == STRONG_ACR and self._clock.now() - signed_in.at <= MAX_AGE:
            return
        if not self._requirements().expects_second_factor(principal.subject):
            return
        security_event("credentials_rejected", code="step-up-required")
        detail = (
            f"This needs a token of a sign-in with a second factor, at most {int(MAX_AGE.total_seconds()) // 60} "
            f"minutes ago. Ask for one with acr_values={STRONG_ACR} and max_age={int(MAX_AGE.total_seconds())}."
        )
        raise ApiError(401, "step-up-required", "Sign in again with a second factor", detail, CHALLENGE)


async def step_up(request: Request, principal: Authenticated, check: Injected[StepUp]) -> None:
    """Check the sign-in of whoever calls a route of ``DANGEROUS``."""
    route = getattr(request.scope.get("route"), "path", "")
    condition = DANGEROUS.get((request.method, route))
    if condition is not None and condition(_parsed(await request.body())):
        await run_in_threadpool(check.check, principal)


def _parsed(raw: bytes) -> Body:
    try:
        return from_json(raw)
    except ValueError:
        return None
