"""Dashboards from plain data, by Grafana's SDK."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, dashboard, logs, loki, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
LOKI = DataSourceRef(type_val="loki", uid="loki")
TAG = "deeplens"
FULL_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes
    ----------
    queries : PromQL, or LogQL for logs, by what the legend says; ``{{label}}`` is a label's value.
    unit : of Grafana, e.g. ``s``, ``bytes``, ``percentunit``, ``reqps``.
    limits : of a number: from where on it is orange, and red; descending ones for what should be large.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    help: str = ""
    kind: Literal["chart", "stack", "number", "logs"] = "chart"
    limits: tuple[float, float] | None = None
    width: int = 8


@dataclass(frozen=True, slots=True)
class Variable:
    """Something to choose at the top: the values of a label of a metric."""

    name: str
    metric: str
    label: str

    @property
    def query(self) -> str:
        return f"label_values({self.metric}, {self.label})"


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard; its address is ``deeplens-NAME``."""

    name: str
    title: str
    rows: dict[str, Sequence[Panel]]
    variables: tuple[Variable, ...] = ()


def encoded(board: Board) -> str:
    """The dashboard as the JSON that Grafana reads."""
    links = dashboard.DashboardLink("DeepLens").type(DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True)
    built = (
        dashboard.Dashboard(f"DeepLens: {board.title}")
        .uid(f"deeplens-{board.name}")
        .tags([TAG])
        .link(links)
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("browser")
        .readonly()
    )
    for variable in board.variables:
        built = built.with_variable(_variable(variable))
    ids = count(1)
    for title, panels in board.rows.items():
        built = built.with_row(dashboard.Row(title).id(next(ids)))
        for panel in panels:
            built = built.with_panel(_panel(panel).id(next(ids)))
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def _variable(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .datasource(PROMETHEUS)
        .query(variable.query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def _panel(panel: Panel) -> Any:
    build = {"number": _number, "logs": _logs}.get(panel.kind, _chart)
    return build(panel).title(panel.title).description(panel.help).height(8).span(panel.width)


def _chart(panel: Panel) -> Any:
    legend = common.VizLegendOptions().display_mode(looks.LegendDisplayMode.LIST)
    legend = legend.placement(looks.LegendPlacement.BOTTOM).show_legend(True)
    built = timeseries.Panel().datasource(PROMETHEUS).unit(panel.unit).legend(legend).min(0).fill_opacity(10)
    if panel.kind == "stack":
        built = built.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    for target in _targets(panel):
        # A dot in a chart leads to the trace of a slow one.
        built = built.with_target(target.exemplar(True))
    return built


def _number(panel: Panel) -> Any:
    built = stat.Panel().datasource(PROMETHEUS).unit(panel.unit).graph_mode(looks.BigValueGraphMode.AREA)
    built = built.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if panel.limits:
        built = built.thresholds(_thresholds(*panel.limits))
    for target in _targets(panel):
        built = built.with_target(target)
    return built


def _thresholds(orange: float, red: float) -> dashboard.ThresholdsConfig:
    ascending = [(None, "green"), (orange, "orange"), (red, "red")]
    descending = [(None, "red"), (red, "orange"), (orange, "green")]
    steps = ascending if orange < red else descending
    return (
        dashboard.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value and round(value, 4), color=color) for value, color in steps])
    )


def _logs(panel: Panel) -> Any:
    built = logs.Panel().datasource(LOKI).show_time(True).enable_log_details(True)
    built = built.sort_order(looks.LogsSortOrder.DESCENDING)
    for query in panel.queries.values():
        built = built.with_target(loki.Dataquery().expr(query).datasource(LOKI))
    return built


def _targets(panel: Panel) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().expr(query).legend_format(legend).ref_id(chr(ord("A") + index)).datasource(PROMETHEUS)
        for index, (legend, query) in enumerate(panel.queries.items())
    ]
