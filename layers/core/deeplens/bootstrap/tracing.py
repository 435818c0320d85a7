"""Switch on spans where an endpoint takes them; elsewhere nothing of the exporter is imported."""

from deeplens.settings import Settings
from deeplens.telemetry import tracing
from deeplens.telemetry.conventions import SERVICE_NAMESPACE


def configure_tracing(settings: Settings) -> None:
    """Record spans for ``OTEL_EXPORTER_OTLP_ENDPOINT``, or none where it is empty."""
    if not settings.otel_exporter_otlp_endpoint:
        return
    from deeplens.telemetry.otlp import OtlpExporter

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
