"""The documented credentials of the local stack; a deployment refuses to serve while its database has them."""

from deeplens.common.resolve import Lazy
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.identity.model import Environment
from deeplens.identity.ports import Clients, Users
from deeplens.telemetry import logger

CLIENT, SECRET = "deeplens-m2m", "m2m-secret"
SWAGGER = "deeplens-swagger"
EMAIL, PASSWORD = "admin@deeplens.local", "deeplens-admin"


class DevelopmentCredentials:
    """Looks for the documented credentials in the database of a deployment."""

    def __init__(self, environment: Environment, clients: Lazy[Clients], users: Lazy[Users]) -> None:
        self._environment, self._clients, self._users = environment, clients, users

    def found(self) -> list[str]:
        if self._environment == "local":
            return []
        client = self._clients().find(CLIENT)
        names = [f"client {CLIENT}"] if client is not None and client.check_client_secret(SECRET) else []
        return [*names, f"user {EMAIL}"] if self._users().exist([EMAIL]) else names


class Guard:
    """Refuses every request until it has checked, once per execution environment, that there are none."""

    def __init__(self) -> None:
        self._passed = False

    def __call__(self, credentials: Injected[DevelopmentCredentials]) -> None:
        if self._passed:
            return
        if found := credentials.found():
            logger().critical("development credentials in a deployment; delete them", found=found)
            raise ApiError(503, "development-credentials", "Not served", "The operator finds the reason in the logs.")
        self._passed = True
