"""``snellen explain`` as a user calls it."""

import json

import pytest

import snellen
from snellen.core.evidence import Evidence
from tests.cli.stood_for import check_options

MODEL, DATA = "bundled:fashion-cnn", "bundled:fashion-mnist"


def test_an_explanation_is_reported_and_written(run, tmp_path):
    code, out, err = run("explain", "grad-cam", MODEL, DATA, "--limit", "3")
    assert (code, err.strip()) == (0, "")
    told = " ".join(out.split())
    assert "grad_cam.insertion" in told
    assert "3 of 3 images explained" in told
    assert "says what the model used, not whether it is right" in told
    folder = tmp_path / "snellen-explain-1"
    record = json.loads((folder / "explain.json").read_text())
    insertion = record["settings"]["grad_cam"]["figures"]["insertion"]
    assert insertion["found"]["n"] == 3
    difference = insertion["found"]["value"] - insertion["control"]["value"]
    assert insertion["difference"]["value"] == pytest.approx(difference)
    assert len(list((folder / "grad_cam").glob("*.png"))) == 3
    assert len(Evidence.read(folder / "evidence.parquet")) == 3
    for file in ("explain.html", "explain.json", "evidence.parquet", "grad_cam"):
        assert f"Written: snellen-explain-1/{file}" in told
    # A second time there is another folder; the same folder again is done already, and the same is told.
    code, again, _ = run("explain", "grad-cam", MODEL, DATA, "--limit", "3", "--out", folder)
    assert code == 0
    assert again.replace(str(folder), "snellen-explain-1").split() == out.split()
    code, _, err = run("explain", "grad-cam", MODEL, DATA, "--limit", "2", "--out", folder)
    assert code == 2
    assert "holds another set of explanations (differs in: data)" in " ".join(err.split())


def test_several_values_are_several_settings_and_the_record_can_be_printed(run, tmp_path):
    code, out, err = run(
        "explain", "gradient", MODEL, DATA, "--limit", "2", "--of", "score", "--of", "probability", "--target", "Bag",
        "--no-images", "--json", "--out", "out",
    )  # fmt: skip
    assert (code, err.strip()) == (0, "")
    record = json.loads(out)
    assert set(record["settings"]) == {"gradient+of=score", "gradient+of=probability"}
    assert record["plan"]["target"] == "Bag"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"evidence.parquet", "explain.html", "explain.json"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grad-cm"], "unknown explanation 'grad-cm'; did you mean 'gradcam' or 'grad_cam'"),
        (["grad-cam", MODEL, DATA, "--target", "Bagg"], "did you mean 'Bag'?"),
        (["grad-cam", MODEL, DATA, "--layer", "nothing"], "unknown layer of bundled:fashion-cnn 'nothing'"),
        (["partition-shap", MODEL, DATA, "--partition-shap.budget", "1"], "--partition-shap.budget '1'"),
        (["grad-cam", MODEL, DATA, "--out", "note.txt"], "note.txt is a file"),
        (["vale", MODEL, DATA, "--segmenter", "sam:vit"], "unknown kind of segmenter 'sam'"),
        (["vale", MODEL, DATA, "--attribution", "none"], "bundled:scene-sam takes boxes or points"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left(run, tmp_path, arguments, message):
    (tmp_path / "note.txt").write_text("mine")
    code, _, err = run("explain", *arguments, *(["--limit", "1"] if len(arguments) > 1 else []))
    assert code == 2
    assert message in " ".join(err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_options_have_the_defaults_of_the_function_they_stand_for():
    from snellen.cli.explain import explain

    check_options(explain, snellen.explain)


def test_what_describes_all_classes_of_a_model_takes_no_target(run):
    code, out, _ = run("explain", "counterfactuals", "--help")
    assert code == 0
    assert "--generator" in out
    assert "--target" not in out
    assert "--target" in run("explain", "rise", "--help")[1]
    code, _, err = run("explain", "counterfactuals", MODEL, DATA, "--target", "Bag")
    assert code == 2
    assert "No such option: --target" in " ".join(err.split())
