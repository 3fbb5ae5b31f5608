"""A run is whole or absent at every moment, goes on where it stopped, and never mixes two plans."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from snellen.core.errors import InputError, RunConflictError
from snellen.core.evidence import Evidence
from snellen.core.formats import MANIFEST
from snellen.core.run import Run, canonical_json, write_atomically
from snellen.core.unwritable import tidy

PLAN = {"seed": 0, "shards": 3, "checks": ["clean"], "batch": {"size": 4}}


def evidence_of(shard):
    ids = [f"{shard}-{n}" for n in range(3)]
    return Evidence.of(ids, setting="clean", model="m", label=[0, 1, 2], prediction=[0, 1, shard % 3])


def write(run, shard):
    run.write_shard(shard, {"clean": evidence_of(shard)}, {"rejected": [f"bad-{shard}"]})


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Killed(BaseException):
    """Not an Exception, as KeyboardInterrupt and SystemExit are not."""


# -- files ------------------------------------------------------------------------------------------------------------


def test_an_atomic_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "deep" / "er" / "file.bin"
    write_atomically(path, b"old and longer")
    write_atomically(path, b"new")
    assert files(tmp_path) == {"deep/er/file.bin": b"new"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, Killed])
def test_an_atomic_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, error):
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")

    def fail(*_):
        raise error("disk")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(error):
        write_atomically(path, b"new")
    with pytest.raises(error):
        write_atomically(tmp_path / "other.bin", b"new")
    assert files(tmp_path) == {"file.bin": b"old"}


def test_canonical_json_is_one_form_for_equal_values():
    assert canonical_json({"b": [1, 2.5], "a": "ü"}) == '{\n "a": "ü",\n "b": [\n  1,\n  2.5\n ]\n}\n'.encode()
    assert canonical_json({"b": 1, "a": {"d": 2, "c": 3}}) == canonical_json({"a": {"c": 3, "d": 2}, "b": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_canonical_json_refuses_what_is_not_json(value):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": [value]})
    with pytest.raises(TypeError):
        canonical_json({"a": {1, 2}})


def test_json_at_the_top_of_a_run(tmp_path):
    run = Run.open(tmp_path / "r", PLAN)
    path = run.write_json("report.json", {"b": 1, "a": 2})
    assert path.read_bytes() == canonical_json({"a": 2, "b": 1})


def test_blobs_are_kept_once_by_hash(tmp_path):
    run = Run.open(tmp_path / "r", PLAN)
    blob = b"\x89PNG" * 9
    key = hashlib.sha256(blob).hexdigest()
    evidence = replace(evidence_of(0), blobs={key: blob})
    run.write_shard(0, {"clean": evidence}, {})
    written = run.folder / "blobs" / key
    assert written.read_bytes() == run.read_blob(key) == blob
    before = written.stat().st_ino
    run.write_blob(key, blob)
    assert written.stat().st_ino == before, "the same bytes are not written again"
    assert os.listdir(run.folder / "blobs") == [key]


# -- opening ----------------------------------------------------------------------------------------------------------


def test_the_manifest_is_the_plan_and_is_written_before_anything_else(tmp_path):
    run = Run.open(tmp_path / "new" / "r", PLAN)
    assert files(run.folder) == {"manifest.json": canonical_json(MANIFEST.stamped(PLAN))}
    assert run.plan == PLAN


def test_the_same_plan_goes_on_where_it_stopped(tmp_path):
    first = Run.open(tmp_path / "r", PLAN)
    write(first, 1)
    before = files(first.folder)
    again = Run.open(tmp_path / "r", {**PLAN, "checks": ("clean",)})  # as JSON knows no tuples
    assert [again.done(shard) for shard in range(3)] == [False, True, False]
    assert again.shard_extra(1) == {"rejected": ["bad-1"]}
    assert again.shard_evidence(1, "clean").table.equals(evidence_of(1).table)
    assert files(first.folder) == before, "opening changes nothing"


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({**PLAN, "seed": 1}, "seed"),
        ({**PLAN, "batch": {"size": 5}}, "batch"),
        ({**PLAN, "seed": 1, "limit": 10}, "limit, seed"),
        ({**PLAN, "limit": None}, "limit"),
        ({key: value for key, value in PLAN.items() if key != "checks"}, "checks"),
    ],
)
def test_another_plan_is_refused_and_the_difference_named(tmp_path, other, named):
    write(Run.open(tmp_path / "r", PLAN), 0)
    before = files(tmp_path)
    with pytest.raises(RunConflictError, match=rf"\(differs in: {named}\); choose another --out"):
        Run.open(tmp_path / "r", other)
    assert files(tmp_path) == before


def test_a_plan_that_is_no_json_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        Run.open(tmp_path / "r", {"threshold": float("nan")})
    assert not (tmp_path / "r").exists()


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(InputError, match="not empty and holds no run; choose another --out"):
        Run.open(tmp_path, PLAN)
    assert files(tmp_path) == {"holiday.jpg": b"precious"}


@pytest.mark.parametrize(
    ("content", "told"), [(b"{", "not readable JSON"), (b"\xff\xfe", "not readable JSON"), (b"[1]", "not the manifest")]
)
def test_a_foreign_or_damaged_manifest_is_refused(tmp_path, content, told):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"manifest\.json is {told}.*choose another --out"):
        Run.open(tmp_path, PLAN)
    assert (tmp_path / "manifest.json").read_bytes() == content


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"in the way")
    for place, told in (("file", r"file is a file, not a folder"), ("file/below", r"cannot write to .*file")):
        with pytest.raises(InputError, match=told):
            Run.open(tmp_path / place, PLAN)
    assert files(tmp_path) == {"file": b"in the way"}


def test_a_full_or_read_only_disk_is_reported_in_words(tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(InputError, match=r"cannot write to .*: Permission denied"):
        Run.open(tmp_path / "r", PLAN)


def test_an_empty_folder_and_one_whose_start_was_killed_are_used(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert Run.open(tmp_path / "empty", PLAN).plan == PLAN
    # A process that is killed outright cannot tidy up.
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".manifest.json.0123456789ab").write_bytes(b'{\n "se')
    assert Run.open(tmp_path / "killed", PLAN).plan == PLAN


def test_what_another_process_writes_at_this_moment_is_not_tidied_away(tmp_path):
    since = 1_700_000_000.0
    (tmp_path / "evidence").mkdir()
    for name, written in ((".killed.parquet.0123456789ab", since - 1), (".living.parquet.0123456789ab", since + 1)):
        (tmp_path / "evidence" / name).write_bytes(b"half")
        os.utime(tmp_path / "evidence" / name, (written, written))
    tidy(tmp_path, since)
    assert list(files(tmp_path)) == ["evidence/.living.parquet.0123456789ab"]
    tidy(tmp_path)
    assert not files(tmp_path)


# -- shards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError, Killed])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_shard_that_stops_in_the_middle_is_not_there(tmp_path, monkeypatch, error, earlier):
    run = Run.open(tmp_path / "r", PLAN)
    if earlier:
        write(run, 0)
    before = files(run.folder)
    real, calls = Evidence.write, []

    def stop_at_the_second(evidence, path):
        calls.append(path)
        if len(calls) == 2:
            raise error("stopped")
        real(evidence, path)

    monkeypatch.setattr(Evidence, "write", stop_at_the_second)
    with pytest.raises(error):
        run.write_shard(0, {"clean": evidence_of(1), "corruption": evidence_of(2)}, {})
    assert len(calls) == 2
    assert run.done(0) is earlier
    assert files(run.folder) == before, "neither half a shard nor anything temporary; an earlier one is kept"
    monkeypatch.undo()
    run.write_shard(0, {"clean": evidence_of(1), "corruption": evidence_of(2)}, {})
    assert run.shard_evidence(0, "corruption").table.equals(evidence_of(2).table)


def test_nothing_of_a_shard_is_visible_before_it_is_whole(tmp_path, monkeypatch):
    run = Run.open(tmp_path / "r", PLAN)
    real, seen = os.replace, []

    def look_then_replace(source, target):
        if target == run.folder / "shards" / "000002":
            seen.append((run.done(2), sorted(path.name for path in source.iterdir())))
        real(source, target)

    monkeypatch.setattr(os, "replace", look_then_replace)
    write(run, 2)
    assert seen == [(False, ["clean.parquet", "extra.json", "timing.json"])]
    assert run.done(2)


def test_extra_that_is_no_json_writes_no_shard(tmp_path):
    run = Run.open(tmp_path / "r", PLAN)
    with pytest.raises(ValueError, match="JSON"):
        run.write_shard(0, {"clean": evidence_of(0)}, {"share": float("nan")})
    assert not run.done(0)


def test_left_overs_of_a_kill_are_no_shards(tmp_path):
    run = Run.open(tmp_path / "r", PLAN)
    for shard in range(3):
        write(run, shard)
    (run.folder / "shards" / ".partial-x" / "shard").mkdir(parents=True)
    (run.folder / "evidence").mkdir()
    (run.folder / "evidence" / ".clean.parquet").write_bytes(b"half")
    assert len(run.merge(3, ("clean",))["clean"]) == 9


# -- merging ----------------------------------------------------------------------------------------------------------


def test_the_merge_does_not_depend_on_the_order_of_writing_or_on_interruptions(tmp_path):
    merged, written = [], []
    for name, order in (("a", (0, 1, 2)), ("b", (2, 0, 1)), ("c", (1, 2, 0, 2, 1))):
        for shard in order:
            write(Run.open(tmp_path / name, PLAN), shard)
        run = Run.open(tmp_path / name, PLAN)
        merged.append(run.merge(3, ("clean",))["clean"])
        run.merge(3, ("clean",))  # once more: a run that was stopped after its merge
        written.append(files(run.folder))
    assert written[0] == written[1] == written[2]
    assert json.loads(written[0]["manifest.json"]) == MANIFEST.stamped(PLAN)
    ids = merged[0].table["example_id"].to_pylist()
    assert ids == [f"{shard}-{n}" for shard in range(3) for n in range(3)]
    assert merged[0].tally("clean").correct == 2 + 2 + 3
    saved = Evidence.read(tmp_path / "a" / "evidence" / "clean.parquet")
    assert saved.table.equals(merged[0].table)


def test_merging_a_shard_that_is_not_there_fails(tmp_path):
    run = Run.open(tmp_path / "r", PLAN)
    write(run, 0)
    with pytest.raises(FileNotFoundError):
        run.merge(2, ("clean",))
    assert not list(run.folder.glob("evidence/*.parquet"))


# -- several processes at once ---------------------------------------------------------------------------------------


def placed_by_another(monkeypatch, final, prepare):
    """Before this process puts a shard at its place, another one does."""
    real, done = os.replace, []

    def replace(source, target):
        if target == final and not done:
            done.append(shutil.copytree(source, final))
            prepare()
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    return done


@pytest.mark.parametrize("damaged", [False, True])
def test_a_shard_that_another_process_has_just_written_is_as_good_unless_it_is_damaged(tmp_path, monkeypatch, damaged):
    run = Run.open(tmp_path / "r", PLAN)
    final = run.folder / "shards" / "000003"
    done = placed_by_another(
        monkeypatch, final, lambda: (final / "clean.parquet").write_bytes(b"half") if damaged else None
    )
    run.write_shard(3, {"clean": evidence_of(1)}, {"rejected": []})
    assert done
    assert run.done(3)
    assert run.shard_evidence(3, "clean").table.equals(evidence_of(1).table)
    assert [path.name for path in final.parent.iterdir()] == ["000003"], "nothing temporary is left"


def test_a_run_that_another_process_begins_at_the_same_moment(tmp_path, monkeypatch):
    real = os.link

    def first_another(plan):
        def link(source, target):
            monkeypatch.setattr(os, "link", real)
            Run.open(target.parent, plan)
            real(source, target)

        monkeypatch.setattr(os, "link", link)

    first_another(PLAN)
    assert Run.open(tmp_path / "same", PLAN).plan == PLAN
    first_another({**PLAN, "seed": 99})
    with pytest.raises(RunConflictError, match="differs in: seed"):
        Run.open(tmp_path / "other", PLAN)
    assert json.loads((tmp_path / "other" / "manifest.json").read_bytes())["seed"] == 99
    for folder in ("same", "other"):
        assert [path.name for path in (tmp_path / folder).iterdir()] == ["manifest.json"]


def test_a_run_whose_first_shard_appears_while_it_is_looked_at(tmp_path, monkeypatch):
    """The folder is looked at after another process has begun, and before its manifest was seen."""
    real, looked = Path.is_file, []

    def is_file(path):
        if path.name == "manifest.json" and not looked:
            looked.append(False)
            write(Run.open(tmp_path / "r", PLAN), 0)
            return False
        return real(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    assert Run.open(tmp_path / "r", PLAN).done(0)


def test_without_links_a_manifest_is_written_all_the_same(tmp_path, monkeypatch):
    def none(*_names):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", none)
    assert Run.open(tmp_path / "r", PLAN).plan == PLAN
    assert Run.open(tmp_path / "r", PLAN).plan == PLAN
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["manifest.json"]
