"""Further images of every arm: as many as the batch has, with the labels of their source images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.attacks import PGD
from snellen.core.classifier import Classifier
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.methods.attacks.in_training import lent
from snellen.reproduction.natural_transformations.materials import Factors, draw_images, relit
from snellen.systems.natural_transformations.directions import layer_ranges
from snellen.systems.natural_transformations.edits import EditedImages, Extra, Supply
from snellen.systems.natural_transformations.inversion import render
from snellen.training.batches import Batch
from snellen.training.objectives import cross_entropy
from snellen.training.transforms import BatchTransform, colour_jitter

#: Brightness, contrast, saturation and hue: the hue may become any other.
JITTER = colour_jitter(0.4, 0.4, 0.4, 0.5)

#: Largest change of PGD training, and its steps.
EPSILON, STEPS = 4 / 255, 3


def unchanged(model: nn.Module, batch: Batch, reached: float) -> Extra:
    """The images once more: the standard training, with as many images in a step."""
    return Extra(batch.images, torch.arange(len(batch.images)))


def transformed(transform: BatchTransform) -> Supply:
    """Images under an augmentation."""

    def supply(model: nn.Module, batch: Batch, reached: float) -> Extra:
        changed, _ = transform(batch.images, batch.targets, batch.rng.child("further images"))
        return Extra(changed, torch.arange(len(changed)))

    return supply


@dataclass(frozen=True, eq=False)
class Drawn:
    """Images of another set, drawn at random, each with the label that it has there.

    Args:
        images: uint8 (n, 3, h, w).
        labels: int64 (n,): pseudo-labels of a classifier, or true ones.
    """

    images: Tensor
    labels: Tensor

    def __call__(self, model: nn.Module, batch: Batch, reached: float) -> Extra:
        """Draw as many as the batch has."""
        rows = batch.rng.child("other images").integers("row", (), 0, len(self.images))
        return Extra(to_unit(self.images[rows]), torch.arange(len(batch.images)), self.labels[rows])


@torch.no_grad()
def pseudo_labelled(network: nn.Module, images: Tensor) -> Drawn:
    """Unlabelled images with the classes that a trained classifier decides: uint8 (n, 3, h, w)."""
    return Drawn(images, torch.cat([network(to_unit(part)).argmax(1) for part in images.split(256)]))


@dataclass(frozen=True, eq=False)
class Redrawn:
    """Training images drawn again by the renderer under any light and in any hue: what perfect edits would be.

    It knows the factors, so it bounds what edits can reach, and is no rival.

    Args:
        factors: of all training images.
    """

    factors: Factors

    def __call__(self, model: nn.Module, batch: Batch, reached: float) -> Extra:
        """Draw all of them."""
        rng = batch.rng.child("redrawn")
        changed = relit(self.factors[batch.positions], rng.uniform("light", ()), rng.uniform("hue", ()))
        return Extra(to_unit(draw_images(changed, batch.images.shape[-1])), torch.arange(len(batch.images)))


@dataclass(frozen=True)
class Attacked:
    """Images that PGD attacks on the classifier as it is.

    Args:
        class_count: k.
    """

    class_count: int

    def __call__(self, model: nn.Module, batch: Batch, reached: float) -> Extra:
        """Attack all of them."""
        names = [str(number) for number in range(self.class_count)]
        with lent(model) as still:
            judged = Classifier(still, class_names=names, device=batch.images.device)
            made = PGD(epsilon=EPSILON, steps=STEPS).attack(judged, batch.images, batch.targets, rng=batch.rng)
        return Extra(made.images.detach(), torch.arange(len(batch.images)))


@dataclass(frozen=True, eq=False)
class FromCodes:
    """Images made of the codes of a batch in another way than along directions; images without codes have none.

    Args:
        edits: those of the system, for its generator and codes.
        make: (edits, rows of codes, rng, model, labels, share of ε) → images.
    """

    edits: EditedImages
    make: Callable[[EditedImages, Tensor, Randomness, nn.Module, Tensor, float], Tensor]

    def __call__(self, model: nn.Module, batch: Batch, reached: float) -> Extra:
        """Make them."""
        rows = (self.edits.place[batch.positions] >= 0).nonzero().flatten()
        codes = self.edits.place[batch.positions[rows]]
        with lent(model) as still, torch.no_grad():
            made = self.make(self.edits, codes, batch.rng[rows].child("codes"), still, batch.targets[rows], reached)
        return Extra(made, rows)


def reconstructed(
    edits: EditedImages, rows: Tensor, rng: Randomness, model: nn.Module, labels: Tensor, reached: float
) -> Tensor:
    """Reconstructions, where t = 0: what inversion alone does to a training."""
    return render(edits.generator, edits.codes[rows])


def noised(
    edits: EditedImages, rows: Tensor, rng: Randomness, model: nn.Module, labels: Tensor, reached: float
) -> Tensor:
    """Gaussian noise on all codes, with the mean square of a random edit."""
    shape = edits.codes.values.shape[2:]
    moved = min(edits.together, len(edits.directions))
    lengths = moved * (edits.directions.deviations.square() * edits.directions.vectors.square().sum((1, 2))).mean()
    drawn = rng.normal("noise", shape, like=edits.codes.values)
    size = edits.epsilon * reached * (lengths / 3 / drawn[0].numel()).sqrt()
    return render(edits.generator, edits.codes[rows], drawn * size)


def mixed(
    edits: EditedImages, rows: Tensor, rng: Randomness, model: nn.Module, labels: Tensor, reached: float
) -> Tensor:
    """AdvMix type (Gowal et al., CVPR 2020): layers above the coarse ones get codes of another image, the hardest of q.

    ε rises alike: in the beginning codes move a part of the way to those of the other image.
    """
    generator, own = edits.generator, edits.codes[rows]
    coarse = layer_ranges(generator.layers)["coarse"].stop
    candidates = list[Tensor]()
    for number in range(edits.draws):
        partner = edits.codes[rng.integers(f"partner {number}", (), 0, len(edits.codes))].mean
        shift = reached * (partner - own.mean)
        shift[:, :coarse] = 0
        candidates.append(render(generator, own, shift))
    losses = torch.stack([cross_entropy(model(one).float(), labels) for one in candidates])
    return torch.stack(candidates)[losses.argmax(0), torch.arange(len(rows))]
