"""Rows of embedding models."""

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
    limits = profile.thresholds
    return {
        "name": profile.ref.name,
        "version": profile.ref.version,
        "dimensions": profile.ref.dimensions,
        "thresholds": as_jsonb({name: getattr(limits, name) for name in limits.__slots__}) if limits else None,
        "text": profile.text,
    }
