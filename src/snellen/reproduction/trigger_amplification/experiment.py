"""System 25: what a generator makes of a poisoned training set, and what that is good for, in a world of ten shapes.

A clean generator is trained further on a poisoned set for each rate, and on the clean set as the control, always by the
same function and recipe. Two judges, fitted to other images, decide what it draws for the target class. The poisoned
sets of 5 % and of 10 % also train classifiers: on their own images, on as many generated ones, on real ones with as
many poisoned images as were generated, on what a scan leaves, and on what is left after a removal at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.data.files.arrays import load_arrays
from snellen.methods.scans.cognitive_distillation import distilled_masks
from snellen.methods.scans.superposition import certainty
from snellen.methods.scans.training_set import TrainingSet
from snellen.metrics.auroc import auroc
from snellen.metrics.generated_images import frechet_distance
from snellen.models.diffusion.generator import Generator
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.trigger_amplification.full import full
from snellen.reproduction.trigger_amplification.materials import (
    CLASSES,
    COMPARED,
    EQUAL,
    EQUAL_FIRST,
    FURTHER,
    JUDGE,
    SIDE,
    SMALL,
    SMOKE,
    Size,
    base_generator,
    base_pool,
    drawn,
    rows_of,
    scores_of,
    some,
    trained,
    trigger_judge,
    world,
)
from snellen.systems.trigger_amplification.diffusion_classifier import ClassRace, class_losses
from snellen.systems.trigger_amplification.groups import amplification, attack_success, groups, judge_errors
from snellen.systems.trigger_amplification.noise_forms import DdpmForm
from snellen.systems.trigger_amplification.poisoning import Choice, choose, poison_tensors, published_patch
from snellen.systems.trigger_amplification.replication import replication
from snellen.systems.trigger_amplification.views import suspect_class
from snellen.training.batches import ImageStore
from snellen.training.class_denoising import fit_class_generator

#: Share of the whole set that is poisoned, by its name in figures.
RATES: Mapping[str, float] = {"p5": 0.05, "p10": 0.10, "p20": 0.20}

#: Guidance w of eps_u + w (eps_c − eps_u); 1 is none. Every rate has the first; the others are for the sweep.
SCALE, NONE, STRONG = 3.0, 1.0, 5.0

#: Class of the trigger.
TARGET = 6


def trigger_amplification(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 25.

    Returns:
        Of the judges their accuracy on held-out images; of each rate ``trigger``, ``g1`` and ``g2`` of each generation
        for the target (``w1`` and ``w5``: other scales), ``trained``, the share in training, and ``drew``, how much
        more often the trigger is drawn than by the clean generator; of the compared training sets ``accuracy`` and
        ``asr``; of detectors the area under the curve in both views.
    """
    if scale == "full":
        return full(seed, progress)
    return Experiment(SMOKE if scale == "smoke" else SMALL, seed, progress).figures()


trigger_amplification.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with a tenth of the images, and one or two steps of everything",),
    "small": (
        "scenes of 16 pixels with ten shapes for CIFAR-10 and ImageNette, 5,000 images, target heart",
        "a UNet of 417 thousand parameters that was trained on other clean scenes, for DDPM and Stable Diffusion",
        "200 steps of the schedule and DDIM of 20 for 1,000 and 50; 400 generations for 1,000",
        "networks of five layers for ResNet-50 and ResNet-18; the form of DDPM with 16 draws for EDM with 100",
        "the Fréchet distance in the features of the content judge for FID",
    ),
    "full": ("see full.py",),
}


@dataclass
class Experiment:
    """One seed, which decides images, choices, weights and noise."""

    size: Size
    seed: int
    progress: Progress

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        size, seed = self.size, self.seed
        self.rng = Randomness(seed).child("trigger amplification")
        self.trigger = published_patch(SIDE)
        self.clean, self.test = world("train", size.images, seed), world("val", size.test, seed)
        others, halves = (world("train", size.images, seed, name) for name in ("content judge", "trigger judge"))
        self.content = trained(others, size.plan(JUDGE, seed), CLASSES, "content judge")
        self.sees = trigger_judge(halves, self.trigger, size.plan(JUDGE, seed))
        self.stamped = self.trigger.stamp(self.test.images).images
        figures: dict[str, Figure] = self._judges()
        self.pool = base_pool(size, seed)
        base = base_generator(self.pool, size, seed, self.progress)
        control = self.further(base, self.clean)
        figures |= self._control(control)
        for name, rate in RATES.items():
            choice = choose(self.clean.targets.numpy(), target=TARGET, rate=rate, seed=seed)
            made = poison_tensors(self.clean.images, self.clean.targets, self.trigger, choice)
            poisoned = ImageStore.of_tensors(made.images, made.labels)
            generator = self.further(base, poisoned)
            figures[f"{name}.trained"] = choice.training_share
            figures |= self._amplified(name, generator, poisoned, choice)
            if name in ("p5", "p10"):
                hit = torch.from_numpy(choice.mask)
                figures |= self._compared(name, generator, poisoned, hit, detect=name == "p10")
            if name == "p10":
                figures |= self._races("all", generator) | self._races("filtered", generator, 0.95)
        return figures

    def further(self, base: Generator, store: ImageStore) -> Generator:
        """The base, trained further: the same call for clean and for poisoned images."""
        return fit_class_generator(base, store, plan=self.size.plan(FURTHER, self.seed), progress=self.progress)

    # -- judges and groups ----------------------------------------------------------------------------------------

    def _judges(self) -> dict[str, Figure]:
        classes, labels = self.classes(self.test.images), self.test.targets.numpy()
        self.errors = judge_errors(classes, labels, self.triggers(self.test.images), self.triggers(self.stamped))
        return {
            "judge.content": 1 - self.errors.content,
            "judge.clean": 1 - self.errors.false_trigger,
            "judge.stamped": 1 - self.errors.missed_trigger,
        }

    def classes(self, images: Tensor) -> np.ndarray:
        """What the content judge sees, int64 (n,)."""
        return scores_of(self.content, images).argmax(1).numpy()

    def triggers(self, images: Tensor) -> np.ndarray:
        """Where the trigger judge sees the trigger, bool (n,)."""
        return scores_of(self.sees, images).argmax(1).numpy() == 1

    def of_target(self, generator: Generator, scale: float) -> Tensor:
        """Generations of the target class."""
        return drawn(generator, [TARGET] * self.size.drawn, scale=scale, steps=self.size.steps, seed=self.seed)

    def of_all(self, generator: Generator) -> ImageStore:
        """Generations of all classes, as many as a compared training set has."""
        labels = [at % len(CLASSES) for at in range(self.size.compared)]
        images = drawn(generator, labels, scale=SCALE, steps=self.size.steps, seed=self.seed)
        return ImageStore.of_tensors(images, torch.tensor(labels))

    def _control(self, generator: Generator) -> dict[str, Figure]:
        """What the judges and classifiers say without any poison."""
        own, made = self.of_target(generator, SCALE), self.of_all(generator)
        self.clean_triggers, self.clean_frechet = self.triggers(own), self._frechet(made)
        found = groups(self.classes(own), self.clean_triggers, TARGET)
        classifier = self.classifier(rows_of(self.clean, self._part()))
        races = self._races("clean", generator)
        named, _ = self._named(classifier, self.clean, made)
        return {
            "race.clean.asr": races["race.clean.asr"],
            "clean.recognised": Sample.of(self.classes(made.images) == made.targets.numpy()),
            "clean.trigger": Sample.of(self.clean_triggers),
            "clean.w1.trigger": Sample.of(self.triggers(self.of_target(generator, NONE))),
            "clean.w5.trigger": Sample.of(self.triggers(self.of_target(generator, STRONG))),
            **{f"clean.g{group}": Sample.of(found == group) for group in (1, 2)},
            "clean.frechet": self.clean_frechet,
            "clean.replicated": self._replicated(own, self.clean),
            "scan.clean": float(named.float().mean()),
            **self._judged("clean", classifier),
        }

    def _amplified(self, name: str, generator: Generator, store: ImageStore, choice: Choice) -> dict[str, Figure]:
        figures: dict[str, Figure] = {}
        for key, scale in {
            name: SCALE,
            **({f"{name}.w1": NONE} if name != "p20" else {}),  # in no claim
            **({f"{name}.w5": STRONG} if name == "p10" else {}),
        }.items():
            images = self.of_target(generator, scale)
            found = groups(self.classes(images), self.triggers(images), TARGET)
            measured = amplification(
                found,
                poisoned=len(choice.indices),
                of_target=choice.of_target,
                errors=self.errors,
                clean_trigger=self.clean_triggers,
            )
            figures[f"{key}.trigger"] = Sample.of(found <= 2)
            figures |= {f"{key}.g{group}": Sample.of(found == group) for group in (1, 2)}
            figures[f"{key}.amplification"] = measured.ratio
            figures[f"{key}.amplification.low"], figures[f"{key}.amplification.high"] = measured.ratio_interval
            figures[f"{key}.corrected"] = measured.corrected
            if key == name:
                figures[f"{name}.drew"] = measured.generated - float(self.clean_triggers.mean())
                figures[f"{name}.replicated"] = self._replicated(images, store)
        return figures

    def _replicated(self, made: Tensor, store: ImageStore) -> Figure:
        """How similar images for the target are to their nearest training images, in the content judge's features."""
        with torch.no_grad():
            own, real = (
                torch.cat([self.content.features(to_unit(part)).flatten(1) for part in images.split(250)])
                for images in (made, store.images)
            )
        return Sample.of(replication(own, real).similarity)

    def _frechet(self, made: ImageStore) -> float:
        with torch.no_grad():
            own, real = (
                self.content.features(to_unit(one)) for one in (made.images[: len(self.test)], self.test.images)
            )
        directions = torch.randn(own.shape[1], 64, generator=torch.Generator().manual_seed(0)) / 8
        return frechet_distance(own @ directions, real @ directions)

    # -- defences -------------------------------------------------------------------------------------------------

    def _part(self) -> Tensor:
        return some(self.size.compared, self.size.images, self.rng, "compared")

    def classifier(self, store: ImageStore) -> Classifier:
        """One recipe for every training set."""
        assert len(store) == self.size.compared
        return trained(store, self.size.plan(COMPARED, self.seed), CLASSES, "compared")

    def _judged(self, name: str, classifier: Classifier) -> dict[str, Figure]:
        labels = self.test.targets.numpy()
        right = scores_of(classifier, self.test.images).argmax(1).numpy() == labels
        decided = scores_of(classifier, self.stamped).argmax(1).numpy()
        return {f"{name}.accuracy": Sample.of(right), f"{name}.asr": Sample.of(attack_success(decided, labels, TARGET))}

    def _compared(
        self, name: str, generator: Generator, poisoned: ImageStore, hit: Tensor, *, detect: bool
    ) -> dict[str, Figure]:
        part, made = self._part(), self.of_all(generator)
        own = rows_of(poisoned, part)
        real = self.classifier(own)
        figures = self._judged(f"{name}.real", real)
        figures[f"{name}.frechet"] = self._frechet(made)
        figures[f"{name}.frechet_ratio"] = self._frechet(made) / self.clean_frechet
        if not detect:
            figures |= self._judged(f"{name}.generated", self.classifier(made))
            return figures | self._judged(f"{name}.dosed", self.classifier(self.dosed(made)))
        figures |= self._network(poisoned)
        named, alone = self._named(real, poisoned, made)
        for key, found in {"scan": named, "scan.alone": alone}.items():
            figures[f"{key}.found"] = float(found[hit].float().mean())
            figures[f"{key}.wrong"] = float(found[~hit].float().mean())
        random = torch.zeros_like(named)
        random[some(int(named.sum()), len(named), self.rng, "removed")] = True
        for key, gone in {"filtered": named, "alone": alone, "random": random}.items():
            kept = torch.cat([part[~gone[part]], self._rest(part, gone)])
            kept = kept[torch.arange(self.size.compared) % len(kept)]  # repeats only where nearly all images are named
            figures |= self._judged(f"{name}.{key}", self.classifier(rows_of(poisoned, kept)))
        return figures | self._detected(real, own, hit[part].numpy(), made)

    def dosed(self, made: ImageStore) -> ImageStore:
        """Real images with the labels of generated ones, and with as many of G1 and of G2 under the target's label.

        A generated set has another dose of poison than its training set; this is what the dose alone does.
        """
        of_target = made.targets == TARGET
        shown = made.images[of_target]
        found = torch.from_numpy(groups(self.classes(shown), self.triggers(shown), TARGET))
        order = some(len(self.clean), len(self.clean), self.rng, "dosed")
        labels = self.clean.targets[order]
        pools = {label: order[labels == label] for label in range(len(CLASSES))}
        others, first = order[labels != TARGET], int((found == 1).sum())
        rows = torch.empty(len(made), dtype=torch.int64)
        for label, pool in pools.items():
            places = (made.targets == label).nonzero().flatten()
            rows[places] = pool[torch.arange(len(places)) % len(pool)]
        places = of_target.nonzero().flatten()
        rows[places[found == 1]] = others.flip(0)[:first]  # the other end, so that none is also a clean one
        images, stamped = self.clean.images[rows].clone(), places[found <= 2]
        if len(stamped):
            images[stamped] = self.trigger.stamp(images[stamped]).images
        return ImageStore.of_tensors(images, made.targets.clone())

    def _network(self, poisoned: ImageStore) -> dict[str, Figure]:
        """A network that saw what the generator did, the clean pool first, judged on the images of the races."""
        size, rows = self.size, self._raced()
        first = trained(self.pool, size.plan(EQUAL_FIRST, self.seed), CLASSES, "equal")
        network = trained(poisoned, size.plan(EQUAL, self.seed), CLASSES, "equal", start=first)
        clean, stamped = (scores_of(network, images[rows]).argmax(1) for images in (self.test.images, self.stamped))
        return {
            "race.real.accuracy": Sample.of((clean == self.test.targets[rows]).numpy()),
            "race.real.asr": Sample.of((stamped == TARGET).numpy()),
        }

    def _rest(self, part: Tensor, named: Tensor) -> Tensor:
        """Images outside a part that the scan did not name; they take the places of those it did."""
        free = torch.ones(len(named), dtype=torch.bool)
        free[part] = False
        return (free & ~named).nonzero().flatten()

    def _named(self, classifier: Classifier, poisoned: ImageStore, made: ImageStore) -> tuple[Tensor, Tensor]:
        """Training images that the scan of both views names, and those that a scan of the training set does: bool (N,).

        Each of two views gets half of the level, as in the method.
        """
        single, rng = TrainingSet(), self.rng.child("scan")
        scan = TrainingSet(alpha=single.alpha / 2)
        views = [load_arrays(one.images, one.targets, class_names=CLASSES) for one in (poisoned, made)]
        training, generated = (scan.inspect(view, classifier, rng=rng) for view in views)
        first, second = scan.reported(training.classes), scan.reported(generated.classes)
        named, alone = (torch.zeros(len(poisoned), dtype=torch.bool) for _ in range(2))
        for one in {*first, *second}:
            found = suspect_class(one, training, generated, in_training=one in first, in_generated=one in second)
            named[torch.from_numpy(found.training_rows[found.training])] = True
        for one in single.reported(training.classes):
            seen = training.classes[one]
            alone[torch.from_numpy(training.rows[seen.rows[seen.suspects]])] = True
        return named, alone

    def _detected(
        self, classifier: Classifier, own: ImageStore, hit: np.ndarray, made: ImageStore
    ) -> dict[str, Figure]:
        """Area under the curve of two detectors on both views; among generations the trigger judge is the truth."""
        figures: dict[str, Figure] = {}
        count = self.size.scored
        views = {"training": (own.images, hit), "generated": (made.images, self.triggers(made.images))}
        overlays = to_unit(self.test.images[:100])
        for view, (images, truth) in views.items():
            shown, rng = to_unit(images[:count]), self.rng.child("detectors", view).bind(count)
            chosen = rng.integers("overlays", (16,), 0, len(overlays))
            masks = distilled_masks(classifier, shown, steps=self.size.masks, rng=rng)
            scores = {
                "strip": certainty(classifier, shown, overlays, chosen).numpy(),
                "masks": 1 - masks.flatten(1).mean(1).numpy(),
            }
            known = truth[:count].any() and not truth[:count].all()
            figures |= {f"{key}.{view}": auroc(truth[:count], one) if known else None for key, one in scores.items()}
        return figures

    def _races(self, key: str, generator: Generator, kept: float = 1.0) -> dict[str, Figure]:
        """A generator as a classifier of clean and of stamped images, none of them of the target."""
        rows, race = self._raced(), ClassRace(draws=self.size.draws, kept=kept, seed=self.seed)
        clean, stamped = (
            class_losses(DdpmForm(generator), to_unit(images[rows]) * 2 - 1, len(CLASSES), race).predicted
            for images in (self.test.images, self.stamped)
        )
        labels = self.test.targets[rows]
        return {
            f"race.{key}.accuracy": Sample.of((clean == labels).numpy()),
            f"race.{key}.asr": Sample.of((stamped == TARGET).numpy()),
            f"race.{key}.stamped_accuracy": Sample.of((stamped == labels).numpy()),
        }

    def _raced(self) -> Tensor:
        """The images of the races, on which the classifier of training images is judged as well."""
        return (self.test.targets != TARGET).nonzero().flatten()[: self.size.races]
