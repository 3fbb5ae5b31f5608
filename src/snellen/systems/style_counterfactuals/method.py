"""The explanation: which single style coordinates move the classifier's output, and images with each of them moved.

Qi et al., "ProjectedEx: Enhancing Generation in Explainable AI for Prostate Cancer", CBMS 2025, arXiv 2501.01392; the
search is that of StylEx (Lang et al., ICCV 2021). A counterfactual shows what moves *this* classifier in images of
*this* generator; it is no statement about the disease.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need
from snellen.core.outcomes import Described
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.loading import prepared_batches
from snellen.models.classifiers.references import load_classifier
from snellen.systems.style_counterfactuals.attributes import EXPLAINED
from snellen.systems.style_counterfactuals.flips import SHIFT
from snellen.systems.style_counterfactuals.folder import (
    check_place,
    differing,
    finished,
    load_explainer,
    trained_by,
    trained_explainer,
)
from snellen.systems.style_counterfactuals.networks import EncoderKind
from snellen.systems.style_counterfactuals.plan import PRESETS, StylePlan
from snellen.systems.style_counterfactuals.pyramid import check_side, load_backbone, resized
from snellen.systems.style_counterfactuals.rows import Rows
from snellen.systems.style_counterfactuals.seen import Seen
from snellen.systems.style_counterfactuals.study import Search, check_decisions, study
from snellen.systems.style_counterfactuals.training import images_hash

#: Fewer images than this are refused: some train the generator, some choose attributes, some measure them.
FEWEST = 16

#: Images read at once.
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class ReadImages:
    """Images reduced to the generator's side, and what the classifier takes them for at their own.

    Attributes:
        ids: of the usable images.
        pixels: uint8 (n, 3, side, side).
        decided: int64 (n,), the classifier's decision for each image as it was given.
        size: height and width that the classifier sees.
        rejected: other images, and why.
    """

    ids: tuple[str, ...]
    pixels: Tensor
    decided: Tensor
    size: tuple[int, int]
    rejected: tuple[tuple[str, str], ...]


class StyleCounterfactuals(Method):
    """Train a style generator around a classifier, and find attributes that move its decision.

    >>> StyleCounterfactuals(steps=500).plan.steps
    500
    """

    name: ClassVar[str] = "style_counterfactuals"
    needs: ClassVar[frozenset[Need]] = frozenset({"gradients", "scores", "layers"})

    generator: Path | None = Field(
        None,
        description="folder of the generator: a finished one is used as it is; else one is trained there, and resumes "
        "there; left out, one is trained and kept nowhere",
    )
    preset: Literal["published", "small"] = Field(
        "small", description="numbers of the training: those of the paper, or for minutes of one core"
    )
    steps: int | None = Field(None, ge=2, description="steps of the training, in place of the preset's")
    side: int | None = Field(None, description="width of the generator's images in pixels, a power of two")
    encoder: EncoderKind | None = Field(None, description="pyramid of a frozen backbone, or one trained scale")
    backbone: str | None = Field(None, description="reference of the frozen backbone of the pyramid, or random")
    held_back: int = Field(128, ge=8, description="images kept from the training, to search and measure on")
    attributes: int = Field(4, ge=1, description="attributes of each class at most")
    explained: float = Field(EXPLAINED, gt=0, description="logits after which an image counts as explained")
    merge: bool = Field(False, description="of two classes, merge both lists, each turned, as the released code does")
    shift: float = Field(SHIFT, gt=0, description="how far attributes are moved; 1 is the bound over the images")
    share: float = Field(1.0, gt=0, le=1, description="share of the coordinates that are tried, chosen by gradients")
    unstable: int | None = Field(
        None, ge=0, description="leave out images that more coordinates move by over 0.3 logits"
    )
    realistic: float | None = Field(
        None,
        description="leave out reconstructions that the critic scores above this; low is real, near -1",
    )
    agreement: float = Field(
        0.8, ge=0, le=1, description="least agreement of images and reconstructions; 0: any, with a warning"
    )
    judge: str | None = Field(
        None, description="reference of a second classifier: whether it follows a flip, and what its attributes flip"
    )
    shown: int = Field(4, ge=0, description="images that are shown with every attribute moved")

    @field_validator("side")
    @classmethod
    def _power_of_two(cls, side: int | None) -> int | None:
        if side is not None:
            check_side(side)
        return side

    @property
    def plan(self) -> StylePlan:
        """Numbers of the training."""
        preset = PRESETS[self.preset]
        sizes = {"side": self.side, "encoder": self.encoder, "backbone": self.backbone}
        chosen = preset.sizes.model_copy(update={key: value for key, value in sizes.items() if value is not None})
        plan = preset.model_copy(update={"sizes": chosen})
        return plan if self.steps is None else plan.lasting(self.steps)

    @property
    def search(self) -> Search:
        """Numbers of the search."""
        return Search(**{name: getattr(self, name) for name in Search.model_fields if name in type(self).model_fields})

    def load(self) -> None:
        """Load the second classifier and the backbone, and check the folder of the generator."""
        if self.judge is not None:
            load_classifier(self.judge)
        if self.generator is not None and not finished(self.generator):
            check_place(self.generator)
        if self.generator is not None and finished(self.generator):
            self._check_plan(self.generator)
        elif self.plan.sizes.encoder == "pyramid" and self.plan.sizes.backbone != "random":
            load_backbone(self.plan.sizes.backbone, self.plan.sizes.side)

    def _check_plan(self, folder: Path) -> None:
        """Refuse numbers of a training that a finished generator does not have."""
        plan = trained_by(folder)[0]
        if "preset" in self.model_fields_set and plan != self.plan:
            raise InputError(
                f"{folder} holds a finished generator that {differing(plan, self.plan)}; leave --preset out, or name a "
                f"new folder"
            )
        kept = {"steps": plan.steps, **{name: getattr(plan.sizes, name) for name in ("side", "encoder", "backbone")}}
        for name, value in kept.items():
            if getattr(self, name) not in (None, value):
                raise InputError(
                    f"{folder} holds a finished generator with {name} {value}, and {getattr(self, name)} is asked for; "
                    f"leave --{name} out, or name a new folder"
                )

    def describe(
        self, classifier: Classifier, images: ImageSet, *, rng: Randomness, progress: Progress | None = None
    ) -> Described:
        """Find attributes and show them.

        Args:
            classifier: a torch module of one class for each image; it stays as it is.
            images: some are held back to be explained, the generator is trained on the others; labels are not read.
            rng: of everything random.
            progress: callback that receives progress updates.

        Raises:
            InputError: too few images, images of one decision only, or a folder that holds something else.
            ModelError: the generator does not rebuild what the classifier sees.
            UnsupportedError: a classifier of several classes for each image, or of one class.
        """
        self.load()
        if classifier.task != "single" or len(classifier.class_names) < 2:
            raise UnsupportedError(
                f"style_counterfactuals needs a classifier that decides for one of two classes or more; "
                f"{classifier.name} is {classifier.task} with {len(classifier.class_names)}"
            )
        names = classifier.class_names
        judge = None if self.judge is None else load_classifier(self.judge, device=str(classifier.device))
        loaded = load_explainer(self.generator, classifier) if self.generator and finished(self.generator) else None
        with classifier.counting() as spent:
            read = read_images(classifier, images, (loaded or self.plan).sizes.side)
            order = torch.randperm(len(read.pixels), generator=rng.generator("held back"))
            held, fitted = order.tensor_split([min(self.held_back, len(order) // 2)])
            seen = Seen(classifier, read.size)
            if self.agreement:  # before a long training
                check_decisions(read.decided[held], names)
            explainer = loaded or trained_explainer(
                self.generator, classifier, read.pixels[fitted], self.plan, rng, size=read.size, progress=progress
            )
            found = study(
                explainer, seen, to_unit(read.pixels[held]), self.search, rng, decided=read.decided[held],
                progress=progress,
            )  # fmt: skip
            ids = [read.ids[held[at]] for at in found.measured_rows.tolist()]
            rows = Rows(explainer, seen, found, judge, ids, self.search, shown=self.shown)
            rows.together()
            rows.attributes()
            rows.examples()
        data = None if self.generator is None else trained_by(self.generator)[1]
        known = data is None or data == images_hash(read.pixels[fitted])
        return rows.described(read.rejected, spent(), held_back=known)


def read_images(classifier: Classifier, images: ImageSet, side: int) -> ReadImages:
    """All usable images in memory, at the generator's side, and the classifier's decisions.

    Raises:
        InputError: too few are usable.
    """
    ids, parts, decided = list[str](), list[Tensor](), list[Tensor]()
    rejected = list[tuple[str, str]]()
    size = classifier.preparation.size or _usual_size(images, classifier.preparation)
    for batch in prepared_batches(images, classifier.preparation, _TOGETHER):
        rejected += batch.rejected
        if not batch.ids:
            continue
        if tuple(batch.pixels.shape[2:]) != size:
            reason = (
                f"prepared size {batch.pixels.shape[3]}×{batch.pixels.shape[2]} differs from {size[1]}×{size[0]}, that "
                f"of most images; give the model a preparation with a fixed size, or resize the images"
            )
            rejected += [(key, reason) for key in batch.ids]
            continue
        ids += batch.ids
        given = to_unit(batch.pixels)
        with torch.no_grad():
            decided.append(classifier(given.to(classifier.device)).argmax(1).cpu())
        parts.append(resized(given, (side, side)).mul(255).round().to(torch.uint8))
    if len(ids) < FEWEST:
        first = f"; first of {len(rejected)} that are not: {rejected[0][0]}: {rejected[0][1]}" if rejected else ""
        raise InputError(
            f"{len(ids)} images of {images.name} are usable, and style_counterfactuals takes {FEWEST} or more (some "
            f"hundred, for a generator that means anything){first}"
        )
    return ReadImages(tuple(ids), torch.cat(parts), torch.cat(decided), size, tuple(rejected))


def _usual_size(images: ImageSet, preparation: Preprocessing) -> tuple[int, int]:
    """The height and width that most images have, in any order of them; the larger of sizes that are as frequent."""
    counts = Counter[tuple[int, int]]()
    for batch in prepared_batches(images, preparation, _TOGETHER):
        counts[int(batch.pixels.shape[2]), int(batch.pixels.shape[3])] += len(batch.ids)
    return max(counts, key=lambda size: (counts[size], size), default=(0, 0))
