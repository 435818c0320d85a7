"""The secrets that WhatsApp and DeepLens share."""

from dataclasses import dataclass, field

from pydantic_core import from_json

from deeplens.errors import SecretStoreUnavailable


@dataclass(frozen=True, slots=True)
class WhatsAppSecrets:
    """Empty ones are not set.

    Attributes
    ----------
    app_secret : signs the webhooks of the Meta app.
    verify_token : Meta sends it once, when the webhook is set up.
    access_token : authenticates calls of the Graph API.
    """

    app_secret: str = field(default="", repr=False)
    verify_token: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)

    def with_defaults(self, stored: str) -> "WhatsAppSecrets":
        """These, with the ones in a JSON object for those not set. Raises ``SecretStoreUnavailable`` for other JSON."""
        try:
            defaults = from_json(stored or "{}")
            return WhatsAppSecrets(
                self.app_secret or str(defaults.get("appSecret") or ""),
                self.verify_token or str(defaults.get("verifyToken") or ""),
                self.access_token or str(defaults.get("accessToken") or ""),
            )
        except (AttributeError, ValueError):
            raise SecretStoreUnavailable("WhatsApp's secret is no JSON object") from None
