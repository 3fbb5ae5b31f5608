"""Evidence: rows, counts, merging in shards, and the way to Parquet and back."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.budget import Spent
from snellen.core.errors import InputError
from snellen.core.evidence import SCHEMA, STATUSES, Evidence, Tally


def make(n: int = 4, setting: str = "clean", **more: object) -> Evidence:
    return Evidence.of(
        [f"i{position}" for position in range(n)],
        setting=setting,
        model="m",
        label=[position % 2 for position in range(n)],
        prediction=[0] * n,
        value=[0.25] * n,
        **more,  # type: ignore[arg-type]
    )


def test_rows_have_all_columns() -> None:
    evidence = Evidence.of(["a", "b"], setting="clean", model="m", unit_ids=["p1", None], label=[1, None], reason="x")
    assert evidence.table.schema.equals(SCHEMA)
    first, second = evidence.table.to_pylist()
    assert (first["unit_id"], second["unit_id"]) == ("p1", "b")  # an image without a unit is its own
    assert (first["label"], second["label"], first["prediction"], first["value"]) == (1, None, None, None)
    assert (first["status"], first["reason"], second["setting"], second["model"]) == ("ok", "x", "clean", "m")
    assert len(Evidence.of([], setting="clean", model="m")) == 0


def test_unknown_status_is_refused() -> None:
    for status in ("fine", ["ok", "ok", "ok", "fine"]):
        with pytest.raises(InputError, match=r"unknown evidence status \['fine'\]; known: ok, skipped"):
            make(status=status)
    for status in STATUSES:
        assert make(status=status).where(status=status).table.num_rows == 4


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        Evidence.of(["a", "b"], setting="clean", model="m", label=[1])
    with pytest.raises(ValueError, match="zip"):
        Evidence.of(["a", "b"], setting="clean", model="m", unit_ids=["u"])


def test_a_table_needs_all_columns() -> None:
    with pytest.raises(InputError, match="lacks the columns unit_id"):
        Evidence(make().table.drop_columns(["unit_id"]))


# -- counts ------------------------------------------------------------------------------------------------------------


def test_tally_counts_measured_rows_with_a_label() -> None:
    evidence = Evidence.of(
        ["a", "b", "c", "d", "e"],
        setting="clean",
        model="m",
        label=[0, 1, None, 1, 1],
        prediction=[0, 0, 0, None, 1],
        value=[0.5, 0.25, 9.0, None, 9.0],
        status=["ok", "ok", "ok", "ok", "failed"],
    )
    assert evidence.tally("clean") == Tally(n=3, correct=1, value_sum=0.75)
    assert evidence.tally("clean").accuracy == pytest.approx(1 / 3)
    assert evidence.tally("noise") == Tally()
    assert math.isnan(Tally().accuracy)


def test_settings_are_in_order_of_appearance() -> None:
    merged = Evidence.merge([make(2, "noise.1"), make(2, "clean"), make(1, "noise.1")])
    assert merged.settings == ["noise.1", "clean"]
    assert merged.tally("noise.1").n == 3
    assert len(merged.where(setting="clean", example_id="i0")) == 1
    assert repr(merged) == "Evidence(5 rows, settings: noise.1, clean)"


rows = st.tuples(st.sampled_from([0, 1, None]), st.sampled_from([0, 1]), st.sampled_from(STATUSES))


@settings(deadline=None)
@given(st.lists(rows, max_size=20), st.lists(st.integers(0, 20), max_size=3))
def test_merged_shards_are_the_whole(measured: list[tuple[int | None, int, str]], cuts: list[int]) -> None:
    def part(low: int, high: int) -> Evidence:
        chosen = measured[low:high]
        return Evidence.of(
            [str(position) for position in range(low, low + len(chosen))],
            setting="clean",
            model="m",
            label=[label for label, _, _ in chosen],
            prediction=[prediction for _, prediction, _ in chosen],
            value=[0.5] * len(chosen),
            status=[status for _, _, status in chosen],
            spent=Spent(queries=len(chosen)),
        )

    edges = [0, *sorted(cuts), 20]
    merged = Evidence.merge(part(low, high) for low, high in itertools.pairwise(edges))
    whole = part(0, 20)
    assert merged.table.equals(whole.table)
    assert merged.spent.queries == len(measured)
    assert merged.tally("clean") == whole.tally("clean")
    tallies = (part(low, high).tally("clean") for low, high in itertools.pairwise(edges))
    assert sum(tallies, Tally()) == whole.tally("clean")


def test_merge_keeps_what_the_figures_rest_on_once_each() -> None:
    first = make(spent=Spent(queries=3), assumptions=["a", "b"], control="nothing: 0")
    second = make(spent=Spent(queries=4, gradients=1), assumptions=["b", "c"], control="nothing: 0")
    merged = Evidence.merge([first, second, make(control="other")])
    assert merged.assumptions == ("a", "b", "c")
    assert merged.control == "nothing: 0; other"
    assert (merged.spent.queries, merged.spent.gradients) == (7, 1)
    assert Evidence.merge([make(), make()]).control is None


def test_merge_of_nothing_and_of_empty_parts() -> None:
    assert len(Evidence.merge([])) == 0
    assert Evidence.merge([]).table.schema.equals(SCHEMA)
    assert len(Evidence.merge([Evidence.merge([]), make(2)])) == 2


def test_the_same_example_may_occur_in_many_rows() -> None:
    merged = Evidence.merge([make(2), make(2), make(2, "noise")])
    assert merged.table["example_id"].to_pylist() == ["i0", "i1"] * 3
    assert merged.tally("clean").n == 4


def test_further_columns_are_kept_and_filled_with_null() -> None:
    scores = pa.array([[0.5, 0.5], [1.0, 0.0]], pa.list_(pa.float32()))
    merged = Evidence.merge([make(2, extra={"scores": scores}), make(1)])
    assert merged.table["scores"].to_pylist() == [[0.5, 0.5], [1.0, 0.0], None]
    assert merged.table.column_names == [*SCHEMA.names, "scores"]


# -- blobs and files ---------------------------------------------------------------------------------------------------


def test_blobs_of_all_parts_are_kept() -> None:
    parts = [replace(make(), blobs={key: key.encode()}) for key in ("one", "two")]
    assert Evidence.merge(parts).blobs == {"one": b"one", "two": b"two"}
    assert make().blobs == {}


def test_parquet_and_back(tmp_path: Path) -> None:
    scores = pa.array([[0.5], [0.25], [1.0], None], pa.list_(pa.float32()))
    evidence = make(
        status=["ok", "skipped", "failed", "rejected"],
        reason=[None, "é", "x\ny", ""],
        extra={"scores": scores},
        spent=Spent(queries=12, gradients=3, tokens=1),
        assumptions=["images are independent", "ℓ∞"],
        control="chance: 0.1",
    )
    evidence.write(tmp_path / "e.parquet")
    read = Evidence.read(tmp_path / "e.parquet")
    assert read.table.equals(evidence.table)
    assert read.table.schema.metadata is None
    assert (read.assumptions, read.control) == (evidence.assumptions, evidence.control)
    assert read.spent.counts() == evidence.spent.counts()
    assert read.tally("clean") == evidence.tally("clean")


def test_empty_evidence_to_parquet_and_back(tmp_path: Path) -> None:
    Evidence.merge([]).write(tmp_path / "e.parquet")
    read = Evidence.read(tmp_path / "e.parquet")
    assert (len(read), read.assumptions, read.control, read.blobs) == (0, (), None, {})


def test_equal_evidence_gives_equal_bytes(tmp_path: Path) -> None:
    spent = Spent(queries=2, seconds=1.5)
    make(spent=spent).write(tmp_path / "a.parquet")
    make(spent=Spent(queries=2, seconds=99.0)).write(tmp_path / "b.parquet")  # a clock reading is no evidence
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_other_parquet_files_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="lacks the columns example_id"):
        Evidence.read(tmp_path / "x.parquet")


def test_pandas_and_notebook() -> None:
    frame = pytest.importorskip("pandas") and make().to_pandas()
    assert list(frame.columns) == SCHEMA.names
    assert len(frame) == 4
    html = make(setting="<b>&")._repr_html_()
    assert "&lt;b&gt;&amp;<td>4<td>0.5000" in html
    assert "<b>" not in html
