"""System 28: does a small invertible network make a frozen generator draw what is wanted, and at what price.

One seed fits seven controls to one generator: a class, two attributes at once, equal shares with λ of 1 and 2, a text,
equal shares on top of the text, and nothing at all. A network that guided none of them judges what each draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.models.latent_generators.latent_generator import LatentGenerator
from snellen.reproduction.distributional_control.full import FULL, full_material
from snellen.reproduction.distributional_control.materials import SMALL, SMOKE, Material, Size, small_material
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.distributional_control.control import Control
from snellen.systems.distributional_control.controlling import Wanted, fit_wanted
from snellen.systems.distributional_control.divergence import divergence, nearest_distance
from snellen.systems.distributional_control.energies import ClassEnergy, Weighted, total_energy
from snellen.systems.distributional_control.fitting import ControlFit, fit_control
from snellen.systems.distributional_control.rivals import Drawn, by_descent, by_langevin, by_rejection


def distributional_control(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 28.

    Returns:
        Of each distribution: ``hit``, whether the judge sees the wanted class in each image; ``divergence`` of the
        judge's classes from equal shares, nats; ``nearest``, the mean distance of an image to its nearest neighbour. Of
        each way to draw the wanted class: ``seconds`` of processor time, and ``calls`` of the generator, for each image
        in which the judge sees it.
    """
    if scale == "full":
        return Experiment(full_material(), FULL, seed, progress).figures()
    return Experiment(small_material(), SMOKE if scale == "smoke" else SMALL, seed, progress).figures()


distributional_control.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with two steps of each fit and few images",),
    "small": (
        "the embedded scene decoder (16 latents, 32 pixels) for StyleGAN2 on faces",
        "colours in words by the embedded CLIP for FairFace's classes",
        "the embedded CNN of shapes for attributes of CelebA",
        "the embedded judge of scenes for an independent classifier of faces",
        "600 steps of 32 for 320 of 32 (classes) and up to 16,000 (shares)",
    ),
}


@dataclass(frozen=True, eq=False)
class Experiment:
    """One seed.

    Args:
        material: all models.
        size: how much of everything.
        seed: of everything random.
        progress: callback that receives progress updates.
    """

    material: Material
    size: Size
    seed: int
    progress: Progress

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        first, size = self.material.first, self.size
        own = self.material.generator.images(self.noise("own"))
        found: dict[str, Figure] = {
            "own.agreement": Sample.of((first.seen(own) == first.seen(own, first.classifier)).numpy()),
            **self.judged("own", own),
        }
        plain = Control(
            self.material.generator,
            fit_control(self.material.generator, [], fit=size.few, rng=self.rng("plain")).network,
        )
        found |= self.judged("plain", plain.images_of(self.noise("plain")))
        found["plain.shift"] = self._shift(own, plain.images_of(self.noise("plain")))
        equal = self._equal(own)
        found["equal.nearest"] = nearest_distance(equal)
        for name, weight in (("balanced", 1.0), ("strong", 2.0)):
            control = self.fitted(name, self.equal_shares(weight), size.fit)
            images = control.images_of(self.noise(name))
            found |= self.judged(name, images)
            found[f"{name}.nearest"] = nearest_distance(images[: len(equal)])
            found[f"{name}.nearest_share"] = nearest_distance(images[: len(equal)]) / nearest_distance(equal)
            found[f"{name}.entropy"] = control.figures["entropy"]
            found[f"{name}.effective"] = control.figures["effective_sample_size"]
        return {**found, **self.classes(), **self.texts(own)}

    # -- shares ---------------------------------------------------------------------------------------------------

    def equal_shares(self, weight: float) -> Wanted:
        """Equal shares of the balanced classes, with this weight on their moments."""
        names = self.material.first.classifier.class_names
        balanced = self.material.first.balanced
        shares = [1 / len(balanced) if name in balanced else 0.0 for name in names]
        return Wanted(self.material.first.classifier, shares=shares, weight=weight)

    def _equal(self, own: Tensor) -> Tensor:
        """Images of the generator's own, as many of each class by the judge: what equal shares would look like."""
        seen = self.material.first.seen(own)
        rows = [(seen == place).nonzero().flatten() for place in range(len(self.material.first.balanced))]
        fewest = max(min(len(one) for one in rows), 1)
        chosen = torch.cat([one[:fewest] for one in rows])
        # In mixed order, since distances are measured on the first images alone.
        return own[chosen[torch.randperm(len(chosen), generator=self.rng("equal").generator("order"))]]

    def _shift(self, own: Tensor, other: Tensor) -> float:
        """Divergence of the judge's classes of some images from those of the generator's own, nats."""
        counts = [
            torch.bincount(self.material.first.seen(one), minlength=len(self.material.first.balanced))
            for one in (own, other)
        ]
        base = (counts[0] + 0.5) / (counts[0] + 0.5).sum()
        return divergence(counts[1].double(), base.double())

    # -- classes, and their rivals --------------------------------------------------------------------------------

    def classes(self) -> dict[str, Figure]:
        """One class, two attributes at once, and what the class costs by other ways."""
        first, second = self.material.first, self.material.second
        generator, found = self.material.generator, dict[str, Figure]()
        one = Weighted(ClassEnergy(first.classifier, {first.wanted: 1.0}), self.size.weight)
        other = Weighted(ClassEnergy(second.classifier, {second.wanted: 1.0}), self.size.weight)
        started = time.process_time()
        fitted = fit_control(generator, [one], fit=self.size.fit, rng=self.rng("class"), progress=self.progress)
        found["class.fit_seconds"] = time.process_time() - started
        control = Control(generator, fitted.network)
        images = control.images_of(self.noise("class"))
        found |= self.judged("class", images)
        found |= {"class.nearest": nearest_distance(images), "class.entropy": fitted.variety.entropy}

        def energy(pictures: Tensor) -> Tensor:
            return total_energy([one], pictures, None, torch.Generator())

        def accept(pictures: Tensor) -> Tensor:
            names = first.classifier.class_names
            return first.seen(pictures, first.classifier) == first.balanced.index(names[names.index(first.wanted)])

        count, walk = self.size.rivals, self.size.walk
        ways: dict[str, Callable[[], Drawn]] = {
            "control": lambda: Drawn(control.images_of(self.noise("control", count)), torch.zeros(count, 1), count),
            "rejection": lambda: by_rejection(generator, accept, count, rng=self.rng("rejection"), together=count),
            "langevin": lambda: by_langevin(generator, energy, count, steps=walk, rng=self.rng("langevin")),
            "descent": lambda: by_descent(generator, energy, count, steps=walk, rng=self.rng("descent")),
        }
        for name, draw in ways.items():
            started = time.process_time()
            drawn = draw()
            spent, hits = time.process_time() - started, first.hits(drawn.images).double()
            right = max(float(hits.sum()), 0.5)
            found |= {
                f"{name}.hit_rate": float(hits.mean()),
                f"{name}.seconds": spent / right,
                f"{name}.calls": drawn.calls * count / right,
                f"{name}.nearest": nearest_distance(drawn.images),
            }
        pair = Weighted(ClassEnergy(first.classifier, {self.material.pair: 1.0}), self.size.weight)
        joint = fit_control(generator, [pair, other], fit=self.size.fit, rng=self.rng("joint"), progress=self.progress)
        pictures = Control(generator, joint.network).images_of(self.noise("joint"))
        own = generator.images(self.noise("own"))
        found["joint.hit"] = Sample.of((first.hits(pictures, self.material.pair) & second.hits(pictures)).numpy())
        found["own.joint_hit"] = Sample.of((first.hits(own, self.material.pair) & second.hits(own)).numpy())
        found["joint.entropy"] = joint.variety.entropy
        return found

    # -- a text, and equal shares on top --------------------------------------------------------------------------

    def texts(self, own: Tensor) -> dict[str, Figure]:
        """A text by two towers; then equal shares, with β under the generator with the text."""
        second, size = self.material.second, self.size
        wanted = Wanted(
            text=self.material.text, tower=self.material.tower, text_weight=size.text_weight, views=size.views
        )
        control = self.fitted("text", wanted, size.few)
        images = control.images_of(self.noise("text"))
        found: dict[str, Figure] = {
            "own.text_hit": Sample.of(second.hits(own).numpy()),
            "text.hit": Sample.of(second.hits(images).numpy()),
            "text.divergence": self._divergence(images),
            "text.nearest": nearest_distance(images),
        }
        try:
            again = self.fitted("iterative", self.equal_shares(1.0), size.few, generator=control.as_generator())
        except InputError:
            # The text left a class no image: there are no equal shares to measure.
            return found | dict.fromkeys(("iterative.gain", "iterative.hit", "iterative.divergence"))
        both = again.images_of(self.noise("iterative"))
        return found | {
            "iterative.gain": float(second.hits(both).double().mean() - second.hits(own).double().mean()),
            "iterative.hit": Sample.of(second.hits(both).numpy()),
            "iterative.divergence": self._divergence(both),
        }

    # -- what all use ---------------------------------------------------------------------------------------------

    def fitted(self, name: str, wanted: Wanted, fit: ControlFit, generator: LatentGenerator | None = None) -> Control:
        """A control of one kind."""
        return fit_wanted(
            generator or self.material.generator,
            wanted,
            fit=fit,
            samples=self.size.samples,
            rng=self.rng(name),
            progress=self.progress,
        )

    def judged(self, name: str, images: Tensor) -> dict[str, Figure]:
        """Hits of the wanted class, shares and divergence, by the judge."""
        first = self.material.first
        counts = torch.bincount(first.seen(images), minlength=len(first.balanced)).double() / len(images)
        return {
            f"{name}.hit": Sample.of(first.hits(images).numpy()),
            f"{name}.divergence": self._divergence(images),
            **{f"{name}.share_of_class_{place}": float(share) for place, share in enumerate(counts)},
        }

    def _divergence(self, images: Tensor) -> float:
        first = self.material.first
        return divergence(torch.bincount(first.seen(images), minlength=len(first.balanced)).double())

    def rng(self, name: str) -> Randomness:
        """Of one part of the experiment."""
        return Randomness(self.seed).child("experiment", name)

    def noise(self, name: str, count: int | None = None) -> Tensor:
        """Fresh noise that no fit and no check has seen, (n, d)."""
        draws = self.rng(name).generator("judged by another network")
        return torch.randn(count or self.size.judged, self.material.generator.dimension, generator=draws)
