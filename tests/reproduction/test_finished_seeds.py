"""A crash costs one seed and not all."""

import json

import pytest

from snellen.core.errors import InputError
from snellen.core.system import load_system
from snellen.reproduction.runner import reproduce


@pytest.fixture
def stopped(coin, calls, tmp_path, monkeypatch):
    """A full run that crashed in its third seed; gives the folder of its results."""
    monkeypatch.setenv("COIN_CRASHES_AT", "2")
    with pytest.raises(ZeroDivisionError):
        reproduce(load_system(coin), scale="full", record_in=tmp_path / "results")
    monkeypatch.delenv("COIN_CRASHES_AT")
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["99.partial.json"]
    assert calls() == [0, 1, 2]
    return tmp_path / "results"


def test_a_run_that_stopped_goes_on_with_the_seed_that_is_missing(coin, calls, stopped, tmp_path):
    resumed = reproduce(load_system(coin), scale="full", record_in=stopped)
    assert calls() == [0, 1, 2, 2]
    assert [path.name for path in stopped.iterdir()] == ["99.json"]
    whole = reproduce(load_system(coin), scale="full", record_in=tmp_path / "whole")
    assert resumed.model_copy(update={"duration_s": 0.0}) == whole.model_copy(update={"duration_s": 0.0})


def test_without_recording_nothing_is_resumed_or_taken_away(coin, calls, stopped, monkeypatch):
    monkeypatch.chdir(stopped.parent)
    reproduce(load_system(coin), scale="full")
    assert calls()[3:] == [0, 1, 2]
    assert (stopped / "99.partial.json").is_file()


@pytest.mark.parametrize("name", ["claims_hash", "version"])
def test_seeds_of_other_claims_or_of_another_version_are_not_used(coin, calls, stopped, name):
    path = stopped / "99.partial.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: "other"}))
    reproduce(load_system(coin), scale="full", record_in=stopped)
    assert calls()[3:] == [0, 1, 2]


def test_seeds_of_another_scale_are_neither_used_nor_lost(coin, calls, stopped):
    before = (stopped / "99.partial.json").read_bytes()
    with pytest.raises(InputError, match=r"99\.partial\.json holds finished seeds at scale full; finish"):
        reproduce(load_system(coin), scale="small", record_in=stopped)
    assert (stopped / "99.partial.json").read_bytes() == before
    assert len(calls()) == 3


def test_seeds_from_another_machine_are_told(coin, stopped):
    path = stopped / "99.partial.json"
    kept = json.loads(path.read_text())
    kept["environment"]["cores"] = "4096"
    path.write_text(json.dumps(kept))
    environment = reproduce(load_system(coin), scale="full", record_in=stopped).environment
    assert environment["cores"].startswith("4096; ")
    assert ";" not in environment["python"]


@pytest.mark.parametrize("content", ["{", "[]", '{"figures": {"0": {"heads": "many"}}}'])
def test_damaged_finished_seeds_are_named(coin, tmp_path, content):
    (tmp_path / "99.partial.json").write_text(content)
    with pytest.raises(InputError, match=r"99\.partial\.json: not the finished seeds of a run.*delete it"):
        reproduce(load_system(coin), record_in=tmp_path)
