"""Two stacks in one account, on one cluster: no name and no permission of one reaches what is the other's."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.checks.installations import FIRST, SECOND, names, rendered, shared_names
from local.checks.template import translate
from local.runner.template import TagLoader

ROOT = Path(__file__).resolve().parents[3]
PREFIX: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), TagLoader)["Parameters"]["NamePrefix"]
TRANSLATED = translate(ROOT / "template.yaml")
DEV = rendered(TRANSLATED, SECOND)
MARK = "000000000000/us-east-1/deeplens-dev"


def test_two_stacks_share_no_name() -> None:
    assert shared_names(TRANSLATED) == []
    first, second = names(TRANSLATED, FIRST), names(TRANSLATED, SECOND)
    assert {"deeplens.images.uploaded", "deeplens-on-image-uploaded", "/deeplens/installation"} <= first
    assert {"dev-deeplens.images.uploaded", "dev-whatsapp-ready-messages", "dev-tenant-"} <= second


def _widen(document: dict[str, Any]) -> None:
    policy = document["Resources"]["StoreSecretsPolicy"]["Properties"]["PolicyDocument"]
    policy["Statement"][0]["Resource"] = {"Fn::Sub": "arn:*:secret:*deeplens/stores/*"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda t: t["Resources"]["OnTenantUsageTopic"]["Properties"].update(Topics=["deeplens.tenant.usage"]),
            "would share 'deeplens.tenant.usage'",
        ),
        (
            lambda t: t["Resources"]["DeadLettersAlarm"]["Properties"]["Dimensions"][0].update(Value="deeplens"),
            "would share 'deeplens'",
        ),
        (lambda t: t["Resources"]["NameClaim"]["Properties"].update(Name="/deeplens/x"), "would share '/deeplens/x'"),
        (_widen, "would share 'arn:.*|the pattern"),
    ],
    ids=["topic", "metric", "parameter", "policy"],
)
def test_a_name_without_the_prefix_is_refused(change: Callable[[dict[str, Any]], Any], problem: str) -> None:
    document = copy.deepcopy(TRANSLATED)
    change(document)
    assert any(re.search(problem, found) for found in shared_names(document)), shared_names(document)


def test_the_storage_role_trusts_the_functions_of_its_stack_alone() -> None:
    (trust,) = DEV["TenantStorageRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {"StringEquals": {"aws:PrincipalTag/deeplens:installation": MARK}}
    roles = [
        resource["Properties"]
        for resource in DEV.values()
        if resource["Type"] == "AWS::IAM::Role"
        and any("StoragePolicy" in str(arn) for arn in resource["Properties"].get("ManagedPolicyArns", []))
    ]
    assert len(roles) > 5
    assert all({"Key": "deeplens:installation", "Value": MARK} in role["Tags"] for role in roles)


@pytest.mark.parametrize("name", ["BrokerPolicy", "SigningKeysPolicy", "StoreSecretsPolicy", "ServerSecretsPolicy"])
def test_a_stack_may_touch_nothing_before_it_has_claimed_its_prefix(name: str) -> None:
    assert DEV[name]["DependsOn"] == "NameClaim"
    claim = DEV["NameClaim"]["Properties"]
    assert (claim["Name"], claim["Value"]) == ("/dev-deeplens/installation", MARK)


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
