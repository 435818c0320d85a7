"""A tokenizer that knows bytes and no words, for models with random weights: real files, no download."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

START, END = "<|startoftext|>", "<|endoftext|>"
START_ID, END_ID = 49_406, 49_407
"""CLIP's own; the text tower reads its embedding at the highest id."""


def byte_tokenizer() -> bytes:
    """``tokenizer.json``: one token a byte, between CLIP's start and end."""
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=alphabet | {START: START_ID, END: END_ID}, merges=[]))
    made.add_special_tokens([START, END])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, START_ID), (END, END_ID)]
    )
    return str(made.to_str()).encode()
