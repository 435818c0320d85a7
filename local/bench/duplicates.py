"""Measure how well verdicts tell duplicates from similar images: precision and recall on a seeded set.

Each copy and each look-alike is compared with its original as two uploads are: standardised, embedded by the built-in
model, hashed, and judged by the pipeline's rules. For comparison, the bench also uses other perceptual hashes with the
same rules, the hash alone, and the model alone.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from itertools import combinations
from typing import Any

import imagehash
import numpy as np
from deeplens.duplicates.model import MAX_NEAR_BITS, Evidence, evidence_of, verdict_of
from deeplens.embedding.model import Thresholds
from deeplens.images.model import ImageRecord, Step
from deeplens.imaging.limits import Limits
from deeplens.imaging.perceptual_hash import perceptual_hash
from deeplens.imaging.standardise import standardise
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from rich.progress import track
from rich.table import Table

from functions.inference_endpoint.model import EmbeddingModel
from functions.inference_endpoint.server import NEWEST_MODEL
from local.bench.copies import cut, gamma, meme, noise, small, sticker, watermark
from local.bench.model import BATCH, ORIGINALS, Floats, generated_images, photographs
from local.cli.screen import console

type File = Callable[[Image.Image], bytes]
type Hash = Callable[[Image.Image], int]
type Rule = Callable[[Evidence, bool, Thresholds], bool]


def jpeg(quality: int, change: Callable[[Image.Image], Image.Image] = lambda image: image) -> File:
    return lambda image: _encoded(change(image), "JPEG", quality)


def scaled(factor: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        size = max(1, int(image.width * factor)), max(1, int(image.height * factor))
        return image.resize(size, Image.Resampling.BICUBIC)

    return change


RE_ENCODED: dict[str, File] = {
    "JPEG quality 90": jpeg(90),
    "JPEG quality 50": jpeg(50),
    "JPEG quality 25": jpeg(25),
    "JPEG quality 10": jpeg(10),
    "WebP": lambda image: _encoded(image, "WEBP", 60),
    "PNG": lambda image: _encoded(image, "PNG", 0),
    "half size": jpeg(88, scaled(0.5)),
    "quarter size": jpeg(88, scaled(0.25)),
    "half size, quality 25": jpeg(25, scaled(0.5)),
    "64 pixels": jpeg(88, small),
    "double size": jpeg(88, scaled(2)),
}
"""Files with the same picture."""
CHANGED: dict[str, File] = {
    "darker": jpeg(88, gamma(1.3)),
    "brighter": jpeg(88, gamma(0.75)),
    "more colour": jpeg(88, lambda image: ImageEnhance.Color(image).enhance(1.3)),
    "more contrast": jpeg(88, lambda image: ImageEnhance.Contrast(image).enhance(1.3)),
    "sharpened": jpeg(88, lambda image: image.filter(ImageFilter.SHARPEN)),
    "blurred": jpeg(88, lambda image: image.filter(ImageFilter.GaussianBlur(min(image.size) / 200))),
    "grey": jpeg(88, lambda image: image.convert("L").convert("RGB")),
    "crop to 98 %": jpeg(88, cut(0.01, 0.01, 0.99, 0.99)),
    "crop to 95 %": jpeg(88, cut(0.025, 0.025, 0.975, 0.975)),
    "noise": jpeg(88, noise),
    "meme": jpeg(88, meme),
    "sticker": jpeg(88, sticker),
    "watermark": jpeg(88, watermark),
}
"""Edited copies, which count as duplicates."""
SIMILAR: dict[str, File] = {
    "middle 60 %": jpeg(88, cut(0.2, 0.2, 0.8, 0.8)),
    "upper left 70 %": jpeg(88, cut(0, 0, 0.7, 0.7)),
    "lower right 70 %": jpeg(88, cut(0.3, 0.3, 1, 1)),
    "panned": jpeg(88, cut(0.15, 0.15, 1, 1)),
    "mirrored": jpeg(88, ImageOps.mirror),
    "upside down": jpeg(88, ImageOps.flip),
    "turned by 90°": jpeg(88, lambda image: image.transpose(Image.Transpose.ROTATE_90)),
    "turned by 8°": jpeg(88, lambda image: image.rotate(8, Image.Resampling.BILINEAR)),
}
"""Pictures that share much with the original, but do not count as duplicates."""
KINDS = {"re-encoded": RE_ENCODED, "changed": CHANGED, "similar": SIMILAR}
HASHES: dict[str, Hash] = {
    "pHash": perceptual_hash,
    "dHash": lambda image: int(str(imagehash.dhash(image)), 16),
    "pHash simple": lambda image: int(str(imagehash.phash_simple(image)), 16),
    "average": lambda image: int(str(imagehash.average_hash(image)), 16),
}
RULES: dict[str, Rule] = {
    "model and hash": lambda evidence, comparable, thresholds: verdict_of(evidence, comparable, thresholds) is not None,
    "model alone": lambda evidence, _, thresholds: (evidence.score or 0) >= thresholds.near_duplicate,
    "hash alone": lambda evidence, comparable, _: comparable and (evidence.hash_distance or 0) <= MAX_NEAR_BITS,
}
COLUMNS = [("model and hash", "pHash"), ("model and hash", "dHash"), ("model and hash", "pHash simple")]
COLUMNS += [("model and hash", "average"), ("model alone", "pHash"), ("hash alone", "pHash")]
AS_DEPLOYED = COLUMNS[0]


@dataclass(frozen=True, slots=True)
class Described:
    """An image's row, embedding, and perceptual hashes by name."""

    row: ImageRecord
    vector: Floats
    hashes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Case:
    """Two images: how the second was made from the first, the evidence, and the hash distances by hash name."""

    kind: str
    change: str
    evidence: Evidence
    comparable: bool
    distances: dict[str, int]


def bench_duplicates(originals: int = ORIGINALS) -> dict[str, Any]:
    """Measure precision and recall; a verdict is right if it calls copies duplicates and nothing else.

    Parameters
    ----------
    originals : maximum number of originals, of photos and of generated images.
    """
    with ThreadPoolExecutor() as workers:
        model = EmbeddingModel(NEWEST_MODEL, workers)
        thresholds = Thresholds(**model.manifest.thresholds.model_dump()) if model.manifest.thresholds else None
        assert thresholds is not None
        photos = _cases(model, photographs(originals), "photos")
        cases = [*photos, *_cases(model, generated_images(originals), "generated images")]
        name = f"{model.manifest.name} {model.manifest.version}"
        model.close()
    figures: dict[str, Any] = {"model": name, "pairs": len(cases), "copies": sum(_is_copy(case) for case in cases)}
    for rule, hashed in COLUMNS:
        precision, recall = _precision_and_recall(cases, rule, hashed, thresholds)
        label = f" {rule}, {hashed}" if rule != "model alone" else " model alone"
        suffix = "" if (rule, hashed) == AS_DEPLOYED else label
        figures |= {f"precision{suffix}": precision, f"recall{suffix}": recall}
    for kind in KINDS:
        figures[f"called_duplicates {kind}"] = _share([c for c in cases if c.kind == kind], *AS_DEPLOYED, thresholds)
    figures["called_duplicates different"] = _share(
        [c for c in cases if c.kind == "different"], *AS_DEPLOYED, thresholds
    )
    _print(cases, thresholds)
    return figures


def _cases(model: EmbeddingModel, originals: Sequence[bytes], title: str) -> Iterator[Case]:
    pictures = [Image.open(BytesIO(body)).convert("RGB") for body in originals]
    described = _describe(model, [_encoded(picture, "PNG", 0) for picture in pictures])
    every = [(kind, name, file) for kind, changes in KINDS.items() for name, file in changes.items()]
    for kind, name, file in track(every, f"copies of {title}", console=console, transient=True):
        copies = _describe(model, [file(picture) for picture in pictures])
        for original, copy in zip(described, copies, strict=True):
            yield _case(kind, name, original, copy)
    for first, second in combinations(described, 2):
        yield _case("different", "another image", first, second)


def _describe(model: EmbeddingModel, bodies: Sequence[bytes]) -> list[Described]:
    standard = [standardise(body, Limits()) for body in bodies]
    starts = range(0, len(standard), BATCH)
    vectors = np.concatenate([model.embed_images([s.jpeg for s in standard[i : i + BATCH]]) for i in starts])
    described = []
    for number, (image, vector) in enumerate(zip(standard, vectors, strict=True)):
        at = datetime.fromtimestamp(number, UTC)
        row = ImageRecord(
            id=f"img_{number}",
            file_name="a",
            storage_path="",
            mime_type=image.mime_type,
            size_bytes=1,
            sha256="",
            uploaded_at=at,
            updated_at=at,
            generation=1,
            step=Step.COMPLETED,
            revision=1,
            tags=(),
            metadata={},
            width=image.width,
            height=image.height,
        )
        with Image.open(BytesIO(image.small)) as opened:
            thumbnail = opened.convert("RGB")
        # The pipeline hashes pixels before compression; the other hashes read the compressed thumbnail.
        hashes = {name: hashed(thumbnail) for name, hashed in HASHES.items()} | {"pHash": image.perceptual_hash}
        described.append(Described(row, vector, hashes))
    return described


def _case(kind: str, change: str, first: Described, second: Described) -> Case:
    score = float(first.vector @ second.vector)
    second_row = replace(second.row, id="other", sha256="other")
    evidence, comparable = evidence_of(first.row, second_row, score, {})
    distances = {name: (first.hashes[name] ^ second.hashes[name]).bit_count() for name in HASHES}
    return Case(kind, change, evidence, comparable, distances)


def _is_copy(case: Case) -> bool:
    return case.kind in ("re-encoded", "changed")


def _is_called_duplicate(case: Case, rule: str, hashed: str, thresholds: Thresholds) -> bool:
    evidence = replace(case.evidence, hash_distance=case.distances[hashed])
    return RULES[rule](evidence, case.comparable, thresholds)


def _precision_and_recall(cases: Sequence[Case], rule: str, hashed: str, thresholds: Thresholds) -> tuple[float, float]:
    called = [case for case in cases if _is_called_duplicate(case, rule, hashed, thresholds)]
    right = sum(map(_is_copy, called))
    return right / max(1, len(called)), right / sum(map(_is_copy, cases))


def _share(cases: Sequence[Case], rule: str, hashed: str, thresholds: Thresholds) -> float:
    return sum(_is_called_duplicate(case, rule, hashed, thresholds) for case in cases) / len(cases)


def _print(cases: Sequence[Case], thresholds: Thresholds) -> None:
    table = Table("share called duplicates", title="verdicts", title_justify="left")
    for rule, hashed in COLUMNS:
        table.add_column("model alone" if rule == "model alone" else f"{rule.replace('hash', hashed)}", justify="right")
    for label, value in (("precision", 0), ("recall", 1)):
        values = [_precision_and_recall(cases, *column, thresholds)[value] for column in COLUMNS]
        table.add_row(label, *(f"{number:.3f}" for number in values), style="bold", end_section=bool(value))
    for kind in (*KINDS, "different"):
        changes = dict.fromkeys(case.change for case in cases if case.kind == kind)
        for change in changes:
            selected = [case for case in cases if (case.kind, case.change) == (kind, change)]
            shares = [_share(selected, *column, thresholds) for column in COLUMNS]
            table.add_row(f"{kind}: {change}", *(f"{share:.3f}" for share in shares))
    console.print(table)


def _encoded(image: Image.Image, kind: str, quality: int) -> bytes:
    out = BytesIO()
    image.save(out, kind, quality=quality)
    return out.getvalue()
