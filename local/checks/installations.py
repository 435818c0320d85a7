"""Render template.yaml for two installations of one account, Region and cluster, and compare the names of both."""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from local.checks.grants import CLUSTER
from local.runner.intrinsics import Resolver


class Installation(NamedTuple):
    stack: str
    prefix: str


FIRST, SECOND = Installation("deeplens", ""), Installation("deeplens-dev", "dev-")
NAMES = re.compile(r"deeplens|whatsapp|tenant|installation", re.IGNORECASE)
TEXTS = {"Description", "DisplayName", "AlarmDescription", "ContentUri", "CodeUri", "Code", "Content", "Handler"}
WITHIN_THE_STACK = {"LayerName", "Metadata", "Namespace", "PolicyName", "DependsOn", "Id", "Key"}
BROKER_DISK = (
    'SELECT MAX(KafkaDataLogsDiskUsed) FROM SCHEMA("AWS/Kafka", "Broker ID", "Cluster Name")'
    " WHERE \"Cluster Name\" = 'deeplens'"
)
GIVEN = {
    ("Expression", BROKER_DISK),  # the cluster may be shared, and then its disk is
    ("KAFKA_TOPIC", "whatsapp-ready-messages"),  # NAME_PREFIX precedes it
    ("KAFKA_CLIENT_ID", "whatsapp-processor"),
    ("INFERENCE_ENDPOINT_NAME", "deeplens"),
    ("Resource", "arn:aws:sagemaker:us-east-1:000000000000:endpoint/deeplens"),
}
"""Names that installations may share, with the property or variable that has them."""


def rendered(translated: Mapping[str, Any], installation: Installation) -> dict[str, Any]:
    """The resources of a stack; a reference to one of them becomes ``stack:Name``.

    Parameters
    ----------
    translated : the template as plain CloudFormation.
    """
    stack, prefix = installation
    own = {name: f"{stack}:{name}" for name in translated["Resources"]}
    attributes = {f"{name}.Arn": f"{stack}:{name}.Arn" for name in own}
    # The roles of the database belong to its server, so each installation has a server of its own.
    database = f"{stack}.example:5432/deeplens_platform"
    given = {"AWS::StackName": stack, "NamePrefix": prefix, "KafkaClusterArn": CLUSTER, "DatabaseAddress": database}
    resources: dict[str, Any] = Resolver(translated, given, {**own, **attributes}).resolve(translated["Resources"])
    return resources


def names(translated: Mapping[str, Any], installation: Installation) -> set[str]:
    """Every name of an installation that another one could have as well."""
    found = _texts(rendered(translated, installation))
    return {text for key, text in found if NAMES.search(text) and text != CLUSTER and (key, text) not in GIVEN}


def shared_names(translated: Mapping[str, Any]) -> list[str]:
    """What two installations share, and what policies of one reach of the other, one line each; none if all is well."""
    first, second = names(translated, FIRST), names(translated, SECOND)
    found = [
        f"two installations would share {name!r}: begin it with ${{NamePrefix}}" for name in sorted(first & second)
    ]
    for owner, other in ((first, second), (second, first)):
        patterns = [name for name in owner if "*" in name]
        instances = {name: name.replace("*", "x") for name in other}
        found += [
            f"the pattern {pattern!r} of one installation matches {name!r} of another"
            for pattern in patterns
            for name, instance in instances.items()
            if fnmatchcase(instance, pattern)
        ]
    return found


def _texts(node: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every text with the name of its property."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name not in TEXTS | WITHIN_THE_STACK and not (name == "Type" and depth == 1):
                yield from _texts(value, name, depth + 1)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, key, depth + 1)
    elif isinstance(node, str) and not node.startswith("local:"):
        yield key, node
