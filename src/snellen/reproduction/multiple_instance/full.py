"""The paper's experiments on a GPU: bags of CIFAR-10 with a ResNet-18 trained end to end, and features of CAMELYON16.

Everything comes by reference, from environment variables, and nothing is downloaded. Estimated from numbers of steps
and not measured: 12 ways at two learning rates and five shares on CIFAR-10, half an hour to an hour each, 80 hours and
4 GB of a GPU; CAMELYON16 at 10 times, about a million tiles, 6 hours to encode once and 20 for the ways. Images of
CIFAR-10 take 3 KB of memory each, tiles of slides are read one batch at a time, and their vectors take 2 KB each in
files and 4 KB of memory. The paper's tables were not at hand, so no claim has its numbers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from snellen.core.errors import InputError, import_extra
from snellen.core.images import ImageSet, Split
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.models.encoders.feature_store import frozen_features
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.head_on_encoder import Standardise
from snellen.models.encoders.references import load_encoder
from snellen.reproduction.multiple_instance.materials import SIDE, Sizes, bags_of, material, positives_at, task_at
from snellen.reproduction.multiple_instance.ways import ABLATIONS, RIVALS, Budget, Task, compared, measured
from snellen.reproduction.sample import Figure
from snellen.systems.multiple_instance.bag_instances import BagInstances
from snellen.systems.multiple_instance.feature_views import feature_views
from snellen.systems.multiple_instance.image_instances import ImageEncoder, image_views
from snellen.systems.multiple_instance.instance_training import PLAN
from snellen.systems.multiple_instance.settings import InstanceSettings

CIFAR, CAMELYON, ENCODER, FOLDER = (f"SNELLEN_INS_{name}" for name in ("CIFAR10", "CAMELYON16", "ENCODER", "FOLDER"))

#: Optional: weights of torchvision's ResNet-18 as safetensors, without which it begins from random ones.
WEIGHTS = "SNELLEN_INS_WEIGHTS"

#: Of the bags of CIFAR-10.
POSITIVE, SHARES, SHOWN = "truck", (0.05, 0.1, 0.2, 0.5, 0.7), 100

#: Mean and deviation of ImageNet's colours.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ResNetTrunk(nn.Module):
    """ResNet-18 without its last layer: images (n, 3, h, w) in [0, 1] → vectors (n, 512).

    Raises:
        InputError: weights that do not fit.
        MissingExtraError: torchvision is not installed.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, weights: str | None) -> None:
        super().__init__()
        self.network = import_extra("torchvision.models", "models", "a ResNet-18").resnet18(weights=None)
        if weights:
            from safetensors.torch import load_file

            try:
                self.network.load_state_dict(load_file(weights))
            except RuntimeError as error:
                raise InputError(f"{weights} are no weights of torchvision's resnet18: {error}") from error
        self.network.fc = nn.Identity()
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Means of the last maps."""
        vectors: torch.Tensor = self.network((images - self.mean) / self.deviation)
        return vectors


def _budget(settings: InstanceSettings, epochs: int, looks: int, **further: object) -> Budget:
    """SGD for every way, one bag a step for heads on bags, and each instance as often."""
    return Budget(
        settings=settings,
        instance_plan=PLAN.model_copy(update={"epochs": epochs}),
        label_plan=PLAN.model_copy(update={"epochs": looks}),
        bag_plan=PLAN.model_copy(update={"epochs": looks, "batch_size": 1}),
        rates=(0.001, 0.01),
        device="cuda" if torch.cuda.is_available() else "cpu",
        **further,  # type: ignore[arg-type]
    )


def cifar_budget() -> Budget:
    """As the published scripts have it: 80 epochs, 15 of them the warm-up, whole bags from the 31st."""
    return _budget(
        InstanceSettings(warmup_epochs=15, bags_from=31), 80, 122, width=512, views=image_views(SIDE),
        encoder=lambda: ImageEncoder(ResNetTrunk(os.environ.get(WEIGHTS)), SIDE),
    )  # fmt: skip


def camelyon_budget() -> Budget:
    """As the published scripts have it for features: 150 epochs, 20 of them the warm-up."""
    return _budget(InstanceSettings(), 150, 261, width=512, views=feature_views(noise=0.2, hidden=0.2))


def full(
    seed: int,
    progress: Progress,
    *,
    cifar: Budget | None = None,
    camelyon: Budget | None = None,
    shares: Sequence[float] = SHARES,
    shown: int = SHOWN,
) -> Mapping[str, Figure]:
    """AUROC of instances and bags, ``cifar.PERCENT.WAY.FIGURE`` and ``camelyon.WAY.FIGURE``, and the best attending.

    Args:
        seed: of bags, weights, order and views.
        progress: callback that receives progress updates.
        cifar: numbers of the trainings on CIFAR-10, in place of the published ones.
        camelyon: numbers of the trainings on CAMELYON16, likewise.
        shares: of positive instances in positive bags of CIFAR-10.
        shown: instances of such a bag.

    Raises:
        InputError: a variable is not set, or what it names does not fit.
    """
    absent = [name for name in (CIFAR, CAMELYON, ENCODER, FOLDER) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}. {CIFAR} names the labelled images of CIFAR-10 with "
            f"the splits "
            f"train and test. {CAMELYON} names the slides with their tiles "
            f"('slides:FOLDER?tile=224&mpp=1.0&classes=normal,tumor', with NAME.tiles.parquet beside tumour slides). "
            f"{ENCODER} names the encoder of tiles (hf:FOLDER), and {FOLDER} a folder for their vectors. {WEIGHTS} may "
            f"name ResNet-18's weights of ImageNet (safetensors)"
        )
    rng = Randomness(seed)
    figures: dict[str, float] = {}
    images, numbers = load_images(os.environ[CIFAR]), cifar or cifar_budget()
    for share in shares:
        percent, ablated = f"{round(100 * share)}", share == min(shares, key=lambda one: abs(one - 0.1))
        task = cifar_task(images, share, shown, seed, progress)
        figures |= _measured(f"cifar.{percent}", task, numbers, rng.child("cifar", percent), progress, ablated)
    encoder = load_encoder(os.environ[ENCODER], device="cuda" if torch.cuda.is_available() else "cpu")
    task = camelyon_task(load_images(os.environ[CAMELYON]), encoder, Path(os.environ[FOLDER]), seed, progress)
    return figures | _measured("camelyon", task, camelyon or camelyon_budget(), rng.child("camelyon"), progress, True)


def _measured(
    name: str, task: Task, budget: Budget, rng: Randomness, progress: Progress, ablated: bool
) -> dict[str, float]:
    figures: dict[str, float] = {}
    ways = ("ins", *RIVALS, *((*ABLATIONS, "oracle") if ablated else ()))
    for way in ways:
        rates = (figures[f"{name}.ins.learning_rate"],) if way in ABLATIONS else None
        found = measured(way, task, budget, rng, progress, rates=rates)
        figures |= {f"{name}.{way}.{one}": value for one, value in found.items()}
    return figures | compared({way: figures[f"{name}.{way}.instance_auroc"] for way in ways}, name)


def cifar_task(images: ImageSet, share: float, shown: int, seed: int, progress: Progress) -> Task:
    """Bags of one share, as many as the images last for, each image once; a fifth of the training bags choose.

    Raises:
        InputError: too few images for two bags of each split.
    """
    splits = np.asarray(images.column("split"))
    parts = {one: images.select(np.flatnonzero(splits == one)) for one in ("train", "test")}
    wanted = positives_at(share, shown)
    pairs = {}
    for split, part in parts.items():
        positive = int((part.labels == [name.lower() for name in part.class_names or ()].index(POSITIVE)).sum())
        pairs[split] = min(positive // wanted, (len(part) - positive) // (2 * shown - wanted))
    held_out = max(1, pairs["train"] // 5)
    if pairs["train"] < 2 or not pairs["test"]:
        raise InputError(
            f"{images.name} lasts for {pairs['train']} pairs of training bags and {pairs['test']} of test bags, with "
            f"{wanted} of {shown} positive. Expected 2 and 1 or more: CIFAR-10 with its splits train and test"
        )
    sizes = Sizes(
        train=2 * (pairs["train"] - held_out), val=2 * held_out, test=2 * pairs["test"], shown=shown, rates=(share,)
    )
    named: tuple[Split, ...] = ("train", "val", "test")
    held = {
        split: material(
            bags_of(parts["test" if split == "test" else "train"], POSITIVE, split, sizes, seed), sizes, progress
        )
        for split in named
    }
    return task_at(share, held)


def camelyon_task(images: ImageSet, encoder: FrozenEncoder, folder: Path, seed: int, progress: Progress) -> Task:
    """Vectors of all tiles, standardised by those of the training slides; a fifth of these slides choose.

    Raises:
        InputError: no train or test split, too few slides of a label, or test tiles without their truth.
    """
    splits = np.asarray(images.column("split"))
    made: dict[str, BagInstances] = {}
    truth: dict[str, NDArray[np.int64]] = {}
    for split in ("train", "test"):
        part = images.select(np.flatnonzero(splits == split))
        if not len(part):
            raise InputError(f"{images.name} has no slides of the split {split!r}; expected the splits train and test")
        vectors = frozen_features(part.unlabelled(), encoder, folder=folder / split, progress=progress)
        made[split] = BagInstances.of(part, vectors)
        # Tiles of a negative slide are negative, whether a file says so or not.
        truth[split] = np.where(made[split].instance_labels.numpy() == 0, 0, part.labels[vectors.positions])
        if (truth[split] < 0).any():
            raise InputError(
                f"{int((truth[split] < 0).sum())} tiles of the {split} split have no truth, which the oracle and the "
                f"AUROC of instances need; lay NAME.tiles.parquet beside each tumour slide"
            )
    chosen = np.isin(made["train"].of_bag.numpy(), _fifth(made["train"].labels.numpy(), seed))
    train, val = _part(made["train"], ~chosen), _part(made["train"], chosen)
    standardise = Standardise(train.inputs.shape[1])
    standardise.fit(train.inputs)
    figures = standardise.mean, standardise.deviation
    return Task(
        instances=train.standardised(*figures),
        val=val.standardised(*figures),
        test=made["test"].standardised(*figures),
        train_truth=truth["train"][~chosen],
        test_truth=truth["test"],
    )


def _fifth(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Numbers of a fifth of the bags of each label, at least one.

    Raises:
        InputError: fewer than two of a label.
    """
    chosen = list[NDArray[np.int64]]()
    for label in (0, 1):
        found = np.random.default_rng([seed, label]).permutation(np.flatnonzero(labels == label))
        if len(found) < 2:
            raise InputError(f"{len(found)} training slides of label {label}; expected 2 or more, to hold one out")
        chosen.append(found[: max(1, len(found) // 5)])
    return np.concatenate(chosen)


def _part(bags: BagInstances, kept: NDArray[np.bool_]) -> BagInstances:
    """The bags of these instances, numbered anew."""
    rows = torch.from_numpy(np.flatnonzero(kept))
    old, of_bag = torch.unique(bags.of_bag[rows], return_inverse=True)
    return replace(
        bags,
        inputs=bags.inputs[rows],
        of_bag=of_bag,
        labels=bags.labels[old],
        ids=tuple(bags.ids[row] for row in rows.tolist()),
        bag_ids=tuple(bags.bag_ids[bag] for bag in old.tolist()),
    )
