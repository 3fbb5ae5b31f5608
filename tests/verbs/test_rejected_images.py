"""Every verb over images refuses to leave out more than 5 % of them, keeps what it measured, and goes on if allowed."""

from dataclasses import replace

import numpy as np
import pytest

import snellen
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.corruptions.corruption import Corruption
from tests.verbs.every_verb import IMAGES, MODEL, VERBS

OVER_IMAGES = [name for name, verb in VERBS.items() if verb.over_images]


class Holed:
    """A source of which some rows cannot be read."""

    def __init__(self, source, rows):
        self.source, self.rows = source, rows

    def read(self, index):
        if index in self.rows:
            raise RejectedImageError(f"damaged at byte {index}")
        return self.source.read(index)

    def content_hash(self, index):
        return self.source.content_hash(index)


def with_holes(images, count):
    return replace(images, source=Holed(images.source, {int(row) for row in images.rows[:count]}))


def call(name, holes, **options):
    verb = VERBS[name]
    arguments = [with_holes(one, holes) if isinstance(one, ImageSet) else one for one in verb.arguments()]
    return verb.function(*arguments, **verb.options, **options)


@pytest.mark.parametrize("name", OVER_IMAGES)
def test_a_refused_call_keeps_its_shards_and_goes_on_when_allowed(tmp_path, monkeypatch, name):
    items = VERBS[name].items
    lost = 1 + items // 20
    with pytest.raises(InputError, match=rf"{lost} of {items} images of .* {lost} × damaged.*--allow-rejected"):
        call(name, lost, out=tmp_path / "out")
    assert list((tmp_path / "out" / "unfinished" / "shards").iterdir())
    monkeypatch.setattr("snellen.runs.measuring.measure_items", lambda *_: pytest.fail("it was measured already"))
    made = call(name, lost, out=tmp_path / "out", allow_rejected=True)
    assert len(made.summary().rejected) >= lost
    assert not (tmp_path / "out" / "unfinished").exists()


def test_as_many_as_are_tolerated_pass():
    images = with_holes(snellen.load_images(IMAGES).limit(40), 2)
    assert len(snellen.attack(MODEL, images, FGSM(epsilon=0.1)).rejected) == 2


@pytest.fixture
def table(tmp_path):
    """Three images in a manifest whose columns have names of their own."""
    for number in range(3):
        snellen.load_images(IMAGES)[number].image.save(tmp_path / f"{number}.png")
    names = [snellen.load_images(IMAGES)[number].label for number in range(3)]
    classes = snellen.load_images(IMAGES).class_names
    rows = [f"{number}.png,{classes[name]},p{number}" for number, name in enumerate(names)]
    (tmp_path / "table.csv").write_text("\n".join(["file,dx,patient", *rows]))
    return tmp_path / "table.csv"


COLUMNS = {"image": "file", "label": "dx", "unit": "patient"}


@pytest.mark.parametrize("name", ["attack", "certify", "explain"])
def test_columns_mean_the_same_in_every_verb(table, name):
    verb = VERBS[name]
    method = verb.arguments()[2]
    made = verb.function(MODEL, table, method, columns=COLUMNS, **verb.options)
    units = set(made.evidence.table["unit_id"].to_pylist())
    assert units == {"p0", "p1", "p2"}


def test_columns_of_a_shift_and_a_scan(table, tmp_path):
    made = snellen.shift(table, Corruption(kind="contrast"), severities=(1,), out=tmp_path / "out", columns=COLUMNS)
    assert set(snellen.load_images(made.manifest).column("unit_id")) == {"p0", "p1", "p2"}
    with pytest.raises(InputError, match="column"):
        snellen.scan(MODEL, table, "backdoor", columns={"image": "no such column"})


def test_labels_and_class_names_of_arrays_in_a_shift(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    made = snellen.shift(
        pixels,
        Corruption(kind="contrast"),
        severities=(1,),
        out=tmp_path / "out",
        labels=[1, 0],
        class_names=["a", "b"],
    )
    written = snellen.load_images(made.manifest)
    assert [written.class_names[one.label] for one in written] == ["b", "a"]
