"""Train a U-Net that decides each pixel, upsampled by large context transposed convolutions (LCTC, arXiv 2311.17524).

Everything but upsampling is the same for every ``kind``: initial weights, order and numbers of the training. The last
epoch is kept, and no attacked score chooses anything.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from snellen.attacks import PGD
from snellen.core.artifact import Artifact, Card, rounded
from snellen.core.classifier import Classifier
from snellen.core.criterion import VOID
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Need, missing_needs
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.methods.attacks.in_training import lent
from snellen.methods.attacks.pixel_search import pixel_losses
from snellen.metrics.segmentation import segmentation_figures
from snellen.models.classifiers.artifact_models import untrained
from snellen.models.segmenters.pixel_maps import Masks
from snellen.systems.context_upsampling.examining import examine, standard_attacks, upsampling_artifacts
from snellen.systems.context_upsampling.pixel_labels import pixel_store
from snellen.systems.context_upsampling.spectra import LEAST_SCORED
from snellen.systems.context_upsampling.upsampling import Initial, Kind, margins
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.fitting.frame import FittedMethod, Fitting, laid_over
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Rate and decay are larger than published (1e-4 both, for a pretrained encoder): this network starts from nothing.
PLAN = TrainingPlan(epochs=20, batch_size=16, learning_rate=3e-3, weight_decay=1e-2, channels_last=True, drop_last=True)

#: Images that are attacked for the figures of a card, and those of one batch of clean ones.
_ATTACKED, _TOGETHER = 100, 256


def pixel_cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy over the pixels of each image whose class is known: (n,)."""
    return _mean_losses(model(batch.images), batch.targets)


def _mean_losses(scores: Tensor, labels: Tensor) -> Tensor:
    known = (labels != VOID).flatten(1).sum(1).clamp(min=1)
    return pixel_losses(scores, labels).flatten(1).sum(1) / known


class HalfAttacked:
    """The same loss where every second image of a batch was attacked: adversarial training with few steps.

    Args:
        class_count: k.
        steps: of PGD; 1 or 3 are published.
        epsilon: largest change, in [0, 1].
    """

    def __init__(self, class_count: int, *, steps: int, epsilon: float) -> None:
        self.class_names = [str(number) for number in range(class_count)]
        self.attack = PGD(steps=steps, epsilon=epsilon)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,); the model's modes and gradients are those of before."""
        rows = torch.arange(0, len(batch.images), 2)
        with lent(model) as still:
            judged = Classifier(still, class_names=self.class_names, task="segment", device=batch.images.device)
            made = self.attack.attack(judged, batch.images[rows], batch.targets[rows], rng=batch.rng[rows]).images
        images = batch.images.clone()
        images[rows] = made
        return _mean_losses(model(images), batch.targets)


class ContextUpsampling(FittedMethod):
    """Train a U-Net with large context upsampling on images with masks, and measure it clean and under attack.

    Images of a split "val" give the figures of the card: mean overlap (mIoU) of all of them clean, of at most 100 that
    chance draws under FGSM, PGD, SegPGD and CosPGD, and the artifact score of each upsampling layer. Nothing is chosen
    by them.

    >>> ContextUpsampling(kernels=(7, 11)).kernels
    (7, 11)
    """

    name: ClassVar[str] = "context_upsampling"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "masks"})

    mask_values: Masks = Field(
        "object",
        description="what masks hold: object: the object of the image's class, the rest is background; class: the "
        "number of a class in each pixel of a grey file, 255 where none is known",
    )
    classes: tuple[str, ...] = Field((), description="names of the classes 0, 1, … of masks that hold classes")
    kind: Kind = Field("lctc", description="way of upsampling; all others are for comparison")
    kernels: tuple[int, ...] = Field(
        (7,), description="side of the large kernels, 2 or odd up to 31; several: one for each step, the coarsest first"
    )
    small_kernel: int | None = Field(3, description="side of the parallel small path; none: no small path")
    initial: Initial = Field("default", description="initial weights of the kernels; default: PyTorch's, as published")
    decoder_kernel: int | None = Field(
        None, description="side of large kernels in the decoder's blocks, the control H2; none: ordinary blocks"
    )
    widths: tuple[int, ...] = Field((16, 32, 64), description="channels of each level, the finest first, doubling")
    side: int = Field(64, ge=16, description="images are scaled and cropped to side × side pixels")
    adversarial_steps: int = Field(
        0, ge=0, description="steps of PGD on half of each batch (adversarial training); 0: none, 1 or 3 are published"
    )
    epsilon: float = Field(8 / 255, gt=0, le=1, description="largest change in adversarial training, in [0, 1]")
    attack_steps: int = Field(10, ge=1, description="steps of the attacks that the val images are measured under")
    plan: Annotated[TrainingPlan, laid_over(PLAN)] = Field(
        PLAN, description="numbers of the training; those that a mapping leaves out are the usual ones"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for kernel in (*self.kernels, *([] if self.small_kernel is None else [self.small_kernel])):
            margins(kernel)
        if self.kind == "lctc" and self.small_kernel is not None and self.small_kernel > min(self.kernels, default=0):
            raise InputError(
                f"small_kernel {self.small_kernel} is larger than the smallest of kernels {list(self.kernels)}; use "
                f"larger kernels, or no small path"
            )
        if self.kind == "lctc" and self.initial != "default" and 2 in self.kernels:
            raise InputError(f"initial={self.initial} interpolates, which a kernel of side 2 cannot; use 3 or more")
        if len(self.widths) < 2 or self.widths[0] < 1 or any(b != 2 * a for a, b in pairwise(self.widths)):
            raise InputError(
                f"widths {list(self.widths)} do not double from level to level; give two or more, such as 16, 32, 64"
            )
        if len(self.kernels) not in (1, len(self.widths) - 1):
            raise InputError(
                f"{len(self.kernels)} kernels for {len(self.widths) - 1} steps of upsampling; give one, or one for each"
            )
        if self.mask_values == "class" and len(set(self.classes)) < 2:
            raise InputError("mask_values=class needs the names of two classes or more: classes")
        if self.mask_values == "object" and self.classes:
            raise InputError("classes belong to mask_values=class; with mask_values=object images bring their own")
        if self.decoder_kernel is not None and (self.decoder_kernel % 2 == 0 or self.decoder_kernel < 3):
            raise InputError(f"kernels of a decoder have an odd side of at least 3; got {self.decoder_kernel}")
        return self

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: no masks, or no labels where masks are those of objects."""
        needs = self.needs - ({"labels"} if self.mask_values == "class" else set())
        return missing_needs(needs, classifier, images)

    def fitted(self, fitting: Fitting) -> Artifact:
        """Train, and measure on the images of the split "val".

        Raises:
            InputError: no usable image, or a base: training starts from nothing.
        """
        data = fitting.data
        names = self.classes or ("background", *(data.class_names or ()))
        preparation = Preprocessing(size=(self.side, self.side), resize="shorter", resize_to=(self.side, self.side))
        has_val = "val" in data.column("split")

        def store(images: ImageSet) -> ImageStore:
            return pixel_store(
                images, preparation, masks=self.mask_values, class_count=len(names), progress=fitting.progress
            )

        examples = store(data.of_split("train") if has_val else data)
        val = store(data.of_split("val")) if has_val else None
        _report_rejected({**examples.rejected, **({} if val is None else val.rejected)})
        if val is not None and not bool((val.targets != VOID).any()):
            raise InputError("no pixel of the val images has a known class: nothing could be measured on them")
        architecture = self.architecture(len(names), fitting.rng.generator("initial weights").initial_seed() % 2**31)
        plan = fitting.seeded(self.plan)
        if plan.drop_last and len(examples) < plan.batch_size:
            plan = plan.model_copy(update={"drop_last": False})
        with seeded(0, torch.device("cpu")):
            network = untrained(dict(architecture))
        objective: Any = pixel_cross_entropy
        if self.adversarial_steps:
            objective = HalfAttacked(len(names), steps=self.adversarial_steps, epsilon=self.epsilon)
        trained = train(
            network,
            examples,
            plan=plan,
            objective=objective,
            checkpoint=fitting.checkpoint,
            recipe=self.record(),
            progress=fitting.progress,
        )
        network.load_state_dict(trained.weights)
        rejected = {**examples.rejected, **({} if val is None else val.rejected)}
        figures = {} if val is None else self._figures(network, names, val, fitting)
        card = Card(
            name=f"context-upsampling-{self.kind}",
            kind="segmenter",
            description=f"U-Net that decides the class of each pixel; upsampling: {self.kind.replace('_', ' ')}."
            + _measured_on(figures),
            architecture=architecture,
            class_names=names,
            preparation=preparation.model_dump(mode="json"),
            normalization={"mean": [0.0] * 3, "std": [1.0] * 3},
            metrics=rounded(figures),
            history=tuple(rounded(row) for row in trained.history),
            lineage=fitting.lineage({**self.record(), "rejected": len(rejected)}, trained.data),
        )
        return Artifact(dict(trained.weights), card)

    @property
    def starts_from(self) -> str | None:
        """Nothing: the initial weights follow from the seed."""
        return "initial weights of its seed"

    def architecture(self, outputs: int, seed: int) -> dict[str, Any]:
        """The record of the network in a card."""
        return {
            "name": "context_unet",
            "outputs": outputs,
            "widths": list(self.widths),
            "kind": self.kind,
            "kernels": list(self.kernels) * (1 if len(self.kernels) > 1 else len(self.widths) - 1),
            "small_kernel": self.small_kernel,
            "initial": self.initial,
            "decoder_kernel": self.decoder_kernel,
            "seed": seed,
        }

    def _figures(
        self, network: nn.Module, names: tuple[str, ...], val: ImageStore, fitting: Fitting
    ) -> Mapping[str, float]:
        """Clean figures of all validation images; attacked ones of at most a hundred, which the seed draws."""
        classifier = Classifier(network, class_names=names, task="segment", name=self.name)
        whole = sum(
            examine(classifier, to_unit(val.images[rows]), val.targets[rows], {})["clean"].sum(0)
            for rows in torch.arange(len(val)).split(_TOGETHER)
        )
        known = (val.targets != VOID).flatten(1).any(1).nonzero().flatten()
        drawn = torch.randperm(len(known), generator=fitting.rng.generator("attacked images"))[:_ATTACKED]
        rows = known[drawn].sort().values
        images = to_unit(val.images[rows])
        counts = examine(
            classifier,
            images,
            val.targets[rows],
            standard_attacks(self.attack_steps),
            rng=fitting.rng.child("starts"),
            progress=fitting.progress,
        )
        own = counts.pop("clean")
        found: dict[str, float] = {"val.images": float(len(val)), "val.attacked_images": float(len(rows))}
        totals = {"clean": whole, "clean_of_attacked": own.sum(0)}
        for name, total in (totals | {name: count.sum(0) for name, count in counts.items()}).items():
            figures = segmentation_figures(total)
            found |= {f"val.{name}.{figure}": value for figure, value in figures.items()}
        layers = tuple(f"upsampling.{step}" for step in range(len(self.widths) - 1))
        sides = [self.side // 2**step for step in range(len(layers))][::-1]
        shown = tuple(layer for layer, side in zip(layers, sides, strict=True) if side >= LEAST_SCORED)
        artifacts = upsampling_artifacts(classifier, images, shown)
        return {**found, **{f"val.artifacts.{layer}": score for layer, score in artifacts.items()}}


def _measured_on(figures: Mapping[str, float]) -> str:
    """How many images the figures of a card are of."""
    if not figures:
        return ""
    whole, attacked = (int(figures[f"val.{name}"]) for name in ("images", "attacked_images"))
    return f" Clean figures are of {whole} held-out images, attacked ones of {attacked} of them, drawn by chance."


def _report_rejected(rejected: Mapping[str, str]) -> None:
    """Say which images are left out before hours are spent on the others."""
    if rejected:
        key, reason = next(iter(rejected.items()))
        warnings.warn(f"{len(rejected)} images are left out; the first is {key}: {reason}", UserWarning, stacklevel=2)
