"""What an attack writes: images that any tool reads, without loss and as 8 bits, and a picture to look at."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

import snellen
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.perturbation.magnified import magnified
from snellen.methods.attacks.pgd import PGD
from snellen.runs.picture_grid import HEAD
from snellen.runs.thumbnails import GAP, LINE, SIDE, TITLE
from snellen.verbs.attack import attack
from tests.verbs.small_attacks import arrays_of, prepared, small_images


def test_the_archive_holds_the_successes_without_loss(tmp_path):
    classifier, images = small_images()
    attacked = attack(classifier, images, PGD(epsilon=0.01, steps=5), out=tmp_path / "out", batch_size=7)
    archive = arrays_of(tmp_path / "out" / "pgd" / "adversarial.npz")
    found, ids = torch.from_numpy(archive["images"]), archive["ids"].tolist()
    assert attacked.archives == (tmp_path / "out" / "pgd" / "adversarial.npz",)
    rows = {row["example_id"]: row for row in attacked.evidence.where(setting="pgd").table.to_pylist()}
    assert ids == [key for key, row in rows.items() if row["success"]]
    clean, labels = prepared(classifier, images)
    places = [images.ids.index(key) for key in ids]
    assert (classifier(found).argmax(1) != labels[places]).all()
    distances = (found - clean[places]).abs().flatten(1).amax(1)
    assert distances.tolist() == pytest.approx([rows[key]["value"] for key in ids], abs=1e-7)


def test_the_files_are_a_data_set_on_which_the_model_errs_as_stated(tmp_path):
    classifier, images = small_images()
    method = CarliniWagnerL2(steps=40, searches=3)
    attacked = attack(classifier, images, method, out=tmp_path / "out")
    figures = attacked.settings["carlini_wagner_l2"]
    saved, found = figures.success_rate_8_bits, figures.success_rate
    assert saved.value < found.value, "the smallest changes do not survive rounding"
    files = snellen.load_images(attacked.manifest)
    pixels, labels = prepared(classifier, files)
    assert len(files) == round(found.value * found.n)
    assert int((classifier(pixels).argmax(1) != labels).sum()) == round(saved.value * saved.n)
    assert set(files.column("group")) == {"carlini_wagner_l2"}
    assert json.loads(files.column("provenance")[0])["source_id"] in images.ids
    assert {path.suffix for path in (tmp_path / "out" / "carlini_wagner_l2").rglob("*.*")} == {".png", ".npz"}


def test_evidence_on_the_disk_is_the_evidence_in_hand_and_holds_no_pixels(tmp_path):
    classifier, images = small_images()
    attacked = attack(classifier, images, FGSM(epsilon=0.02), out=tmp_path / "out", batch_size=7)
    read = Evidence.read(tmp_path / "out" / "evidence.parquet")
    assert read.table == attacked.evidence.table
    assert read.spent == attacked.evidence.spent
    assert read.spent.queries == attacked.settings["fgsm"].queries
    assert "image" not in read.table.column_names
    assert json.loads((tmp_path / "out" / "attack.json").read_bytes()) == attacked.to_json()


@pytest.mark.parametrize("kept", [True, False])
def test_without_images_no_picture_is_written_anywhere(tmp_path, kept):
    classifier, images = small_images()
    options = {"out": tmp_path / "out"} if kept else {}
    attacked = attack(classifier, images, FGSM(epsilon=0.02), save_images=False, **options)
    if kept:
        assert {path.name for path in (tmp_path / "out").rglob("*")} == {"attack.json", "evidence.parquet"}
    assert attacked.archives == ()
    assert attacked.manifest is None
    assert attack(classifier, images, FGSM(epsilon=0.02), save_images=False).settings == attacked.settings


def test_the_sheet_shows_the_clean_image_the_change_and_the_result(tmp_path):
    classifier, images = small_images()
    attack(classifier, images, FGSM(epsilon=0.1), out=tmp_path / "out")
    archive = arrays_of(tmp_path / "out" / "fgsm" / "adversarial.npz")
    found = dict(zip(archive["ids"].tolist(), archive["images"], strict=True))
    with Image.open(tmp_path / "out" / "contact-sheet-fgsm.png") as sheet:
        assert sheet.size == (GAP + 3 * (SIDE + GAP), TITLE + HEAD + min(6, len(found)) * (SIDE + LINE + GAP))
        shown = [sheet.getpixel((GAP + column * (SIDE + GAP) + 2, TITLE + HEAD + 2)) for column in range(3)]
    candidates = {
        key: (images.read(images.ids.index(key)).getpixel((0, 0)), tuple(np.round(pixels[:, 0, 0] * 255).astype(int)))
        for key, pixels in found.items()
    }
    key = next(key for key, (clean, changed) in candidates.items() if (clean, changed) == (shown[0], shown[2]))
    clean = np.asarray(images.read(images.ids.index(key)))[0, 0] / 255
    signs = np.sign(found[key][:, 0, 0] - clean)
    assert [value > 127 for value in shown[1]] == [sign > 0 for sign in signs]


def test_a_change_fills_the_range_around_grey_and_no_change_is_grey():
    picture, factor = magnified(torch.tensor([[[-0.02, 0.0, 0.01]]]))
    assert picture.flatten().tolist() == pytest.approx([0.0, 0.5, 0.75])
    assert factor == 25
    assert magnified(torch.zeros(3, 2, 2))[0].unique().tolist() == [0.5]


def test_images_of_several_sizes_have_an_archive_each(tmp_path):
    classifier, _ = small_images()
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    rows = ["path,label"]
    for number, size in enumerate([(8, 8)] * 4 + [(8, 12)] * 4):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / f"{number}.png")
        label = int(classifier(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255).argmax())
        rows.append(f"{number}.png,{'abcde'[label]}")
    (tmp_path / "set" / "m.csv").write_text("\n".join(rows))
    free = snellen.load_classifier(classifier.module, list("abcde"))
    attacked = attack(
        free, snellen.load_images(tmp_path / "set" / "m.csv"), PGD(epsilon=0.3), out=tmp_path / "out", batch_size=4
    )
    assert attacked.rejected == ()
    shapes = {path.name: arrays_of(path)["images"].shape[1:] for path in attacked.archives}
    assert shapes == {"adversarial-8x8.npz": (3, 8, 8), "adversarial-12x8.npz": (3, 8, 12)}


def test_hostile_ids_stay_in_the_folder(tmp_path):
    classifier, images = small_images(wrong=())
    ids = ["../../up", "/etc/passwd", "a/b", "a_b", "x" * 3000, "", "\x1b[2J", "nul\0l", "日本"]
    ids += [f"plain {row}" for row in range(len(ids), len(images))]
    table = images.table.set_column(images.table.column_names.index("id"), "id", pa.array(ids))
    names = ("../..", "C:\\x", "con", "x" * 500, "e")
    hostile = ImageSet(images.source, table, names)
    model = Classifier(classifier.module, class_names=names, preparation=classifier.preparation)
    attack(model, hostile, PGD(epsilon=0.5), out=tmp_path / "deep" / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}
    files = snellen.load_images(tmp_path / "deep" / "out" / "manifest.csv")
    assert files.column("source_id") == [key or None for key in ids]
    assert arrays_of(tmp_path / "deep" / "out" / "pgd" / "adversarial.npz")["ids"].tolist() == ids
