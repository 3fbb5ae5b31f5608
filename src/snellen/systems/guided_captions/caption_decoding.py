"""Guided decoding: greedy, as the paper's, or by sampling. Rows that have ended leave the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.systems.guided_captions.caption_steps import GuidedSteps

#: Scores (m, v), the rows of the batch that they are of (m,), and the number of the step → tokens (m,).
Choose = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class Decoded:
    """Sequences with what both sides said of their tokens.

    Attributes:
        tokens: what was given, then what was decoded, int64 (n, t); padded on the right.
        lengths: number of decoded tokens, end mark included, int64 (n,).
        conditional: log p of each decoded token with the image, float32 (n, l); 0 behind the end.
        unconditional: the same under the null condition; None where no row was guided by it.
    """

    tokens: Tensor
    lengths: Tensor
    conditional: Tensor
    unconditional: Tensor | None


def greedy(scores: Tensor, rows: Tensor, step: int) -> Tensor:
    """The token with the highest score."""
    return scores.argmax(1)


def sampling(rng: Randomness, *, temperature: float = 1.0) -> Choose:
    """Draw from softmax(scores / temperature): an extra; the paper decodes greedily.

    Args:
        rng: bound to the rows of the batch; a draw belongs to a row and a step, whatever else is in the batch.
        temperature: above 0.
    """

    def choose(scores: Tensor, rows: Tensor, step: int) -> Tensor:
        shares = (scores.double() / temperature).softmax(1).cumsum(1)
        draws = rng[rows.cpu()].uniform(f"token {step}", (1,), like=scores).double()
        # The last share may be a little below 1.
        return (shares <= draws * shares[:, -1:]).sum(1).clamp(max=scores.shape[1] - 1)

    return choose


@torch.no_grad()
def decode(
    steps: GuidedSteps, start: Tensor, *, end: int, filler: int, max_tokens: int, choose: Choose = greedy
) -> Decoded:
    """Choose token after token until each row's end mark, or until ``max_tokens`` were decoded.

    Args:
        steps: the scores, for n rows.
        start: tokens that are given, int64 (n, t) with t ≥ 1.
        end: the token that ends a row.
        filler: the token that pads rows that have ended.
        max_tokens: most tokens that are decoded.
        choose: greedy, or :func:`sampling`.
    """
    count, device = len(start), start.device
    alive, tokens = torch.arange(count, device=device), start
    chosen = torch.full((count, max_tokens), filler, dtype=torch.long, device=device)
    lengths = torch.zeros(count, dtype=torch.long, device=device)
    told = {name: torch.zeros(count, max_tokens, device=device) for name in ("conditional", "unconditional")}
    asked = False
    for step in range(max_tokens):
        found = steps(tokens)
        best = choose(found.scores, alive, step)
        chosen[alive, step] = best
        lengths[alive] += 1
        told["conditional"][alive, step] = found.conditional.gather(1, best[:, None])[:, 0]
        if found.unconditional is not None:
            asked = True
            told["unconditional"][alive, step] = found.unconditional.gather(1, best[:, None])[:, 0]
        going = (best != end).nonzero().flatten()
        if not len(going):
            break
        tokens = torch.cat([tokens, best[:, None]], 1)
        if len(going) < len(alive):
            steps.select(going)
            tokens, alive = tokens[going], alive[going]
    longest = int(lengths.max())
    return Decoded(
        tokens=torch.cat([start, chosen[:, :longest]], 1),
        lengths=lengths,
        conditional=told["conditional"][:, :longest],
        unconditional=told["unconditional"][:, :longest] if asked else None,
    )
