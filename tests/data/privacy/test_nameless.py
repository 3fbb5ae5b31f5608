"""Sets without names: every name a pseudonym, equalities kept, reasons without names, pictures of bags still found."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from snellen.auditing.checks import CHECKS
from snellen.core import index
from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet, MaskSource
from snellen.data.files.bags import TiledSource
from snellen.data.files.joining import join
from snellen.data.files.shard_files import ShardFile
from snellen.data.privacy.nameless import (
    _FOLDERS,
    _REFERENCES,
    HIDDEN,
    hidden,
    nameless_record,
    nameless_source,
    with_other_name,
    without_names,
)
from snellen.data.privacy.pseudonyms import KEY_BYTES, Pseudonyms
from snellen.data.references import load_images, load_images_again
from snellen.models.classifiers.references import load_classifier

NAMES = ("Doe, Jane", "Müller_Hans", "Hospital of Springfield", "slide 4711")


class Telling:
    """A source that tells every name it knows when it is asked for an image."""

    def read(self, index):
        raise RejectedImageError(f"cannot read {NAMES[1]}/scan {index}.png: {NAMES[0]} in {NAMES[3]!r}, 12×12 pixels")

    def read_mask(self, index, path):
        raise RejectedImageError(f"no mask {path} of {NAMES[0]}")

    def content_hash(self, index):
        return str(index)


class Tiles(Telling):
    """Tiles of slides."""

    def bag_thumbnail(self, bag_id, longest):
        assert bag_id == NAMES[3]
        return Image.new("RGB", (longest, longest))

    def tile_boxes(self, rows):
        return np.zeros((len(rows), 4))


def table():
    return pa.table(
        {
            "id": [f"{NAMES[1]}/scan 0.png", f"{NAMES[1]}/scan 1.png", "third"],
            "label": [0, 1, 0],
            "unit_id": [NAMES[0], NAMES[0], None],
            "group": [NAMES[2], None, NAMES[2]],
            "bag_id": [NAMES[3]] * 3,
            "bag_label": [1, 1, 1],
            "mask": [f"masks of {NAMES[0]}/0.png"] * 3,
            "caption": [f"a scan of {NAMES[0]}"] * 3,
            "attributes": [json.dumps({"row": 1, "column": 2, "name": NAMES[0]}), "{}", None],
            "provenance": [json.dumps({"source_id": NAMES[0]})] * 3,
            "patient_name": [NAMES[0]] * 3,
        }
    )


@pytest.fixture
def names():
    return Pseudonyms(bytes(KEY_BYTES))


@pytest.fixture
def named():
    return ImageSet(Telling(), table(), ("healthy", "ill"), name=NAMES[2])


def place_of(images, names, original):
    """Where an image is now."""
    return images.ids.index(names.of(original))


def test_no_name_is_left_in_the_table_and_what_must_be_equal_is(named, names):
    found = without_names(named, names)
    text = str(found.table.drop_columns("mask").to_pylist()) + found.name + repr(found)
    for name in (*NAMES, "scan", "third"):
        assert name not in text
    first, second, third = (place_of(found, names, name) for name in named.ids)
    assert found.column("unit_id")[first] == found.column("unit_id")[second] is not None
    assert found.column("unit_id")[third] is None
    assert found.column("group")[first] == found.column("group")[third] is not None
    assert found.column("group")[second] is None
    assert len(set(found.ids)) == 3
    assert found.table.column_names == [
        "label", "mask", "bag_label", "id", "unit_id", "group", "bag_id", "attributes"
    ]  # fmt: skip
    told = [found.column("attributes")[place] for place in (first, second, third)]
    assert told == ['{"row": 1, "column": 2}', None, None]
    assert found.labels[[first, second, third]].tolist() == [0, 1, 0]
    assert found.class_names == ("healthy", "ill")
    assert {names.names[key] for key in found.ids} == set(named.ids)


def test_another_set_under_the_same_key_has_the_same_units(named, names):
    other = replace(named, table=named.table.slice(0, 1))
    units = without_names(other, names).column("unit_id")
    assert set(units) == set(without_names(named, names).column("unit_id")) - {None}


def test_the_order_is_that_of_no_names(names):
    """Sorted names, as files of a folder come, must not give sorted pseudonyms a meaning."""
    ids = [f"patient {number:03d}" for number in range(200)]
    images = ImageSet(Telling(), pa.table({"id": ids, "label": list(range(200))}), tuple(map(str, range(200))))
    found = without_names(images, names)
    assert found.ids == sorted(found.ids)
    assert [names.names[key] for key in found.ids] != ids
    assert [f"patient {label:03d}" for label in found.labels] == [names.names[key] for key in found.ids]
    for place in (0, 57, 199):
        assert found.content_hash(place) == str(found.labels[place]), "every image keeps its own pixels"


def test_reasons_hold_no_names(named, names):
    found = without_names(named, names)
    with pytest.raises(RejectedImageError) as told:
        found.read(place_of(found, names, named.ids[1]))
    assert str(told.value) == f"cannot read {HIDDEN}: {HIDDEN} in '{HIDDEN}', 12×12 pixels"
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__, "a traceback shows no name either"
    with pytest.raises(RejectedImageError) as told:
        found.read_mask(place_of(found, names, named.ids[0]))
    assert str(told.value) == f"no mask {HIDDEN} of {HIDDEN}"


def test_a_selection_reads_its_own_rows_and_knows_their_names(named, names):
    found = without_names(named.select([2, 1]), names)
    found = found.select([place_of(found, names, named.ids[1])])
    with pytest.raises(RejectedImageError) as told:
        found.read(0)
    assert str(told.value).startswith(f"cannot read {HIDDEN}: ")


def test_once_more_changes_no_source(named, names):
    found = without_names(named, names)
    assert nameless_source(found) is found.source


def test_pictures_of_bags_are_found_by_pseudonym(named, names):
    found = without_names(replace(named, source=Tiles()), names)
    assert isinstance(found.source, TiledSource)
    assert found.source.bag_thumbnail(names.of(NAMES[3]), 4).size == (4, 4)
    assert found.source.tile_boxes([0, 1]).shape == (2, 4)
    assert not isinstance(without_names(named, names).source, TiledSource)
    assert isinstance(found.source, MaskSource)


@pytest.mark.parametrize(
    ("reason", "known", "expected"),
    [
        ("x/y.png is gone", ["x/y.png"], "… is gone"),
        ("y.png is gone", ["x/y.png"], "… is gone"),
        ("slide yew is gone", ["x/yew.png"], "slide … is gone"),
        ("of Doe/Jane", ["Doe"], "of …/Jane"),
        ("Doebling is no Doe.", ["Doe"], "Doebling is no …."),
        ("12×128 pixels", ["12"], "…×128 pixels"),
        (r"'a\nb' is odd", ["a\nb"], "'…' is odd"),
        ("a\nb is odd", ["a\nb"], "… is odd"),
        ("(.*) is odd", ["(.*)"], "… is odd"),
        ("<b>x is odd", ["<b>"], "…x is odd"),
        ("nothing known", ["", "/"], "nothing known"),
        ("not a file but a folder", ["a", "a/b.png"], "not a file but a folder"),
        (r"C:\Doe\1.png is gone", [r"C:\Doe\1.png"], "… is gone"),
        ("1.png of Doe", [r"C:\Doe\1.png"], "… of …"),
    ],
)
def test_what_is_hidden(reason, known, expected):
    assert hidden(reason, known) == expected


def test_joined_sets_tell_no_names_either(tmp_path, names):
    for place in ("Rosengarten", "Springfield"):
        (tmp_path / place / "ill").mkdir(parents=True)
        (tmp_path / place / "ill" / f"{place} 1.png").symlink_to(f"/elsewhere/{place}.png")
        Image.new("RGB", (12, 12)).save(tmp_path / place / "ill" / f"{place} 2.png")
    found = without_names(join([load_images(tmp_path / place) for place in ("Rosengarten", "Springfield")]), names)
    lost = [key for key in found.ids if names.names[key].endswith("1.png")]
    assert len(lost) == 2
    for key in lost:
        row = found.ids.index(key)
        with pytest.raises(RejectedImageError) as told:
            found.read(row)
        assert not {"Rosengarten", "Springfield"} & set(str(told.value).replace(".", " ").split())
        with pytest.raises(RejectedImageError) as told:
            found.source.read_mask(int(found.rows[row]), "masks/Springfield 1.png")
        assert "Springfield" not in str(told.value)
        assert "Rosengarten" not in str(told.value)


def test_files_of_many_images_are_not_named(names):
    class Shards(Telling):
        shards = (ShardFile(Path("/data/clinic"), "Doe.tar"), ShardFile(Path("/data/clinic"), "Roe.tar"))
        places = np.array([[1, 0, 0]] * 3)

        def read(self, index):
            raise RejectedImageError("Roe.tar has changed since it was indexed")

    found = without_names(ImageSet(Shards(), table(), ("healthy", "ill")), names)
    with pytest.raises(RejectedImageError) as told:
        found.read(0)
    assert str(told.value) == f"{HIDDEN} has changed since it was indexed"


def test_a_loop_of_links_in_a_manifest_is_reported_without_the_way_to_it(tmp_path, names):
    root = tmp_path / "Clinic of Dr. Doe" / "images"
    root.mkdir(parents=True)
    (root / "one.png").symlink_to("other.png")
    (root / "other.png").symlink_to("one.png")
    (root / "images.csv").write_text("path,label\none.png,ill\n")
    for images in (load_images(root / "images.csv"), without_names(load_images(root / "images.csv"), names)):
        with pytest.raises(RejectedImageError) as told:
            images.read(0)
        assert "links" in str(told.value)
        assert not [name for name in (tmp_path.name, "Doe", "images", ".png") if name in str(told.value)]


#: Areas whose methods are written down under pseudonyms.
AREAS_TOLD = ("attacks", "shifts", "explanations", "scans")

#: Parameters of methods and checks that are texts, and name neither a file nor a model: words of ours, classes, layers.
PUBLIC = {"kind", "kinds", "layer", "positive", "prompt", "prompts", "words", "correct", "nuisances", "concept"} | {
    "device",
    "claims",
    "also",
    "domain",
    "thresholds",
    "target",  # a class
}


def test_every_parameter_that_may_be_a_name_is_hidden_or_known_to_be_none(names):
    """A new one must be put into one of the lists: a relative path looks like any word."""
    found = {}
    methods = [one.load() for area in AREAS_TOLD for one in index.methods(area).values()]
    for kind in (*CHECKS.values(), *methods):
        for name, field in kind.model_fields.items():
            if "str" in str(field.annotation):
                found.setdefault(name, kind.name)
    hidden_ones = _FOLDERS | _REFERENCES
    assert found.keys() == hidden_ones | PUBLIC
    record = nameless_record(dict.fromkeys(hidden_ones, "Rosengarten/inner"), names)
    assert all(value == names.of("Rosengarten/inner") for value in record.values())


# -- what was loaded by reference ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for place in ("healthy", "ill"):
        (tmp_path / "clinic" / place).mkdir(parents=True)
    Image.new("RGB", (12, 12)).save(tmp_path / "clinic" / "healthy" / "Jane Doe.png")
    (tmp_path / "clinic" / "ill" / "John Roe.png").symlink_to("../../John Roe.png")
    return tmp_path / "clinic"


def test_the_reference_survives_and_the_set_it_gives_tells_no_names_either(folder, names, monkeypatch):
    monkeypatch.chdir(folder.parent)
    found = without_names(load_images(folder), names)
    assert found.reference is not None
    again = load_images_again(found.reference)
    jane, john = (found.ids.index(names.of(name)) for name in ("healthy/Jane Doe.png", "ill/John Roe.png"))
    for images in (found, replace(found, source=again.source)):
        assert images.read(jane).size == (12, 12)
        with pytest.raises(RejectedImageError) as told:
            images.read(john)
        for name in ("John", "Roe", "clinic"):
            assert name not in str(told.value)
        assert [images.content_hash(row) for row in (jane, john)] == load_images(folder).content_hashes


def test_arrays_have_no_reference_before_and_after(names):
    assert without_names(load_images(np.zeros((2, 4, 4), dtype=np.uint8)), names).reference is None


def test_a_model_under_another_name_is_the_same_model(names):
    classifier = load_classifier("bundled:fashion-cnn")
    assert with_other_name(classifier, names).name == "bundled:fashion-cnn"
    classifier.name, classifier.notes = "onnx:Doe.onnx", ("Doe.onnx does not say its size", "kept")
    other = with_other_name(classifier, names)
    assert other.name == f"onnx:{names.of('Doe.onnx')}"
    assert other.notes == (f"{HIDDEN} does not say its size", "kept")
    assert other.reference["name"] == other.name
    assert other.fingerprint() == classifier.fingerprint()
    assert (classifier.name, classifier.reference["name"]) == ("onnx:Doe.onnx", None)


def test_slides_that_cannot_be_used_tell_no_name(tmp_path, names):
    pytest.importorskip("tifffile")
    pytest.importorskip("openslide")
    from snellen.data.files.whole_slides.loading import load_slides
    from snellen.data.files.whole_slides.tiling import Tiling
    from tests.data.files.whole_slides.painted import glass, with_tissue, write_tiff

    tissue = with_tissue(glass(), 64, 64, 128, 128)
    whole = write_tiff(tmp_path / "clinic" / "Jane Doe.tif", tissue).read_bytes()
    for name, share in (("John Roe", 0.5), ("Max Mustermann", 0.01), ("Hans", 0.999)):
        (tmp_path / "clinic" / f"{name}.tif").write_bytes(whole[: int(len(whole) * share)])
    write_tiff(tmp_path / "clinic" / "Bare Glass.tif", glass())
    (tmp_path / "clinic" / "Lost Link.tif").symlink_to("/elsewhere/at all.tif")
    slides = load_slides(tmp_path / "clinic", Tiling(tile=32, mpp=1.0))
    found, reasons = without_names(slides, names), []
    for row in range(len(found)):
        try:
            found.read(row)
        except RejectedImageError as error:
            reasons.append(str(error))
    assert len(reasons) == 5, "one for each slide that cannot be used"
    for name in ("Jane", "John", "Max", "Hans", "Bare", "Lost", "Doe", "Link", "clinic", "elsewhere"):
        assert not [reason for reason in reasons if name in reason], name
    assert found.source.bag_thumbnail(found.column("bag_id")[0] or "", 16)
