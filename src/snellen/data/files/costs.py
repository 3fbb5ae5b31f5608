"""What errors cost: a table with a row for each true class and a column for each decision."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from snellen.core.errors import InputError, unknown_name
from snellen.core.factors import number_of

#: Costs as a call takes them: a CSV file, a mapping of mappings, a table of pandas, or an array in the classes' order.
Costs: TypeAlias = "str | os.PathLike[str] | Mapping[str, Mapping[str, float]] | np.ndarray | Sequence[Any] | object"

#: Largest file that is read, bytes.
MAX_BYTES = 64 * 2**20

#: Costs beyond this are of another unit, or a mistake.
LARGEST = 1e12

#: Names that a message repeats.
_SHOWN = 3


def load_costs(costs: Costs, class_names: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Costs of every decision on every class, in the order of the classes: rows are true classes.

    >>> load_costs({"cat": {"cat": 0, "dog": 1}, "dog": {"cat": 5, "dog": 0}}, ["cat", "dog"])
    ((0.0, 1.0), (5.0, 0.0))

    Args:
        costs: a CSV file whose first column names the true class, and whose header names the decisions; or true class
            → decision → cost; or a table of pandas whose index names the true classes; or an array (k, k).
        class_names: of the classifier, k.

    Raises:
        InputError: a class without row or column, a name that is no class, a table that is not square, a cost that is
            negative or no number, an error that costs less than the right decision, or no error that costs anything.
    """
    names = list(class_names)
    if isinstance(costs, str | os.PathLike):
        shown, rows = os.fspath(costs), _of_file(Path(costs))
    elif hasattr(costs, "to_dict") and hasattr(costs, "index"):
        shown = "the costs"
        table: Any = costs
        rows = {str(true): {str(one): table.loc[true, one] for one in table.columns} for true in table.index}
    elif isinstance(costs, Mapping):
        shown = "the costs"
        rows = {str(true): _of_row(str(true), row) for true, row in costs.items()}
    else:
        shown, rows = "the costs", _of_array(costs, names)
    _check_names(shown, rows, names)
    found = tuple(tuple(_cost(shown, true, one, rows[true][one]) for one in names) for true in names)
    for place, row in enumerate(found):
        for other, cost in enumerate(row):
            if cost < row[place]:
                raise InputError(
                    f"{shown}: {names[place]} taken for {names[other]} costs {cost:g}, less than the right decision "
                    f"({row[place]:g}); costs of right decisions stand on the diagonal and are the least of their row, "
                    f"mostly 0"
                )
    if all(cost == row[place] for place, row in enumerate(found) for cost in row):
        raise InputError(f"{shown}: no error costs anything; write what each costs, such as 1 for the least")
    return found


def regrets(costs: Sequence[Sequence[float]]) -> np.ndarray:
    """What each decision costs beyond the right one, as a share of the costliest error: float64 (k, k) in [0, 1].

    >>> regrets([[0, 1], [5, 0]]).tolist()
    [[0.0, 0.2], [1.0, 0.0]]
    """
    table = np.asarray(costs, dtype=np.float64)
    beyond = table - np.diag(table)[:, None]
    found: np.ndarray = beyond / beyond.max()
    return found


def _of_row(true: str, row: object) -> dict[str, Any]:
    if not isinstance(row, Mapping) and not hasattr(row, "to_dict"):
        raise InputError(
            f"the costs of {true} are {type(row).__name__}; expected decision → cost, such as {{{true!r}: 0, …}}, or "
            f"an array in the order of the classes"
        )
    held: Any = row
    return {str(one): cost for one, cost in dict(held).items()}


def _of_file(path: Path) -> dict[str, dict[str, Any]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES} bytes; a table of costs is small")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; expected a CSV file with a row for each true class and "
            f"a column for each decision"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    try:
        read = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InputError(f"{path} is not readable as CSV: {error}") from error
    numbered = [(number, [field.strip() for field in line]) for number, line in enumerate(read, start=1) if any(line)]
    if len(numbered) < 2:
        raise InputError(
            f"{path} holds no costs; expected a header 'true,CLASS,CLASS …' and below it a row for each true class"
        )
    header = numbered[0][1][1:]
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has two columns {twice!r}; each decision has one")
    found: dict[str, dict[str, Any]] = {}
    for number, line in numbered[1:]:
        if len(line) != len(header) + 1:
            raise InputError(
                f"{path}, row {number}: {len(line) - 1} costs for {len(header)} decisions; the table is square, with a "
                f"cost for each pair of classes"
            )
        if line[0] in found:
            raise InputError(f"{path}, row {number}: a second row of {line[0]!r}; each true class has one")
        found[line[0]] = dict(zip(header, line[1:], strict=True))
    return found


def _of_array(costs: object, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    try:
        table = np.asarray(costs, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"costs are a CSV file, true class → decision → cost, or an array ({len(names)}, {len(names)}); got "
            f"{type(costs).__name__}"
        ) from error
    if table.shape != (len(names), len(names)):
        raise InputError(
            f"the costs have the shape {table.shape}; expected ({len(names)}, {len(names)}), rows true classes and "
            f"columns decisions, in the order {', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}"
        )
    return {true: dict(zip(names, row, strict=True)) for true, row in zip(names, table.tolist(), strict=True)}


def _check_names(shown: str, rows: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> None:
    every = [*rows, *(name for row in rows.values() for name in row)]
    stranger = next((name for name in every if name not in names), None)
    if stranger is not None:
        known = unknown_name(f"class in {shown}", stranger, names)
        raise InputError(f"{known}; rows are true classes and columns decisions, by the names of the model's classes")
    for kind, missing in (
        ("row", [name for name in names if name not in rows]),
        ("column", [name for name in names if any(name not in row for row in rows.values())]),
    ):
        if missing:
            listed = ", ".join(map(repr, missing[:_SHOWN])) + (" …" if len(missing) > _SHOWN else "")
            raise InputError(
                f"{shown}: no {kind} for {listed}; the table has a row and a column for each of the {len(names)} "
                f"classes"
            )


def _cost(shown: str, true: str, decision: str, value: object) -> float:
    number = number_of(value)
    if number is None or number < 0 or number > LARGEST:
        what = "is no number" if number is None else "is negative" if number < 0 else "is too large"
        raise InputError(
            f"{shown}: the cost of {true} taken for {decision} {what} ({str(value)[:40]!r}); costs are 0 or more, up "
            f"to {LARGEST:g}, in any unit"
        )
    return number
