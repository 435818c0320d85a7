"""A pause of ingestion."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class IngestionPause:
    """Uploads are refused until then, as the budget of ``metric`` is exhausted."""

    metric: str
    until: datetime
