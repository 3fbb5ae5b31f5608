"""The log of decisions, agreement, and what becomes of an image."""

import sqlite3
import threading

import pytest

from snellen.core.errors import InputError
from snellen.desk.agreement import agreements, settled
from snellen.desk.decisions import Decision, Decisions


@pytest.fixture
def log(tmp_path):
    made = Decisions(tmp_path / "desk" / "decisions.sqlite")
    yield made
    made.close()


@pytest.mark.smoke
def test_the_last_decision_of_each_reviewer_stands(log):
    log.add("r", "q", "a", "Ada", "keep")
    log.add("r", "q", "a", "Ada", "relabel", "dog")
    log.add("r", "q", "a", "Ben", "drop")
    log.add("r", "other", "a", "Ada", "drop")
    found = {(one.item, one.reviewer): (one.verdict, one.label) for one in log.standing("r", "q")}
    assert found == {("a", "Ada"): ("relabel", "dog"), ("a", "Ben"): ("drop", None)}
    assert log.counts("r") == {"q": 1, "other": 1}


def test_undo_brings_back_what_stood_before_and_ends_at_nothing(log):
    log.add("r", "q", "a", "Ada", "keep")
    log.add("r", "q", "b", "Ada", "drop")
    log.add("r", "q", "a", "Ada", "unsure")
    assert log.undo("r", "q", "Ada").item == "a"
    assert {one.item: one.verdict for one in log.standing("r", "q")} == {"a": "keep", "b": "drop"}
    assert log.undo("r", "q", "Ben") is None, "nobody undoes the decision of another"
    assert [log.undo("r", "q", "Ada").item for _ in range(2)] == ["b", "a"]
    assert log.undo("r", "q", "Ada") is None
    assert log.standing("r", "q") == []
    log.add("r", "q", "a", "Ada", "drop")
    assert [one.verdict for one in log.standing("r", "q")] == ["drop"]


def test_undone_at_once_by_many_each_decision_is_undone_once(log):
    for place in range(20):
        log.add("r", "q", f"i{place}", "Ada", "keep")
    found = []
    threads = [threading.Thread(target=lambda: found.append(log.undo("r", "q", "Ada").item)) for _ in range(20)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(found) == sorted(f"i{place}" for place in range(20))


@pytest.mark.parametrize(
    ("reviewer", "verdict", "label"),
    [
        ("", "keep", None), ("  ", "keep", None), ("x" * 61, "keep", None), ("A\x00", "keep", None),
        ("Ada", "burn", None), ("Ada", "undone", None), ("Ada", "relabel", None), ("Ada", "keep", "dog"),
        ("Ada", "relabel", "d" * 401),
    ],
)  # fmt: skip
def test_what_is_no_decision_is_refused_and_leaves_no_trace(log, reviewer, verdict, label):
    with pytest.raises(InputError):
        log.add("r", "q", "a", reviewer, verdict, label)
    assert log.standing("r", "q") == []


def test_the_file_waits_for_the_disk_and_another_desk_sees_the_decision_at_once(log):
    assert log._base.execute("PRAGMA synchronous").fetchone() == (2,)
    assert log._base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    log.add("r", "q", "a", "Ada", "keep")
    other = Decisions(log.file)
    assert [one.item for one in other.standing("r", "q")] == ["a"]
    other.close()


def test_a_file_that_is_no_such_file_is_an_error_that_names_the_remedy(tmp_path):
    (tmp_path / "x").write_bytes(b"no data base" * 100)
    with pytest.raises(InputError, match="--store"):
        Decisions(tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--store"):
        Decisions(tmp_path / "file" / "decisions.sqlite")


def test_a_file_that_cannot_be_written_is_an_error_and_keeps_nothing_of_it(log):
    log.add("r", "q", "a", "Ada", "keep")
    log._base.execute("PRAGMA query_only=ON")
    with pytest.raises(InputError, match="cannot be written"):
        log.add("r", "q", "b", "Ada", "drop")
    with pytest.raises(InputError, match="cannot be written"):
        log.undo("r", "q", "Ada")
    log._base.execute("PRAGMA query_only=OFF")
    assert [one.item for one in log.standing("r", "q")] == ["a"]
    assert log.add("r", "q", "c", "Ada", "keep").number == 2, "no transaction is left open"


def test_what_was_committed_is_read_by_another_program(log):
    log.add("r", "q", "a", "Ada", "keep")
    rows = sqlite3.connect(log.file).execute("SELECT verdict FROM entries").fetchall()
    assert rows == [("keep",)]


def test_an_image_is_changed_where_all_who_are_sure_agree():
    def outcome(*verdicts):
        given = [Decision("a", f"n{place}", verdict, label) for place, (verdict, label) in enumerate(verdicts)]
        found = settled(given)["a"]
        return found.state, found.verdict, found.label

    assert outcome(("keep", None), ("unsure", None)) == ("agreed", "keep", None)
    assert outcome(("relabel", "x"), ("relabel", "x")) == ("agreed", "relabel", "x")
    assert outcome(("relabel", "x"), ("relabel", "y")) == ("disputed", None, None)
    assert outcome(("unsure", None)) == ("unsure", None, None)


def test_agreement_counts_labels_and_kappa_is_cohens():
    sklearn = pytest.importorskip("sklearn.metrics")
    one = ["keep", "drop", "keep", "keep", "drop", "unsure", "keep", "drop"]
    two = ["keep", "drop", "drop", "keep", "keep", "unsure", "keep", "drop"]
    given = [Decision(str(i), name, v) for name, vs in (("A", one), ("B", two)) for i, v in enumerate(vs)]
    (found,) = agreements(given)
    assert (found.both, found.agreed) == (8, 6)
    assert found.kappa == pytest.approx(sklearn.cohen_kappa_score(one, two))
    (apart,) = agreements([Decision("a", "A", "keep"), Decision("b", "B", "keep")])
    assert (apart.both, apart.kappa) == (0, None)
    (same,) = agreements([Decision("a", "A", "keep"), Decision("a", "B", "keep")])
    assert same.kappa is None, "chance alone would agree, too"
    (label,) = agreements([Decision("a", "A", "relabel", "x"), Decision("a", "B", "relabel", "y")])
    assert label.agreed == 0
