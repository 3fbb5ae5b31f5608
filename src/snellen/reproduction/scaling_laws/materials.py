"""Images of the experiment: shapes that the generator knows and two that it never saw; captions; a shifted test set.

The embedded generator was trained on six shapes. Its tokenizer knows the words of others, but no image of them was ever
shown to it: so there are classes that it cannot draw, without a generator of its own for this experiment.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from snellen.core.cache_folder import writable_cache
from snellen.core.images import ImageSet, Split
from snellen.core.progress import Progress
from snellen.data.class_balance import first_of_each
from snellen.data.files.manifest import load_manifest
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Factor, described
from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.optotypes.scene_set import scene_images
from snellen.data.worlds.optotypes.small_world import SHAPES, SIZE, WORLD
from snellen.methods.synthesis.by_caption import ByCaption
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.conditioned import Conditioned
from snellen.methods.synthesis.manifest_rows import Source
from snellen.methods.synthesis.synthesizing import synthesize_into
from snellen.methods.synthesis.synthetic_set import with_classes_of
from snellen.runs.settings import Setting
from snellen.training.students import StudentPlan

#: Shapes whose words the generator can read, and which it never saw.
UNKNOWN: tuple[Shape, ...] = ("crescent", "hourglass")

#: Factors that captions name, in the words that the generator was trained on.
DETAIL: tuple[Factor, ...] = ("shape", "colour", "texture", "background")


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        made: generated images of each class.
        real: most real images of each class.
        few: real images of each class that are few.
        test: test images of each class.
        steps: of the sampler.
        students: the recipe.
    """

    made: int
    real: int
    few: int
    test: int
    steps: int
    students: StudentPlan


SMALL = Size(made=100, real=100, few=12, test=60, steps=20, students=StudentPlan(amount=150))
SMOKE = Size(made=4, real=4, few=2, test=3, steps=1, students=StudentPlan(amount=2, batch_size=8))


def shapes(split: Split, per_class: int, *, shifted: bool = False, seed: int = 0) -> ImageSet:
    """As many scenes of each shape, with captions.

    Args:
        split: of the world.
        per_class: images of each shape.
        shifted: outlines on backgrounds that neither the real images nor the generator show.
        seed: of the world.
    """
    names = (*SHAPES, *UNKNOWN)
    changed = {"backgrounds": ("water", "night"), "colours": ("orange", "cyan", "red", "white")} if shifted else {}
    world = WORLD.model_copy(
        update={
            "shapes": names,
            "count": per_class * len(names) * 2 + 60,
            "nuisance_share": 0.2,
            "seed": seed,
            **changed,
        }
    )
    drawn = world.scenes(split)
    ids = [f"{split}/{row:06d}" for row in range(len(drawn))]
    images = scene_images(
        drawn, size=SIZE, class_names=names, ids=ids, split=split, captions=False, name=f"{split} shapes"
    )
    texts = [caption(described(scene), seed=scene.seed, detail=DETAIL) for scene in drawn]
    captioned = replace(images, table=images.table.append_column("caption", pa.array(texts)))
    return first_of_each(captioned, per_class)


def settings(steps: int) -> dict[str, Conditioned]:
    """The grid: guidance by class name, and captions."""
    by_name = {"plain": 1.0, "guided": 2.0, "strong": 4.0, "usual": 7.5}
    return {
        **{name: ByName(guidance_scale=scale, steps=steps) for name, scale in by_name.items()},
        "captioned": ByCaption(guidance_scale=2.0, steps=steps, named=False),
    }


@contextmanager
def generated(real: ImageSet, size: Size, progress: Progress) -> Iterator[dict[str, ImageSet]]:
    """The generated set of each setting: made once, and kept for all seeds, which vary the training alone."""
    source = Source.of_images(real)
    with tempfile.TemporaryDirectory() as scratch:
        found = {}
        for name, method in settings(size.steps).items():
            key = hashlib.sha256(json.dumps([method.record(), size.made]).encode()).hexdigest()[:16]
            # A few images of a smoke run are not worth keeping.
            folder = Path(scratch) / name if size is SMOKE else writable_cache("scaling-laws") / f"{name}-{key}"
            made = synthesize_into(
                [Setting(name, method)], source, folder, count=size.made, seed=0, sheet=False, progress=progress
            )
            found[name] = with_classes_of(load_manifest(made.manifest, name=name), real)
        yield found
