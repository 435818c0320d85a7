"""Rows of embedding models."""

from dataclasses import asdict
from typing import Any

from deeplens.database.values import as_jsonb
from deeplens.embedding.model import ModelProfile

REGISTER = """
INSERT INTO models (name, version, dimensions, thresholds, text)
VALUES (%(name)s, %(version)s, %(dimensions)s, %(thresholds)s, %(text)s)
ON CONFLICT (name, version) DO UPDATE SET
    dimensions = excluded.dimensions, thresholds = excluded.thresholds, text = excluded.text
"""


def model_row(profile: ModelProfile) -> dict[str, Any]:
    """A model as the values of ``REGISTER``."""
    thresholds = as_jsonb(asdict(profile.thresholds)) if profile.thresholds else None
    return {**asdict(profile.ref), "thresholds": thresholds, "text": profile.text}
