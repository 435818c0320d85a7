"""Write the rules of the objectives and the dashboards: ``python -m local.observability.write``."""

from pathlib import Path

import yaml

from local.observability import cloudwatch, slos
from local.observability.boards import BOARDS
from local.observability.panels import encoded

FOLDER = Path(__file__).parent
NOTICE = "# Written by `make observability` from slos.py.\n"


def files() -> dict[Path, str]:
    """The contents of the generated files, by their paths."""
    rules = {
        FOLDER / "rules" / f"{objective.alert}.yaml": NOTICE
        + yaml.safe_dump(slos.rules(objective), sort_keys=False, width=110, allow_unicode=True)
        for objective in slos.OBJECTIVES
    }
    dashboards = {FOLDER / "grafana" / "dashboards" / f"{board.name}.json": encoded(board) for board in BOARDS}
    return {**rules, **dashboards, cloudwatch.TEMPLATE: cloudwatch.written()}


def main() -> None:
    for path, text in files().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
