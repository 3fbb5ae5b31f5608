"""Sentences as numbers: all words of the training sentences, nothing stemmed or left out, and four marks after them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: Words with inner hyphens and apostrophes, and every other mark by itself.
_TOKEN = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")

#: What the marks are called in a list of words; no word can be spelled like that.
MARKS = ("<start>", "<stop>", "<pad>", "<unk>")


def split_words(sentence: str) -> list[str]:
    """Words and punctuation marks, in small letters.

    >>> split_words("Red circles, on grass.")
    ['red', 'circles', ',', 'on', 'grass', '.']
    """
    return _TOKEN.findall(sentence.lower())


class Vocabulary:
    """Words and their numbers.

    >>> vocabulary = Vocabulary(["red", "stars"])
    >>> rows = vocabulary.rows(["red stars", "blue"], length=4)
    >>> rows.tolist(), vocabulary.sentence(rows[0])
    ([[2, 0, 1, 3], [2, 5, 3, 4]], 'red stars')

    Args:
        words: all different, without marks.
    """

    def __init__(self, words: Sequence[str]) -> None:
        if not words or len(set(words)) != len(words):
            raise InputError(
                f"a vocabulary takes words, each once; got {len(words)}, {len(set(words))} of them different"
            )
        self.words = tuple(words)
        self.start, self.stop, self.pad, self.unknown = range(len(words), len(words) + len(MARKS))
        self._numbers = {word: number for number, word in enumerate(words)}

    def __len__(self) -> int:
        return len(self.words) + len(MARKS)

    @classmethod
    def of(cls, sentences: Iterable[str]) -> Vocabulary:
        """All words that occur, sorted."""
        return cls(sorted({word for sentence in sentences for word in split_words(sentence)}))

    def rows(self, sentences: Sequence[str], *, length: int) -> Tensor:
        """Sentences as int64 (n, t): start, at most ``length`` words, stop, and padding up to the longest."""
        told = [[self._numbers.get(word, self.unknown) for word in split_words(one)][:length] for one in sentences]
        rows = torch.full((len(told), max(map(len, told)) + 2), self.pad, dtype=torch.int64)
        for row, numbers in enumerate(told):
            rows[row, : len(numbers) + 2] = torch.tensor([self.start, *numbers, self.stop])
        return rows

    def sentence(self, tokens: Tensor) -> str:
        """The words of a row, up to the first stop."""
        words = []
        for number in tokens.tolist():
            if number == self.stop:
                break
            if number < len(self.words):
                words.append(self.words[number])
        return re.sub(r" ([,.;:!?])", r"\1", " ".join(words))
