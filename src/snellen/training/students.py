"""Students: one fixed recipe for every point of every curve, whether its images are real, synthetic or both.

The schedule is part of the recipe and the same for all: a constant number of *updates*, or of *epochs*. The two give
different exponents, and the record says which was used. Losses are measured on one evaluation set for all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.class_balance import mixture_weights, synthetic
from snellen.metrics.class_subset import Groups, restricted
from snellen.models.classifiers.artifact_models import architecture_of
from snellen.models.classifiers.timm_models import pooled_layer
from snellen.training.batches import Examples, ImageStore
from snellen.training.evaluation import score_examples
from snellen.training.fitting.groundwork import initial_network
from snellen.training.loop import train
from snellen.training.objectives import cross_entropy, on_scores
from snellen.training.parts import Chosen, Labelled, StreamedImages, Together
from snellen.training.plan import Optimizer, TrainingPlan
from snellen.training.plan import Schedule as Course
from snellen.training.repeated import Repeated
from snellen.training.transforms import BatchTransform, in_sequence, random_flips, random_resized_crops

Schedule = Literal["updates", "epochs"]

Floats = NDArray[np.float64]

#: The most pixels of one set that are kept in memory, bytes.
MOST_BYTES = 2**31


class StudentPlan(BaseModel):
    """The recipe of all students.

    Attributes:
        architecture: ``fashion_cnn`` or ``timm:NAME``.
        side: height and width of the images, pixels.
        schedule: what is constant over the sizes.
        amount: so many updates, or epochs.
        batch_size: images of an update.
        learning_rate: peak.
        weight_decay: of weights, not of normalisation parameters.
        optimizer: ``adamw``, or ``sgd`` with Nesterov momentum.
        course: of the learning rate after the warm-up.
        warmup: share of the updates in which the learning rate rises.
        label_smoothing: share of a label that is spread over the classes.
        crops: whether training images are cropped and mirrored at random.
        widths: channels of the stages of ``fashion_cnn``; None: its own.
        real_share: share of the real images of a mixture in the loss; None: every image counts the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = "fashion_cnn"
    side: int = Field(32, ge=8)
    schedule: Schedule = "updates"
    amount: int = Field(300, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    optimizer: Optimizer = "adamw"
    course: Course = "cosine"
    warmup: float = Field(0.0, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    crops: bool = False
    widths: tuple[int, int, int] | None = None
    real_share: float | None = Field(None, ge=0, le=1)

    @property
    def preparation(self) -> Preprocessing:
        """From a decoded image to what a student takes."""
        return Preprocessing(size=(self.side, self.side), resize="shorter", resize_to=(self.side, self.side))

    def updates(self, examples: int) -> int:
        """Updates of a training on so many examples.

        >>> StudentPlan(schedule="epochs", amount=3, batch_size=64).updates(100)
        6
        """
        return self.amount if self.schedule == "updates" else self.amount * math.ceil(examples / self.batch_size)

    def training(self, seed: int, examples: int) -> TrainingPlan:
        """The numbers of the loop. Under ``updates`` a set of any size is one epoch of as many repeated examples."""
        return TrainingPlan(
            epochs=1 if self.schedule == "updates" else self.amount,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule=self.course,
            warmup_steps=round(self.warmup * self.updates(examples)),
            clip_norm=1.0,
            seed=seed,
        )

    def examples(self, store: Examples) -> Examples:
        """What the loop reads of a set of any size."""
        return Repeated(store, self.amount * self.batch_size) if self.schedule == "updates" else store


def store_of(images: ImageSet, plan: StudentPlan) -> Labelled:
    """Images in memory, each decoded once, for all students that train on a part of them.

    A set of more than :data:`MOST_BYTES` is read from its files whenever training needs an image.
    """
    if len(images) * 3 * plan.side**2 > MOST_BYTES:
        return StreamedImages(images, plan.preparation)
    return ImageStore.of_images(images, plan.preparation)


def store_to_measure(images: ImageSet, plan: StudentPlan, *, preparation: Preprocessing | None = None) -> Labelled:
    """Images that are measured on, test images too; the loop refuses to train on what is read here.

    Args:
        images: of any split.
        plan: says how images are prepared.
        preparation: of another model than a student.
    """
    known = [name for name in ("split",) if name in images.table.column_names]
    plain = replace(images, table=images.table.drop_columns(known), split=None)
    store = store_of(plain, plan) if preparation is None else ImageStore.of_images(plain, preparation)
    return replace(store, split="test") if isinstance(store, ImageStore) else store


def part(store: Labelled, ids: Sequence[str]) -> Chosen:
    """Some examples of a store; ids of images that could not be read are left out.

    Raises:
        InputError: none of them is there.
    """
    places = {one: row for row, one in enumerate(store.ids)}
    return Chosen(store, torch.tensor([places[one] for one in ids if one in places], dtype=torch.int64))


def mixed(real: Labelled | None, made: Labelled | None, real_share: float | None) -> Together:
    """Real and synthetic examples together; weights give the real ones their share of the loss.

    Raises:
        InputError: neither.
    """
    kinds = {name: one for name, one in (("real", real), ("synthetic", made)) if one is not None}
    if not kinds:
        raise InputError("a student needs real or synthetic images")
    flags = np.repeat([name == "synthetic" for name in kinds], [len(one) for one in kinds.values()])
    return Together(kinds, torch.from_numpy(mixture_weights(flags, real_share)).to(torch.float32))


def train_student(
    store: Examples,
    plan: StudentPlan,
    classes: int,
    seed: int,
    stream: str = "student",
    *,
    transform: BatchTransform | None = None,
) -> nn.Module:
    """A network from scratch, in evaluation mode. Equal arguments give equal weights.

    Args:
        store: what it is trained on.
        plan: the recipe.
        classes: number of classes.
        seed: of initial weights and order.
        stream: keeps the draws of students and of the scorer apart.
        transform: augmentation of each batch.
    """
    rng = Randomness(seed).child("scaling laws", stream)
    widths = {} if plan.widths is None else {"widths": list(plan.widths)}
    network = initial_network({**architecture_of(plan.architecture, classes, plan.side), **widths}, rng)
    order = rng.generator("training").initial_seed() % 2**31
    changes = [*([random_resized_crops(), random_flips] if plan.crops else []), *([transform] if transform else [])]
    trained = train(
        network,
        plan.examples(store),
        plan=plan.training(order, len(store.ids)),
        objective=on_scores(partial(cross_entropy, label_smoothing=plan.label_smoothing)),
        transform=in_sequence(*changes) if len(changes) > 1 else changes[0] if changes else None,
    )
    network.load_state_dict(dict(trained.weights))
    # Where it was trained, it is measured.
    return network.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def seconds_of_students(store: Labelled, plan: StudentPlan, classes: int, sizes: Sequence[int], tested: int) -> float:
    """Seconds of this machine for students of so many images each, by a few updates of one and a few test images.

    Args:
        store: any images of the right size.
        plan: the recipe.
        classes: number of classes.
        sizes: images that each student trains on.
        tested: test images that each student decides on.
    """
    few, more = 2, 6
    clock = [time.perf_counter()]
    for updates in (few, more):
        short = plan.model_copy(update={"schedule": "updates", "amount": updates})
        network = train_student(store, short, classes, 0)
        clock.append(time.perf_counter())
    measured(network, store)
    clock.append(time.perf_counter())
    first, last, test = np.diff(clock).tolist()
    update = max(last - first, 0.0) / (more - few)
    passes = [math.ceil(size / plan.batch_size) if plan.schedule == "epochs" else 1 for size in sizes]
    once = max(first - few * update, 0.0) + tested * test / len(store)
    return update * plan.amount * sum(passes) + once * len(sizes)


def as_classifier(network: nn.Module, plan: StudentPlan, class_names: Sequence[str], name: str) -> Classifier:
    """A network as a classifier whose features are known."""
    kind = plan.architecture.partition(":")[0]
    # A transformer of timm has its features elsewhere than a convolutional network.
    layer = pooled_layer(network) if kind == "timm" else index.architectures()[kind].feature_layer
    return Classifier(network, class_names=class_names, preparation=plan.preparation, feature_layer=layer, name=name)


@dataclass(frozen=True, eq=False)
class StudentResult:
    """What a student does on one test set.

    Attributes:
        losses: cross-entropy of each image, nats, float64 (n,).
        right: whether each decision is right, bool (n,).
        targets: classes, int64 (n,).
    """

    losses: Floats
    right: NDArray[np.bool_]
    targets: NDArray[np.int64]


def measured(
    network: nn.Module, test: Examples, *, groups: Groups | None = None, mirrored: bool = False
) -> StudentResult:
    """Score a test set; scores are computed once for loss, accuracy and classes.

    Args:
        network: in evaluation mode.
        test: what is scored.
        groups: the classes of the test set among those of the network, where it has a part of them
            (:func:`snellen.metrics.class_subset.shared_classes`); all others are no answer.
        mirrored: add the scores of each image mirrored: for all models that are compared, or for none.
    """
    scores, targets = score_examples(network, test, mirrored=mirrored)
    scores = scores if groups is None else restricted(scores, groups)
    losses: Tensor = cross_entropy(scores, targets)
    return StudentResult(
        losses.double().numpy(), (scores.argmax(1) == targets).numpy(), targets.numpy().astype(np.int64)
    )


def on_all_tests(network: nn.Module, tests: Mapping[str, Examples]) -> dict[str, StudentResult]:
    """The same network on every test set: in distribution and shifted."""
    return {name: measured(network, store) for name, store in tests.items()}


def check_real(images: ImageSet, what: str) -> None:
    """Refuse generated images where real ones are meant.

    Raises:
        InputError: as above.
    """
    flags = synthetic(images)
    if flags.any():
        raise InputError(f"{what} is of real images, and {int(flags.sum())} of {images.name} were generated or edited")
