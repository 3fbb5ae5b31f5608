"""A text–image model tuned to a collection of images without a label: class descriptions, a self-supervised teacher.

Imam, Marew, Hassan, Fiaz, Aji and Cholakkal, "CLIP meets DINO for tuning zero-shot classifier using unlabeled image
collections" (NoLA), arXiv 2411.19346.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from snellen.core.artifact import Artifact, Card, rounded
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.run import canonical_json
from snellen.models.dual_encoders.prompted import architecture, prompted_classifier
from snellen.models.dual_encoders.zero_shot import TEMPLATE
from snellen.models.encoders.feature_store import FrozenFeatures, frozen_features
from snellen.models.encoders.references import load_encoder
from snellen.models.language.references import load_language_model
from snellen.models.references import load_two_tower
from snellen.systems.label_free_tuning.descriptions import class_matrix, class_texts, count_described
from snellen.systems.label_free_tuning.selection import CollapsedClassesWarning
from snellen.systems.label_free_tuning.teaching import HEAD_PLAN, Teaching, class_probabilities, teach
from snellen.systems.label_free_tuning.tuning import (
    LABEL_SMOOTHING,
    TUNING_PLAN,
    Selection,
    StrongView,
    agreement,
    tune_network,
)
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.fitting.frame import FittedMethod, Fitting, laid_over
from snellen.training.plan import TrainingPlan


class LabelFreePromptTuning(FittedMethod):
    """Tune a zero-shot classifier to unlabelled images, given only the names of classes.

    No label is read: the images are taken as :meth:`~snellen.core.images.ImageSet.unlabelled` gives them, even if they
    have some, and the epoch is chosen without any. The text–image model and the encoder of the teacher stay as they
    are.

    >>> LabelFreePromptTuning().prompts
    16
    """

    name: ClassVar[str] = "label_free_prompt_tuning"
    treats: ClassVar[tuple[str, ...]] = ()

    tower: str = Field("bundled:scene-clip", description="reference of the text–image model; a vision transformer")
    features: str = Field(
        "bundled:efficientnet-lite0",
        description="reference of the teacher's encoder; meant is a self-supervised one, such as hf:FOLDER of DINO",
    )
    classes: tuple[str, ...] = Field((), description="names of the classes; left out, those the images come with")
    descriptions: str | None = Field(
        None,
        description="sentences of each class: FILE.toml or FILE.json (name = list), or a language model as "
        "http://127.0.0.1:8000/v1#MODEL; without, the templates alone",
    )
    templates: tuple[str, ...] = Field((TEMPLATE,), description="sentences with {} for the name of the class")
    beside_templates: bool = Field(True, description="put the templates beside the sentences")
    share: float = Field(0.2, gt=0, le=1, description="of the images of a class of mean size that the teacher learns")
    least: int = Field(16, ge=1, description="images of each class that the teacher learns, at least")
    most: int = Field(512, ge=1, description="images of each class that the teacher learns, at most")
    fallback_depth: int = Field(3, ge=1, description="choices that are searched for a class that no image shows first")
    hidden: int = Field(256, ge=1, description="width of the teacher's hidden layer")
    head: Annotated[TrainingPlan, laid_over(HEAD_PLAN)] = Field(
        HEAD_PLAN, description="numbers of the teacher's training; those left out are the paper's"
    )
    prompts: int = Field(16, ge=0, description="learned tokens (M)")
    view: StrongView = Field(StrongView(), description="what is done to the images that the student sees")
    label_smoothing: float = Field(LABEL_SMOOTHING, ge=0, lt=1, description="of the student's labels (ε)")
    selection: Selection = Field("last", description="which epoch: the last, or the one that agrees with the teacher")
    plan: Annotated[TrainingPlan, laid_over(TUNING_PLAN)] = Field(
        TUNING_PLAN, description="numbers of the student's training; those left out are the paper's"
    )
    keep: Path | None = Field(None, description="folder in which features and class vectors are kept for further runs")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: a single class, or none, where the images have no names of theirs."""
        if len(self.classes) == 1:
            return f"needs two classes or more, and there is one: {self.classes[0]!r}"
        if images is not None and not self.classes and not images.class_names:
            return f"needs the names of the classes (--classes), which {images.name} does not come with"
        return super().missing(classifier, images)

    @property
    def starts_from(self) -> str:
        """The text–image model."""
        return f"the text–image model ({self.tower})"

    def fitted(self, fitting: Fitting) -> Artifact:
        """Tune on images whose labels and splits, if they have any, are not read.

        A checkpoint is of the student; the teacher is trained anew.

        Raises:
            InputError: no names of classes, or a reference that cannot be used.
            UnsupportedError: an image tower that takes no tokens, such as a residual network.
            ModelError: a class that the collection does not show.
        """
        images, rng, progress = fitting.data.unlabelled(), fitting.rng, fitting.progress
        names = self.classes or images.class_names or ()
        tower = load_two_tower(self.tower)
        with seeded(rng.generator("prompts").initial_seed(), torch.device("cpu")):
            # Made first: a tower without tokens is refused before anything is read.
            network = prompted_classifier(tower, torch.zeros(len(names), tower.dimension), prompts=self.prompts)
        texts = self._texts(names, progress)
        vectors = class_matrix(tower, texts, folder=self.keep and self.keep / "classes")
        with torch.no_grad():
            network.head.weight.copy_(vectors)
        encoder = load_encoder(self.features)
        features = frozen_features(images, encoder, folder=self.keep and self.keep / "features", progress=progress)
        store = ImageStore.of_images(images, tower.preparation, progress=progress)
        store, rows = aligned(store, features)
        teaching = teach(
            class_probabilities(tower, store.images, vectors, progress=progress),
            features.features[rows],
            names,
            rng=rng,
            share=self.share,
            least=self.least,
            most=self.most,
            fallback_depth=self.fallback_depth,
            hidden=self.hidden,
            plan=self.head,
            progress=progress,
        )
        facts = {
            **_facts(teaching, texts, self.templates, names),
            "tower_identity": tower.identity(),
            "features_identity": encoder.identity,
        }
        # Where features are kept does not matter to what is trained.
        recipe = {**self.record(), "keep": None, "classes": list(names), **facts}
        examples = replace(store, targets=teaching.labels)
        trained = tune_network(
            network,
            examples,
            plan=fitting.seeded(self.plan),
            view=self.view,
            label_smoothing=self.label_smoothing,
            selection=self.selection,
            checkpoint=fitting.checkpoint,
            recipe=recipe,
            progress=progress,
        )
        network.load_state_dict(dict(trained.weights))
        agreed = agreement(network.eval(), examples)
        card = Card(
            name=self.name.replace("_", "-"),
            kind="classifier",
            architecture=architecture(tower, self.tower, len(names), self.prompts),
            description=f"{tower.name}, tuned without labels; needs the weights of {self.tower}",
            class_names=names,
            preparation=tower.preparation.model_dump(mode="json"),
            normalization={"mean": [0.0] * 3, "std": [1.0] * 3},
            metrics=rounded(agreed),
            history=tuple(rounded(row) for row in trained.history),
            lineage=fitting.lineage({**recipe, "rejected": len(trained.rejected)}, trained.data),
        )
        return Artifact(dict(trained.weights), card)

    def _texts(self, names: tuple[str, ...], progress: Progress | None) -> dict[str, tuple[str, ...]]:
        source = None if self.descriptions is None else load_language_model(_source_reference(self.descriptions))
        return class_texts(
            names, source, templates=self.templates, beside_templates=self.beside_templates, progress=progress
        )


def aligned(store: ImageStore, features: FrozenFeatures) -> tuple[ImageStore, list[int]]:
    """The images that both models could use, and the rows of their features.

    Raises:
        InputError: there are none.
    """
    both = [place for place, one in enumerate(store.ids) if one in features.rows]
    if not both:
        raise InputError("no image can be used by both models")
    kept = torch.tensor(both)
    ids = tuple(store.ids[place] for place in both)
    chosen = replace(
        store,
        images=store.images[kept],
        targets=store.targets[kept],
        ids=ids,
        weights=store.weights[kept],
        rejected={**features.rejected, **store.rejected},
    )
    return chosen, [features.rows[one] for one in ids]


def _source_reference(descriptions: str) -> str:
    """A bare path of a file of lists as a reference."""
    return descriptions if descriptions.startswith(("http:", "https:", "file:")) else f"file:{descriptions}"


def _facts(
    teaching: Teaching, texts: Mapping[str, tuple[str, ...]], templates: tuple[str, ...], names: tuple[str, ...]
) -> dict[str, Any]:
    """The lineage's record of the first two steps; warns of classes that the teacher gives no image."""
    given = torch.bincount(teaching.labels, minlength=len(names)).tolist()
    lost = [name for name, count in zip(names, given, strict=True) if not count]
    if lost:
        warnings.warn(
            f"the teacher labels no image as {', '.join(lost[:5])}: the student will lose these classes",
            CollapsedClassesWarning,
            stacklevel=4,
        )
    report = teaching.selected.report(names)
    return {
        "texts_sha256": hashlib.sha256(canonical_json(dict(texts))).hexdigest(),
        "described_classes": count_described(texts, templates),
        "per_class": teaching.per_class,
        "pseudo_labels": {name: {**report[name], "labelled": given[number]} for number, name in enumerate(names)},
    }
