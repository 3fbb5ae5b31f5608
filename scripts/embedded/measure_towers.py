"""Measure the embedded two-tower model on combinations of factors that it was never shown.

    python scripts/embedded/measure_towers.py

Zero-shot answers, retrieval beside chance, and relations of two objects beside the turned-round caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from measured import share, share_by, write
from scene_examples import SceneExamples
from scene_world import BACKGROUNDS, COLOURS, PAIRS, SHAPES, SIZE, TEXTURES, WORLD, scenes
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Described, DescribedObject, described
from snellen.data.worlds.optotypes.near_misses import near_misses
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scene_set import LABELS
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.dual_encoders.zero_shot import class_vectors, scaled_cosines
from snellen.models.references import load_two_tower

ASKED = {"colour": COLOURS, "shape": SHAPES, "texture": TEXTURES, "background": BACKGROUNDS}
COUNT, GALLERY, WORDINGS = 2000, 500, 12
CLEAN = WORLD.model_copy(update={"nuisance_share": 0.0})


def prompts(factor: str, value: str) -> list[str]:
    """Captions that tell this one thing, in several wordings for fitting."""
    if factor == "background":
        said = Described.model_validate({"background": value})
    else:
        said = Described(objects=(DescribedObject.model_validate({factor: value}),))
    return sorted({caption(said, seed=seed, detail=[factor]) for seed in range(WORDINGS)})


def images_of(drawn: Sequence[Scene]) -> Tensor:
    """Pictures, float (n, 3, SIZE, SIZE)."""
    return to_unit(SceneExamples(drawn, SIZE, None, "test").images())


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    towers = load_two_tower("bundled:scene-clip")
    found: dict[str, Any] = {}
    for name, seen in (("held out", False), ("seen", True)):
        drawn = scenes(CLEAN, "test", count=COUNT, seen=seen)
        vectors = towers.encode_images(images_of(drawn))
        found[f"zero-shot, {name}"] = {}
        for factor, values in ASKED.items():
            said = class_vectors(towers, {value: prompts(factor, value) for value in values})
            answers = scaled_cosines(vectors, said).argmax(1).tolist()
            truths = [LABELS[factor][1](scene) for scene in drawn]
            right = [values[answer] == truth for answer, truth in zip(answers, truths, strict=True)]
            found[f"zero-shot, {name}"][factor] = share_by(right, truths)
    gallery = scenes(CLEAN, "test", count=GALLERY, seen=False)
    texts = [caption(described(scene), seed=scene.seed, detail="full") for scene in gallery]
    texts = [text if fits(towers, text) else caption(described(gallery[n])) for n, text in enumerate(texts)]
    scores = scaled_cosines(towers.encode_images(images_of(gallery)), towers.encode_texts(texts))
    own = torch.arange(GALLERY)
    found["retrieval"] = {
        "image by text": share((scores.argmax(0) == own).tolist()),
        "text by image": share((scores.argmax(1) == own).tolist()),
        "chance": 1 / GALLERY,
    }
    found["relations"] = relations(towers)
    headline = {f"zero_shot.{name}": one["share"] for name, one in found["zero-shot, held out"].items()}
    headline["retrieval.image_by_text"] = found["retrieval"]["image by text"]["share"]
    write("towers", "scene-clip", found, headline)


def fits(towers: TwoTower, text: str) -> bool:
    """Whether a text is short enough."""
    try:
        towers.encode_texts([text])
    except InputError:
        return False
    return True


def relations(towers: TwoTower) -> dict[str, float]:
    """How often the true relation of two objects scores above the turned-round one; chance is one half."""
    drawn = scenes(PAIRS, "test", count=COUNT, seen=False)
    vectors = towers.encode_images(images_of(drawn))
    right = []
    for scene, vector in zip(drawn, vectors, strict=True):
        said = described(scene)
        if not said.relations:
            continue
        wrong = next(one.described for one in near_misses(said, count=200, seed=0) if one.factor == "relations")
        both = [caption(one, detail=["shape", "colour", "relations"]) for one in (said, wrong)]
        scores = towers.encode_texts(both) @ vector
        right.append(bool(scores[0] > scores[1]))
    return share(right)


if __name__ == "__main__":
    main()
