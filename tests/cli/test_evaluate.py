"""``snellen evaluate`` as a user meets it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.models.classifiers.timm_models import build_untrained


def test_a_table_of_two_models(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    models = ("bundled:fashion-cnn", "bundled:fashion-cnn")
    code, out, err = run(
        "evaluate", *models, "--data", "bundled:fashion-mnist", "--attack", "fgsm:epsilon=0.1",
        "--attack", "fgsm", "--limit", 6, "--out", "table",
    )  # fmt: skip
    assert code == 0, err
    assert "bundled:fashion-cnn (2)" in out
    assert "+0.0 [" in out
    code, again, _ = run(
        "evaluate", *models, "--data", "bundled:fashion-mnist", "--attack", "fgsm:epsilon=0.1",
        "--attack", "fgsm", "--limit", 6, "--out", "table", "--format", "latex",
    )  # fmt: skip
    assert code == 0
    assert again.startswith("% Accuracy in percent")
    assert "\\begin{tabular}{lrrrr}" in again


@pytest.mark.parametrize("attack", ["fgsm:epsilon", "fgsm:=1", "fgsm:epsilon=1,epsilon=2", "fgsm:epsilon=8/255,"])
def test_an_attack_that_cannot_be_read(run, attack):
    code, _, err = run("evaluate", "bundled:fashion-cnn", "--data", "bundled:fashion-mnist", "--attack", attack)
    assert code == 2
    assert "expected NAME:FIELD=VALUE,FIELD=VALUE" in err


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of two classes in one folder, one of them broken, with a table and masks beside them."""
    noise = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    rows = ["file,dx,patient"]
    for number in range(12):
        Image.fromarray(noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"images/{number}.png")
        Image.new("L", (64, 64), 255).save(tmp_path / f"masks/{number}_mask.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},p{number // 4}")
    (tmp_path / "images" / "0.png").write_bytes(b"")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    (tmp_path / "names.txt").write_text("a\nb\n")
    torch.manual_seed(0)
    weights = build_untrained(model="test_resnet", class_count=2).state_dict()
    torch.save({"state_dict": weights}, tmp_path / "w.pth")
    return tmp_path


def test_models_and_images_are_read_as_by_every_command(run, pictures):
    command = (
        "evaluate", "timm:test_resnet@w.pth", "--data", "images", "--attack", "fgsm", "--classes", "names.txt",
        "--model-args", "num_classes=2", "--size", "64", "--mean", "0.1,0.2,0.3", "--std", "0.5",
        "--table", "table.csv", "--column", "label=dx", "--column", "unit=patient", "--masks", "masks",
        "--allow-remote", "none.example", "--out", "table", "--json",
    )  # fmt: skip
    code, _, err = run(*command)
    assert code == 2
    assert "--allow-rejected" in err
    code, out, err = run(*command, "--allow-rejected")
    assert code == 0, err
    table = json.loads(out)
    assert [one["attack"] for one in table["accuracies"]] == ["clean", "fgsm"]
    assert {one["n"] for one in table["accuracies"]} == {11}
    assert table["differences"] == []
    (record,) = Path("table").glob("*/seed-0/attack.json")
    plan = json.loads(record.read_bytes())["plan"]
    assert "0.1, 0.2, 0.3" in json.dumps(plan["model"])
    assert "beside" in plan


def test_json_is_no_further_format(run):
    code, _, err = run(
        "evaluate", "bundled:fashion-cnn", "--data", "bundled:fashion-mnist", "--attack", "fgsm", "--json", "--format",
        "csv",
    )  # fmt: skip
    assert code == 2
    assert "--json and --format csv" in err


MODEL = ("evaluate", "bundled:fashion-cnn", "--data", "bundled:fashion-mnist", "--limit", 6)


def test_values_are_read_as_those_of_snellen_attack(run):
    code, _, err = run(*MODEL, "--attack", "pgd:epsilon=8/255,steps=2,random-start=false", "--out", "table", "--json")
    assert code == 0, err
    (record,) = Path("table").glob("*/seed-0/attack.json")
    (method,) = json.loads(record.read_bytes())["plan"]["settings"]
    assert method["epsilon"] == 8 / 255
    assert (method["steps"], method["random_start"]) == (2, False)
    code, _, err = run(*MODEL, "--attack", "pgd:epsilon=8/zero")
    assert code == 2
    assert "pgd:epsilon '8/zero'" in err
    assert "takes number" in err
    code, _, err = run(*MODEL, "--attack", "pgd:epsilom=8/255")
    assert code == 2
    assert "unknown parameter of pgd 'epsilom'; did you mean 'epsilon'" in err


def test_a_dry_run_adds_what_every_model_and_seed_costs(run):
    command = ("evaluate", "bundled:fashion-cnn", "bundled:fashion-cnn", *MODEL[2:], "--attack", "fgsm", "--dry-run")
    code, out, err = run(*command, "--seed", 0, "--seed", 1, "--out", "table")
    assert code == 0, err
    assert out.startswith("evaluation into table: 24 items in 4 shards, 0 of them done")
    assert "passes: about" in out
    assert not Path("table").exists()
    code, out, err = run(*command, "--json")
    assert code == 0, err
    assert json.loads(out)["items"] == 12


def test_processes_change_no_figure(run):
    command = (*MODEL, "--attack", "fgsm", "--batch-size", 3, "--json")
    code, here, err = run(*command)
    assert code == 0, err
    code, there, err = run(*command, "--engine", "local", "--processes", 2, "--workers", 1)
    assert code == 0, err
    assert json.loads(there) == json.loads(here)
    code, _, err = run(*command, "--engine", "in_process", "--processes", 2)
    assert code == 2
    assert "one process" in err


def test_ctrl_c_promises_no_folder_where_none_is_kept(run, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("snellen.verbs.evaluate.evaluate", stopped)
    code, _, err = run(*MODEL, "--attack", "fgsm")
    assert (code, "resumes" in err) == (130, False)
    code, _, err = run(*MODEL, "--attack", "fgsm", "--out", "table")
    assert (code, "the same command resumes" in err) == (130, True)
