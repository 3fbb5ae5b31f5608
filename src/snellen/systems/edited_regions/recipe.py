"""The recipe: train a detector of edited regions on a made set; its card holds the figures of validation images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field

from snellen.core.artifact import Artifact, Card, rounded
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.file_source import FileSource
from snellen.metrics.auroc import auroc
from snellen.models.weights.state_dict_file import load_strictly
from snellen.systems.edited_regions.detecting import Regions, in_batches
from snellen.systems.edited_regions.detector import COLUMN, NAME, editors_of, label_maps_of
from snellen.systems.edited_regions.distortions import Distortion
from snellen.systems.edited_regions.fitting import Augmentation, LabelledImages, fit_segmenter, new_network
from snellen.systems.edited_regions.labels import IGNORED, MOST_EDITORS
from snellen.systems.edited_regions.made_set import FITTING
from snellen.systems.edited_regions.measures import best_threshold, binary, confusion, localised
from snellen.systems.edited_regions.networks import Architecture
from snellen.training.fitting.frame import FittedMethod, Fitting, laid_over
from snellen.training.plan import TrainingPlan

#: Of a small network on small images; for SegFormer the customary rate is 6e-5.
PLAN = TrainingPlan(epochs=20, batch_size=16, learning_rate=4e-3)


class EditedRegionsDetector(FittedMethod):
    """Train a segmenter that finds edited regions and names the editor (Ci et al. 2025).

    >>> EditedRegionsDetector(architecture="segformer").crop
    512
    """

    name: ClassVar[str] = "edited_regions"

    architecture: Architecture = Field("small", description="small, fcn8s, deeplabv3 or segformer")
    width: int = Field(16, ge=4, multiple_of=4, description="channels of the first block of small")
    editors: tuple[str, ...] = Field(
        (), description="names of labels 1 to n; left out, those in edits.json beside the table, or numbers"
    )
    crop: int = Field(512, ge=16, description="side of training crops and of windows, pixels; nothing is rescaled")
    balance: float = Field(
        0.5,
        ge=0,
        le=1,
        description="exponent of the inverse frequencies that weigh labels; 0: all pixels count the same",
    )
    augment: tuple[str, ...] = Field(
        (), description="distort each training crop by one of these or by none: jpeg:70, resize:0.75, noise:4"
    )
    plan: Annotated[TrainingPlan, laid_over(PLAN)] = Field(PLAN, description="numbers of the training")

    def fit(
        self,
        data: ImageSet,
        *,
        base: Artifact | None = None,
        rng: Randomness,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> Artifact:
        """Fit to images; see :class:`~snellen.training.fitting.frame.FittedMethod`.

        Raises:
            InputError: test images, images that the recipe cannot use, or a base of another architecture.
        """
        source = data.source
        if "test" in {*data.column("split")} and isinstance(source, FileSource) and (source.root / FITTING).is_file():
            raise InputError(
                f"{data.name} holds test images, on which nothing is trained; {source.root / FITTING} is the same set "
                f"without them"
            )
        return super().fit(data, base=base, rng=rng, checkpoint=checkpoint, progress=progress)

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: a set without label maps, or a distortion that changes the size of images."""
        for text in self.augment:
            if Distortion.read(text).kind == "scale":
                return "distorts crops, whose label maps stay as they are; use resize instead of scale (--augment)"
        if images is not None and all(path is None for path in images.column(COLUMN)):
            return f"needs the manifest of a made set, whose column {COLUMN!r} names a label map for each image"
        return Method.missing(self, classifier, images)

    def fitted(self, fitting: Fitting) -> Artifact:
        """Train; images of a split "val" choose the threshold of whole images and give the figures of the card.

        Raises:
            InputError: no label maps, labels that no editor has, editors that contradict the record, no split to
                validate on, or a base of another architecture.
        """
        named = {*fitting.data.column("split")} - {None}
        if "val" not in named:
            raise InputError(
                f"{fitting.data.name} has no split 'val': its images choose when an image is called edited"
            )
        names = editors_of(fitting.data, self.editors)
        train, rejected = label_maps_of(fitting.data.of_split("train"), len(names) or MOST_EDITORS)
        val, further = label_maps_of(fitting.data.of_split("val"), len(names) or MOST_EDITORS)
        editors = len(names) or max(_highest(train), _highest(val), 1)
        names = names or tuple(f"editor {at}" for at in range(1, editors + 1))
        edited = val.edited.numpy()
        best_threshold(np.zeros(len(edited)), edited)  # one kind of validation images alone is refused before training
        plan = fitting.seeded(self.plan)
        network = new_network(self.architecture, editors, seed=plan.seed, width=self.width)
        built = {"name": NAME, "architecture": self.architecture, "editors": editors, "width": self.width}
        if fitting.base is not None:
            load_strictly(network, fitting.base.tensors, source=fitting.base.card.name)
        trained = fit_segmenter(
            network,
            train,
            plan=plan,
            crop=self.crop,
            balance=self.balance,
            augmentation=augmentation_of(self.augment),
            checkpoint=fitting.checkpoint,
            recipe=self.record(),
            progress=fitting.progress,
        )
        network.load_state_dict(dict(trained.weights))
        network.eval()
        found = list(in_batches(network, val.images, window=self.crop))
        threshold = best_threshold(np.array([one.share for one in found]), edited)
        figures = figures_of(found, val, editors) | {
            "images.edited": float(edited.sum()),
            "images.untouched": float((~edited).sum()),
        }
        card = Card(
            name="edited-regions",
            kind="segmenter",
            architecture={**built, "threshold": threshold if np.isfinite(threshold) else None, "window": self.crop},
            description="Shows which pixels of an image were edited, and by which editor.",
            class_names=("untouched", *names),
            metrics=rounded({f"val.{name}": value for name, value in figures.items()}),
            history=tuple(rounded(row) for row in trained.history),
            lineage=fitting.lineage({**self.record(), "rejected": len(rejected) + len(further)}, trained.data),
        )
        return Artifact(dict(trained.weights), card)


def _highest(examples: LabelledImages) -> int:
    """The highest label of an editor; 0 where nothing was edited."""
    return int(torch.where(examples.labels == IGNORED, 0, examples.labels).max())


def figures_of(found: Sequence[Regions], truth: LabelledImages, editors: int) -> dict[str, float]:
    """Figures of both heads on labelled images; those that nothing can be measured on are left out.

    Args:
        found: what a segmenter found in each image.
        truth: the images, in the same order.
        editors: their number n.
    """
    classes = editors + 1
    named, two = np.zeros((classes, classes), dtype=np.int64), np.zeros((2, 2), dtype=np.int64)
    for one, labels in zip(found, truth.labels.numpy(), strict=True):
        named += confusion(labels, one.labels, classes)
        judged = np.where(labels == 255, labels, labels > 0).astype(np.uint8)
        two += confusion(judged, (one.binary > 0.5).astype(np.uint8), 2)
    both, head = localised(named), localised(two)
    edited = truth.edited.numpy()
    figures = {
        "iou": both.iou,
        "binary_head.iou": head.iou,
        "binary_miou": both.binary_miou,
        "semantic_miou": both.semantic_miou,
        "editor_miou": both.editor_miou,
        "accuracy": both.accuracy,
        "attribution": both.attribution,
        "false_edits": both.false_edits,
    }
    if edited.any() and not edited.all():
        figures["image.auroc"] = auroc(edited, np.array([one.share for one in found]))
    assert binary(named).sum() == two.sum(), "both heads are judged on the same pixels"
    return {name: value for name, value in figures.items() if value == value}


def augmentation_of(texts: Sequence[str]) -> Augmentation | None:
    """Distort a batch by one of several distortions, or leave it as it is; None without any."""
    known = [Distortion.read(text) for text in texts]
    if not known:
        return None

    def augmented(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        at = int(torch.randint(len(known) + 1, (), generator=rng))
        if at == len(known):
            return images
        given = images.mul(255).round().to(torch.uint8)
        seed = int(torch.randint(2**31, (), generator=rng))
        return known[at].images(given, Randomness(seed)).to(images) / 255

    return augmented
