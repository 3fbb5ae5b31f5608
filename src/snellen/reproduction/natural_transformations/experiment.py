"""System 26, after NaTra: does training against latent edits undo what a training set lets light and hue give away.

Nine in ten training images have the light and the hue of their class. Every arm sees the same images in the same order,
and as many further ones in each step; what these are differs. Tests are drawn by the renderer, never by the generator.

The generator learns from a pool of unlabelled images of the same renderer, in which light and hue are independent of
the shape, as a finished GAN has seen a whole domain and not one biased task. Directions are judged by a network of a
small labelled tuning set without the correlation. Rivals have the same pool, and the same tuning set. Where no
direction keeps the class, arms with edits have no figures, and the gates of their claims close.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
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
from snellen.reproduction.natural_transformations.full import full
from snellen.reproduction.natural_transformations.materials import (
    SHAPES,
    UNSEEN_LIGHT,
    Factors,
    draw_factors,
    draw_images,
)
from snellen.reproduction.natural_transformations.measures import Held, rightly_read, turns
from snellen.reproduction.sample import Figure, Sample, mean_of
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.systems.natural_transformations.autoencoder import (
    PLAN,
    Autoencoder,
    AutoencoderSettings,
    fit_autoencoder,
)
from snellen.systems.natural_transformations.directions import NoDirectionError
from snellen.systems.natural_transformations.editing import Editing, EditSettings, inverted, prepare_editing
from snellen.systems.natural_transformations.edits import Supply, with_extra
from snellen.systems.natural_transformations.inversion import Codes, InversionSettings, SplitGenerator
from snellen.systems.natural_transformations.method import JUDGE_VIEW, Judge
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform

#: Share of the training images with the light, and of those with the hue, of their class.
CORRELATION = 0.9

#: Arms whose further images are made of codes, and so need directions or an ε.
_OF_CODES = ("reconstructions", "noise", "mixing", "random", "worst")

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
    inverted=96,
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
        ``unseen_accuracy`` (light stronger than in training, any hue); ``standard.fall``, ``worst.gain``; of inversions
        of held-out images ``….psnr``, ``….prior_distance``, ``….kept_labels``; ``generator.psnr``,
        ``oracle.accuracy``, ``edits.directions``, ``edits.epsilon`` and how far edits turn light and hue.

    Raises:
        InputError: the scale is full, and its images are not named.
    """
    if scale == "full":
        return full(seed, progress)
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
        made, standard = self.autoencoder(), self.standard()
        coded = self.coded(made)
        try:
            editing = self.editing(made, coded, standard)
        except NoDirectionError:
            editing = None
        networks: dict[str, nn.Module | None] = {
            "standard": standard,
            "encoder": self._network(self.examples, start=lambda: classifier_of(made)),
        }
        for name, supply in self.arms(editing, standard).items():
            networks[name] = None if supply is None else self._network(self.examples, supply)
        accuracies: dict[str, Figure] = {
            f"{name}.{test}_accuracy": None if network is None else Sample.of(self._right(network, images))
            for name, network in networks.items()
            for test, images in self.tests.items()
        }
        return {
            "generator.psnr": made.metrics["held_out_psnr"],
            "oracle.accuracy": Sample.of(self._right(self.oracle, self.tests["decorrelated"])),
            "oracle.reconstructions": Sample.of(self._read(coded)),
            "judge.accuracy": Sample.of(self._right(self.judge, self.tests["decorrelated"])),
            **turns(editing, min(self.size.test, 256)),
            **Held(self.held, self.oracle, self.rng.child("held out")).figures(made, self.size.compared, editing),
            **edit_figures(editing, networks["worst"]),
            **accuracies,
            "standard.fall": _more(accuracies, "standard.correlated", "standard.decorrelated"),
            "worst.gain": _more(accuracies, "worst.decorrelated", "standard.decorrelated"),
        }

    def autoencoder(self) -> Autoencoder:
        """Generator and encoder, trained on the pool; it has no labels."""
        rng, unknown = self.rng.child("generator"), torch.full((len(self.pool),), -1)
        pool = ImageStore.of_tensors(self.pool, unknown)
        return fit_autoencoder(pool, self.size.autoencoder, rng=rng, progress=self.progress)

    def standard(self) -> nn.Module:
        """The classifier of the training images, each shown once more in a step."""
        return self._network(self.examples)

    def coded(self, made: Autoencoder) -> tuple[SplitGenerator, Codes, Tensor]:
        """Codes of the training images, and the PSNR of each reconstruction."""
        return inverted(made, self.examples, self.size.inversion, rng=self.rng)

    def editing(self, made: Autoencoder, coded: tuple[SplitGenerator, Codes, Tensor], standard: nn.Module) -> Editing:
        """Directions that the judge lets pass, and a step at which it lets the hardest edits of the standard one pass.

        Raises:
            NoDirectionError: there are none.
        """
        return prepare_editing(
            *coded, self.examples.targets, self.judge, self.size.edits,
            rng=self.rng.child("directions"), trained=standard, domain=made.codes(self.pool),
        )  # fmt: skip

    def arms(self, editing: Editing | None, standard: nn.Module) -> dict[str, Supply | None]:
        """Further images of every arm but the standard one, which labels the pool for one of them.

        Args:
            editing: None: no direction was kept, and arms that are made of codes are left out.
            standard: the classifier without any.
        """
        arms: dict[str, Supply | None] = {
            "jitter": transformed(JITTER),
            "pgd": Attacked(len(SHAPES)),
            "pseudo": pseudo_labelled(standard, self.pool),
            "tuning": Drawn(self.tuning.images, self.tuning.targets),
            "redrawn": Redrawn(self.factors),
        }
        if editing is None:
            return {**arms, **dict.fromkeys(_OF_CODES)}
        edits = editing.supply("random")
        made: dict[str, Supply | None] = {
            "reconstructions": FromCodes(edits, reconstructed),
            "noise": FromCodes(edits, noised),
            "mixing": FromCodes(edits, mixed),
            "random": edits,
            "worst": editing.supply("worst_of_q"),
        }
        return arms | made

    def _network(
        self,
        examples: ImageStore,
        supply: Supply = unchanged,
        transform: BatchTransform | None = None,
        passes: int = 1,
        start: Callable[[], nn.Module] = lambda: narrow_network(len(SHAPES)),
    ) -> nn.Module:
        """A classifier of images and as many further ones. Arms begin alike; few images pass more often."""
        with seeded(self.rng.generator("initial weights").initial_seed(), torch.device("cpu")):
            network = start()
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

    def _read(self, coded: tuple[SplitGenerator, Codes, Tensor]) -> list[float]:
        """Whether the oracle reads the class of each reconstruction, of a part of the training images."""
        generator, codes, _ = coded
        rows = torch.arange(min(self.size.test, len(self.examples)))
        return rightly_read(self.oracle, generator, codes[rows], self.examples.targets[rows]).double().tolist()


def classifier_of(made: Autoencoder) -> nn.Module:
    """The encoder of a generator with a new last layer: what else could be made of the pool, without any edit."""
    network = copy.deepcopy(made.encoder).requires_grad_(True)
    network.head = nn.Linear(network.head.in_features, len(SHAPES))
    return network


def edit_figures(editing: Editing | None, worst: nn.Module | None) -> dict[str, Figure]:
    """How many directions are kept, how far edits step, and which labels they lose before and after the training."""
    if editing is None or worst is None:
        missing = ("epsilon", "labels_changed", "labels_changed_at_the_end", "images_left_out")
        return {"edits.directions": 0.0, **dict.fromkeys(f"edits.{name}" for name in missing)}
    return {
        "edits.directions": float(len(editing.directions)),
        "edits.epsilon": editing.epsilon,
        "edits.labels_changed": editing.changed,
        "edits.labels_changed_at_the_end": editing.lost(worst),
        "edits.images_left_out": float((~editing.usable).sum()),
    }


def _more(figures: Mapping[str, Figure], name: str, other: str) -> float | None:
    """How much higher one accuracy is than another."""
    high, low = (mean_of(figures[f"{one}_accuracy"]) for one in (name, other))
    return None if high is None or low is None else high - low
