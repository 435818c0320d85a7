"""``deeplens models add`` and ``list``: check a model folder as the endpoint does, and add it atomically."""

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
from botocore.exceptions import BotoCoreError, ClientError
from deeplens.aws.clients import client
from deeplens.settings import Settings
from google.protobuf.message import DecodeError
from onnx import TensorProto
from rich.progress import Progress

from functions.inference_endpoint.manifest import MODEL, MODELS, Manifest, ModelRefused, check_files, read_manifest
from functions.inference_endpoint.model import EmbeddingModel
from local.cli.screen import console
from local.services import ServiceFailed

S3 = "s3://"
WEIGHT_TYPES = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
}
SCALED_BY_BATCH = "DynamicQuantizeLinear"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that the endpoint serves. ``size_bytes`` counts all its files; ``built_in`` ones ship with DeepLens."""

    manifest: Manifest
    folder: Path
    precision: str
    size_bytes: int
    built_in: bool


def add(source: str, models: Path, settings: Settings | None = None) -> ServedModel:
    """Check the model folder at ``source`` and copy it to ``models``; safe to repeat.

    Parameters
    ----------
    source : a directory, or ``s3://bucket/prefix``.
    settings : settings of the S3 client; by default those of the environment.

    Raises
    ------
    ServiceFailed
        The folder is missing, contradicts its manifest, or another model has its name and version.
    """
    models.mkdir(parents=True, exist_ok=True)
    with _temporary_copy(source, models, settings) as copy:
        try:
            manifest = read_manifest(copy)
            check_files(copy, manifest)
            _refuse_batch_scales(copy, manifest)
            with ThreadPoolExecutor(1) as workers:
                EmbeddingModel(copy, workers).close()
        except ModelRefused as error:
            raise ServiceFailed(str(error).replace(str(copy), source)) from error
        return _move(copy, manifest, models)


def served_models(models: Path) -> list[ServedModel]:
    """Return the built-in models and the added ones."""
    folders = [(path.parent, root == MODELS) for root in (MODELS, models) for path in root.glob("*/*/manifest.json")]
    return [_describe(folder, built_in) for folder, built_in in sorted(folders)]


def _refuse_batch_scales(copy: Path, manifest: Manifest) -> None:
    """Raise ``ModelRefused`` for a graph whose scales depend on all inputs of a call.

    Images of several tenants share calls, and no image may change the vector of another.
    """
    for name in manifest.files:
        if name.endswith(".onnx") and any(node.op_type == SCALED_BY_BATCH for node in _graph(copy / name).node):
            raise ModelRefused(
                f"{copy / name} is quantised dynamically ({SCALED_BY_BATCH}): an embedding would depend on the other "
                "images of its batch; quantise it with fixed scales"
            )


def _graph(path: Path) -> onnx.GraphProto:
    try:
        return onnx.load(path).graph
    except DecodeError as error:
        raise ModelRefused(f"{path}: not an ONNX file") from error


def _move(copy: Path, manifest: Manifest, models: Path) -> ServedModel:
    for root in (MODELS, models):
        existing = root / manifest.name / manifest.version
        if existing.exists():
            if read_manifest(existing).files == manifest.files:
                return _describe(existing, built_in=root == MODELS)
            message = f"{manifest.name} {manifest.version} exists with other files; give this model a new version"
            raise ServiceFailed(message)
    target = models / manifest.name / manifest.version
    target.parent.mkdir(exist_ok=True)
    copy.rename(target)
    return _describe(target, built_in=False)


@contextmanager
def _temporary_copy(source: str, models: Path, settings: Settings | None) -> Iterator[Path]:
    """Yield a copy of a model folder on the file system of ``models``, so that a rename can move it there."""
    with tempfile.TemporaryDirectory(prefix=".adding-", dir=models) as scratch:
        copy = Path(scratch) / "model"
        copy.mkdir()
        if source.startswith(S3):
            _download(source, copy, settings or Settings())
        elif (Path(source) / "manifest.json").is_file():
            for name in ("manifest.json", *_manifest_of(Path(source)).files):
                _copy(Path(source) / name, copy / name)
        else:
            raise ServiceFailed(f"{source} has no manifest.json")
        yield copy


def _manifest_of(folder: Path) -> Manifest:
    try:
        return read_manifest(folder)
    except ModelRefused as error:
        raise ServiceFailed(str(error)) from error


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ServiceFailed(f"{source}: {error.strerror}") from error


def _download(source: str, copy: Path, settings: Settings) -> None:
    bucket, _, prefix = source.removeprefix(S3).partition("/")
    base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    s3 = client("s3", settings)
    try:
        s3.download_file(bucket, f"{base}manifest.json", str(copy / "manifest.json"))
        with Progress(console=console) as progress:
            for name in progress.track(list(_manifest_of(copy).files), description=f"fetching {source}"):
                s3.download_file(bucket, f"{base}{name}", str(copy / name))
    except (BotoCoreError, ClientError) as error:
        raise ServiceFailed(f"{source}: {error}") from error


def _describe(folder: Path, built_in: bool) -> ServedModel:
    manifest = read_manifest(folder)
    size = sum((folder / name).stat().st_size for name in manifest.files)
    return ServedModel(manifest, folder, precision_of(folder / MODEL), size, built_in)


def precision_of(path: Path) -> str:
    """Return the precision that most of a graph's weights have."""
    sizes: dict[str, int] = {}
    for weight in onnx.load(path).graph.initializer:
        kind = WEIGHT_TYPES.get(weight.data_type, "other")
        sizes[kind] = sizes.get(kind, 0) + len(weight.raw_data)
    return max(sizes, key=sizes.__getitem__, default="none")
