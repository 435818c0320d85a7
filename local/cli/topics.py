"""``deeplens topics``: look after the topics and consumer groups of a broker."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any

import typer
from deeplens.events.topics import Cluster, Topic
from deeplens.settings import Settings
from rich.table import Table

from local.cli.commands import Commands
from local.cli.container import current_container
from local.cli.screen import confirm, fail, plain, show, show_line, table
from local.operations.broker import Broker
from local.operations.drift import PARTITIONS, Drift, drift_of
from local.operations.groups import Groups, GroupState, Move, target_of
from local.operations.records import TopicRecord, read, summary, wanted
from local.operations.topics import Topics, TopicState, create_topics, registered

app = Commands(help="List, create, mend, read and delete Kafka topics, and move consumer groups.")

Name = Annotated[str, typer.Argument(help="e.g. deeplens.images.uploaded")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
Partitions = Annotated[int, typer.Option(min=1, help="Minimum number of partitions; 12 is a good start in production.")]
Production = Annotated[bool, typer.Option(help="Replication factor 3 and min.insync.replicas 2.")]
Serverless = Annotated[bool, typer.Option(help="For Amazon MSK Serverless, which sets what concerns replicas itself.")]
DAY_MILLISECONDS = 86_400_000
RIGHT = ("partition", "partitions", "replicas", "records", "first", "next", "committed", "lag", "members", "from", "to")


@app.command("list", example="deeplens topics list --partitions 12 --production")
def list_topics(partitions: Partitions = 3, production: Production = False, serverless: Serverless = False) -> None:
    """List topics, and how they differ from the registry. `deeplens topics apply` mends that."""
    broker = Broker(_settings())
    states, known = Topics(broker).all(), _registered(broker)
    drifts = {
        name: drift_of(known[name], state, partitions=partitions, cluster=cluster_of(production, serverless))
        if name in known
        else []
        for name, state in states.items()
    }
    missing = sorted(known.keys() - states.keys())
    documents = [_document(state, state.name in known, drifts[state.name]) for state in states.values()]
    show(
        [*documents, *({"name": name, "registered": True, "missing": True} for name in missing)],
        lambda: _topics_table(states.values(), drifts, known, missing),
    )


@app.command(example="deeplens topics describe deeplens.images.uploaded")
def describe(
    name: Name, partitions: Partitions = 3, production: Production = False, serverless: Serverless = False
) -> None:
    """Show a topic's partitions, settings, contract, producers and consumers, and how it differs from the registry."""
    broker = Broker(_settings())
    state, topic = Topics(broker).get(name), _registered(broker).get(name)
    drifts = drift_of(topic, state, partitions=partitions, cluster=cluster_of(production, serverless)) if topic else []
    document = _document(state, topic is not None, drifts) | {"partitions": state.partitions}
    lines = [f"{name}: {state.records} records, {_of_registry(topic)}"]
    if topic:
        document |= {"contract": topic.contract.__name__, "producers": topic.producers, "consumers": topic.consumers}
    lines += [f"differs: {drift}" for drift in drifts]
    show(document, "\n".join(lines), lambda: _partitions_table(state), lambda: _settings_table(state))


@app.command(example="deeplens topics lag deeplens-on-image-uploaded")
def lag(group: Annotated[str, typer.Argument(help="Default: all groups, one line each.")] = "") -> None:
    """Show how many records consumer groups have not processed; of one group, by partition."""
    groups = Groups(Broker(_settings()))
    states = [groups.get(group)] if group else groups.all()
    documents = [_group_document(state) for state in states]
    show(documents[0] if group else documents, lambda: _lag_table(states[0]) if group else _groups_table(states))


@app.command(example="deeplens topics create scratch --partitions 1 --retention-days 1")
def create(
    name: Name,
    partitions: Annotated[int, typer.Option(min=1)] = 3,
    replication: Annotated[int, typer.Option(min=1, help="Copies of each partition; 3 in production.")] = 1,
    retention_days: Annotated[float, typer.Option(min=0.001, help="How long records are kept.")] = 7,
) -> None:
    """Create a topic. Those of the registry are created by `deeplens topics apply`, with the settings they need."""
    from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

    broker = Broker(_settings())
    if name in _registered(broker):
        raise fail(f"{name} is a topic of the registry. `deeplens topics apply` creates it with the settings it needs.")
    config = {"retention.ms": str(int(retention_days * DAY_MILLISECONDS))}
    if not Topics(broker).create([NewTopic(name, partitions, replication, config=config)]):
        raise fail(f"the topic {name} exists. `deeplens topics recreate {name}` empties it.")
    show({"created": [name]}, f"created {name}")


@app.command(example="deeplens topics delete scratch")
def delete(name: Name, yes: Yes = False) -> None:
    """Delete a topic with its records. Consumer groups lose their offsets of it."""
    topics, state = _to_destroy(name)
    confirm(_loss(state), yes=yes)
    topics.delete(name)
    show({"deleted": name, "records": state.records}, f"deleted {name} with {state.records} records")


@app.command(example="deeplens topics recreate scratch")
def recreate(name: Name, yes: Yes = False) -> None:
    """Delete a topic's records: delete it, and create it with the partitions, replicas and settings that it had."""
    topics, state = _to_destroy(name)
    confirm(_loss(state), yes=yes)
    topics.recreate(state)
    show({"recreated": name, "records": state.records}, f"recreated {name} without its {state.records} records")


@app.command(example="deeplens topics tail deeplens.processing.failed --from-beginning --tenant tenant_demo")
def tail(
    name: Name,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Print what the topic has, and end; with --follow, go on.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new records until Ctrl-C.")] = False,
    max_messages: Annotated[int, typer.Option(min=0, help="End after this number; 0 for no limit.")] = 0,
    tenant: Annotated[str, typer.Option(help="Only records of this tenant.")] = "",
    image: Annotated[str, typer.Option(help="Only records of this image.")] = "",
    payloads: Annotated[
        bool, typer.Option("--payloads", help="Also whole payloads and keys, which may contain personal data.")
    ] = False,
) -> None:
    """Print the records of a topic, a line each: new ones until Ctrl-C, or those that are there.

    Shown are ids, times, codes and counts. File names, addresses, texts and whatever else a payload has are hidden.
    Consumer groups do not notice.
    """
    settings = _settings()
    state = Topics(Broker(settings)).get(name)
    records = read(settings, state, beginning=from_beginning, follow=follow or not from_beginning)
    found = (record for record in records if wanted(record, tenant, image))
    for record in islice(found, max_messages or None):
        document = summary(record, payloads=payloads)
        show_line(document, _line(record, document))


@app.command(example="deeplens topics reset deeplens-on-image-uploaded --to 2026-01-14T10:30:00Z --dry-run")
def reset(
    group: Annotated[str, typer.Argument(help="A consumer group; `deeplens topics lag` lists them.")],
    to: Annotated[str, typer.Option(help="earliest, latest, an offset, or a time such as 2026-01-14T10:30:00Z.")],
    topic: Annotated[str, typer.Option(help="Only this topic.")] = "",
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would change.")] = False,
    yes: Yes = False,
) -> None:
    """Let a consumer group continue elsewhere: earlier records are processed again, or records are skipped.

    The group must not be active. An offset outside what a partition has becomes its first or its next one.
    """
    target = target_of(to)
    groups = Groups(Broker(_settings()))
    moves = groups.plan(groups.get(group), target, topic, partition)
    skipped = sum(max(0, move.after - move.before) for move in moves)
    again = sum(max(0, move.before - move.after) for move in moves)
    effect = f"{group}: {skipped} records would be skipped, {again} processed again."
    if not dry_run:
        confirm(effect, yes=yes)
        groups.reset(group, moves)
        effect = f"{group}: {skipped} records are skipped, {again} are processed again."
    document = {"group": group, "moves": moves, "skipped": skipped, "again": again, "dryRun": dry_run}
    show(document, lambda: _moves_table(moves), effect)


@app.command(example="deeplens topics apply --partitions 12 --production")
def apply(
    partitions: Partitions = 3,
    production: Production = False,
    serverless: Serverless = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would change.")] = False,
    yes: Yes = False,
) -> None:
    """Create the missing topics of the registry, and mend those that differ from it.

    A number of replicas is only reported: Kafka's own kafka-reassign-partitions changes it. More partitions than asked
    for stay. Asks before it shortens a retention.
    """
    settings = _settings()
    broker = Broker(settings)
    topics = Topics(broker)
    states, known = topics.all(), _registered(broker)
    drifts = [
        drift
        for name, topic in known.items()
        if name in states
        for drift in drift_of(topic, states[name], partitions=partitions, cluster=cluster_of(production, serverless))
    ]
    missing = [name for name in known if name not in states]
    if not dry_run:
        if losses := [f"{drift.topic}: {drift}" for drift in drifts if drift.destroys]:
            confirm(f"The broker would delete older records. {'; '.join(losses)}.", yes=yes)
        missing = create_topics(settings, partitions=partitions, cluster=cluster_of(production, serverless))
        mend(topics, drifts)
    _show_applied(missing, drifts, dry_run=dry_run)


def cluster_of(production: bool, serverless: bool) -> Cluster:
    """The cluster that options name. Stops the command where they name two."""
    if production and serverless:
        raise fail("--production is for clusters whose brokers are yours, --serverless for MSK Serverless: give one.")
    return "serverless" if serverless else "replicated" if production else "single"


def mend(topics: Topics, drifts: Sequence[Drift]) -> None:
    """Change what can be changed, one request per topic and kind."""
    changes: dict[str, dict[str, str]] = {}
    for drift in drifts:
        if drift.setting == PARTITIONS:
            topics.add_partitions(drift.topic, int(drift.expected))
        elif drift.mendable:
            changes.setdefault(drift.topic, {})[drift.setting] = drift.expected
    for name, values in changes.items():
        topics.change_settings(name, values)


def _settings() -> Settings:
    return current_container("KAFKA_BROKERS").settings


def _registered(broker: Broker) -> dict[str, Topic]:
    """The topics of the registry by their names on the broker."""
    return {name: topic for topic, name in registered(broker.settings).items()}


def _to_destroy(name: str) -> tuple[Topics, TopicState]:
    topics = Topics(Broker(_settings()))
    return topics, topics.get(name)


def _loss(state: TopicState) -> str:
    return (
        f"{state.name} has {state.records} records, which would be lost, and consumer groups would lose their offsets."
        " Stop its consumers first."
    )


def _document(state: TopicState, known: bool, drifts: Sequence[Drift]) -> dict[str, Any]:
    return {
        "name": state.name,
        "registered": known,
        "missing": False,
        "partitions": len(state.partitions),
        "replication": state.replication,
        "records": state.records,
        "settings": state.own,
        "drift": drifts,
    }


def _topics_table(
    states: Iterable[TopicState], drifts: Mapping[str, list[Drift]], known: Mapping[str, Topic], missing: Sequence[str]
) -> Table:
    made = table("topic", "partitions", "replicas", "records", "kept", "compression", "registry", right=RIGHT)
    for state in states:
        differs = "; ".join(map(str, drifts[state.name])) or ("as registered" if state.name in known else "not in it")
        numbers = map(str, (len(state.partitions), state.replication, state.records))
        settings = state.settings
        made.add_row(state.name, *numbers, _kept(settings), settings.get("compression.type", ""), differs)
    for name in missing:
        made.add_row(name, *[""] * 5, "missing: `deeplens topics apply`")
    return made


def _kept(settings: Mapping[str, str]) -> str:
    milliseconds = int(settings.get("retention.ms", -1))
    return "for ever" if milliseconds < 0 else f"{milliseconds / DAY_MILLISECONDS:g} d"


def _partitions_table(state: TopicState) -> Table:
    made = table("partition", "leader", "replicas", "in sync", "first", "next", "records", right=RIGHT)
    for part in state.partitions:
        ends = ["" if offset is None else str(offset) for offset in (part.first, part.next)]
        replicas = (" ".join(map(str, brokers)) for brokers in (part.replicas, part.in_sync))
        made.add_row(str(part.number), str(part.leader), *replicas, *ends, str(part.records))
    return made


def _settings_table(state: TopicState) -> Table:
    made = table("setting", "value")
    for name, value in sorted(state.own.items()):
        made.add_row(name, value)
    return made


def _of_registry(topic: Topic | None) -> str:
    if topic is None:
        return "not in the registry"
    return f"{topic.contract.__name__} from {', '.join(topic.producers)} to {', '.join(topic.consumers)}"


def _group_document(state: GroupState) -> dict[str, Any]:
    positions = [plain(position) | {"lag": position.lag} for position in state.positions]
    return {**plain(state), "lag": state.lag, "positions": positions}


def _groups_table(states: Iterable[GroupState]) -> Table:
    made = table("group", "state", "members", "topics", "lag", right=RIGHT)
    for state in states:
        topics = " ".join(sorted({position.topic for position in state.positions}))
        made.add_row(state.name, state.state, str(state.members), topics, str(state.lag))
    return made


def _lag_table(state: GroupState) -> Table:
    made = table("topic", "partition", "committed", "next", "lag", "read by", right=RIGHT)
    for found in state.positions:
        committed = "" if found.committed is None else str(found.committed)
        made.add_row(found.topic, str(found.partition), committed, str(found.next), str(found.lag), found.client)
    return made


def _moves_table(moves: Iterable[Move]) -> Table:
    made = table("topic", "partition", "from", "to", right=RIGHT)
    for move in moves:
        made.add_row(move.topic, str(move.partition), str(move.before), str(move.after))
    return made


def _line(record: TopicRecord, document: Mapping[str, Any]) -> str:
    """One record for people; the payload follows on its own line."""
    fields = {name: value for name, value in document.items() if name not in ("partition", "offset", "at", "payload")}
    line = f"{record.partition}/{record.offset} {document['at']} " + " ".join(
        f"{name}={value if name != 'key' or value.isprintable() else json.dumps(value)}"
        for name, value in fields.items()
        if value != ""
    )
    return f"{line}\n  {json.dumps(document['payload'])}" if "payload" in document else line


def _show_applied(missing: Sequence[str], drifts: Sequence[Drift], *, dry_run: bool) -> None:
    mended = [drift for drift in drifts if drift.mendable]
    left = [drift for drift in drifts if not drift.mendable]
    created, changed = ("would create", "would change") if dry_run else ("created", "changed")
    lines = [f"{created} {len(missing)} topics {' '.join(missing)}".rstrip()]
    lines += [f"{changed} {drift.topic}: {drift.setting} from {drift.actual} to {drift.expected}" for drift in mended]
    lines += [f"not changed {drift.topic}: {drift}. Use kafka-reassign-partitions." for drift in left]
    show({"created": missing, "changed": mended, "notChanged": left, "dryRun": dry_run}, "\n".join(lines))
