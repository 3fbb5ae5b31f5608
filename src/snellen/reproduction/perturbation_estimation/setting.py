"""The two victims, the surrogate that nobody attacks, and the pairs of system 5, on Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
from snellen.systems.perturbation_estimation.pairs import Cell, limited, make_cells
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


#: Untrained networks by name; the last one is the surrogate.
NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "residual": lambda classes: FashionCNN(widths=(8, 32, 96), class_count=classes),
    "dense": lambda classes: nn.Sequential(_Grey(), small_network("densely_connected", classes)),
    "plain": lambda classes: nn.Sequential(_Grey(), small_network("plain", classes)),
}
SURROGATE = "plain"

#: What stands for the victims in a smoke run.
BUNDLED = {"residual": "bundled:fashion-cnn", "dense": "bundled:fashion-judge"}


@dataclass(frozen=True)
class Budget:
    """How much is drawn.

    Args:
        trained_on: images of the classifiers.
        attacked: other training images, for pairs. tested: test images, for pairs.
        hard: the first of them, under the attacks that are dear.
        plan: of the classifiers.
        epochs: of each denoiser.
        depth: of each denoiser.
        width: of each denoiser.
        steps: of PGD; twice as many of Auto-PGD and of the adaptive attack.
        cw_steps: of each search of CW.
        queries: of Square.
        bundled: take trained classifiers of the package as victims.
    """

    trained_on: int
    attacked: int
    tested: int
    hard: int
    plan: TrainingPlan
    epochs: int
    depth: int
    width: int
    steps: int
    cw_steps: int
    queries: int
    bundled: bool = False


SMALL = Budget(
    trained_on=5_000,
    attacked=1_000,
    tested=250,
    hard=60,
    plan=TrainingPlan(epochs=4, batch_size=64, learning_rate=4e-3, schedule="one-cycle", warmup_steps=60),
    epochs=10,
    depth=6,
    width=16,
    steps=10,
    cw_steps=60,
    queries=200,
)
SMOKE = Budget(
    trained_on=64,
    attacked=20,
    tested=8,
    hard=3,
    plan=TrainingPlan(epochs=1, batch_size=32, learning_rate=4e-3),
    epochs=1,
    depth=3,
    width=4,
    steps=2,
    cw_steps=25,
    queries=5,
    bundled=True,
)


def seen_attacks(budget: Budget) -> dict[str, Attack]:
    """What denoisers learn from."""
    return {"fgsm": FGSM(epsilon=EPSILON), "pgd": PGD(epsilon=EPSILON, steps=budget.steps)}


def unseen_attacks(budget: Budget) -> dict[str, Attack]:
    """What they never saw: other strengths, and other attacks."""
    return {
        "weaker": PGD(epsilon=EPSILON / 2, steps=budget.steps),
        "stronger": PGD(epsilon=1.5 * EPSILON, steps=budget.steps),
        "cw": CarliniWagnerL2(steps=budget.cw_steps, searches=4, first_weight=0.1, confidence=1),
        "ensemble": StandardEnsemble(epsilon=EPSILON, steps=2 * budget.steps, queries=budget.queries, target_classes=3),
    }


#: Those of the unseen attacks that are dear.
HARD = ("cw", "ensemble")


@dataclass(frozen=True, eq=False)
class Setting:
    """Everything that denoisers are trained and judged on.

    Args:
        victims: attacked classifiers by name.
        surrogate: never attacked.
        training: pairs to learn from.
        seen: pairs of test images under the same attacks.
        unseen: pairs of test images under others, by attack.
        images: test images, (n, 3, h, w) in [0, 1].
        labels: int64 (n,).
        ids: n of them.
    """

    victims: Mapping[str, Classifier]
    surrogate: Classifier
    training: list[Cell]
    seen: list[Cell]
    unseen: list[Cell]
    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]


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
    victims = {name: classifier for name, classifier in made.items() if name != SURROGATE}
    rest = slice(budget.trained_on, None)
    images, labels = prepared(test), torch.from_numpy(test.labels)
    ids = tuple(test.ids)
    seen = seen_attacks(budget)
    training = make_cells(
        victims, seen, to_unit(everything.images[rest]), everything.targets[rest], everything.ids[rest],
        rng=rng.child("train"), progress=progress,
    )  # fmt: skip
    tested = make_cells(victims, seen, images, labels, ids, rng=rng.child("test"), progress=progress)
    unseen = []
    for name, attack in unseen_attacks(budget).items():
        count = budget.hard if name in HARD else len(ids)
        unseen += make_cells(
            victims, {name: attack}, images[:count], labels[:count], ids[:count], rng=rng.child("test"),
            progress=progress,
        )  # fmt: skip
    return Setting(victims, made[SURROGATE], training, tested, unseen, images, labels, ids)


def drawn(split: Split, count: int, seed: int) -> ImageSet:
    """Images of Fashion-MNIST, drawn by the seed."""
    images = fashion_mnist(split)
    order = np.random.default_rng(derive_seed(seed, "garments", split)).permutation(len(images))
    return images.select(order[:count])


def prepared(images: ImageSet) -> Tensor:
    """All images of a small set, (n, 3, h, w) in [0, 1]."""
    how = Preprocessing(size=(SIDE, SIDE))
    return to_unit(torch.stack([how.pixels(images.read(row)) for row in range(len(images))]))


def few(cells: list[Cell], count: int) -> list[Cell]:
    """The first pairs of every cell."""
    return [limited(cell, count) for cell in cells]


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
