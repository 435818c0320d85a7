"""The whole machine-local platform: parts, topics, platform database and functions, started in the right order."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
GIVEN = {
    "kafka": "KAFKA_BROKERS",
    "postgres": "DATABASE_URL",
    "localstack": "AWS_ENDPOINT_URL",
    "vectors": "QDRANT_URL",
    "inference": "INFERENCE_URL",
}
"""Environment variables that, when set, name a part that runs elsewhere and is not started here."""
