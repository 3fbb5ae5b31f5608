"""Shortcuts in words: objects and backgrounds without which right decisions change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.checks.check import CheckFigure, CheckInput, CheckResult, Companion
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Panel, keep_picture
from snellen.checks.sampled import Sampled
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.core.randomness import Randomness
from snellen.methods.edits.masked_object import Fill
from snellen.models.language.listed_answers import load as load_lists
from snellen.models.language.protocol import BudgetSpentError
from snellen.models.language.references import load_language_model
from snellen.models.references import load_captioner
from snellen.systems.language_guided_augmentation.discovery import Discovery, EditRow, class_statuses
from snellen.systems.language_guided_augmentation.edits import PhraseEditor, SceneEditor
from snellen.systems.language_guided_augmentation.examining import Examined, load_editor, records_of, shows_scenes
from snellen.systems.language_guided_augmentation.flips import Lean, ranked, selected
from snellen.systems.language_guided_augmentation.phrases import (
    CaptionParser,
    ImagePhrases,
    LanguageParser,
    RuleParser,
    SceneParser,
    class_words,
)

#: Name of the list of edits.
EDITS = "shortcut_edits"

#: Rows of the table in the report.
SHOWN = 20


class Shortcuts(Sampled):
    """Right decisions that change when one phrase of the caption is taken out of the image, beside a matched control.

    A caption of each image is read as phrases: objects beside the class's own, and a background. Each is edited away,
    and so are as many pixels elsewhere. A class leans on a phrase when its edits flip more decisions than their
    controls do, by McNemar's exact test. What captions do not mention is not examined.
    """

    name: ClassVar[str] = "shortcuts"
    summary: ClassVar[str] = "objects and backgrounds without which right decisions change (on request)"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    by_default: ClassVar[bool] = False

    most: int | None = Field(
        1000, ge=1, description="images that are captioned and edited at most, on average, drawn by their ids"
    )
    captioner: str | None = Field(
        None, description="reference of a captioner for images without a caption (hf:FOLDER, bundled:scene-captioner)"
    )
    language: str | None = Field(
        None,
        description="reference of a language model on this machine that reads captions, or file:FILE with its answers "
        "by image id; none: fixed rules",
    )
    synonyms: str | None = Field(None, description="file:FILE, for each class the words that also name it")
    detector: str | None = Field(
        None, description="reference of a detector that finds phrases (hf:FOLDER); none: scenes are drawn anew"
    )
    segmenter: str | None = Field(
        None, description="reference of a segmenter that makes masks of boxes (hf:FOLDER, grabcut); none: boxes"
    )
    inpainter: str | None = Field(
        None, description="diffusers folder of an inpainting model that paints objects and backgrounds; none: fill"
    )
    instructor: str | None = Field(
        None, description="diffusers folder of InstructPix2Pix, which edits backgrounds by words; none: see inpainter"
    )
    steps: int | None = Field(
        None, ge=1, description="steps of these models; none: 30 of the inpainting model, 100 of the other one"
    )
    fill: Fill = Field("moved", description="how holes are filled without one")
    threshold: float = Field(0.3, ge=0, le=1, description="least score of a box")
    dilate: int = Field(5, ge=0, description="pixels around what is found that are taken out with it")
    similarity: float = Field(0.7, gt=0, le=1, description="least cosine of the words of phrases that are merged")
    support: int = Field(5, ge=1, description="images with an edit and a control that a phrase needs")
    first: int = Field(15, ge=0, description="edits that are kept of the phrase that a class leans on most")
    later: int = Field(10, ge=0, description="edits that are kept of each further one")
    kept: int = Field(35, ge=0, description="edits that are kept of a class")
    examples: int = Field(5, ge=0, description="pictures for each finding")

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why it cannot run: without captions nothing is named, and without a detector nothing is found."""
        if self.captioner is None and not any(images.column("caption")):
            return f"needs captions, and {images.name} has none (column caption): {_ways('captioner')}"
        if self.detector is None and not shows_scenes(images):
            return f"needs a detector that finds phrases in images: {_ways('detector')}"
        return super().missing(classifier, images, companions)

    def resolved(self, classifier: Classifier) -> Shortcuts:
        """As it is; what cannot be loaded is refused now, and not after hours.

        Raises:
            InputError: a reference that cannot be used, a segmenter that takes no boxes, or synonyms of no class.
        """
        class_words(classifier.class_names, self._synonyms())
        if self.language is not None:
            load_language_model(self.language)
        if self.captioner is not None:
            load_captioner(self.captioner)
        if self.detector is not None:
            self.editor(str(classifier.device))
        return self

    def cost(self) -> float:
        """Two edits and their controls, and as much again for making them; models beside the classifier come on top."""
        return self.share * 8

    def parser(self, images: ImageSet) -> CaptionParser:
        """What reads captions."""
        if self.language is not None:
            return LanguageParser(load_language_model(self.language))
        return SceneParser() if shows_scenes(images) and self.captioner is None else RuleParser()

    def editor(self, device: str) -> PhraseEditor:
        """What takes phrases out of images.

        Raises:
            InputError: a reference that cannot be used, or a segmenter that takes no boxes.
        """
        if self.detector is None:
            return SceneEditor()
        return load_editor(
            self.detector,
            self.segmenter,
            self.inpainter,
            self.instructor,
            self.steps,
            self.fill,
            self.threshold,
            self.dilate,
            device,
        )

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Phrases, edits, flips; one hypothesis for each phrase of enough images: a class does not lean on it."""
        known, rng, audited = reading.images, reading.rng.child(self.name), reading.audited
        assert audited is not None, "edits are made of the images themselves"
        draws = rng.for_examples(known.ids).uniform("share", ()).numpy()
        drawn = np.flatnonzero(known.labelled & (draws < self.sized(int(known.labelled.sum())).share))
        right = drawn[known.correct[drawn]]
        why = self.nothing_known(known.predictions[drawn].tolist(), known.correct[drawn].tolist())
        if why is not None:
            return CheckResult(notes=[f"Shortcuts: {why}."])
        units, places = known.units_of(right), {key: place for place, key in enumerate(audited.ids)}
        ids = [known.ids[row] for row in right]
        try:
            found = self.examined(
                audited,
                [places[key] for key in ids],
                known.labels[right].tolist(),
                reading.classifier,
                rng,
                None if units is None else dict(zip(ids, units.tolist(), strict=True)),
            )
        except (ModelError, BudgetSpentError) as error:
            return CheckResult(notes=[f"Shortcuts: {error}"])
        statuses = class_statuses(
            known.labels[drawn].tolist(), known.correct[drawn].tolist(), found.records, found.rows, len(reading.names)
        )
        pictures: dict[str, bytes] = {}
        tested, discovery = found.tested, found.discovery
        return CheckResult(
            metrics=self._metrics(tested, reading.names),
            hypotheses=[self._hypothesis(one, len(drawn), discovery, reading, pictures) for one in tested],
            panels=[self._ranking(tested, reading.names)] if tested else [],
            lists={self.name: _by_image(tested, reading.names), EDITS: found.provenance(reading.names)},
            arrays=self._kept(found.chosen, discovery, reading),
            notes=[
                *self._notes(statuses, found.rows, found.leans, reading.names),
                *self.sampling_notes(reading, len(drawn)),
            ],
            pictures=pictures,
        )

    @staticmethod
    def nothing_known(predictions: Sequence[int], correct: Sequence[bool]) -> str | None:
        """Why edits of these images would show nothing; None where they can."""
        if any(correct) and len(set(predictions)) > 1:
            return None
        why = "all decisions are one class" if any(correct) else "no decision is right"
        return f"of {len(correct)} images {why}, so that no edit can show anything"

    def examined(
        self,
        images: ImageSet,
        right: Sequence[int],
        labels: Sequence[int],
        classifier: Classifier,
        rng: Randomness,
        units: Mapping[str, int] | None = None,
    ) -> Examined:
        """Edit the phrases of images that the classifier gets right, rank them, and select edits.

        Args:
            images: of any split.
            right: positions of these images.
            labels: class of each of them, in the classifier's order.
            classifier: that is examined.
            rng: of this check.
            units: code of each image's unit, by id.

        Raises:
            ModelError: a language model that does not answer.
        """
        records, discovery = self.read(images, right, labels, classifier, rng)
        rows = discovery.examine(records)
        leans = ranked(rows, support=self.support, similarity=self.similarity, units=units)
        quotas = {"first": self.first, "later": self.later, "most": self.kept}
        chosen = [row for of in leans.values() for row in selected(of, rng, **quotas)]
        return Examined(records, rows, leans, chosen, discovery)

    def read(
        self, images: ImageSet, rows: Sequence[int], labels: Sequence[int], classifier: Classifier, rng: Randomness
    ) -> tuple[list[ImagePhrases], Discovery]:
        """Phrases of images, and what edits these; arguments as for :meth:`examined`."""
        names, device = class_words(classifier.class_names, self._synonyms()), str(classifier.device)
        records = records_of(
            images,
            rows,
            [names[label] for label in labels],
            parser=self.parser(images),
            captioner=None if self.captioner is None else load_captioner(self.captioner, device=device),
            rng=rng,
        )
        by_id = {images.ids[row]: label for row, label in zip(rows, labels, strict=True)}
        discovery = Discovery(images, by_id, names, self.editor(device), classifier, rng)
        discovery.lend(records)
        return records, discovery

    def _synonyms(self) -> Mapping[str, Sequence[str]]:
        if self.synonyms is None:
            return {}
        scheme, _, rest = self.synonyms.partition(":")
        if scheme != "file" or not rest:
            raise InputError(f"{self.name}.synonyms is file:FILE with a list for each class; got {self.synonyms!r}")
        answers = load_lists(rest)
        return {key: answers.complete("", key=key).text.splitlines() for key in answers.keys}

    def _hypothesis(
        self,
        one: Lean,
        drawn: int,
        discovery: Discovery,
        reading: CheckInput,
        pictures: dict[str, bytes],
    ) -> Hypothesis:
        label, p_value = reading.names[one.label], one.p_value()

        def finding(harm: float) -> Finding:
            shown = one.shown[: self.examples]
            return Finding(
                kind="shortcut",
                subject=_subject(one, reading.names),
                harm=harm,
                p_value=p_value,
                title=f"{label} leans on “{one.phrase}”: without it {one.share():.0%} of {one.images} right decisions "
                f"change, and {one.share(control=True):.0%} when as much is edited elsewhere",
                facts={
                    "class": label,
                    "phrase": one.phrase,
                    # JSON: phrases of a language model may hold commas.
                    "merged": json.dumps(sorted({row.phrase for row in one.rows}), ensure_ascii=False),
                    "images": one.images,
                    "occurrences": len(one.rows),
                    "flips": len(one.flips),
                    "flip_share": one.share(),
                    "control_share": one.share(control=True),
                    "beyond_low": one.lower,
                    "score": one.score,
                    "edit": one.rows[0].editor,
                },
                examples=tuple(self._example(row, discovery, reading, pictures) for row in shown),
            )

        # Of the drawn images, those of the class with the phrase are concerned.
        return Hypothesis(p_value, lambda confidence: one.bound(confidence) * one.images / drawn, finding)

    def _example(
        self,
        row: EditRow,
        discovery: Discovery,
        reading: CheckInput,
        pictures: dict[str, bytes],
    ) -> FindingExample:
        becomes = "no decision" if row.after is None or row.after < 0 else reading.names[row.after]
        change = f"without “{row.phrase}”" if row.alternative is None else f"{row.phrase} becomes {row.alternative}"
        edited = discovery.again(row).image if reading.pictured else None
        return FindingExample(
            example_id=row.example_id,
            caption=f"{reading.names[row.label]}, {change}: {becomes}",
            after=None if edited is None else keep_picture(pictures, edited),
        )

    def _metrics(self, tested: Sequence[Lean], names: Sequence[str]) -> dict[str, CheckFigure]:
        """Of the images with a phrase, the share that is lost without it, less that lost under the control."""
        found = {}
        for one in tested:
            low, high = one.beyond_mean().interval() if one.images > 1 else (-1.0, 1.0)
            value = one.share() - one.share(control=True)
            found[f"{self.name}.{_subject(one, names)}.lost"] = CheckFigure(
                value=value, low=max(low, -1.0), high=min(high, 1.0), n=one.images
            )
        return found

    def _ranking(self, tested: Sequence[Lean], names: Sequence[str]) -> Panel:
        order = sorted(tested, key=lambda one: (-one.lower, -one.score, one.label, one.phrase))
        return Panel(
            check=self.name,
            title="What decisions lean on",
            about="Share of right decisions that change without a phrase, beside its control; “beyond” is the lower "
            "end of the 95 % interval of the difference, “score” the published figure without a control.",
            head=("class", "phrase", "images", "flipped", "control", "beyond", "score"),
            rows=tuple(
                (
                    names[one.label],
                    one.phrase,
                    one.images,
                    *(round(value, 4) for value in (one.share(), one.share(control=True), one.lower, one.score)),
                )
                for one in order[:SHOWN]
            ),
        )

    def _kept(
        self, chosen: Sequence[EditRow], discovery: Discovery, reading: CheckInput
    ) -> dict[str, dict[str, NDArray]]:
        """The selected edits as bytes (3, h, w), for a generator to be taught by."""
        found: dict[str, NDArray] = {}
        for row in chosen if reading.pictured else ():
            image = discovery.again(row).image
            if image is not None:
                key = f"{reading.names[row.label]}/{row.phrase}/{row.example_id}"
                found[key] = (image * 255).round().byte().numpy()
        return {self.name: found} if found else {}

    def _notes(
        self,
        statuses: Sequence[str],
        rows: Sequence[EditRow],
        leans: Mapping[int, Sequence[Lean]],
        names: Sequence[str],
    ) -> list[str]:
        unexamined: dict[str, list[str]] = {}
        for name, status in zip(names, statuses, strict=True):
            if status not in ("examined", "no image"):
                unexamined.setdefault(status, []).append(name)
        lacking = sum(row.after is None for row in rows)
        few = sum(not one.supported for of in leans.values() for one in of)
        notes = [f"Shortcuts: nothing is known of {', '.join(of)}: {why}." for why, of in unexamined.items()]
        notes += [f"Shortcuts: {lacking} of {len(rows)} phrases were not edited; lists/{EDITS}.json says why."] * bool(
            lacking
        )
        return notes + [
            f"Shortcuts: {few} phrases occur in fewer than {self.support} images with an edit and a control, and are "
            f"not tested."
        ] * bool(few)


def _subject(one: Lean, names: Sequence[str]) -> str:
    return f"{names[one.label]}: {one.phrase}"


def _by_image(tested: Sequence[Lean], names: Sequence[str]) -> list[dict[str, object]]:
    """For each image, what it loses without each tested phrase: by this, two audits are compared."""
    found: dict[str, dict[str, object]] = {}
    for one in tested:
        for key, value in one.lost().items():
            found.setdefault(key, {"id": key})[f"{_subject(one, names)}.lost"] = value
    return list(found.values())


def _ways(option: str) -> str:
    """How each command that looks for shortcuts takes a model."""
    return f"--set {Shortcuts.name}.{option}=hf:FOLDER in an audit, --{option} hf:FOLDER in synthesize shortcuts"
