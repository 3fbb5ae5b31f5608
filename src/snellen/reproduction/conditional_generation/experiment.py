"""System 6: what real, generated and mixed training images do in distribution, under shift, and on generated images.

Students of one recipe are trained on real images, on a generated twin and on both; on mixtures with other prompts and
another generator; and under common augmentations. Images are generated once; the seed decides weights and order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.system import Scale
from snellen.metrics.class_subset import shared_classes
from snellen.metrics.effective_robustness import MEAN, Decisions, effective_robustness, fit_baseline
from snellen.reproduction.conditional_generation.full import full_material, full_size
from snellen.reproduction.conditional_generation.materials import SMALL, SMOKE, UNKNOWN, Material, Size, small_material
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.conditional_generation.arms import FIRST_OF_POOL, SHARES, Arm, Updates
from snellen.systems.conditional_generation.reading import IN_DISTRIBUTION
from snellen.systems.conditional_generation.study import Data, Students
from snellen.training.students import measured, store_of, store_to_measure, train_student

#: What generated validation images are called among the test sets.
GENERATED = "generated"


def conditional_generation(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 6.

    Returns:
        Of each kind of student: right decisions ``in_distribution``, ``shifted`` (all known shifts together), on each
        shift and on ``generated`` validation images; ``rho``, the mean over the known shifts, and whether it is
        ``extrapolated``. Of the line of standard models slope and range; ``gain`` of the mixture, on known shifts and
        on the one that is not known; ``recognised``: whether a judge of all looks
        recognises an image of a twin.
    """
    if scale == "full":
        size = full_size()
        return Experiment(full_material(size, progress), size, seed).figures()
    size = SMOKE if scale == "smoke" else SMALL
    with small_material(size, progress) as material:
        return Experiment(material, size, seed).figures()


conditional_generation.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with three images of each class, one step of the sampler and one epoch",),
    "small": (
        "plain scenes of six shapes on grey, 32 pixels, for ImageNet; 40 images of each class",
        "the embedded scene-diffusion, which knows textures, backgrounds and fog, for Stable Diffusion",
        "24 templates of words that it knows for the 80 of CLIP",
        "other backgrounds, other textures, fog and blur for ImageNet-Sketch, -R, -V2 and ObjectNet",
        "the embedded small CNN, 24 epochs of AdamW, for ResNet-18 and 56 epochs of SGD",
    ),
}


class Experiment:
    """One seed: all students, and the pool of standard models.

    Args:
        material: all images.
        size: how much of everything.
        seed: of initial weights and order.
    """

    def __init__(self, material: Material, size: Size, seed: int) -> None:
        self.material, self.size, self.seed = material, size, seed
        names = material.real.class_names or ()
        groups = {name: shared_classes(names, one.class_names or ()) for name, one in material.tests.items()}
        self.tests = material.tests
        self.known = [name for name in material.tests if name not in (IN_DISTRIBUTION, UNKNOWN)]
        made = {name: store_of(one, size.students) for name, one in material.twins.items()}
        if material.oracle is not None:
            made["oracle"] = store_of(material.oracle, size.students)
        self.students = Students(
            (), (), size.students, Data(material.real, dict(material.tests), groups),
            store_of(material.real, size.students), made, {**material.tests, GENERATED: material.stress}, False, 0,
        )  # fmt: skip

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        pool = self.pool()
        found = {name: self.students.student(arm) for name, arm in self.arms().items()}
        figures: dict[str, Figure] = {}
        for name, right in found.items():
            figures |= self._accuracies(name, right) | self._robustness(name, right, pool)
        figures |= self._line(pool)
        own, shifted = found["real"][IN_DISTRIBUTION], self._shifted(found["real"])
        figures["real.loss_under_shift"] = float(own.mean() - shifted.mean())
        for name, tests in (("known", self.known), ("unknown", [UNKNOWN])):
            gained = [found["matched"][one].astype(float) - found["real"][one] for one in tests if one in self.tests]
            figures[f"gain.{name}"] = Sample.of(np.concatenate(gained)) if gained else None
        figures |= self._recognised()
        return figures

    def arms(self) -> dict[str, Arm]:
        """All students of a seed."""

        def arm(share: float, setting: str | None, updates: Updates, augmentation: str | None = None) -> Arm:
            return Arm("", share, setting, updates, augmentation, self.seed)  # type: ignore[arg-type]

        found = {
            "real": arm(1, None, "kept epochs"),
            "longer": arm(1, None, "of mixture"),
            "generated": arm(0, "generated", "kept epochs"),
            "mixed": arm(1, "generated", "kept epochs"),
            "matched": arm(1, "generated", "of real"),
            "augmix": arm(1, None, "kept epochs", "augmix"),
            "rand_augment": arm(1, None, "kept epochs", "rand-augment"),
        }
        others = [
            name for name in (*self.material.twins, "oracle") if name in self.students.made and name != "generated"
        ]
        return {**found, **{name: arm(1, name, "of real") for name in others}}

    def pool(self) -> list[Decisions]:
        """Standard models: shares of the real images, in two widths."""
        widths = (None, None) if self.size.narrow is None else (None, self.size.narrow)
        found = list[Decisions]()
        for number, width in enumerate(widths):
            own = replace(self.students, plan=self.size.students.model_copy(update={"widths": width}))
            for place, share in enumerate(SHARES):
                seed = FIRST_OF_POOL + 100 * self.seed + number * len(SHARES) + place
                found.append(own.student(Arm("", share, None, "of real", None, seed)))
        return found

    def _shifted(self, right: Decisions) -> np.ndarray:
        return np.concatenate([right[name] for name in self.known])

    def _accuracies(self, name: str, right: Decisions) -> dict[str, Figure]:
        called = {IN_DISTRIBUTION: "in_distribution"}
        each = {f"{name}.{called.get(test, test)}": Sample.of(one) for test, one in right.items()}
        return {**each, f"{name}.shifted": Sample.of(self._shifted(right))}

    def _real_tests(self, right: Decisions) -> Decisions:
        return {test: right[test] for test in (IN_DISTRIBUTION, *self.known)}

    def _robustness(self, name: str, right: Decisions, pool: list[Decisions]) -> dict[str, Figure]:
        try:
            found = effective_robustness(
                [self._real_tests(right)],
                [self._real_tests(one) for one in pool],
                in_distribution=IN_DISTRIBUTION,
                resamples=20,  # the judge has intervals of its own
                rng=np.random.default_rng(self.seed),
            )[MEAN]
        except InputError:  # a smoke run's models are all equally good
            return {f"{name}.rho": None, f"{name}.extrapolated": None}
        return {f"{name}.rho": found.rho, f"{name}.extrapolated": float(found.extrapolated)}

    def _line(self, pool: list[Decisions]) -> dict[str, Figure]:
        own = [float(one[IN_DISTRIBUTION].mean()) for one in pool]
        shifted = [float(self._shifted(one).mean()) for one in pool]
        try:
            line = fit_baseline(own, shifted, images=(len(pool[0][IN_DISTRIBUTION]), len(self._shifted(pool[0]))))
        except InputError:
            return dict.fromkeys(("line.slope", "line.low", "line.high"))
        return {"line.slope": line.slope, "line.low": line.low, "line.high": line.high}

    def _recognised(self) -> dict[str, Figure]:
        """Whether a judge decides for the intended class of each image of every twin, and how often on real images.

        It is trained like a student, on many real images of all looks where there are any.
        """
        images, plan = self.material.judging or self.material.real, self.size.students
        judge = train_student(store_of(images, plan), plan, len(images.class_names or ()), self.seed, "judge")

        def right(measuring: ImageSet) -> NDArray[np.bool_]:
            return measured(judge, store_to_measure(measuring, plan)).right

        looks = self.known if self.material.judging is not None else [IN_DISTRIBUTION]
        real = np.concatenate([right(self.tests[one]) for one in looks])
        found: dict[str, Figure] = {"judge.accuracy": Sample.of(real)}
        return found | {f"{name}.recognised": Sample.of(right(twin)) for name, twin in self.material.twins.items()}
