"""Where a tenant's data lives."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a new tenant's data shall live; None is the platform's own.

    Attributes
    ----------
    scheme : of its store: ``s3``, ``minio`` or ``nfs``. The bucket is named after the tenant.
    database_server : URL of a PostgreSQL server, with credentials that may create databases.
    """

    scheme: str = "s3"
    database_server: str | None = None
    qdrant_url: str | None = None
