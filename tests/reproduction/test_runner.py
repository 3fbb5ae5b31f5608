"""Claims as data, judged over seeds, on a small internal system whose truth is known."""

import json
import shutil

import pytest

from snellen.core import system as system_module
from snellen.core.errors import InputError, SnellenError
from snellen.core.system import list_systems, load_system
from snellen.reproduction.runner import reproduce

#: The number of a system that has no experiment yet.
UNBUILT = next(str(system.number) for system in list_systems() if system.experiment is None)


def test_claims_are_judged_by_the_interval_over_seeds(coin, tmp_path):
    result = reproduce(load_system(coin), scale="small", seeds=3, record_in=tmp_path / "results")
    better, nearly = result.claims
    assert better.ours == pytest.approx(0.71)
    assert better.baseline == pytest.approx(0.502)
    assert better.low < 0.208 < better.high
    assert better.low > 0.05
    assert better.holds
    assert not nearly.holds, "a claim that fails is recorded as failing"
    assert not result.holds
    assert result.controls == {"shuffled": 0.5}
    assert result.stand_ins == ("a simulated coin for a real one",)
    recorded = json.loads((tmp_path / "results" / "99.json").read_text())
    assert recorded["claims_hash"] == load_system(coin).claims_hash
    assert {"claims", "claims_hash", "environment", "duration_s", "stand_ins"} <= set(recorded)
    assert set(recorded["claims"][0]) >= {
        "id", "statement", "source", "metric", "ours", "baseline", "low", "high", "holds", "seeds",
    }  # fmt: skip


def test_scale_chooses_the_claims(coin):
    assert [c.id for c in reproduce(load_system(coin), scale="full", seeds=2).claims] == ["99.a"]
    assert reproduce(load_system(coin), scale="smoke", seeds=1).claims == ()


# -- what an experiment may return ------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", ["float('nan')", "float('inf')", "'0.7'", "None", "[0.7]"])
def test_a_figure_that_is_no_finite_number_is_named_at_once(coin, calls, figure):
    module = coin.parents[1] / "coin_experiment.py"
    module.write_text(module.read_text().replace("'shuffled': 0.5", f"'shuffled': {figure} if seed else 0.5"))
    with pytest.raises(SnellenError, match="system 99, seed 1, must return finite numbers, got 'shuffled'"):
        reproduce(load_system(coin), seeds=3)
    assert calls() == [0, 1], "not after all the work"


def test_an_experiment_that_returns_no_figures_is_told(coin):
    module = coin.parents[1] / "coin_experiment.py"
    module.write_text(module.read_text() + "\ndef run(scale, seed, progress):\n    return None\n")
    with pytest.raises(SnellenError, match="must return figures by name, got NoneType"):
        reproduce(load_system(coin))


@pytest.mark.parametrize("seeds", [0, -1])
def test_no_seed_is_no_run(coin, seeds):
    with pytest.raises(InputError, match=f"at least 1, got {seeds}"):
        reproduce(load_system(coin), seeds=seeds)


@pytest.mark.parametrize(
    "target", ["no_such_module:run", "coin_experiment.part:run", "coin_experiment:walk", "coin_experiment", ":run"]
)
def test_an_experiment_that_is_not_there_is_named(coin, target):
    coin.write_text(coin.read_text().replace("coin_experiment:run", target))
    with pytest.raises(InputError, match=rf"names the experiment '{target}', but there is no such function"):
        reproduce(load_system(coin))


def test_a_package_that_an_experiment_lacks_is_its_own_matter(coin):
    (coin.parents[1] / "coin_experiment.py").write_text("import no_such_package_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        reproduce(load_system(coin))


def test_systems_are_named_by_number_or_acronym(coin):
    whole = reproduce(load_system(coin), seeds=2)
    for name in (99, "99", "coin"):
        assert reproduce(name, seeds=2).claims == whole.claims
    with pytest.raises(InputError, match="unknown system '1000'"):
        reproduce(1000)


def test_a_missing_figure_is_an_error_that_names_it(coin, tmp_path):
    coin.write_text(coin.read_text().replace('metric = "heads"\ndirection', 'metric = "tails"\ndirection'))
    with pytest.raises(SnellenError, match="gave no figure 'tails', which claim 99"):
        reproduce(load_system(coin), seeds=1)


def test_unbuilt_systems_say_so():
    with pytest.raises(InputError, match=rf"system {UNBUILT} \(.*\) is not built yet"):
        reproduce(system_module.find_system(UNBUILT))


def test_command_line_exit_codes(coin, tmp_path, monkeypatch, capsys):
    from snellen.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["snellen", "reproduce", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code

    assert run("99", "--scale", "full", "--record") == 0
    assert system_module.find_system("99").state == "reproduced (full)", "looked for where it was written"
    assert (tmp_path / "results" / "99.json").is_file()
    shutil.rmtree(tmp_path / "results")
    assert run("coin", "--seeds", "2") == 1
    assert not (tmp_path / "results").exists()
    assert "99.b" in capsys.readouterr().out
    assert run(UNBUILT) == 2
    assert run("1000") == 2
    assert "unknown system '1000'" in capsys.readouterr().err
    assert run("99", "--scale", "smoke", "--record") == 2
    assert run("99", "--scale", "full", "--record", "--json") == 0
    assert capsys.readouterr().out.encode() == (tmp_path / "results" / "99.json").read_bytes()
    (tmp_path / "results" / "99.json").write_text("{")
    monkeypatch.setattr("sys.argv", ["snellen", "systems", "--json"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code in (0, None)
    assert {row["number"]: row["state"] for row in json.loads(capsys.readouterr().out)}[99] == "not run"
