"""Ways to train on further views of the same objects, the same at every scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snellen.core.errors import InputError
from snellen.systems.viewpoints.recipe import ViewpointTraining
from snellen.systems.viewpoints.view_augmentation import ViewAugmentation
from snellen.systems.viewpoints.view_training import ViewTraining

WAYS = ("natural", "random", "gaussian", "viat", "unshared", "frozen")

#: Control of the small experiment: as many random views are shown as ``viat`` renders in all, its searches included.
CONTROLS = ("equal",)


def recipe_of(way: str, search: Mapping[str, Any], common: Mapping[str, Any]) -> ViewTraining:
    """The recipe of one way; all have the same images, epochs and number of added renderings.

    Args:
        way: of :data:`WAYS` or :data:`CONTROLS`.
        search: numbers of the searches: components, popsize, iterations, warm_iterations.
        common: added views, plan and what else all ways share.

    Raises:
        InputError: no such way.
    """
    if way in ("natural", "random", "equal"):
        return ViewAugmentation(viewpoints="natural" if way == "natural" else "any", **common)
    special: dict[str, dict[str, Any]] = {
        # As many views in a step.
        "gaussian": {"components": 1, "popsize": search["popsize"] + search["components"] - 1},
        "viat": {},
        "unshared": {"share_rate": 0.0},
        "frozen": {"refresh": False},
    }
    if way not in special:
        raise InputError(f"no such way: {way!r}; known: {', '.join((*WAYS, *CONTROLS))}")
    return ViewpointTraining(**{**search, **special[way]}, **common)
