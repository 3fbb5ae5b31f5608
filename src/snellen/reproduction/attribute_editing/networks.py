"""The classifiers whose drops are measured: three families, augmented and not, with a shortcut and without one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.reproduction.attribute_editing.materials import CLASSES, CORRELATION, Shown
from snellen.reproduction.shared.small_networks import Family, small_network
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform, in_sequence, random_flips

#: Least and largest scale of the augmentation.
SCALES = (0.5, 1.3)


@dataclass(frozen=True)
class Arm:
    """One classifier.

    Attributes:
        family: of its network.
        augmented: trained on crops, flips and scales.
        correlation: of class and background in its training images.
        longer: how many times as long as the plain one it is trained, so that all are right on unedited images.
    """

    family: Family
    augmented: bool = False
    correlation: float = CORRELATION
    longer: float = 1.0


#: Trained in the experiment; the first one is what the adversarial background misleads.
ARMS: dict[str, Arm] = {
    "plain": Arm("plain"),
    "augmented": Arm("plain", augmented=True, longer=3.0),
    "grouped": Arm("grouped_residual"),
    "dense": Arm("densely_connected", longer=1.5),
    "unbiased": Arm("plain", correlation=1 / len(CLASSES)),
}


def scaled_and_cropped(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
    """Every image scaled by a factor of its own and cut or padded at a place of its own; edges are repeated."""
    drawn = rng.uniform("scale and place", (3,), like=images)
    factor = SCALES[0] * (SCALES[1] / SCALES[0]) ** drawn[:, 0]
    # Where the middle of the image goes: as far as it can without the middle half leaving the picture.
    reach = (1 - 0.5 * factor).clamp(min=0)
    places = (drawn[:, 1:] * 2 - 1) * reach[:, None]
    matrix = torch.zeros(len(images), 2, 3, device=images.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / factor
    matrix[:, :, 2] = -places / factor[:, None]
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False), targets


def trained(name: str, shown: Shown, seed: int, epochs: int, progress: Progress) -> Classifier:
    """Train one of :data:`ARMS` on images that fit it."""
    arm = ARMS[name]
    rng = Randomness(seed).child("attribute editing", name)
    with seeded(rng.generator("first weights").initial_seed(), torch.device("cpu")):
        network = small_network(arm.family, len(CLASSES))
    transform: BatchTransform | None = in_sequence(scaled_and_cropped, random_flips) if arm.augmented else None
    made = train(
        network,
        ImageStore.of_tensors((shown.images * 255).round().byte(), shown.labels, split="train"),
        plan=TrainingPlan(
            epochs=epochs, batch_size=min(64, len(shown.labels)), learning_rate=3e-3, drop_last=True, seed=seed
        ),
        transform=transform,
        progress=progress,
    )
    network.load_state_dict(dict(made.weights))
    side = shown.images.shape[-1]
    return Classifier(
        network.eval(), class_names=list(CLASSES), preparation=Preprocessing(size=(side, side)), name=name
    )
