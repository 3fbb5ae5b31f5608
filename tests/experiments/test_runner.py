"""Claims as data, judged over seeds, on a small internal system whose truth is known."""

import json
import shutil

import pytest

from snellen import system as system_module
from snellen.errors import InputError, SnellenError
from snellen.experiments.runner import reproduce
from snellen.system import load_system

TOML = """
number = 99
title = "A system that measures a coin"
acronym = "COIN"
source = "nobody, nowhere"
area = "scans"
command = "snellen scan coin"
summary = "Tells how often a coin falls on heads."
experiment = "tests.experiments.coin:run"

[[claims]]
id = "99.a"
statement = "Heads come up more often than the control"
source = "table 1"
metric = "heads"
baseline = "fair"
direction = ">"
threshold = 0.05
controls = ["shuffled"]

[[claims]]
id = "99.b"
statement = "Heads come up in nearly every throw"
source = "table 2"
metric = "heads"
direction = ">"
threshold = 0.9
scales = ["small"]
"""


@pytest.fixture
def coin(tmp_path, monkeypatch):
    module = tmp_path / "coin_experiment.py"
    module.write_text(
        "def run(scale, seed, progress):\n"
        "    return {'heads': 0.7 + 0.01 * seed, 'fair': 0.5 + 0.002 * seed, 'shuffled': 0.5}\n"
        "run.stand_ins = {'small': ['a simulated coin for a real one']}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "systems"
    folder.mkdir()
    path = folder / "99.toml"
    path.write_text(TOML.replace("tests.experiments.coin:run", "coin_experiment:run"))
    monkeypatch.setattr(system_module, "FOLDERS", [*system_module.FOLDERS, folder])
    return path


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


def test_a_claim_changed_after_the_run_needs_a_reason(coin, tmp_path):
    results = tmp_path / "results"
    reproduce(load_system(coin), seeds=2, record_in=results)
    coin.write_text(coin.read_text().replace("threshold = 0.9", "threshold = 0.6"))
    with pytest.raises(InputError, match=r"changed without an 'amended' reason: 99\.b"):
        reproduce(load_system(coin), seeds=2, record_in=results)
    coin.write_text(coin.read_text().replace("threshold = 0.6", 'threshold = 0.6\namended = "the paper says 0.6"'))
    amended = reproduce(load_system(coin), seeds=2, record_in=results)
    assert amended.holds
    assert amended.claims[1].amended == "the paper says 0.6"
    coin.write_text(coin.read_text().split('[[claims]]\nid = "99.b"')[0])
    with pytest.raises(InputError, match=r"dropped: 99\.b"):
        reproduce(load_system(coin), seeds=2, record_in=results)


def test_a_missing_figure_is_an_error_that_names_it(coin, tmp_path):
    coin.write_text(coin.read_text().replace('metric = "heads"\ndirection', 'metric = "tails"\ndirection'))
    with pytest.raises(SnellenError, match="gave no figure 'tails', which claim 99"):
        reproduce(load_system(coin), seeds=1)


def test_unbuilt_systems_say_so():
    with pytest.raises(InputError, match=r"system 37 \(MedMNIST-C\) is not built yet"):
        reproduce(system_module.find_system("37"))


def test_command_line_exit_codes(coin, tmp_path, monkeypatch, capsys):
    from snellen.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["snellen", "reproduce", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code

    assert run("99", "--scale", "full", "--seeds", "2", "--record") == 0
    assert (tmp_path / "results" / "99.json").is_file()
    shutil.rmtree(tmp_path / "results")
    assert run("coin", "--seeds", "2") == 1
    assert not (tmp_path / "results").exists()
    assert "99.b" in capsys.readouterr().out
    assert run("38") == 2
    assert run("1000") == 2
    assert "unknown system '1000'" in capsys.readouterr().err
