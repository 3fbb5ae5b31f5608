"""What may be recorded, and what a record may replace."""

import json

import pytest

from snellen.core.errors import InputError
from snellen.core.system import load_system
from snellen.reproduction.runner import reproduce


def test_a_smoke_run_and_a_few_seeds_are_never_recorded(coin, calls, tmp_path):
    with pytest.raises(InputError, match="a smoke run proves nothing that is recorded"):
        reproduce(load_system(coin), scale="smoke", record_in=tmp_path / "results")
    with pytest.raises(InputError, match="at least 3 seeds, got 2"):
        reproduce(load_system(coin), seeds=2, record_in=tmp_path / "results")
    assert not (tmp_path / "results").exists()
    assert calls() == []


def test_a_small_run_does_not_replace_a_full_one_of_the_same_claims(coin, tmp_path):
    results = tmp_path / "results"
    reproduce(load_system(coin), scale="full", record_in=results)
    before = (results / "99.json").read_bytes()
    with pytest.raises(InputError, match=r"at full scale.*move .*results/99\.json to another folder"):
        reproduce(load_system(coin), scale="small", record_in=results)
    assert (results / "99.json").read_bytes() == before
    reproduce(load_system(coin), scale="full", record_in=results)
    (results / "99.json").rename(results / "full.json")
    reproduce(load_system(coin), scale="small", record_in=results)
    reproduce(load_system(coin), scale="full", record_in=results)
    assert json.loads((results / "99.json").read_text())["scale"] == "full", "the other way round replaces"


@pytest.mark.parametrize("content", ["{", "[]", '{"claims_hash": "x"}'])
def test_a_file_in_the_place_of_the_record_is_named_before_anything_runs(coin, calls, tmp_path, content):
    (tmp_path / "99.json").write_text(content)
    with pytest.raises(InputError, match=r"99\.json: not a result that"):
        reproduce(load_system(coin), record_in=tmp_path)
    assert (tmp_path / "99.json").read_text() == content
    assert calls() == []


def test_each_change_of_a_claim_after_the_run_needs_a_reason_of_its_own(coin, tmp_path):
    results = tmp_path / "results"
    refused = r"changed without a new 'amended' reason, or a recorded one taken away: 99\.b"

    def change(old, new):
        assert old in coin.read_text()
        coin.write_text(coin.read_text().replace(old, new))

    def record():
        return reproduce(load_system(coin), record_in=results)

    record()
    change("threshold = 0.9", "threshold = 0.6")
    with pytest.raises(InputError, match=refused):
        record()
    change("threshold = 0.6", 'threshold = 0.6\namended = "the paper says 0.6"')
    amended = record()
    assert amended.holds
    assert amended.claims[1].amended == "the paper says 0.6"
    assert amended.amendments == {"99.b": "the paper says 0.6"}
    record()  # nothing changed
    change("threshold = 0.6", "threshold = 0.1")
    with pytest.raises(InputError, match=refused):
        record()
    # The record at full scale holds no figure of claim 99.b, but its reason.
    change("the paper says 0.6", "a slip of the pen")
    assert reproduce(load_system(coin), scale="full", record_in=results).amendments == {"99.b": "a slip of the pen"}
    change("threshold = 0.1", "threshold = 0.05")
    with pytest.raises(InputError, match=refused):
        record()
    change("threshold = 0.05\namended", "threshold = 0.1\namended")
    change('amended = "a slip of the pen"\n', "")
    with pytest.raises(InputError, match=refused):
        record()
    coin.write_text(coin.read_text().split('[[claims]]\nid = "99.b"')[0])
    with pytest.raises(InputError, match=r"dropped: 99\.b"):
        record()
