"""Tokens are truncated and padded as the tokenizer defines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from tokenizers import Tokenizer

from functions.inference_endpoint.manifest import TextRule
from functions.inference_endpoint.text import TextTower
from local.models.onnx_writer import Writer
from local.models.tokenizer import END_ID, START_ID, byte_tokenizer

CONTEXT = 8
RULE = TextRule(context_length=CONTEXT, sha256="0" * 64, tokenizer_sha256="0" * 64)


def tokens_seen(folder: Path, tokenizer: Tokenizer, texts: list[str]) -> Any:
    """The ids that reach the graph: one that answers its input, whose length the first id gives back."""
    graph = Writer(0)
    same = graph.node("Cast", "input_ids", to=TensorProto.FLOAT)
    (folder / "text.onnx").write_bytes(graph.model(("input_ids", TensorProto.INT64, [CONTEXT]), same, CONTEXT))
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    embeddings = TextTower(folder, RULE, CONTEXT).embed(texts)
    return np.round(embeddings / embeddings[:, :1] * START_ID)


@pytest.fixture
def tokenizer() -> Tokenizer:
    made: Tokenizer = Tokenizer.from_str(byte_tokenizer().decode())
    return made


def test_a_short_text_is_padded_with_its_end(tmp_path: Path, tokenizer: Tokenizer) -> None:
    first, empty = tokens_seen(tmp_path, tokenizer, ["ab", ""])

    assert first[0] == START_ID
    assert list(first[3:]) == [END_ID] * 5
    assert list(empty[1:]) == [END_ID] * 7


def test_a_long_text_keeps_its_end(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokens = tokens_seen(tmp_path, tokenizer, ["abcdefghijklmn"])[0]

    assert (tokens[0], tokens[-1]) == (START_ID, END_ID)
    assert list(tokens[1:3]) == list(tokens_seen(tmp_path, tokenizer, ["ab"])[0][1:3])


def test_the_padding_of_a_tokenizer_is_used(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.enable_padding(pad_id=7, pad_token="!")
    tokens = tokens_seen(tmp_path, tokenizer, ["ab"])[0]

    assert list(tokens[3:]) == [END_ID, 7, 7, 7, 7]
