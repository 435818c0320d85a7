"""``deeplens models add`` and ``list``: a folder is checked as the endpoint would, then moved in as a whole."""

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
class Known:
    """A model that the endpoint serves; ``size_bytes`` of all its files, ``built_in`` if it came with DeepLens."""

    manifest: Manifest
    folder: Path
    precision: str
    size_bytes: int
    built_in: bool


def add(source: str, models: Path, settings: Settings | None = None) -> Known:
    """Check the model folder at ``source`` and move a copy of it to ``models``; safe to repeat.

    Parameters
    ----------
    source : a directory, or ``s3://bucket/prefix``.
    settings : of the S3 client; those of the environment if absent.

    Raises
    ------
    ServiceFailed
        It is not there, not what its manifest says, or another model has its name and version.
    """
    models.mkdir(parents=True, exist_ok=True)
    with _copied(source, models, settings) as copy:
        try:
            manifest = read_manifest(copy)
            check_files(copy, manifest)
            _refuse_batch_scales(copy, manifest)
            with ThreadPoolExecutor(1) as workers:
                EmbeddingModel(copy, workers).close()
        except ModelRefused as error:
            raise ServiceFailed(str(error).replace(str(copy), source)) from error
        return _moved(copy, manifest, models)


def known(models: Path) -> list[Known]:
    """Built-in models and those that were added."""
    folders = [(path.parent, root == MODELS) for root in (MODELS, models) for path in root.glob("*/*/manifest.json")]
    return [_described(folder, built_in) for folder, built_in in sorted(folders)]


def _refuse_batch_scales(copy: Path, manifest: Manifest) -> None:
    """Raise ``ModelRefused`` for a graph whose scales come from all inputs of a call.

    Images of several tenants share calls: none may change another's vector.
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


def _moved(copy: Path, manifest: Manifest, models: Path) -> Known:
    for root in (MODELS, models):
        there = root / manifest.name / manifest.version
        if there.exists():
            if read_manifest(there).files == manifest.files:
                return _described(there, built_in=root == MODELS)
            message = f"{manifest.name} {manifest.version} is there with other files; give this one a new version"
            raise ServiceFailed(message)
    target = models / manifest.name / manifest.version
    target.parent.mkdir(exist_ok=True)
    copy.rename(target)
    return _described(target, built_in=False)


@contextmanager
def _copied(source: str, models: Path, settings: Settings | None) -> Iterator[Path]:
    """A copy of a model folder, beside its later place, so that moving it there is one step."""
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


def _described(folder: Path, built_in: bool) -> Known:
    manifest = read_manifest(folder)
    size = sum((folder / name).stat().st_size for name in manifest.files)
    return Known(manifest, folder, precision_of(folder / MODEL), size, built_in)


def precision_of(path: Path) -> str:
    """Of most of a graph's weights."""
    sizes: dict[str, int] = {}
    for weight in onnx.load(path).graph.initializer:
        kind = WEIGHT_TYPES.get(weight.data_type, "other")
        sizes[kind] = sizes.get(kind, 0) + len(weight.raw_data)
    return max(sizes, key=sizes.__getitem__, default="none")
