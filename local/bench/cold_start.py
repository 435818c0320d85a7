"""Measure how long each handler takes to import in a fresh process, beside one that imports only boto3's S3 client."""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.progress import track

from local.cli.screen import console
from local.runner.template import load
from local.stack.stack import REPOSITORY

PROGRAM = "import time; t = time.perf_counter(); import handler; print((time.perf_counter() - t) * 1000)"
REFERENCE = "import boto3\n\nclient = boto3.client('s3', region_name='us-east-1')\n"


def bench_cold_start(repeats: int = 5, functions: int = 100) -> dict[str, float | int | str]:
    """Measure ``NAME_init_ms``, the median of ``repeats`` imports, and ``NAME_ratio``, its ratio to the reference.

    Parameters
    ----------
    functions : number of functions to measure, at most.
    """
    specs = load(REPOSITORY / "template.yaml", {}, {}).functions[:functions]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "handler.py").write_text(REFERENCE)
        reference = _init_ms(Path(folder), repeats)
    figures: dict[str, float | int | str] = {"reference_init_ms": reference}
    for spec in track(specs, description="cold starts", console=console):
        figures[f"{spec.name}_init_ms"] = init = _init_ms(spec.code, repeats)
        figures[f"{spec.name}_ratio"] = init / reference
    return figures


def _init_ms(folder: Path, repeats: int) -> float:
    environment = {
        "PYTHONPATH": f"{folder}:{REPOSITORY / 'layers' / 'core'}",
        "PATH": "/usr/bin:/bin",
        "INFERENCE_URL": "https://127.0.0.1:9",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    runs = [
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
        for _ in range(repeats + 1)
    ]
    # The first run may compile bytecode.
    return statistics.median(float(run.stdout) for run in runs[1:])
