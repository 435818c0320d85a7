"""Hold template.yaml to the table of grants, translate it to plain CloudFormation, compare two stacks, and lint.

SAM's own lint checks little.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from local.checks import connections, grants
from local.checks.installations import shared_names
from local.runner.template import TagLoader

CLOUDWATCH = {"Service": "cloudwatch.amazonaws.com"}
ROOT = Path(__file__).resolve().parents[2]


def translate(path: Path) -> dict[str, Any]:
    """Translate a SAM template to CloudFormation. Raises ``InvalidDocumentException``."""
    document = yaml.load(path.read_text(), Loader=TagLoader)  # noqa: S506 - a SafeLoader
    for resource in document["Resources"].values():
        _local_code(resource)
    # The translator needs a region, but does not call AWS.
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    parameters = {name: _default(spec) for name, spec in document.get("Parameters", {}).items()}
    return dict(Translator({}, Parser()).translate(document, parameters))


def problems(document: dict[str, Any]) -> list[str]:
    """What a template grants beyond the table or not at all, and what it leaves without a limit or a log."""
    found = [*grants.differences(document), *_unlimited(document), *connections.problems(document)]
    return [*found, *_unreadable_alarms(document["Resources"])]


def _unlimited(document: dict[str, Any]) -> Iterator[str]:
    for name, spec in document["Parameters"].items():
        if name.startswith("Default") and spec["Type"] == "Number" and not spec.get("Default"):
            yield f"{name} is 0, so that a tenant has no limit; give it a default above 0"
    for name, resource in document["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::HttpApi":
            throttle, log = properties.get("DefaultRouteSettings", {}), properties.get("AccessLogSettings", {})
            yield from (
                f"{name} has no {setting}"
                for setting in ("ThrottlingRateLimit", "ThrottlingBurstLimit")
                if not throttle.get(setting)
            )
            if not {"DestinationArn", "Format"} <= log.keys():
                yield f"{name} has no access log"
            if not _behind_a_web_acl(document["Resources"], name):
                yield f"{name} is the origin of no distribution with a web ACL"
        if name == "IdentityApi" and "ReservedConcurrentExecutions" not in properties:
            yield f"{name} has no concurrency of its own"


def _unreadable_alarms(resources: dict[str, Any]) -> Iterator[str]:
    """Topics of SNS without a key of this template that CloudWatch may use: its alarms would not arrive."""
    for name, resource in resources.items():
        if resource["Type"] == "AWS::SNS::Topic":
            key = resource.get("Properties", {}).get("KmsMasterKeyId", {})
            given = resources.get(key.get("Ref", "") if isinstance(key, dict) else "", {}).get("Properties", {})
            statements = given.get("KeyPolicy", {}).get("Statement", [])
            users = [found["Action"] for found in statements if found["Principal"] == CLOUDWATCH]
            if not any({"kms:Decrypt", "kms:GenerateDataKey"} <= set(actions) for actions in users):
                yield f"{name} is encrypted with no key of the template that CloudWatch may use"


def _behind_a_web_acl(resources: dict[str, Any], api: str) -> bool:
    distributions = [
        resource["Properties"]["DistributionConfig"]
        for resource in resources.values()
        if resource["Type"] == "AWS::CloudFront::Distribution"
    ]
    return any(f"${{{api}}}." in str(given.get("Origins")) and given.get("WebACLId") for given in distributions)


def _local_code(resource: dict[str, Any]) -> None:
    """Replace folders by URIs, as ``sam package`` does."""
    properties = resource.get("Properties", {})
    for name in ("CodeUri", "ContentUri"):
        if isinstance(properties.get(name), str):
            properties[name] = f"s3://bucket/{properties[name].strip('/')}"


def _default(spec: dict[str, Any]) -> str:
    return str(spec.get("Default", "subnet-1,subnet-2" if "List" in spec["Type"] else "value"))


def main() -> None:
    template = ROOT / "template.yaml"
    if found := problems(yaml.load(template.read_text(), Loader=TagLoader)):  # noqa: S506 - a SafeLoader
        raise SystemExit("\n".join(found))
    try:
        translated = translate(template)
    except InvalidDocumentException as error:
        raise SystemExit("\n".join(cause.message for cause in error.causes)) from error
    if found := shared_names(translated):
        raise SystemExit("\n".join(found))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(translated, file)
        file.flush()
        linter = str(Path(sys.executable).with_name("cfn-lint"))
        raise SystemExit(subprocess.call([linter, file.name]))


if __name__ == "__main__":
    main()
