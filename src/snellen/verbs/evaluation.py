"""The table of an evaluation: robust accuracies of models under attacks, and paired differences between models."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import import_extra, unknown_name
from snellen.core.outcomes import NOT_FINITE
from snellen.core.run import write_atomically
from snellen.metrics.clustered import clustered_mean, clustered_share
from snellen.metrics.intervals import Interval, paired_difference
from snellen.metrics.multiplicity import adjusted_p_values
from snellen.metrics.paired_test import mcnemar
from snellen.metrics.units import unit_codes
from snellen.verbs.attack_batches import CLEAN, NO_LABEL, OF_TARGET
from snellen.verbs.attacked_set import AttackedSet

#: What stands for all attacks, and for all seeds: an image is robust if it is under each of them.
EVERY = "all"

#: Files of the tables.
TABLES = {"accuracies": "accuracies.csv", "differences": "differences.csv"}


@dataclass(frozen=True)
class RobustAccuracy:
    """Share of the images that are right under an attack, with its 95 % interval.

    Attributes:
        model: name.
        attack: name of the setting; ``clean`` for unchanged images, ``all`` for the worst of several attacks.
        seed: number; ``all`` for the worst of the seeds.
        accuracy, low, high: in [0, 1]; intervals count units.
        n: images.
    """

    model: str
    attack: str
    seed: str
    accuracy: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class PairedDifference:
    """Difference of the robust accuracies of two models on the same images, first − second, over all seeds.

    Attributes:
        first, second: names of models.
        attack: as in :class:`RobustAccuracy`.
        difference, low, high: in [−1, 1], with the 95 % interval.
        p_value: two-sided; McNemar's exact test, or Student's t over units where images come in units.
        adjusted_p_value: by Benjamini and Hochberg, over all differences of the table.
        n: images that count for both.
    """

    first: str
    second: str
    attack: str
    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p_value: float
    n: int


@dataclass(frozen=True)
class Evaluation:
    """What models withstand, side by side.

    Attributes:
        data: name of the images.
        accuracies: a row for each model, attack and seed; with several seeds, one more for all of them.
        differences: a row for each pair of models and each attack.
        plans: what each call of :func:`snellen.attack` was to do, by model and seed; :func:`snellen.cite` reads them.
    """

    data: str
    accuracies: tuple[RobustAccuracy, ...]
    differences: tuple[PairedDifference, ...]
    plans: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)

    def to_pandas(self, table: Literal["accuracies", "differences"] = "accuracies") -> Any:  # noqa: ANN401 - of an extra
        """A table as a data frame of pandas with a row for each entry.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        if table not in ("accuracies", "differences"):
            raise unknown_name("table of an evaluation", table, ("accuracies", "differences"))
        kind = RobustAccuracy if table == "accuracies" else PairedDifference
        pandas = import_extra("pandas", "pandas", "a data frame")
        columns = [field.name for field in fields(kind)]
        return pandas.DataFrame([asdict(row) for row in getattr(self, table)], columns=columns)

    def to_latex(self) -> str:
        r"""A ``tabular`` of robust accuracies in percent, with intervals: models are rows, attacks columns.

        Over several seeds, an image counts if it is robust under each. No package is needed.
        """
        attacks, rows = self._grid()
        lines = [
            f"% Accuracy in percent with 95 % intervals on {' '.join(self.data.split())}",
            f"\\begin{{tabular}}{{l{'r' * len(attacks)}}}",
            "\\hline",
            f"{' & '.join(['model', *map(_latex, attacks)])} \\\\",
            "\\hline",
        ]
        for model, cells in rows:
            shown = [
                "--" if one is None else f"{_points(one.accuracy)} [{_points(one.low)}, {_points(one.high)}]"
                for one in cells
            ]
            lines.append(f"{' & '.join([_latex(model), *shown])} \\\\")
        return "\n".join([*lines, "\\hline", "\\end{tabular}"]) + "\n"

    def to_csv(self, table: Literal["accuracies", "differences"] = "accuracies") -> str:
        """A table as comma-separated text, with its head."""
        kind = RobustAccuracy if table == "accuracies" else PairedDifference
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, [field.name for field in fields(kind)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in getattr(self, table))
        return stream.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Both tables as JSON values: ``data``, ``accuracies`` and ``differences``, a mapping for each row."""
        return {
            "data": self.data,
            "accuracies": [asdict(row) for row in self.accuracies],
            "differences": [asdict(row) for row in self.differences],
        }

    def write(self, folder: Path) -> None:
        """Write ``accuracies.csv`` and ``differences.csv``."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / TABLES["accuracies"], self.to_csv("accuracies").encode("utf-8", "replace"))
        write_atomically(folder / TABLES["differences"], self.to_csv("differences").encode("utf-8", "replace"))

    def __repr__(self) -> str:
        attacks, rows = self._grid()
        cells = [["model", *attacks]]
        for model, row in rows:
            cells.append([model, *("–" if one is None else _cell(one.accuracy, one.low, one.high) for one in row)])
        parts = [f"Accuracy in percent with 95 % intervals on {self.data}", *_aligned(cells)]
        if self.differences:
            cells = [["difference", "attack", "points", "p", "adjusted p"]]
            for one in self.differences:
                points = _cell(one.difference, one.low, one.high, "+")
                cells.append(
                    [f"{one.first} − {one.second}", one.attack, points, _p(one.p_value), _p(one.adjusted_p_value)]
                )
            parts += ["", *_aligned(cells)]
        return "\n".join(parts)

    __str__ = __repr__

    def _grid(self) -> tuple[list[str], list[tuple[str, list[RobustAccuracy | None]]]]:
        """Attacks, and for each model the accuracy over all seeds."""
        attacks = list(dict.fromkeys(one.attack for one in self.accuracies))
        # The row for all seeds follows those of the single ones, and so is the one that stays.
        last = {(one.model, one.attack): one for one in self.accuracies}
        models = dict.fromkeys(one.model for one in self.accuracies)
        return attacks, [(model, [last.get((model, attack)) for attack in attacks]) for model in models]


@dataclass(frozen=True)
class _Withstood:
    """Whether images that count are robust: by id, with the unit of each."""

    robust: Mapping[str, bool]
    units: Mapping[str, str]

    def accuracy(self, model: str, attack: str, seed: str) -> RobustAccuracy | None:
        if not self.robust:
            return None
        values = np.array(list(self.robust.values()), dtype=bool)
        low, high = clustered_share(values, self.codes(list(self.robust)))
        return RobustAccuracy(model, attack, seed, float(values.mean()), low, high, len(values))

    def codes(self, ids: Sequence[str]) -> NDArray[np.int64] | None:
        """Codes of units; None where each image is a unit of its own."""
        units = [self.units[one] for one in ids]
        return None if len(set(units)) == len(units) else unit_codes(units)


def evaluation_of(found: Mapping[str, Mapping[int, AttackedSet]], *, data: str) -> Evaluation:
    """Put results side by side.

    Args:
        found: by model and seed; all of the same attacks on the same images.
        data: name of the images.
    """
    accuracies: list[RobustAccuracy | None] = []
    worst: dict[str, dict[str, _Withstood]] = {}
    for model, by_seed in found.items():
        parts = {seed: _settings(attacked) for seed, attacked in by_seed.items()}
        worst[model] = {}
        for attack in next(iter(parts.values())):
            accuracies += [part[attack].accuracy(model, attack, str(seed)) for seed, part in parts.items()]
            whole = _every([part[attack] for part in parts.values()])
            worst[model][attack] = whole
            if len(parts) > 1:
                accuracies.append(whole.accuracy(model, attack, EVERY))
    plans = tuple(attacked.plan for by_seed in found.values() for attacked in by_seed.values())
    return Evaluation(data, tuple(one for one in accuracies if one is not None), _differences(worst), plans)


def _settings(attacked: AttackedSet) -> dict[str, _Withstood]:
    """Clean images, each attack, and the worst of several attacks."""
    assert attacked.evidence is not None
    columns = ("example_id", "unit_id", "setting", "reason", "right", "success")
    robust: dict[str, dict[str, bool]] = {CLEAN: {}, **{name: {} for name in attacked.settings}}
    units: dict[str, str] = {}
    for example_id, unit, setting, reason, right, success in zip(
        *(attacked.evidence.table[name].to_pylist() for name in columns), strict=True
    ):
        units[example_id] = unit
        if setting == CLEAN:
            if right is not None:
                robust[CLEAN][example_id] = right
        elif reason not in (NO_LABEL, OF_TARGET, NOT_FINITE):
            # An image that was wrong from the start was not attacked, and has neither success nor failure.
            robust[setting][example_id] = success is False
    named = {name: _Withstood(values, units) for name, values in robust.items()}
    if len(attacked.settings) > 1:
        named[EVERY] = _every([named[name] for name in attacked.settings])
    return named


def _every(parts: Sequence[_Withstood]) -> _Withstood:
    """Images that count in all parts, robust where they are in each."""
    shared = [one for one in parts[0].robust if all(one in part.robust for part in parts)]
    return _Withstood({one: all(part.robust[one] for part in parts) for one in shared}, parts[0].units)


def _differences(worst: Mapping[str, Mapping[str, _Withstood]]) -> tuple[PairedDifference, ...]:
    rows = []
    for first, second in combinations(worst, 2):
        for attack, one in worst[first].items():
            other = worst[second][attack]
            shared = [example for example in one.robust if example in other.robust]
            if shared:
                rows.append((first, second, attack, *_paired(one, other, shared), len(shared)))
    adjusted = adjusted_p_values([p for *_, p, _ in rows]).tolist() if rows else []
    return tuple(
        PairedDifference(first, second, attack, difference, interval.low, interval.high, p, corrected, n)
        for (first, second, attack, difference, interval, p, n), corrected in zip(rows, adjusted, strict=True)
    )


def _paired(one: _Withstood, other: _Withstood, shared: Sequence[str]) -> tuple[float, Interval, float]:
    """Difference, interval and two-sided p value on the same images."""
    change = np.array([int(one.robust[example]) - int(other.robust[example]) for example in shared], dtype=np.float64)
    codes = one.codes(shared)
    if codes is None:
        alone = int((change > 0).sum()), int((change < 0).sum())
        return float(change.mean()), paired_difference(*alone, len(shared)), mcnemar(*alone)
    mean = clustered_mean(change, codes, pseudo_units=1.0)
    opposite = clustered_mean(-change, codes, pseudo_units=1.0)
    low, high = mean.interval()
    p = min(2 * min(mean.p_value(), opposite.p_value()), 1.0)
    return float(change.mean()), Interval(max(low, -1.0), min(high, 1.0)), p


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def _cell(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines; columns are as wide as they need."""
    printable = [["".join(c if c.isprintable() else " " for c in cell) for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*printable, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in printable]


def _latex(text: str) -> str:
    r"""Text in a table of LaTeX.

    >>> print(_latex("fashion_cnn 50%"))
    fashion\_cnn 50\%
    """
    plain = "".join(c if c.isprintable() else " " for c in text)
    words = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda found: words.get(found[0], f"\\{found[0]}"), plain)
