"""One tenant: its work, usage and logs."""

from local.observability.panels import FULL_WIDTH, Board, Panel, Variable

OF_TENANT = 'deeplens_tenant_id="$tenant"'


def usage(operator: str) -> str:
    """Usage by its metrics: those of storage, or the others."""
    return f'max by (deeplens_metric) (deeplens_tenant_usage{{{OF_TENANT},deeplens_metric{operator}"storage.*"}})'


BOARD = Board(
    "tenant",
    "one tenant",
    {
        "Work": [
            Panel(
                "Images that have not ended",
                {"{{deeplens_state}}": f"sum by (deeplens_state) (deeplens_images_pending{{{OF_TENANT}}})"},
                kind="stack",
            ),
            Panel("Use of its window", {"in flight": f"max(deeplens_window_use_ratio{{{OF_TENANT}}})"}, "percentunit"),
            Panel(
                "Open dead letters",
                {"open": f"max(deeplens_dead_letters_open{{{OF_TENANT}}}) or vector(0)"},
                kind="number",
                limits=(1, 10),
            ),
        ],
        "Usage": [
            Panel(
                "Usage of this day",
                {"{{deeplens_metric}}": usage("!~")},
                width=12,
            ),
            Panel(
                "Stored",
                {"{{deeplens_metric}}": usage("=~")},
                width=12,
            ),
        ],
        "Logs": [
            Panel(
                "Warnings and errors",
                {"": '{service_name="deeplens"} | tenant_id="$tenant" | detected_level=~"warn|error|critical"'},
                kind="logs",
                width=FULL_WIDTH,
            ),
        ],
    },
    (Variable("tenant", "deeplens_images_pending", "deeplens_tenant_id"),),
)
