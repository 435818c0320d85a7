"""Begin a sign-in at an organisation's provider, and find or create the account that it leads to."""

import hmac
import secrets
from collections.abc import Mapping

from fastapi import Request
from starlette.responses import Response

from deeplens.access.api_keys import digest
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.errors import PipelineError
from deeplens.identity.federation.model import (
    REQUEST_LIFE,
    FederationRefused,
    IdentityProvider,
    PendingSignIn,
    Profile,
    ProviderFault,
    domain_of,
    profile_of,
)
from deeplens.identity.federation.ports import IdentityProviders
from deeplens.identity.federation.provider import ProviderClient
from deeplens.identity.forms import Browser
from deeplens.identity.languages import Message
from deeplens.identity.model import Account, AccountChange, User
from deeplens.identity.ports import Users
from deeplens.identity.sign_in import CompleteSignIn, is_goal
from deeplens.telemetry.security import security_event

COOKIE = "federation"
UNAVAILABLE = Message(
    "Your organisation's sign-in does not answer as it should. Try again, or tell your administrator."
)
REFUSED = Message("Your organisation's sign-in was not accepted. Begin again, or tell your administrator.")


class Federation:
    """Signs people in whom their organisation's provider vouches for."""

    def __init__(
        self,
        browser: Browser,
        providers: IdentityProviders,
        client: ProviderClient,
        users: Users,
        complete: CompleteSignIn,
        clock: Clock,
    ) -> None:
        self._browser, self._providers, self._client, self._users = browser, providers, client, users
        self._complete, self._clock = complete, clock

    def begin(self, request: Request, provider: IdentityProvider, goal: str, email: str = "") -> Response:
        """Send the browser to the provider.

        A page and no redirection: the policy of the page before forbids its forms to lead to other sites.
        """
        state, secret = secrets.token_urlsafe(24), secrets.token_urlsafe(32)
        try:
            address = self._client.authorization_url(provider, state, secret, email)
        except ProviderFault as fault:
            return self._refuse(request, provider.tenant_id, str(fault), UNAVAILABLE)
        pending = PendingSignIn(provider.tenant_id, digest(secret), goal if is_goal(goal) else "")
        self._providers.begin(state, pending, self._clock.now())
        response = self._browser.page(request, "to_provider", address="/account/sign-in", target=address)
        response.headers["Refresh"] = f"0; url={address}"
        self._browser.cookies.write(response, COOKIE, secret, int(REQUEST_LIFE.total_seconds()))
        return response

    def finish(self, request: Request, answer: Mapping[str, str]) -> Response:
        """Sign the browser in with the provider's answer. Its state works once, and in this browser only."""
        secret = self._browser.cookies.read(request, COOKIE) or ""
        pending = self._providers.take(answer.get("state", ""), self._clock.now())
        if pending is None or not hmac.compare_digest(pending.browser_sha256, digest(secret)):
            return self._refuse(request, pending.tenant_id if pending else None, "wrong_state")
        try:
            user, profile = self._authenticated(pending, answer, secret)
        except FederationRefused as refused:
            return self._refuse(request, pending.tenant_id, refused.reason)
        except (ProviderFault, PipelineError) as fault:
            return self._refuse(request, pending.tenant_id, str(fault), UNAVAILABLE)
        security_event("signed_in", user_id=user.id, tenant_id=user.tenant_id, federated=True)
        response = self._complete.complete(request, user, profile.methods, pending.goal)
        self._browser.cookies.remove(response, COOKIE)
        return response

    def _authenticated(
        self, pending: PendingSignIn, answer: Mapping[str, str], secret: str
    ) -> tuple[Account | User, Profile]:
        provider = self._providers.of_tenant(pending.tenant_id)
        if provider is None:
            raise FederationRefused("no_provider")
        profile = profile_of(self._client.claims(provider, answer, secret), provider)
        return self._account(provider, profile), profile

    def _account(self, provider: IdentityProvider, profile: Profile) -> Account:
        """The linked account; else the tenant's account with this address, or a new one."""
        # At every sign-in: the domain, the provider or the tenant may have ended since.
        usable = self._providers.of_domain(domain_of(profile.email))
        if usable is None or usable.tenant_id != provider.tenant_id:
            raise FederationRefused("domain_not_verified")
        key = provider.tenant_id, provider.issuer, profile.subject
        account = self._providers.account(*key)
        if account is None:
            account = self._providers.account_at(profile.email) or self._create(provider, profile)
            if account.tenant_id == provider.tenant_id:
                self._providers.link(*key, account.id)
        if account.tenant_id != provider.tenant_id:
            raise FederationRefused("other_owner")
        if account.status != "active":
            raise FederationRefused("disabled")
        return self._with_roles(provider, profile, account)

    def _create(self, provider: IdentityProvider, profile: Profile) -> Account:
        now = self._clock.now()
        user = User(new_id("usr", now), provider.tenant_id, profile.email, profile.name, profile.roles)
        # Nobody knows the password: the account signs in at the provider only.
        account = self._users.create(user, secrets.token_urlsafe(32)) or self._providers.account_at(profile.email)
        if account is None:
            raise FederationRefused("not_created")
        return account

    def _with_roles(self, provider: IdentityProvider, profile: Profile, account: Account) -> Account:
        """The account with the roles that the provider gives today, if it gives any."""
        if provider.roles_claim is None or set(account.roles) == set(profile.roles):
            return account
        change = AccountChange(None, profile.roles, None, None)
        return self._users.change(provider.tenant_id, account.id, change, self._clock.now()) or account

    def _refuse(self, request: Request, tenant_id: str | None, reason: str, shown: Message = REFUSED) -> Response:
        security_event("federation_refused", tenant_id=tenant_id, reason=reason[:300])
        response = self._browser.refusal(request, shown)
        self._browser.cookies.remove(response, COOKIE)
        return response
