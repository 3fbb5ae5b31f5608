"""Labels of ``snellen label`` as image sets: with their pool, with bags, and of several concepts."""

import json

import numpy as np
import pytest
from PIL import Image

import snellen
from snellen.core.errors import InputError
from snellen.data.files.bags import Bags
from snellen.runs.generated_files import write_manifest


@pytest.fixture
def pool(tmp_path):
    """Eight tiles of three slides of two patients; every tile is white to a degree."""
    rows = []
    for number in range(8):
        Image.fromarray(np.full((8, 8, 3), 25 * number, np.uint8)).save(tmp_path / f"{number}.png")
        slide = ("a", "a", "a", "b", "b", "b", "c", "c")[number]
        rows.append({
            "path": f"{number}.png", "id": f"tile {number}", "bag_id": slide, "unit_id": "p" if slide == "a" else "q",
            "label": "known", "split": "val" if slide == "c" else "train",
        })  # fmt: skip
    write_manifest(tmp_path / "tiles.csv", rows)
    return tmp_path


def labelled(folder, concept, decisions):
    place = folder / concept
    (place / "images").mkdir(parents=True)
    (place / "label.json").write_text(json.dumps({"definition": {"name": concept}}))
    rows = []
    for number, positive in decisions.items():
        Image.fromarray(np.full((8, 8, 3), 25 * number, np.uint8)).save(place / "images" / f"{number}.png")
        rows.append({
            "path": f"images/{number}.png", "id": f"tile {number}", "label": concept if positive else f"not {concept}",
            "split": "train", "confidence": "0.80", "rationale": "it is bright", "mined": "positive: bright",
        })  # fmt: skip
    write_manifest(place / "labels.csv", rows)
    return place


def test_one_concept_alone_is_a_labelled_set(pool):
    place = labelled(pool, "bright", {0: 0, 5: 1, 7: 1})
    images = snellen.load_images(f"labelled:{place}")
    assert images.class_names == ("not bright", "bright")
    assert dict(zip(images.ids, images.labels.tolist(), strict=True)) == {"tile 0": 0, "tile 5": 1, "tile 7": 1}
    assert images.column("confidence") == ["0.80"] * 3
    assert images[1].image.getpixel((0, 0)) == (125, 125, 125)
    assert len(snellen.load_images(f"labelled:{place}#train")) == 3


def test_bags_follow_from_their_images(pool):
    """Slide a has a positive tile; b is decided and has none; of c one tile is undecided."""
    place = labelled(pool, "bright", {0: 0, 2: 1, 3: 0, 4: 0, 5: 0, 6: 0})
    images = snellen.load_images(f"labelled:{place}?pool={pool / 'tiles.csv'}")
    assert images.labels.tolist() == [0, -1, 1, 0, 0, 0, 0, -1]
    assert images.column("unit_id") == ["p"] * 3 + ["q"] * 5
    bags = Bags.of(images, labelled=False)
    assert dict(zip(bags.ids, bags.labels.tolist(), strict=True)) == {"a": 1, "b": 0, "c": -1}
    assert images.column("rationale")[:2] == ["it is bright", None]
    assert "2 of 8 images undecided" in images.notes[-1]


def test_several_concepts_are_labels_of_an_image(pool):
    bright, flat = labelled(pool, "bright", {0: 0, 2: 1}), labelled(pool, "flat", {2: 1, 3: 0})
    images = snellen.load_images(f"labelled:{bright},{flat}?pool={pool / 'tiles.csv'}#train")
    assert images.class_names == ("bright", "flat")
    assert images.column("labels")[:4] == [[0, -1], [-1, -1], [1, 1], [-1, 0]]
    assert images.column("confidence flat")[1:4] == [None, "0.80", "0.80"]
    assert "label" not in images.table.schema.names, "labels of the pool itself are not mixed with a machine's"


def test_an_audit_sees_bags_labelled_by_a_machine(pool):
    place = labelled(pool, "bright", {0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 1, 6: 1, 7: 1})
    model = snellen.load_classifier(
        lambda x: np.stack([0.9 - x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1), ["not bright", "bright"], size=8
    )
    report = snellen.audit(
        model, f"labelled:{place}?pool={pool / 'tiles.csv'}", checks=["clean", {"check": "bags", "pooling": "max"}]
    )
    assert {check.name: check.status for check in report.checks}["bags"] == "done"
    assert report.metrics["bags.accuracy"].value == 1.0


def test_a_split_is_chosen_after_the_labels_are_known(pool):
    """The pool was labelled whole, so that bags and labels of other splits are its own, too."""
    place = labelled(pool, "bright", {2: 1, 3: 0, 4: 0, 5: 0, 6: 0, 7: 1})
    for split, ids, labels in (("train", 6, [-1, -1, 1, 0, 0, 0]), ("val", 2, [0, 1])):
        images = snellen.load_images(f"labelled:{place}?pool={pool / 'tiles.csv'}#{split}")
        assert (len(images), images.labels.tolist()) == (ids, labels)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("labelled:", "names no labelling"),
        ("labelled:{0}?pool=", "names no labelling"),
        ("labelled:{0},{1}", "joined on the pool"),
        ("labelled:{0},{0}?pool={2}", "different concepts"),
        ("labelled:nowhere", "holds no finished labelling"),
        ("labelled:{1}?pool={2}", "are not in"),
    ],
)
def test_what_cannot_be_is_said(pool, reference, words):
    bright, foreign = labelled(pool, "bright", {0: 0}), labelled(pool, "flat", {9: 1})
    with pytest.raises(InputError, match=words):
        snellen.load_images(reference.format(bright, foreign, pool / "tiles.csv"))


def test_another_label_is_refused_with_its_row(pool):
    place = labelled(pool, "bright", {0: 0})
    (place / "label.json").write_text(json.dumps({"definition": {"name": "dark"}}))
    with pytest.raises(InputError, match=r"line 2: label must be one of"):
        snellen.load_images(f"labelled:{place}")


def test_a_table_that_is_gone_or_lacks_a_column_is_said(pool):
    place = labelled(pool, "bright", {0: 0})
    (place / "labels.csv").write_text("path,id\nimages/0.png,tile 0\n")
    with pytest.raises(InputError, match="needs the columns id and label; it has: path, id"):
        snellen.load_images(f"labelled:{place}")
    (place / "labels.csv").unlink()
    with pytest.raises(InputError, match=r"holds no labels.csv"):
        snellen.load_images(f"labelled:{place}")
