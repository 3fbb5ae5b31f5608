"""Beam search over guided scores: an extra; the paper decodes greedily and names it as a remedy for its short sight."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.systems.guided_captions.caption_steps import GuidedSteps


@torch.no_grad()
def beam_search(
    steps: GuidedSteps,
    start: Tensor,
    *,
    beams: int,
    end: int,
    filler: int,
    max_tokens: int,
    length_penalty: float = 1.0,
) -> Tensor:
    """The best sequences by the sum of normalised scores over length ** ``length_penalty``.

    Guided scores are brought to log-probabilities by a softmax at each step, because sums of unnormalised ones would
    compare steps with each other. A row searches until no beam can overtake its best ended one.

    Args:
        steps: scores for n · ``beams`` rows, the beams of a row side by side.
        start: tokens that are given, int64 (n, t) with t ≥ 1.
        beams: hypotheses that are kept for each row.
        end: the token that ends a row.
        filler: the token that pads.
        max_tokens: most tokens that are decoded.
        length_penalty: 0 compares sums, 1 means.

    Returns:
        Tokens int64 (n, t + l), padded on the right.
    """
    count = len(start)
    tokens = start.repeat_interleave(beams, 0)
    sums = torch.full((count, beams), -torch.inf, device=start.device)
    sums[:, 0] = 0.0  # all beams begin alike: only one of them may
    best_score = [-float("inf")] * count
    best: list[Tensor] = list(start)
    for step in range(1, max_tokens + 1):
        scores = steps(tokens).scores.float().log_softmax(1).view(count, beams, -1)
        size = scores.shape[2]
        values, places = (sums[:, :, None] + scores).flatten(1).topk(min(2 * beams, beams * size), dim=1)
        parents, words = places // size, places % size
        last = step == max_tokens
        ended = (words == end) | last
        rows, following, next_sums = [], [], torch.full_like(sums, -torch.inf)
        for row in range(count):
            for place in ended[row].nonzero().flatten().tolist():
                # An end mark counts where it is among the first beams; else a longer sentence may still be better.
                score = float(values[row, place]) / step**length_penalty
                if (place < beams or last) and score > best_score[row]:
                    best_score[row] = score
                    parent = tokens[row * beams + int(parents[row, place])]
                    best[row] = torch.cat([parent, words[row, place, None]])
            going = (~ended[row]).nonzero().flatten()[:beams]
            going = going if len(going) else torch.zeros(1, dtype=torch.long, device=start.device)
            filled = torch.cat([going, going[:1].expand(beams - len(going))])
            kept = values[row, going].masked_fill(ended[row, going], -torch.inf)
            next_sums[row, : len(going)] = kept
            rows.append(row * beams + parents[row, filled])
            following.append(words[row, filled])
        sums = next_sums
        # What follows can only lower a sum, and the longest sentence is divided by the most.
        reachable = sums.amax(1) / max_tokens**length_penalty
        if last or bool((reachable <= torch.tensor(best_score, device=start.device)).all()):
            break
        order = torch.cat(rows)
        steps.select(order)
        tokens = torch.cat([tokens[order], torch.cat(following)[:, None]], 1)
    longest = max(len(row) for row in best)
    found = torch.full((count, longest), filler, dtype=torch.long, device=start.device)
    for row, sequence in enumerate(best):
        found[row, : len(sequence)] = sequence
    return found
