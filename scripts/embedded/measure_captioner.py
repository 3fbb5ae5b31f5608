"""Measure the embedded captioner on combinations that it was never shown, by the factors that it states.

    python scripts/embedded/measure_captioner.py

Captions are read back by the parser of captions. Beside it, one caption for all images: the likeliest value of each
factor.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from measured import share, share_by, write
from scene_examples import SceneExamples
from scene_world import SIZE, WORLD, scenes

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.data.worlds.optotypes.described import Described, described
from snellen.data.worlds.optotypes.parser import parse
from snellen.models.references import load_captioner

COUNT = 1000
OF_OBJECTS = ("shape", "colour", "texture", "size", "place")


def stated(said: Described) -> dict[str, str]:
    """Factors that a description tells of its first object and of the scene."""
    found = {}
    if said.objects:
        found = {name: getattr(said.objects[0], name) for name in OF_OBJECTS}
    found["background"] = said.background
    return {name: value for name, value in found.items() if value is not None}


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    captioner = load_captioner("bundled:scene-captioner")
    drawn = scenes(WORLD.model_copy(update={"nuisance_share": 0.0}), "test", count=COUNT, seen=False)
    images = to_unit(SceneExamples(drawn, SIZE, None, "test").images())
    texts = [text for part in images.split(100) for text in captioner.caption(part).texts]
    truths = [stated(described(scene)) for scene in drawn]
    unread, told = 0, []
    for text in texts:
        try:
            told.append(stated(parse(text)))
        except InputError:
            unread += 1
            told.append({})
    found: dict[str, Any] = {"not readable": share([not one for one in told]), "factors": {}}
    every: list[bool] = []
    for name in (*OF_OBJECTS, "background"):
        pairs = [(one[name], truth[name]) for one, truth in zip(told, truths, strict=True) if name in one]
        right = [said == true for said, true in pairs]
        every += right
        if right:
            found["factors"][name] = {**share_by(right, [true for _, true in pairs]), "stated": len(right) / COUNT}
    found["all stated factors"] = share(every)
    likeliest = {name: Counter(truth[name] for truth in truths).most_common(1)[0][0] for name in truths[0]}
    found["constant caption"] = share([truth[name] == likeliest[name] for truth in truths for name in likeliest])
    found["examples"] = texts[:8]
    headline = {"stated_factors": found["all stated factors"]["share"]}
    write("captioner", "scene-captioner", found, headline)


if __name__ == "__main__":
    main()
