"""What WhatsApp and we show each other."""

import json
from dataclasses import dataclass, field

from deeplens.errors import SecretStoreUnavailable


@dataclass(frozen=True, slots=True)
class WhatsAppSecrets:
    """Empty ones are not set.

    Attributes
    ----------
    app_secret : signs the webhooks of the Meta app.
    verify_token : what Meta shows once, when the webhook is set up.
    access_token : what the Graph API is called with.
    """

    app_secret: str = field(default="", repr=False)
    verify_token: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)

    def over(self, kept: str) -> "WhatsAppSecrets":
        """These, and where one is not set that of a JSON object. Raises ``SecretStoreUnavailable`` if it is none."""
        try:
            found = json.loads(kept or "{}")
            values = {name: str(found.get(name) or "") for name in ("appSecret", "verifyToken", "accessToken")}
        except (AttributeError, ValueError):
            raise SecretStoreUnavailable("WhatsApp's secret is no JSON object") from None
        return WhatsAppSecrets(
            self.app_secret or values["appSecret"],
            self.verify_token or values["verifyToken"],
            self.access_token or values["accessToken"],
        )
