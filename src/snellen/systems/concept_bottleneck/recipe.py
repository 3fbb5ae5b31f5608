"""A classifier that decides by named concepts alone, which a person can read and correct.

Yan et al., "Robust and Interpretable Medical Image Classifiers via Concept Bottleneck Models" (MedCBM), arXiv
2310.03182.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.artifact import Artifact, Card, rounded
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.language.references import load_language_model
from snellen.models.references import load_two_tower
from snellen.systems.concept_bottleneck.bottleneck import ConceptBottleneck, architecture
from snellen.systems.concept_bottleneck.concept_scores import Pooling, Scoring, check_questions, concept_vectors
from snellen.systems.concept_bottleneck.concept_source import Concepts, read_concepts
from snellen.systems.concept_bottleneck.control_phrases import random_phrases, shuffled_phrases
from snellen.systems.concept_bottleneck.corrections import usual_scores
from snellen.systems.concept_bottleneck.filtering import DroppedConceptsWarning
from snellen.systems.concept_bottleneck.learned_selection import learned_selection
from snellen.systems.concept_bottleneck.linear_head import LinearHead, choose_linear_head, fit_linear_head
from snellen.systems.concept_bottleneck.scored_images import ScoredImages, image_vectors, score_images
from snellen.systems.concept_bottleneck.shift_figures import worst_group
from snellen.systems.concept_bottleneck.sparse_head import few_concepts
from snellen.training.fitting.frame import FittedMethod, Fitting

#: Of the weights, where no images are held back to choose it by.
PENALTY = 1e-3

#: The lists that every image is scored by: the concepts, and phrases that say nothing.
CONCEPTS, RANDOM, SHUFFLED = "concepts", "random_words", "shuffled_text"


class NoBetterThanWordsWarning(UserWarning):
    """Random words decide as well as the concepts: that these can be read proves nothing."""


@dataclass(frozen=True, eq=False)
class _Part:
    """One split: scores of all lists, labels, and the group of each image where there is one."""

    scored: ScoredImages
    labels: Tensor
    groups: tuple[str, ...]
    images: ImageSet


class ConceptBottleneckRecipe(FittedMethod):
    """Fit a linear layer on how well named concepts describe each image, and on nothing else.

    The text–image model stays as it is. Of two splits, "train" is fitted to and "val" chooses how strongly weights are
    held down. Beside the concepts, as many random words and the concepts with shuffled letters are fitted the same way,
    and reported in the card.

    >>> ConceptBottleneckRecipe().scoring
    'cosine'
    """

    name: ClassVar[str] = "concept_bottleneck"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    treats: ClassVar[tuple[str, ...]] = ("background_shortcut",)

    tower: str = Field("bundled:scene-clip", description="reference of the text–image model")
    concepts: str | None = Field(
        None,
        description="phrases: FILE.txt, FILE.toml or FILE.json (one list, or lists by question or class), or a "
        "language model as http://127.0.0.1:8000/v1#MODEL",
    )
    modality: str = Field("photograph", description="what the images are, told to a language model ('chest X-ray')")
    per_class: int = Field(20, ge=1, description="concepts of each class that a language model is asked for, at most")
    confounders: tuple[str, ...] = Field((), description="words that no concept may hold, such as a hospital's name")
    templates: tuple[str, ...] = Field(("{}",), description="sentences with {} that each concept is put into")
    scoring: Scoring = Field(
        "cosine",
        description="cosine: of image and phrase (the paper); answer: which answer of its question fits best, for "
        "lists by question",
    )
    pooling: Pooling = Field("global", description="of the whole image, or max or mean over its patches")
    kept: int | None = Field(None, ge=1, description="concepts that the decision may use; all if left out")
    selection: Literal["elastic_net", "learned"] = Field(
        "elastic_net", description="how they are chosen: by a sparse head, or near learned directions (LM4CV)"
    )
    penalty: float | None = Field(
        None, gt=0, description="of the weights; left out, chosen on the val split (without one: 0.001)"
    )
    keep: Path | None = Field(None, description="folder in which scores are kept for further runs")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: no concepts are named, or no labels."""
        if self.concepts is None:
            return "needs concepts: a file of phrases or a language model (--concepts)"
        return super().missing(classifier, images)

    @property
    def starts_from(self) -> str:
        """The text–image model."""
        return f"the text–image model ({self.tower})"

    def fitted(self, fitting: Fitting) -> Artifact:
        """Score, fit, and fit the controls; no checkpoint: what takes time is scoring, which ``keep`` keeps.

        Raises:
            InputError: images without one label each, no usable concept, or a reference that cannot be used.
            UnsupportedError: pooling over patches by a tower that has none.
        """
        images, rng, progress = fitting.data, fitting.rng, fitting.progress
        names = _class_names(images)
        tower = load_two_tower(self.tower)
        concepts = self._concepts(names, progress)
        lists = {
            CONCEPTS: concepts.phrases,
            RANDOM: random_phrases(concepts.phrases, rng, avoid=(*names, *self.confounders, *concepts.phrases)),
            SHUFFLED: shuffled_phrases(concepts.phrases, rng),
        }
        has_val = "val" in images.column("split")
        shown = self._part(images.of_split("train") if has_val else images, tower, lists, progress)
        held = self._part(images.of_split("val"), tower, lists, progress) if has_val else None

        def scored(part: _Part, name: str) -> Tensor:
            return part.scored.scores(name, self.scoring, concepts.questions, tower.logit_scale)

        def fitted(name: str, places: tuple[int, ...]) -> tuple[LinearHead, float]:
            numbers = scored(shown, name)[:, list(places)]
            if self.penalty is not None or held is None:
                penalty = self.penalty or PENALTY
                return fit_linear_head(numbers, shown.labels, len(names), penalty=penalty), penalty
            val = scored(held, name)[:, list(places)]
            found = choose_linear_head(numbers, shown.labels, val, held.labels, len(names))
            return found.head, found.penalty

        places = self._places(scored(shown, CONCEPTS), shown, tower, concepts, rng, progress)
        head, penalty = fitted(CONCEPTS, places)
        judged = held or shown
        figures = {"accuracy": head.accuracy(scored(judged, CONCEPTS)[:, list(places)], judged.labels)}
        if judged.groups:
            right = head.logits(scored(judged, CONCEPTS)[:, list(places)]).argmax(1) == judged.labels
            figures["worst_group"] = worst_group(judged.labels.numpy(), judged.groups, right.numpy())[1]
        for name in (RANDOM, SHUFFLED):
            figures[name] = fitted(name, places)[0].accuracy(scored(judged, name)[:, list(places)], judged.labels)
        if held is not None:
            _tell_if_words_do(figures)
        told = rounded(figures)
        facts: dict[str, Any] = {
            "used_penalty": penalty,
            "used_concepts": len(places),
            "dropped": [f"{one.phrase} ({one.reason})" for one in concepts.dropped],
            "rejected": len(shown.scored.rejected) + (len(held.scored.rejected) if held else 0),
            **({} if held else {"on_training_images": told}),
        }
        form: dict[str, Any] = {
            "scoring": self.scoring,
            "pooling": self.pooling,
            "questions": concepts.questions,
            "templates": self.templates,
        }
        network = ConceptBottleneck(tower, concepts.phrases, len(names), **form)
        _put_in(network, head, places, scored(shown, CONCEPTS))
        card = Card(
            name="concept-bottleneck",
            kind="classifier",
            architecture=architecture(tower, self.tower, concepts.phrases, len(names), **form),
            description=f"decides by {len(places)} concepts, scored by {tower.name}; needs the weights of {self.tower}",
            class_names=names,
            preparation=tower.preparation.model_dump(mode="json"),
            normalization={"mean": [0.0] * 3, "std": [1.0] * 3},
            metrics={f"val.{name}": value for name, value in told.items()} if held else {},
            # Where scores are kept does not matter to what is fitted.
            lineage=fitting.lineage({**self.record(), "keep": None, **facts}, images.fingerprint(progress)),
        )
        return Artifact(dict(network.state_dict()), card)

    def _concepts(self, names: tuple[str, ...], progress: Progress | None) -> Concepts:
        assert self.concepts is not None
        reference = self.concepts
        if not reference.startswith(("http:", "https:", "file:")):
            reference = f"file:{reference}"
        found = read_concepts(
            load_language_model(reference),
            names,
            confounders=self.confounders,
            modality=self.modality,
            count=self.per_class,
            progress=progress,
        )
        if found.dropped:
            told = "; ".join(f"{one.phrase!r} {one.reason}" for one in found.dropped[:5])
            more = f"; and {len(found.dropped) - 5} more" if len(found.dropped) > 5 else ""
            warnings.warn(f"left out of the concepts: {told}{more}", DroppedConceptsWarning, stacklevel=3)
        if self.scoring == "answer":
            check_questions(found.questions, len(found))
        if self.kept is not None and self.kept > len(found):
            raise InputError(f"there are {len(found)} concepts, of which {self.kept} are to be kept; ask for fewer")
        return found

    def _part(
        self, images: ImageSet, tower: TwoTower, lists: dict[str, tuple[str, ...]], progress: Progress | None
    ) -> _Part:
        scored = score_images(
            images.unlabelled(),
            tower,
            lists,
            templates=self.templates,
            pooling=self.pooling,
            folder=self.keep,
            progress=progress,
        )
        usable = images.select(scored.positions.tolist())
        groups = usable.column("group")
        named = tuple(str(value) for value in groups) if all(value is not None for value in groups) else ()
        return _Part(scored, torch.from_numpy(usable.labels.copy()), named, usable)

    def _places(
        self,
        scores: Tensor,
        shown: _Part,
        tower: TwoTower,
        concepts: Concepts,
        rng: Randomness,
        progress: Progress | None,
    ) -> tuple[int, ...]:
        """The concepts that the decision may use."""
        if self.kept is None:
            return tuple(range(len(concepts)))
        count = len(shown.images.class_names or ())
        if self.selection == "elastic_net":
            return few_concepts(scores, shown.labels, count, self.kept)
        vectors = image_vectors(shown.images.unlabelled(), tower, folder=self.keep, progress=progress).features
        directions = concept_vectors(tower, concepts.phrases, self.templates)
        return tuple(sorted(learned_selection(vectors, shown.labels, count, directions, self.kept, rng=rng)))


def _class_names(images: ImageSet) -> tuple[str, ...]:
    """The classes of images with one label each.

    Raises:
        InputError: no labels, several each, images without one, or a single class.
    """
    names = images.class_names
    if names is None or not images.has_labels:
        raise InputError(f"{images.name}: a concept bottleneck needs images with labels, and it has none")
    if bool((images.labels < 0).any()):
        raise InputError(f"{images.name}: a concept bottleneck needs one label for each image, and some have none")
    if len(names) < 2:
        raise InputError(f"{images.name} has one class, {names[0]!r}: there is nothing to tell apart")
    return names


def _tell_if_words_do(figures: Mapping[str, float]) -> None:
    """Warn where random words are as good, on images that were held back."""
    if figures[RANDOM] >= figures["accuracy"]:
        warnings.warn(
            f"as many phrases of random words decide as well on the val split ({figures[RANDOM]:.1%} right, these "
            f"concepts {figures['accuracy']:.1%}): what the concepts say need not be what decides. Try other phrases, "
            f"the scoring answer, or a text–image model that knows such images",
            NoBetterThanWordsWarning,
            stacklevel=3,
        )


def _put_in(network: ConceptBottleneck, head: LinearHead, places: tuple[int, ...], scores: Tensor) -> None:
    """The fitted head into the network, with weights of zero for concepts that are not used."""
    absent, present = usual_scores(scores)
    with torch.no_grad():
        network.head.standardise.fit(scores)
        network.head.linear.weight.zero_()
        network.head.linear.weight[:, list(places)] = head.weight.float()
        network.head.linear.bias.copy_(head.bias)
        network.head.absent.copy_(absent)
        network.head.present.copy_(present)
