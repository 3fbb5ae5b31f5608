"""Which features belong to a concept: those that its prompts activate and that no retained prompt does.

Tian et al. 2025 (contrastive selection): for one prompt, the maximum of each feature over the tokens, and of these the
``selected`` largest; F_keep is the union over retained prompts, F_target the union over target prompts of what is left
of theirs when F_keep is taken away. Magnitude alone would choose what every prompt has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.concept_erasing.autoencoder import SparseAutoencoder
from snellen.systems.concept_erasing.text_layer import PromptStates, TextLayer

#: Prompts whose activations are held at once.
_TOGETHER = 64


def strongest(autoencoder: SparseAutoencoder, read: PromptStates) -> Tensor:
    """The largest activation of every feature over the counted tokens of each prompt, (n, latents).

    Padding and the start mark do not count.
    """
    found = read.states.new_zeros(len(read.states), autoencoder.latents)
    with torch.no_grad():
        codes = autoencoder.encode(read.states[read.counted])
    rows = read.counted.nonzero()[:, 0]
    at = rows[:, None] * autoencoder.latents + codes.indices
    found.view(-1).scatter_reduce_(0, at.flatten(), codes.values.flatten(), "amax")
    return found


def chosen(activations: Tensor, selected: int) -> Tensor:
    """The ``selected`` largest activations of each row (n, latents) as a mask; those that are 0 are never chosen.

    >>> chosen(torch.tensor([[3.0, 0.0, 1.0, 2.0]]), 2).tolist(), chosen(torch.tensor([[3.0, 0.0]]), 2).tolist()
    ([[True, False, False, True]], [[True, False]])
    """
    top = activations.topk(min(selected, activations.shape[1]), dim=1)
    return torch.zeros_like(activations, dtype=torch.bool).scatter(1, top.indices, top.values > 0)


def features_of(autoencoder: SparseAutoencoder, layer: TextLayer, prompts: Sequence[str], selected: int) -> Tensor:
    """The union over prompts of the features chosen for each, bool (latents,)."""
    if selected < 1:
        raise InputError(f"at least one feature is selected for a prompt; got {selected}")
    union = torch.zeros(autoencoder.latents, dtype=torch.bool, device=autoencoder.encoder.device)
    for start in range(0, len(prompts), _TOGETHER):
        read = layer.states(prompts[start : start + _TOGETHER])
        union |= chosen(strongest(autoencoder, read), selected).any(0)
    return union


def own_features(targets: Mapping[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    """Features of each concept without those of retained prompts: masks (latents,) by concept.

    >>> masks = {"red": torch.tensor([True, True, False])}
    >>> own_features(masks, torch.tensor([True, False, False]))["red"].tolist()
    [False, True, False]

    Raises:
        InputError: a concept without a feature left: erasing it would silently do nothing.
    """
    left = {name: mask & ~kept for name, mask in targets.items()}
    empty = [name for name, mask in left.items() if not bool(mask.any())]
    if empty:
        raise InputError(
            f"nothing is left of the features of {', '.join(map(repr, empty))}: retained prompts activate all of them. "
            f"Take prompts that show the concept out of those to keep, or fit an autoencoder with more latents"
        )
    return left


def top_prompts(
    autoencoder: SparseAutoencoder, layer: TextLayer, prompts: Sequence[str], *, features: int, count: int
) -> dict[str, list[str]]:
    """What the features that occur in most prompts stand for: the prompts that activate each most, by its number.

    Args:
        autoencoder: fitted.
        layer: where its states come from.
        prompts: to search. features: how many features to describe.
        count: prompts for each.
    """
    parts = [
        strongest(autoencoder, layer.states(prompts[start : start + _TOGETHER])).cpu()
        for start in range(0, len(prompts), _TOGETHER)
    ]
    found = torch.cat(parts)
    told = (found > 0).sum(0).topk(min(features, autoencoder.latents)).indices
    return {
        str(feature): [prompts[row] for row in found[:, feature].topk(min(count, len(prompts))).indices.tolist()]
        for feature in sorted(told.tolist())
        if bool((found[:, feature] > 0).any())
    }
