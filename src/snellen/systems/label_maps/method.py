"""Label maps: every random crop has the soft label of what it shows, from a classifier that ran once.

Yun, Oh, Heo, Han, Choe and Chun, "Re-labeling ImageNet: from single to multi-labels, from global to localized labels"
(ReLabel), CVPR 2021, arXiv 2101.05022.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RunConflictError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.models.classifiers.references import load_classifier
from snellen.systems.label_maps.annotating import annotate
from snellen.systems.label_maps.crop_training import CropPlan, Targets, on_label_maps
from snellen.systems.label_maps.matched_maps import MatchedMaps, MeasuredSource, look_up
from snellen.systems.label_maps.sparse import Missing
from snellen.systems.label_maps.store import RECORD, LabelMaps
from snellen.training.fitting.frame import Fitting
from snellen.training.fitting.groundwork import Groundwork, lay_groundwork
from snellen.training.fitting.recipe import ClassifierRecipe, Course
from snellen.training.plan import TrainingPlan

#: Of the paper's ResNet-50 without CutMix: 5 epochs of warm-up are 6,255 steps of 1,024 ImageNet images.
PAPER_PLAN = TrainingPlan(
    epochs=300, batch_size=1024, optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, warmup_steps=6255
)


class FewLabelsFoundWarning(UserWarning):
    """The annotator seldom finds the label of an image: its mistakes would become labels."""


class LabelMapsRecipe(ClassifierRecipe):
    """Train on random crops with the soft labels that label maps give exactly these crops.

    The maps come from ``maps``, or are made there first by ``annotator``; the annotator does not run during training.
    The labels of the images count on the validation split alone, in the reported agreement, and where there is no map.

    >>> LabelMapsRecipe(maps=Path("maps")).smallest_crop
    0.08
    """

    name: ClassVar[str] = "label_maps"
    treats: ClassVar[tuple[str, ...]] = ("multi_label", "label_noise")

    maps: Path | None = Field(None, description="folder of the label maps; made there by the annotator if it is free")
    annotator: str | None = Field(
        None, description="reference of the classifier that makes the maps; needed where there are none yet"
    )
    kept: int = Field(5, ge=1, description="scores that a place of a map keeps, when maps are made (k)")
    targets: Targets = Field(
        "localized_multi",
        description="localized_multi is the method; the others are its ablation: one soft label for all crops of an "
        "image, or the likeliest class alone, of the crop or of the image",
    )
    missing_scores: Missing = Field(
        "zero",
        description="what a class counts where no place kept it: 0 as published, the least score kept, or nothing",
    )
    without_map: Literal["error", "label"] = Field(
        "error", description="images without a map: an error, or trained on their label"
    )
    least_agreement: float = Field(
        0.5, ge=0, le=1, description="share of images whose label is on their map, below which there is a warning"
    )
    smallest_crop: float = Field(
        0.08, gt=0, le=1, description="least share of an image that a random resized crop shows"
    )
    frame: int | None = Field(
        None,
        ge=8,
        description="side of the squeezed whole images that crops are cut from, pixels; by default 8/7 of side",
    )
    cutmix_probability: float = Field(
        0.0, ge=0, le=1, description="of pasting a crop into another; 1 in the paper's CutMix"
    )
    cutmix_alpha: float = Field(1.0, gt=0, description="of the Beta distribution of the share that CutMix keeps")
    plain_epochs: int = Field(5, ge=0, description="last epochs without CutMix")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: no folder of maps, or none in it and no annotator; CutMix in no epoch."""
        if self.maps is None:
            return "needs the folder of the label maps (--maps), and an annotator (--annotator) to make them"
        if self.annotator is None and not (self.maps / RECORD).is_file():
            return f"finds no label maps in {self.maps}; name the annotator that makes them (--annotator)"
        if self.cutmix_probability and self.plan.epochs <= self.plain_epochs:
            return (
                f"would never mix: of {self.plan.epochs} epochs, the last {self.plain_epochs} are without CutMix; "
                f"train longer (plan.epochs), lower plain_epochs, or leave cutmix_probability at 0"
            )
        return super().missing(classifier, images)

    def course(self, fitting: Fitting) -> Course:
        """The training on crops of the images to train on; "val" chooses the epoch by its labels.

        Raises:
            InputError: maps of other images or classes; images without a map; images that were turned or changed since.
            RunConflictError: the maps are of another annotator than is named, or keep another number of scores.
        """
        measured, base = MeasuredSource(fitting.data.source), fitting.base
        fitting = replace(fitting, data=replace(fitting.data, source=measured))
        side = self.side if base is None else _square(Preprocessing.model_validate(base.card.preparation))
        frame = self.frame or round(side * 8 / 7)
        maps = self._maps(fitting.data, fitting.progress)
        ground = lay_groundwork(
            fitting,
            architecture=self.architecture,
            side=self.side,
            plan=self.plan,
            shown=Preprocessing(size=(frame, frame), resize="exact", resize_to=(frame, frame)),
        )
        matched = self._look_up(maps, fitting.data, measured, ground)
        facts = {
            "agreement": round(matched.agreement, 6),
            "likeliest_agreement": round(matched.likeliest, 6),
            "maps_sha256": maps.record.sha256,
            "annotation": maps.record.plan,
        }
        # Where the maps lie, and what would make them, do not matter to what is trained: their hash does.
        recipe = {**self.record(), "maps": None, "annotator": None, **facts}
        return Course(ground, recipe, objective=on_label_maps(matched, self._crops(side)))

    def _maps(self, data: ImageSet, progress: Progress | None) -> LabelMaps:
        assert self.maps is not None
        if not (self.maps / RECORD).is_file():
            assert self.annotator is not None
            shown = data.of_split("train") if "train" in data.column("split") else data
            return annotate(shown, load_classifier(self.annotator), self.maps, kept=self.kept, progress=progress)
        found = LabelMaps.load(self.maps)
        asked: dict[str, object] = {}
        if self.annotator is not None or self.kept != type(self).model_fields["kept"].default:
            asked["kept"] = min(self.kept, len(found.record.class_names))
        if self.annotator is not None:
            asked["annotator_fingerprint"] = load_classifier(self.annotator).fingerprint()
        # Published maps do not hold all of it.
        recorded = {"kept": found.record.kept, **found.record.plan}
        differing = [name for name, value in asked.items() if recorded.get(name) != value]
        if differing:
            raise RunConflictError(
                f"{self.maps} holds label maps of another plan (differs in: {', '.join(differing)}); name another "
                f"folder (--maps), or leave out what differs to train on these maps"
            )
        return found

    def _look_up(self, maps: LabelMaps, data: ImageSet, measured: MeasuredSource, ground: Groundwork) -> MatchedMaps:
        assert data.rows is not None
        rows = dict(zip(data.ids, data.rows.tolist(), strict=True))
        ids = ground.examples.ids
        found = look_up(
            maps,
            ids,
            class_names=ground.class_names,
            labels=ground.examples.targets,
            sizes={one: measured.sizes[rows[one]] for one in ids},
            contents={one: measured.content_hash(rows[one]) for one in ids},
            without=self.without_map == "label",
        )
        if found.agreement < self.least_agreement:
            warnings.warn(
                f"the label of an image is on its label map in only {found.agreement:.0%} of the images (fewer than "
                f"{self.least_agreement:.0%}), and its likeliest class in {found.likeliest:.0%}: the annotator is weak "
                f"here, or made for other images, and its mistakes become labels",
                FewLabelsFoundWarning,
                stacklevel=5,
            )
        return found

    def _crops(self, side: int) -> CropPlan:
        return CropPlan(
            side=side,
            smallest=self.smallest_crop,
            flips=self.flips,
            targets=self.targets,
            missing=self.missing_scores,
            cutmix_probability=self.cutmix_probability,
            cutmix_alpha=self.cutmix_alpha,
            last_mixed_epoch=self.plan.epochs - self.plain_epochs,
        )


def _square(preparation: Preprocessing) -> int:
    if preparation.size is None or preparation.size[0] != preparation.size[1]:
        raise InputError(f"label maps train on square images, and the base takes {preparation.size}")
    return preparation.size[0]
