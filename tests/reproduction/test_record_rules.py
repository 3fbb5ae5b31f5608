"""What may be recorded, and what a record may replace."""

import json

import pytest

from snellen.core.errors import InputError
from snellen.reproduction.runner import reproduce, stamp_record


def test_a_smoke_run_is_never_recorded(coin, results):
    with pytest.raises(InputError, match="a smoke run proves nothing that is recorded"):
        reproduce(coin.load(), scale="smoke", record_in=results)
    assert not results.exists()
    assert coin.calls() == []


def test_the_number_of_seeds_was_fixed_before(coin, results):
    with pytest.raises(InputError, match=r"has the 5 seeds of its budget, fixed before it was run"):
        reproduce(coin.load(), seeds=6, record_in=results)
    assert coin.calls() == []


def test_a_small_run_does_not_replace_a_full_one_of_the_same_claims(coin, results):
    reproduce(coin.load(), scale="full", record_in=results)
    before = (results / "coin.json").read_bytes()
    with pytest.raises(InputError, match=r"at full scale.*move .*results/coin\.json to another folder"):
        reproduce(coin.load(), scale="small", record_in=results)
    assert (results / "coin.json").read_bytes() == before


def test_a_new_claim_at_small_scale_does_not_open_the_full_record_to_a_small_run(coin, results):
    reproduce(coin.load(), scale="full", record_in=results)
    before = (results / "coin.json").read_bytes()
    text = coin.claims.read_text()
    coin.claims.write_text(text + text[text.rindex("[[claims]]") :].replace("99.b", "99.c").replace("0.9", "0.8"))
    with pytest.raises(InputError, match="at full scale"):
        reproduce(coin.load(), scale="small", record_in=results)
    assert (results / "coin.json").read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"claims_hash": "x"}'])
def test_a_file_in_the_place_of_the_record_is_named_before_anything_runs(coin, results, content):
    results.mkdir()
    (results / "coin.json").write_text(content)
    with pytest.raises(InputError, match=r"coin\.json: not a result that this version"):
        reproduce(coin.load(), record_in=results)
    assert (results / "coin.json").read_text() == content
    assert coin.calls() == []


FRESH = r"set first_seed = 1005 in \[budget\] of reproduction/coin/claims\.toml"


def fresh(coin, first):
    """Give the record other seeds."""
    text = coin.claims.read_text()
    budget = f"[budget]\nfirst_seed = {first}\n"
    if "[budget]" in text:
        text = text[: text.index("[budget]")] + text[text.index("[[claims]]") :]
    coin.claims.write_text(text.replace("[[claims]]", f"{budget}\n[[claims]]", 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("THROWS = 100", "THROWS = 101"),  # the code of the experiment
        ('direction = ">"\nthreshold = 0.05', 'direction = ">"\nthreshold = 0.06\namended = "a slip"'),
        ("[[claims]]", "[budget]\nseeds = 6\n\n[[claims]]"),
    ],
)
def test_after_a_change_the_seeds_must_be_fresh(coin, results, old, new):
    reproduce(coin.load(), record_in=results)
    path = coin.code / "experiment.py" if "THROWS" in old else coin.claims
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=FRESH):
        reproduce(coin.load(), record_in=results)
    assert len(coin.calls()) == 5, "nothing was run"


def test_with_fresh_seeds_a_changed_experiment_is_recorded_and_the_old_seeds_stay_spent(coin, results):
    reproduce(coin.load(), record_in=results)
    coin.change("THROWS = 100", "THROWS = 101", path=coin.code / "experiment.py")
    fresh(coin, 1005)
    again = reproduce(coin.load(), record_in=results)
    assert again.spent == (1000, 1001, 1002, 1003, 1004)
    assert again.seed_ids == (1005, 1006, 1007, 1008, 1009)
    coin.change("THROWS = 101", "THROWS = 100", path=coin.code / "experiment.py")
    fresh(coin, 1000)
    with pytest.raises(InputError, match=r"the seeds 1000, 1001, 1002, 1003, 1004 were looked at.*first_seed = 1010"):
        reproduce(coin.load(), record_in=results)


def test_seeds_that_were_looked_at_without_a_record_count_too(coin, results, monkeypatch):
    monkeypatch.setenv("COIN_CRASHES_AT", "1001")
    with pytest.raises(ZeroDivisionError):
        reproduce(coin.load(), record_in=results)
    monkeypatch.delenv("COIN_CRASHES_AT")
    coin.change("THROWS = 100", "THROWS = 101", path=coin.code / "experiment.py")
    with pytest.raises(InputError, match=r"the seeds 1000 were looked at.*first_seed = 1001"):
        reproduce(coin.load(), record_in=results)


def test_prose_in_the_code_asks_for_no_fresh_seeds(coin, results):
    reproduce(coin.load(), record_in=results)
    path = coin.code / "experiment.py"
    path.write_text('"""What is thrown."""\n\n# How often.\nTHROWS = 100\n')
    reproduce(coin.load(), record_in=results)
    assert len(coin.calls()) == 5


def test_each_change_of_a_claim_after_the_run_needs_a_reason_of_its_own(coin, results):
    refused = r"changed without a new 'amended' reason, or a recorded one taken away: 99\.b"
    first = 1000

    def record(**options):
        return reproduce(coin.load(), record_in=results, **options)

    def refresh():
        nonlocal first
        first += 5
        fresh(coin, first)

    record()
    coin.change("threshold = 0.9", "threshold = 0.6")
    with pytest.raises(InputError, match=refused):
        record()
    coin.change("threshold = 0.6", 'threshold = 0.6\namended = "the paper says 0.6"')
    refresh()
    amended = record()
    assert amended.holds
    assert amended.claims[1].amended == "the paper says 0.6"
    assert amended.amendments == {"99.b": "the paper says 0.6"}
    record()  # nothing changed
    coin.change("threshold = 0.6", "threshold = 0.1")
    with pytest.raises(InputError, match=refused):
        record()
    # The record at full scale holds no figure of claim 99.b, but its reason.
    coin.change("the paper says 0.6", "a slip of the pen")
    refresh()
    assert record(scale="full").amendments == {"99.b": "a slip of the pen"}
    coin.change('amended = "a slip of the pen"\n', "")
    with pytest.raises(InputError, match=refused):
        record()
    coin.claims.write_text(coin.claims.read_text().split('[[claims]]\nid = "99.b"')[0])
    with pytest.raises(InputError, match=r"dropped: 99\.b"):
        record()


def test_a_record_of_the_earlier_judge_gives_way_to_one_of_today(coin, results):
    reproduce(coin.load(), record_in=results)
    path = results / "coin.json"
    old = {**json.loads(path.read_text()), "judge": 1, "seed_ids": [0, 1, 2], "plan_hash": "", "code_hash": ""}
    path.write_text(json.dumps(old))
    for seed in (results / "coin").iterdir():
        seed.unlink()
    assert reproduce(coin.load(), record_in=results).spent == (0, 1, 2)


def test_a_claim_is_dropped_with_a_reason_and_the_record_stays_until_there_is_another(coin, results):
    reproduce(coin.load(), record_in=results)
    text = coin.claims.read_text()
    coin.claims.write_text(text.split('[[claims]]\nid = "99.b"')[0])
    with pytest.raises(InputError, match=r"dropped: 99\.b.*below \[dropped\] in claims\.toml"):
        reproduce(coin.load(), record_in=results)
    coin.claims.write_text(f'{coin.claims.read_text()}\n[dropped]\n"99.b" = "it holds by construction"\n')
    fresh(coin, 1005)
    assert [claim.id for claim in reproduce(coin.load(), record_in=results).claims] == ["99.a"]


FULL = """
[[claims]]
id = "99.c"
statement = "A real coin falls on heads as often"
source = "table 3"
metric = "real"
direction = ">"
threshold = 0.4
scales = ["full"]
"""


def test_a_claim_of_another_scale_may_come_later_without_a_reason_and_without_fresh_seeds(coin, results):
    reproduce(coin.load(), record_in=results)
    before = (results / "coin.json").read_bytes()
    coin.claims.write_text(coin.claims.read_text() + FULL)
    assert coin.load().state == "1 of 2 claims hold (small)"
    again = stamp_record(coin.load(), results)
    assert again.claims_hash == json.loads(before)["claims_hash"]
    assert len(coin.calls()) == 6, "the seed of the stamp"
    reproduce(coin.load(), record_in=results)
    assert len(coin.calls()) == 6, "all seeds are there"
    coin.change(
        'metric = "real"\ndirection = ">"\nthreshold = 0.4\nscales = ["full"]',
        'metric = "fair"\ndirection = ">"\nthreshold = 0.4\n',
    )
    with pytest.raises(InputError, match=r"changed without a new 'amended' reason.*99\.c"):
        reproduce(coin.load(), record_in=results)
