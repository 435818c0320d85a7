"""Logs and metrics: Powertools Logger as JSON, Metrics as EMF."""

from functools import lru_cache

from aws_lambda_powertools import Logger, Metrics


@lru_cache(maxsize=1)
def logger() -> Logger:
    return Logger(service="deeplens")


@lru_cache(maxsize=1)
def metrics() -> Metrics:
    return Metrics(namespace="DeepLens", service="deeplens")
