"""Small real tokenizers, trained on a few words, for generators that are built to be tested."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Sequence
from typing import Any

from snellen.errors import import_extra

_TEXT = """
a an the photo picture of in on with small large red green blue yellow striped plain square circle star ring moon cross
heart triangle grass brick snow fog sand water night dog cat bird car bus boat plane house tree blurry text caption low
quality
"""
#: Words that are one token each; everything else falls apart into pieces and letters.
WORDS = tuple(_TEXT.split())

_PUNCTUATION = tuple(",.:;!?'-()")


def clip_tokenizer(words: Sequence[str] = WORDS, length: int = 77) -> Any:  # noqa: ANN401 - of an extra
    """A ``CLIPTokenizer`` whose vocabulary holds these words, all small letters, digits and common punctuation.

    >>> tokenizer = clip_tokenizer()
    >>> len(tokenizer("a red star").input_ids), tokenizer.convert_ids_to_tokens(tokenizer("star").input_ids)
    (5, ['<|startoftext|>', 'star</w>', '<|endoftext|>'])
    """
    tokenizers = import_extra("tokenizers", "diffusion", "a tokenizer")
    transformers = import_extra("transformers", "diffusion", "a tokenizer")
    model = tokenizers.models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token="<|endoftext|>")  # noqa: S106
    trained = tokenizers.Tokenizer(model)
    trained.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=10_000,
        min_frequency=1,
        end_of_word_suffix="</w>",
        initial_alphabet=list(string.ascii_lowercase),
        show_progress=False,
    )
    trained.train_from_iterator([" ".join(words)], trainer)
    found = trained.get_vocab()
    pieces = sorted(found, key=found.__getitem__)
    wanted = (*string.ascii_lowercase, *string.digits, *_PUNCTUATION)
    pieces += [piece for sign in wanted for piece in (sign, f"{sign}</w>") if piece not in found]
    pieces += ["<|startoftext|>", "<|endoftext|>"]  # last: some text towers look for the largest id
    merges = [tuple(pair) for pair in _merges(trained)]
    vocabulary = {piece: position for position, piece in enumerate(pieces)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def t5_tokenizer(words: Sequence[str] = WORDS, length: int = 512) -> Any:  # noqa: ANN401 - of an extra
    """A ``T5Tokenizer`` (unigram) with these words and, at a lower score, all small letters, digits and punctuation.

    >>> tokenizer = t5_tokenizer()
    >>> tokenizer.convert_ids_to_tokens(tokenizer("a star").input_ids)
    ['▁a', '▁star', '</s>']
    """
    transformers = import_extra("transformers", "diffusion", "a tokenizer")
    signs = (*string.ascii_lowercase, *string.digits, *_PUNCTUATION)
    pieces = [(f"▁{word}", -math.log(2 + rank)) for rank, word in enumerate(dict.fromkeys(words))]
    pieces += [(piece, -12.0) for piece in ("▁", *signs) if f"▁{piece}" != piece]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces]
    return transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=length)


def _merges(trained: Any) -> list[list[str]]:  # noqa: ANN401 - of an extra
    merges: list[list[str]] = json.loads(trained.to_str())["model"]["merges"]
    return merges
