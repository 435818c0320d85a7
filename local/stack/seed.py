"""Create the local stack's client, user and Swagger UI client, whose secrets are in the documentation; the prober."""

from deeplens.access.api_keys import digest
from deeplens.access.scopes import SCOPES
from deeplens.bootstrap.container import Container
from deeplens.identity.development import CLIENT, EMAIL, OIDC_DEBUGGER, PASSWORD, SECRET, SWAGGER
from deeplens.identity.model import Client, User

USER_ID = "usr_development"
PROBE_TENANT = "tenant_probe"


def seed(container: Container, *origins: str) -> None:
    """Create the clients and the user; safe to repeat.

    Parameters
    ----------
    origins : addresses that serve Swagger UI, e.g. ``http://localhost:5198``.
    """
    machine = Client(
        id=CLIENT,
        tenant_id=None,
        name="Development client",
        secret_sha256=digest(SECRET),
        redirect_uris=(OIDC_DEBUGGER,),
        post_logout_redirect_uris=(),
        grants=("authorization_code", "client_credentials", "refresh_token"),
        scopes=SCOPES,
    )
    swagger = Client(
        id=SWAGGER,
        tenant_id=None,
        name="Swagger UI",
        secret_sha256=None,
        redirect_uris=tuple(f"{origin}/swagger/oauth2-redirect" for origin in origins),
        post_logout_redirect_uris=(),
        grants=("authorization_code", "refresh_token"),
        scopes=SCOPES,
    )
    for client in (machine, swagger):
        container.clients.save(client)
    container.users.create(User(USER_ID, None, EMAIL, "Development administrator", ("platform_admin",)), PASSWORD)


def seed_prober(container: Container, storage: str) -> str:
    """Create the tenant of the synthetic prober; returns an API key of it. Safe to repeat, with a new key."""
    tenant = container.provisioning.provision(PROBE_TENANT, "Synthetic prober", storage)
    return container.api_keys.create(tenant.id, "synthetic prober")
