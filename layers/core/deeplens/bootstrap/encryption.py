"""Encryption of every connection of a deployment: it does not start while a setting allows plaintext."""

from urllib.parse import urlsplit

from deeplens.errors import DeepLensError
from deeplens.settings import Settings

URLS = {
    (field.alias or name).upper(): name
    for name, field in Settings.model_fields.items()
    if name.endswith("_url") and name != "database_url"
}
LOOPBACK = {"localhost", "127.0.0.1"}


def plaintext_settings(settings: Settings) -> list[str]:
    """What each setting that allows plaintext has to be instead."""
    found = [
        f"{variable} must begin with https://"
        for variable, name in URLS.items()
        if getattr(settings, name) and not getattr(settings, name).startswith("https://")
    ]
    # A collector beside the function is reached without leaving its machine.
    collector = settings.otel_exporter_otlp_endpoint
    if collector and not collector.startswith("https://") and urlsplit(collector).hostname not in LOOPBACK:
        found.append("OTEL_EXPORTER_OTLP_ENDPOINT must begin with https:// or http://localhost:")
    if settings.kafka_brokers and settings.kafka_security == "PLAINTEXT":
        found.append("KAFKA_SECURITY must be IAM or SSL")
    if settings.database_url or settings.database_secret_arn:
        if settings.pgsslmode != "verify-full":
            found.append("PGSSLMODE must be verify-full")
        elif settings.pgsslrootcert is None or not settings.pgsslrootcert.is_file():
            found.append(f"PGSSLROOTCERT must name a file with CA certificates; it names {settings.pgsslrootcert}")
    return found


def require_encryption(settings: Settings) -> None:
    """Raise ``DeepLensError`` where a deployment would send data in plaintext; the local stack may."""
    found = plaintext_settings(settings)
    if settings.environment != "local" and found:
        raise DeepLensError(f"Not started, as connections would not be encrypted: {'; '.join(found)}.")
