"""Switch on spans and metrics; the exporter is imported only where an endpoint takes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deeplens.settings import Settings
from deeplens.telemetry import metrics, tracing
from deeplens.telemetry.conventions import SERVICE_NAMESPACE
from deeplens.telemetry.emf import EmfExporter
from deeplens.telemetry.metrics import Export, Meter

if TYPE_CHECKING:
    from deeplens.aws.signing import Sign
    from deeplens.telemetry.otlp import OtlpExporter

EXPONENTIAL = "base2_exponential_bucket_histogram"
CLOUDWATCH = re.compile(r"xray\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?")
"""Hosts of CloudWatch's OTLP endpoint for spans, which takes signed requests."""


def configure_telemetry(settings: Settings) -> None:
    """Record spans and metrics for ``OTEL_EXPORTER_OTLP_ENDPOINT``, and metrics for CloudWatch.

    Alarms in CloudWatch must not fall silent with a collector, so only one that runs locally replaces it.
    """
    stack = settings.installation_id.rpartition("/")[2] or SERVICE_NAMESPACE
    exports: list[Export] = []
    spans = configure_spans(settings)
    if spans is not None and settings.otel_metrics_exporter == "otlp":
        from deeplens.telemetry.otlp_metrics import MetricsExporter

        exponential = settings.otel_exporter_otlp_metrics_default_histogram_aggregation == EXPONENTIAL
        exports.append(MetricsExporter(spans, exponential=exponential))
    only_cloudwatch = not exports
    if only_cloudwatch or settings.environment == "production":
        exports.append(EmfExporter(stack))
    interval_seconds = settings.otel_metric_export_interval / 1000
    metrics.configure(Meter(exports, only_cloudwatch=only_cloudwatch, interval_seconds=interval_seconds))


def configure_spans(settings: Settings) -> OtlpExporter | None:
    """Record spans for the endpoint, and return what sends them there; None, and no import, where it is empty."""
    endpoint = settings.otel_exporter_otlp_endpoint
    if not endpoint:
        return None
    from deeplens.telemetry.otlp import OtlpExporter

    function = settings.aws_lambda_function_name or "tools"
    resource = {
        "service.namespace": SERVICE_NAMESPACE,
        "service.name": "deeplens",
        "faas.name": function,
        "faas.instance": settings.aws_lambda_log_stream_name or function,
        "deployment.environment.name": settings.environment,
    }
    exporter = OtlpExporter(endpoint, resource, settings.otel_exporter_otlp_timeout / 1000, sign=_signer(endpoint))
    tracing.configure(tracing.Tracer(exporter, settings.otel_traces_sampler_arg))
    return exporter


def _signer(endpoint: str) -> Sign | None:
    match = CLOUDWATCH.fullmatch(urlsplit(endpoint).hostname or "")
    if match is None:
        return None
    from deeplens.aws.signing import signer

    return signer("xray", match[1])
