"""``snellen certify`` as a user calls it, from the training of a pair to the certificate."""

import json

import numpy as np
import pytest
from PIL import Image

import snellen
from tests.cli.stood_for import check_options

SMALL = ("--limit", "2", "--samples", "100", "--selection", "50")
MODEL, DATA = "bundled:fashion-cnn", "bundled:fashion-mnist"


def test_a_certificate_is_reported_and_written(run, tmp_path):
    code, out, err = run("certify", "smoothing", MODEL, DATA, "--sigma", "0.1", *SMALL)
    assert (code, err.strip()) == (0, "")
    told = " ".join(out.split())
    assert "no radius can exceed 0.1500" in told
    assert "smoothing.certified_accuracy" in told
    assert "wrong with probability 0.001 at most" in told
    record = json.loads((tmp_path / "snellen-certify-1" / "certify.json").read_text())
    assert record["settings"]["smoothing"]["guarantee"] is True
    assert "clean" not in told


def test_the_published_formula_is_never_called_certified(run):
    code, out, _ = run("certify", "drs", MODEL, DATA, "--sigma", "0.1", "--parity", *SMALL)
    told = " ".join(out.split())
    assert code == 0
    assert "NO GUARANTEE" in told
    assert "dual_smoothing.claimed" in told
    assert "dual_smoothing.certified" not in told


def test_a_pair_is_trained_and_certified_by_what_its_artifact_says(run, tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train",):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(3):
                pixels = rng.integers(0, 256, (28, 28), dtype=np.uint8)
                Image.fromarray(pixels).convert("RGB").save(tmp_path / split / name / f"{number}.png")
    network = ("--architecture", "fashion_cnn", "--side", "28", "--plan", '{"epochs": 1}', "--no-onnx")
    code, out, err = run(
        "train",
        "gaussian-smoothing",
        tmp_path / "train",
        "--out",
        "pair",
        "--split-pixels",
        "--grey",
        "--sigma",
        "0.2",
        *network,
    )
    assert (code, err.strip()) == (0, ""), out
    card = json.loads((tmp_path / "pair" / "card.json").read_text())
    said = {name: card["architecture"][name] for name in ("name", "sigma", "view", "grey")}
    assert said == {"name": "smoothed", "sigma": 0.2, "view": "contrast", "grey": True}
    code, out, err = run("certify", "dual-smoothing", "artifact:pair", tmp_path / "train", *SMALL, "--json")
    assert (code, err.strip()) == (0, "")
    record = json.loads(out)
    figures = record["settings"]["dual_smoothing"]
    assert figures["sigma"] == 0.2
    assert "the same in all three channels" in " ".join(figures["assumptions"])
    code, _, err = run("certify", "smoothing", "artifact:pair", tmp_path / "train", *SMALL)
    assert code == 2
    assert "use dual-smoothing" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say sigma, such as 0.25"),
        (["--sigma", "0"], "--sigma '0'"),
        (["--sigma", "0.1", "--alpha", "1.5"], "--alpha '1.5'"),
        (["--sigma", "0.1", "--out", "note.txt"], "note.txt is a file"),
        (["--sigma", "0.1", "--denoiser", "bundled:scene-diffusion"], "works with latents"),
    ],
)
def test_what_is_wrong_is_said(run, tmp_path, arguments, message):
    (tmp_path / "note.txt").write_text("mine")
    code, _, err = run("certify", "dual-smoothing", MODEL, DATA, *SMALL, *arguments)
    assert code == 2
    assert message in " ".join(err.split())


def test_methods_are_listed_and_unknown_ones_have_near_names(run):
    code, out, _ = run("certify", "--help")
    assert code == 0
    assert "dual-smoothing" in out
    code, _, err = run("certify", "smoothng", MODEL, DATA)
    assert code == 2
    assert "smoothing" in err


def test_options_have_the_defaults_of_the_function_they_stand_for():
    from snellen.cli.certify import certify

    check_options(certify, snellen.certify)
