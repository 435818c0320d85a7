"""Tests of one group run in one process. As ``--dist loadgroup`` of pytest-xdist, which pytest 9.2 silently breaks.

Its processes collect and name the groups, in a file of the run; the scheduler reads that when all have collected.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from xdist.scheduler import LoadScopeScheduling

GROUPS_FILE = "groups_file"


class GroupScheduling(LoadScopeScheduling):
    """Hands out groups in the order of collection; a test without a group is one of its own."""

    def __init__(self, config: Any, log: Any, groups_file: Path) -> None:
        super().__init__(config, log)
        self._groups_file = groups_file

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)

    @cached_property
    def _groups(self) -> dict[str, str]:
        return dict(json.loads(self._groups_file.read_text()))


def tell_groups(worker_input: Mapping[str, Any], groups: Mapping[str, str]) -> None:
    """By the first process; the others collect the same."""
    if worker_input["workerid"] == "gw0":
        Path(worker_input[GROUPS_FILE]).write_text(json.dumps(groups))
