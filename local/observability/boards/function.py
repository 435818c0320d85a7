"""One function: invocations, its stage or API, its log."""

from local.observability.boards.queries import CONSUMED, DEPENDENCY, quantile, quantiles, rate
from local.observability.panels import FULL_WIDTH, Board, Panel, Variable

OF_FUNCTION = 'faas_name="$function"'
BOARD = Board(
    "function",
    "one function",
    {
        "Invocations": [
            Panel(
                "Invocations",
                {"invocations": f"sum(rate(faas_invocations_total{{{OF_FUNCTION}}}[$__rate_interval]))"},
                "cps",
            ),
            Panel("Errors", {"errors": f"sum(rate(faas_errors_total{{{OF_FUNCTION}}}[$__rate_interval]))"}, "cps"),
            Panel(
                "In flight, processes",
                {
                    "in flight": f"max(deeplens_function_in_flight{{{OF_FUNCTION}}})",
                    "processes": f"max(deeplens_function_processes{{{OF_FUNCTION}}})",
                },
            ),
            Panel(
                "Processor",
                {"cores": 'sum(rate(process_cpu_time_seconds_total{deeplens_process="$function"}[$__rate_interval]))'},
            ),
            Panel("Memory", {"resident": 'sum(process_memory_usage_bytes{deeplens_process="$function"})'}, "bytes"),
            Panel(
                "Call of a dependency, p95",
                {
                    DEPENDENCY: quantile(
                        0.95, "deeplens_dependency_duration_seconds", "deeplens_dependency", OF_FUNCTION
                    )
                },
                "s",
            ),
        ],
        "Of a stage": [
            Panel(
                "Records",
                {"{{deeplens_outcome}}": rate(CONSUMED, "deeplens_outcome", OF_FUNCTION)},
                "cps",
                kind="stack",
            ),
            Panel("Invocation", quantiles("messaging_process_duration_seconds", OF_FUNCTION), "s"),
            Panel("Wait in the topic", quantiles("deeplens_record_age_seconds", OF_FUNCTION), "s"),
        ],
        "Of an API": [
            Panel(
                "Requests",
                {
                    "{{http_response_status_code}}": rate(
                        "http_server_request_duration_seconds_count", "http_response_status_code", OF_FUNCTION
                    )
                },
                "reqps",
                kind="stack",
            ),
            Panel("Duration", quantiles("http_server_request_duration_seconds", OF_FUNCTION), "s"),
            Panel(
                "Slowest routes, p95",
                {
                    "{{http_route}}": "topk(8, "
                    + quantile(0.95, "http_server_request_duration_seconds", "http_route", OF_FUNCTION)
                    + ")"
                },
                "s",
            ),
        ],
        "Logs": [
            Panel(
                "Log", {"": '{service_name="deeplens"} | log_file_name="$function.log"'}, kind="logs", width=FULL_WIDTH
            )
        ],
    },
    (Variable("function", "faas_invocations_total", "faas_name"),),
)
