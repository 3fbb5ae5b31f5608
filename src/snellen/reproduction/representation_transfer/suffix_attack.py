"""A search for tokens behind a prompt, by gradients of one-hot vectors.

Zou, Wang, Carlini, Nasr, Kolter and Fredrikson, "Universal and transferable adversarial attacks on aligned language
models", 2023, arXiv 2307.15043, algorithm 1 (GCG), for one prompt at a time and a benign target: candidates are those
of the steepest linear decrease of the loss, and the best of a random batch of single exchanges is kept. A step that
finds nothing better changes nothing, where the authors' code takes the best of the batch even so.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.reproduction.representation_transfer.token_targets import target_scores, teacher_forced


def target_losses(model: nn.Module, prompts: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy (n,) of the target behind prompts int64 (n, p), and the scores (n, 2) of its being
    produced.
    """
    logits = model(input_ids=teacher_forced(prompts, target)).logits[:, prompts.shape[1] - 1 :]
    losses = F.cross_entropy(logits.transpose(1, 2), target.expand(len(prompts), -1), reduction="none").mean(1)
    return losses, target_scores(logits, target)


def greedy_suffixes(
    model: nn.Module,
    prompts: Tensor,
    target: Tensor,
    *,
    length: int,
    steps: int,
    nearest: int,
    exchanges: int,
    generator: torch.Generator,
    tail: Tensor | None = None,
) -> Tensor:
    """Suffixes under which a model says the target: int64 (n, length).

    Args:
        model: a causal transformer of the transformers library, or what is called like one.
        prompts: int64 (n, p).
        target: int64 (t,).
        length: tokens of a suffix.
        steps: of the search.
        nearest: candidates for each place, the tokens of the most negative gradients.
        exchanges: single exchanges that are tried for each prompt in a step.
        generator: of the first suffixes and the exchanges.
        tail: int64 (q,), what stands between suffix and target, such as the end of a template; None: nothing.
    """
    count, size = len(prompts), model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    suffixes = torch.randint(1, size, (count, length), generator=generator).to(prompts.device)
    with torch.no_grad():
        best = target_losses(model, with_suffixes(prompts, suffixes, tail), target)[0]
    rows = torch.arange(count).repeat_interleave(exchanges)
    for _ in range(steps):
        slopes = _slopes(model, prompts, suffixes, target, tail)
        # The end mark ends a caption: nothing may stand behind it.
        slopes[..., 0] = torch.inf
        candidates = slopes.topk(nearest, dim=2, largest=False).indices
        places = torch.randint(0, length, (len(rows),), generator=generator)
        ranks = torch.randint(0, nearest, (len(rows),), generator=generator)
        tried = suffixes[rows]
        tried[torch.arange(len(rows)), places] = candidates[rows, places, ranks]
        with torch.no_grad():
            losses = target_losses(model, with_suffixes(prompts[rows], tried, tail), target)[0].view(count, exchanges)
        lowest, chosen = losses.min(1)
        better = lowest < best
        suffixes[better] = tried.view(count, exchanges, length)[better, chosen[better]]
        best = torch.where(better, lowest, best)
    return suffixes


def with_suffixes(prompts: Tensor, suffixes: Tensor, tail: Tensor | None = None) -> Tensor:
    """Prompts int64 (n, p), suffixes (n, l) and a tail (q,) as one row each: (n, p + l + q)."""
    ends = [] if tail is None else [tail.expand(len(prompts), -1)]
    return torch.cat([prompts, suffixes, *ends], 1)


def _slopes(model: nn.Module, prompts: Tensor, suffixes: Tensor, target: Tensor, tail: Tensor | None) -> Tensor:
    """Gradient of the loss with respect to one-hot vectors of the suffix: (n, length, v)."""
    table = model.get_input_embeddings().weight  # type: ignore[operator]
    whole = with_suffixes(prompts, suffixes, tail)
    tokens = teacher_forced(whole, target)
    begin, end = prompts.shape[1], prompts.shape[1] + suffixes.shape[1]
    with torch.enable_grad():
        one_hot = F.one_hot(suffixes, len(table)).to(table.dtype).requires_grad_(True)
        embedded = table[tokens].detach()
        embedded = torch.cat([embedded[:, :begin], one_hot @ table, embedded[:, end:]], 1)
        logits = model(inputs_embeds=embedded).logits[:, whole.shape[1] - 1 :]
        losses = F.cross_entropy(logits.transpose(1, 2), target.expand(len(tokens), -1), reduction="none").mean(1)
        (slopes,) = torch.autograd.grad(losses.sum(), one_hot)
    return slopes
