"""Attacks and shifts under pseudonyms: no name in any byte."""

import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from snellen.core.errors import InputError, RunConflictError
from snellen.core.evidence import Evidence
from snellen.core.method import Method
from snellen.core.outcomes import Scanned
from snellen.data.references import load_images
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.transfer import Transfer
from snellen.methods.corruptions.corruption import Corruption
from snellen.methods.explanations.gradient import Gradient
from snellen.methods.smoothing.smoothing import Smoothing
from snellen.runs.settings import named_settings
from snellen.verbs.attack import attack
from snellen.verbs.certify import certify
from snellen.verbs.explain import explain
from snellen.verbs.scan import scan
from snellen.verbs.shift import shift
from tests.auditing.kept_files import mentions
from tests.verbs.small_attacks import small_images

PATIENTS = ("Doe, Jane *1951", "Müller Hans")
HIDDEN = (*PATIENTS, "Doe", "Müller", "Rosengarten", "scan")


@pytest.fixture(autouse=True)
def _same_code(monkeypatch):
    monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: "0" * 64)


def named_images(count=8):
    """A classifier under a name, and images whose names say whose they are."""
    classifier, images = small_images(count=count, wrong=(3,))
    table = images.table.drop_columns("id").append_column(
        "id", pa.array([f"{PATIENTS[row % 2]}/scan {row}.png" for row in range(count)])
    )
    for column in ("unit_id", "group", "caption", "bag_id"):
        table = table.append_column(column, pa.array([f"{column} of {PATIENTS[row % 2]}" for row in range(count)]))
    classifier.name = "onnx:Rosengarten.onnx"
    return classifier, replace(images, table=table, name="Rosengarten")


class Bright(Method):
    """A scan: how bright each image is."""

    name: ClassVar[str] = "bright"

    def scan(self, images, *, classifier=None, rng, progress=None):
        values = [float(np.asarray(images.read(row)).mean()) for row in range(len(images))]
        units = [None if unit is None else str(unit) for unit in images.column("unit_id")]
        name = "none" if classifier is None else classifier.name
        rows = Evidence.of(images.ids, setting="bright", model=name, value=values, unit_ids=units)
        return Scanned(rows, float(np.mean(values)), "no outlier within budget")


@pytest.mark.parametrize(
    ("verb", "method"),
    [(certify, Smoothing(sigma=0.1, samples=100)), (explain, Gradient()), (scan, Bright())],
    ids=["certify", "explain", "scan"],
)
def test_every_verb_over_images_writes_no_names(tmp_path, verb, method):
    classifier, images = named_images(count=4)
    given = (classifier, images, [method])
    made = verb(*given, out=tmp_path / "out", pseudonyms=tmp_path / "names.json")
    assert mentions(tmp_path / "out", HIDDEN[:-1]) == {}  # "scan" is also what one of the verbs is called
    names = json.loads((tmp_path / "names.json").read_text())["names"]
    assert {names[key] for key in made.evidence.table["example_id"].to_pylist()} == set(images.ids)
    again = verb(*given, out=tmp_path / "out", pseudonyms=tmp_path / "names.json")
    assert again.evidence.table == made.evidence.table, "the same call finds its folder finished"
    with pytest.raises(InputError, match="outside"):
        verb(*given, out=tmp_path / "other", pseudonyms=tmp_path / "other" / "names.json")


@pytest.mark.parametrize("save_images", [True, False])
def test_attacks_write_no_names(tmp_path, save_images):
    classifier, images = named_images()
    options = {"batch_size": 4, "save_images": save_images, "pseudonyms": tmp_path / "names.json"}
    attacked = attack(classifier, images, [FGSM(epsilon=0.3)], out=tmp_path / "out", **options)
    assert mentions(tmp_path / "out", HIDDEN) == {}
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"attack.json", "evidence.parquet"}
    names = json.loads((tmp_path / "names.json").read_text())["names"]
    clean = attacked.evidence.where(setting="clean").table
    assert {names[key] for key in clean["example_id"].to_pylist()} == set(images.ids)
    assert len(set(clean["unit_id"].to_pylist())) == 2
    assert attack(classifier, images, [FGSM(epsilon=0.3)], out=tmp_path / "out", **options).plan == attacked.plan
    with pytest.raises(RunConflictError, match="pseudonyms"):
        attack(classifier, images, [FGSM(epsilon=0.3)], out=tmp_path / "out", batch_size=4, save_images=save_images)


def test_figures_are_those_under_the_names(tmp_path):
    """A fast gradient draws nothing."""
    classifier, images = named_images()
    plain = attack(classifier, images, FGSM(epsilon=0.02))
    hidden = attack(classifier, images, FGSM(epsilon=0.02), pseudonyms=tmp_path / "names.json")
    assert hidden.settings == plain.settings


@pytest.mark.parametrize("format", ["folder", "medmnist-c"])
def test_shifts_write_no_names(tmp_path, format):
    _, images = named_images()
    options = {"severities": (1, 5), "format": format, "pseudonyms": tmp_path / "names.json"}
    written = shift(images, Corruption(kind="contrast"), out=tmp_path / "out", **options)
    assert mentions(tmp_path / "out", HIDDEN) == {}
    assert written.written == {"contrast": 8}
    assert shift(images, Corruption(kind="contrast"), out=tmp_path / "out", **options).plan == written.plan
    if format == "folder":
        again = load_images(written.manifest)
        assert len(set(again.column("unit_id"))) == 2
        names = json.loads((tmp_path / "names.json").read_text())["names"]
        assert {names[key.rsplit("/", 1)[1]] for key in again.ids} == set(images.ids)
        assert all(key is None for key in again.column("caption"))


def test_files_of_a_folder_are_not_named_either(tmp_path):
    for number in range(3):
        place = tmp_path / "Rosengarten" / "ill" / f"{PATIENTS[number % 2]} {number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (80 * number,) * 3).save(place)
    (tmp_path / "Rosengarten" / "ill" / "Max Roe.png").write_bytes(b"nothing")
    images = load_images(tmp_path / "Rosengarten")
    shift(
        images,
        Corruption(kind="fog"),
        severities=(1,),
        allow_rejected=True,
        out=tmp_path / "out",
        pseudonyms=tmp_path / "names.json",
    )
    assert mentions(tmp_path / "out", (*HIDDEN, "Roe", str(tmp_path))) == {}
    plain = shift(images, Corruption(kind="fog"), severities=(1,), allow_rejected=True, out=tmp_path / "plain")
    assert mentions(tmp_path / "plain", HIDDEN), "what the test relies on"
    assert "pseudonyms" not in plain.plan


def test_files_of_models_and_textures_are_not_named(tmp_path):
    from snellen.data.privacy.pseudonyms import Pseudonyms

    names = Pseudonyms.open(tmp_path / "names.json")
    methods = [Transfer(surrogate=f"onnx:/home/{name}.onnx") for name in ("Doe", "Roe")]
    settings = named_settings(methods, "attacks", names=names)
    assert "Doe" not in str(settings[0].record) + settings[0].name
    assert settings[0].name != settings[1].name
    assert settings[0].method.surrogate == "onnx:/home/Doe.onnx"
    textures = named_settings(Corruption(kind="frost", textures=None), names=names)
    assert textures[0].record == Corruption(kind="frost").record()


def test_the_file_may_not_lie_in_the_folder(tmp_path):
    classifier, images = named_images()
    places = {"out": tmp_path / "out", "pseudonyms": tmp_path / "out" / "names.json"}
    for call in (
        lambda: attack(classifier, images, FGSM(epsilon=0.02), **places),
        lambda: shift(images, Corruption(kind="fog"), **places),
    ):
        with pytest.raises(InputError, match="is to hold no names"):
            call()
    assert not (tmp_path / "out").exists()
