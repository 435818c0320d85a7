"""Inference, as its clients and as the endpoint see it."""

from local.observability.boards.queries import FUNCTION, quantile, quantiles, rate
from local.observability.panels import Board, Panel

BOARD = Board(
    "inference",
    "inference",
    {
        "As its clients see it": [
            Panel(
                "Call, p95",
                {
                    FUNCTION: quantile(
                        0.95, "deeplens_dependency_duration_seconds", "faas_name", 'deeplens_dependency="inference"'
                    )
                },
                "s",
            ),
            Panel(
                "Where the time goes, p95",
                {"{{deeplens_phase}}": quantile(0.95, "deeplens_inference_phase_duration_seconds", "deeplens_phase")},
                "s",
            ),
            Panel(
                "Failed calls",
                {
                    "{{error_type}}": rate(
                        "deeplens_dependency_duration_seconds_count",
                        "error_type",
                        'deeplens_dependency="inference",error_type!=""',
                    )
                },
                "cps",
            ),
        ],
        "The endpoint": [
            Panel("Images", {"{{model}}": rate("deeplens_inference_images_total", "model")}, "cps"),
            Panel(
                "Answers", {"{{model}} {{status}}": rate("deeplens_inference_requests_total", "model, status")}, "reqps"
            ),
            Panel(
                "Images in flight",
                {
                    "images": "sum(deeplens_inference_images_under_way)",
                    "requests": "sum(deeplens_inference_requests_under_way)",
                },
            ),
            Panel(
                "Call of the model, p95", {"{{model}}": quantile(0.95, "deeplens_inference_call_seconds", "model")}, "s"
            ),
            Panel("Images per call, p50", {"{{model}}": quantile(0.5, "deeplens_inference_batch_images", "model")}),
            Panel("Decoding of an image", quantiles("deeplens_inference_decode_seconds"), "s"),
            Panel("Models in memory", {"models": "max(deeplens_inference_models_loaded)"}),
            Panel(
                "Models unloaded",
                {"unloaded": "sum(rate(deeplens_inference_evictions_total[$__rate_interval]))"},
                "cps",
            ),
            Panel(
                "Processor",
                {"cores": 'sum(rate(process_cpu_time_seconds_total{deeplens_process="inference"}[$__rate_interval]))'},
            ),
        ],
    },
)
