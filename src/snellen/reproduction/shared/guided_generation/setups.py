"""The two small worlds that guided generation is measured in: product thumbnails by class, and scenes by prompt."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import derive_seed
from snellen.data.files.bundled import load_bundled
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Factor, described
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.small_world import SIZE, WORLD, scenes
from snellen.data.worlds.optotypes.vocabulary import forms
from snellen.methods.generation.generator_call import BLANK, GeneratorCall
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.reproduction.shared.guided_generation.judging import Judge, scene_judge, thumbnail_judge
from snellen.reproduction.shared.guided_generation.seen_images import Seen, seen_scenes, seen_thumbnails

#: Steps of the sampler, as the embedded generators were measured with.
STEPS = 25

#: Factors that a prompt names.
TOLD: tuple[Factor, ...] = ("shape", "colour", "texture", "background")

#: Real images beside generated ones, and as many again to say what a perfect generator would reach.
REAL = 1000

#: The small world without fog and blur.
_CLEAR = WORLD.model_copy(update={"nuisance_share": 0.0})

#: Captions of one scene that are tried until one has the plain word for its shape.
_TRIES = 200


@dataclass(frozen=True, eq=False)
class Setup:
    """What all arms of one world share.

    Args:
        name: "thumbnails" or "scenes".
        generator: that is guided.
        guide: a classifier of clean images that may guide it.
        judge: an independent one.
        real: images of the test split, float32 (m, 3, h, w) in [0, 1].
        other_real: further ones.
        seen: (count, seed) → labelled images that may be trained on.
        write: (classes of images by name, seed) → a template for each, where the generator takes prompts.
        steps: of the sampler.
    """

    name: str
    generator: Generator
    guide: Classifier
    judge: Judge
    real: Tensor
    other_real: Tensor
    seen: Callable[[int, int], Seen]
    write: Callable[[Sequence[str], int], tuple[str, ...]] | None = None
    steps: int = STEPS

    @property
    def sampler(self) -> Sampler:
        """DDIM."""
        return Sampler(self.generator, steps=self.steps)

    @cached_property
    def real_features(self) -> Tensor:
        """Features of the real images in the judge's space, (m, d)."""
        return self.judge.seen(self.real)

    def ask(self, count: int, seed: int) -> GeneratorCall:
        """Images of all classes in turns, with seeds and prompts that depend on ``seed`` and the position alone."""
        names = self.guide.class_names
        classes = torch.arange(count) % len(names)
        templates = None if self.write is None else self.write([names[index] for index in classes.tolist()], seed)
        seeds = tuple(derive_seed(seed, "guided generation", row) % 2**31 for row in range(count))
        return GeneratorCall(self.generator, seeds, names, classes, templates)


def thumbnails() -> Setup:
    """Fashion-MNIST by class: a generator in pixels, and the 2,000 test images of the package."""
    real, other = _pixels(load_bundled("fashion-mnist"))
    return Setup(
        "thumbnails",
        load_generator("bundled:fashion-diffusion"),
        load_classifier("bundled:fashion-cnn"),
        thumbnail_judge(),
        real,
        other,
        seen_thumbnails,
    )


def small_scenes() -> Setup:
    """Scenes by prompt, of combinations that nothing was fitted to: a generator in latents of an autoencoder."""
    drawn = scenes(_CLEAR, "test", count=2 * REAL, seen=False)
    pixels = torch.cat([render(drawn[start : start + REAL], SIZE).pixels for start in (0, REAL)])
    return Setup(
        "scenes",
        load_generator("bundled:scene-diffusion"),
        load_classifier("bundled:scene-cnn"),
        scene_judge(),
        to_unit(pixels[:REAL]),
        to_unit(pixels[REAL:]),
        seen_scenes,
        scene_templates,
    )


def scene_templates(names: Sequence[str], seed: int) -> tuple[str, ...]:
    """A prompt for each shape with ``{}`` in its place, of a scene of a combination that was held out.

    >>> scene_templates(["star"], 0)[0].count("{}")
    1
    """
    found: dict[str, list[Scene]] = {name: [] for name in dict.fromkeys(names)}
    # A world of its own: scenes of the real images have another seed.
    world = _CLEAR.model_copy(update={"seed": derive_seed(seed, "prompts") % 2**31})
    for scene in scenes(world, "test", count=3 * len(names) + 200, seen=False):
        if scene.objects[0].shape in found:
            found[scene.objects[0].shape].append(scene)
    left = {name: iter(drawn) for name, drawn in found.items()}
    return tuple(_template(next(left[name])) for name in names)


def _template(scene: Scene) -> str:
    """A caption of a scene in which the plain word for its shape is the only one for it, with a blank in its place."""
    word, *others = forms("shape", scene.objects[0].shape, "fitting")
    for turn in range(_TRIES):
        text = caption(described(scene), seed=scene.seed + turn, detail=TOLD)
        blanked, times = re.subn(rf"\b{word}\b", BLANK, text)
        if times == 1 and not any(re.search(rf"\b{other}\b", text) for other in others):
            return blanked
    raise AssertionError(f"none of {_TRIES} captions of a {word} says so once")


def _pixels(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Two disjoint sets of as many images, float32 (n, 3, h, w)."""
    order = np.random.default_rng(0).permutation(len(images))
    pixels = np.stack([np.asarray(images.read(int(row))) for row in order[: 2 * REAL]])
    unit = to_unit(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    return unit[:REAL], unit[REAL:]
