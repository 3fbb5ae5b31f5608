"""The two victims, a classifier that nobody attacks, and the pairs of system 5, on Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet, Split
from snellen.core.method import Attack
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.models.classifiers.fashion_cnn import FashionCNN
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.shared.fashion_mnist import fashion_mnist
from snellen.reproduction.shared.small_networks import small_network
from snellen.systems.perturbation_estimation.pair_files import StoredPairs
from snellen.systems.perturbation_estimation.pairs import Cell, Pairs, make_cells
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Strength of the attacks that are learnt from; weaker and stronger ones are only tested on.
EPSILON = 16 / 255

SIDE = 28


class _Grey(nn.Module):
    """The mean of the channels in all three, so that a perturbation of a grey image is grey and no colour reveals
    it.
    """

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1, keepdim=True).expand(-1, 3, -1, -1)


#: Untrained networks by name; the last one is attacked by nobody.
NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "residual": lambda classes: FashionCNN(widths=(8, 32, 96), class_count=classes),
    "dense": lambda classes: nn.Sequential(_Grey(), small_network("densely_connected", classes)),
    "plain": lambda classes: nn.Sequential(_Grey(), small_network("plain", classes)),
}
UNATTACKED = "plain"

#: What stands for the victims in a smoke run.
BUNDLED = {"residual": "bundled:fashion-cnn", "dense": "bundled:fashion-judge"}


@dataclass(frozen=True)
class Sizes:
    """What denoisers are, how they are trained, and how they are attacked.

    Args:
        depth: convolutions of each denoiser.
        width: channels between them.
        plan: of their training; its seed is set for each run.
        epsilon: largest change of a value by an attack that knows denoiser and victim.
        steps: of PGD; twice as many of Auto-PGD and of the attack that knows both.
        hard: images under attacks and maps that are dear.
    """

    depth: int
    width: int
    plan: TrainingPlan
    epsilon: float
    steps: int
    hard: int


@dataclass(frozen=True)
class Budget:
    """How much is drawn.

    Args:
        trained_on: images of the classifiers.
        attacked: other training images, for pairs. tested: test images, for pairs.
        plan: of the classifiers.
        sizes: of the denoisers.
        cw_steps: of each search of CW.
        queries: of Square.
        bundled: take trained classifiers of the package as victims.
    """

    trained_on: int
    attacked: int
    tested: int
    plan: TrainingPlan
    sizes: Sizes
    cw_steps: int
    queries: int
    bundled: bool = False


#: Of the denoisers, but for the number of epochs.
_DENOISING = TrainingPlan(
    epochs=10, batch_size=16, learning_rate=1e-3, weight_decay=1e-4, drop_last=True, channels_last=True
)

SMALL = Budget(
    trained_on=5_000,
    attacked=1_000,
    tested=250,
    plan=TrainingPlan(epochs=4, batch_size=64, learning_rate=4e-3, schedule="one-cycle", warmup_steps=60),
    sizes=Sizes(depth=6, width=16, plan=_DENOISING, epsilon=EPSILON, steps=10, hard=60),
    cw_steps=60,
    queries=200,
)
SMOKE = Budget(
    trained_on=64,
    attacked=20,
    tested=8,
    plan=TrainingPlan(epochs=1, batch_size=32, learning_rate=4e-3),
    sizes=Sizes(
        depth=3,
        width=4,
        plan=_DENOISING.model_copy(update={"epochs": 1, "drop_last": False}),
        epsilon=EPSILON,
        steps=2,
        hard=3,
    ),
    cw_steps=25,
    queries=5,
    bundled=True,
)


def seen_attacks(budget: Budget) -> dict[str, Attack]:
    """What denoisers learn from."""
    return {"fgsm": FGSM(epsilon=EPSILON), "pgd": PGD(epsilon=EPSILON, steps=budget.sizes.steps)}


def unseen_attacks(budget: Budget) -> dict[str, Attack]:
    """What they never saw: other strengths, and other attacks."""
    return {
        "weaker": PGD(epsilon=EPSILON / 2, steps=budget.sizes.steps),
        "stronger": PGD(epsilon=1.5 * EPSILON, steps=budget.sizes.steps),
        "cw": CarliniWagnerL2(steps=budget.cw_steps, searches=4, first_weight=0.1, confidence=1),
        "ensemble": StandardEnsemble(
            epsilon=EPSILON, steps=2 * budget.sizes.steps, queries=budget.queries, target_classes=3
        ),
    }


#: Those of the unseen attacks that are dear.
HARD = ("cw", "ensemble")


@dataclass(frozen=True, eq=False)
class Setting:
    """Everything that denoisers are trained and judged on.

    Args:
        victims: attacked classifiers by name; the first one is the surrogate, as in the paper's main table.
        unattacked: another surrogate, which nobody attacks.
        training: pairs to learn from, in memory or on the disk.
        seen: pairs of test images under the same attacks.
        unseen: pairs of test images under others, by attack.
        images: test images, (n, 3, h, w) in [0, 1].
        labels: int64 (n,).
        ids: n of them.
        where: device that images are moved to.
    """

    victims: Mapping[str, Classifier]
    unattacked: Classifier
    training: list[Cell] | StoredPairs
    seen: Sequence[Pairs]
    unseen: Sequence[Pairs]
    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    where: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def surrogate(self) -> Classifier:
        """The first of the victims."""
        return next(iter(self.victims.values()))

    @property
    def cells(self) -> Sequence[Pairs]:
        """The pairs to learn from, by victim and attack."""
        return self.training.cells if isinstance(self.training, StoredPairs) else self.training


def make_setting(budget: Budget, rng: Randomness, progress: Progress) -> Setting:
    """Train the classifiers, and attack the victims."""
    train_on = budget.trained_on + budget.attacked
    data, test = drawn("train", train_on, rng.seed), drawn("test", budget.tested, rng.seed)
    everything = ImageStore.of_images(data, Preprocessing(size=(SIDE, SIDE)))
    own = slice(budget.trained_on)
    examples = ImageStore.of_tensors(everything.images[own], everything.targets[own], ids=everything.ids[own])
    made = {
        name: load_classifier(BUNDLED[name])
        if budget.bundled and name in BUNDLED
        else _trained(name, examples, budget.plan, test.class_names or (), rng, progress)
        for name in NETWORKS
    }
    victims = {name: classifier for name, classifier in made.items() if name != UNATTACKED}
    rest = slice(budget.trained_on, None)
    images, labels = prepared(test), torch.from_numpy(test.labels)
    ids = tuple(test.ids)
    seen = seen_attacks(budget)
    training = make_cells(
        victims, seen, to_unit(everything.images[rest]), everything.targets[rest], everything.ids[rest],
        rng=rng.child("train"), progress=progress,
    )  # fmt: skip
    tested = make_cells(victims, seen, images, labels, ids, rng=rng.child("test"), progress=progress)
    unseen = list[Cell]()
    for name, attack in unseen_attacks(budget).items():
        count = budget.sizes.hard if name in HARD else len(ids)
        unseen += make_cells(
            victims, {name: attack}, images[:count], labels[:count], ids[:count], rng=rng.child("test"),
            progress=progress,
        )  # fmt: skip
    return Setting(victims, made[UNATTACKED], training, tested, unseen, images, labels, ids)


def drawn(split: Split, count: int, seed: int) -> ImageSet:
    """Images of Fashion-MNIST, drawn by the seed."""
    images = fashion_mnist(split)
    order = np.random.default_rng(derive_seed(seed, "garments", split)).permutation(len(images))
    return images.select(order[:count])


def prepared(images: ImageSet) -> Tensor:
    """All images of a small set, (n, 3, h, w) in [0, 1]."""
    how = Preprocessing(size=(SIDE, SIDE))
    return to_unit(torch.stack([how.pixels(images.read(row)) for row in range(len(images))]))


def _trained(
    name: str,
    examples: ImageStore,
    plan: TrainingPlan,
    class_names: tuple[str, ...],
    rng: Randomness,
    progress: Progress,
) -> Classifier:
    own = rng.child("classifier", name)
    with seeded(own.generator("initial weights").initial_seed(), torch.device("cpu")):
        network = NETWORKS[name](len(class_names))
    seed = own.generator("training").initial_seed() % 2**31
    trained = train(network, examples, plan=plan.model_copy(update={"seed": seed}), progress=progress)
    network.load_state_dict(dict(trained.weights))
    return Classifier(network, class_names=class_names, preparation=Preprocessing(size=(SIDE, SIDE)), name=name)
