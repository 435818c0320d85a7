"""What a tenant requires of a sign-in, and the second factors of users: seen, and reset."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends

from deeplens.access.caller import Administrator
from deeplens.common.ports import Clock
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.identity.owners import Owner, manageable_user, of_platform, of_tenant, require
from deeplens.identity.ports import Users
from deeplens.identity.recovery.model import DEFAULT_LANGUAGE
from deeplens.identity.recovery.notify import NotifyCredentialChange
from deeplens.identity.second_factors.ports import SecondFactors, SignInPolicies
from deeplens.identity.second_factors.schemas import SecondFactorsView, SignInPolicy
from deeplens.telemetry.security import security_event

policy_router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/sign-in-policy", tags=["users"])


@policy_router.get("", summary="What sign-ins need", responses=responses(404))
def read_policy(tenant: Administrator, policies: Injected[SignInPolicies]) -> SignInPolicy:
    return SignInPolicy(require_second_factor=policies.requires_second_factor(tenant.id))


@policy_router.put("", summary="Set what sign-ins need", responses=responses(404))
def set_policy(tenant: Administrator, policies: Injected[SignInPolicies], policy: SignInPolicy) -> SignInPolicy:
    """With a required second factor, sessions and refresh tokens of users without one end at their next use."""
    policies.require_second_factor(tenant.id, policy.require_second_factor)
    return policy


def factors_router(prefix: str, owner_of: Callable[..., Owner]) -> APIRouter:
    """Routes about the second factors of one owner's users."""
    router = APIRouter(prefix=f"{prefix}/users/{{user_id}}/second-factors", tags=["users"])
    InPath = Annotated[Owner, Depends(owner_of)]

    @router.get("", summary="A user's second factors", responses=responses(404))
    def read_factors(
        owner: InPath, users: Injected[Users], factors: Injected[SecondFactors], user_id: str
    ) -> SecondFactorsView:
        user = users.find(user_id)
        own = user if user and user.tenant_id == owner.id else None
        return view(SecondFactorsView, factors.of(require(own, "user", user_id).id))

    @router.delete("", status_code=204, summary="Reset a user's second factors", responses=responses(404))
    def reset_factors(
        owner: InPath,
        users: Injected[Users],
        factors: Injected[SecondFactors],
        notify: Injected[NotifyCredentialChange],
        clock: Injected[Clock],
        user_id: str,
    ) -> None:
        """For somebody who lost them: removes all, and ends the user's sessions and refresh tokens. Needs every scope
        that the user has."""
        account = manageable_user(owner, users, user_id, clock.now())
        if factors.reset(account.id, clock.now()):
            security_event("second_factor_removed", user_id=account.id, by=owner.principal.subject)
            notify(account, "second-factor-removed", DEFAULT_LANGUAGE)

    return router


routers = [
    policy_router,
    factors_router("/v1/admin/tenants/{tenant_id}", of_tenant),
    factors_router("/v1/admin", of_platform),
]
