"""Shortcuts by the command line: a training set without them, and the treatment that a report prints, as it is."""

import json
import re
import shlex

import pytest

import snellen
from snellen.reproduction.language_guided_augmentation.experiment import world
from tests.systems.language_guided_augmentation.leaning import save_leaning


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Training, validation and test images as files, and the classifier."""
    folder = tmp_path_factory.mktemp("written")
    for name, images in {"train": world("train", 200, 0.95, 0), "val": world("val", 120, 0.95, 4),
                         "test": world("test", 260, 0.95, 5)}.items():  # fmt: skip
        snellen.write_images(images, folder / name)
    return folder, save_leaning(folder / "model")


def test_the_command_under_a_finding_runs_as_printed_and_mends_it(run, written, monkeypatch):
    folder, model = written
    report = snellen.audit(
        model,
        folder / "test" / "manifest.csv",
        checks=["clean", "shortcuts"],
        train=snellen.load_images(folder / "train" / "manifest.csv"),
        val=snellen.load_images(folder / "val" / "manifest.csv"),
        out=folder / "audit",
    )
    found = [one for one in report.findings if one.kind == "shortcut"]
    assert {one.subject for one in found} == {"star: grass", "ring: sand"}
    command = found[0].treatments[0]
    assert re.fullmatch(r"snellen treat \. --finding '?shortcut:\w+: \w+'? --out treated", command)
    monkeypatch.chdir(folder / "audit")
    code, out, err = run(*shlex.split(command)[1:], "--max-loss", "0.1")
    assert code == 0, err
    made = json.loads((folder / "audit" / "treated" / "treatment.json").read_bytes())
    (one,) = made["findings"]
    assert one["key"] == found[0].key
    assert one["treatment"] == "edited_shortcuts"
    assert one["outcome"] in ("mended", "smaller"), out
    assert "personalised_images (needs a generator of images (--generator REF))" in out


def test_a_training_set_without_the_shortcut_in_one_command(run, written):
    folder, model = written
    tiny = ("--preset", "small", "--token-steps", "2", "--count", "2", "--steps", "2", "--guidance-scale", "1.5")
    data, out = folder / "train" / "manifest.csv", folder / "made"
    code, printed, err = run("synthesize", "shortcuts", model, data, "--out", out, *tiny)
    assert (code, err.strip()) == (0, "")
    assert "Written" in printed
    images = snellen.load_images(out / "manifest.csv")
    assert images.class_names == ("ring", "star")
    assert {json.loads(one)["guidance_scale"] for one in images.column("provenance")} == {1.5}
    assert json.loads((folder / "made-edits" / "edits.json").read_text())["selected"]
    code, printed, _ = run("synthesize", "shortcuts", model, data, "--out", folder / "other", *tiny, "--dry-run")
    assert code == 0
    assert "tokens are learned in 2 steps" in " ".join(printed.split())
    assert not (folder / "other").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--word", "unforeseen"), "name another word"),
        (("--detector", "hf:IDEA-Research/grounding-dino-tiny"), "download it first"),
        (("--generator", "bundled:fashion-diffusion"), "one text tower"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(run, written, options, message):
    folder, model = written
    data = folder / "train" / "manifest.csv"
    code, _, err = run("synthesize", "shortcuts", model, data, "--preset", "small", "--out", folder / "wrong", *options)
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
