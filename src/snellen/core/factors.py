"""Several groups of each image, such as hospital, scanner and age band: as they are stored, and how they are named."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

#: Column of an image table that holds them: a JSON object for each image, name of a factor → value.
FACTORS = "group_factors"

#: What a band of numbers is called.
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_BAND = re.compile(rf"under {_NUMBER}|{_NUMBER} to under {_NUMBER}|{_NUMBER} or more")


def encoded(values: Mapping[str, Sequence[str | None]]) -> list[str]:
    """Values of each image by factor, as they are stored; those that are not known are left out.

    >>> encoded({"site": ["A", None], "age": ["under 40", "40 or more"]})
    ['{"site": "A", "age": "under 40"}', '{"age": "40 or more"}']
    """
    names = list(values)
    return [
        json.dumps({name: value for name, value in zip(names, row, strict=True) if value is not None})
        for row in zip(*values.values(), strict=True)
    ]


def decoded(column: Sequence[object]) -> dict[str, tuple[str | None, ...]]:
    """Values by factor, in the order in which factors are first named: what :func:`encoded` gave, or None.

    >>> decoded(['{"site": "A"}', None, '{"age": "40 or more"}'])
    {'site': ('A', None, None), 'age': (None, None, '40 or more')}
    """
    known: dict[object, dict[str, str]] = {None: {}}
    rows = []
    for text in column:
        if text not in known:
            held = json.loads(str(text))
            known[text] = {str(name): str(value) for name, value in held.items() if value is not None}
        rows.append(known[text])
    names = dict.fromkeys(name for row in known.values() for name in row)
    return {name: tuple(row.get(name) for row in rows) for name in names}


def band_names(edges: Sequence[float]) -> list[str]:
    """Names of the bands between ascending edges; a band holds its lower edge.

    >>> band_names([40, 60.5])
    ['under 40', '40 to under 60.5', '60.5 or more']
    """
    shown = [number_text(edge) for edge in edges]
    between = [f"{low} to under {high}" for low, high in pairwise(shown)]
    return [f"under {shown[0]}", *between, f"{shown[-1]} or more"]


def is_band(value: str) -> bool:
    """Whether a value is the name of a band of numbers, which names nobody.

    >>> is_band("under 40"), is_band("-1.5 to under 1e+06"), is_band("under Smith")
    (True, True, False)
    """
    return _BAND.fullmatch(value) is not None


def edges_of(values: Iterable[str | None]) -> list[float]:
    """Where bands begin, ascending, from the names of those that images are in; none where a value is no band.

    >>> edges_of(["40 to under 60.5", None, "under 40"]), edges_of(["under 40", "F"])
    ([40.0, 60.5], [])
    """
    known = {value for value in values if value is not None}
    if not all(is_band(value) for value in known):
        return []
    return sorted({float(number) for value in known for number in re.findall(_NUMBER, value)})


def subject_of(levels: Iterable[tuple[str, str]]) -> str:
    """How a finding names the images that have these values.

    >>> subject_of([("scanner", "GE"), ("age", "60 or more")])
    'scanner=GE, age=60 or more'
    """
    return ", ".join(f"{name}={value}" for name, value in levels)


def groupings(
    groups: Sequence[str | None], factors: Mapping[str, Sequence[str | None]]
) -> list[tuple[str | None, ...]]:
    """Names of the groups of each image, once for each factor; where there are none, of its one group.

    >>> groupings(["A", "B"], {})
    [('A', 'B')]
    >>> groupings(["A", "B"], {"site": ["A", "B"], "scanner": ["GE", None]})
    [('site=A', 'site=B'), ('scanner=GE', None)]
    """
    if not factors:
        return [tuple(groups)]
    return [
        tuple(None if value is None else subject_of([(name, value)]) for value in values)
        for name, values in factors.items()
    ]


def number_text(number: float) -> str:
    """A number in words that keep all of it: numbers that differ, such as dates, stay apart.

    >>> number_text(40.0), number_text(60.5), number_text(20210105)
    ('40', '60.5', '20210105')
    """
    return f"{number:.15g}"


def number_of(value: object) -> float | None:
    """A value as a finite number; None where it is none.

    >>> number_of("41"), number_of(True), number_of("F"), number_of("nan"), number_of("1_3")
    (41.0, None, None, None, None)
    """
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
