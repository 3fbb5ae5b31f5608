"""Claims as data, measured over seeds and recorded, on a small internal system whose truth is known."""

import json
import os
import platform

import pytest
import torch

from snellen.core import system as system_module
from snellen.core.errors import InputError, SnellenError
from snellen.reproduction.runner import advance_record, processor, reproduce, run_queue, stamp_record

#: The seeds of a record that says nothing else.
BUDGET = [1000, 1001, 1002, 1003, 1004]


def test_a_record_holds_verdicts_and_values_of_each_seed(coin, results):
    result = reproduce(coin.load(), record_in=results)
    better, nearly = result.claims
    assert better.ours == pytest.approx(0.72)
    assert better.baseline == pytest.approx(0.504)
    assert better.low < 0.216 < better.high
    assert better.verdict == "holds"
    assert nearly.verdict == "fails", "a claim that fails is recorded as failing"
    assert not result.holds
    assert better.values == pytest.approx((0.70, 0.71, 0.72, 0.73, 0.74))
    assert result.controls == {"shuffled": 0.5}
    assert result.stand_ins == ("a simulated coin for a real one",)
    recorded = json.loads((results / "coin.json").read_text())
    assert recorded["plan_hash"] == coin.load().plan_hash("small")
    assert recorded["seed_ids"] == BUDGET
    assert recorded["claims"][0]["values"] == list(better.values)
    assert coin.load().state == "1 of 2 claims hold (small)"


def test_a_pilot_runs_other_seeds_than_a_record_and_keeps_nothing(coin, results):
    reproduce(coin.load(), seeds=3)
    assert coin.calls() == [0, 1, 2]
    assert not results.exists()
    reproduce(coin.load(), record_in=results)
    assert coin.calls()[3:] == BUDGET


def test_scale_chooses_the_claims(coin):
    assert [c.id for c in reproduce(coin.load(), scale="full", seeds=2).claims] == ["99.a"]
    assert reproduce(coin.load(), scale="smoke", seeds=1).claims == ()


def test_a_smoke_run_is_of_one_seed_and_a_pilot_says_how_far_it_is(coin):
    lines = []
    reproduce(coin.load(), scale="smoke", announce=lines.append)
    assert coin.calls() == [0]
    assert lines[0] == "coin at scale smoke: 1 seed"
    assert lines[1].startswith("seed 0 is finished after ")
    lines.clear()
    reproduce(coin.load(), seeds=2, announce=lines.append)
    assert lines[0].startswith("coin at scale small: 2 seeds, planned for ")
    assert [line.rpartition(": ")[2] for line in lines[1:]] == ["1 of 2", "2 of 2"]


def test_a_seed_over_the_budget_of_time_is_named(coin, results):
    coin.change('[[claims]]\nid = "99.a"', '[budget]\nminutes = 0.01\n\n[[claims]]\nid = "99.a"')
    coin.change("def run", "def spin():\n    return sum(range(60_000_000))\n\ndef run", path=coin.module)
    coin.change("    1 / (", "    seed == 1002 and spin()\n    1 / (", path=coin.module)
    assert reproduce(coin.load(), record_in=results).over_budget == (1002,)


# -- one file a seed --------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(coin, results, monkeypatch):
    """A record that crashed in its third seed."""
    monkeypatch.setenv("COIN_CRASHES_AT", "1002")
    with pytest.raises(ZeroDivisionError):
        reproduce(coin.load(), record_in=results)
    monkeypatch.delenv("COIN_CRASHES_AT")
    assert sorted(path.name for path in (results / "coin").iterdir()) == ["seed-1000.json", "seed-1001.json"]
    return results


def test_a_run_that_stopped_goes_on_with_the_seed_that_is_missing(coin, stopped, tmp_path):
    resumed = reproduce(coin.load(), record_in=stopped)
    assert coin.calls() == [1000, 1001, 1002, 1002, 1003, 1004]
    whole = reproduce(coin.load(), record_in=tmp_path / "whole")
    assert resumed.model_copy(update={"duration_s": 0.0}) == whole.model_copy(update={"duration_s": 0.0})


def test_each_call_of_the_queue_finishes_one_seed(coin, results):
    for seed in BUDGET[:-1]:
        assert advance_record(coin.load(), results) is None
        assert coin.calls()[-1] == seed
    assert advance_record(coin.load(), results) is not None
    assert advance_record(coin.load(), results) is not None, "judged again, nothing is run"
    assert coin.calls() == BUDGET


def test_a_queue_gives_each_system_a_seed_in_turn_and_goes_on_where_it_stopped(coin, results, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda step: 0)
    (coin.code.parent / "token").mkdir()
    (coin.code.parent / "token" / "experiment.py").write_text("THROWS = 7\n")
    other = coin.load().model_copy(update={"name": "token"})
    turns = []
    done = run_queue(
        [coin.load(), other], results, finished=lambda name, result: turns.append((name, result is not None))
    )
    assert [name for name, _ in turns] == ["coin", "token"] * 5
    assert [judged for _, judged in turns] == [False] * 8 + [True] * 2
    assert [result.system for result in done] == ["coin", "token"]
    before = len(coin.calls())
    run_queue([coin.load(), other], results)
    assert len(coin.calls()) == before, "everything was there"


def test_a_queue_runs_at_the_lowest_priority(coin, results, monkeypatch):
    steps = []
    monkeypatch.setattr(os, "nice", lambda step: steps.append(step) or 5)
    run_queue([coin.load()], results)
    assert steps == [0, 14]


def test_seeds_from_another_machine_are_reported(coin, stopped):
    path = stopped / "coin" / "seed-1000.json"
    kept = json.loads(path.read_text())
    kept["environment"]["cores"] = "4096"
    path.write_text(json.dumps(kept))
    environment = reproduce(coin.load(), record_in=stopped).environment
    assert environment["cores"].startswith("4096; ")
    assert ";" not in environment["python"]


@pytest.mark.parametrize("content", ["{", "[]", '{"figures": {"heads": "many"}}'])
def test_a_damaged_seed_is_named(coin, results, content):
    (results / "coin").mkdir(parents=True)
    (results / "coin" / "seed-1000.json").write_text(content)
    with pytest.raises(InputError, match=r"seed-1000\.json: not a seed that 'snellen reproduce' wrote; delete it"):
        reproduce(coin.load(), record_in=results)
    assert coin.calls() == []


def test_values_of_images_are_kept_where_a_claim_needs_them_and_nowhere_else(coin, results):
    coin.change(
        'return {"heads": 0.7 + 0.01 * (seed % 10)',
        "from snellen.reproduction.sample import Sample\n"
        "    extra = Sample((1.0, 2.0, 3.0))\n"
        '    return {"extra": extra, "heads": Sample((1, 1, 1, 0))',
        path=coin.module,
    )
    reproduce(coin.load(), record_in=results)
    kept = json.loads((results / "coin" / "seed-1000.json").read_text())["figures"]
    assert kept["heads"] == [1.0, 1.0, 1.0, 0.0]
    assert kept["extra"] == 2.0


# -- a stamp ----------------------------------------------------------------------------------------------------------


def test_a_record_is_stamped_when_a_seed_run_again_gives_the_same(coin, results):
    before = reproduce(coin.load(), record_in=results)
    coin.change("THROWS = 100", "HEADS = 100", path=coin.code / "experiment.py")
    stamped = stamp_record(coin.load(), results)
    assert stamped.code_hash != before.code_hash
    assert stamped.model_copy(update={"code_hash": before.code_hash}) == before
    assert coin.calls() == [*BUDGET, 1000]
    reproduce(coin.load(), record_in=results)
    assert coin.calls() == [*BUDGET, 1000], "the seeds are those of the code as it is now"


def test_a_seed_is_run_again_with_as_many_threads_as_it_was_recorded_with(coin, results, monkeypatch):
    reproduce(coin.load(), record_in=results)
    path = results / "coin" / "seed-1000.json"
    seed = json.loads(path.read_text())
    seed["environment"]["threads"] = "1"
    path.write_text(json.dumps(seed))
    used, real = [], torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda count: used.append(count) or real(count))
    before = torch.get_num_threads()
    stamp_record(coin.load(), results)
    assert used == [1, before]


def test_a_record_is_not_stamped_when_a_figure_differs(coin, results):
    reproduce(coin.load(), record_in=results)
    recorded = (results / "coin.json").read_bytes()
    coin.change("0.7 + 0.01", "0.7 + 0.011", path=coin.module)
    coin.change("THROWS = 100", "THROWS = 101", path=coin.code / "experiment.py")
    coin.change("(seed % 10)", "((seed + 1) % 10)", path=coin.module)
    with pytest.raises(InputError, match="seed 1000 of coin gives other values than recorded, such as"):
        stamp_record(coin.load(), results)
    assert (results / "coin.json").read_bytes() == recorded


def test_on_another_processor_both_versions_of_the_code_are_run(coin, results, tmp_path):
    recorded = reproduce(coin.load(), record_in=results)
    stored = (results / "coin" / "seed-1000.json").read_text()
    # Elsewhere the same code gave other last digits.
    coin.change("0.7 + 0.01", "0.7 + 0.011", path=coin.module)
    coin.change("THROWS = 100", "THROWS = 101", path=coin.code / "experiment.py")
    coin.change("(seed % 10)", "((seed + 1) % 10)", path=coin.module)
    kept = json.loads(stored)
    kept["environment"]["processor"] = "another"

    def beside(name, seed):
        (tmp_path / name / "coin").mkdir(parents=True)
        (tmp_path / name / "coin" / "seed-1000.json").write_text(json.dumps(seed))
        return tmp_path / name

    (results / "coin" / "seed-1000.json").write_text(json.dumps(kept))
    with pytest.raises(InputError, match=r"another processor .* scripts/stamp.py$"):
        stamp_record(coin.load(), results)
    with pytest.raises(InputError, match=r"gives other values than recorded, .* with fresh seeds$"):
        stamp_record(coin.load(), results, beside=beside("other", kept))
    advance_record(coin.load(), tmp_path / "elsewhere")
    here = json.loads((tmp_path / "elsewhere" / "coin" / "seed-1000.json").read_text())
    with pytest.raises(InputError, match="made by other code than was recorded"):
        stamp_record(coin.load(), results, beside=tmp_path / "elsewhere")
    with pytest.raises(InputError, match="holds no seed 1000"):
        stamp_record(coin.load(), results, beside=tmp_path / "nothing")
    here["code_hash"] = kept["code_hash"]
    stamped = stamp_record(coin.load(), results, beside=beside("same", here))
    assert stamped.code_hash != recorded.code_hash
    assert stamped.claims == recorded.claims


def test_the_processor_is_recorded(coin, results, tmp_path):
    (tmp_path / "cpuinfo").write_text("vendor_id : X\nmodel name\t: Fast 9000\n")
    assert processor(tmp_path / "cpuinfo").startswith("Fast 9000, ")
    assert processor(tmp_path / "none").startswith(f"{platform.machine()}, ")
    assert reproduce(coin.load(), record_in=results).environment["processor"] == processor()


def test_what_was_never_recorded_or_has_other_claims_is_not_stamped(coin, results):
    with pytest.raises(InputError, match="nothing is recorded in"):
        stamp_record(coin.load(), results)
    reproduce(coin.load(), record_in=results)
    coin.change("threshold = 0.9", "threshold = 0.6")
    with pytest.raises(InputError, match="the claims or the budget of coin changed"):
        stamp_record(coin.load(), results)


# -- what an experiment may return ------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", ["float('nan')", "float('inf')", "'0.7'", "[0.7]"])
def test_a_figure_that_is_no_finite_number_is_named_at_once(coin, figure):
    coin.change('"shuffled": 0.5', f'"shuffled": {figure} if seed else 0.5', path=coin.module)
    with pytest.raises(SnellenError, match=r"system 99, seed 1, must return finite numbers.* got 'shuffled'"):
        reproduce(coin.load(), seeds=3)
    assert coin.calls() == [0, 1], "not after all the work"


def test_what_could_not_be_measured_stays_missing(coin, results):
    coin.change('"heads": 0.7 + 0.01 * (seed % 10)', '"heads": None if seed == 1003 else 0.99', path=coin.module)
    result = reproduce(coin.load(), record_in=results)
    assert [claim.verdict for claim in result.claims] == ["missing", "missing"]
    assert result.claims[0].ours is None
    assert result.claims[0].values == (0.99, 0.99, 0.99, None, 0.99)
    assert json.loads((results / "coin" / "seed-1003.json").read_text())["figures"]["heads"] is None


def test_an_experiment_that_returns_no_figures_is_reported(coin):
    coin.module.write_text(coin.module.read_text() + "\ndef run(scale, seed, progress):\n    return None\n")
    with pytest.raises(SnellenError, match="must return figures by name, got NoneType"):
        reproduce(coin.load())


@pytest.mark.parametrize("seeds", [0, -1])
def test_no_seed_is_no_run(coin, seeds):
    with pytest.raises(InputError, match=f"at least 1, got {seeds}"):
        reproduce(coin.load(), seeds=seeds)


@pytest.mark.parametrize(
    "target", ["no_such_module:run", "coin_experiment.part:run", "coin_experiment:walk", "coin_experiment", ":run"]
)
def test_an_experiment_that_is_not_there_is_named(coin, target):
    coin.change("coin_experiment:run", target)
    with pytest.raises(InputError, match=rf"names the experiment '{target}', but there is no such function"):
        reproduce(coin.load())


def test_a_package_that_an_experiment_lacks_is_its_own_matter(coin):
    coin.module.write_text("import no_such_package_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        reproduce(coin.load())


def test_systems_are_found_by_number_acronym_and_name(coin):
    whole = reproduce(coin.load(), seeds=2)
    for name in (99, "99", "coin", "COIN"):
        assert reproduce(name, seeds=2).claims == whole.claims
    with pytest.raises(InputError, match="unknown system '1000'"):
        reproduce(1000)


def test_a_missing_figure_is_an_error_that_names_it(coin):
    coin.change('metric = "heads"\ndirection', 'metric = "tails"\ndirection')
    with pytest.raises(SnellenError, match="gave no figure 'tails', which claim 99"):
        reproduce(coin.load(), seeds=1)


def test_a_gate_that_is_not_there_is_refused_before_anything_runs(coin):
    coin.change('scales = ["small"]', 'scales = ["small"]\ngates = ["lit"]')
    with pytest.raises(InputError, match=r"claim 99\.b names the gate lit, which is not there"):
        coin.load()


def test_an_edit_during_a_seed_is_an_error(coin, results):
    coin.change(
        "    1 / (",
        "    (Path(__file__).parent / 'snellen/reproduction/coin/experiment.py').write_text('THROWS = 7')\n    1 / (",
        path=coin.module,
    )
    with pytest.raises(SnellenError, match=r"seed 1000, ran while its code was edited"):
        reproduce(coin.load(), record_in=results)
    assert not (results / "coin").exists()


def test_a_system_that_fails_does_not_end_the_queue(coin, results, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda step: 0)
    (coin.code.parent / "token").mkdir()
    (coin.code.parent / "token" / "experiment.py").write_text("THROWS = 7\n")
    broken = coin.load().model_copy(update={"name": "token", "experiment": "coin_experiment:fall"})
    coin.module.write_text(coin.module.read_text() + "\ndef fall(scale, seed, progress):\n    raise OSError('fell')\n")
    with pytest.raises(SnellenError, match=r"1 of 2 systems failed, the others were run: token: OSError: fell"):
        run_queue([broken, coin.load()], results)
    assert (results / "coin.json").is_file()
    assert not (results / "token.json").exists()


def test_what_may_not_be_recorded_is_refused_before_the_queue_begins(coin, results, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda step: 0)
    reproduce(coin.load(), record_in=results)
    coin.change("THROWS = 100", "THROWS = 101", path=coin.code / "experiment.py")
    before = len(coin.calls())
    with pytest.raises(InputError, match="first_seed = 1005"):
        run_queue([coin.load()], results)
    assert len(coin.calls()) == before


def test_a_damaged_record_is_named_by_a_stamp(coin, results):
    reproduce(coin.load(), record_in=results)
    (results / "coin.json").write_text('{"judge": 2}')
    with pytest.raises(InputError, match=r"coin\.json: not a result that this version .*Field required"):
        stamp_record(coin.load(), results)


def test_a_record_of_other_gates_or_another_budget_does_not_count(coin, results):
    reproduce(coin.load(), record_in=results)
    assert coin.load().state == "1 of 2 claims hold (small)"
    coin.change('[[claims]]\nid = "99.a"', '[budget]\nseeds = 6\n\n[[claims]]\nid = "99.a"')
    assert coin.load().state == "not run"


def test_unbuilt_systems_say_so():
    unbuilt = system_module.find_system("19").model_copy(update={"experiment": None})
    with pytest.raises(InputError, match=r"system 19 \(LCTC\) is not built yet"):
        reproduce(unbuilt)


def test_command_line_exit_codes(coin, tmp_path, results, monkeypatch, capsys):
    from snellen.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "nice", lambda step: 0)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["snellen", "reproduce", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code

    assert run("99", "--scale", "full", "--record") == 0
    assert system_module.find_system("99").state == "1 of 1 claims hold (full)", "looked for where it was written"
    assert run("99", "--scale", "full", "--record", "--json") == 0
    shown = capsys.readouterr().out
    assert shown[shown.index("{\n") :].encode() == (results / "coin.json").read_bytes()
    assert run("coin", "--seeds", "2") == 1
    assert "99.b" in capsys.readouterr().out
    assert run("coin", "--scale", "full", "--queue") == 0
    assert "coin: recorded" in capsys.readouterr().err
    assert run("coin", "--scale", "full", "--stamp") == 0
    assert run("1000") == 2
    assert "unknown system '1000'" in capsys.readouterr().err
    assert run("99", "--scale", "smoke", "--record") == 2
    assert run("99", "coin") == 2
    assert "record several with --queue" in capsys.readouterr().err
    for clash in (("--queue", "--record"), ("--queue", "--json"), ("--stamp", "--seeds", "3")):
        assert run("99", *clash) == 2
        assert "exclude each other" in capsys.readouterr().err
    assert run("99", "--record", "--seeds", "3") == 2
    assert "has the 5 seeds of its budget" in capsys.readouterr().err
    (results / "coin.json").write_text("{")
    assert system_module.find_system("99").state == "not run"
