"""What stands beside the eraser: detectors (keywords, a linear probe) and edits (a mean direction taken out)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from snellen.models.layers.layer_edits import edited
from snellen.systems.concept_erasing.text_layer import PromptStates, TextLayer


def keyword_filter(prompts: Sequence[str], words: Sequence[str]) -> Tensor:
    """Which prompts have one of the words, bool (n,): a filter knows nothing beyond its words.

    >>> keyword_filter(["a red star", "a scarlet star"], ["red"]).tolist()
    [True, False]
    """
    padded = [f" {prompt.replace(',', ' ').replace('.', ' ')} " for prompt in prompts]
    return torch.tensor([any(f" {word} " in prompt for word in words) for prompt in padded])


def mean_states(read: PromptStates) -> Tensor:
    """Mean state over the counted tokens of each prompt, (n, d)."""
    weight = read.counted[..., None].to(read.states.dtype)
    return (read.states * weight).sum(1) / weight.sum(1)


def linear_probe(shows: Tensor, keeps: Tensor, *, ridge: float = 1e-2) -> Tensor:
    """Direction that separates prompts that show a concept from others, by least squares on labels.

    Args:
        shows: mean states of prompts with a concept, (n, d).
        keeps: of prompts without any, (m, d).
        ridge: weight of the penalty, times the number of prompts.

    Returns:
        (d,): larger products mean the concept.
    """
    points = torch.cat([shows, keeps]).double()
    labels = torch.cat([torch.ones(len(shows)), -torch.ones(len(keeps))]).double()
    centred = points - points.mean(0)
    penalty = ridge * len(points) * torch.eye(points.shape[1], dtype=torch.float64)
    return torch.linalg.solve(centred.T @ centred + penalty, centred.T @ (labels - labels.mean()))


def mean_directions(shows: Sequence[Tensor], keeps: Tensor) -> Tensor:
    """Orthonormal directions from the mean of kept prompts to the means of concepts, (d, concepts).

    Args:
        shows: mean states of the prompts of each concept, (n, d) each.
        keeps: of prompts without any, (m, d).
    """
    towards = torch.stack([one.mean(0) - keeps.mean(0) for one in shows], 1)
    return torch.linalg.qr(towards).Q


@contextmanager
def projected_out(layer: TextLayer, directions: Tensor, centre: Tensor) -> Iterator[None]:
    """Take directions (d, c) out of all states of a layer but the start mark's, as seen from a centre (d,)."""

    def change(states: Tensor) -> Tensor:
        moved = (states - centre) @ directions @ directions.T
        return torch.cat([states[:, :1], (states - moved)[:, 1:]], 1)

    with edited(layer.network, layer.name, change):
        yield
