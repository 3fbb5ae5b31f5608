"""A captioner's texts as tokens, and its tokens as texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.tokens.token_rows import check_texts, fit


class WordPieces:
    """A tokenizer of transformers with the marks that a decoder wants, which may not be the tokenizer's own.

    Args:
        tokenizer: of transformers.
        begin: the token before a sentence.
        end: the token after it.
        filler: what pads short sentences.
        size: number of tokens that the decoder knows, marks included.
        context_length: most tokens of a sentence, marks included.
        name: for messages.

    Raises:
        InputError: a mark that the decoder does not know.
    """

    def __init__(
        self,
        tokenizer: Any,  # noqa: ANN401 - of an extra
        *,
        begin: int | None,
        end: int | None,
        filler: int | None,
        size: int,
        context_length: int,
        name: str,
    ) -> None:
        for what, mark in (("begins", begin), ("ends", end), ("pads", filler)):
            if mark is None or not 0 <= mark < size:
                raise InputError(
                    f"{name}: the token that {what} a sentence is {mark}, but the decoder knows 0 to {size - 1}; set "
                    f"it in config.json"
                )
        assert begin is not None and end is not None and filler is not None  # noqa: PT018 - one condition
        self.begin, self.end, self.filler = begin, end, filler
        self.size, self.context_length, self.name = size, context_length, name
        self._tokenizer = tokenizer

    def __deepcopy__(self, memo: dict[int, object]) -> WordPieces:
        """Itself: nothing in it changes, and a copied CLIPTokenizer writes marks where words end ("a</w>red</w>")."""
        return self

    def tokenise(self, texts: Sequence[str], *, ended: bool = True) -> list[Tensor]:
        """Texts → tokens (t,) of each: beginning, words, and the end mark where ``ended``.

        Raises:
            InputError: a text that is longer than the context.
        """
        check_texts(texts, name=self.name)
        words = self._tokenizer(list(texts), add_special_tokens=False, truncation=False, padding=False, verbose=False)[
            "input_ids"
        ]
        rows = [[self.begin, *row, *([self.end] if ended else [])] for row in words]
        fitted = fit(rows, texts, context=self.context_length, truncate=False, name=self.name)
        return [torch.tensor(row, dtype=torch.long) for row in fitted]

    def texts(self, tokens: Tensor) -> tuple[str, ...]:
        """Tokens (n, t), from the beginning mark on → texts, up to the first end mark, without marks."""
        texts = []
        for row in tokens.tolist():
            words = row[1:]
            words = words[: words.index(self.end)] if self.end in words else words
            texts.append(self._tokenizer.decode(words, skip_special_tokens=True).strip())
        return tuple(texts)

    def vocabulary(self) -> tuple[str, ...]:
        """The pieces of text that tokens stand for, by their number; empty for marks that the tokenizer has not."""
        pieces = [""] * self.size
        for piece, number in self._tokenizer.get_vocab().items():
            pieces[number] = piece
        return tuple(pieces)
