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
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.system import Scale
from snellen.data.class_balance import first_of_each
from snellen.models.classifiers.pooled_features import pooled_features
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.scaling_laws.full import full_material, full_size
from snellen.reproduction.scaling_laws.materials import SMALL, SMOKE, Material, Size, small_material
from snellen.systems.scaling_laws.class_groups import class_groups, groups, with_oracle
from snellen.systems.scaling_laws.design import SIZES, nested_sizes
from snellen.systems.scaling_laws.power_law import fit_power_law
from snellen.systems.scaling_laws.scaling_run import ScalingRun
from snellen.training.parts import Chosen, Labelled
from snellen.training.students import (
    StudentResult,
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
        test image at the largest size, mean loss at each of four sizes, ``exponent`` and ``sizes_used`` of its law.
        ``oracle``: the loss with images of unknown shapes from the world; ``few`` and ``many``: losses with and without
        synthetic images, and their ``gain`` for each test image; ``shifted`` and ``in_distribution``: the ``gap`` of
        right decisions, real less synthetic.
    """
    if scale == "full":
        size, material = full_size(), full_material(full_size(), progress)
        return Experiment(material, size, seed).figures()
    size = SMOKE if scale == "smoke" else SMALL
    with small_material(size, progress) as material:
        return Experiment(material, size, seed).figures()


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
        material: all images.
        size: how much of everything.
        seed: of initial weights and order.
    """

    def __init__(self, material: Material, size: Size, seed: int) -> None:
        self.material, self.size, self.seed, self.plan = material, size, seed, size.students
        self.classes = material.real.class_names or ()
        self.known = np.array([name not in material.unknown for name in self.classes])
        self.store = store_of(material.real, self.plan)
        self.stores = {name: store_of(images, self.plan) for name, images in material.made.items()}
        self.tests = {name: store_of(images, self.plan) for name, images in material.tests.items()}
        self.by_real: dict[int, dict[str, StudentResult]] = {}

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        return {**self.quality(), **self.curves(), **self.mixtures()}

    # -- images ---------------------------------------------------------------------------------------------------

    def quality(self) -> dict[str, Figure]:
        """Recognised or not, and the distance to the mean of the class, of every image of a known class."""
        scored = store_of(self.material.scored, self.plan)
        recipe = self.plan.model_copy(update={"amount": self.size.scorer_amount})
        network = train_student(scored, recipe, len(self.classes), self.seed, "scorer")
        scorer = as_classifier(network, self.plan, self.classes, "scorer")
        figures: dict[str, Figure] = {}
        for name, store in {**self.stores, "real": self.store}.items():
            right, spread, labels = _scored(scorer, store)
            known = self.known[labels]
            figures[f"{name}.recognised"] = Sample.of(right[known])
            figures[f"{name}.spread"] = Sample.of(spread[known])
            if name == "guided":
                figures["guided.unknown_recognised"] = None if known.all() else float(right[~known].mean())
        return figures

    # -- curves ---------------------------------------------------------------------------------------------------

    def curves(self) -> dict[str, Figure]:
        """Laws, losses at the largest size, the groups of classes, the oracle, and both test sets."""
        figures: dict[str, Figure] = {}
        runs: dict[str, list[ScalingRun]] = {}
        last: dict[str, dict[str, StudentResult]] = {}
        for name in ("real", *CURVES):
            sizes = nested_sizes(self.size.real if name == "real" else self.size.made)
            points = {count: self.trained(self.of(name, count)) for count in sizes}
            if name == "real":
                self.by_real = points
            last[name] = points[sizes[-1]]
            runs[name] = [
                ScalingRun.of(found["in_distribution"], name, count * len(self.classes), self.seed, len(self.classes))
                for count, found in points.items()
            ]
            figures |= self._law(name, runs[name])
        last["usual"] = self.trained(self.of("usual", self.size.made))
        replaced = self._cannot(runs)
        last["oracle"], last["oracle_of_others"] = (self.trained(self._oracle(names)) for names in replaced)
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
        losses = [run.loss for run in runs]
        by_size = {
            f"{name}.loss_of_size_{place + 1}": losses[place] if place < len(losses) else None for place in range(SIZES)
        }
        try:
            law = fit_power_law(runs, resamples=2, rng=np.random.default_rng(self.seed))
        except InputError:  # too few sizes
            return {f"{name}.exponent": None, f"{name}.sizes_used": None, **by_size}
        return {f"{name}.exponent": law.k, f"{name}.sizes_used": float(len(law.used)), **by_size}

    def _poor(self, runs: Mapping[str, Sequence[ScalingRun]]) -> float | None:
        """Share of the shapes that the generator never saw among the poor classes; None without any."""
        try:
            curves = class_groups(
                runs["guided"], runs["real"], self.classes, resamples=100, rng=np.random.default_rng(self.seed)
            )
        except InputError:
            return None
        poor = groups(curves)["poor"]
        return float(np.mean([name in self.material.unknown for name in poor])) if poor else None

    def _cannot(self, runs: Mapping[str, Sequence[ScalingRun]]) -> tuple[Sequence[str], Sequence[str]]:
        """Classes that the generator cannot draw, and as many that it can, for a control."""
        if self.material.unknown:
            return self.material.unknown, self.classes[: len(self.material.unknown)]
        made, own = (np.array(runs[name][-1].class_losses, dtype=np.float64) for name in ("guided", "real"))
        ranked, count = np.argsort(made - own), max(1, len(self.classes) // 10)
        return [self.classes[row] for row in ranked[-count:]], [self.classes[row] for row in ranked[:count]]

    def _oracle(self, names: Sequence[str]) -> Labelled:
        """The guided set with real images of these classes."""
        return store_of(with_oracle(self.material.made["guided"], self.material.oracle, names), self.plan)

    # -- mixtures -------------------------------------------------------------------------------------------------

    def mixtures(self) -> dict[str, Figure]:
        """Few and many real images: alone, with synthetic ones, augmented, and with synthetic ones of wrong labels."""
        figures: dict[str, Figure] = {}
        made = self.of("guided", self.size.made)
        for name, count in (("few", self.size.few), ("many", self.size.real)):
            real = self.of("real", count)
            alone = (self.by_real.get(count) or self.trained(real))["in_distribution"]
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
        wrong = Chosen(made, torch.arange(len(made)), made.targets[turned])
        shuffled = self.trained(mixed(few, wrong, None))["in_distribution"]
        figures["few.augmented.loss"] = Sample.of(cropped.losses)
        figures["few.shuffled.loss"] = Sample.of(shuffled.losses)
        return figures

    # -- students -------------------------------------------------------------------------------------------------

    def of(self, name: str, count: int) -> Chosen:
        """The first ``count`` images of each class, real or of a setting."""
        images = self.material.real if name == "real" else self.material.made[name]
        store = self.store if name == "real" else self.stores[name]
        return part(store, first_of_each(images, count).ids)

    def trained(self, store: Labelled, *, cropped: bool = False) -> dict[str, StudentResult]:
        """One student on both test sets."""
        transform = random_resized_crops(0.6) if cropped else None
        network = train_student(store, self.plan, len(self.classes), self.seed, transform=transform)
        return {name: measured(network, test) for name, test in self.tests.items()}


def _scored(scorer: Classifier, store: Labelled) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Whether the scorer decides for the intended class, the distance of its features to the mean of the class, and
    the class, of each image.
    """
    decided, features = list[Tensor](), list[Tensor]()
    for positions in torch.arange(len(store)).split(128):
        scores, found = pooled_features(scorer, to_unit(store.read(positions)[0]).to(scorer.device))
        assert found is not None
        decided.append(scores.argmax(1).cpu())
        features.append(found.double().cpu())
    # Of unit length: sharper images excite the scorer more, and are not more diverse for that.
    labels, vectors = store.targets, torch.nn.functional.normalize(torch.cat(features), dim=1)
    means = torch.stack([vectors[labels == index].mean(0) for index in range(len(scorer.class_names))])
    distance = (vectors - means[labels]).norm(dim=1).numpy()
    return (torch.cat(decided) == labels).double().numpy(), distance, labels.numpy()
