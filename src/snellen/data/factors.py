"""Groups of images by several columns or arrays: ``group=hospital``, ``group=scanner``, ``group=age:40,60``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from snellen.core.errors import InputError, unknown_name
from snellen.core.factors import FACTORS, band_names, decoded, edges_of, encoded, number_of, number_text
from snellen.core.images import COLUMNS, ImageSet
from snellen.data.files.manifest_table import SHORT

#: What columns mean: one column for each meaning, and one or several for ``group`` and ``labels``.
Columns: TypeAlias = Mapping[str, "str | Sequence[str]"]

#: Groups as a call takes them: names of columns, or values of each image by name.
Groups: TypeAlias = "str | Sequence[str] | Mapping[str, Any] | object"

#: Numbers of more values than this are put into bands.
MOST_NUMBERS = 12

#: Shares at which numbers without edges are cut.
QUARTERS = (0.25, 0.5, 0.75)

#: From so many images on, a column that names most of them one by one is no group.
ENOUGH_TO_TELL = 20

_MEANING = "group"


@dataclass(frozen=True)
class Factor:
    """One factor as it was requested.

    Attributes:
        text: as it was written.
        name: of the column, and of the factor.
        edges: where bands begin, ascending; empty where none are given.
    """

    text: str
    name: str
    edges: tuple[float, ...] = ()

    @classmethod
    def read(cls, text: str, there: Sequence[str] = ()) -> Factor:
        """A factor from ``NAME`` or ``NAME:EDGE,EDGE``; a column of that very name comes first.

        >>> Factor.read("age:40,60").edges
        (40.0, 60.0)

        Raises:
            InputError: edges that are no ascending numbers.
        """
        name, colon, rest = text.rpartition(":")
        if not colon or text in there or not name:
            return cls(text, text)
        edges = [number_of(one) for one in rest.split(",")]
        known = [edge for edge in edges if edge is not None]
        if not known and name not in there:
            return cls(text, text)  # a name with a colon in it
        if len(known) < len(edges) or sorted(set(known)) != known:
            raise InputError(
                f"group {text!r}: expected NAME:EDGE,EDGE with ascending numbers, such as {name or 'age'}:40,60, which "
                f"makes the bands {', '.join(band_names([40, 60]))}"
            )
        return cls(text, name, tuple(known))


def parted(columns: Columns | None, groups: Groups | None) -> tuple[dict[str, str] | None, list[str], Groups | None]:
    """Columns of one name each, names of factors, and groups that are given as values.

    One column without edges stays among the columns: it is the group of the images, as it always was.

    Raises:
        InputError: several columns for another meaning than groups and labels, groups that come twice, no name, or no
            mapping at all.
    """
    if columns is not None and not isinstance(columns, Mapping):
        raise InputError(
            f'columns are named by what they mean, such as {{"label": "finding"}}; got {repr(columns)[:80]}'
        )
    given = {what: _named_by(what, names) for what, names in (columns or {}).items()}
    named = given.pop(_MEANING, None)
    plain = {what: names if isinstance(names, str) else ",".join(names) for what, names in given.items()}
    if groups is not None and named is not None:
        raise InputError("groups come twice: as a meaning of columns, and as groups; give one of them")
    if isinstance(groups, str):
        return plain or None, [groups], None
    if isinstance(groups, Sequence) and all(isinstance(one, str) for one in groups):
        if not groups:
            raise InputError('groups are named, and none is among them; such as groups=["hospital", "scanner"]')
        return plain or None, [str(one) for one in groups], None
    texts = [] if named is None else [named] if isinstance(named, str) else named
    if len(texts) == 1 and not Factor.read(texts[0]).edges:
        plain[_MEANING], texts = texts[0], []
    return plain or None, texts, groups


def _named_by(what: str, names: object) -> str | list[str]:
    """Name of the column of a meaning, or of several.

    Raises:
        InputError: no name, or several for another meaning than groups and labels.
    """
    if isinstance(names, str):
        return names
    several = names if isinstance(names, Sequence) else ()
    if what not in (_MEANING, "labels") or not several or not all(isinstance(one, str) for one in several):
        raise InputError(
            f"columns: {what} is the name of a column, {_MEANING} and labels may be lists of names; got "
            f"{repr(names)[:80]}"
        )
    return list(several)


def columns_beside(images: ImageSet, columns: Columns | None, groups: Groups | None = None) -> Columns | None:
    """What columns mean for training or validation images: the same groups, and numbers in the same bands.

    Args:
        images: the audited ones, with their groups.
        columns: as they were given.
        groups: as they were given; values in memory are those of the audited images alone.
    """
    named = groups if isinstance(groups, Sequence) else (columns or {}).get(_MEANING)
    if named is None:
        return columns
    values, texts = decoded(images.column(FACTORS)), list[str]()
    for text in [named] if isinstance(named, str) else map(str, named):
        edges = edges_of(values.get(text, ()))
        texts.append(f"{text}:{','.join(map(number_text, edges))}" if edges else text)
    return {**(columns or {}), _MEANING: texts[0] if len(texts) == 1 else texts}


def with_factors(images: ImageSet, texts: Sequence[str], columns: Mapping[str, str] | None = None) -> ImageSet:
    """The same images with factors from columns of their table.

    Args:
        images: with further columns.
        texts: ``NAME`` or ``NAME:EDGE,EDGE``.
        columns: what columns mean: those are kept under other names.

    Raises:
        InputError: a column that is not there, twice, or that names no groups.
    """
    if not texts:
        return images
    renamed = {theirs: SHORT.get(what, what) for what, theirs in (columns or {}).items()}
    held = images.table.column_names
    there = [*renamed, *(name for name in held if name not in renamed.values())]
    found: dict[Factor, Sequence[object]] = {}
    for text in texts:
        factor = Factor.read(text, there)
        place = renamed.get(factor.name, factor.name)
        if place not in held:
            raise unknown_name(f"column of {images.name} for a group", factor.name, there)
        found[factor] = images.column(place)
    return _joined(images, found)


def with_groups(images: ImageSet, groups: Groups) -> ImageSet:
    """The same images with groups from values in memory.

    Args:
        images: the set.
        groups: name → values (n,), in the order of the images: a mapping, or a table of pandas, polars or pyarrow;
            ``NAME:EDGE,EDGE`` as a name gives the edges of bands.

    Raises:
        InputError: no such values, or not one for each image.
    """
    given: Mapping[str, Any]
    if isinstance(groups, Mapping):
        given = groups
    elif hasattr(groups, "column_names") or hasattr(groups, "columns"):
        names = groups.column_names if hasattr(groups, "column_names") else groups.columns  # type: ignore[attr-defined]
        given = {str(name): groups[name] for name in names}  # type: ignore[index]
    elif isinstance(groups, Sequence | np.ndarray):
        raise InputError(
            'groups are names of columns, groups=["hospital", "scanner"], or values by name, groups={"hospital": '
            '[...], "scanner": [...]}; these are values without a name'
        )
    else:
        raise InputError(f"groups are names of columns, or values by name; got {type(groups).__name__}")
    if not given:
        raise InputError('groups are none; give values by name, such as groups={"hospital": [...]}')
    found: dict[Factor, Sequence[object]] = {}
    for text, values in given.items():
        listed = _listed(str(text), values)
        if len(listed) != len(images):
            raise InputError(f"group {text!r} has {len(listed)} values for {len(images)} images; give one for each")
        found[Factor.read(str(text), [text] if ":" not in str(text) else [])] = listed
    return _joined(images, found)


def _listed(text: str, values: Any) -> list[object]:  # noqa: ANN401 - of any library
    """Values of a group one by one, as objects of Python.

    Raises:
        InputError: one value alone, or several of each image.
    """
    for name in ("to_pylist", "tolist"):
        if hasattr(values, name):
            values = getattr(values, name)()
            break
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"group {text!r} is {type(values).__name__}; expected a list of values, one for each image")
    found = list(values)
    if any(isinstance(value, list | tuple | dict | set | np.ndarray) for value in found):
        raise InputError(f"group {text!r} has several values for an image; expected one for each image")
    return found


def _joined(images: ImageSet, found: Mapping[Factor, Sequence[object]]) -> ImageSet:
    values: dict[str, list[str | None]] = {}
    notes = list(images.notes)
    for factor, raw in found.items():
        if factor.name in values:
            raise InputError(f"the group {factor.name!r} is named twice")
        values[factor.name], note = _levels(factor, raw, several=len(found) > 1)
        notes += [note] if note else []
    first = next(iter(values.values()))
    table = _set(images.table, _MEANING, first)
    if len(values) > 1:
        table = _set(table, FACTORS, encoded(values))
    elif FACTORS in table.column_names:
        table = table.drop_columns([FACTORS])
    return replace(images, table=table, notes=tuple(notes))


def _set(table: pa.Table, name: str, values: Sequence[str | None]) -> pa.Table:
    column = pa.array(values, COLUMNS[name])
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def _levels(factor: Factor, raw: Sequence[object], *, several: bool) -> tuple[list[str | None], str | None]:
    """The value of each image as text, and a note where numbers were put into bands of our choice.

    Raises:
        InputError: no value at all, a value that is no number where bands are wanted, or a name for each image.
    """
    known = [None if _missing(value) else value for value in raw]
    given = [value for value in known if value is not None]
    if not given:
        raise InputError(f"group {factor.name!r} has no value for any image; leave it out, or name another column")
    numbers = [None if value is None else number_of(value) for value in known]
    edges, note = factor.edges, None
    if edges:
        named = band_names(edges)
        if all(value is None or value in named for value in known):
            return [None if value is None else str(value) for value in known], None  # a column of bands as it is
        bad = next((row for row, value in enumerate(known) if value is not None and numbers[row] is None), None)
        if bad is not None:
            raise InputError(
                f"group {factor.text!r}: bands are of numbers, and image {bad + 1} has {str(known[bad])[:40]!r}"
            )
    elif several and all(number is not None for number, value in zip(numbers, known, strict=True) if value is not None):
        real = [number for number in numbers if number is not None]
        if len(real) >= ENOUGH_TO_TELL and len(set(real)) == len(real) and all(one.is_integer() for one in real):
            raise _identifiers(factor, len(real), len(real))
        if len(set(real)) > MOST_NUMBERS:
            edges = _quarters(real)
            shown = ",".join(map(number_text, edges))
            note = f"group {factor.name}: {len(set(real))} numbers, in bands by quarters ({factor.name}:{shown})"
    if edges:
        names = band_names(edges)
        return [None if one is None else names[int(np.searchsorted(edges, one, "right"))] for one in numbers], note
    levels = [None if value is None else _text(value) for value in known]
    count = len({level for level in levels if level is not None})
    if several and len(given) >= ENOUGH_TO_TELL and count > len(given) / 2:
        raise _identifiers(factor, count, len(given))
    return levels, note


def _quarters(numbers: Sequence[float]) -> tuple[float, ...]:
    """Edges at quarters of the images, ascending, rounded to a hundredth of the order of magnitude of the spread."""
    digits = 2 - math.floor(math.log10(max(numbers) - min(numbers)))
    return tuple(sorted({round(float(edge), digits) for edge in np.quantile(numbers, QUARTERS)}))


def _identifiers(factor: Factor, count: int, images: int) -> InputError:
    return InputError(
        f"group {factor.name!r} has {count} values for {images} images: it names images or patients, and no groups of "
        f"them; say unit={factor.name} if their images belong together, or give bands of numbers, such as "
        f"group={factor.name}:40,60"
    )


def _missing(value: object) -> bool:
    absent = value is None or type(value).__name__ in ("NAType", "NaTType")
    return absent or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value.strip())


def _text(value: object) -> str:
    if isinstance(value, float):
        return number_text(value)
    return str(value).strip() if isinstance(value, str) else str(value)
