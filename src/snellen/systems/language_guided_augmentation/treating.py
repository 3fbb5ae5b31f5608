"""Treatments of what decisions lean on: training images in which it is edited away, and generated ones without it.

Training on D ∪ D_aug is stage 7 of ASPIRE. The first treatment takes the edits themselves, of every training image that
shows a phrase that was found. The second one learns a token for each class that was found from the edits that flip
decisions, and takes images that are generated from it; nothing is generated unless the caller names a generator. Both
make their own edits of training images: images of the audit are never trained on. No group label is read.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_image, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.held_images import held_set
from snellen.methods.generation.made_images import generating_on, generator_of
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import Source
from snellen.methods.treatments.generated_images import GeneratedImages, generated
from snellen.methods.treatments.synthesized_images import GROUP
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.models.diffusion.learned_tokens import row_of
from snellen.models.language.protocol import BudgetSpentError
from snellen.systems.language_guided_augmentation.augmenting import look, teachable
from snellen.systems.language_guided_augmentation.check import Shortcuts
from snellen.systems.language_guided_augmentation.discovery import Discovery, wishes
from snellen.systems.language_guided_augmentation.edits import Wish
from snellen.systems.language_guided_augmentation.personalising import PRESETS, TokenFit, personalised
from snellen.systems.language_guided_augmentation.phrases import ImagePhrases
from snellen.systems.language_guided_augmentation.words import cosine
from snellen.training.fine_tuning import Term
from snellen.training.transforms import BatchTransform

#: The kind of finding that is treated.
KIND = "shortcut"


class Editable(NamedTuple):
    """What could be edited away in training images: an image and a wish for each, and what makes the edits.

    ``looked`` counts the images whose captions were read; None where these are all.
    """

    wanted: list[tuple[str, Wish]]
    discovery: Discovery
    looked: int | None


class EditedShortcuts(FineTuning):
    """Train on with training images in which the phrases that were found are edited away, under their own labels.

    An image that shows a phrase its class leans on is shown without it every other time.

    >>> EditedShortcuts().treats
    ('shortcut',)
    """

    name: ClassVar[str] = "edited_shortcuts"
    treats: ClassVar[tuple[str, ...]] = (KIND,)
    passes: ClassVar[float] = 8.0

    most: int = Field(2000, ge=1, description="edits of training images at most, drawn by their ids")
    read: int = Field(5000, ge=1, description="training images whose captions are read at most, drawn by their ids")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """Training images without what edits need, or without the phrases that were found."""
        why = _unexaminable(patient)
        if why is not None:
            return why
        try:
            editable = self._editable(patient)
        except (ModelError, BudgetSpentError) as error:
            return f"cannot read captions of the training images: {error}"
        if not editable.wanted:
            looked = "training image" if editable.looked is None else f"of {editable.looked} training images"
            return f"finds no {looked} that shows {', '.join(sorted(patient.subjects(KIND)))}"
        return None

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """Edited images in place of some."""
        return Term(transforms=(_shown_edited(*self.edits(patient)),))

    def edits(self, patient: Patient) -> tuple[Tensor, Mapping[str, Sequence[int]]]:
        """Edited training images as prepared, uint8 (m, 3, h, w), and which are those of an image, by its id.

        They are made once for all trainings of a patient; edits that cannot be made are left out.

        Raises:
            InputError: none can be made.
        """
        key = f"{self.name} {self.record()}"
        known = patient.remembered.get(key)
        if isinstance(known, tuple):
            return known
        wanted, discovery, _ = self._editable(patient)
        draws = (
            Randomness(0).child(self.name).for_examples([example_id for example_id, _ in wanted]).uniform("kept", ())
        )
        chosen = sorted(torch.argsort(draws, stable=True)[: self.most].tolist())
        images, places = list[Tensor](), dict[str, list[int]]()
        for example_id, wish in (wanted[place] for place in chosen):
            made = discovery.edit(example_id, wish).image
            if made is not None:
                places.setdefault(example_id, []).append(len(images))
                images.append(patient.classifier.preparation.pixels(to_image(made)))
        if not images:
            raise InputError(f"no training image can be edited as the audited ones were; leave out {self.name}")
        patient.remembered[key] = found = (torch.stack(images), places)
        return found

    def _editable(self, patient: Patient) -> Editable:
        """Read the captions of training images, once for a patient."""
        key = f"{self.name} captions of {self.read}"
        known = patient.remembered.get(key)
        if isinstance(known, Editable):
            return known
        assert patient.images is not None
        names, labels, check = patient.classifier.class_names, patient.training.targets.tolist(), check_of(patient)
        rng, found = Randomness(0).child(self.name), phrases_found(patient)
        # Backgrounds are lent by images of the other classes, so that all are drawn from.
        draws = rng.for_examples(patient.images.ids).uniform("read", ())
        rows = sorted(torch.argsort(draws, stable=True)[: self.read].tolist())
        labels = [labels[row] for row in rows]
        records, discovery = check.read(patient.images, rows, labels, patient.classifier, rng)
        wanted = [
            (record.example_id, wish)
            for record, label in zip(records, labels, strict=True)
            for wish in _leant_on(record, found.get(names[label], ()), check.similarity)
        ]
        looked = None if len(rows) == len(patient.images) else len(rows)
        patient.remembered[key] = editable = Editable(wanted, discovery, looked)
        return editable


class PersonalisedImages(GeneratedImages):
    """Train on with images of the classes that were found, generated without what they lean on, beside the real ones.

    A class with fewer than five edits that flip a decision is given its edited images alone.

    >>> PersonalisedImages().treats
    ('shortcut',)
    """

    name: ClassVar[str] = "personalised_images"
    treats: ClassVar[tuple[str, ...]] = (KIND,)
    passes: ClassVar[float] = 40.0

    preset: Literal["published", "small"] | None = Field(
        None, description="numbers of the tokens; none: small of a bundled generator, published of any other"
    )

    token_steps: int | None = Field(None, ge=1, description="optimizer steps of each token; none: of the preset")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """No generator, one without one text tower, or training images without what edits need."""
        if patient.generator is None:
            return "needs a generator of images (--generator REF)"
        if patient.generator.adapter is not None:
            return "learns tokens of its own, and the generator has adapters (leave out --adapter)"
        try:
            with generating_on(str(patient.classifier.device)):
                row_of(generator_of(patient.generator.generator), self.fit_of(patient.generator).word)
        except InputError as error:
            return f"cannot make these images: {error}"
        return _unexaminable(patient)

    def fit_of(self, generator: ByName) -> TokenFit:
        """Numbers of the tokens, of one trial."""
        usual = "small" if generator.generator.startswith("bundled:") else "published"
        steps = {} if self.token_steps is None else {"steps": self.token_steps}
        return PRESETS[self.preset or usual].model_copy(update={"trials": 1, **steps})

    def sets(self, patient: Patient, rng: Randomness, progress: Progress) -> Iterator[ImageSet]:
        """Edit, learn tokens, and generate; of classes with few edits, these.

        Raises:
            InputError: no edit of a training image changes a decision.
        """
        assert patient.generator is not None
        assert patient.images is not None
        edits = self._selected(patient, rng.child("edits"), progress)
        taught, few = teachable(edits, list(phrases_found(patient)), "their edited images alone are trained on")
        names = edits.class_names or ()
        yield edits.select([row for row, label in enumerate(edits.labels.tolist()) if names[label] in few])
        if taught is None:
            return
        with tempfile.TemporaryDirectory() as scratch:
            fit, maker = self.fit_of(patient.generator), patient.generator
            plain = tuple(one for one in maker.templates if GROUP not in one) or ByName().templates
            maker = maker.model_copy(update={"templates": plain})
            asking = personalised(maker, taught, Path(scratch) / "tokens", fit=fit, seed=rng.seed, progress=progress)
            rows = asking.rows(Source(taught.classes), self.count, rng.seed)
            asking.check(rows, Source(taught.classes))
            progress.begin("generating images", len(rows))
            yield from generated(asking, [asking.request(row, taught) for row in rows], rng, progress)
            progress.finish("generating images")

    def _selected(self, patient: Patient, rng: Randomness, progress: Progress) -> ImageSet:
        """Edits of training images that flip decisions, of the classes and phrases that were found."""
        assert patient.images is not None
        names, found = patient.classifier.class_names, phrases_found(patient)
        check = check_of(patient)
        looked = look(patient.classifier, patient.images, check, rng, progress).found
        # What flips by chance in training images was no finding of the audit, and teaches nothing.
        rows = [
            row
            for row in (() if looked is None else looked.chosen)
            if _is_found(row.phrase, found.get(names[row.label], ()), check.similarity)
        ]
        if looked is None or not rows:
            listed = ", ".join(f"{name} ({', '.join(phrases)})" for name, phrases in sorted(found.items()))
            raise InputError(f"no edit of a training image changes a decision for {listed}; leave out {self.name}")
        made = [looked.discovery.again(row).image for row in rows]
        return held_set(
            [to_image(one) for one in made if one is not None],
            [f"{row.example_id}/{row.phrase}" for row in rows],
            name="edited images",
            classes=[names[row.label] for row in rows],
        )


def check_of(patient: Patient) -> Shortcuts:
    """The check that found what is treated, which says how captions are read and images edited."""
    found = patient.checks.get(Shortcuts.name)
    return found if isinstance(found, Shortcuts) else Shortcuts()


def phrases_found(patient: Patient) -> dict[str, list[str]]:
    """Class → phrases that it leans on, all spellings of each."""
    found = dict[str, list[str]]()
    for one in patient.findings:
        if one.kind == KIND:
            if "class" in one.facts:
                label, phrase = str(one.facts["class"]), str(one.facts["phrase"])
                merged = list(map(str, json.loads(str(one.facts.get("merged", "[]")))))
            else:  # a finding of an earlier version
                label, _, phrase = one.subject.partition(": ")
                merged = [name for name in str(one.facts.get("merged", "")).split(", ") if name]
            found.setdefault(label, []).extend(dict.fromkeys([phrase, *merged]))
    return found


def _unexaminable(patient: Patient) -> str | None:
    """Why training images cannot be edited as the audited ones were."""
    if patient.images is None:
        return "needs training images (--train DATA)"
    why = check_of(patient).missing(patient.classifier, patient.images, frozenset())
    return None if why is None else f"edits training images as the audit did, and that {why}"


def _leant_on(record: ImagePhrases, phrases: Sequence[str], similarity: float) -> list[Wish]:
    """What goes of an image that shows phrases which its class leans on."""
    return [wish for wish in wishes(record) if _is_found(wish.phrase, phrases, similarity)]


def _is_found(phrase: str, phrases: Sequence[str], similarity: float) -> bool:
    """Whether a phrase is one of those that were found, in words that are alike."""
    return any(cosine(one, phrase) >= similarity for one in phrases)


def _shown_edited(edited: Tensor, places: Mapping[str, Sequence[int]]) -> BatchTransform:
    """Put one of its edits, drawn at random, in place of each image that has any."""

    def show(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        assert rng.ids is not None, "a transform is bound to the examples of its batch"
        draws, changed = rng.uniform("edit", ()).tolist(), images.clone()
        for row, (example_id, draw) in enumerate(zip(rng.ids, draws, strict=True)):
            own = places.get(example_id, ())
            if own:
                changed[row] = to_unit(edited[own[min(int(draw * len(own)), len(own) - 1)]]).to(images)
        return changed, targets

    return show
