"""The networks whose units are described: of another family, with planted detectors, and with a shortcut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scene import Scene
from snellen.models.classifiers.factor_judge import load_judge
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.systems.neuron_descriptions.region_truth import KINDS, VALUES, FactorMaps
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.objectives import Objective, classify
from snellen.training.plan import TrainingPlan

#: Layers of :func:`narrow_network` that are described: what each of its four units gives.
LAYERS = ("1.2", "2.2", "3.2", "4.2")

#: The planted layer of :func:`detector_network`.
PLANTED = "detectors"

#: What the judge of scenes calls each kind of value, in the order of the maps.
_JUDGED = {"shape": "shape", "colour": "colour", "texture": "texture", "ground": "background"}


def factor_network(
    images: Tensor, scenes: Sequence[Scene], *, epochs: int, rng: Randomness, progress: Progress
) -> Classifier:
    """A network that predicts every factor of a scene with one object, and whether there are letters: varied units."""
    kinds = [kind for kind in KINDS if kind != "letters"]
    wanted = torch.tensor(
        [[KINDS[kind].index(value) for kind, value in zip(kinds, _factors(one), strict=True)] for one in scenes]
    )
    letters = torch.tensor([one.lettering is not None for one in scenes])
    sizes = [len(KINDS[kind]) for kind in kinds]

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        *parts, written = model(batch.images).split([*sizes, 2], 1)
        found = [F.cross_entropy(part, batch.targets[:, place], reduction="none") for place, part in enumerate(parts)]
        return torch.stack([*found, F.cross_entropy(written, batch.targets[:, -1], reduction="none")]).sum(0)

    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        network = narrow_network(sum(sizes) + 2)
    targets = torch.cat([wanted, letters.long()[:, None]], 1)
    fitted(network, images, targets, objective, epochs=epochs, rng=rng, progress=progress)
    names = [f"{kind} {value}" for kind in kinds for value in KINDS[kind]] + ["without letters", "with letters"]
    return _classifier(network, names, images)


def detector_network(
    images: Tensor, maps: FactorMaps, *, epochs: int, rng: Randomness, progress: Progress
) -> Classifier:
    """A network whose layer :data:`PLANTED` has one unit for each value: which fires on what is known by its number.

    Args:
        images: (n, 3, h, w), to learn where objects and letters are; a judge says what they are.
        maps: of the same scenes.
        epochs: of that.
        rng: seeds it.
        progress: callback that receives progress updates.
    """
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        detectors = Detectors()
    objects = torch.stack([maps.of(colour) for colour in KINDS["colour"]]).sum(0)
    wanted = F.avg_pool2d(torch.stack([objects, maps.of("letters")], 1), 2)

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(model(batch.images), wanted[batch.positions], reduction="none")
        return losses.mean((1, 2, 3))

    fitted(detectors.places, images, torch.zeros(len(images)), objective, epochs=epochs, rng=rng, progress=progress)
    network = nn.Sequential()
    network.add_module(PLANTED, detectors)
    network.add_module("mean", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    return _classifier(network, list(VALUES), images)


class Detectors(nn.Module):
    """Images (n, 3, 32, 32) → maps of half the side, (n, values, 16, 16) in [0, 1].

    The judge of scenes gives how likely each value of shape, colour, texture and ground is, and a small network where
    the object is and where letters are: units of objects fire on the one, that of letters on the other, and units of
    grounds on neither.
    """

    def __init__(self) -> None:
        super().__init__()
        judge = load_judge()
        self.judge = judge.network
        counts = {name: len(values) for name, values in judge.factors.items()}
        firsts = dict(zip(counts, itertools.accumulate(counts.values(), initial=0), strict=False))
        self.spans = {kind: (firsts[factor], counts[factor]) for kind, factor in _JUDGED.items()}
        self.places = nn.Sequential(
            _Folded(), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
            nn.Conv2d(24, 24, 3, padding=2, dilation=2), nn.ReLU(),
            nn.Conv2d(24, 24, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv2d(24, 2, 1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Find where each value is."""
        told = self.judge(images)
        objects, letters = torch.sigmoid(self.places(images)).split(1, 1)
        parts = []
        for kind, (first, count) in self.spans.items():
            likely = told[:, first : first + count].softmax(1)[:, :, None, None]
            parts.append(likely * ((1 - objects) if kind == "ground" else objects) * (1 - letters))
        return torch.cat([*parts, letters], 1)


def shape_network(
    images: Tensor, labels: Tensor, names: Sequence[str], *, epochs: int, rng: Randomness, progress: Progress
) -> Classifier:
    """A network that predicts the shape, and has learnt every other sign of it in its training images."""
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        network = narrow_network(len(names))
    fitted(network, images, labels, classify, epochs=epochs, rng=rng, progress=progress)
    return _classifier(network, names, images)


def fitted(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    objective: Objective,
    *,
    epochs: int,
    rng: Randomness,
    progress: Progress,
) -> None:
    """Train a network in place."""
    plan = TrainingPlan(
        epochs=epochs, batch_size=64, learning_rate=3e-3, seed=rng.generator("training").initial_seed() % 2**31
    )
    examples = ImageStore.of_tensors(images, targets, split="train")
    trained = train(network, examples, plan=plan, objective=objective, progress=progress)
    network.load_state_dict(dict(trained.weights))


def _factors(scene: Scene) -> tuple[str, str, str, str]:
    one = scene.objects[0]
    return one.shape, one.colour, one.texture, scene.background


def _classifier(network: nn.Module, names: Sequence[str], images: Tensor) -> Classifier:
    side = (int(images.shape[2]), int(images.shape[3]))
    return Classifier(network, class_names=names, preparation=Preprocessing(size=side))


class _Folded(nn.Module):
    """Images (n, 3, h, w) in [0, 1] → (n, 12, h / 2, w / 2) in [−1, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images, 2) * 2 - 1
