"""Add up the connections that the functions of template.yaml open to PostgreSQL at most."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local.checks.grants import GRANTS
from local.runner.intrinsics import Resolver

MAX_CONNECTIONS = 900
"""``max_connections`` of Amazon RDS with 8 GB, for which the defaults of the template are chosen."""
FOR_OPERATORS = 50
"""Left for commands, migrations and backups."""
PARTITIONS = 12
"""Of each topic, as docs/deploy.md has them made; one batch of each runs at a time."""
EXECUTIONS_OF_A_SCHEDULE = 2
"""Functions end before the next minute, but a scheduler may deliver twice."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a function opens. ``executions`` is None where nothing limits them."""

    function: str
    executions: int | None
    connections_each: int

    @property
    def connections(self) -> int:
        return (self.executions or 0) * self.connections_each


@dataclass(frozen=True, slots=True)
class Size:
    """A choice of parameters, and the servers that it fits."""

    server: str
    max_connections: int
    partitions: int = PARTITIONS
    parameters: Mapping[str, str] | None = None


SIZES = (
    Size("4 GB, e.g. `db.t4g.medium`", 450, 6, {"TenantConnections": "2", "SearchConcurrency": "25"}),
    Size("8 GB, e.g. `db.m7g.large`", MAX_CONNECTIONS),
    Size("16 GB, e.g. `db.m7g.xlarge`", 1800, 24, {"TenantConnections": "3", "SearchConcurrency": "120"}),
)


def needs(
    document: Mapping[str, Any], partitions: int = PARTITIONS, parameters: Mapping[str, str] | None = None
) -> list[Need]:
    """What each function with a database role opens."""
    resolver = Resolver(document, parameters or {}, {})
    tenants = int(resolver.resolve(document["Globals"]["Function"]["Environment"]["Variables"]["TENANT_CONNECTIONS"]))
    found = []
    for resource in document["Resources"].values():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        properties = resolver.resolve(resource["Properties"])
        granted = GRANTS[str(properties["CodeUri"]).strip("/").rpartition("/")[2]]
        if granted.database:
            each = 1 + tenants * ("tenant key" in granted.uses) + ("administrator" in granted.uses)
            name = str(properties["CodeUri"]).strip("/").rpartition("/")[2]
            found.append(Need(name, _executions(properties, partitions), each))
    return found


def problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Functions without a limit, and a sum that the server of the defaults does not hold."""
    found = needs(document)
    for need in found:
        if need.executions is None:
            yield f"{need.function} opens connections without a limit; give it ReservedConcurrentExecutions"
    total = sum(need.connections for need in found)
    if total > MAX_CONNECTIONS - FOR_OPERATORS:
        yield (
            f"the functions may open {total} connections, but of {MAX_CONNECTIONS} {FOR_OPERATORS} are for operators; "
            "lower TenantConnections, SearchConcurrency or QueueConcurrency"
        )


def table(document: Mapping[str, Any]) -> str:
    """The table of docs/deploy.md."""
    rows = ["| memory of the server | its `max_connections` | partitions | parameters | functions open at most |"]
    rows.append("|---|---|---|---|---|")
    for size in SIZES:
        total = sum(need.connections for need in needs(document, size.partitions, size.parameters))
        chosen = ", ".join(f"`{name}={value}`" for name, value in (size.parameters or {}).items()) or "the defaults"
        rows.append(f"| {size.server} | {size.max_connections:,} | {size.partitions} | {chosen} | {total} |")
    return "\n".join(rows)


def _executions(properties: Mapping[str, Any], partitions: int) -> int | None:
    if "ReservedConcurrentExecutions" in properties:
        return int(properties["ReservedConcurrentExecutions"])
    total = 0
    for event in properties["Events"].values():
        match event["Type"]:
            case "MSK":
                total += partitions * len(event["Properties"]["Topics"])
            case "SQS":
                if "ScalingConfig" not in event["Properties"]:
                    return None
                total += int(event["Properties"]["ScalingConfig"]["MaximumConcurrency"])
            case "ScheduleV2":
                total += EXECUTIONS_OF_A_SCHEDULE
            case _:
                return None
    return total
