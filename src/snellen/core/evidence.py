"""What every verb's result is made of: one long table, sums that merge, what was spent, what was assumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from snellen.core.budget import Spent
from snellen.core.errors import InputError, import_extra

if TYPE_CHECKING:
    import pandas as pd

#: The columns that every evidence table has. Others may follow them (``scores``: list of float32, for instance).
SCHEMA = pa.schema(
    [
        ("example_id", pa.string()),
        ("unit_id", pa.string()),  # equals example_id when no unit is known
        ("setting", pa.string()),  # what was done to the image: "clean", "gaussian_noise.3", "linf.8.pgd"
        ("model", pa.string()),
        ("label", pa.int64()),  # null when unknown
        ("prediction", pa.int64()),  # null when there is none
        ("value", pa.float64()),  # what the verb measures: confidence, distance, radius, score
        ("status", pa.string()),  # see STATUSES
        ("reason", pa.string()),  # why, when status is not "ok"; else a remark or null
    ]
)

#: ok: measured. skipped: not applicable to this image. invalid: the transformed image failed its validity filter.
#: failed: the method itself gave up. rejected: the image could not be used at all.
STATUSES = ("ok", "skipped", "invalid", "failed", "rejected")


@dataclass(frozen=True)
class Tally:
    """Counts of one setting; add up over shards.

    >>> Tally(n=3, correct=2, value_sum=1.5) + Tally(n=1, correct=1, value_sum=0.5)
    Tally(n=4, correct=3, value_sum=2.0)
    """

    n: int = 0
    correct: int = 0
    value_sum: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.n + other.n, self.correct + other.correct, self.value_sum + other.value_sum)

    @property
    def accuracy(self) -> float:
        """Share of correct predictions; NaN when nothing was counted."""
        return self.correct / self.n if self.n else float("nan")


@dataclass(frozen=True, eq=False)
class Evidence:
    """The measurements of one method on some images, mergeable and saved as Parquet.

    >>> evidence = Evidence.of(["a", "b"], setting="clean", model="m", label=[0, 1], prediction=[0, 0])
    >>> evidence.tally("clean")
    Tally(n=2, correct=1, value_sum=0.0)
    >>> len(Evidence.merge([evidence, evidence]))
    4

    Attributes:
        table: rows with the columns of :data:`SCHEMA`, then any extra ones.
        spent: queries, gradients, … used for these rows.
        assumptions: what the figures rest on, in words.
        control: what a method that does nothing scores, in words with its figure, or None.
        blobs: bytes (pictures, maps) by their sha256.
    """

    table: pa.Table
    spent: Spent = field(default_factory=Spent)
    assumptions: tuple[str, ...] = ()
    control: str | None = None
    blobs: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [name for name in SCHEMA.names if name not in self.table.column_names]
        if missing:
            raise InputError(f"an evidence table lacks the columns {', '.join(missing)}")

    @classmethod
    def of(
        cls,
        example_ids: Sequence[str],
        *,
        setting: str,
        model: str,
        unit_ids: Sequence[str | None] | None = None,
        label: Sequence[int | None] | None = None,
        prediction: Sequence[int | None] | None = None,
        value: Sequence[float | None] | None = None,
        status: Sequence[str] | str = "ok",
        reason: Sequence[str | None] | str | None = None,
        extra: Mapping[str, pa.Array] | None = None,
        spent: Spent | None = None,
        assumptions: Sequence[str] = (),
        control: str | None = None,
    ) -> Evidence:
        """Build evidence for one setting; single values are repeated for every row."""
        n = len(example_ids)
        statuses = [status] * n if isinstance(status, str) else list(status)
        unknown = set(statuses) - set(STATUSES)
        if unknown:
            raise InputError(f"unknown evidence status {sorted(unknown)}; known: {', '.join(STATUSES)}")
        units = [u or e for u, e in zip(unit_ids or [None] * n, example_ids, strict=True)]
        columns: list[object] = [
            list(example_ids),
            units,
            [setting] * n,
            [model] * n,
            [None] * n if label is None else list(label),
            [None] * n if prediction is None else list(prediction),
            [None] * n if value is None else list(value),
            statuses,
            [reason] * n if reason is None or isinstance(reason, str) else list(reason),
        ]
        arrays = [pa.array(values, kind) for values, kind in zip(columns, SCHEMA.types, strict=True)]
        table = pa.table(arrays, schema=SCHEMA)
        for name, array in (extra or {}).items():
            table = table.append_column(name, array)
        return cls(table, spent or Spent(), tuple(assumptions), control)

    @classmethod
    def merge(cls, parts: Iterable[Evidence]) -> Evidence:
        """Put evidence together, in the given order; assumptions are kept once each."""
        kept = list(parts)
        if not kept:
            return cls(SCHEMA.empty_table())
        table = pa.concat_tables([part.table for part in kept], promote_options="default")
        assumptions = tuple(dict.fromkeys(a for part in kept for a in part.assumptions))
        controls = tuple(dict.fromkeys(part.control for part in kept if part.control))
        blobs = {key: blob for part in kept for key, blob in part.blobs.items()}
        spent = sum((part.spent for part in kept), Spent())
        return cls(table, spent, assumptions, "; ".join(controls) or None, blobs)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def settings(self) -> list[str]:
        """Settings in order of first appearance."""
        return list(dict.fromkeys(self.table["setting"].to_pylist()))

    def where(self, **equal: str | int) -> Evidence:
        """Rows whose columns equal the given values: ``evidence.where(setting="clean", status="ok")``."""
        table = self.table
        for name, value in equal.items():
            table = table.filter(pc.equal(table[name], value))
        return replace(self, table=table)

    def correct(self, setting: str, model: str | None = None) -> dict[str, bool]:
        """Whether each example was right in one setting, by id; only rows with status ok and a known label."""
        equal = {"setting": setting, "status": "ok", **({} if model is None else {"model": model})}
        table = self.where(**equal).table
        table = table.filter(pc.is_valid(table["label"]))
        right = pc.equal(table["label"], table["prediction"]).to_pylist()
        return dict(zip(table["example_id"].to_pylist(), right, strict=True))

    def tally(self, setting: str) -> Tally:
        """Counts of one setting over rows with status ok and a known label."""
        table = self.where(setting=setting, status="ok").table
        table = table.filter(pc.is_valid(table["label"]))
        correct = pc.sum(pc.equal(table["label"], table["prediction"])).as_py() or 0
        return Tally(len(table), int(correct), float(pc.sum(table["value"]).as_py() or 0.0))

    def write(self, path: Path) -> None:
        """Write the table as Parquet, with what was spent and assumed in its metadata (blobs are stored apart)."""
        metadata = {
            "snellen.spent": Spent(**self.spent.counts()).model_dump_json(),
            "snellen.assumptions": "\n".join(self.assumptions),
            "snellen.control": self.control or "",
        }
        pq.write_table(self.table.replace_schema_metadata(metadata), path, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> Evidence:
        """Read what :meth:`write` wrote."""
        table = pq.read_table(path)
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        assumptions = tuple(line for line in metadata.get("snellen.assumptions", "").split("\n") if line)
        spent = Spent.model_validate_json(metadata.get("snellen.spent", "{}"))
        return cls(table.replace_schema_metadata(None), spent, assumptions, metadata.get("snellen.control") or None)

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas DataFrame (extra ``pandas``)."""
        import_extra("pandas", "pandas", "Evidence.to_pandas()")
        return self.table.to_pandas()

    def __repr__(self) -> str:
        return f"Evidence({len(self)} rows, settings: {', '.join(self.settings[:6])}{' …' * (len(self.settings) > 6)})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{_escape(s)}<td>{t.n}<td>{t.accuracy:.4f}</tr>" for s in self.settings for t in [self.tally(s)]
        )
        return f"<table><tr><th>setting<th>n<th>accuracy</tr>{rows}</table>"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
