"""Greedy decoding and log-probabilities of sequences: arithmetic on logits, for any model that gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

Cache = TypeVar("Cache")


class Decoded(NamedTuple):
    """Sequences from a decoder.

    Attributes:
        tokens: int64 (n, t): what was given, then what was decoded; padded on the right.
        log_probabilities: of what was decoded, end mark included; float32 (n,).
        lengths: number of decoded tokens, end mark included; int64 (n,).
    """

    tokens: Tensor
    log_probabilities: Tensor
    lengths: Tensor


@torch.no_grad()
def decode_greedily(
    step: Callable[[Tensor, Cache | None], tuple[Tensor, Cache]],
    start: Tensor,
    *,
    end: int,
    filler: int,
    max_tokens: int,
) -> Decoded:
    """Take the likeliest next token of each row until its end mark, or until ``max_tokens`` were decoded.

    Rows that have ended are padded and stay in the batch, so that a cache keeps its rows.

    >>> def count(tokens, cache):  # the next number is the likeliest, and 4 is the end
    ...     return torch.nn.functional.one_hot(tokens[:, -1] + 1, 6).float(), cache
    >>> decoded = decode_greedily(count, torch.tensor([[1], [3]]), end=4, filler=0, max_tokens=5)
    >>> decoded.tokens.tolist(), decoded.lengths.tolist()
    ([[1, 2, 3, 4], [3, 4, 0, 0]], [3, 1])

    Args:
        step: tokens so far int64 (n, t) and a cache, None at first → logits of the next token (n, v) and the cache.
        start: tokens that are given, int64 (n, t) with t ≥ 1.
        end: the token that ends a row.
        filler: the token that pads rows that have ended.
        max_tokens: most tokens that are decoded.
    """
    tokens, cache = start, None
    total = torch.zeros(len(start), device=start.device)
    lengths = torch.zeros(len(start), dtype=torch.long, device=start.device)
    alive = torch.ones(len(start), dtype=torch.bool, device=start.device)
    for _ in range(max_tokens):
        logits, cache = step(tokens, cache)
        best = logits.argmax(1)
        total += logits.float().log_softmax(1).gather(1, best[:, None])[:, 0] * alive
        lengths += alive
        tokens = torch.cat([tokens, best.where(alive, torch.full_like(best, filler))[:, None]], 1)
        alive = alive & (best != end)
        if not bool(alive.any()):
            break
    return Decoded(tokens, total, lengths)


def sequence_log_probabilities(logits: Tensor, tokens: Tensor, mask: Tensor, *, given: int = 1) -> Tensor:
    """Log-probability of each row, from the logits after each of its tokens: (n, t, v), (n, t), mask (n, t) → (n,).

    A token counts where the mask is 1; the first ``given`` tokens are the condition and do not. Differentiable.

    >>> logits = torch.log(torch.tensor([[[0.25, 0.75], [0.5, 0.5]]]))
    >>> sequence_log_probabilities(logits, torch.tensor([[0, 1]]), torch.ones(1, 2)).exp()
    tensor([0.7500])
    """
    chosen = logits[:, :-1].float().log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0]
    counts = mask.clone()
    counts[:, :given] = 0
    return (chosen * counts[:, 1:]).sum(1)


#: Settings of ``GenerationConfig`` that act on logits or on the start, and the values with which they do nothing.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "bad_words_ids": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "sequence_bias": (None,),
}


def ignored_settings(generation_config: Any) -> tuple[str, ...]:  # noqa: ANN401 - GenerationConfig, of an extra
    """Notes on settings that would change what is decoded; none, where greedy decoding is what the library does."""
    found = {name: getattr(generation_config, name, None) for name in _NEUTRAL}
    set_here = [f"{name}={value!r}" for name, value in found.items() if value not in _NEUTRAL[name]]
    return (f"decoded greedily, without the folder's {', '.join(set_here)}",) if set_here else ()
