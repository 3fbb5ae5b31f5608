"""What a transfer study is made of: models cut at layers, and disjoint images for each purpose."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import Norm
from snellen.models.layers.split_classifier import PIXELS, SplitClassifier
from snellen.systems.representation_transfer.representation_attack import Split


@dataclass(frozen=True, eq=False)
class Pictures:
    """Prepared images (n, 3, h, w) in [0, 1], or tokens (n, t) of prompts, and labels (n,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Strength:
    """How strong the attacks of a study are.

    Attributes:
        norm: of every change.
        wanted: success on the source that every attack is calibrated to.
        steps: gradient steps.
        draws: random changes for the floor.
        start: first size that is tried in pixels, in [0, 1] units; in other layers, in units of the RMS activation.
        least_common: images that two models must both get right.
        evaluations: sizes that a calibration may try.
        factors: of the strength sweep, times the calibrated size.
        resamples: of the bootstrap.
        together: images of one pass of an attack; None: all of a part. Large models need few.
    """

    norm: Norm = "linf"
    wanted: float = 0.97
    steps: int = 20
    draws: int = 5
    start: float = 0.03
    hidden_start: float = 0.3
    least_common: int = 50
    evaluations: int = 12
    factors: tuple[float, ...] = (0.5, 1.0, 2.0)
    resamples: int = 1000
    together: int | None = None


@dataclass(frozen=True, eq=False)
class Data:
    """Disjoint images: for calibrating sizes, for fitting maps and universal tensors, and for measuring."""

    calibrate: Pictures
    fit: Pictures
    measure: Pictures

    def parts(self) -> Mapping[str, Pictures]:
        """By name."""
        return {"calibrate": self.calibrate, "fit": self.fit, "measure": self.measure}


class Cut:
    """A model cut at one layer, with the representations of the images of a study and what it makes of them.

    Args:
        split: the model.
        data: what it is shown.
        together: images of one pass; None: all of a part.

    Attributes:
        encoded: representations (n, ...) by part of the data; encoded once.
        decisions: classes (n,) by part, without any attack.
    """

    def __init__(self, split: Split, data: Data, *, together: int | None = None) -> None:
        self.split, self.together = split, together
        self.encoded, self.decisions = dict[str, Tensor](), dict[str, Tensor]()
        for name, part in data.parts().items():
            self._show(name, part)

    def measuring(self, pictures: Pictures) -> Cut:
        """The same cut with other images to measure on."""
        other = copy.copy(self)
        other.encoded, other.decisions = dict(self.encoded), dict(self.decisions)
        other._show("measure", pictures)
        return other

    @torch.no_grad()
    def _show(self, name: str, part: Pictures) -> None:
        batches = part.images.split(self.together or len(part.images))
        encoded = [self.split.encode(batch) for batch in batches]
        decided = [self.split.decode(one, batch).argmax(1) for one, batch in zip(encoded, batches, strict=True)]
        self.encoded[name], self.decisions[name] = torch.cat(encoded), torch.cat(decided)


@dataclass(frozen=True, eq=False)
class Study:
    """What is measured on, and how.

    Attributes:
        data: inputs and labels.
        strength: of the attacks.
        rng: of starts and directions.
    """

    data: Data
    strength: Strength
    rng: Randomness

    def correct(self, cut: Cut) -> Tensor:
        """Which of the measured images a model gets right without an attack: bool (n,)."""
        return cut.decisions["measure"] == self.data.measure.labels


@dataclass(frozen=True, eq=False)
class ImageStudy(Study):
    """Image classifiers.

    Attributes:
        models: by name; each trained on its own from its own initial weights, so that none descends from another.
        layers: hidden layers from the front, of equal shapes in all models.
    """

    models: Mapping[str, Classifier]
    layers: tuple[str, ...]

    def cuts(self, layer: str) -> dict[str, Cut]:
        """Every model cut at a layer (``pixels`` for the images themselves)."""
        examples = self.data.measure.images
        together = self.strength.together
        return {
            name: Cut(SplitClassifier(model, layer, examples), self.data, together=together)
            for name, model in self.models.items()
        }

    @property
    def depths(self) -> tuple[str, ...]:
        """Pixels (layer 0) and the hidden layers."""
        return (PIXELS, *self.layers)
