"""``snellen scan`` as a user calls it, from the training of a denoiser to the estimate of one image."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import snellen
from snellen.models.residual_denoiser import ResidualDenoiser, architecture
from snellen.systems.perturbation_estimation.method import Perturbation
from tests.cli.stood_for import check_options
from tests.systems.perturbation_estimation.denoisers import save_denoiser, save_untrained

MODEL, DATA = "bundled:fashion-cnn", "bundled:fashion-mnist"


@pytest.fixture
def denoiser(tmp_path):
    save_untrained(tmp_path / "denoiser")
    return "artifact:denoiser"


def test_one_image_is_split_and_reported(run, denoiser, tmp_path):
    pixels = np.asarray(snellen.load_images(DATA).read(0))
    Image.fromarray(pixels).save(tmp_path / "caught.png")
    code, out, err = run("scan", "perturbation", MODEL, "caught.png", "--denoiser", denoiser)
    assert (code, err.strip()) == (0, "")
    told = " ".join(out.split())
    assert "caught.png before bundled:fashion-cnn" in told
    assert "perturbation.images 1 perturbation.score_distance 0" in told
    assert "no sign of an attack in the decision; an estimate, with false alarms" in told
    record = json.loads((tmp_path / "snellen-scan-1" / "scan.json").read_text())
    assert record["settings"]["perturbation"]["statistic"] == 0.0
    for file in record["files"]:
        assert (tmp_path / "snellen-scan-1" / file).is_file()
    assert "sheet-perturbation.png" in told


def test_a_set_without_a_classifier_and_the_record_as_json(run, denoiser):
    code, out, err = run("scan", "cdd-red", DATA, "--limit", "3", "--denoiser", denoiser, "--out", "here", "--json")
    assert (code, err.strip()) == (0, "")
    record = json.loads(out)
    assert record["plan"]["model"] is None
    assert record["plan"]["data"]["images"] == 3
    assert "no classifier was given" in record["settings"]["perturbation"]["verdict"]
    again = run("scan", "cdd-red", DATA, "--limit", "3", "--denoiser", denoiser, "--out", "here", "--json")
    assert again[:2] == (0, out)
    code, _, err = run("scan", "cdd-red", DATA, "--limit", "4", "--denoiser", denoiser, "--out", "here")
    assert code == 2
    assert "here holds another scan (differs in: data)" in " ".join(err.split())


def test_another_denoiser_of_the_same_name_is_another_scan(run, denoiser, tmp_path):
    command = ("scan", "perturbation", DATA, "--limit", "2", "--denoiser", denoiser, "--out", "here", "--json")
    code, _, _ = run(*command)
    assert code == 0
    shutil.rmtree(tmp_path / "denoiser")
    network = ResidualDenoiser(depth=2, width=2)
    save_denoiser(tmp_path / "denoiser", network, architecture(2, 2))
    code, _, err = run(*command)
    assert code == 2
    assert "here holds another scan (differs in: references)" in " ".join(err.split())


def test_an_option_given_twice_makes_two_settings(run, denoiser, tmp_path):
    options = ("--clamp", "--batch-size", "2", "--batch-size", "4")
    code, out, err = run("scan", "perturbation", DATA, "--limit", "3", "--denoiser", denoiser, *options)
    assert (code, err.strip()) == (0, "")
    assert "perturbation+batch_size=2.images 3 " in " ".join(out.split())
    record = json.loads((tmp_path / "snellen-scan-1" / "scan.json").read_text())
    assert list(record["settings"]) == ["perturbation+batch_size=2", "perturbation+batch_size=4"]


def test_ctrl_c_tells_how_to_go_on(run, denoiser, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Perturbation, "scan", stopped)
    code, _, err = run("scan", "perturbation", DATA, "--limit", "3", "--denoiser", denoiser)
    assert code == 130
    assert "the same command with --out snellen-scan-1 resumes where this stopped" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([DATA], "snellen train perturbation-denoiser IMAGES --surrogate MODEL --victims MODEL --out FOLDER"),
        ([DATA, "--denoiser", "artifact:nothing", "--limit", "2"], "nothing is not an artifact"),
        ([DATA, "--denoiser", "denoiser", "--out", "note.txt"], "note.txt is a file"),
        (
            [DATA, "--denoiser", "denoiser", "--limit", "2", "--benign", DATA],
            "name it before the images, or leave --benign out",
        ),
        ([DATA, "--denoiser", "denoiser", "--pictures", "-1"], "--pictures '-1'"),
        (["caugth.png", "--denoiser", "denoiser"], "did you mean 'caught.png'"),
        (["note.txt", "--denoiser", "denoiser"], "a file ending in '.txt'"),
        (["caught.png", "--denoiser", "denoiser"], "none of the 1 images of caught.png could be used"),
    ],
)
def test_what_is_wrong_is_said(run, denoiser, tmp_path, arguments, message):
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "caught.png").write_bytes(b"no picture")
    code, _, err = run("scan", "perturbation", *arguments)
    assert code == 2
    assert message in " ".join(err.split())


def test_methods_are_listed_and_unknown_ones_have_near_names(run):
    code, out, _ = run("scan", "--help")
    assert code == 0
    assert "perturbation" in out
    code, _, err = run("scan", "perturbaton", DATA)
    assert code == 2
    assert "did you mean 'perturbation'" in err


def test_options_have_the_defaults_of_the_function_they_stand_for():
    from snellen.cli.scan import scan

    check_options(scan, snellen.scan, own={"places"})
