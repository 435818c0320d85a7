"""Measure how well a model finds copies, beside perceptual hashes, on photos and on generated images.

micro-AP pools the scores of all queries, so that one threshold has to serve them all (Pizzi et al., "A self-supervised
descriptor for image copy detection", CVPR 2022).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import numpy.typing as npt
from deeplens.imaging import Limits, standard_jpeg
from PIL import Image
from rich.progress import track
from rich.table import Table

from functions.inference_endpoint.model import EmbeddingModel
from functions.inference_endpoint.server import NEWEST
from functions.inference_endpoint.training import procedural
from local.bench.copies import TRANSFORMATIONS
from local.cli.screen import console
from local.demo.photos import scikit_image_photos

type Floats = npt.NDArray[np.float32]
type Describe = Callable[[Sequence[bytes]], Floats]

ORIGINALS, BATCH = 60, 64
FIRST_SEED = 90_000_000
"""Of held-out images; training uses others."""
KEPT = 10
"""References that count per query, best first."""
PRECISION = 0.99
HASHES = ("pHash", "dHash", "PDQ")


@dataclass(frozen=True, slots=True)
class Queries:
    """Copies, and which original each is of."""

    names: list[str]
    bodies: list[bytes]
    original: npt.NDArray[np.int64]


def bench_model(folder: Path = NEWEST, originals: int = ORIGINALS, distractors: int = 3000) -> dict[str, Any]:
    """Flat figures of a model folder, the newest built-in one by default.

    Parameters
    ----------
    originals : of each kind that copies are made of, at most.
    distractors : other images among which the originals have to be found.
    """
    with ThreadPoolExecutor() as workers:
        model = EmbeddingModel(folder, workers)
        name = f"{model.manifest.name} {model.manifest.version}"
        describers: dict[str, Describe] = {name: model.embed_images, **hashes()}
        figures: dict[str, Any] = {"model": name, "transformations": len(TRANSFORMATIONS), "distractors": distractors}
        others = [_png(procedural.image(FIRST_SEED + 10_000 + number)) for number in range(distractors)]
        for kind, images in (("photos", photographs(originals)), ("made", made(originals))):
            figures |= _compare(kind, images, others, describers)
        model.close()
    return figures


def photographs(count: int = ORIGINALS) -> list[bytes]:
    """As the pipeline stores them."""
    return [standard_jpeg(photo.body, Limits()) for photo in scikit_image_photos()[:count]]


def made(count: int) -> list[bytes]:
    return [_png(procedural.image(FIRST_SEED + number)) for number in range(count)]


def copies_of(originals: Sequence[bytes]) -> Queries:
    names, bodies, original = [], [], []
    for number, body in enumerate(originals):
        image = Image.open(BytesIO(body)).convert("RGB")
        for name, change in TRANSFORMATIONS.items():
            names.append(name)
            bodies.append(_jpeg(change(image)))
            original.append(number)
    return Queries(names, bodies, np.array(original))


def hashes() -> dict[str, Describe]:
    """The usual perceptual hashes, as vectors of ±1 whose product is a similarity."""

    def signs(bits: Callable[[Image.Image], npt.NDArray[Any]]) -> Describe:
        def describe(bodies: Sequence[bytes]) -> Floats:
            rows = [np.asarray(bits(Image.open(BytesIO(body)).convert("RGB"))).reshape(-1) for body in bodies]
            values = np.where(np.stack(rows) > 0, 1, -1).astype(np.float32)
            return np.asarray(values / np.sqrt(values.shape[1]), np.float32)

        return describe

    found = {
        "pHash": signs(lambda image: imagehash.phash(image).hash),
        "dHash": signs(lambda image: imagehash.dhash(image).hash),
    }
    try:
        import pdqhash
    except ImportError:
        console.print("PDQ is left out: `uv sync --group bench` compiles it")
        return found
    return found | {"PDQ": signs(lambda image: pdqhash.compute(np.asarray(image))[0])}


def _compare(
    kind: str, originals: list[bytes], distractors: list[bytes], describers: dict[str, Describe]
) -> dict[str, float | int]:
    queries = copies_of(originals)
    figures: dict[str, float | int] = {f"{kind}_originals": len(originals), f"{kind}_queries": len(queries.bodies)}
    found_by: dict[str, npt.NDArray[np.bool_]] = {}
    for name, describe in describers.items():
        references = described(describe, [*originals, *distractors], f"{name}: references")
        scores = described(describe, queries.bodies, f"{name}: copies of {kind}") @ references.T
        key = f"{kind}_{name if name in HASHES else 'model'}"
        found_by[name] = scores.argmax(1) == queries.original
        figures[f"{key}_micro_ap"] = micro_ap(scores, queries.original)
        figures[f"{key}_recall_at_1"] = float(found_by[name].mean())
        figures[f"{key}_recall_at_p99"], threshold = recall_at_precision(scores, queries.original, PRECISION)
        if key.endswith("_model"):
            figures |= {f"{kind}_threshold_at_p99": threshold, **_levels(kind, scores, queries)}
    figures |= _per_transformation(kind, queries, found_by)
    return figures


def described(describe: Describe, bodies: Sequence[bytes], title: str) -> Floats:
    """Descriptors, shape (n, d)."""
    starts = track(range(0, len(bodies), BATCH), title, console=console, transient=True)
    return np.concatenate([describe(bodies[start : start + BATCH]) for start in starts])


def micro_ap(scores: Floats, original: npt.NDArray[np.int64]) -> float:
    """Average precision over the best references of all queries together."""
    correct, _ = _ranked(scores, original)
    precision = np.cumsum(correct) / np.arange(1, len(correct) + 1)
    return float((precision * correct).sum() / len(original))


def recall_at_precision(scores: Floats, original: npt.NDArray[np.int64], precision: float) -> tuple[float, float]:
    """Share of copies found at the lowest threshold that keeps the precision, and that threshold."""
    correct, kept = _ranked(scores, original)
    precise = np.flatnonzero(np.cumsum(correct) / np.arange(1, len(correct) + 1) >= precision)
    if not precise.size:
        return 0.0, float("inf")
    return float(np.cumsum(correct)[precise[-1]] / len(original)), float(kept[precise[-1]])


def _ranked(scores: Floats, original: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Whether each pair is right, and its score, over the best of all queries, best first; ties count as wrong."""
    best = np.argpartition(-scores, KEPT, axis=1)[:, :KEPT]
    kept = np.take_along_axis(scores, best, 1).reshape(-1)
    correct = (best == original[:, None]).reshape(-1)
    order = np.lexsort((correct, -kept))
    return correct[order], kept[order]


def _levels(kind: str, scores: Floats, queries: Queries) -> dict[str, float]:
    """Scores that thresholds can be read from."""
    own = np.take_along_axis(scores, queries.original[:, None], 1)[:, 0]
    others = scores.copy()
    np.put_along_axis(others, queries.original[:, None], -1, 1)
    return {
        f"{kind}_own_median": float(np.median(own)),
        f"{kind}_own_p10": float(np.percentile(own, 10)),
        f"{kind}_best_other_p99": float(np.percentile(others.max(1), 99)),
        f"{kind}_best_other_max": float(others.max()),
    }


def _per_transformation(
    kind: str, queries: Queries, found_by: dict[str, npt.NDArray[np.bool_]]
) -> dict[str, float | int]:
    table = Table("recall@1", *found_by, title=f"copies of {kind}", title_justify="left")
    names = np.array(queries.names)
    shares = {
        change: [float(found[names == change].mean()) for found in found_by.values()] for change in TRANSFORMATIONS
    }
    for change, row in shares.items():
        table.add_row(change, *(f"{share:.3f}" for share in row))
    console.print(table)
    return {f"{kind}_recall_at_1 {change}": row[0] for change, row in shares.items()}


def _png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _jpeg(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()
