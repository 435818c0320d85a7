"""Make a byte tokenizer for models with random weights, without a download."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

START, END = "<|startoftext|>", "<|endoftext|>"
START_ID, END_ID = 49_406, 49_407
"""Ids of CLIP's tokenizer; the text tower reads its embedding at the highest id."""


def byte_tokenizer() -> bytes:
    """Return ``tokenizer.json`` with a token per byte, between CLIP's start and end tokens."""
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet | {START: START_ID, END: END_ID}, merges=[]))
    tokenizer.add_special_tokens([START, END])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, START_ID), (END, END_ID)]
    )
    return str(tokenizer.to_str()).encode()
