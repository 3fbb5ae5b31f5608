"""``snellen scan training-set``: which training images are named, in the record, the rows and the pictures."""

import csv
import json
import shlex

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from snellen.systems.smooth_inversion.training_images import COMMAND

MODEL, DATA = "bundled:fashion-cnn", "bundled:fashion-mnist"

#: Classes of the folder, and images of each.
CLASSES, EACH = ("Bag", "Sandal", "Trouser", "Dress", "Pullover"), 45


@pytest.fixture
def training(tmp_path):
    """Images in folders of their classes; thirty sandals lie among the trousers."""
    import snellen

    images = snellen.load_images(DATA)
    names = np.array(images.class_names)[images.labels]
    planted = set()
    for name in CLASSES:
        (tmp_path / "training" / name).mkdir(parents=True)
        for row in np.flatnonzero(names == name)[:EACH]:
            Image.fromarray(np.asarray(images.read(int(row)))).save(tmp_path / "training" / name / f"{row}.png")
    for row in np.flatnonzero(names == "Sandal")[EACH : EACH + 30]:
        file = tmp_path / "training" / "Trouser" / f"{row}.png"
        Image.fromarray(np.asarray(images.read(int(row)))).save(file)
        planted.add(f"Trouser/{row}.png")
    return planted


def test_planted_images_are_named(run, training, tmp_path):
    code, out, err = run("scan", "training-set", MODEL, "training", "--out", "here", "--pictures", "3")
    assert (code, err.strip()) == (0, "")
    assert "suspicious: class 'Trouser'" in " ".join(out.split())
    (found,) = json.loads((tmp_path / "here" / "scan.json").read_text())["settings"].values()
    assert found["figures"]["classes reported"] == 1
    assert found["figures"]["images"] == len(CLASSES) * EACH + 30
    assert found["statistic"] == pytest.approx(found["figures"]["Trouser: silhouette"])
    rows = pq.read_table(tmp_path / "here" / "evidence.parquet").to_pylist()
    named = {row["example_id"] for row in rows if row["reason"] == "suspect"}
    assert len(named & training) >= 27
    assert len(named - training) <= 2
    assert found["figures"]["images named"] == len(named)
    with (tmp_path / "here" / "suspects.csv").open(newline="") as stream:
        listed = list(csv.DictReader(stream))
    assert {row["id"] for row in listed} == named
    assert {row["given"] for row in listed} == {"Trouser"}
    assert "suspects.csv lists the images that were named" in out
    assert (tmp_path / "here" / "sheet-training_set.png").is_file()
    assert len(found["pictures"]) == 4


def test_images_as_they_are_show_nothing_and_the_advice_of_the_check_runs_as_printed(run):
    places = {"MODEL": MODEL, "TRAINING_IMAGES": DATA}
    program, *arguments = [places.get(word, word) for word in shlex.split(COMMAND)]
    assert program == "snellen"
    code, out, err = run(*arguments, "--limit", "600", "--json")
    assert (code, err.strip()) == (0, "")
    (found,) = json.loads(out)["settings"].values()
    assert found["figures"]["images named"] == 0
    assert found["verdict"].startswith("no class is suspicious among")


def test_too_few_images_and_no_labels(run, training, tmp_path):
    code, out, err = run("scan", "training-set", MODEL, DATA, "--limit", "30")
    assert (code, err.strip()) == (0, "")
    assert "nothing could be judged: no class has 40 images" in " ".join(out.split())
    (tmp_path / "plain").mkdir()
    for number, file in enumerate(sorted((tmp_path / "training" / "Bag").iterdir())[:3]):
        file.rename(tmp_path / "plain" / f"{number}.png")
    code, _, err = run("scan", "training-set", MODEL, "plain")
    assert code == 2
    assert "needs labels" in " ".join(err.split())
    code, _, err = run("scan", "training-set", DATA)
    assert code == 2
    assert "name it before the images" in " ".join(err.split())
