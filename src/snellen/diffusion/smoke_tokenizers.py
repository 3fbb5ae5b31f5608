"""Small real tokenizers, made of a few words, for generators that are built to be tested."""

from __future__ import annotations

import itertools
import math
import string
from collections import Counter
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

#: Marks the end of a word.
_END = "</w>"

_PUNCTUATION = tuple(",.:;!?'-()")


def clip_tokenizer(words: Sequence[str] = WORDS, length: int = 77) -> Any:  # noqa: ANN401 - of an extra
    """A ``CLIPTokenizer`` whose vocabulary holds these words, all small letters, digits and common punctuation.

    >>> tokenizer = clip_tokenizer()
    >>> len(tokenizer("a red star").input_ids), tokenizer.convert_ids_to_tokens(tokenizer("star").input_ids)
    (5, ['<|startoftext|>', 'star</w>', '<|endoftext|>'])
    """
    transformers = import_extra("transformers", "diffusion", "a tokenizer")
    merges = learn_merges(words)
    signs = (*string.ascii_lowercase, *string.digits, *_PUNCTUATION)
    pieces = [piece for sign in signs for piece in (sign, f"{sign}{_END}")]
    pieces += [first + second for first, second in merges]
    pieces += ["<|startoftext|>", "<|endoftext|>"]  # last: some text towers look for the largest id
    vocabulary = {piece: position for position, piece in enumerate(dict.fromkeys(pieces))}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def learn_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, commonest pair first, until every word is one piece (Sennrich, Haddow and Birch 2016).

    Equally common pairs merge in alphabetical order, so that the same words give the same tokenizer.

    >>> learn_merges(["on", "moon"])
    [('o', 'n</w>'), ('m', 'o'), ('mo', 'on</w>')]
    """
    split = [[*word[:-1], f"{word[-1]}{_END}"] for word in dict.fromkeys(words)]
    merges: list[tuple[str, str]] = []
    while any(len(pieces) > 1 for pieces in split):
        counts = Counter(pair for pieces in split for pair in itertools.pairwise(pieces))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        split = [_merged(pieces, best) for pieces in split]
    return merges


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


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
