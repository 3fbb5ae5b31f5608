"""``snellen train`` as a user calls it."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

import snellen
from snellen.core.artifact import Artifact
from snellen.core.evidence import Evidence
from snellen.core.progress import Silent
from snellen.data.files.arrays import load_arrays

PLAN = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3}
OPTIONS = ["--architecture", "fashion_cnn", "--side", 28, "--plan", json.dumps(PLAN)]


@pytest.fixture
def where(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 60, (24, 28, 28, 3))
    labels = np.arange(24) % 2
    pixels[:, :, 14:] += 120 * labels[:, None, None, None]
    images = load_arrays(pixels.astype(np.uint8), labels, class_names=["left", "right"], name="squares")
    snellen.write_images(images, tmp_path / "images")
    return tmp_path / "images" / "manifest.csv"


def test_weights_card_onnx_and_audit(run, where, tmp_path, monkeypatch):
    monkeypatch.setattr("snellen.verbs.train.audit", partial(snellen.audit, checks=["clean"]))
    code, out, err = run("train", "cutmix", where, "--out", "made [1]", "--test", where, *OPTIONS)
    assert code == 0, err
    assert "audit: accuracy" in out
    assert "Written: made [1]; use it as 'artifact:made [1]'\n" in out
    found = {entry.name for entry in (tmp_path / "made [1]").iterdir()}
    assert found == {"weights.safetensors", "card.json", "README.md", "model.onnx", "model.onnx.json", "audit"}
    assert Artifact.load(tmp_path / "made [1]").card.lineage.recipe["plan"]["epochs"] == 2
    code, _, err = run("train", "cutmix", where, "--out", "made [1]", *OPTIONS)
    assert code == 2
    assert "not an empty folder; name a new one with --out" in err


def test_an_image_that_cannot_be_read_is_reported(run, where):
    damaged = next(where.parent.rglob("*.png"))
    damaged.write_bytes(b"no image")
    code, out, err = run("train", "supervised", where, "--out", "made", "--no-onnx", *OPTIONS)
    assert code == 0, err
    assert "1 of the images to learn from could not be used" in out


def test_what_a_scan_named_is_not_trained_on(run, where, tmp_path):
    ids = snellen.load_images(where).ids
    (tmp_path / "scanned").mkdir()
    reasons = ["suspect", "suspect", *[None] * 22]
    found = Evidence.of(ids, setting="training_set", model="m", reason=reasons)
    found.write(tmp_path / "scanned" / "evidence.parquet")
    code, out, err = run("train", "supervised", where, "--out", "made", "--without", "scanned", "--no-onnx", *OPTIONS)
    assert code == 0, err
    assert "Left out of the training images: 2 that the scan scanned named as suspects" in out
    assert Artifact.load(tmp_path / "made").card.lineage.recipe["without"]["images"] == 2
    code, _, err = run("train", "supervised", where, "--out", "more", "--without", "nowhere", *OPTIONS)
    assert code == 2
    assert "no evidence of a scan" in err


def test_a_recipe_is_refused_before_images_are_read(run, where):
    code, _, err = run("train", "mixup", "no-such-folder", "--out", "made", "--architecture", "resnet1")
    assert code == 2
    assert "cannot train" in err
    code, _, err = run("train", "mixup", where, "--out", "made", *OPTIONS, "--alpha", 0.1, "--alpha", 0.2)
    assert code == 2
    assert "one classifier at a time" in err


def test_ctrl_c_says_how_it_goes_on(run, where, monkeypatch, tmp_path):
    class Stopping(Silent):
        steps = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def advance(self, task, amount, note=""):
            if task == "train" and amount:
                Stopping.steps += 1
                if Stopping.steps == 4:
                    raise KeyboardInterrupt

    monkeypatch.setattr("snellen.cli.train.TerminalProgress", Stopping)
    code, _, err = run("train", "supervised", where, "--out", "made", "--no-onnx", *OPTIONS)
    assert code == 130
    assert "the same command resumes from made after the last whole epoch" in err
    assert {entry.name for entry in (tmp_path / "made").iterdir()} == {"training.safetensors", "training.json"}
    code, _, err = run("train", "supervised", where, "--out", "made", "--no-onnx", *OPTIONS)
    assert code == 0, err
    assert not (tmp_path / "made" / "training.safetensors").exists()
