"""Run the services of the platform as child processes."""

from local.services.inference import InferenceService
from local.services.kafka import KafkaService
from local.services.localstack import LocalStackService
from local.services.postgres import PostgresService
from local.services.process import ChildService, Service, ServiceFailed
from local.services.vectors import VectorService

__all__ = [
    "ChildService",
    "InferenceService",
    "KafkaService",
    "LocalStackService",
    "PostgresService",
    "Service",
    "ServiceFailed",
    "VectorService",
]
