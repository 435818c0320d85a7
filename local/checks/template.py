"""Translate template.yaml to plain CloudFormation and lint the result, because SAM's own lint checks little."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from local.runner.template import TagLoader

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


def _local_code(resource: dict[str, Any]) -> None:
    """Replace folders by URIs, as ``sam package`` does."""
    properties = resource.get("Properties", {})
    for name in ("CodeUri", "ContentUri"):
        if isinstance(properties.get(name), str):
            properties[name] = f"s3://bucket/{properties[name].strip('/')}"


def _default(spec: dict[str, Any]) -> str:
    return str(spec.get("Default", "subnet-1,subnet-2" if "List" in spec["Type"] else "value"))


def main() -> None:
    try:
        translated = translate(ROOT / "template.yaml")
    except InvalidDocumentException as error:
        raise SystemExit("\n".join(cause.message for cause in error.causes)) from error
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(translated, file)
        file.flush()
        linter = str(Path(sys.executable).with_name("cfn-lint"))
        raise SystemExit(subprocess.call([linter, file.name]))


if __name__ == "__main__":
    main()
