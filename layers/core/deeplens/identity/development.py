"""The documented credentials of the local stack; a deployment refuses to serve while its database has them."""

from deeplens.common.resolve import Lazy
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.identity.model import Environment
from deeplens.identity.ports import Clients, Users
from deeplens.telemetry.logs import logger

CLIENT, SECRET = "deeplens-m2m", "m2m-secret"
SWAGGER = "deeplens-swagger"
OIDC_DEBUGGER = "https://oidcdebugger.com/debug"
"""The redirect URI of a public page that shows what an authorization request leads to."""
EMAIL, PASSWORD = "admin@deeplens.local", "deeplens-admin"


class DevelopmentCredentials:
    """Looks for the documented credentials in the database of a deployment, until there are none."""

    def __init__(self, environment: Environment, clients: Lazy[Clients], users: Lazy[Users]) -> None:
        self._clients, self._users = clients, users
        self._checked = environment == "local"

    def check(self) -> None:
        """Raise ``ApiError`` 503 while the database has them."""
        if self._checked:
            return
        client = self._clients().find(CLIENT)
        found = [f"client {CLIENT}"] if client is not None and client.check_client_secret(SECRET) else []
        found += [f"user {EMAIL}"] if self._users().exist([EMAIL]) else []
        if found:
            logger().critical("development credentials in a deployment; delete them", found=found)
            raise ApiError(503, "development-credentials", "Not served", "The operator finds the reason in the logs.")
        self._checked = True


def refuse_development_credentials(credentials: Injected[DevelopmentCredentials]) -> None:
    """Refuse requests until a check, once per execution environment, has found no such credentials."""
    credentials.check()
