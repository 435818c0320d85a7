"""Print the figures of a bench, and write them to a file for comparison over time."""

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from local.cli.screen import console

FOLDER = Path(".bench")
type Figures = dict[str, Any]


def publish(name: str, figures: Figures, folder: Path = FOLDER) -> None:
    """Print flat figures, and write them to ``NAME.json`` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    table = Table(title=f"{name} → {folder / name}.json", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for key, value in figures.items():
        if isinstance(value, list):
            continue
        table.add_row(key, f"{value:.3f}" if isinstance(value, float) else str(value))
    console.print(table)
