"""Threads of this process that measure side by side: whether a classifier allows it, and how many there are.

Each thread has a copy of the module that shares the weights, and one thread of torch where there are enough pieces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import ModelError, UnsupportedError
from snellen.core.shared_copy import is_tied, queried_by
from snellen.runs.engines.choosing import Chosen, Load, choose_lanes
from snellen.runs.engines.pass_cost import pass_cost


class Twin(Protocol):
    """Work of another thread."""

    @property
    def at_once(self) -> int:
        """Images of one pass, where they are more than those of a batch."""


def fits_lanes(classifier: Classifier) -> bool:
    """Whether copies compute what the classifier does: autocast, for one, is a setting of a single thread.

    >>> from torch import nn
    >>> fits_lanes(Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), class_names=["a", "b"]))
    True
    >>> fits_lanes(Classifier(lambda images: images.flatten(1)[:, :2], class_names=["a", "b"]))
    False
    """
    if classifier.device.type != "cpu" or classifier.module is None or is_tied(classifier.module):
        return False
    # A function that layers query is one for all copies, as a classifier that is a function is.
    return not (torch.is_autocast_enabled("cpu") or queried_by(classifier.module))


def lanes_for(
    classifiers: Sequence[Classifier], twin: Callable[[], Twin], shards: Sequence[int], threads: int | None
) -> Chosen | None:
    """How many threads measure a call side by side where nobody named an engine; None where only one can.

    How long all of it takes is not known, and need not be: threads side by side cost no start.

    Args:
        classifiers: of the call.
        twin: makes its work for another thread.
        shards: items of each.
        threads: of torch in each of them; None: torch's own number, divided among them.
    """
    if torch.get_num_threads() < 2 or len(shards) < 2 or not all(map(fits_lanes, classifiers)):
        return None
    # Settings of the calling thread that others would not have.
    if torch.is_inference_mode_enabled() or torch.get_default_device().type != "cpu":
        return None
    before = torch.get_rng_state()
    try:
        at_once = max(*shards, twin().at_once)
        costs = [pass_cost(classifier.twin()) for classifier in classifiers]
        drawn = not torch.equal(before, torch.get_rng_state())
    except (UnsupportedError, ModelError):
        return None
    finally:
        torch.set_rng_state(before)
    # All threads draw from one generator of torch, in an order that no seed sets. Without gradients nobody knows what a
    # pass holds.
    if drawn or not all(cost.kept for cost in costs):
        return None
    load = Load(math.inf, len(shards), at_once * sum(cost.kept for cost in costs))
    chosen = choose_lanes(load, threads=threads, why="nobody named an engine")
    return chosen if chosen.lanes > 1 else None
