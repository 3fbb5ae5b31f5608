"""A small real T5 tokenizer, made of a few words, for generators that are built to be tested."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

from snellen.core.errors import import_extra
from snellen.models.tokens.small_tokenizers import WORDS
from snellen.models.weights.quiet_loading import quiet_loading


def t5_tokenizer(words: Sequence[str] = WORDS, *, context_length: int = 512) -> Any:  # noqa: ANN401 - of an extra
    """A ``T5Tokenizer`` (unigram) with these words and, less likely, all small letters, digits and punctuation.

    >>> tokenizer = t5_tokenizer()
    >>> tokenizer.convert_ids_to_tokens(tokenizer("a star").input_ids)
    ['▁a', '▁star', '</s>']
    """
    transformers = import_extra("transformers", "diffusion", "a T5 tokenizer")
    signs = (*string.ascii_lowercase, *string.digits, *string.punctuation)
    pieces = [(f"▁{word}", -math.log(2 + rank)) for rank, word in enumerate(dict.fromkeys(words))]
    pieces += [(piece, -12.0) for piece in ("▁", *signs)]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces]
    with quiet_loading():
        return transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=context_length)
