"""Thousands of flows work the same few pictures: each is decoded once."""

from collections.abc import Iterator
from functools import lru_cache

import pytest
from deeplens.pipeline import preprocess


@pytest.fixture(scope="session", autouse=True)
def _decoded_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preprocess, "standardise", lru_cache(512)(preprocess.standardise))
        yield
