"""Images of the experiment: real ones of one look, shifts that the generator knows and one that it does not, twins.

The embedded generator was trained on objects of three textures on four backgrounds, at times in fog or blurred. The
real images have one texture and one background. So the generator knows more looks than the real set, which is the
mechanism of Bansal and Grover (2023); line drawings are known to neither.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snellen.core.cache_folder import writable_cache
from snellen.core.images import ImageSet, Split
from snellen.core.progress import Progress
from snellen.core.run_plan import describe_machine
from snellen.data.class_balance import first_of_each
from snellen.data.worlds.optotypes.small_world import SHAPES, WORLD
from snellen.methods.generation.made_images import where
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import Source
from snellen.reproduction.conditional_generation.finetuning import finetuned
from snellen.runs.settings import Setting
from snellen.systems.conditional_generation.reading import IN_DISTRIBUTION
from snellen.systems.conditional_generation.study import RECIPE, generated
from snellen.training.students import StudentPlan

#: Words of looks that the generator knows: a template is drawn for each image, as one of CLIP's 80 is.
LOOKS: tuple[str, ...] = tuple(
    " ".join(filter(None, ("a", texture, "{}", place)))
    for texture in ("", "plain", "striped", "dotted")
    for place in ("", "on a grey ground", "on grass", "on sand", "on bricks", "in fog")
)

#: One template for all, and the look of the real images in words.
SINGLE, ALIKE = ("a {}",), ("a plain {} on a grey ground", "a plain {} against grey")

#: Shifts of the small experiment; the generator knows all but the last.
SHIFTS = ("backgrounds", "textures", "weather")
UNKNOWN = "drawings"


@dataclass(frozen=True, eq=False)
class Material:
    """All images of the experiment.

    Attributes:
        real: that students train on.
        tests: what students are measured on; the first are like the real ones, the others are shifted.
        twins: one generated image for each real one, by setting.
        stress: one generated image for each of the first test images.
        oracle: real images of all looks; None where there are none.
        judging: many real images of all looks that the judge of generated images is trained on; None: ``real``.
    """

    real: ImageSet
    tests: Mapping[str, ImageSet]
    twins: Mapping[str, ImageSet]
    stress: ImageSet
    oracle: ImageSet | None = None
    judging: ImageSet | None = None


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        real: real images of each class, and generated ones in each setting.
        test: test images of each class in each set.
        students: the recipe.
        judging: real images of each class and of all looks that the judge is trained on, where there are any.
        steps: of the sampler.
        tuned: updates of the generator that is trained on with the real images.
        narrow: widths of the smaller standard models; None: only shares of the images differ.
        generator: by reference.
        diverse, single: templates.
        batch: images that are generated at once.
    """

    real: int
    test: int
    students: StudentPlan
    judging: int = 300
    steps: int = 20
    tuned: int = 300
    narrow: tuple[int, int, int] | None = (12, 32, 48)
    generator: str = "bundled:scene-diffusion"
    diverse: tuple[str, ...] = LOOKS
    single: tuple[str, ...] = SINGLE
    batch: int = 32


SMALL = Size(real=40, test=100, tuned=150, students=RECIPE.model_copy(update={"amount": 24}))
SMOKE = Size(
    real=3, test=3, judging=3, steps=1, tuned=1, batch=6,
    students=RECIPE.model_copy(update={"amount": 1, "batch_size": 8}),
)  # fmt: skip


def scenes(split: Split, per_class: int, *, seed: int, **changed: Any) -> ImageSet:  # noqa: ANN401 - fields of the world
    """As many scenes of each shape: plain ones on grey, unless something is changed."""
    look = {"textures": ("plain",), "backgrounds": ("grey",), "nuisance_share": 0.0, **changed}
    count = per_class * len(SHAPES) * 2 + 60
    return first_of_each(WORLD.model_copy(update={"count": count, "seed": seed, **look}).images(split=split), per_class)


def shifts(per_class: int) -> dict[str, ImageSet]:
    """Test images like the real ones, and shifted ones."""
    return {
        IN_DISTRIBUTION: scenes("val", per_class, seed=1),
        "backgrounds": scenes("val", per_class, seed=2, backgrounds=("grass", "sand", "brick")),
        "textures": scenes("val", per_class, seed=3, textures=("striped", "dotted")),
        "weather": scenes("val", per_class, seed=4, nuisance_share=1.0),
        UNKNOWN: scenes("val", per_class, seed=5, styles=("line",)),
    }


@contextmanager
def small_material(size: Size, progress: Progress) -> Iterator[Material]:
    """Scenes of the world, and what the embedded generator makes of the names of their classes."""
    with tempfile.TemporaryDirectory() as scratch:
        # A few images of a smoke run are not worth keeping.
        cache = Path(scratch) if size is SMOKE else writable_cache("conditional-generation")
        made = material_of(
            scenes("train", size.real, seed=0),
            shifts(size.test),
            size,
            finetuned(size.generator, scenes("train", size.real, seed=0), size.tuned, cache, progress),
            cache,
            progress,
            alike=ALIKE,
            oracle=scenes("train", size.real, seed=6, **_all_looks()),
        )
        yield replace(made, judging=scenes("train", size.judging, seed=7, **_all_looks()))


def _all_looks() -> dict[str, Any]:
    return {name: getattr(WORLD, name) for name in ("textures", "backgrounds", "nuisance_share")}


def material_of(
    real: ImageSet,
    tests: Mapping[str, ImageSet],
    size: Size,
    tuned: str,
    cache: Path,
    progress: Progress,
    *,
    alike: tuple[str, ...] | None = None,
    oracle: ImageSet | None = None,
) -> Material:
    """Generate the twins of all settings, and the images to test with: once, and kept for all seeds.

    Args:
        real: to train on.
        tests: to measure on; the first are like the real ones.
        size: templates, generator and steps.
        tuned: reference of the generator that was trained on with the real images.
        cache: where images are kept.
        progress: receives updates.
        alike: templates that name the look of the real images.
        oracle: real images of all looks.
    """

    def by_name(templates: tuple[str, ...], generator: str = size.generator) -> ByName:
        return ByName(generator=generator, templates=templates, steps=size.steps)

    settings = {
        "generated": by_name(size.diverse),
        "single": by_name(size.single),
        **({} if alike is None else {"alike": by_name(alike)}),
        "finetuned": by_name(size.diverse, tuned),
    }
    source = Source.of_images(real)
    twins = {name: _kept(name, method, source, size, cache, progress) for name, method in settings.items()}
    own = tests[IN_DISTRIBUTION]
    measuring = Source(own.class_names or (), own, "val")
    # With other looks the drop would be that of the shifts: what is left is that of the generator.
    stress = _kept("stress", settings.get("alike", settings["generated"]), measuring, size, cache, progress)
    return Material(real, tests, twins, stress, oracle)


def _kept(name: str, method: ByName, source: Source, size: Size, cache: Path, progress: Progress) -> ImageSet:
    """One setting, in a folder named after all that its images rest on, this package's code included."""
    assert source.images is not None
    rests_on = [
        method.record(),
        method.identities(),
        size.batch,
        source.split,
        source.images.fingerprint(progress),
        *where(),
        describe_machine(None),
    ]
    key = hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()[:16]
    return generated(
        [Setting(name, method)], source, cache / f"{name}-{key}", 0, progress, batch_size=size.batch, sheet=False
    )[name]
