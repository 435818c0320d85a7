"""Compare documents of the current code with the stored ones."""

import json
import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SWITCH = "ACCEPT_CONTRACT_CHANGES"
COMMAND = f"{SWITCH}=1 .venv/bin/python -m pytest -k compatibility tests"


def differences(name: str, document: Any) -> list[str]:
    """Where ``document`` differs from the stored one, one line per place; with the switch set it is stored instead."""
    path = HERE / f"{name}.json"
    if os.environ.get(SWITCH):
        path.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    stored = json.loads(path.read_text()) if path.exists() else None
    return list(_differences(stored, json.loads(json.dumps(document)), name))


def explain(found: list[str]) -> str:
    """What a failing test says."""
    lines = "\n".join(f"  {line}" for line in found[:40])
    return f"{len(found)} differences from the published contract:\n{lines}\nIf they are meant: {COMMAND}"


def _differences(stored: Any, current: Any, place: str) -> list[str]:
    if isinstance(stored, dict) and isinstance(current, dict):
        return [
            line
            for key in sorted(stored.keys() | current.keys())
            for line in _of_key(stored, current, key, f"{place} › {key}")
        ]
    return [] if stored == current else [f"{place}: {_short(stored)} became {_short(current)}"]


def _of_key(stored: dict[str, Any], current: dict[str, Any], key: str, place: str) -> list[str]:
    if key not in current:
        return [f"{place}: removed"]
    if key not in stored:
        return [f"{place}: added"]
    return _differences(stored[key], current[key], place)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
