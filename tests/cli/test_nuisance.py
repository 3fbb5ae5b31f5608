"""``snellen shift nuisance`` as a user meets it."""

import inspect
import json

import pytest

import snellen
from snellen.core.index import commands
from snellen.systems.continuous_nuisance import objects as nuisance_objects


def flat(text):
    return " ".join(text.replace("│", " ").split())


def test_options_are_the_parameters_of_the_python_call_with_its_defaults():
    options = inspect.signature(commands("shift")["nuisance"].load()).parameters
    parameters = inspect.signature(snellen.shift_nuisance).parameters
    spelled = {"methods": "method", "classifier": "classifiers"}
    # Fields of the method that are written otherwise than its other fields, and what Python is handed loaded.
    own = {"class_", "strength", "device", "allow_remote", "as_json"}
    for name, option in options.items():
        if name not in own | {"out", "classifier"} and option.default is not inspect.Parameter.empty:
            assert option.default == parameters[spelled.get(name, name)].default, name
    assert {spelled.get(name, name) for name in options} - own == set(parameters)


def test_help_names_the_words_of_a_user(run):
    code, out, _ = run("shift", "nuisance", "--help")
    assert code == 0
    shown = flat(out)
    assert "--concept" in shown
    assert "0:2.5:6" in shown
    assert "--strengths" not in shown, "a grid is written by --strength"
    code, out, _ = run("shift", "--help")
    assert "nuisance" in flat(out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--concept", "fog", "--strength", "2.5:0:6"), "strengths start at 0"),
        (("--concept", "fog", "--strength", "0", "--strength", "1", "--strength", "0.5"), "0.5 comes after 1"),
        (("--concept", "fog", "--strength", "0:nan:3"), "strengths are finite numbers"),
        (("--concept", "fog"), "name them (--class NAME for each), or give a classifier"),
        (("--class", "star", "--class", "ring"), "needs a shift: --concept 'in fog'"),
        (("--concept", "fog", "--class", "star", "--class", "dgo"), "unknown word of bundled:scene-diffusion"),
        (("--concept", "fog", "--class", "star"), "there is 'star' alone"),
        (("--concept", "fog", "--class", "star", "--steps", "2", "--steps", "3"), "one setting at a time"),
        (("--concept", "fog", "--generator", "diffusers:no"), "give --text-image and --second-encoder"),
        (("--concept", "fog", "--class", "star", "--class", "ring", "--device", "cuda:99"), "device 'cuda:99'"),
        (("--concept", "fog", "--classifier", "bundled:none"), "unknown bundled classifier 'none'"),
        (("--concept", "fog", "--thresholds", '{"class": 1}', "--text-image", "a"), "give both of them or none"),
    ],
)
def test_what_cannot_be_is_one_clear_message_and_writes_nothing(run, tmp_path, options, message):
    code, _, err = run("shift", "nuisance", *options, "--out", "made")
    assert code == 2
    assert message in flat(err)
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_whole_run_tells_where_a_classifier_breaks_and_where_the_files_are(run, tmp_path, monkeypatch):
    monkeypatch.setattr(nuisance_objects, "CALIBRATING", 1)
    fit = '{"iterations": 1, "batch_size": 1, "steps": 2}'
    options = (
        "--class",
        "star",
        "--class",
        "ring",
        "--strength",
        "0:2:2",
        "--seeds",
        "1",
        "--steps",
        "2",
        "--fit",
        fit,
    )
    command = ("shift", "nuisance", "--concept", "fog=in fog", "--classifier", "bundled:scene-cnn", *options)
    command = (*command, "--reference-model", "bundled:scene-cnn", "--guidance-scale", "1", "--out", "made")
    code, out, err = run(*command)
    assert (code, err.strip()) == (0, "")
    record = json.loads((tmp_path / "made" / "nuisance.json").read_text())
    assert f"fog: {record['kept']['fog']} trajectories" in out
    assert "Written: made/manifest.csv" in out
    assert "Sliders: made-sliders" in out
    assert (tmp_path / "made-sliders" / "fog" / "slider.json").is_file()
    assert record["plan"]["reference_model"] == "bundled:scene-cnn"
    before = (tmp_path / "made" / "nuisance.json").read_bytes()
    code, out, _ = run(*command, "--json")
    assert (code, out.encode()) == (0, before)
