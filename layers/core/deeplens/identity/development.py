"""Credentials that everybody knows: the local stack has them, a deployment refuses to start with them."""

from deeplens.errors import DeepLensError
from deeplens.identity.parts import IdentityParts

CLIENT, SECRET = "deeplens-m2m", "m2m-secret"
SWAGGER = "deeplens-swagger"
EMAIL, PASSWORD = "admin@deeplens.local", "deeplens-admin"


class DevelopmentCredentials(DeepLensError):
    """The database of a deployment holds credentials that stand in the documentation."""


def refuse_development_credentials(parts: IdentityParts) -> None:
    """Raise ``DevelopmentCredentials`` when one of them is in the database of a deployment."""
    if parts.settings.environment == "local":
        return
    client = parts.clients.find(CLIENT)
    found = [
        name
        for name, there in (
            (f"client {CLIENT}", client is not None and client.check_client_secret(SECRET)),
            (f"user {EMAIL}", parts.users.holds([EMAIL])),
        )
        if there
    ]
    if found:
        raise DevelopmentCredentials(
            f"{' and '.join(found)}: development credentials. Delete them from nextgen_identity, then start again."
        )
