"""Which column of a foreign table means what: ``columns={"image": "file", "label": "dx", "unit": "patient"}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snellen.core.errors import InputError, unknown_name
from snellen.core.images import COLUMNS

#: Short names of what may be known about an image → column of an image table.
SHORT = {"image": "path", "unit": "unit_id", "bag": "bag_id"}

#: What a mapping may name.
MEANT = (*SHORT, "path", *COLUMNS)


def renamed(columns: Mapping[str, str] | None, there: Sequence[str], told: str) -> dict[str, str]:
    """Column of the table → column of an image table, for the columns that the mapping names.

    >>> renamed({"image": "file", "unit": "patient"}, ["file", "patient", "age"], "table.csv")
    {'file': 'path', 'patient': 'unit_id'}

    Raises:
        InputError: a meaning that is not known, a column that is not there, or one that is named twice.
    """
    found: dict[str, str] = {}
    for meant, column in (columns or {}).items():
        if meant not in MEANT:
            raise unknown_name("meaning of a column", meant, MEANT)
        if column not in there:
            raise unknown_name(f"column of {told}", column, [str(one) for one in there])
        if column in found:
            raise InputError(f"{told}: column {column!r} is named twice, as {found[column]} and as {meant}")
        found[column] = SHORT.get(meant, meant)
    return found
