"""Measure how well a model finds copies, and compare with perceptual hashes, on photos and on generated images.

micro-AP pools the scores of all queries, so that it measures a single threshold for all of them (Pizzi et al., "A
self-supervised descriptor for image copy detection", CVPR 2022).
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
from deeplens.imaging.limits import Limits
from deeplens.imaging.standardise import standard_jpeg
from PIL import Image
from rich.progress import track
from rich.table import Table

from functions.inference_endpoint.model import EmbeddingModel
from functions.inference_endpoint.server import NEWEST_MODEL
from functions.inference_endpoint.training import procedural
from local.bench.copies import TRANSFORMATIONS
from local.cli.screen import console
from local.demo.photos import scikit_image_photos

type Floats = npt.NDArray[np.float32]
type Describe = Callable[[Sequence[bytes]], Floats]

ORIGINALS, BATCH = 60, 64
FIRST_SEED = 90_000_000
"""First seed of the held-out images; training uses others."""
TOP_REFERENCES = 10
"""Number of the best references of each query that are ranked."""
PRECISION = 0.99
HASHES = ("pHash", "dHash", "PDQ")


@dataclass(frozen=True, slots=True)
class Queries:
    """Copies, with the name of each transformation and the index of each original."""

    names: list[str]
    bodies: list[bytes]
    original: npt.NDArray[np.int64]


def bench_model(folder: Path = NEWEST_MODEL, originals: int = ORIGINALS, distractors: int = 3000) -> dict[str, Any]:
    """Measure a model folder, by default the newest built-in model, and return flat figures.

    Parameters
    ----------
    originals : maximum number of originals, of photos and of generated images.
    distractors : number of other images among which the originals have to be found.
    """
    with ThreadPoolExecutor() as workers:
        model = EmbeddingModel(folder, workers)
        name = f"{model.manifest.name} {model.manifest.version}"
        describers: dict[str, Describe] = {name: model.embed_images, **hashes()}
        figures: dict[str, Any] = {"model": name, "transformations": len(TRANSFORMATIONS), "distractors": distractors}
        others = [_png(procedural.image(FIRST_SEED + 10_000 + number)) for number in range(distractors)]
        for kind, images in (("photos", photographs(originals)), ("made", generated_images(originals))):
            figures |= _compare(kind, images, others, describers)
        model.close()
    return figures


def photographs(count: int = ORIGINALS) -> list[bytes]:
    """Return photos as standard JPEGs, as the pipeline stores them."""
    return [standard_jpeg(photo.body, Limits()) for photo in scikit_image_photos()[:count]]


def generated_images(count: int) -> list[bytes]:
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
    """Return common perceptual hashes as vectors of ±1, scaled so that their dot product is a similarity."""

    def signs(bits: Callable[[Image.Image], npt.NDArray[Any]]) -> Describe:
        def describe(bodies: Sequence[bytes]) -> Floats:
            rows = [np.asarray(bits(Image.open(BytesIO(body)).convert("RGB"))).reshape(-1) for body in bodies]
            values = np.where(np.stack(rows) > 0, 1, -1).astype(np.float32)
            return np.asarray(values / np.sqrt(values.shape[1]), np.float32)

        return describe

    describers = {
        "pHash": signs(lambda image: imagehash.phash(image).hash),
        "dHash": signs(lambda image: imagehash.dhash(image).hash),
    }
    try:
        import pdqhash
    except ImportError:
        console.print("PDQ is not measured: it is not installed. `uv sync --group bench` compiles it.")
        return describers
    return describers | {"PDQ": signs(lambda image: pdqhash.compute(np.asarray(image))[0])}


def _compare(
    kind: str, originals: list[bytes], distractors: list[bytes], describers: dict[str, Describe]
) -> dict[str, float | int]:
    queries = copies_of(originals)
    figures: dict[str, float | int] = {f"{kind}_originals": len(originals), f"{kind}_queries": len(queries.bodies)}
    hits_by: dict[str, npt.NDArray[np.bool_]] = {}
    for name, describe in describers.items():
        references = describe_all(describe, [*originals, *distractors], f"{name}: references")
        scores = describe_all(describe, queries.bodies, f"{name}: copies of {kind}") @ references.T
        key = f"{kind}_{name if name in HASHES else 'model'}"
        hits_by[name] = scores.argmax(1) == queries.original
        figures[f"{key}_micro_ap"] = micro_ap(scores, queries.original)
        figures[f"{key}_recall_at_1"] = float(hits_by[name].mean())
        figures[f"{key}_recall_at_p99"], threshold = recall_at_precision(scores, queries.original, PRECISION)
        if key.endswith("_model"):
            figures |= {f"{kind}_threshold_at_p99": threshold, **_levels(kind, scores, queries)}
    figures |= _per_transformation(kind, queries, hits_by)
    return figures


def describe_all(describe: Describe, bodies: Sequence[bytes], title: str) -> Floats:
    """Return the images' descriptors, shape (n, d)."""
    starts = track(range(0, len(bodies), BATCH), title, console=console, transient=True)
    return np.concatenate([describe(bodies[start : start + BATCH]) for start in starts])


def micro_ap(scores: Floats, original: npt.NDArray[np.int64]) -> float:
    """Return the average precision over the best references of all queries together."""
    correct, _ = _ranked(scores, original)
    precision = np.cumsum(correct) / np.arange(1, len(correct) + 1)
    return float((precision * correct).sum() / len(original))


def recall_at_precision(scores: Floats, original: npt.NDArray[np.int64], precision: float) -> tuple[float, float]:
    """Return the share of copies found at the lowest threshold that keeps the precision, and that threshold."""
    correct, ranked_scores = _ranked(scores, original)
    precise = np.flatnonzero(np.cumsum(correct) / np.arange(1, len(correct) + 1) >= precision)
    if not precise.size:
        return 0.0, float("inf")
    return float(np.cumsum(correct)[precise[-1]] / len(original)), float(ranked_scores[precise[-1]])


def _ranked(scores: Floats, original: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Rank the best references of all queries together; return whether each is correct, and its score.

    Among equal scores, incorrect references come first.
    """
    best = np.argpartition(-scores, TOP_REFERENCES, axis=1)[:, :TOP_REFERENCES]
    best_scores = np.take_along_axis(scores, best, 1).reshape(-1)
    correct = (best == original[:, None]).reshape(-1)
    order = np.lexsort((correct, -best_scores))
    return correct[order], best_scores[order]


def _levels(kind: str, scores: Floats, queries: Queries) -> dict[str, float]:
    """Return quantiles of the scores, from which thresholds can be chosen."""
    original_scores = np.take_along_axis(scores, queries.original[:, None], 1)[:, 0]
    others = scores.copy()
    np.put_along_axis(others, queries.original[:, None], -1, 1)
    return {
        f"{kind}_own_median": float(np.median(original_scores)),
        f"{kind}_own_p10": float(np.percentile(original_scores, 10)),
        f"{kind}_best_other_p99": float(np.percentile(others.max(1), 99)),
        f"{kind}_best_other_max": float(others.max()),
    }


def _per_transformation(
    kind: str, queries: Queries, hits_by: dict[str, npt.NDArray[np.bool_]]
) -> dict[str, float | int]:
    table = Table("recall@1", *hits_by, title=f"copies of {kind}", title_justify="left")
    names = np.array(queries.names)
    shares = {change: [float(hits[names == change].mean()) for hits in hits_by.values()] for change in TRANSFORMATIONS}
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
