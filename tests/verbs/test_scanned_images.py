"""``snellen.scan``: rows, words and pictures of every method, whole or again, in a folder that holds nothing else."""

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pydantic import Field
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RunConflictError
from snellen.core.evidence import Evidence
from snellen.core.method import Method
from snellen.core.outcomes import Scanned, Shown
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.data.files.arrays import load_arrays
from snellen.data.loading import prepared_batches
from snellen.methods.corruptions.corruption import Corruption
from snellen.runs.measuring import Files
from snellen.runs.scan_suspects import named_rows
from snellen.runs.thumbnails import GAP, LINE, SIDE, TITLE
from snellen.verbs.scanned_set import LINES, _shown, write_pictures


class Brightest(Method):
    """Looks for bright images: the simplest scan."""

    name: ClassVar[str] = "brightest"
    needs: ClassVar = frozenset()
    above: float = Field(0.5, description="mean value")
    calls: ClassVar[list[str]] = []
    stop: ClassVar[bool] = False

    def scan(self, images, *, classifier=None, rng, progress=None):
        self.calls.append(f"{self.above}")
        if type(self).stop and self.above > 0.5:
            raise KeyboardInterrupt
        parts, shown = [], []
        preparation = Preprocessing() if classifier is None else classifier.preparation
        for batch in prepared_batches(images, preparation, 2):
            rejected = Evidence.of(
                [key for key, _ in batch.rejected],
                setting=self.name,
                model="none",
                status="rejected",
                reason=[why for _, why in batch.rejected],
            )
            value = to_unit(batch.pixels).flatten(1).mean(1) if batch.ids else torch.empty(0)
            parts += [rejected, Evidence.of(batch.ids, setting=self.name, model="none", value=value.tolist())]
            pictures = to_unit(batch.pixels)
            noise = rng.for_examples(batch.ids).uniform("noise", pictures.shape[1:])
            for key, picture, grain in zip(batch.ids, pictures, noise, strict=True):
                shown.append(Shown(key, f"line of {key}", {"as it is": picture, "its noise": grain}))
        evidence = Evidence.merge(parts)
        return Scanned(evidence, float("nan"), "nothing brighter", {"bright.share": 0.25, "lost": float("inf")}, shown)


class Watching(Brightest):
    """The same before a classifier."""

    name: ClassVar[str] = "watching"
    needs: ClassVar = frozenset({"scores", "gradients"})


@pytest.fixture(autouse=True)
def _same_code(monkeypatch):
    """A plan holds a hash of the package, which somebody may edit while the tests run."""
    monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: "0" * 64)
    monkeypatch.setattr(Brightest, "stop", False)
    Brightest.calls.clear()


@pytest.fixture
def images():
    levels = np.array([20, 60, 127, 200], dtype=np.uint8)
    return load_arrays(np.broadcast_to(levels[:, None, None], (4, 8, 8)).copy(), [0, 1, 1, 1], class_names=["a", "b"])


def everything_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_words_and_pictures_are_kept(images, tmp_path):
    scanned = snellen.scan(None, images, Brightest(), out=tmp_path / "out")
    record = json.loads((tmp_path / "out" / "scan.json").read_text())
    assert record == scanned.to_json()
    found = record["settings"]["brightest"]
    assert found["figures"] == {"bright.share": 0.25, "lost": None}
    assert (found["statistic"], found["verdict"], found["method"]) == (
        None,
        "nothing brighter",
        {"method": "brightest", "above": 0.5},
    )
    assert record["plan"]["model"] is None
    kept = Evidence.read(tmp_path / "out" / "evidence.parquet").table.to_pylist()
    assert [row["value"] for row in kept] == pytest.approx([20 / 255, 60 / 255, 127 / 255, 200 / 255])
    assert set(everything_in(tmp_path / "out")) == {*record["files"], "scan.json"}
    assert len(found["pictures"]) == 1 + 2 * 4
    singles = [name for name in found["pictures"] if name.endswith("as_it_is.png")]
    shades = [np.asarray(Image.open(tmp_path / "out" / name))[0, 0, 0] for name in singles]
    assert shades == [20, 60, 127, 200]


def test_nothing_is_kept_without_a_folder(images):
    scanned = snellen.scan(None, images, Brightest())
    assert scanned.folder is None
    assert len(scanned.evidence) == 4
    assert "nothing brighter" in repr(scanned)


def test_an_interrupted_call_goes_on_with_the_method_it_stopped_in_and_ends_with_the_same_bytes(
    images, tmp_path, monkeypatch
):
    methods = [Brightest(above=0.1), Brightest(above=0.9)]
    snellen.scan(None, images, methods, out=tmp_path / "whole")
    monkeypatch.setattr(Brightest, "stop", True)
    with pytest.raises(KeyboardInterrupt):
        snellen.scan(None, images, methods, out=tmp_path / "parts")
    assert not (tmp_path / "parts" / "scan.json").exists()
    monkeypatch.setattr(Brightest, "stop", False)
    with pytest.raises(RunConflictError):
        snellen.scan(None, images, methods, out=tmp_path / "parts", seed=1)
    Brightest.calls.clear()
    snellen.scan(None, images, methods, out=tmp_path / "parts")
    assert Brightest.calls == ["0.9"]
    assert everything_in(tmp_path / "parts") == everything_in(tmp_path / "whole")
    snellen.scan(None, images, methods, out=tmp_path / "parts")
    assert Brightest.calls == ["0.9"], "a complete folder is scanned again"
    with pytest.raises(RunConflictError, match="differs in: settings"):
        snellen.scan(None, images, methods[:1], out=tmp_path / "parts")


def test_randomness_is_that_of_seed_and_image(images, tmp_path):
    def noise(seed, **changes):
        folder = tmp_path / f"{seed}-{len(changes)}"
        snellen.scan(None, images.select(changes.get("rows", [0, 1, 2, 3])), Brightest(), out=folder, seed=seed)
        return {k: v for k, v in everything_in(folder).items() if "noise" in k}

    whole = noise(0)
    part = noise(0, rows=[2, 0])
    assert len(part) == 2
    assert part.items() <= whole.items()
    assert not set(noise(1).values()) & set(whole.values())


def test_a_damaged_file_is_named_and_the_rest_scanned(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 8), (200, 200, 200)).save(tmp_path / "data" / "good.png")
    scanned = snellen.scan(None, snellen.load_images(tmp_path / "data"), Brightest(), allow_rejected=True)
    (rejected,) = scanned.settings["brightest"].rejected
    assert rejected.id == "broken.png"
    assert rejected.reason


def test_a_set_of_which_no_image_is_usable_leaves_nothing(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(
        InputError, match=r"none of the 1 images of broken.png could be used for brightest; first: brok"
    ):
        snellen.scan(None, snellen.load_images(tmp_path / "broken.png"), Brightest(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_image_file_is_a_set_of_one(tmp_path):
    Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / "photo.PNG")
    (tmp_path / "link.png").symlink_to(tmp_path / "photo.PNG")
    for name in ("photo.PNG", "link.png"):
        images = snellen.load_images(tmp_path / name)
        assert (images.ids, len(images), images.has_labels) == ([name], 1, False)
        assert images.read(0).getpixel((0, 0)) == (10, 20, 30)


def test_names_that_are_no_text_and_folders_that_end_like_images(tmp_path):
    for folder in ("", "photos.png"):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / folder / "a.png")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    try:
        (tmp_path / "a.png").rename(odd)
    except OSError:
        pytest.skip("this file system takes names of UTF-8 alone")
    images = snellen.load_images(odd)
    assert (images.ids, images.name) == (["caf\\xe9.png"], "caf\\xe9.png")
    scanned = snellen.scan(None, images, Brightest(), out=tmp_path / "out")
    assert len(scanned.evidence) == 1
    assert snellen.load_images(tmp_path / "photos.png").ids == ["a.png"]


def test_what_needs_a_classifier_is_not_run_without_one(images):
    with pytest.raises(
        InputError, match="watching needs a classifier that gives gradients, scores: name it before the images"
    ):
        snellen.scan(None, images, Watching())
    blind = Classifier(lambda x: x.flatten(1)[:, :2], class_names=["a", "b"], name="blind")
    with pytest.raises(InputError, match="watching needs gradients, and blind gives none"):
        snellen.scan(blind, images, Watching())
    assert Brightest.calls == []
    seeing = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), class_names=["a", "b"], name="seeing")
    scanned = snellen.scan(seeing, images, Watching())
    assert scanned.plan["model"]["name"] == "seeing"


def test_a_classifier_that_cannot_be_distinguished_from_another_never_takes_a_folder_for_done(images, tmp_path):
    def one(x):
        return x.flatten(1)[:, :2]

    blind = Classifier(one, class_names=["a", "b"], name="blind")
    snellen.scan(blind, images, Brightest(), out=tmp_path / "out")
    with pytest.raises(InputError, match="out holds a scan, and blind cannot be hashed"):
        snellen.scan(blind, images, Brightest(), out=tmp_path / "out")
    assert len(Brightest.calls) == 1


def test_labels_are_those_of_the_classifier(images):
    asked = []

    class Asking(Brightest):
        def scan(self, images, **options):
            asked.append((images.class_names, images.labels.tolist()))
            return super().scan(images, **options)

    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    snellen.scan(Classifier(network, class_names=["c", "B", "A"]), images, Asking())
    snellen.scan(None, images, Asking())
    assert asked == [(("c", "B", "A"), [2, 1, 1, 1]), (("a", "b"), [0, 1, 1, 1])]
    with pytest.raises(InputError, match=r"1 of 2 classes of .* are none of the classifier's 2 classes: 'b'"):
        snellen.scan(Classifier(network, class_names=["a", "x"]), images, Asking())


def test_names_of_objects_lead_out_of_no_folder(tmp_path):
    picture, out = torch.zeros(3, 4, 4), tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    names = ["../../up", "/etc/x", "..", "a/b", "[red]\x1b[31m", "A", "a"]
    write_pictures(
        [Shown(name, name, {"../it": picture}) for name in names], "setting", "\x1b[31mtitle", Files(out).put
    )
    assert {path.parent for path in out.rglob("*.png")} == {out, out / "setting"}
    assert len(list((out / "setting").iterdir())) == len(names)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and out not in path.parents] == []


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ([], "no method to scan with; give one or more, such as Perturbation"),
        ([Brightest(), Brightest()], "given twice"),
        (Corruption(), "is no method of scans"),
    ],
)
def test_what_is_no_scan_is_refused(images, method, message):
    with pytest.raises(InputError, match=message):
        snellen.scan(None, images, method)


def test_a_folder_in_use_is_refused(images, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no scan"):
        snellen.scan(None, images, Brightest(), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_rows_of_pictures_that_show_different_objects_are_refused(images, tmp_path):
    picture = torch.zeros(3, 4, 4)
    rows = [Shown("a", "", {"one": picture}), Shown("b", "", {"two": picture})]
    with pytest.raises(InputError, match="rows must show the same"):
        write_pictures(rows, "odd", "title", tmp_path)


class Naming(Brightest):
    """Names what is brighter than half."""

    name: ClassVar[str] = "naming"

    def scan(self, images, *, classifier=None, rng, progress=None):
        found = super().scan(images, classifier=classifier, rng=rng, progress=progress)
        table = found.evidence.table
        reasons = ["bright" if value > 0.1 else None for value in table["value"].to_pylist()]
        column = table.column_names.index("reason")
        table = table.set_column(column, "reason", pa.array(reasons, pa.string()))
        shown = [Shown(one.name, one.text, {"image": one.pictures["as it is"]}) for one in found.pictures]
        return replace(found, evidence=replace(found.evidence, table=table), pictures=shown)


def test_images_that_were_named_are_a_table_highest_score_first(images, tmp_path):
    scanned = snellen.scan(None, images, [Naming(), Brightest()], out=tmp_path / "out")
    assert "suspects.csv" in scanned.files
    with (tmp_path / "out" / "suspects.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["id"], row["given"]) for row in rows] == [("000003", "b"), ("000002", "b"), ("000001", "b")]
    assert {(row["reason"], row["setting"]) for row in rows} == {("bright", "naming")}
    assert float(rows[0]["score"]) == pytest.approx(200 / 255)
    assert any(line.startswith("suspects.csv lists the images") for line in scanned.summary().last)
    alone = snellen.scan(None, images, Brightest(), out=tmp_path / "none")
    assert "suspects.csv" not in alone.files
    assert alone.summary().last == ()


def test_rows_that_are_no_images_are_not_listed(images):
    of_classes = Evidence.of(["a", "b"], setting="classes", model="none", value=[0.9, 0.1], reason=["stands out", None])
    assert named_rows(of_classes, images) == []


def test_single_pictures_of_items_share_rows(images):
    many = [
        Shown(f"{number:02}", f"image {number}", {"image": torch.full((3, 8, 8), 0.01 * number)})
        for number in range(30)
    ]
    files = {}
    write_pictures(many, "naming", "title", files.__setitem__)
    with Image.open(io.BytesIO(files["sheet-naming.png"])) as sheet:
        assert sheet.size == (GAP + 6 * (SIDE + GAP), TITLE + 4 * (SIDE + LINES * LINE + GAP))
        last = sheet.getpixel((GAP + 5 * (SIDE + GAP) + 5, TITLE + 3 * (SIDE + LINES * LINE + GAP) + 5))
    assert last[0] == round(0.23 * 255)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0, "0"), (-0.0, "0"), (3.0, "3"), (0.25, "0.2500"), (12.5, "12.5000"), (float("nan"), "nan")],
)
def test_whole_figures_are_shown_without_decimals(value, shown):
    assert _shown(value) == shown
