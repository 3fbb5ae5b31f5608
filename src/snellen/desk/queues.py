"""What a person looks through: for each finding that has images, one image or two after the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

from snellen.core.errors import InputError
from snellen.core.finding import Finding
from snellen.desk.decisions import Verdict
from snellen.desk.image_table import ImageTable, Query
from snellen.desk.run_folder import LARGEST, RunFolder

#: One image, or two that are compared.
Form: TypeAlias = Literal["single", "pair"]

#: What may be decided, in the order of the keys 1, 2, …
CHOICES: dict[Form, tuple[Verdict, ...]] = {
    "single": ("keep", "relabel", "drop", "unsure"),
    "pair": ("same", "different", "drop", "unsure"),
}

#: What each verdict means, for the page.
MEANINGS: dict[Verdict, str] = {
    "keep": "the label is right; it stays",
    "relabel": "another class is right",
    "drop": "it is not used: unusable, or one too many",
    "same": "both show the same",
    "different": "they only look alike",
    "unsure": "left as it is, for somebody else to decide",
}

#: Items of a queue.
MOST = 100_000


@dataclass(frozen=True)
class Item:
    """One decision to be made.

    Attributes:
        images: ids of one image, or of two.
        caption: what the audit reports about it.
        given: label that it has. suggested: label that the audit takes to be right; empty: none.
        pictures: of the report, plain and changed, where the images cannot be shown or were changed.
        second: what the second of these is.
    """

    images: tuple[str, ...]
    caption: str = ""
    given: str = ""
    suggested: str = ""
    pictures: tuple[str, ...] = ()
    second: str = "changed"

    @cached_property
    def key(self) -> str:
        """Name of the item among decisions: that of its images.

        >>> Item(("a", "b")).key == Item(("a", "b"), caption="group 1").key
        True
        """
        return hashlib.sha256(json.dumps(self.images).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Queue:
    """What is to be decided about one finding.

    Attributes:
        finding: of the report.
        form: one image at a time, or two.
        items: in the order in which a person should look.
        label: about which of several labels an image is decided; empty: an image has one label, or all are meant.
    """

    finding: Finding
    form: Form
    items: tuple[Item, ...]
    label: str = ""

    def classes(self, run: RunFolder) -> tuple[str, ...]:
        """What an image may be relabelled as: a class, or a label of several, with it and without."""
        if not run.several:
            return run.class_names
        return (self.label, without(self.label)) if self.label else ()


def without(label: str) -> str:
    """What images without a label are called.

    >>> without("mass")
    'no mass'
    """
    return f"no {label}"


def queue_of(run: RunFolder, finding: Finding, table: ImageTable | None) -> Queue:
    """The queue of a finding; without items where it has no images.

    Args:
        run: finished audit.
        finding: one of its findings.
        table: its images; None where they are not known.
    """
    label = str(finding.facts.get("label", "")) if run.several else ""
    label = label if label in run.class_names else ""
    if finding.kind == "manipulated_region" and finding.subject != "audited":
        return Queue(finding, "single", ())  # its images are none of the audited ones, which decisions are about
    by_kind = {"label_noise": _suspects, "duplicate": _pairs, "leakage": _leaks, "slice": _members}
    by_kind["manipulated_region"] = _edited
    made = by_kind[finding.kind](run, finding) if finding.kind in by_kind else []
    has = _with_label(label, run, table)
    made = [_of_label(one, label, has) for one in made]
    if finding.kind == "worst_class" and table is not None:
        with suppress(InputError):  # the page of the images says why
            made = _lost(label, run, table) if run.several else _mistaken(run, finding, table)
    form: Form = "pair" if finding.kind == "duplicate" else "single"
    pictures = {one.example_id: _shown(one.image, one.after) for one in finding.examples}
    if not made:
        form = "single"
        made = [
            _of_label(Item((one.example_id,), one.caption, pictures=pictures[one.example_id]), label, has)
            for one in finding.examples
            if one.example_id
        ]
    elif pictures:
        mapped = finding.kind == "manipulated_region"
        made = [_with_pictures(one, pictures, mapped=mapped) for one in made[:MOST]]
    unique = {one.images: one for one in made[:MOST]}
    return Queue(finding, form, tuple(unique.values()), label)


def ids_of(queue: Queue) -> list[str]:
    """All images of a queue, each once."""
    return list(dict.fromkeys(image for item in queue.items for image in item.images))


def _with_pictures(item: Item, pictures: Mapping[str, tuple[str, ...]], *, mapped: bool) -> Item:
    """An item with its pictures of the report; of one that is ``mapped`` its map as well."""
    if mapped:
        return replace(item, pictures=pictures.get(item.images[0], ()), second="what looks edited, in red")
    found = tuple(name for image in item.images for name in pictures.get(image, ())[:1])
    return Item(item.images, item.caption, item.given, item.suggested, found if len(found) == len(item.images) else ())


def _shown(*names: str | None) -> tuple[str, ...]:
    return tuple(name for name in names if name is not None)


def _suspects(run: RunFolder, finding: Finding) -> list[Item]:
    """Suspect labels, the least likely first, as the audit lists them."""
    own = finding.facts.get("label") if run.several else None
    return [
        Item((row["id"],), f"label quality {_number(row.get('quality'))} of 1", row["label"], row["suggested"])
        for row in listed(run, "label_noise", ("id", "label", "suggested"))
        if own is None or row["label"] in (own, without(str(own)))
    ]


def _pairs(run: RunFolder, finding: Finding) -> list[Item]:
    """The first image of each group beside each of the others."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in listed(run, "duplicates", ("sort", "id")):
        if not finding.subject or row["sort"] == finding.subject:
            groups.setdefault((row["sort"], str(row.get("group"))), []).append(row["id"])
    return [
        Item((members[0], other), f"{sort}, group {number}")
        for (sort, number), members in groups.items()
        for other in members[1:]
    ]


def _leaks(run: RunFolder, finding: Finding) -> list[Item]:
    rows = listed(run, "leakage", ("sort", "sets", "id"))
    return [Item((row["id"],), finding.subject) for row in rows if f"{row['sort']}, {row['sets']}" == finding.subject]


def _edited(run: RunFolder, finding: Finding) -> list[Item]:
    """Audited images that look edited, the most edited first."""
    return [
        Item((row["id"],), f"{_number(row.get('share'))} of its pixels look edited, most as by {row['editor']}")
        for row in listed(run, "edits", ("id", "set", "editor"))
        if row["set"] == finding.subject
    ]


def _members(run: RunFolder, finding: Finding) -> list[Item]:
    own = str(finding.facts.get("label", "")) if run.several else ""
    name = finding.subject.removeprefix(f"{own}: ") if own else finding.subject
    rows = listed(run, "slices", ("id",))
    return [
        Item((row["id"],))
        for row in rows
        if name in (row.get("slices") or ()) and (not own or row.get("label") in (own, without(own), None))
    ]


def _mistaken(run: RunFolder, finding: Finding, table: ImageTable) -> list[Item]:
    """Images of the class that were taken for another, the surest mistakes first."""
    names = run.class_names
    if finding.subject not in names:
        return []
    label = names.index(finding.subject)
    rows = table.rows(Query(label=label, outcome="wrong", sort="-confidence"))[:MOST]
    taken = [_name_of(names, other) for other in table.predictions[rows].tolist()]
    return [
        Item((example,), f"taken for {other}", finding.subject, other)
        for example, other in zip(table.ids_at(rows.tolist()), taken, strict=True)
    ]


def _lost(label: str, run: RunFolder, table: ImageTable) -> list[Item]:
    """Images with a label of several that the model does not find."""
    if label not in run.class_names:
        return []
    place = run.class_names.index(label)
    rows = table.lost(place)[:MOST]
    return [Item((example,), "not found by the model", label, without(label)) for example in table.ids_at(rows)]


def _with_label(label: str, run: RunFolder, table: ImageTable | None) -> Mapping[str, bool]:
    """Whether each image has a label of several, where that is known."""
    place = run.class_names.index(label) if label else 0
    found = None
    if label and table is not None:
        with suppress(InputError):
            found = table.sets()
    if found is None or table is None or place >= found.labels.shape[1]:
        return {}
    bits = found.labels[:, place].tolist()
    return {name: bit > 0 for name, bit in zip(table.ids.to_pylist(), bits, strict=True) if bit >= 0}


def _of_label(item: Item, label: str, has: Mapping[str, bool]) -> Item:
    """An item about one label of several: what may be right instead is the other of the two."""
    if not label:
        return item
    known = has.get(item.images[0])
    given = item.given or ("" if known is None else label if known else without(label))
    other = item.suggested or (without(label) if given == label else label if given == without(label) else "")
    return Item(item.images, item.caption, given, other, item.pictures)


def listed(run: RunFolder, name: str, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a list of a run that say all that is wanted as text; other rows are left out. No list: no rows."""
    file = run.path / "lists" / f"{name}.json"
    try:
        if file.stat().st_size > LARGEST:
            return []
        rows = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(rows, list):
        return []
    return [row for row in rows if isinstance(row, dict) and all(isinstance(row.get(one), str) for one in wanted)]


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "unknown"


def _name_of(names: Sequence[str], index: int) -> str:
    return names[index] if 0 <= index < len(names) else ""
