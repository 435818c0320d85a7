"""Run the real server in a separate process, alone and behind SageMaker's REST path."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from deeplens.embedding.open_inference import OpenInferenceEmbedder
from deeplens.embedding.ports import Embedder
from deeplens.embedding.sagemaker import SageMakerEmbedder
from deeplens.settings import Settings
from PIL import Image

from local.services.inference import InferenceService
from local.setup.tools import REPOSITORY
from tests.fakes.embedding import FakeEmbedder
from tests.fakes.sagemaker import ENDPOINT, SageMakerDouble

type StartServer = Callable[..., "Server"]
type NewEmbedder = Callable[..., Embedder]


class Server(InferenceService):
    """The server with given options, in a folder that contains its package."""

    def __init__(self, log_dir: Path, *options: str, package: str = "functions.inference_endpoint") -> None:
        super().__init__(0, log_dir, log_dir / "models")
        self.url = self.environment["INFERENCE_URL"]
        self.command = ["-m", f"{package}.server", "--host", "127.0.0.1", "--port", str(self.port), *options]
        self.folder = REPOSITORY

    def launch(self) -> None:
        self.spawn([sys.executable, *self.command], cwd=self.folder)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("inference"))
    started.start()
    yield started
    started.stop()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Return a function that starts servers which a test may overload, stop or kill."""
    started: list[Server] = []

    def start(*options: str) -> Server:
        started.append(Server(tmp_path, *options))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def new_sagemaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[NewEmbedder]:
    """Return a function that creates an adapter for a fake SageMaker, which forwards to a container's URL."""
    doubles: list[SageMakerDouble] = []
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")

    def new(url: str, **options: object) -> Embedder:
        doubles.append(SageMakerDouble(url))
        own = Settings.model_validate({"inference_endpoint_name": ENDPOINT, **options})
        return SageMakerEmbedder(own, doubles[-1].url)

    yield new
    for double in doubles:
        double.close()


def new_http(url: str, **options: object) -> Embedder:
    return OpenInferenceEmbedder(Settings.model_validate({"inference_url": url, **options}))


@pytest.fixture(params=["http", "sagemaker"])
def adapter(request: pytest.FixtureRequest) -> NewEmbedder:
    """Return a function that creates the adapter under test for a container's URL and settings."""
    return new_http if request.param == "http" else request.getfixturevalue("new_sagemaker")


@pytest.fixture(params=["fake", "http", "sagemaker"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    """Yield each ``Embedder`` adapter with the real server."""
    if request.param == "fake":
        return FakeEmbedder()
    new = new_http if request.param == "http" else request.getfixturevalue("new_sagemaker")
    return new(request.getfixturevalue("server").url)


def picture(seed: int, size: tuple[int, int] = (160, 120), kind: str = "JPEG") -> bytes:
    """Return a seeded picture of coloured patches as a file."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    out = BytesIO()
    Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC).save(out, kind)
    return out.getvalue()
