"""``snellen train edited-regions`` and ``snellen scan edited-regions`` as a user calls them."""

import json

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from tests.systems.edited_regions.parts import made_set, save_detector


def test_a_detector_is_trained_and_finds_regions_in_a_folder(run, tmp_path):
    made_set(tmp_path / "my set", 12)
    train = ["train", "edited-regions", "my set/fitting.csv", "--width", "4", "--crop", "32"]
    train += ["--plan", '{"epochs": 1}', "--out", "my detector"]
    code, _, err = run(*train)
    assert (code, err.strip()) == (0, "")
    scan = ["scan", "edited-regions", "my set/images", "--detector", "my detector", "--out", "my scan"]
    code, out, err = run(*scan)
    assert (code, err.strip()) == (0, "")
    assert "threshold" in out
    record = tmp_path / "my scan" / "scan.json"
    written = record.read_bytes()
    rows = pq.read_table(tmp_path / "my scan" / "evidence.parquet").to_pylist()
    assert len(rows) == 12
    assert {row["editor"] for row in rows} <= {"untouched", "dark", "light"}
    assert run(*scan)[0] == 0
    assert record.read_bytes() == written, "the same command measures nothing twice"


def test_what_is_missing_or_wrong_is_one_sentence(run, tmp_path):
    def refused(*words):
        code, _, err = run(*words)
        assert code == 2
        return " ".join(err.split())

    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    save_detector(tmp_path / "detector")
    assert "needs a detector (--detector FOLDER)" in refused("scan", "edited-regions", "images")
    assert "is not an artifact" in refused("scan", "edited-regions", "images", "--detector", "images")
    wrong = ("--detector", "detector", "--threshold", "2")
    assert "at most 1" in refused("scan", "edited-regions", "images", *wrong)
    assert "names a label map for each image" in refused("train", "edited-regions", "images", "--out", "x")
    made_set(tmp_path / "made", 8)
    words = refused("train", "edited-regions", "made/manifest.csv", "--out", "x")
    assert "test images" in words
    assert "fitting.csv is the same set without them" in words
    code, out, err = run("scan", "diffseg30k", "images", "--detector", "artifact:detector", "--json")
    assert (code, err.strip()) == (0, "")
    (found,) = json.loads(out)["settings"].values()
    assert found["figures"]["images"] == 1
