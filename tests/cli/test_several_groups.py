"""Several groups, costs and a prevalence in a shell and in audit.toml, under the same names as in Python."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import snellen


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Garments by patient, hospital, scanner and age, and a table of costs; names hold spaces."""
    place = tmp_path_factory.mktemp("several groups")
    images = snellen.load_images("bundled:fashion-mnist").select(np.arange(240))
    rng = np.random.default_rng(0)
    (place / "img").mkdir()
    with (place / "m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient", "hospital", "scanner", "age", "split"])
        for row, example in enumerate(images):
            Image.fromarray(np.asarray(example.image)).save(place / "img" / f"{row}.png")
            writer.writerow(
                [f"img/{row}.png", images.class_names[example.label], row // 2, rng.choice(["St Mary", "Nord"]),
                 rng.choice(["GE", "Siemens"]), rng.integers(20, 90), "test" if row < 160 else "val"]
            )  # fmt: skip
    names = images.class_names
    with (place / "costs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["true", *names], *([a, *(0 if a == b else 7 if a == "Shirt" else 1 for b in names)] for a in names)]
        )
    return place


def figures(folder):
    return json.loads((folder / "report.json").read_text())["metrics"]


def test_the_shell_a_file_and_python_give_the_same_figures(run, folder, tmp_path):
    groups = ["hospital", "scanner", "age:40,60"]
    options = [f"--column=group={one}" for one in groups]
    code, out, err = run(
        "audit", "bundled:fashion-cnn", f"{folder}/m.csv#test", "--val", f"{folder}/m.csv#val", "--column",
        "unit=patient", *options, "--costs", folder / "costs.csv", "--checks", "clean,discrimination,group_gap",
        "--out", tmp_path / "shell",
    )  # fmt: skip
    assert code == 0, out + err
    (folder / "audit.toml").write_text(
        'model = "bundled:fashion-cnn"\ndata = "m.csv#test"\nval = "m.csv#val"\ncosts = "costs.csv"\n'
        'checks = ["clean", "discrimination", "group_gap"]\n'
        '[columns]\nunit = "patient"\ngroup = ["hospital", "scanner", "age:40,60"]\n'
    )
    code, out, err = run("audit", folder / "audit.toml", "--out", tmp_path / "file")
    assert code == 0, out + err
    snellen.audit(
        "bundled:fashion-cnn", f"{folder}/m.csv#test", val=f"{folder}/m.csv#val", columns={"unit": "patient"},
        costs=folder / "costs.csv", checks=["clean", "discrimination", "group_gap"], out=tmp_path / "python",
        groups=["hospital", "scanner", "age:40,60"],
    )  # fmt: skip
    shown = figures(tmp_path / "shell")
    assert "group_gap.worst_pair_accuracy" in shown
    assert "clean.cost" in shown
    assert shown == figures(tmp_path / "file") == figures(tmp_path / "python")


def test_processes_give_the_same_figures(run, folder, tmp_path):
    common = ["audit", "bundled:fashion-cnn", f"{folder}/m.csv#test", "--column", "group=hospital", "--column",
              "group=scanner", "--costs", folder / "costs.csv", "--checks", "clean,group_gap"]  # fmt: skip
    assert run(*common, "--out", tmp_path / "one")[0] == 0
    code, out, err = run(*common, "--processes", 2, "--out", tmp_path / "two")
    assert code == 0, out + err
    assert figures(tmp_path / "one") == figures(tmp_path / "two")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--column", "group=hospital", "--column", "group=scaner"], "did you mean 'scanner'"),
        (["--column", "unit=patient", "--column", "unit=age"], "each meaning but group and labels once"),
        (["--column", "group=hospital", "--column", "group=age:60,40"], "ascending numbers"),
        (["--costs", "none.csv"], "cannot be read"),
        (["--prevalence", "0.1"], "has 10 classes: name it, --set discrimination.positive="),
        (["--prevalence", "1.5", "--set", "discrimination.positive=Shirt"], "expected less than 1"),
        (["--set", "discrimination.positive=Shirt", "--set", "discrimination.sensitivity=0.9"], "give --val DATA"),
    ],
)
def test_wrong_options_end_with_2_and_say_what_to_do(run, folder, tmp_path, options, message):
    code, out, err = run("audit", "bundled:fashion-cnn", f"{folder}/m.csv#test", *options, "--out", tmp_path / "run")
    assert code == 2
    assert message in " ".join((out + err).split())


def test_a_prevalence_moves_the_predictive_value_and_no_sensitivity(run, folder, tmp_path):
    common = ["audit", "bundled:fashion-cnn", f"{folder}/m.csv#test", "--val", f"{folder}/m.csv#val", "--checks",
              "clean,discrimination", "--set", "discrimination.positive=Shirt",
              "--set", "discrimination.threshold=0.02"]  # fmt: skip
    assert run(*common, "--out", tmp_path / "own")[0] == 0
    code, out, err = run(*common, "--prevalence", "0.01", "--out", tmp_path / "rare")
    assert code == 0, out + err
    own, rare = figures(tmp_path / "own"), figures(tmp_path / "rare")
    assert rare["discrimination.sensitivity"] == own["discrimination.sensitivity"]
    name = "discrimination.positive_predictive_value"
    assert rare[name]["value"] < own[name]["value"]
    sensitivity, specificity = (rare[f"discrimination.{one}"]["value"] for one in ("sensitivity", "specificity"))
    assert rare[name]["value"] == pytest.approx(
        0.01 * sensitivity / (0.01 * sensitivity + 0.99 * (1 - specificity)), abs=1e-9
    )


def test_init_writes_the_groups_into_the_file(run, folder, tmp_path):
    options = ["--column", "group=hospital", "--column", "group=age:40", "--out", tmp_path / "audit.toml"]
    code, out, err = run("init", "bundled:fashion-cnn", f"{folder}/m.csv#test", *options)
    assert code == 0, out + err
    assert 'group" = ["hospital", "age:40"]' in (tmp_path / "audit.toml").read_text()


def test_training_images_have_the_groups_and_bands_of_the_audited_ones_in_each_place(folder):
    from snellen.auditing.job import read_job
    from snellen.core.factors import decoded
    from snellen.data.factors import columns_beside
    from snellen.runs.given import given_companion

    names = ["hospital", "age"]
    audited = snellen.load_images(f"{folder}/m.csv#test", groups=names)
    bands = set(decoded(audited.column("group_factors"))["age"])
    assert len(bands) == 4
    for columns, groups in (({"group": names, "unit": "patient"}, None), ({"unit": "patient"}, names)):
        beside = columns_beside(audited, columns, groups)
        of_val = given_companion(f"{folder}/m.csv", beside)
        assert set(decoded(of_val.column("group_factors"))["age"]) == bands
        assert of_val.column("unit_id")[0] is not None
    (folder / "job.toml").write_text(
        f'model = "bundled:fashion-cnn"\ndata = "m.csv#test"\ntrain = "{folder}/m.csv"\n'
        '[columns]\nunit = "patient"\ngroup = ["hospital", "age"]\n'
    )
    training = read_job(folder / "job.toml").arguments()["train"]
    assert set(decoded(training.column("group_factors"))["age"]) == bands
    assert training.column("unit_id")[0] is not None
    assert columns_beside(audited, {"unit": "patient"}, {"hospital": ["A"] * len(audited)}) == {"unit": "patient"}
