"""Images of the experiment: shapes that the generator knows and two that it never saw; captions; a shifted test set.

The embedded generator was trained on six shapes. Its tokenizer knows the words of others, but no image of them was ever
shown to it: so there are classes that it cannot draw, without a generator of its own for this experiment.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from snellen.core.cache_folder import writable_cache
from snellen.core.images import ImageSet, Split
from snellen.core.progress import Progress
from snellen.core.run_plan import describe_machine
from snellen.data.class_balance import first_of_each
from snellen.data.files.manifest import load_manifest
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Factor, described
from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.optotypes.scene_set import scene_images
from snellen.data.worlds.optotypes.small_world import SHAPES, SIZE, WORLD
from snellen.methods.generation.made_images import where
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


@dataclass(frozen=True, eq=False)
class Material:
    """All images of the experiment.

    Attributes:
        real: that students train on.
        made: generated images of each setting.
        tests: what students are measured on: ``in_distribution`` and ``shifted``.
        scored: real images that the scorer is trained on; no student sees them.
        oracle: real images that replace generated ones of classes that the generator cannot draw.
        unknown: these classes, where they are known; else the tenth with the largest gap to real images is taken.
    """

    real: ImageSet
    made: Mapping[str, ImageSet]
    tests: Mapping[str, ImageSet]
    scored: ImageSet
    oracle: ImageSet
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        made: generated images of each class.
        real: most real images of each class.
        few: real images of each class that are few.
        test: test images of each class.
        scored: real images of each class that the scorer is trained on.
        scorer_amount: its updates; it must know the classes better than the best student.
        steps: of the sampler.
        students: the recipe.
        generator: by reference.
        templates: prompts of a class.
        batch: images that are generated at once.
    """

    made: int
    real: int
    few: int
    test: int
    scored: int
    scorer_amount: int
    steps: int
    students: StudentPlan
    generator: str = "bundled:scene-diffusion"
    templates: tuple[str, ...] = ("a {}",)
    batch: int = 32


SMALL = Size(
    made=100, real=100, few=12, test=150, scored=300, scorer_amount=800, steps=20, students=StudentPlan(amount=150)
)
SMOKE = Size(
    made=4, real=4, few=2, test=3, scored=4, scorer_amount=2, steps=1, students=StudentPlan(amount=2, batch_size=8)
)


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


@contextmanager
def small_material(size: Size, progress: Progress) -> Iterator[Material]:
    """Scenes of the world, and what the embedded generator makes of their names and captions."""
    real = shapes("train", size.real)
    tests = {
        "in_distribution": shapes("val", size.test),
        "shifted": shapes("val", size.test, shifted=True, seed=1),
    }
    with tempfile.TemporaryDirectory() as scratch:
        # A few images of a smoke run are not worth keeping.
        folder = Path(scratch) if size is SMOKE else writable_cache("scaling-laws")
        made = generated(real, size, folder, progress)
        yield Material(
            real, made, tests, shapes("train", size.scored, seed=2), shapes("train", size.made, seed=3), UNKNOWN
        )


def settings(size: Size) -> dict[str, Conditioned]:
    """The grid: guidance by class name, and captions."""
    by_name = {"plain": 1.0, "guided": 2.0, "strong": 4.0, "usual": 7.5}
    generator, steps = size.generator, size.steps
    found: dict[str, Conditioned] = {
        name: ByName(generator=generator, guidance_scale=scale, steps=steps, templates=size.templates)
        for name, scale in by_name.items()
    }
    found["captioned"] = ByCaption(generator=generator, guidance_scale=2.0, steps=steps, named=False)
    return found


def generated(real: ImageSet, size: Size, folder: Path, progress: Progress) -> dict[str, ImageSet]:
    """The generated set of each setting: made once, and kept for all seeds, which vary the training alone.

    A folder is named after all that its images rest on, this package's code included: another version makes its own.
    """
    source, found = Source.of_images(real), {}
    for name, method in settings(size).items():
        rests_on = [
            method.record(),
            size.made,
            size.batch,
            real.fingerprint(progress),
            *where(),
            describe_machine(None),
        ]
        key = hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()[:16]
        made = synthesize_into(
            [Setting(name, method)],
            source,
            folder / f"{name}-{key}",
            count=size.made,
            batch_size=size.batch,
            seed=0,
            sheet=False,
            progress=progress,
        )
        found[name] = with_classes_of(load_manifest(made.manifest, name=name), real)
    return found
