"""System 20, perceptualized classifiers, beside the control that the paper lacks: the augmentation without the layer.

From n images of each digit, four classifiers of the same first weights and order: of the images (raw), of augmented
images, of what is seen without augmentation (vanilla), and of what is seen from many augmented copies (stochastic).
Test images go through the same layer as those of training. Each classifier is judged after the published 200 epochs,
and at the epoch that validation images choose: late epochs overfit the raw images, and would make them a weak rival.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.reproduction.perception.digits import Digits, digits
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.perception.annealed_augmentation import augment_copies
from snellen.systems.perception.attractors import EXACT
from snellen.systems.perception.autoencoder import Kind, PerceptualAutoencoder
from snellen.systems.perception.layer import PerceptualLayer
from snellen.systems.perception.orbits import orbit
from snellen.systems.perception.perceptualized import as_shown
from snellen.systems.perception.recipe import (
    AUTOENCODER_PLAN,
    CLASSIFIER_PLAN,
    PerceptualAutoencoderRecipe,
    fit_autoencoder,
    memory_figures,
    perceived,
)
from snellen.training.batches import Batch, Examples, ImageStore
from snellen.training.evaluation import accuracy
from snellen.training.fitting.groundwork import initial_network
from snellen.training.loop import train
from snellen.training.objectives import cross_entropy
from snellen.training.plan import TrainingPlan


@dataclass(frozen=True)
class Budget:
    """How much is learnt and measured.

    Args:
        data: name of the known set.
        per_class: the reduced sets, and how many classifiers of each are averaged.
        test, val: images to test on and to choose epochs on.
        side: pixels.
        autoencoder: its kind and width.
        memory: plan of the autoencoder.
        copies, steps: of the stochastic layer.
        vanilla_steps: of the vanilla one.
        classifier: plan of every classifier.
    """

    data: str
    per_class: Mapping[int, int]
    test: int
    val: int
    side: int
    autoencoder: tuple[Kind, int]
    memory: TrainingPlan
    copies: int
    steps: int
    vanilla_steps: int
    classifier: TrainingPlan


SMALL = Budget(
    data="mnist-5k",
    per_class={8: 2, 20: 2},
    test=400,
    val=100,
    side=28,
    autoencoder=("perceptron", 512),
    memory=AUTOENCODER_PLAN.model_copy(update={"epochs": 5000}),
    copies=32,
    steps=12,
    vanilla_steps=30,
    classifier=CLASSIFIER_PLAN.model_copy(update={"batch_size": 10}),
)
SMOKE = Budget(
    data="digits",
    per_class={2: 1},
    test=10,
    val=5,
    side=8,
    autoencoder=("perceptron", 16),
    memory=AUTOENCODER_PLAN.model_copy(update={"epochs": 5}),
    copies=2,
    steps=2,
    vanilla_steps=3,
    classifier=CLASSIFIER_PLAN.model_copy(update={"epochs": 1, "batch_size": 10}),
)
#: The paper's numbers. Estimated from the numbers of steps and not measured: 2 GB of a GPU, less than 1 GB of memory,
#: 2 million steps of the autoencoder for R8 and 5 million for R20, about two days a seed.
FULL = Budget(
    data="mnist-5k",
    per_class={8: 10, 20: 10},
    test=1000,
    val=500,
    side=28,
    autoencoder=("convolution", 256),
    memory=TrainingPlan(epochs=100_000, batch_size=4, learning_rate=1e-5, weight_decay=0.0, schedule="constant"),
    copies=1000,
    steps=30,
    vanilla_steps=30,
    classifier=CLASSIFIER_PLAN,
)

#: Two states count as one, and an image as found again, within this Euclidean distance; a digit is about 9 long.
TOLERANCE = 1.0


def perception(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 20.

    Returns:
        For each reduced set, ``rN.WAY`` with WAY ``raw``, ``augmented``, ``vanilla`` and ``stochastic``: accuracy on
        the test images after all epochs, a value for each image, the mean over classifiers; ``rN.WAY_chosen``, the same
        at the epoch that the validation images choose; ``rN.reconstruction_error``, ``rN.attractors`` and
        ``rN.spectral_radius`` of the autoencoder; ``rN.settled``, the share of test images that reach a fixed point or
        a cycle; ``rN.wrong_memory``, the share of test images in which the stochastic layer sees another class, by the
        training image nearest to what is seen.
    """
    budget = {"smoke": SMOKE, "small": SMALL, "full": FULL}[scale]
    figures: dict[str, Figure] = {}
    for per_class, starts in budget.per_class.items():
        drawn = digits(budget.data, per_class=per_class, test=budget.test, val=budget.val, side=budget.side, seed=seed)
        rng = Randomness(seed).child("reduced set", per_class)
        found = _reduced_set(drawn, budget, starts, rng, progress)
        figures |= {f"r{per_class}.{name}": value for name, value in found.items()}
    return figures


perception.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("two images of each of ten digits of 8 pixels, and an autoencoder that is hardly trained",),
    "small": (
        "5,000 digits of MNIST, of which 400 test, for MNIST, of which 1,000 test",
        "a fully connected autoencoder of ten layers of 512 units, for convolutions of 256 channels",
        "5,000 whole batches at 1e-3 for 110,000 epochs of batches of 4 at 1e-5",
        "32 copies and 12 steps for 1,000 and 30; two classifiers of each set, batches of 10",
    ),
    "full": ("5,000 digits of MNIST, of which 1,000 test, for MNIST",),
}


def _reduced_set(
    drawn: Digits, budget: Budget, starts: int, rng: Randomness, progress: Progress
) -> Mapping[str, Figure]:
    kind, width = budget.autoencoder
    recipe = PerceptualAutoencoderRecipe(
        autoencoder=kind, width=width, side=budget.side, copies=budget.copies, steps=budget.steps
    )
    autoencoder = fit_autoencoder(recipe.network(rng), drawn.train, plan=budget.memory, rng=rng, progress=progress)
    figures: dict[str, Figure] = {
        **memory_figures(autoencoder, drawn.train.images, steps=budget.vanilla_steps, tolerance=TOLERANCE, rng=rng)
    }
    test = ImageStore.of_tensors(drawn.test_images, drawn.test_labels)
    layers = {
        "vanilla": PerceptualLayer(copies=1, steps=budget.vanilla_steps, strength=0.0),
        "stochastic": recipe.layer(rng.generator("perception").initial_seed() % 2**31),
    }
    parts = (drawn.train, test, drawn.val)
    seen = {name: [perceived(autoencoder, one, layer, progress) for one in parts] for name, layer in layers.items()}
    plain = [ImageStore.of_tensors(as_shown(one.images), one.targets) for one in parts]
    ways: dict[str, tuple[list[ImageStore], Tensor | None]] = {name: (stores, None) for name, stores in seen.items()}
    ways |= {"raw": (plain, None), "augmented": (plain, _bank(plain[0], budget, rng))}
    for name, ((learnt, queries, val), bank) in ways.items():
        right = [
            _right(learnt, queries.images, drawn.test_labels, val, bank, budget, rng.child(start))
            for start in range(starts)
        ]
        for key, values in zip((name, f"{name}_chosen"), zip(*right, strict=True), strict=True):
            figures[key] = Sample.of(torch.stack(values).mean(0).tolist())
    figures["settled"] = _settled(autoencoder, drawn.test_images, budget)
    figures["wrong_memory"] = _wrong_memory(seen["stochastic"][1].images[:, :1], drawn)
    return figures


def _bank(plain: ImageStore, budget: Budget, rng: Randomness) -> Tensor:
    """An augmented copy of each image for each epoch, (n, epochs, 3, s, s)."""
    own = rng.for_examples(plain.ids)
    seeds = own.integers("bank", (), 0, 2**62).tolist()
    return torch.stack([
        augment_copies(
            image.expand(budget.classifier.epochs, -1, -1, -1), 1.0, torch.Generator().manual_seed(seed)
        )
        for image, seed in zip(plain.images, seeds, strict=True)
    ])  # fmt: skip


def _right(
    learnt: ImageStore,
    queries: Tensor,
    labels: Tensor,
    val: ImageStore,
    bank: Tensor | None,
    budget: Budget,
    rng: Randomness,
) -> tuple[Tensor, Tensor]:
    """Whether a classifier is right on each test image, after its last epoch and at the one that ``val`` chooses."""
    record = {"name": "perceptron", "class_count": int(learnt.targets.max()) + 1, "side": budget.side}
    network = initial_network(record, rng)
    by_epoch: list[Tensor] = []

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        images = batch.images if bank is None else bank[batch.positions, batch.epoch - 1]
        return cross_entropy(model(images), batch.targets)

    def evaluate(model: nn.Module, examples: Examples) -> Mapping[str, float]:
        with torch.no_grad():
            by_epoch.append((model(queries).argmax(1) == labels).double())
        return accuracy(model, examples)

    plan = budget.classifier.model_copy(update={"seed": rng.generator("order").initial_seed() % 2**31})
    trained = train(network, learnt, plan=plan, objective=objective, val=val, evaluate=evaluate)
    return by_epoch[-1], by_epoch[trained.best_epoch - 1]


def _settled(autoencoder: PerceptualAutoencoder, images: Tensor, budget: Budget) -> float:
    """Share of images whose orbit ends in a fixed point or a cycle."""
    walked = orbit(autoencoder, images, budget.vanilla_steps)
    return sum(period is not None for period in walked.periods(TOLERANCE)) / len(images)


def _wrong_memory(seen: Tensor, drawn: Digits) -> float:
    """Share of test images that are seen as an image of another class, by the nearest training image."""
    nearest = torch.cdist(seen.flatten(1), drawn.train.images.flatten(1), compute_mode=EXACT).argmin(1)
    return float((drawn.train.targets[nearest] != drawn.test_labels).double().mean())
