"""System 26, after NaTra: does training against latent edits undo what a training set lets light and hue give away.

Nine in ten training images have the light and the hue of their class. Every arm sees the same images in the same order,
and as many further ones in each step; what these are differs. Tests are drawn by the renderer, never by the generator.

The generator learns from a pool of unlabelled images of the same renderer, in which light and hue are independent of
the shape, as a finished GAN has seen a whole domain and not one biased task. Directions are judged by a network of a
small labelled tuning set without the correlation. Rivals have the same pool, and the same tuning set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.preparation import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.reproduction.natural_transformations.arms import (
    JITTER,
    Attacked,
    Drawn,
    FromCodes,
    Redrawn,
    mixed,
    noised,
    pseudo_labelled,
    reconstructed,
    transformed,
    unchanged,
)
from snellen.reproduction.natural_transformations.materials import (
    SHAPES,
    UNSEEN_LIGHT,
    Factors,
    apart,
    draw_factors,
    draw_images,
    hue_of,
    light_of,
)
from snellen.reproduction.sample import Figure, Sample, mean_of
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.systems.natural_transformations.autoencoder import (
    PLAN,
    Autoencoder,
    AutoencoderSettings,
    fit_autoencoder,
)
from snellen.systems.natural_transformations.editing import Editing, EditSettings, inverted, prepare_editing, psnr_of
from snellen.systems.natural_transformations.edits import Supply, with_extra
from snellen.systems.natural_transformations.inversion import Codes, InversionSettings, moment_distance, render
from snellen.systems.natural_transformations.method import JUDGE_VIEW, Judge
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform

#: Share of the training images with the light, and of those with the hue, of their class.
CORRELATION = 0.9

#: Range of light that the oracle learns, wider than any test's.
_ANY_LIGHT = (0.3, 1.6)


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        train: training images.
        pool: unlabelled images that generator and encoder learn from.
        tuning: labelled images that the judge of directions learns from.
        test: images of each test.
        inverted: held-out images that inversions are compared on.
        plan: of every classifier.
        autoencoder: of generator and encoder.
        inversion: of the codes that are trained with.
        compared: of the inversions of held-out images.
        edits: directions, filter, search.
    """

    train: int
    pool: int
    tuning: int
    test: int
    inverted: int
    plan: TrainingPlan
    autoencoder: AutoencoderSettings
    inversion: InversionSettings
    compared: InversionSettings
    edits: EditSettings


SMALL = Size(
    train=3000,
    pool=4000,
    tuning=300,
    test=600,
    inverted=192,
    plan=TrainingPlan(
        epochs=8, batch_size=64, learning_rate=2e-3, schedule="one-cycle", warmup_steps=60, drop_last=True
    ),
    autoencoder=AutoencoderSettings(latent=24, widths=(64, 48, 24, 12), plan=PLAN.model_copy(update={"epochs": 14})),
    inversion=InversionSettings(codes=4, steps=5, expansion_steps=5, rate=0.03, perceptual=0.0),
    compared=InversionSettings(codes=4, steps=30, expansion_steps=30, rate=0.03, perceptual=0.0),
    # Every image is edited, so that all arms have as many further ones. With τ = 5 %, one of the two directions that
    # complete the circle of hue, and one of those of light, was left out by less than a point.
    edits=EditSettings(ranges=("all",), count=12, epsilon=1.5, together=4, most_changed=0.08, least_psnr=0.0),
)
SMOKE = Size(
    train=48,
    pool=40,
    tuning=24,
    test=12,
    inverted=6,
    plan=TrainingPlan(epochs=1, batch_size=16),
    autoencoder=AutoencoderSettings(latent=4, widths=(8, 8, 8, 8), plan=PLAN.model_copy(update={"epochs": 1})),
    inversion=InversionSettings(codes=2, steps=1, expansion_steps=1, batch=24),
    compared=InversionSettings(codes=2, steps=1, expansion_steps=1),
    edits=EditSettings(count=1, most_changed=1.0, least_visible=0.0, least_psnr=-10.0, draws=2),
)


def natural_transformations(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 26.

    Returns:
        Of each arm ``correlated_accuracy``, ``decorrelated_accuracy``, ``light_accuracy`` (any light, own hue),
        ``unseen_accuracy`` (light stronger than in training, any hue); ``standard.fall``; of inversions
        ``bies.psnr``, ``lce.psnr``, ``bies.prior_distance``, ``unshifted.prior_distance`` and ``….kept_labels`` on
        held-out images; ``generator.psnr``, ``oracle.accuracy``, ``edits.directions``.

    Raises:
        InputError: the scale is full.
    """
    if scale == "full":
        raise InputError(
            "system 26 has no full experiment: the paper's data and figures are unknown, and finished StyleGANs have "
            "licences of their own; choose small"
        )
    return Experiment(SMALL if scale == "small" else SMOKE, seed, progress).figures()


natural_transformations.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with 48 images and one or two steps of everything",),
    "small": (
        "drawn shapes of 32 pixels, whose light and hue follow the class, for photographs of faces",
        "a style generator of about 160,000 weights, trained for minutes on a pool of unlabelled drawings whose light "
        "and hue are independent of the shape, for a finished StyleGAN",
        "a judge of directions, trained on 300 labelled drawings without any correlation",
        "a perceptual distance in the encoder's own maps for LPIPS",
        "an oracle, which measures alone: a classifier of other drawings without any correlation",
    ),
}


def store(factors: Factors, side: int = 32) -> ImageStore:
    """Drawn images in memory."""
    return ImageStore.of_tensors(draw_images(factors, side), factors.shape)


class Experiment:
    """One seed: images, generator, codes, directions, and a classifier for each arm."""

    def __init__(self, size: Size, seed: int, progress: Progress) -> None:
        self.size, self.seed, self.progress, self.rng = size, seed, progress, Randomness(seed)
        own = [10 * seed + number for number in range(8)]
        self.factors = draw_factors(size.train, own[0], correlation=CORRELATION)
        self.examples = store(self.factors)
        correlated = draw_factors(size.test, own[1], correlation=CORRELATION)
        free = draw_factors(size.test, own[2], correlation=0.0)
        self.tests = {
            "correlated": store(correlated),
            "decorrelated": store(free),
            "light": store(replace(correlated, light=free.light)),
            "unseen": store(draw_factors(size.test, own[3], correlation=0.0, light=UNSEEN_LIGHT)),
        }
        self.held = store(draw_factors(size.inverted, own[4], correlation=0.0))
        drawn = draw_factors(size.train, own[5], correlation=0.0, light=_ANY_LIGHT)
        self.pool = store(draw_factors(size.pool, own[6], correlation=0.0)).images
        self.tuning = store(draw_factors(size.tuning, own[7], correlation=0.0))
        self.oracle = Judge(self._network(store(drawn)))  # it measures alone
        self.judge = Judge(self._network(self.tuning, transform=JUDGE_VIEW, passes=size.train // size.tuning))

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        made = self.autoencoder()
        editing = self.editing(made)
        figures: dict[str, Figure] = {
            "generator.psnr": made.metrics["held_out_psnr"],
            "oracle.accuracy": Sample.of(self._right(self.oracle, self.tests["decorrelated"])),
            "oracle.reconstructions": Sample.of(self._read(editing)),
            "edits.directions": float(len(editing.directions)),
            "judge.accuracy": Sample.of(self._right(self.judge, self.tests["decorrelated"])),
            "edits.images_left_out": float((~editing.usable).sum()),
            **self._turns(editing),
            **self._inversions(made, editing),
        }
        standard = self._network(self.examples)
        for name, supply in self.arms(editing, standard).items():
            network = standard if name == "standard" else self._network(self.examples, supply)
            for test, images in self.tests.items():
                figures[f"{name}.{test}_accuracy"] = Sample.of(self._right(network, images))
        before, after = (mean_of(figures[f"standard.{test}_accuracy"]) for test in ("correlated", "decorrelated"))
        return {**figures, "standard.fall": None if before is None or after is None else before - after}

    def autoencoder(self) -> Autoencoder:
        """Generator and encoder, trained on the pool; it has no labels."""
        rng, unknown = self.rng.child("generator"), torch.full((len(self.pool),), -1)
        pool = ImageStore.of_tensors(self.pool, unknown)
        return fit_autoencoder(pool, self.size.autoencoder, rng=rng, progress=self.progress)

    def editing(self, made: Autoencoder) -> Editing:
        """Codes of the training images, and directions that the judge lets pass."""
        generator, codes, psnr = inverted(made, self.examples, self.size.inversion, rng=self.rng)
        labels, rng = self.examples.targets, self.rng.child("directions")
        domain = made.codes(self.pool)
        return prepare_editing(generator, codes, psnr, labels, self.judge, self.size.edits, rng=rng, domain=domain)

    def arms(self, editing: Editing, standard: nn.Module) -> dict[str, Supply]:
        """Further images of every arm; the standard classifier labels the pool for one of them."""
        edits = editing.supply("random")
        return {
            "standard": unchanged,
            "jitter": transformed(JITTER),
            "pgd": Attacked(len(SHAPES)),
            "reconstructions": FromCodes(edits, reconstructed),
            "noise": FromCodes(edits, noised),
            "mixing": FromCodes(edits, mixed),
            "pseudo": pseudo_labelled(standard, self.pool),
            "tuning": Drawn(self.tuning.images, self.tuning.targets),
            "redrawn": Redrawn(self.factors),
            "random": edits,
            "worst": editing.supply("worst_of_q"),
        }

    def _network(
        self,
        examples: ImageStore,
        supply: Supply = unchanged,
        transform: BatchTransform | None = None,
        passes: int = 1,
    ) -> nn.Module:
        """A classifier of images and as many further ones. All arms begin alike; few images pass more often."""
        with seeded(self.rng.generator("initial weights").initial_seed(), torch.device("cpu")):
            network = narrow_network(len(SHAPES))
        plan = self.size.plan.model_copy(update={"seed": self.seed, "epochs": passes * self.size.plan.epochs})
        steps = len(examples) // plan.batch_size
        objective = with_extra(supply, beta=1.0, epochs=plan.epochs, steps=steps)
        trained = train(network, examples, plan=plan, objective=objective, transform=transform, progress=self.progress)
        network.load_state_dict(dict(trained.weights))
        return network.eval()

    @torch.no_grad()
    def _right(self, network: nn.Module, images: ImageStore) -> list[float]:
        parts = to_unit(images.images).split(256)
        return (torch.cat([network(part).argmax(1) for part in parts]) == images.targets).double().tolist()

    @torch.no_grad()
    def _read(self, editing: Editing) -> list[float]:
        """Whether the oracle reads the class of each reconstruction, of a part of the training images."""
        rows = torch.arange(min(self.size.test, len(self.examples)))
        made = render(editing.generator, editing.codes[rows])
        return (self.oracle(made).argmax(1) == self.examples.targets[rows]).double().tolist()

    @torch.no_grad()
    def _turns(self, editing: Editing) -> dict[str, Figure]:
        """How far edits at either end turn light and hue, in turns: the median of images, the best of directions."""
        rows = torch.arange(min(self.size.test, 256, len(self.examples)))
        plain = render(editing.generator, editing.codes[rows])
        found = torch.zeros(2, len(editing.directions), 2)
        for row in range(len(editing.directions)):
            for place, end in enumerate((-editing.settings.epsilon, editing.settings.epsilon)):
                coefficients = torch.zeros(len(rows), len(editing.directions))
                coefficients[:, row] = end
                made = render(editing.generator, editing.codes[rows], editing.directions.shift(coefficients))
                for number, read in enumerate((light_of, hue_of)):
                    found[number, row, place] = apart(read(made), read(plain)).median()
        light, hue = found.mean(2).amax(1).tolist()
        return {"edits.light_turn": light, "edits.hue_turn": hue}

    def _inversions(self, made: Autoencoder, editing: Editing) -> dict[str, Figure]:
        """Held-out images: with one code and with several at equal steps, and with one code without the pull."""
        several = self.size.compared
        one = several.model_copy(update={"codes": 1})
        free = one.model_copy(update={"pull": 0.0, "moments": 0.0})
        found: dict[str, Figure] = {}
        for name, settings in {"bies": one, "lce": several, "unshifted": free}.items():
            generator, codes, _ = inverted(made, self.held, settings, rng=self.rng.child("held out"))
            found[f"{name}.psnr"] = Sample.of(psnr_of(generator, codes, self.held.images).double().numpy())
            middle, spread = moment_distance(codes.mean, generator.prior)
            found[f"{name}.moment_distance"] = float(middle + spread)
            # Codes of the generator's own have a distance of 1; all codes of an image count, not their mean.
            away = (generator.prior.distance(codes.values.flatten(0, 1)) - 1).abs().unflatten(0, (len(codes), -1))
            found[f"{name}.prior_distance"] = Sample.of(away.mean(1).double().numpy())
            found[f"{name}.kept_labels"] = Sample.of(self._kept(editing, codes))
        return found

    @torch.no_grad()
    def _kept(self, editing: Editing, codes: Codes) -> list[float]:
        """Share of the edits of each held-out image, to both ends of every direction, whose class the oracle reads."""
        found = list[Tensor]()
        for row in range(len(editing.directions)):
            for end in (-1.0, 1.0):
                coefficients = torch.zeros(len(codes), len(editing.directions))
                coefficients[:, row] = end * editing.settings.epsilon
                made = render(editing.generator, codes, editing.directions.shift(coefficients))
                found.append(self.oracle(made).argmax(1) == self.held.targets)
        return torch.stack(found).double().mean(0).tolist()
