"""Metrics: Powertools Metrics as EMF."""

from functools import lru_cache

from aws_lambda_powertools import Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from deeplens.telemetry.logs import service

NAMESPACE = "DeepLens"


@lru_cache(maxsize=1)
def metrics() -> Metrics:
    return Metrics(namespace=NAMESPACE, service=service())


def count(name: str, number: int) -> None:
    """Count something apart from the metrics of the invocation that runs."""
    with single_metric(name, MetricUnit.Count, number, namespace=NAMESPACE) as metric:
        metric.add_dimension("service", service())
