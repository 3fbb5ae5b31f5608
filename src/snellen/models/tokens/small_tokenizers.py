"""Tokenizers of the kinds that public models use, made of a list of words: for small models in the native formats.

Each covers every text: what is not a word of the list falls apart into letters or bytes, as in the public ones.

Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units" (ACL 2016). Ties are broken by
the pieces themselves, so that the same words give the same merges everywhere.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from snellen.core.errors import InputError, import_extra
from snellen.models.weights.hugging_face_folder import import_transformers
from snellen.models.weights.quiet_loading import quiet_loading

Pair = tuple[str, str]


def learn_merges(words: Sequence[Sequence[str]]) -> list[Pair]:
    """Pairs of pieces to join, in order: the most frequent pair first, until every word is one piece.

    >>> learn_merges([["c", "a", "t"], ["c", "a", "r"]])
    [('c', 'a'), ('ca', 'r'), ('ca', 't')]

    Args:
        words: each as its first pieces, such as letters.
    """
    pieces = [list(word) for word in words]
    merges: list[Pair] = []
    while True:
        counts = Counter(pair for word in pieces for pair in pairwise(word))
        if not counts:
            return merges
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        pieces = [join(word, best) for word in pieces]


def join(word: Sequence[str], pair: Pair) -> list[str]:
    """Join each occurrence of a pair in a word, from the left.

    >>> join(["a", "a", "a", "b"], ("a", "a"))
    ['aa', 'a', 'b']
    """
    joined: list[str] = []
    position = 0
    while position < len(word):
        if tuple(word[position : position + 2]) == pair:
            joined.append("".join(pair))
            position += 2
        else:
            joined.append(word[position])
            position += 1
    return joined


_SCENES = """
a an the of on in with and is are there no this that what which how many it photo picture image red orange yellow green
blue purple brown black white grey pink small large big little circle square triangle star ring cross heart moon shape
object thing plain striped checkered dotted grass sand sky water brick stone left right above below under beside one two
three yes cat dog car
"""

#: Words of simple scenes; enough for a first run, and for captions of shapes.
WORDS = tuple(_SCENES.split())

#: The marks of the public vocabularies.
_CLIP_MARKS = ("<|startoftext|>", "<|endoftext|>")
_GPT2_END = "<|endoftext|>"
_SIGLIP_MARKS = ("<pad>", "</s>", "<unk>")

_PURPOSE = "a small tokenizer"


def clip_tokenizer(words: Sequence[str] = WORDS, *, context_length: int = 77) -> Any:  # noqa: ANN401 - of an extra
    """A ``CLIPTokenizer``: bytes, bytes that end a word, merges, and the two marks last, the end mark the largest."""
    transformers, tokenizers = import_transformers(_PURPOSE), _tokenizers()
    letters = [_bytes(tokenizers, word) for word in _checked(words)]
    pairs = learn_merges([[*word[:-1], f"{word[-1]}</w>"] for word in letters])
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair) for pair in pairs)]
    with quiet_loading():
        return transformers.CLIPTokenizer(
            vocab=_numbered([*pieces, *_CLIP_MARKS]), merges=pairs, model_max_length=context_length
        )


def bert_tokenizer(words: Sequence[str] = WORDS, *, context_length: int = 512) -> Any:  # noqa: ANN401 - of an extra
    """A ``BertTokenizer`` of whole words, letters, digits and punctuation; other characters become ``[UNK]``."""
    transformers = import_transformers(_PURPOSE)
    letters = [*string.ascii_lowercase, *string.digits]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    pieces += [*string.punctuation, *_checked(words)]
    with quiet_loading():
        return transformers.BertTokenizer(vocab=_numbered(pieces), model_max_length=context_length)


def gpt2_tokenizer(words: Sequence[str] = WORDS, *, context_length: int = 1024) -> Any:  # noqa: ANN401 - of an extra
    """A ``GPT2Tokenizer``: all bytes, merges of words with and without a space before them, ``<|endoftext|>`` last."""
    transformers, tokenizers = import_transformers(_PURPOSE), _tokenizers()
    checked = _checked(words)
    pairs = learn_merges([_bytes(tokenizers, text) for word in checked for text in (word, f" {word}")])
    pieces = [*sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in pairs)]
    with quiet_loading():
        return transformers.GPT2Tokenizer(
            vocab=_numbered([*pieces, _GPT2_END]), merges=pairs, pad_token=_GPT2_END, model_max_length=context_length
        )


def siglip_tokenizer(words: Sequence[str] = WORDS, *, context_length: int = 64) -> Any:  # noqa: ANN401 - of an extra
    """A tokenizer that ends texts with ``</s>`` and pads with it, as those of SigLIP do; words and letters."""
    transformers, tokenizers = import_transformers(_PURPOSE), _tokenizers()
    _, end, unknown = _SIGLIP_MARKS
    pairs = learn_merges([f"▁{word}" for word in _checked(words)])
    letters = ["▁", *string.ascii_lowercase, *string.digits, *string.punctuation, *"".join(words)]
    vocabulary = _numbered([*_SIGLIP_MARKS, *letters, *("".join(pair) for pair in pairs)])
    model = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=pairs, unk_token=unknown))
    model.normalizer = tokenizers.normalizers.Lowercase()
    model.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    model.decoder = tokenizers.decoders.Metaspace()
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, vocabulary[end])]
    )
    with quiet_loading():
        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=model,
            eos_token=end,
            pad_token=end,
            unk_token=unknown,
            model_max_length=context_length,
        )


def _tokenizers() -> Any:  # noqa: ANN401 - of an extra
    tokenizers = import_extra("tokenizers", "vlm", _PURPOSE)
    for part in ("decoders", "models", "normalizers", "pre_tokenizers", "processors"):
        import_extra(f"tokenizers.{part}", "vlm", _PURPOSE)
    return tokenizers


def _bytes(tokenizers: Any, text: str) -> list[str]:  # noqa: ANN401 - of an extra
    """The bytes of a text as the letters that stand for them in byte-level vocabularies."""
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return [letter for piece, _ in level.pre_tokenize_str(text) for letter in piece]


def _numbered(pieces: Sequence[str]) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


def _checked(words: Sequence[str]) -> list[str]:
    wrong = [word for word in words if not word or word != word.lower() or any(letter.isspace() for letter in word)]
    if not words or wrong:
        raise InputError(f"a tokenizer is made of words in lower case, without spaces; got {wrong[:4] or 'none'}")
    return list(dict.fromkeys(words))
