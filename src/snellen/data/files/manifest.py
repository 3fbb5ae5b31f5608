"""A manifest: a CSV or Parquet table that lists images and says what is known about each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from snellen.core.errors import InputError
from snellen.core.factors import FACTORS, decoded
from snellen.core.images import COLUMNS, ImageSet, Provenance, Split
from snellen.data.files.decoding import DEFAULT_LIMITS, SIXTEEN_BIT, DecodingLimits
from snellen.data.files.file_source import FileSource
from snellen.data.files.labels import MAX_CLASSES, checked_class_count, numbered_class_names
from snellen.data.files.manifest_table import Written, read_table
from snellen.data.files.splits import SPELLINGS, split_of

#: Columns that name a class in each row, all of the same classes.
OF_CLASSES = ("label", "bag_label")

#: What says in a column of names that an image has no label, without regard to case.
NO_LABEL = ("none", "no finding")

#: What a column of one label may say.
_BITS = {
    **dict.fromkeys(("1", "1.0", "true", "yes"), 1),
    **dict.fromkeys(("0", "0.0", "false", "no"), 0),
    **dict.fromkeys(("", "-1", "-1.0", "nan"), -1),
}

#: So many characters of a value are quoted.
MAX_QUOTED = 200

#: So far from an image's corner a box may reach, pixels.
FARTHEST = 10**9


def meaning(
    shown_as: str, written: Written, class_names: Sequence[str] | None = None, *, quoting: bool = True
) -> tuple[pa.Table, tuple[str, ...] | None, Split | None]:
    """The table of an image set from what was written about its images, their class names, and their one split.

    Args:
        shown_as: the name of the table in errors.
        written: columns of :data:`snellen.core.images.COLUMNS`, and ``path``.
        class_names: names of classes that are numbered; None: named "0" … "k−1".
        quoting: whether errors quote the value that cannot be; it may be the name of a person.

    Raises:
        InputError: a row says something that cannot be; the message names it.
    """
    table = _Table(shown_as, written, class_names, quoting)
    of_classes, names = table.of_classes()
    columns: dict[str, pa.Array] = {"id": table.ids()} | of_classes
    if "labels" in written.columns:
        columns["labels"], count, own = table.labels()
        if own is not None and "label" in columns:
            raise InputError(
                f"{shown_as}: 'labels' names several classes for each image, and 'label' one; name one of them alone"
            )
        if names is not None and len(names) != count:
            raise InputError(f"{shown_as}: 'labels' has {count} classes, but 'label' has {len(names)}")
        names = own or names or numbered_class_names(count)
    columns |= {column: table.column(column) for column in written.columns if column not in columns}
    if FACTORS in columns and "group" not in columns:
        # What reads one group alone reads the first, as where columns are named.
        values = decoded(columns[FACTORS].to_pylist())
        if values:
            columns["group"] = pa.array(next(iter(values.values())), COLUMNS["group"])
    columns |= written.further
    splits = set(columns["split"].to_pylist()) if "split" in columns else {None}
    return pa.table(columns), names, splits.pop() if len(splits) == 1 else None


class _Table:
    """Checks what a manifest says, column by column; errors name file and row."""

    def __init__(self, shown_as: str, written: Written, class_names: Sequence[str] | None, quoting: bool) -> None:
        self.shown_as, self.written, self.class_names, self.quoting = shown_as, written, class_names, quoting

    def wrong(self, position: int, what: str, value: object = None) -> InputError:
        return InputError(f"{self.shown_as}, {self.written.rows[position]}: {what}{self._quoted(value)}")

    def _quoted(self, value: object) -> str:
        """The end of an error: the value that came, its beginning where it is long."""
        if value is None or not self.quoting:
            return ""
        text = repr(value)
        return f"; got {text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + '…'}"

    def texts(self, column: str) -> list[str | None]:
        """Values as text; whole numbers are written out (an id or unit may be one)."""
        found: list[str | None] = []
        for position, value in enumerate(self.written.columns[column]):
            if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
                raise self.wrong(position, f"{column} must be text", value)
            if isinstance(value, str) and not is_text(value):
                raise self.wrong(position, f"{column} holds half of a character (a lone surrogate)", value)
            found.append(None if value is None or value == "" else str(value))
        return found

    def ids(self) -> pa.Array:
        paths = self.texts("path") if "path" in self.written.columns else [None] * len(self.written.rows)
        given = self.texts("id") if "id" in self.written.columns else paths
        ids = [identity or path for identity, path in zip(given, paths, strict=True)]
        for position, identity in enumerate(ids):
            if identity is None:
                raise self.wrong(position, "neither an id nor a path")
        return pa.array(ids, COLUMNS["id"])

    def of_classes(self) -> tuple[dict[str, pa.Array], tuple[str, ...] | None]:
        """Class index per row, of images and of bags, and the names of the classes; None when no row has a label."""
        written = {column: self._class_texts(column) for column in OF_CLASSES if column in self.written.columns}
        known = [text for texts in written.values() for text in texts if text is not None]
        if all(_is_integer(text) for text in known):
            return self._numbered(written)
        self._check_alike(written)
        for column, texts in written.items():
            floating = next((p for p, text in enumerate(texts) if _is_whole_float(text)), None)
            if floating is not None:
                what = f"{column} is neither an integer nor a class name (write 3, not 3.0)"
                raise self.wrong(floating, what, texts[floating])
        class_names = sorted(set(known))
        index = {class_name: number for number, class_name in enumerate(class_names)}
        arrays = {
            column: pa.array([None if text is None else index[text] for text in texts], COLUMNS[column])
            for column, texts in written.items()
        }
        return arrays, tuple(class_names)

    def _check_alike(self, written: dict[str, list[str | None]]) -> None:
        """Refuse numbers in one column beside names in the other: "1" would be a class of its own, and not "tumour"."""
        texts = {column: {text for text in values if text is not None} for column, values in written.items()}
        for column, own in texts.items():
            others = set[str]().union(*(values for other, values in texts.items() if other != column))
            if own and others and all(_is_integer(text) for text in own) and not own <= others:
                raise InputError(
                    f"{self.shown_as}: {column} holds numbers, and the other of {' and '.join(texts)} names of "
                    f"classes; "
                    f"write both alike{self._quoted([*sorted(own)[:3], *sorted(others)[:3]])}"
                )

    def _class_texts(self, column: str) -> list[str | None]:
        values = self.written.columns[column]
        for position, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, str | int | None):
                raise self.wrong(position, f"{column} must be a class name or an integer", value)
            if isinstance(value, str) and not is_text(value):
                raise self.wrong(position, f"{column} holds half of a character (a lone surrogate)", value)
        return [None if value is None or value == "" else str(value) for value in values]

    def _numbered(self, written: dict[str, list[str | None]]) -> tuple[dict[str, pa.Array], tuple[str, ...] | None]:
        found, highest = dict[str, list[int | None]](), -1
        for column, texts in written.items():
            numbers = [None if text is None else int(text) for text in texts]
            for position, number in enumerate(numbers):
                if number is not None and number < -1:
                    what = f"{column} is no class: classes are numbered from 0, −1 means unknown"
                    raise self.wrong(position, what, number)
            highest = max([highest, *(number for number in numbers if number is not None)])
            found[column] = numbers
        what = f"{self.shown_as}, column {' or '.join(map(repr, written))}"
        if self.class_names is not None and highest >= len(self.class_names):
            which = f"class {highest}" if self.quoting else "a class"
            raise InputError(f"{what}: {which} is out of range for {len(self.class_names)} class names")
        if not self.quoting and highest >= MAX_CLASSES:
            raise InputError(f"{what}: more than {MAX_CLASSES} classes; is this an identifier?")
        count = checked_class_count(highest + 1, what)
        arrays = {
            column: pa.array([None if number == -1 else number for number in numbers], COLUMNS[column])
            for column, numbers in found.items()
        }
        return arrays, (tuple(self.class_names or numbered_class_names(count)) if count else None)

    def labels(self) -> tuple[pa.Array, int, tuple[str, ...] | None]:
        """0/1 per class and row, −1 where unknown; the number of classes, and their names where they are written."""
        written = self.written.columns["labels"]
        if any(isinstance(value, dict) for value in written):
            return self._by_column([value for value in written if isinstance(value, dict)])
        texts = [value for value in written if isinstance(value, str)]
        named = any("|" in text or any(map(str.isalpha, text)) for text in texts)
        if named and not any(text.lstrip().startswith("[") for text in texts):
            return self._by_name(written)
        rows = self._parsed("labels")
        count = next((len(row) for row in rows if row is not None), 0)
        for position, row in enumerate(rows):
            wrong = row is not None and (
                len(row) != count or not row or any(one not in (0, 1, -1, None) for one in row)
            )
            if wrong:
                what = f"labels must be {count or 'k'} values of 0 or 1, one for each class, -1 where unknown"
                raise self.wrong(position, what, row)
        whole = [None if row is None else [-1 if value is None else int(value) for value in row] for row in rows]
        return pa.array(whole, COLUMNS["labels"]), count, None

    def _by_name(self, written: Sequence[object]) -> tuple[pa.Array, int, tuple[str, ...]]:
        """Names with "|" between them; "none" or "No Finding" alone is no label, an empty field is unknown."""
        rows = list[set[str] | None]()
        for position, value in enumerate(written):
            if value is not None and not (isinstance(value, str) and is_text(value)):
                raise self.wrong(position, "labels are names with | between them", value)
            named = None if value is None else {name.strip() for name in str(value).split("|") if name.strip()}
            alone = named is not None and len(named) == 1 and next(iter(named)).casefold() in NO_LABEL
            rows.append(set() if alone else named or None)
        names = sorted(set[str]().union(*(row for row in rows if row is not None)))
        if not names:
            raise InputError(f"{self.shown_as}: no image has a label; labels are names with | between them")
        found = [None if row is None else [int(name in row) for name in names] for row in rows]
        checked_class_count(len(names), f"{self.shown_as}, column 'labels'")
        return pa.array(found, COLUMNS["labels"]), len(names), tuple(names)

    def _by_column(self, written: Sequence[dict[str, object]]) -> tuple[pa.Array, int, tuple[str, ...]]:
        """One column for each label: 1 or 0, empty or −1 where unknown."""
        names, rows = tuple(written[0]), list[list[int] | None]()
        for position, values in enumerate(written):
            row = []
            for name, value in values.items():
                known = _BITS.get(str(value).strip().casefold() if value is not None else "")
                if known is None:
                    raise self.wrong(position, f"column {name!r} says 1 or 0, empty or -1 where unknown", value)
                row.append(known)
            rows.append(None if all(one < 0 for one in row) else row)
        return pa.array(rows, COLUMNS["labels"]), len(names), names

    def column(self, column: str) -> pa.Array:
        """Any other column, by its meaning."""
        if column == "split":
            return pa.array(self._splits(), COLUMNS["split"])
        if column == "boxes":
            return self._boxes()
        if column in ("attributes", FACTORS, "provenance"):
            self._check_json(column)
        return pa.array(self.texts(column), pa.string())

    def _splits(self) -> list[Split | None]:
        found: list[Split | None] = []
        for position, text in enumerate(self.texts("split")):
            split = None if text is None else split_of(text)
            if text is not None and split is None:
                raise self.wrong(position, f"unknown split; known: {', '.join(SPELLINGS)}", text)
            found.append(split)
        return found

    def _boxes(self) -> pa.Array:
        rows = self._parsed("boxes")
        for position, row in enumerate(rows):
            if row is not None and not all(_is_box(box) for box in row):
                raise self.wrong(position, "boxes are [[x0, y0, x1, y1], …] in pixels, with x0 < x1 and y0 < y1", row)
        return pa.array(rows, COLUMNS["boxes"])

    def _parsed(self, column: str) -> list[list[Any] | None]:
        """Values that are lists: as they are in Parquet, from JSON in text."""
        found: list[list[Any] | None] = []
        for position, value in enumerate(self.written.columns[column]):
            parsed = self._json(column, position, value) if isinstance(value, str) else value
            if parsed is not None and not isinstance(parsed, list):
                raise self.wrong(position, f"{column} must be a list, written as JSON", value)
            found.append(parsed)
        return found

    def _check_json(self, column: str) -> None:
        checks: dict[str, Callable[[object], object]] = {"provenance": Provenance.model_validate, FACTORS: _factors}
        check = checks.get(column, _object)
        for position, text in enumerate(self.texts(column)):
            if text is not None:
                try:
                    check(self._json(column, position, text))
                except ValueError as error:
                    if isinstance(error, InputError):
                        raise
                    # Pydantic quotes what came, and names that are no fields.
                    why = ": " + " ".join(str(error).split()) if self.quoting else ""
                    raise self.wrong(position, f"{column} cannot be used{why}") from error

    def _json(self, column: str, position: int, text: str) -> object:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.wrong(position, f"{column} is not JSON ({error})", text) from error


def is_text(value: str) -> bool:
    """Whether a text can be stored: JSON may hold halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_integer(text: str) -> bool:
    """Whether text is an integer in its usual spelling: "7" and "-1", not "007", which is a name."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and str(int(text[:30])) == text


def _is_whole_float(value: object) -> bool:
    return isinstance(value, str) and value.endswith(".0") and _is_integer(value.removesuffix(".0"))


def _is_box(box: object) -> bool:
    if not isinstance(box, list) or len(box) != 4:
        return False
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= FARTHEST for v in box):
        return False
    return box[0] < box[2] and box[1] < box[3]


def _object(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


def _factors(value: object) -> object:
    for name, level in dict(_object(value)).items():  # type: ignore[call-overload]
        if not isinstance(level, str | int | float | None):
            raise ValueError(f"expected a text or a number for {name}")
    return value


def load_manifest(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    limits: DecodingLimits = DEFAULT_LIMITS,
    grey_range: tuple[int, int] = SIXTEEN_BIT,
) -> ImageSet:
    """Read a manifest (``.csv`` or ``.parquet``).

    Columns are those of :data:`snellen.core.images.COLUMNS`, all optional, and ``path``, relative to the folder of the
    manifest. Without ``id``, the path is the id. ``label`` holds class names (sorted, they become the class names) or
    integers (then classes are called "0" … "k−1"; −1 or empty means unknown). ``bag_label``, the label of the whole bag
    that a row belongs to, is written likewise and of the same classes. ``split`` may also say ``validation``,
    which is ``val``. In CSV, ``labels`` and ``boxes`` are written as JSON: ``"[0, 1, 1]"``. ``labels`` may also hold
    names with "|" between them ("edema|mass"; "none" or "No Finding" alone is no label, an empty field is unknown). Or
    they are several columns, one for each label, of 1, 0 and empty or −1 where unknown:
    ``columns={"labels": "edema,mass"}``. Further
    columns are kept.

    A path that is absolute, leads out of the folder, or names no file makes that image rejected, by name, when it is
    read; it does not spoil the others. Anything else that is wrong in a row is an error that names the row.

    Args:
        path: of the table.
        columns: what columns of other names mean, as ``{"image": "file", "label": "dx", "unit": "patient"}``.
        name: shown in reports.
        limits: of the files.
        grey_range: values of black and white in grey images of more than 8 bits.

    Raises:
        InputError: the table cannot be read, or a row says something that cannot be.
    """
    written = read_table(path, columns=columns)
    if not written.rows:
        raise InputError(f"{path} lists no images")
    table, class_names, split = meaning(str(path), written)
    paths = ["" if place is None else str(place) for place in written.columns["path"]]
    source = FileSource(path.parent.resolve(), paths, limits=limits, grey_range=grey_range)
    return ImageSet(source, table, class_names, name or path.stem, split=split)
