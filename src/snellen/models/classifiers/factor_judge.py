"""A judge of scenes: a small network that reads every factor of a picture, and never guides anything.

It judges generated and edited pictures: whether the picture shows the requested shape, colour, texture and background,
where the object is, and how strong a nuisance. A model that guided a generator must not judge it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, unknown_name
from snellen.core.package import asset
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.prepared_images import check_prepared
from snellen.models.classifiers.references import load_classifier
from snellen.models.weights.devices import resolve_device
from snellen.models.weights.state_dict_file import load_strictly

#: Channels and stride of each convolution: full resolution first, because shapes of a few pixels must be distinguished.
LAYERS = ((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (128, 2), (128, 1))

#: Images that are read together.
_TOGETHER = 256


class FactorNetwork(nn.Module):
    """Convolutions that also see where they are, mean and maximum over the image, and one linear layer.

    Args:
        outputs: numbers that the last layer gives.
        layers: channels and stride of each convolution.
    """

    def __init__(self, outputs: int, layers: Sequence[Sequence[int]] = LAYERS) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before = 5
        for channels, stride in layers:
            blocks += [nn.Conv2d(before, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
            before = channels
        self.body, self.head = nn.Sequential(*blocks), nn.Linear(2 * before, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Square images (n, 3, h, h) in [0, 1] → (n, outputs)."""
        found: Tensor = self.head(self.features(images))
        return found

    def features(self, images: Tensor) -> Tensor:
        """Square images (n, 3, h, h) in [0, 1] → what the last layer takes, (n, 2 channels)."""
        # A length would be a plain number, which an ONNX file then holds for good; a shape stays open.
        places = torch.linspace(-1, 1, images.shape[-1], device=images.device).expand(
            images.shape[0], 1, *images.shape[2:]
        )
        seen = self.body(torch.cat([images - 0.5, places, places.transpose(2, 3)], 1))
        return torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], 1)


@dataclass(frozen=True, eq=False)
class FactorJudge:
    """Reads factors of pictures.

    >>> judge = FactorJudge(FactorNetwork(3).eval(), {"shape": ("star", "ring")}, ("fog",), size=32, name="demo")
    >>> judge.probabilities(torch.rand(4, 3, 32, 32))["shape"].shape
    torch.Size([4, 2])

    Args:
        network: gives the scores of every value of every named factor, then the measured numbers.
        factors: values of each named factor.
        measures: what the numbers after the scores are: strengths of nuisances in [0, 5], places and radii in half
            sides of the image.
        size: side of the images, pixels.
        name: shown in reports.
    """

    network: FactorNetwork
    factors: Mapping[str, tuple[str, ...]]
    measures: tuple[str, ...]
    size: int
    name: str

    def outputs(self, images: Tensor) -> Tensor:
        """Scores and measures, (n, outputs), of images (n, 3, size, size) in [0, 1].

        Raises:
            InputError: images of another shape, type, size or range.
        """
        return self._read(images, self.network)

    def features(self, images: Tensor) -> Tensor:
        """What the network sees before it answers, (n, width): the space in which sets of images are compared.

        Raises:
            InputError: images of another shape, type, size or range.
        """
        return self._read(images, self.network.features)

    def _read(self, images: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
        check_prepared(images, (self.size, self.size), name=self.name)
        device = self.network.head.weight.device
        with torch.no_grad():
            return torch.cat([read(part.to(device).float()) for part in images.split(_TOGETHER)])

    def probabilities(self, images: Tensor) -> dict[str, Tensor]:
        """Probability of each value of each factor, (n, k) by factor."""
        return {name: part.softmax(1) for name, part in zip(self.factors, self._scores(images), strict=True)}

    def answers(self, images: Tensor) -> dict[str, list[str]]:
        """The likeliest value of each factor of each image."""
        return {
            name: [self.factors[name][number] for number in part.argmax(1).tolist()]
            for name, part in zip(self.factors, self._scores(images), strict=True)
        }

    def measured(self, images: Tensor) -> dict[str, Tensor]:
        """Each measure of each image, (n,) by name."""
        numbers = self.outputs(images)[:, -len(self.measures) :] if self.measures else torch.zeros(len(images), 0)
        return dict(zip(self.measures, numbers.unbind(1), strict=True))

    def _scores(self, images: Tensor) -> list[Tensor]:
        counts = [len(values) for values in self.factors.values()]
        return list(self.outputs(images)[:, : sum(counts)].split(counts, 1))

    def classifier(self, factor: str) -> Classifier:
        """One factor as a classifier, to audit or to explain.

        Raises:
            UnknownNameError: a factor that is not judged.
        """
        if factor not in self.factors:
            raise unknown_name("factor", factor, self.factors)
        before = takewhile(lambda name: name != factor, self.factors)
        first = sum(len(self.factors[name]) for name in before)
        network = _Part(self.network, first, len(self.factors[factor]))
        preparation = Preprocessing(size=(self.size, self.size), resize="exact", resize_to=(self.size, self.size))
        return load_classifier(
            network,
            list(self.factors[factor]),
            preparation=preparation,
            output="logits",
            name=f"{self.name}, {factor}",
        )


class _Part(nn.Module):
    """Some of a network's outputs."""

    def __init__(self, network: nn.Module, first: int, count: int) -> None:
        super().__init__()
        self.network, self.first, self.count = network, first, count

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, h, w) → (n, count)."""
        found: Tensor = self.network(images)[:, self.first : self.first + self.count]
        return found


def load_judge(reference: str = "bundled:scene-judge", *, device: str = "cpu") -> FactorJudge:
    """Load a judge: ``bundled:scene-judge``, or ``artifact:FOLDER``.

    Raises:
        InputError: another reference, or an artifact that is no judge.
    """
    scheme, _, rest = reference.partition(":")
    if scheme not in ("bundled", "artifact") or not rest:
        raise InputError(f"a judge is bundled:scene-judge or artifact:FOLDER; got {reference!r}")
    folder = asset(rest) if scheme == "bundled" else Path(rest)
    artifact = Artifact.load(folder)
    if artifact.card.kind != "judge":
        raise InputError(f"{folder} holds a {artifact.card.kind}, not a judge")
    described = artifact.card.architecture
    factors = {str(name): tuple(values) for name, values in described["factors"].items()}
    measures = tuple(described["measures"])
    with torch.random.fork_rng(devices=[]):
        network = FactorNetwork(sum(map(len, factors.values())) + len(measures), described["layers"])
    load_strictly(network, artifact.tensors, source=str(folder / "weights.safetensors"))
    network = network.to(resolve_device(device)).eval().requires_grad_(False)
    return FactorJudge(network, factors, measures, int(described["size"]), reference)
