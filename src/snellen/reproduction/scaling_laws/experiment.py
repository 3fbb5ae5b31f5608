"""System 14: do students scale with synthetic images as with real ones, why not, and when does adding them help.

Students of one recipe are trained on nested sizes of real images, of generated images under four guidance scales and
two kinds of prompts, and on mixtures. Six shapes are known to the generator, two it never saw. Images are generated
once, from a seed of their own; the seed of the experiment decides initial weights and order alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preparation import to_unit
from snellen.core.progress import Progress
from snellen.core.system import Scale
from snellen.data.class_balance import first_of_each
from snellen.models.classifiers.pooled_features import pooled_features
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.scaling_laws.materials import SMALL, SMOKE, UNKNOWN, Size, generated, shapes
from snellen.systems.scaling_laws.class_groups import class_groups, groups, with_oracle
from snellen.systems.scaling_laws.design import nested_sizes
from snellen.systems.scaling_laws.power_law import fit_power_law
from snellen.systems.scaling_laws.scaling_run import ScalingRun
from snellen.training.batches import ImageStore
from snellen.training.students import (
    Measured,
    as_classifier,
    measured,
    mixed,
    part,
    store_of,
    train_student,
)
from snellen.training.transforms import random_resized_crops

#: Settings whose whole curve is trained; the others are measured at the largest size alone.
CURVES = ("guided", "plain", "strong", "captioned")


def scaling_laws(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 14.

    Returns:
        Of each setting and of ``real``: ``recognised`` and ``spread`` of each image of a known class; ``loss`` of each
        test image at the largest size, ``exponent`` and ``sizes_used`` of its law. ``oracle``: the loss with images of
        unknown shapes from the world; ``few`` and ``many``: losses with and without synthetic images, and their
        ``gain`` for each test image; ``shifted`` and ``in_distribution``: the ``gap`` of right decisions, real less
        synthetic.
    """
    if scale == "full":
        raise InputError(
            "the full experiment takes ImageNet-100 and Stable Diffusion 1.5 on a GPU, about 130,000 images for each "
            "of 12 settings; run snellen synthesize plan DATA --generator diffusers:FOLDER on it instead"
        )
    size = SMOKE if scale == "smoke" else SMALL
    real = shapes("train", size.real)
    with generated(real, size, progress) as made:
        return Experiment(real, made, size, seed).figures()


scaling_laws.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with four images of each class, one step of the sampler and two updates",),
    "small": (
        "scenes of eight shapes, 32 pixels, for ImageNet; at most 100 images of each class",
        "the embedded scene-diffusion, which never saw two of the shapes, for Stable Diffusion, Imagen and Muse",
        "captions of the world for those of BLIP-2",
        "the embedded small CNN, 150 updates of 64, for ViT-B/16",
        "other colours and backgrounds for ImageNet-V2, -A, -R and -Sketch",
    ),
}


class Experiment:
    """One seed: a scorer, and the students of all points.

    Args:
        real: images of the world to train on.
        made: generated images of each setting.
        size: how much of everything.
        seed: of initial weights and order.
    """

    def __init__(self, real: ImageSet, made: Mapping[str, ImageSet], size: Size, seed: int) -> None:
        self.real, self.made, self.size, self.seed, self.plan = real, made, size, seed, size.students
        self.classes = real.class_names or ()
        self.known = np.array([name not in UNKNOWN for name in self.classes])
        self.store = store_of(real, self.plan)
        self.stores = {name: store_of(images, self.plan) for name, images in made.items()}
        self.tests = {
            "in_distribution": store_of(shapes("tune", size.test), self.plan),
            "shifted": store_of(shapes("tune", size.test, shifted=True, seed=1), self.plan),
        }

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        return {**self.quality(), **self.curves(), **self.mixtures()}

    # -- images ---------------------------------------------------------------------------------------------------

    def quality(self) -> dict[str, Figure]:
        """Recognised or not, and the distance to the mean of the class, of every image of a known class."""
        network = train_student(store_of(shapes("train", self.size.real, seed=2), self.plan), self.plan,
                                len(self.classes), self.seed, "scorer")  # fmt: skip
        scorer = as_classifier(network, self.plan, self.classes, "scorer")
        figures: dict[str, Figure] = {}
        for name, store in {**self.stores, "real": self.store}.items():
            right, spread, labels = _scored(scorer, store)
            known = self.known[labels]
            figures[f"{name}.recognised"] = Sample.of(right[known])
            figures[f"{name}.spread"] = Sample.of(spread[known])
            if name == "guided":
                figures["guided.unknown_recognised"] = float(right[~known].mean())
        return figures

    # -- curves ---------------------------------------------------------------------------------------------------

    def curves(self) -> dict[str, Figure]:
        """Laws, losses at the largest size, the groups of classes, the oracle, and both test sets."""
        figures: dict[str, Figure] = {}
        runs: dict[str, list[ScalingRun]] = {}
        last: dict[str, dict[str, Measured]] = {}
        for name in ("real", *CURVES):
            sizes = nested_sizes(self.size.real if name == "real" else self.size.made)
            points = {count: self.trained(self.of(name, count)) for count in sizes}
            last[name] = points[sizes[-1]]
            runs[name] = [
                ScalingRun.of(found["in_distribution"], name, count * len(self.classes), self.seed, len(self.classes))
                for count, found in points.items()
            ]
            figures |= self._law(name, runs[name])
        last["usual"] = self.trained(self.of("usual", self.size.made))
        last["oracle"], last["oracle_of_others"] = (self.trained(self._oracle(flag)) for flag in (True, False))
        for name, found in last.items():
            figures[f"{name}.loss"] = Sample.of(found["in_distribution"].losses)
        figures["real.largest.accuracy"] = float(last["real"]["in_distribution"].right.mean())
        for test in self.tests:
            own, others = last["real"][test].right, last["guided"][test].right
            figures[f"{test}.gap"] = Sample.of(own.astype(float) - others.astype(float))
            figures[f"{test}.real.accuracy"], figures[f"{test}.guided.accuracy"] = (
                float(own.mean()),
                float(others.mean()),
            )
        return {**figures, "guided.poor_are_unknown": self._poor(runs)}

    def _law(self, name: str, runs: Sequence[ScalingRun]) -> dict[str, Figure]:
        try:
            law = fit_power_law(runs, resamples=2, rng=np.random.default_rng(self.seed))
        except InputError:  # a smoke run has two sizes
            return {f"{name}.exponent": None, f"{name}.sizes_used": None}
        return {f"{name}.exponent": law.k, f"{name}.sizes_used": float(len(law.used))}

    def _poor(self, runs: Mapping[str, Sequence[ScalingRun]]) -> float | None:
        """Share of the shapes that the generator never saw among the poor classes; None without any."""
        try:
            curves = class_groups(
                runs["guided"], runs["real"], self.classes, resamples=100, rng=np.random.default_rng(self.seed)
            )
        except InputError:
            return None
        poor = groups(curves)["poor"]
        return float(np.mean([name in UNKNOWN for name in poor])) if poor else None

    def _oracle(self, unknown: bool) -> ImageStore:
        """The guided set with the two unknown shapes, or as many known ones for a control, drawn by the world."""
        names = UNKNOWN if unknown else self.classes[: len(UNKNOWN)]
        drawn = shapes("train", self.size.made, seed=3)
        return store_of(with_oracle(self.made["guided"], drawn, names), self.plan)

    # -- mixtures -------------------------------------------------------------------------------------------------

    def mixtures(self) -> dict[str, Figure]:
        """Few and many real images: alone, with synthetic ones, augmented, and with synthetic ones of wrong labels."""
        figures: dict[str, Figure] = {}
        made = self.of("guided", self.size.made)
        for name, count in (("few", self.size.few), ("many", self.size.real)):
            real = self.of("real", count)
            alone = self.trained(real)["in_distribution"]
            both = self.trained(mixed(real, made, None))["in_distribution"]
            figures[f"{name}.real.loss"], figures[f"{name}.mixed.loss"] = (
                Sample.of(alone.losses),
                Sample.of(both.losses),
            )
            figures[f"{name}.real.accuracy"] = float(alone.right.mean())
            figures[f"{name}.mixed.accuracy"] = float(both.right.mean())
            figures[f"{name}.gain"] = Sample.of(alone.losses - both.losses)
        few = self.of("real", self.size.few)
        cropped = self.trained(few, cropped=True)["in_distribution"]
        turned = torch.from_numpy(np.random.default_rng(self.seed).permutation(len(made)))
        wrong = ImageStore.of_tensors(made.images, made.targets[turned], ids=made.ids)
        shuffled = self.trained(mixed(few, wrong, None))["in_distribution"]
        figures["few.augmented.loss"] = Sample.of(cropped.losses)
        figures["few.shuffled.loss"] = float(shuffled.losses.mean())
        return figures

    # -- students -------------------------------------------------------------------------------------------------

    def of(self, name: str, count: int) -> ImageStore:
        """The first ``count`` images of each class, real or of a setting."""
        images, store = (self.real, self.store) if name == "real" else (self.made[name], self.stores[name])
        return part(store, first_of_each(images, count).ids)

    def trained(self, store: ImageStore, *, cropped: bool = False) -> dict[str, Measured]:
        """One student on both test sets."""
        transform = random_resized_crops(0.6) if cropped else None
        network = train_student(store, self.plan, len(self.classes), self.seed, transform=transform)
        return {name: measured(network, test) for name, test in self.tests.items()}


def _scored(
    scorer: Classifier, store: ImageStore
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Whether the scorer decides for the intended class, the distance of its features to the mean of the class, and
    the class, of each image.
    """
    scores, features = zip(
        *(pooled_features(scorer, to_unit(images)) for images in store.images.split(128)), strict=True
    )
    labels, vectors = store.targets.numpy(), torch.cat(features).double()
    means = torch.stack([vectors[store.targets == index].mean(0) for index in range(len(scorer.class_names))])
    distance = (vectors - means[store.targets]).norm(dim=1).numpy()
    return (torch.cat(scores).argmax(1).numpy() == labels).astype(np.float64), distance, labels
