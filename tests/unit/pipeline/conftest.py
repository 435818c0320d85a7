"""Thousands of flows work the same few pictures: each is decoded once."""

from collections.abc import Iterator
from functools import lru_cache

import pytest
from deeplens.imaging.decoder import ImageDecoder


@pytest.fixture(scope="session", autouse=True)
def _decoded_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageDecoder, "standardise", lru_cache(512)(ImageDecoder.standardise))
        yield
