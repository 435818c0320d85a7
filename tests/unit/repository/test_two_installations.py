"""Two stacks in one account, on one cluster: no name and no permission of one reaches what is the other's."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.checks.template import translate
from local.runner.intrinsics import Resolver
from local.runner.template import TagLoader

ROOT = Path(__file__).resolve().parents[3]
PREFIX: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), TagLoader)["Parameters"]["NamePrefix"]
CLUSTER = "arn:aws:kafka:us-east-1:000000000000:cluster/shared/1"
FIRST, SECOND = ("deeplens", ""), ("deeplens-dev", "dev-")
NAMES = re.compile(r"deeplens|whatsapp|tenant|installation", re.I)
# Texts for people, code, and what both stacks are given.
NO_NAMES = {"Description", "DisplayName", "AlarmDescription", "ContentUri", "CodeUri", "Code", "Content", "Handler"}
NO_NAMES |= {"LayerName", "Metadata", "Namespace", "PolicyName", "DependsOn"}
GIVEN = {
    "whatsapp-ready-messages",  # KAFKA_TOPIC, which NAME_PREFIX precedes
    "whatsapp-processor",  # a client's id
    "arn:aws:sagemaker:us-east-1:000000000000:endpoint/deeplens",
    "deeplens",  # INFERENCE_ENDPOINT_NAME
    "deeplens:installation",  # the key of the mark
}


def rendered(stack: str, prefix: str) -> dict[str, Any]:
    """The resources of a stack; a reference to one of them becomes ``stack:Name``."""
    document = translate(ROOT / "template.yaml")
    own = {name: f"{stack}:{name}" for name in document["Resources"]}
    attributes = {f"{name}.Arn": f"{stack}:{name}.Arn" for name in document["Resources"]}
    # The database roles are of a server, so each installation has its own.
    database = f"{stack}.example:5432/deeplens_platform"
    given = {"AWS::StackName": stack, "NamePrefix": prefix, "KafkaClusterArn": CLUSTER, "DatabaseAddress": database}
    resources: dict[str, Any] = Resolver(document, given, {**own, **attributes}).resolve(document["Resources"])
    return resources


def texts(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in NO_NAMES and not (key == "Type" and len(path) < 3):
                yield from texts(value, (*path, key))
    elif isinstance(node, list):
        for value in node:
            yield from texts(value, path)
    elif isinstance(node, str):
        yield path, node


def names(stack: str, prefix: str) -> set[str]:
    return {text for _, text in texts(rendered(stack, prefix)) if NAMES.search(text)} - GIVEN


def test_two_stacks_share_no_name() -> None:
    first, second = names(*FIRST), names(*SECOND)
    assert first & second == set()
    assert {"deeplens.images.uploaded", "deeplens-on-image-uploaded", "/deeplens/installation"} <= first
    assert {"dev-deeplens.images.uploaded", "dev-whatsapp-ready-messages", "dev-tenant-"} <= second


@pytest.mark.parametrize(("owner", "other"), [(FIRST, SECOND), (SECOND, FIRST)], ids=["first", "second"])
def test_no_pattern_of_a_policy_matches_a_name_of_the_other_stack(
    owner: tuple[str, str], other: tuple[str, str]
) -> None:
    patterns = {name for name in names(*owner) if "*" in name}
    assert any("secret:" in pattern for pattern in patterns)
    instances = {name.replace("*", "x") for name in names(*other)}
    assert {(p, name) for p in patterns for name in instances if fnmatchcase(name, p)} == set()


def test_the_storage_role_trusts_the_functions_of_its_stack_alone() -> None:
    resources = rendered(*SECOND)
    (trust,) = resources["TenantStorageRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    mark = "000000000000/us-east-1/deeplens-dev"
    assert trust["Condition"] == {"StringEquals": {"aws:PrincipalTag/deeplens:installation": mark}}
    roles = [
        resource["Properties"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::IAM::Role" and any("StoragePolicy" in str(arn) for arn in _policies(resource))
    ]
    assert len(roles) > 5
    assert all({"Key": "deeplens:installation", "Value": mark} in role["Tags"] for role in roles)


def _policies(role: dict[str, Any]) -> list[str]:
    return list(role["Properties"].get("ManagedPolicyArns", []))


@pytest.mark.parametrize("name", ["BrokerPolicy", "SigningKeysPolicy", "StoreSecretsPolicy", "ServerSecretsPolicy"])
def test_a_stack_may_touch_nothing_before_it_has_claimed_its_prefix(name: str) -> None:
    resources = rendered(*SECOND)
    assert resources[name]["DependsOn"] == "NameClaim"
    claim = resources["NameClaim"]["Properties"]
    assert (claim["Name"], claim["Value"]) == ("/dev-deeplens/installation", "000000000000/us-east-1/deeplens-dev")


@pytest.mark.parametrize(
    ("prefix", "valid"),
    [
        *[("", True), ("dev-", True), ("eu-1-", True), ("dev", False), ("dev.", False), ("Dev-", False)],
        # `tenant-*` would be the pattern of the first stack's buckets, and of these.
        *[("tenant-", False), ("ssm-", False), ("a" * 20 + "-", False)],
    ],
)
def test_a_prefix_fits_every_kind_of_name(prefix: str, *, valid: bool) -> None:
    assert (re.fullmatch(PREFIX["AllowedPattern"], prefix) is not None) == valid
