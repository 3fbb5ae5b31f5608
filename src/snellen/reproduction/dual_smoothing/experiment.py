"""System 13, dual randomized smoothing, beside plain smoothing of the same largest radius.

Three worlds: garments (Fashion-MNIST), gratings, whose neighbouring pixels say much the same, and the same gratings
with their pixels mixed. In each, one network of whole images under noise of sigma, and one of each half under
sigma / √2, from the same first weights, for as many epochs. All images are grey, and so is the noise: radii are of one
channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
from snellen.methods.smoothing.bounds import published_radius
from snellen.methods.smoothing.branches import View, branches_of
from snellen.methods.smoothing.gaussian_smoothing import GaussianSmoothing
from snellen.methods.smoothing.smoothing import Smoothing
from snellen.methods.smoothing.votes import hard_votes, length_in, vote_evaluation
from snellen.models.classifiers.artifact_models import build_network
from snellen.reproduction.dual_smoothing.full import full
from snellen.reproduction.dual_smoothing.materials import Sizes, garments, gratings, mixed_gratings
from snellen.reproduction.dual_smoothing.votes import ALPHA, Votes, votes_of
from snellen.reproduction.sample import Figure
from snellen.training.fitting.groundwork import initial_network
from snellen.version import __version__

#: Noise of plain smoothing; that of the halves is smaller by √2, so that no radius can be larger.
SIGMA = 0.5

#: Channels of the network: 44 thousand weights.
WIDTHS = (8, 32, 96)

#: What the networks of halves are shown.
VIEW: View = "zeros"


@dataclass(frozen=True)
class Budget:
    """How much is drawn.

    Args:
        sizes: images of each world, by name.
        samples: of each branch, by world: half of them, and all; half of a pair is one network's all.
        epochs: of every network.
        early: images that are certified once more with early stopping.
        attacked: images that are attacked inside their radius.
        steps: of the attack.
        copies: noisy copies in each of its steps.
        judging: samples that decide about an attacked image.
    """

    sizes: Mapping[str, Sizes]
    samples: Mapping[str, int]
    epochs: int
    early: int
    attacked: int
    steps: int
    copies: int
    judging: int


WORLDS: dict[str, Callable[[Split, Sizes, int], ImageSet]] = {
    "garments": garments,
    "gratings": gratings,
    "mixed": mixed_gratings,
}

SMALL = Budget(
    sizes={"garments": Sizes(8_000, 100), "gratings": Sizes(4_000, 100), "mixed": Sizes(4_000, 100)},
    samples={"garments": 10_000, "gratings": 3_000, "mixed": 3_000},
    epochs=6,
    early=50,
    attacked=16,
    steps=25,
    copies=32,
    judging=1_000,
)
SMOKE = Budget(
    sizes={"gratings": Sizes(60, 2)},
    samples={"gratings": 200},
    epochs=1,
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
        For each world, ``WORLD.WAY.FIGURE`` with WAY ``plain``, ``dual`` (as many samples in each network),
        ``dual_half`` (as many forward passes in all) and ``published`` (the published formula on dual's votes), and
        FIGURE of :meth:`snellen.reproduction.dual_smoothing.votes.Votes.figures`; ``WORLD.gain`` and
        ``WORLD.gain_half``, the ratio of average radii to the plain one, less 1, ``WORLD.difference`` of the radii, and
        ``WORLD.overstated``, the ratio of the published to the proven one, less 1. ``early.share`` of the samples,
        ``early.alike`` decisions; ``attack.changed`` and ``attack.changed_beyond``, shares of images inside their
        radius and at three times it.

    Raises:
        InputError: the scale is full, and something that it needs is not there.
    """
    if scale == "full":
        return full(seed, progress)
    budget, prefix = (SMOKE, "smoke.") if scale == "smoke" else (SMALL, "")
    rng, figures = Randomness(seed), dict[str, float]()
    for world in budget.sizes:
        trained = {
            split_pixels: _trained(world, split_pixels, budget, seed, rng, progress) for split_pixels in (False, True)
        }
        test = WORLDS[world]("test", budget.sizes[world], seed)
        images, labels = prepared(trained[False], test), torch.from_numpy(test.labels)
        most = budget.samples[world]
        votes = {
            split_pixels: votes_of(
                classifier,
                images,
                labels,
                sigma=sigma_of(split_pixels),
                split_pixels=split_pixels,
                samples=(most // 2, most),
                rng=rng.child("votes", world, int(split_pixels)),
                progress=progress,
                task=f"votes of {'halves' if split_pixels else 'whole images'} of {world}",
            )
            for split_pixels, classifier in trained.items()
        }
        figures |= {f"{world}.{name}": value for name, value in compared(votes[False], votes[True], most).items()}
        if world == next(iter(budget.sizes)):
            figures |= _early(trained[False], images, votes[False], budget, most, rng)
            figures |= _attacked(trained[True], images, votes[True], budget, most, rng, progress)
    return {prefix + name: value for name, value in figures.items()}


dual_smoothing.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("60 gratings of 16 pixels, networks of one epoch, 200 samples",),
    "small": (
        "100 test images of Fashion-MNIST, and 100 drawn gratings of 16 pixels, for CIFAR-10 and ImageNet",
        "a residual CNN of 44 thousand weights trained for 6 epochs on 8,000 (gratings: 4,000) images under noise, "
        "for ResNet-110 and ResNet-50; networks of halves start from the same first weights, not from a trained one",
        "10,000 samples (gratings: 3,000) for 100,000",
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


def compared(plain: Votes, dual: Votes, most: int) -> dict[str, float]:
    """Figures of both ways, at equal samples and at equal forward passes, and of the published formula."""
    ways = {
        "plain": plain.figures(most),
        "dual": dual.figures(most),
        "dual_half": dual.figures(most // 2),
        # The published bounds have the whole level each.
        "published": dual.figures(most, published_radius, 2 * ALPHA),
    }
    figures = {f"{way}.{name}": value for way, found in ways.items() for name, value in found.items()}
    for way, name in (("dual", "gain"), ("dual_half", "gain_half"), ("published", "overstated")):
        against = ways["dual"] if way == "published" else ways["plain"]
        figures[name] = ways[way]["acr"] / against["acr"] - 1 if against["acr"] else 0.0
    return figures | {"difference": ways["dual"]["acr"] - ways["plain"]["acr"]}


def _trained(
    world: str, split_pixels: bool, budget: Budget, seed: int, rng: Randomness, progress: Progress
) -> Classifier:
    """Train a network, or a pair, from the same first weights."""
    data = WORLDS[world]("train", budget.sizes[world], seed)
    assert data.class_names is not None
    side = data.read(0).height
    record = {"name": "fashion_cnn", "widths": list(WIDTHS), "class_count": len(data.class_names)}
    first = initial_network(record, rng.child("first weights", world))
    lineage = Lineage(recipe={}, data="", seed=seed, code_version=__version__)
    card = Card(
        name="first weights",
        kind="classifier",
        architecture=record,
        class_names=data.class_names,
        preparation=Preprocessing(size=(side, side)).model_dump(mode="json"),
        lineage=lineage,
    )
    recipe = GaussianSmoothing(
        sigma=sigma_of(split_pixels),
        split_pixels=split_pixels,
        view=VIEW,
        grey=True,
        plan={"epochs": budget.epochs, "batch_size": 100},
    )
    base = Artifact(first.state_dict(), card)
    made = recipe.fit(data, base=base, rng=rng.child("training", world), progress=progress)
    network = build_network(made.card.architecture, "the experiment")
    network.load_state_dict(dict(made.tensors))
    return Classifier(network, class_names=data.class_names, preparation=Preprocessing(size=(side, side)))


def _early(
    classifier: Classifier, images: Tensor, votes: Votes, budget: Budget, most: int, rng: Randomness
) -> dict[str, float]:
    """Samples that early stopping needs, and how often it decides like all of them."""
    method = Smoothing(samples=most, alpha=ALPHA, radius=GOAL)
    some = images[: budget.early]
    ids = [str(row) for row in range(len(some))]
    found = method.certify(classifier, some, rng=rng.child("early").for_examples(ids))
    right = found.prediction == votes.labels[: len(some)]
    early = (found.radius >= GOAL).numpy() & right.numpy()
    fixed = votes.radii(most)[: len(some)] >= GOAL
    return {
        "early.share": float(found.samples.double().mean()) / most,
        "early.alike": float(np.mean(early == fixed)),
        "early.certified": float(early.mean()),
    }


def _attacked(
    classifier: Classifier,
    images: Tensor,
    votes: Votes,
    budget: Budget,
    most: int,
    rng: Randomness,
    progress: Progress,
) -> dict[str, float]:
    """Attack certified images inside their radius, and beyond it to see that the attack can do anything."""
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
    total = max(len(rows), 1)
    return {"attack.changed": changed[1.0] / total, "attack.changed_beyond": changed[3.0] / total}
