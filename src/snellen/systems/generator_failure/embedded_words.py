"""Words of a prompt as a text encoder sees them: rows of its table, places among the tokens, and their gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def watched(generator: Any) -> Iterator[list[tuple[Tensor, Any]]]:  # noqa: ANN401 - a Generator
    """Let gradients reach the embeddings of tokens inside the block: a zero is added to what each table gives.

    Yields:
        Such a zero (1, l, d) with its tower, for each call of a table, in order.
    """
    found: list[tuple[Tensor, Any]] = []
    with ExitStack() as stack:
        for tower in generator.text.towers:

            def add(_: nn.Module, __: object, states: Tensor, tower: Any = tower) -> Tensor:  # noqa: ANN401
                delta = torch.zeros_like(states, requires_grad=True)
                found.append((delta, tower))
                return states + delta

            handle = tower.network.get_input_embeddings().register_forward_hook(add)
            stack.callback(handle.remove)
        yield found


def rows_of_words(tokenizer: Any, table: Tensor, words: Sequence[str]) -> Tensor:  # noqa: ANN401 - of an extra
    """Rows of the tokens of some words, (t, d)."""
    ids = tokenizer(" ".join(words), add_special_tokens=False).input_ids
    return table[torch.tensor(ids, device=table.device)]


def span_of_words(tokenizer: Any, words: Sequence[str], place: int, count: int) -> slice:  # noqa: ANN401 - of an extra
    """Positions of the tokens of some words of a prompt, behind the marks at its beginning."""
    whole = tokenizer(" ".join(words)).input_ids
    inner = tokenizer(" ".join(words), add_special_tokens=False).input_ids
    begin = next((at for at in range(len(whole)) if whole[at : at + len(inner)] == inner), 0)
    before = len(tokenizer(" ".join(words[:place]), add_special_tokens=False).input_ids) if place else 0
    own = len(tokenizer(" ".join(words[place : place + count]), add_special_tokens=False).input_ids)
    return slice(begin + before, begin + before + own)
