"""System 13, dual randomized smoothing, beside plain smoothing of the same largest radius.

A network of whole images is trained under noise of sigma. From it, one continues as it is, and one is fine-tuned for
each half under sigma / √2, for as many epochs. A convolutional network sees garments (Fashion-MNIST) and gratings.
Gratings are also seen by one that is trained briefly, and by a perceptron, which knows no neighbours. It is shown a
half with zeros between: the published view adds the largest value of a block, which is knowledge of neighbours. On
independent pixels halves share nothing; blocks are patterns that either half holds whole. All images are grey, and so
is the noise: radii are of one channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.methods.attacks.perturbation import L2Ball, NormalizedStep, perturb
from snellen.methods.smoothing.branches import View, branches_of
from snellen.methods.smoothing.gaussian_smoothing import GaussianSmoothing
from snellen.methods.smoothing.smoothing import Smoothing
from snellen.methods.smoothing.votes import hard_votes, length_in, vote_evaluation
from snellen.models.classifiers.artifact_models import build_network
from snellen.reproduction.dual_smoothing.full import full
from snellen.reproduction.dual_smoothing.materials import (
    SIDE,
    Sizes,
    blocks,
    garments,
    gratings,
    independent_pixels,
)
from snellen.reproduction.dual_smoothing.votes import (
    ALPHA,
    Votes,
    figures_of,
    overstated,
    radii_of,
    votes_of,
)
from snellen.reproduction.sample import Figure, Sample
from snellen.training.fitting.groundwork import initial_network
from snellen.version import __version__

#: Noise of plain smoothing; that of the halves is smaller by √2, so that no radius can be larger.
SIGMA = 0.5

#: What convolutional networks of halves are shown, the published view, and what perceptrons are.
VIEW: View = "contrast"
BARE: View = "zeros"

#: A convolutional network of 44 thousand weights, and one that knows no neighbours.
CONVOLUTIONAL: Mapping[str, Any] = {"name": "fashion_cnn", "widths": [8, 32, 96]}
PERCEPTRON: Mapping[str, Any] = {"name": "perceptron", "side": SIDE, "widths": [256, 100]}


@dataclass(frozen=True)
class Arm:
    """Images, and the network that sees them.

    Args:
        world: split, sizes and seed → images.
        network: record of the architecture, without its classes.
        sizes: images that are trained on and certified.
        samples: of each branch; half of a pair's is one network's all.
        epochs: of the network of whole images that all start from.
        further: epochs after that, of whole images and of halves.
        view: how a half is laid out as an image.
    """

    world: Callable[[Split, Sizes, int], ImageSet]
    network: Mapping[str, Any]
    sizes: Sizes
    samples: int
    epochs: int = 8
    further: int = 20
    view: View = VIEW


@dataclass(frozen=True)
class Budget:
    """How much is drawn.

    Args:
        arms: by name; images of the first are attacked, and certified once more with early stopping.
        early: images that are certified once more with early stopping.
        attacked: images that are attacked inside their radius.
        steps: of the attack.
        copies: noisy copies in each of its steps.
        judging: samples that decide about an attacked image.
    """

    arms: Mapping[str, Arm]
    early: int
    attacked: int
    steps: int
    copies: int
    judging: int


SMALL = Budget(
    arms={
        "garments": Arm(garments, CONVOLUTIONAL, Sizes(8_000, 80), 10_000),
        "gratings": Arm(gratings, CONVOLUTIONAL, Sizes(4_000, 80), 10_000),
        "brief": Arm(gratings, CONVOLUTIONAL, Sizes(4_000, 80), 10_000, epochs=1, further=5),
        "perceptron": Arm(gratings, PERCEPTRON, Sizes(4_000, 80), 10_000, view=BARE),
        "blocks": Arm(blocks, PERCEPTRON, Sizes(4_000, 80), 10_000, view=BARE),
        "independent": Arm(independent_pixels, PERCEPTRON, Sizes(4_000, 80), 10_000, view=BARE),
    },
    early=40,
    attacked=8,
    steps=25,
    copies=32,
    judging=1_000,
)
SMOKE = Budget(
    arms={
        name: Arm(arm.world, arm.network, Sizes(60, 2), 200, epochs=1, further=1, view=arm.view)
        for name, arm in SMALL.arms.items()
        if name != "garments"
    },
    early=2,
    attacked=2,
    steps=2,
    copies=2,
    judging=50,
)

#: Radius at which early stopping decides.
GOAL = 0.5


def dual_smoothing(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 13.

    Returns:
        For each arm, ``ARM.WAY.FIGURE`` with WAY ``plain``, ``dual`` (as many samples in each network), ``dual_half``
        (as many forward passes in all) and ``published`` (the published formula on dual's votes), and FIGURE ``acr``
        and ``at_R`` of :func:`~snellen.reproduction.dual_smoothing.votes.figures_of`; ``plain.accuracy`` and
        ``dual.accuracy`` of the class that was chosen, certified or not; ``ARM.difference`` of the radii, and
        ``ARM.overstated``, the ratio of the published to the proven one, less 1. Of the first arm, ``early.share`` of
        the samples and ``early.alike`` decisions; ``attack.changed`` and ``attack.changed_beyond``, shares of images
        inside their radius and at three times it, None where none was certified.

    Raises:
        InputError: the scale is full, and something that it needs is not there.
    """
    if scale == "full":
        return full(seed, progress)
    budget, prefix = (SMOKE, "smoke.") if scale == "smoke" else (SMALL, "")
    rng, figures = Randomness(seed), dict[str, Figure]()
    for name, arm in budget.arms.items():
        trained = trained_networks(name, arm, seed, rng, progress)
        test = arm.world("test", arm.sizes, seed)
        images, labels = prepared(trained[False], test), torch.from_numpy(test.labels)
        votes = {
            split_pixels: votes_of(
                classifier,
                images,
                labels,
                sigma=sigma_of(split_pixels),
                split_pixels=split_pixels,
                samples=(arm.samples // 2, arm.samples),
                rng=rng.child("votes", name, int(split_pixels)),
                progress=progress,
                task=f"votes of {'halves' if split_pixels else 'whole images'} of {name}",
            )
            for split_pixels, classifier in trained.items()
        }
        found = compared(votes[False], votes[True], arm.samples)
        figures |= {f"{name}.{key}": value for key, value in found.items()}
        if name == next(iter(budget.arms)):
            figures |= _early(trained[False], images, votes[False], budget, arm.samples, rng)
            figures |= _attacked(trained[True], images, votes[True], budget, arm.samples, rng, progress)
    return {prefix + name: value for name, value in figures.items()}


dual_smoothing.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("60 images of 16 pixels, networks of one epoch, 200 samples",),
    "small": (
        "images of Fashion-MNIST, drawn gratings and patterns of 16 pixels, for CIFAR-10 and ImageNet",
        "a residual CNN of 44 thousand weights and a perceptron, which is shown halves with zeros between, trained for "
        "8 and then 20 epochs (one arm: 1 and 5) on 8,000 garments or 4,000 drawn images under noise, for ResNet-110 "
        "and ResNet-50",
        "10,000 samples for 100,000",
        "noise and radii of one grey channel; sigma 0.5 against 0.354",
    ),
    "full": ("no padded crops; the learning rate falls along a cosine", "AdamW for Adam and SGD"),
}


def sigma_of(split_pixels: bool) -> float:
    """Noise at which the largest radius is the same."""
    return SIGMA / 2**0.5 if split_pixels else SIGMA


def prepared(classifier: Classifier, images: ImageSet) -> Tensor:
    """All images of a small set, (n, 3, h, w) in [0, 1]."""
    return torch.stack([classifier.prepare(images.read(row)) for row in range(len(images))])


def compared(plain: Votes, dual: Votes, most: int) -> dict[str, Figure]:
    """Figures of both ways, at equal samples and at equal forward passes, and of the published formula."""
    radii = radii_of(plain, dual, most)
    return figures_of(radii) | {
        "plain.accuracy": plain.right,
        "dual.accuracy": dual.right,
        "difference": Sample.of(radii["dual"] - radii["plain"]),
        "overstated": overstated(radii),
    }


def trained_networks(name: str, arm: Arm, seed: int, rng: Randomness, progress: Progress) -> dict[bool, Classifier]:
    """The network of whole images, which continues, and the pair that is fine-tuned from it, for as many epochs."""
    data = arm.world("train", arm.sizes, seed)
    assert data.class_names is not None
    side = data.read(0).height
    record = {**arm.network, "class_count": len(data.class_names)}
    first = initial_network(record, rng.child("first weights", name))
    card = Card(
        name="first weights",
        kind="classifier",
        architecture=record,
        class_names=data.class_names,
        preparation=Preprocessing(size=(side, side)).model_dump(mode="json"),
        lineage=Lineage(recipe={}, data="", seed=seed, code_version=__version__),
    )

    def fitted(base: Artifact, split_pixels: bool, epochs: int, part: str) -> Artifact:
        recipe = GaussianSmoothing(
            sigma=sigma_of(split_pixels),
            split_pixels=split_pixels,
            view=arm.view,
            grey=True,
            plan={"epochs": epochs, "batch_size": 100},
        )
        return recipe.fit(data, base=base, rng=rng.child(part, name), progress=progress)

    start = fitted(Artifact(first.state_dict(), card), False, arm.epochs, "training")
    found: dict[bool, Classifier] = {}
    for split_pixels in (False, True):
        made = fitted(start, split_pixels, arm.further, "further")
        network = build_network(made.card.architecture, "the experiment")
        network.load_state_dict(dict(made.tensors))
        found[split_pixels] = Classifier(
            network.eval(), class_names=data.class_names, preparation=Preprocessing(size=(side, side))
        )
    return found


def _early(
    classifier: Classifier, images: Tensor, votes: Votes, budget: Budget, most: int, rng: Randomness
) -> dict[str, Figure]:
    """Samples that early stopping needs, and how often it decides like all of them."""
    method = Smoothing(samples=most, alpha=ALPHA, radius=GOAL)
    some = images[: budget.early]
    ids = [str(row) for row in range(len(some))]
    found = method.certify(classifier, some, rng=rng.child("early").for_examples(ids))
    right = found.prediction == votes.labels[: len(some)]
    early = (found.radius >= GOAL).numpy() & right.numpy()
    fixed = votes.radii(most)[: len(some)] >= GOAL
    return {
        "early.share": Sample.of((found.samples.double() / most).tolist()),
        "early.alike": Sample.of(early == fixed),
        "early.certified": Sample.of(early),
    }


def _attacked(
    classifier: Classifier,
    images: Tensor,
    votes: Votes,
    budget: Budget,
    most: int,
    rng: Randomness,
    progress: Progress,
) -> dict[str, Figure]:
    """Attack certified images inside their radius, and beyond it to see that the attack can do anything.

    Returns:
        Shares of changed decisions; None where no image was certified.
    """
    radii = votes.radii(most)
    rows = [int(row) for row in np.flatnonzero(radii > 0)[: budget.attacked]]
    branches = branches_of(classifier, split_pixels=True, grey=True)
    sigma = sigma_of(True)
    changed = {1.0: 0, 3.0: 0}
    progress.begin("attacks", 2 * len(rows))
    for row in rows:
        image, label = images[[row]], votes.labels[[row]]
        for factor in changed:
            size = length_in(branches, float(radii[row]) * factor * (1 - 1e-6))
            own = rng.child("attack", str(factor)).for_examples([str(row)])
            moved = perturb(
                classifier,
                image,
                label,
                evaluate=vote_evaluation(branches, sigma=sigma, samples=budget.copies, rng=own),
                projection=L2Ball(size),
                step_rule=NormalizedStep(2.5 * size / budget.steps),
                criterion=Misclassified(),
                steps=budget.steps,
                rng=own,
                keep="last",
            ).images
            counts = [
                hard_votes(
                    branch, moved, sigma=sigma, first=0, last=budget.judging,
                    class_count=len(classifier.class_names), rng=own, stream="judging",
                )
                for branch in branches
            ]  # fmt: skip
            changed[factor] += int(torch.stack(counts).sum(0).argmax(1)[0]) != int(label[0])
            progress.advance("attacks", 1)
    progress.finish("attacks")
    shares = {factor: count / len(rows) if rows else None for factor, count in changed.items()}
    return {"attack.changed": shares[1.0], "attack.changed_beyond": shares[3.0]}
