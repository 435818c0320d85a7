"""Credentials that everybody knows: the local stack has them, a deployment refuses to serve with them."""

from deeplens.errors import ApiError
from deeplens.identity.parts import IdentityParts, Parts
from deeplens.telemetry import logger

CLIENT, SECRET = "deeplens-m2m", "m2m-secret"
SWAGGER = "deeplens-swagger"
EMAIL, PASSWORD = "admin@deeplens.local", "deeplens-admin"


class Guard:
    """Answers nothing before it has seen, once per execution environment, that none of them is in the database."""

    def __init__(self) -> None:
        self._passed = False

    def __call__(self, parts: Parts) -> None:
        if self._passed:
            return
        if parts.settings.environment != "local" and (found := development_credentials(parts)):
            logger().critical("development credentials in a deployment; delete them", found=found)
            raise ApiError(503, "development-credentials", "Not served", "The operator finds the reason in the logs.")
        self._passed = True


def development_credentials(parts: IdentityParts) -> list[str]:
    """Which of them the database holds."""
    client = parts.clients.find(CLIENT)
    there = {
        f"client {CLIENT}": client is not None and client.check_client_secret(SECRET),
        f"user {EMAIL}": parts.users.holds([EMAIL]),
    }
    return [name for name, found in there.items() if found]
