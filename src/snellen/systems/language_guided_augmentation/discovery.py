"""Every phrase of every image is edited, and the classifier decides before, after and under the control."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_image, to_unit
from snellen.core.randomness import Randomness
from snellen.models.captioners.protocol import Captioner
from snellen.models.segmenters.object_masks import ObjectMasks
from snellen.systems.language_guided_augmentation.edits import Edited, Kind, PhraseEditor, Subject, Wish
from snellen.systems.language_guided_augmentation.phrases import ImagePhrases
from snellen.systems.language_guided_augmentation.words import merged

#: Edited images that are decided together, and images that are captioned together.
BATCH = 64

#: Why a background without another one is not edited.
NO_ALTERNATIVE = "no alternative for its background"


@dataclass(frozen=True)
class EditRow:
    """One occurrence of a phrase in an image that the classifier gets right, and what its edit did.

    Attributes:
        example_id: of the image.
        label: its class, which the classifier names before the edit.
        kind: of the edit.
        phrase: what was taken out.
        alternative: the new background; None for an object.
        editor: what made the edit.
        after: decision on the edited image; None where no edit was made, −1 where scores are not finite.
        control: decision under the matched control; None where there is none.
        reason: why there is no edit, or no control.
    """

    example_id: str
    label: int
    kind: Kind
    phrase: str
    alternative: str | None
    editor: str
    after: int | None = None
    control: int | None = None
    reason: str = ""

    @property
    def flipped(self) -> bool:
        """Whether the edit changed the decision."""
        return self.after is not None and self.after != self.label

    @property
    def tested(self) -> bool:
        """Whether edit and control were both made."""
        return self.after is not None and self.control is not None

    def provenance(self, class_names: Sequence[str]) -> dict[str, object]:
        """The row for a list, with classes by name; decisions that were prevented are "no decision"."""

        def named(decision: int | None) -> str | None:
            return None if decision is None else "no decision" if decision < 0 else class_names[decision]

        decisions = {"before": self.label, "after": self.after, "control": self.control}
        return asdict(self) | {"label": class_names[self.label]} | {key: named(one) for key, one in decisions.items()}


class Discovery:
    """Makes edits of the images of a set, and makes them again where pictures are wanted.

    Args:
        images: the set.
        labels: class of each image that may be edited, by id.
        names: of each class: its own first, then synonyms.
        editor: takes phrases out.
        classifier: that is examined.
        rng: of the check.
    """

    def __init__(
        self,
        images: ImageSet,
        labels: Mapping[str, int],
        names: Sequence[tuple[str, ...]],
        editor: PhraseEditor,
        classifier: Classifier,
        rng: Randomness,
    ) -> None:
        self._images, self._labels, self._names = images, labels, names
        self._editor, self._classifier, self._rng = editor, classifier, rng
        self._places = {key: place for place, key in enumerate(images.ids)}
        self._records = images.column("attributes")
        self._held: Subject | None = None
        self._lending: Mapping[str, Sequence[str]] = {}
        self._made_again: dict[tuple[str, str, str], Edited] = {}
        self._masks = ObjectMasks(images, Preprocessing()) if any(images.column("mask")) else None

    def examine(self, records: Sequence[ImagePhrases]) -> list[EditRow]:
        """Edit each phrase of the records: rows in their order, one for each occurrence of a phrase.

        Args:
            records: of images that the classifier gets right.
        """
        rows: list[EditRow] = []
        waiting: list[tuple[int, str, Tensor]] = []
        self.lend(records)
        for one in records:
            for wish in wishes(one):
                found = self.edit(one.example_id, wish)
                rows.append(
                    EditRow(
                        one.example_id,
                        self._labels[one.example_id],
                        wish.kind,
                        wish.phrase,
                        wish.alternative,
                        self._editor.name,
                        reason=found.reason,
                    )
                )
                for place, image in (("after", found.image), ("control", found.control)):
                    if image is not None:
                        waiting.append((len(rows) - 1, place, self._prepared(image)))
            if len(waiting) >= BATCH:
                self._decide(rows, waiting)
        self._decide(rows, waiting)
        return rows

    def again(self, row: EditRow) -> Edited:
        """The edit of a row that was examined, made once more, at the image's own size."""
        key = (row.example_id, row.kind, row.phrase)
        if key not in self._made_again:
            self._made_again[key] = self.edit(row.example_id, Wish(row.kind, row.phrase, row.alternative))
        return self._made_again[key]

    def lend(self, records: Sequence[ImagePhrases]) -> None:
        """Let the images of these records lend their backgrounds."""
        self._lending = self._lenders(records)

    def edit(self, example_id: str, wish: Wish) -> Edited:
        """One edit of one image, with its control, at the image's own size."""
        if wish.kind == "background" and wish.alternative is None:
            return Edited(reason=NO_ALTERNATIVE)
        rng = self._rng.child(wish.kind, wish.phrase).for_examples([example_id])
        others = [one for one in self._lending.get(wish.alternative or "", ()) if one != example_id]
        draw = float(rng.uniform("lender", ()))
        try:
            lent = self._subject(others[min(int(draw * len(others)), len(others) - 1)]) if others else None
            # All phrases of an image come together: it is read once for all of them.
            if self._held is None or self._held.example_id != example_id:
                self._held = self._subject(example_id)
            return self._editor.edit(self._held, wish, lent, rng)
        except RejectedImageError as error:
            return Edited(reason=str(error))

    def _lenders(self, records: Sequence[ImagePhrases]) -> dict[str, list[str]]:
        """Images by the backgrounds that they show, under every spelling that occurs."""
        spelled = [one for record in records for one in (record.background, record.alternative) if one is not None]
        leaders = merged(spelled)
        shown: dict[str, list[str]] = {}
        for record in records:
            if record.background is not None:
                shown.setdefault(leaders[record.background], []).append(record.example_id)
        return {phrase: shown.get(leader, []) for phrase, leader in leaders.items()}

    def _subject(self, example_id: str) -> Subject:
        place = self._places[example_id]
        pixels, record, mask = Preprocessing().pixels(self._images.read(place)), self._records[place], None
        # Masks of scenes show all objects, and not that of the class alone.
        if self._masks is not None and record is None:
            try:
                mask = self._masks.of(place, pixels)
            except (RejectedImageError, InputError):
                mask = None
        names = self._names[self._labels[example_id]]
        return Subject(example_id, to_unit(pixels), names, None if record is None else str(record), mask)

    def _prepared(self, image: Tensor) -> Tensor:
        return to_unit(self._classifier.preparation.pixels(to_image(image)))

    @torch.no_grad()
    def _decide(self, rows: list[EditRow], waiting: list[tuple[int, str, Tensor]]) -> None:
        """Decide what waits, and note it in the rows."""
        for start in range(0, len(waiting), BATCH):
            part = waiting[start : start + BATCH]
            scores = self._classifier(torch.stack([image for _, _, image in part]).to(self._classifier.device))
            decided = torch.where(scores.isfinite().all(1), self._classifier.predict(scores), -1).tolist()
            for (number, place, _), decision in zip(part, decided, strict=True):
                rows[number] = EditRow(**asdict(rows[number]) | {place: decision})
        waiting.clear()


def wishes(record: ImagePhrases) -> Iterator[Wish]:
    """What is edited in an image: its background first, as published, then each object."""
    if record.background is not None:
        yield Wish("background", record.background, record.alternative)
    for phrase in record.foreground:
        yield Wish("object", phrase)


def captions_of(images: ImageSet, rows: Sequence[int], captioner: Captioner | None) -> list[str | None]:
    """Captions of some images: those of the table, else a captioner's; None where there is none.

    Args:
        images: the set.
        rows: positions in it.
        captioner: for images whose column ``caption`` is empty; None leaves them without.
    """
    column = images.column("caption")
    found: list[str | None] = [None if column[row] is None else str(column[row]) for row in rows]
    missing = [place for place, caption in enumerate(found) if not (caption or "").strip()]
    for start in range(0, len(missing) if captioner is not None else 0, BATCH):
        assert captioner is not None
        part = missing[start : start + BATCH]
        shown = torch.stack([captioner.preparation(images.read(rows[place])) for place in part])
        for place, text in zip(part, captioner.caption(shown, max_tokens=100).texts, strict=True):
            found[place] = text
    return found


def class_statuses(
    labels: Sequence[int], right: Sequence[bool], records: Sequence[ImagePhrases], rows: Sequence[EditRow], count: int
) -> list[str]:
    """What became of each class, in words: "examined", or what was missing first.

    Args:
        labels: of the drawn images.
        right: whether the classifier gets each right.
        records: of the right ones, in their order.
        rows: of their phrases.
        count: number of classes.
    """
    of_records = [label for label, one in zip(labels, right, strict=True) if one]
    found = []
    for label in range(count):
        own = [record for record, of in zip(records, of_records, strict=True) if of == label]
        mine = [row for row in rows if row.label == label]
        if not any(of == label for of in labels):
            found.append("no image")
        elif not own:
            found.append("no correct image")
        elif all(not record.caption for record in own):
            found.append("no caption")
        elif not mine:
            found.append("no phrase")
        elif not any(row.after is not None for row in mine):
            found.append(Counter(row.reason for row in mine).most_common(1)[0][0])
        else:
            found.append("examined")
    return found
