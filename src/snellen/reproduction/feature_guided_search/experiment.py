"""System 15: whether it helps to look for pixels around keypoints.

The same game is searched with pixels drawn around keypoints (guided), with pixels drawn anywhere (uniform), and without
a tree (random flipping: pixels anywhere, from the clean image, what was not needed put back), each with the same number
of queries; on scenes also with the published settings. JSMA and CW-L0, which see gradients, are the references. JSMA
has the same moves: a pixel goes to its opposite extreme in all channels, or stays. The images are scenes with one
localised object, textures, real thumbnails, and toy traffic lights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import import_extra
from snellen.core.images import ImageSet
from snellen.core.outcomes import Attacked
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.data.references import load_images
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.textures.textures import Textures
from snellen.methods.attacks.carlini_wagner_l0 import CarliniWagnerL0
from snellen.methods.attacks.saliency_map import SaliencyMap
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.feature_guided_search.full import FULL_SEARCH, full
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.shared.severity_figures import changed_pixels, pair_figures, search_figures, shares_on
from snellen.reproduction.shared.small_networks import small_network
from snellen.reproduction.shared.traffic_lights import CLASS_NAMES, traffic_lights
from snellen.systems.feature_guided_search.manipulation import manipulated
from snellen.systems.feature_guided_search.method import FeatureGuidedSearch
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: One small shape on an even ground: a tenth of the pixels.
SCENES = Scenes(size=32, sizes=("small",), tilts=("upright",), backgrounds=("grey", "sand"), captions=False)
#: Patterns that fill the image.
PATTERNS = ("bricks", "stripes", "dots", "checkers", "cells")
SMALL_PLAN = TrainingPlan(
    epochs=6, batch_size=64, drop_last=True, learning_rate=4e-3, schedule="one-cycle", warmup_steps=30
)


@dataclass(frozen=True)
class Sizes:
    """How much is searched: queries of each image, and images of each kind; ``shown`` are drawn to choose from.

    ``cw_steps`` are those of each search of CW-L0.
    """

    queries: int = 2000
    scenes: int = 30
    thumbnails: int = 30
    textures: int = 40
    lights: int = 48
    references: int = 30
    cw_steps: int = 100
    training: int = 3000
    shown: int = 120


SMALL = Sizes()
#: Settings of the searches; ``published`` queries after each move, draws from the responses and ends at the best
#: severity.
SEARCHES: dict[str, dict[str, object]] = {
    "guided": {},
    "uniform": {"choice": "uniform"},
    "random": {"choice": "uniform", "depth": 0},
    "published": {"every_move": True, "adapting": 0.0, "overshoot": 1.0},
}


@dataclass(frozen=True, eq=False)
class Problem:
    """A classifier, images (n, 3, h, w) that it gets right, and their labels (n,)."""

    classifier: Classifier
    images: Tensor
    labels: Tensor


def feature_guided_comparison(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 15.

    Returns:
        For each kind of image and each search: ``success``, ``median_l0`` and ``mean_l0`` (an image that withstands
        counts with all its pixels), ``queries``, ``mean_batch``; for pairs of searches the geometric mean of the ratio
        of changed pixels, ``ratio_to_uniform`` say, and its binary logarithm of each image; the share of each image's
        changed pixels on lamps, and of the pixels that are lamps.

    Raises:
        InputError: the scale is full, and what it needs is not named.
    """
    rng, every, two = Randomness(seed), ("guided", "uniform", "random", "published"), ("guided", "uniform")
    if scale == "smoke":
        search = FeatureGuidedSearch(queries=4, leaves=2, pixels=100, batch_size=4)
        return _compared(_random_problem(seed), search, every, 2, rng, "large", progress)
    if scale == "full":

        def block(classifier: Classifier, images: Tensor, labels: Tensor, kind: str) -> dict[str, Figure]:
            problem = Problem(classifier, images, labels)
            return _compared(problem, FULL_SEARCH, every, len(images), rng.child(kind), "", progress)

        return full(seed, block)
    search = FeatureGuidedSearch(queries=SMALL.queries, leaves=16)
    figures: dict[str, Figure] = {}
    scenes = _scenes(seed, rng, progress)
    figures |= _compared(scenes, search, every, SMALL.references, rng, "scenes", progress)
    figures |= _compared(_thumbnails(seed), search, two, 0, rng, "thumbnails", progress)
    figures |= _compared(_textures(seed, rng, progress), search, two, 0, rng, "textures", progress)
    return figures | _lights(seed, search, rng, progress)


feature_guided_comparison.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("random images of 224 pixels, VGG16 with random weights, a budget of a few queries",),
    "small": (
        "scenes with one small shape of ten at 32 pixels and a network of 100,000 weights for CIFAR-10 and GTSRB",
        "30 Fashion-MNIST test images and a bundled network for MNIST",
        "five texture patterns at 32 pixels, where nothing is localised",
        "drawn traffic lights at 32 pixels for the Nexar challenge",
        "2,000 queries an image instead of a time limit",
    ),
    "full": ("10,000 queries an image for a minute; GTSRB for the Nexar challenge, which is no longer offered",),
}


def _compared(
    problem: Problem,
    search: FeatureGuidedSearch,
    names: tuple[str, ...],
    references: int,
    rng: Randomness,
    kind: str,
    progress: Progress,
) -> dict[str, Figure]:
    """The searches beside one another, and the references on the first images."""
    classifier, images, labels = problem.classifier, problem.images, problem.labels
    figures: dict[str, Figure] = {}
    changed: dict[str, Tensor] = {}
    progress.begin(f"{kind}: searches", len(names))
    for name in names:
        method = search.model_copy(update=SEARCHES[name])
        attacked = method.attack(classifier, images, labels, rng=rng.child(kind))
        changed[name] = changed_pixels(attacked, images)
        figures |= {f"{name}.{key}": value for key, value in search_figures(attacked, changed[name]).items()}
        progress.advance(f"{kind}: searches", 1)
    progress.finish(f"{kind}: searches")
    for name in names[1:]:
        figures |= pair_figures(changed["guided"], changed[name], f"ratio_to_{name}")
    if references:
        first, labels = images[:references], labels[:references]
        large = images.shape[-1] > 100
        jsma = SaliencyMap(largest_share=2e-5 if large else 0.145)
        cw_l0 = (
            CarliniWagnerL0(steps=1, largest_weight=1e-3, share=300.0)
            if large
            else CarliniWagnerL0(steps=SMALL.cw_steps)
        )
        for name, broken in (
            ("jsma", _with_our_moves(jsma, classifier, first, labels)),
            ("cw_l0", cw_l0.attack(classifier, first, labels, rng=rng.child(kind))),
        ):
            changed[name] = changed_pixels(broken, first)
            figures |= {f"{name}.{key}": value for key, value in search_figures(broken, changed[name]).items()}
            figures |= pair_figures(changed["guided"][:references], changed[name], f"ratio_to_{name}")
    return {f"{kind}.{key}" if kind else key: value for key, value in figures.items()}


class _Moves(nn.Module):
    """Scores of an image some of whose pixels make the move of the game: t (n, 3, h, w), whose first channel counts."""

    def __init__(self, classifier: Classifier, image: Tensor) -> None:
        super().__init__()
        self.classifier, self.image = classifier, image
        self.moved = manipulated(image[None], "extreme", step=1.0).up[0]

    def forward(self, share: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.made(share))
        return scores

    def made(self, share: Tensor) -> Tensor:
        """The images (n, 3, h, w)."""
        return self.image + share[:, :1] * (self.moved - self.image)


def _with_our_moves(attack: SaliencyMap, classifier: Classifier, images: Tensor, labels: Tensor) -> Attacked:
    """An attack that sees gradients, on which pixels make the move of the game; image by image."""
    parts = []
    for image, label in zip(images, labels, strict=True):
        moves = _Moves(classifier, image)
        wrapped = Classifier(moves, class_names=classifier.class_names, name=classifier.name)
        found = attack.attack(wrapped, torch.zeros_like(image)[None], label[None])
        parts.append((moves.made(found.images), found))
    ends = [one for _, one in parts]
    return Attacked(
        images=torch.cat([made for made, _ in parts]),
        success=torch.cat([one.success for one in ends]),
        distance=torch.cat([one.distance for one in ends]),
        queries=torch.cat([one.queries for one in ends]),
        gradients=torch.cat([one.gradients for one in ends]),
        scores=torch.cat([one.scores for one in ends]),
        status=tuple(status for one in ends for status in one.status),
        zero_gradient=torch.cat([one.zero_gradient for one in ends]),
    )


def _lights(seed: int, search: FeatureGuidedSearch, rng: Randomness, progress: Progress) -> dict[str, Figure]:
    """On toy traffic lights: which share of the changed pixels lies on lamps."""
    learnt = traffic_lights(SMALL.training // 3, seed=2 * seed + 1)
    store = ImageStore.of_tensors((learnt.images * 255).round().byte(), learnt.labels, split="train")
    classifier = _trained(store, CLASS_NAMES, rng.child("lights"), progress)
    shown = traffic_lights(SMALL.shown, seed=2 * seed)
    right = _right(classifier, shown.images, shown.labels)[: SMALL.lights]
    figures: dict[str, Figure] = {"lights.lamp_share": float(shown.lamps[right].double().mean())}
    shares = {}
    for name in ("guided", "uniform"):
        method = search.model_copy(update=SEARCHES[name])
        images = shown.images[right]
        attacked = method.attack(classifier, images, shown.labels[right], rng=rng.child("lights"))
        figures |= {
            f"lights.{name}.{key}": value
            for key, value in search_figures(attacked, changed_pixels(attacked, images)).items()
        }
        shares[name] = shares_on(attacked, images, shown.lamps[right])
    both = torch.stack(list(shares.values())).isfinite().all(0)
    for name, share in shares.items():
        figures[f"lights.{name}.on_lamps"] = Sample.of(share[both].numpy()) if bool(both.any()) else None
    return figures


def _scenes(seed: int, rng: Randomness, progress: Progress) -> Problem:
    world = SCENES.model_copy(update={"seed": seed})
    learnt = world.model_copy(update={"count": SMALL.training}).images(split="train")
    shown = world.model_copy(update={"count": SMALL.shown}).images(split="test")
    classifier = _trained(_store(learnt), tuple(world.shapes), rng.child("scenes"), progress)
    return _of_right(classifier, to_unit(_pixels(shown)), torch.from_numpy(shown.labels), SMALL.scenes)


def _textures(seed: int, rng: Randomness, progress: Progress) -> Problem:
    """Patterns by name: nothing in them is localised. Of each pair only the whole one is taken."""
    world = Textures(size=32, generators=PATTERNS, seed=seed)

    def part(split: str, count: int) -> tuple[Tensor, Tensor]:
        images = world.model_copy(update={"count": 2 * count}).images(split=split)  # type: ignore[arg-type]
        rows = range(0, 2 * count, 2)
        pixels = torch.stack([torch.from_numpy(np.array(images.read(row))) for row in rows]).permute(0, 3, 1, 2)
        groups = images.column("group")
        return pixels, torch.tensor([PATTERNS.index(groups[row]) for row in rows])

    pixels, labels = part("train", SMALL.training // 3)
    store = ImageStore.of_tensors(pixels, labels, split="train")
    classifier = _trained(store, PATTERNS, rng.child("textures"), progress)
    pixels, labels = part("test", SMALL.shown)
    return _of_right(classifier, to_unit(pixels), labels, SMALL.textures)


def _thumbnails(seed: int) -> Problem:
    """Real thumbnails, other ones for each seed."""
    classifier, images = load_classifier("bundled:fashion-cnn"), load_images("bundled:fashion-mnist")
    rows = torch.randperm(len(images), generator=Randomness(seed).generator("thumbnails"))[: SMALL.shown].tolist()
    prepared = torch.stack([classifier.prepare(images[row].image) for row in rows])
    return _of_right(classifier, prepared, torch.from_numpy(images.labels[rows]), SMALL.thumbnails)


def _trained(store: ImageStore, class_names: tuple[str, ...], rng: Randomness, progress: Progress) -> Classifier:
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        network: nn.Module = small_network("plain", len(class_names))
    plan = SMALL_PLAN.model_copy(update={"seed": rng.generator("training").initial_seed() % 2**31})
    network.load_state_dict(dict(train(network, store, plan=plan, progress=progress).weights))
    return Classifier(network, class_names=class_names, preparation=Preprocessing(size=(32, 32)), name="plain")


def _store(images: ImageSet) -> ImageStore:
    return ImageStore.of_tensors(_pixels(images), torch.from_numpy(images.labels), ids=images.ids, split="train")


def _pixels(images: ImageSet) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(images.read(row))) for row in range(len(images))]).permute(0, 3, 1, 2)


def _right(classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return (classifier(images).argmax(1) == labels).nonzero().flatten()


def _of_right(classifier: Classifier, images: Tensor, labels: Tensor, count: int) -> Problem:
    """The first so many images that the classifier gets right."""
    right = _right(classifier, images, labels)[:count]
    return Problem(classifier, images[right], labels[right])


def _random_problem(seed: int) -> Problem:
    """Two images of random pixels and the network's decisions on them: for running every stage, not for any figure."""
    models = import_extra("torchvision.models", "models", "the smoke run of system 15")
    with seeded(seed, torch.device("cpu")):
        network = models.get_model("vgg16", weights=None, num_classes=10)
    classifier = Classifier(network, class_names=[str(number) for number in range(10)], name="VGG16")
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return Problem(classifier, images, classifier(images).argmax(1))
