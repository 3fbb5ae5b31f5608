"""Decisions as a table of images that ``snellen treat`` and ``snellen audit`` read, and the commands that read it."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.core.errors import InputError
from snellen.core.run import write_atomically
from snellen.data.files.contained_file import printable
from snellen.desk.agreement import Settled, settled
from snellen.desk.decisions import Decision
from snellen.desk.queues import Queue
from snellen.desk.run_folder import RunFolder

if TYPE_CHECKING:
    from snellen.core.images import ImageSet

#: Columns of the table: what a treatment reads, then what a person wants to know. Of several labels an image one
#: column holds their names with | between them, "none" for none, and nothing where they are not known. What names
#: do not say, as that one of them is unknown or in no image, is written as 1, 0 and −1 in the order of the classes.
ID, LABEL, LABELS, NONE = "id", "label", "labels", "none"

#: Columns of the images that the table carries along, as they mean it.
CARRIED = {"unit_id": "unit", "group": "group"}

#: Bytes of the line that names the columns.
_LONGEST_HEAD = 4_096


@dataclass(frozen=True)
class Table:
    """Every image of a run with the label that it has after the review.

    Attributes:
        rows: in the order of the images.
        columns: in their order.
        changed: images with another label. dropped: images without one, which nothing is trained on.
        disputed: items about which reviewers differ, which stay as they are.
        beyond: images of the same source that were not audited, as a limit has it; they keep their labels.
    """

    rows: Sequence[Mapping[str, str]]
    columns: Sequence[str]
    changed: int
    dropped: int
    disputed: int
    beyond: int = 0

    def csv(self) -> str:
        """As CSV."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return stream.getvalue()


def decided_table(
    images: ImageSet, queues: Iterable[tuple[Queue, Sequence[Decision]]], whole: ImageSet | None = None
) -> Table:
    """The label of every image after the review of some queues.

    A relabelled image has its new label, a dropped one none. Of two that are the same, the second is dropped. Where
    reviewers differ, or two queues do, an image stays as it is.

    Args:
        images: that were audited.
        queues: each with the decisions about it that stand.
        whole: all images of the source; those may be a part of it. What reads a table wants a row for each.

    Raises:
        InputError: the images have no labels.
    """
    if images.class_names is None:
        raise InputError(f"{images.name} has no labels, so no label can be corrected")
    if LABELS in images.table.column_names and images.table[LABELS].null_count < len(images):
        return _decided_sets(images, queues, whole)
    wanted, disputed = _wanted(queues)  # of audited images alone
    images, beyond = _with_others(images, whole)
    names = images.class_names or ()
    given = ["" if label < 0 else names[label] for label in images.known_labels.tolist()]
    carried = _carried(images)
    rows, changed, dropped = [], 0, 0
    for place, (name, label) in enumerate(zip(images.ids, given, strict=True)):
        found = wanted.get(name)
        after = label if found is None else found[0]
        changed += bool(after) and after != label
        dropped += bool(label) and not after
        row = {ID: name, LABEL: after, "given": label, "decided": "" if found is None else found[1]}
        row["reviewers"] = "" if found is None else found[2]
        rows.append({**row, **{shown: str(values[place] or "") for shown, values in carried.items()}})
    return Table(rows, (ID, LABEL, "given", "decided", "reviewers", *carried), changed, dropped, disputed, beyond)


def _decided_sets(
    images: ImageSet, queues: Iterable[tuple[Queue, Sequence[Decision]]], whole: ImageSet | None
) -> Table:
    """The same of several labels an image: each decision is about one label, and leaves the others as they are."""
    by_label: dict[str, list[tuple[Queue, Sequence[Decision]]]] = {}
    for queue, decisions in queues:
        by_label.setdefault(queue.label, []).append((queue, decisions))
    wanted = {label: _wanted(found) for label, found in by_label.items()}
    images, beyond = _with_others(images, whole)
    names = images.class_names or ()
    carried = _carried(images)
    sets = images.label_sets.tolist()
    decided = [
        {label: one for label, (per_image, _) in wanted.items() if (one := per_image.get(name)) is not None}
        for name in images.ids
    ]
    after = [_after(own, names, found) for own, found in zip(sets, decided, strict=True)]
    written = _as_names if _can_be_named(names, after) else _as_numbers
    rows, changed, dropped = [], 0, 0
    for place, (name, own, now, found) in enumerate(zip(images.ids, sets, after, decided, strict=True)):
        changed += bool(now) and now != own
        dropped += not now and max(own) >= 0
        row = {
            ID: name,
            LABELS: written(now, names),
            "given": written(own, names),
            "decided": "; ".join(f"{label}: {one[1]}" if label else one[1] for label, one in found.items()),
            "reviewers": "; ".join(dict.fromkeys(one[2] for one in found.values())),
        }
        rows.append({**row, **{shown: str(values[place] or "") for shown, values in carried.items()}})
    disputed = sum(count for _, count in wanted.values())
    columns = (ID, LABELS, "given", "decided", "reviewers", *carried)
    return Table(rows, columns, changed, dropped, disputed, beyond)


def _after(own: Sequence[int], names: Sequence[str], found: Mapping[str, tuple[str, str, str]]) -> list[int]:
    """1, 0 or −1 for each label after the review; nothing where the image is dropped."""
    if any(not one[0] for one in found.values()):
        return []
    return [int(found[label][0] == label) if label in found else bit for label, bit in zip(names, own, strict=True)]


def _can_be_named(names: Sequence[str], rows: Sequence[Sequence[int]]) -> bool:
    """Whether names with | between them say all: none is unknown beside others, each is somewhere and read as it is."""
    from snellen.data.files.manifest import NO_LABEL  # loads torch, for seconds: the desk starts without

    known = [row for row in rows if row and max(row) >= 0]
    readable = all(
        any(map(str.isalpha, one))
        and not set("|[") & set(one)
        and one == one.strip()
        and one.casefold() not in NO_LABEL
        for one in names
    )
    return readable and all(min(row) >= 0 for row in known) and all(map(any, zip(*known, strict=True)))


def _as_names(row: Sequence[int], names: Sequence[str]) -> str:
    if not row or min(row) < 0:
        return ""
    return "|".join(name for name, bit in zip(names, row, strict=True) if bit) or NONE


def _as_numbers(row: Sequence[int], _: Sequence[str]) -> str:
    return json.dumps(list(row)) if row and max(row) >= 0 else ""


def _carried(images: ImageSet) -> dict[str, Sequence[Any]]:
    return {
        shown: images.column(column)
        for column, shown in CARRIED.items()
        if column in images.table.column_names and any(one is not None for one in images.column(column))
    }


def _with_others(images: ImageSet, whole: ImageSet | None) -> tuple[ImageSet, int]:
    """The whole source with labels in the classes of its audited part, and how many others it holds."""
    if whole is None or not set(images.ids) < set(whole.ids):
        return images, 0
    assert images.class_names is not None
    from snellen.data.files.labels import align_labels  # as above

    return align_labels(whole, images.class_names), len(whole) - len(images)


def _wanted(queues: Iterable[tuple[Queue, Sequence[Decision]]]) -> tuple[dict[str, tuple[str, str, str]], int]:
    """Label, verdict and reviewers of each image that is changed; how many items are disputed."""
    found: dict[str, set[tuple[str, str]]] = {}
    stays: set[str] = set()  # somebody keeps its label, or reviewers differ about it
    reviewers: dict[str, tuple[str, ...]] = {}
    disputed = 0
    for queue, decisions in queues:
        outcomes = settled(decisions)
        for item in queue.items:
            outcome = outcomes.get(item.key)
            if outcome is None:
                continue
            disputed += outcome.state == "disputed"
            if queue.form == "single" and (outcome.verdict == "keep" or outcome.state == "disputed"):
                stays.add(item.images[0])
            change = _change(outcome, item.images, queue.form)
            if change is not None:
                image, label, verdict = change
                found.setdefault(image, set()).add((label, verdict))
                reviewers[image] = tuple(dict.fromkeys((*reviewers.get(image, ()), *outcome.reviewers)))
    clear: dict[str, tuple[str, str, str]] = {}
    for image, changes in found.items():
        # A copy is left out, with any label.
        label, verdict = ("", "same") if ("", "same") in changes else min(changes)
        if verdict == "same" or (image not in stays and len({one for one, _ in changes}) == 1):
            clear[image] = (label, verdict, "; ".join(reviewers[image]))
        else:
            disputed += 1  # one queue says something else than a second queue
    return clear, disputed


def _change(outcome: Settled, images: Sequence[str], form: str) -> tuple[str, str, str] | None:
    """Image, its label after, and the verdict; None where nothing changes."""
    if outcome.verdict == "relabel" and outcome.label:
        return images[0], outcome.label, "relabel"
    if outcome.verdict == "drop" or (outcome.verdict == "same" and form == "pair"):
        return images[-1], "", outcome.verdict
    return None


def write_table(table: Table, run: RunFolder, store: Path) -> Path:
    """Write the table below the desk's own folder.

    Returns:
        The file, ``decided/RUN-….csv``.
    """
    file = decided_place(run, store, ".csv")
    write_atomically(file, table.csv().encode("utf-8", "backslashreplace"))
    return file


def decided_place(run: RunFolder, store: Path, ending: str) -> Path:
    """Name of a file about the decisions on a run."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in run.path.name)[:60] or "run"
    return store / "decided" / f"{safe}-{run.key[:6]}{ending}"


@dataclass(frozen=True)
class Reference:
    """What the images and the classifier of a run were loaded from, as a command line says it.

    Attributes:
        data: reference of the images.
        model: reference of the classifier; empty where a command line cannot say it.
        obstacle: why no command can read the images with another table; empty where one can.
    """

    data: str
    model: str
    obstacle: str = ""


def reference_of(run: RunFolder) -> Reference:
    """The references of a run, with paths that hold from every folder."""
    try:
        images, model = run.inputs["images"]["reference"], run.inputs["classifier"]
        data = absolute(str(images["ref"]), str(images.get("folder") or "."))
    except (InputError, KeyError, TypeError, AttributeError):
        return Reference("", "", "the run does not say how its images were loaded: they were handed in as objects")
    if not all(one.isprintable() and not one.startswith("-") for one in (data, str(model.get("ref") or ""))):
        return Reference("", "", "the references of this run cannot be written on a command line")
    loaded = absolute(str(model["ref"]), str(model.get("folder") or ".")) if model.get("ref") else ""
    if images.get("columns") and images.get("table") is None:
        return Reference(
            data,
            loaded,
            "these images come from a table whose columns were named with --column. Correct the column of labels in "
            "that table by the exported one, and read it as before",
        )
    return Reference(data, loaded)


def treat_words(other: RunFolder, data: str, table: Path, columns: Sequence[str], out: Path) -> list[str]:
    """The command that treats the first finding of another run with the decided images, in words; none: no words.

    Args:
        other: audit of other images by the same classifier.
        data: reference of the decided images.
        table: as it was written. columns: of it.
        out: new folder.
    """
    first = next((one for one in other.treatable if one.level != "note"), None)
    if first is None:
        return []
    reading = ["--train", data, *reading_options(table, columns)]
    return ["snellen", "treat", str(other.path), f"--finding={first.key}", *reading, "--out", str(out)]


def audit_words(
    model: str, data: str, table: Path, columns: Sequence[str], out: Path, options: Sequence[str] = ()
) -> list[str]:
    """The command that audits the decided images again, in words; options: all else that the audit had."""
    return ["snellen", "audit", model, data, *reading_options(table, columns), *options, "--out", str(out)]


def columns_of(file: Path) -> list[str]:
    """Columns of a table that a desk wrote.

    Raises:
        InputError: the file is none.
    """
    if not os.path.isfile(file):  # nor a pipe, which would be waited for
        raise InputError(f"{printable(str(file))} is no file; name a table that the desk wrote, decided/….csv")
    try:
        with file.open("rb") as stream:
            found = stream.readline(_LONGEST_HEAD).decode("utf-8", "replace").strip().split(",")
    except OSError as error:
        raise InputError(f"{printable(str(file))} cannot be read: {error}") from error
    if ID not in found or not {LABEL, LABELS} & set(found):
        raise InputError(f"{printable(str(file))} is no table that the desk wrote: it has no columns {ID} and {LABEL}")
    return found


def reading_options(table: Path, columns: Sequence[str]) -> list[str]:
    """Options that read a table with these columns beside its images."""
    label = LABELS if LABELS in columns else LABEL
    words = ["--table", str(table), "--column", f"image={ID}", "--column", f"{label}={label}"]
    for shown in CARRIED.values():
        if shown in columns:
            words += ["--column", f"{shown}={shown}"]
    return words


def shell_line(words: Sequence[str]) -> str:
    """Words as a line that a shell reads back as they are.

    >>> shell_line(["snellen", "treat", "my run"])
    "snellen treat 'my run'"
    """
    return shlex.join(words)


def free_folder(folder: Path) -> Path:
    """A name that no folder has: the same, or with a number behind."""
    found, number = folder, 2
    while found.exists():
        found, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return found


def absolute(reference: str, folder: str) -> str:
    """A reference with a path that holds from every folder, where a part of it is one that is there."""
    scheme, colon, rest = reference.partition(":")
    head, text = (f"{scheme}:", rest) if colon and scheme.isalnum() and len(scheme) > 1 else ("", reference)
    place, mark, split = text.partition("#")
    path = os.path.join(folder, place)
    return f"{head}{path}{mark}{split}" if place and os.path.exists(path) else reference
