"""Switch on spans and metrics; the exporter is imported only where an endpoint takes them."""

from deeplens.settings import Settings
from deeplens.telemetry import metrics, tracing
from deeplens.telemetry.conventions import SERVICE_NAMESPACE
from deeplens.telemetry.emf import EmfExporter
from deeplens.telemetry.metrics import Export, Meter

EXPONENTIAL = "base2_exponential_bucket_histogram"


def configure_telemetry(settings: Settings) -> None:
    """Record spans and metrics for ``OTEL_EXPORTER_OTLP_ENDPOINT``, and metrics for CloudWatch.

    Alarms in CloudWatch must not fall silent with a collector, so only one that runs locally replaces it.
    """
    stack = settings.installation_id.rpartition("/")[2] or SERVICE_NAMESPACE
    exports: list[Export] = []
    if settings.otel_exporter_otlp_endpoint:
        exports.append(_configure_collector(settings))
    if not exports or settings.environment == "production":
        exports.append(EmfExporter(stack))
    metrics.configure(
        Meter(
            exports,
            only_cloudwatch=not settings.otel_exporter_otlp_endpoint,
            interval_seconds=settings.otel_metric_export_interval / 1000,
        )
    )


def _configure_collector(settings: Settings) -> Export:
    """Send spans to the endpoint, and return what sends metrics there."""
    from deeplens.telemetry.otlp import OtlpExporter
    from deeplens.telemetry.otlp_metrics import MetricsExporter

    function = settings.aws_lambda_function_name or "tools"
    resource = {
        "service.namespace": SERVICE_NAMESPACE,
        "service.name": "deeplens",
        "faas.name": function,
        "faas.instance": settings.aws_lambda_log_stream_name or function,
        "deployment.environment.name": settings.environment,
    }
    timeout_seconds = settings.otel_exporter_otlp_timeout / 1000
    exporter = OtlpExporter(settings.otel_exporter_otlp_endpoint, resource, timeout_seconds)
    tracing.configure(tracing.Tracer(exporter, settings.otel_traces_sampler_arg))
    exponential = settings.otel_exporter_otlp_metrics_default_histogram_aggregation == EXPONENTIAL
    return MetricsExporter(exporter, exponential=exponential)
