"""snellen generate: every request fulfilled, written resumably, and read again as a data set."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError, RunConflictError
from snellen.core.images import Provenance
from snellen.core.method import Method
from snellen.data.files.arrays import load_arrays
from snellen.data.files.held_images import HeldImages, held_set
from snellen.data.references import load_images
from snellen.verbs.generate import generate
from snellen.verbs.requests import ImageRequests, ListedRequests, load_requests

#: What a method was asked for, and the request at which it is stopped.
ASKED: list[str] = []
STOP = {"at": ""}


class Told(Method):
    """Captions that say class or prompt; stops where it is told to."""

    name = "told"
    word: str = "a"

    def generate(self, requests, *, rng):
        ids = [request["id"] for request in requests]
        if STOP["at"] in ids:
            raise KeyboardInterrupt
        ASKED.extend(ids)
        return held_set(
            [request.get("image", Image.new("RGB", (6, 5), "red")) for request in requests],
            ids,
            name="told",
            classes=[request.get("class") for request in requests],
            columns={
                "caption": [f"{self.word} {request.get('class', request.get('prompt'))}" for request in requests],
                "provenance": [Provenance(source_id=one).model_dump_json(exclude_none=True) for one in ids],
                "length": [len(one) for one in ids],
            },
        )


class Twice(Told):
    """Gives the same id to every image."""

    def generate(self, requests, *, rng):
        return held_set([Image.new("RGB", (4, 4))], ["same"], name="twice")


@pytest.fixture(autouse=True)
def forgotten():
    ASKED.clear()
    STOP["at"] = ""


@pytest.fixture
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 9, 3), dtype=np.uint8)
    return load_arrays(pixels, [0, 1, 0, 1, 0, 1, 0], class_names=("cat", "dog"), name="pets")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_written_is_a_data_set(images, tmp_path):
    made = generate(Told(), ImageRequests(images), out=tmp_path / "out", batch_size=3)
    again = load_images(made.manifest)
    assert (made.written, again.ids) == (7, images.ids)
    assert again.column("caption") == ["a cat", "a dog", "a cat", "a dog", "a cat", "a dog", "a cat"]
    assert json.loads(again.column("provenance")[2]) == {"origin": "real", "source_id": "000002"}
    assert again.column("length") == ["6"] * 7 or again.column("length") == [6] * 7
    assert again.class_names == ("cat", "dog")
    assert again.labels.tolist() == images.labels.tolist()
    assert all(again.read(row).tobytes() == images.read(row).tobytes() for row in range(7))
    assert made.manifest.read_text(encoding="utf-8").startswith("path,id,label,caption,")
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width > 100
    assert not (tmp_path / "out" / "unfinished").exists()


def test_a_stopped_call_goes_on_and_ends_with_the_same_bytes(images, tmp_path):
    generate(Told(), ImageRequests(images), out=tmp_path / "whole", batch_size=2)
    ASKED.clear()
    STOP["at"] = "000004"
    with pytest.raises(KeyboardInterrupt):
        generate(Told(), ImageRequests(images), out=tmp_path / "parts", batch_size=2)
    assert ASKED == ["000000", "000001", "000002", "000003"]
    STOP["at"] = ""
    generate(Told(), ImageRequests(images), out=tmp_path / "parts", batch_size=2)
    assert ASKED[4:] == ["000004", "000005", "000006"]
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    generate(Told(), ImageRequests(images), out=tmp_path / "parts", batch_size=2)
    assert len(ASKED) == 7
    with pytest.raises(RunConflictError, match="differs in: method"):
        generate(Told(word="the"), ImageRequests(images), out=tmp_path / "parts", batch_size=2)


def test_a_picture_that_was_lost_is_made_again(images, tmp_path):
    STOP["at"] = "000006"
    with pytest.raises(KeyboardInterrupt):
        generate(Told(), ImageRequests(images), out=tmp_path, batch_size=3)
    next((tmp_path / "images").glob("000004*")).unlink()
    STOP["at"] = ""
    ASKED.clear()
    generate(Told(), ImageRequests(images), out=tmp_path, batch_size=3)
    assert ASKED == ["000003", "000004", "000005", "000006"]


def test_images_that_cannot_be_read_are_named_and_left_out(images, tmp_path, monkeypatch):
    read = type(images.source).read

    def damaged(source, index):
        if index == 2:
            raise RejectedImageError("damaged")
        return read(source, index)

    monkeypatch.setattr(type(images.source), "read", damaged)
    asked = {"out": tmp_path / "out", "batch_size": 3}
    with pytest.raises(InputError, match=r"1 of 7 images of pets are rejected.*1 × damaged"):
        generate(Told(), ImageRequests(images), **asked)
    made = generate(Told(), ImageRequests(images), **asked, allow_rejected=True)
    assert [(one.id, one.reason) for one in made.rejected] == [("000002", "damaged")]
    assert made.written == 6
    with pytest.raises(InputError, match=r"nothing was generated for the 1 requests.*damaged"):
        generate(Told(), ImageRequests(images.select([2])), out=tmp_path / "none")
    assert not (tmp_path / "none" / "generate.json").exists()


def test_prompts_are_read_from_a_file(tmp_path):
    (tmp_path / "prompts.txt").write_text("a red star\n\n  a blue ring \n", encoding="utf-8")
    (tmp_path / "asked.json").write_text(json.dumps([{"prompt": "x", "seed": 3}, {"id": "b"}]), encoding="utf-8")
    prompts = load_requests(str(tmp_path / "prompts.txt"))
    assert [prompts.read(row) for row in range(2)] == [
        {"id": "000001", "prompt": "a red star"},
        {"id": "000002", "prompt": "a blue ring"},
    ]
    asked = load_requests(str(tmp_path / "asked.json"))
    assert [asked.read(row) for row in range(2)] == [{"id": "000001", "prompt": "x", "seed": 3}, {"id": "b"}]
    made = generate(Told(), prompts, out=tmp_path / "out", sheet=False)
    assert load_images(made.manifest).column("caption") == ["a a red star", "a a blue ring"]
    assert made.files == ("manifest.csv",)
    assert isinstance(load_requests("bundled:fashion-mnist"), ImageRequests)


def test_classes_are_requested_in_turns():
    asked = load_requests("classes:star,red heart?count=2")
    assert [asked.read(row) for row in range(4)] == [
        {"id": "star-0001", "class": "star"},
        {"id": "red heart-0001", "class": "red heart"},
        {"id": "star-0002", "class": "star"},
        {"id": "red heart-0002", "class": "red heart"},
    ]
    every = load_requests("classes:?count=3", ("cat", "dog"))
    assert every.ids == ["cat-0001", "dog-0001", "cat-0002", "dog-0002", "cat-0003", "dog-0003"]
    assert load_requests("classes:dog", ("cat", "dog")).ids == ["dog-0001"]
    cranes = load_requests("classes:?count=1", ("crane", "dog", "crane"))
    assert [(row["id"], row["class"]) for row in cranes.rows] == [
        ("crane 0-0001", 0), ("dog-0001", "dog"), ("crane 2-0001", 2),
    ]  # fmt: skip
    assert asked.fingerprint() != load_requests("classes:star,red heart?count=3").fingerprint()


def test_draws_ask_for_nothing():
    asked = load_requests("draws:3")
    assert [asked.read(row) for row in range(3)] == [{"id": "000001"}, {"id": "000002"}, {"id": "000003"}]
    assert asked.first(2).ids == ["000001", "000002"]


@pytest.mark.parametrize(
    ("reference", "known", "said"),
    [
        ("classes:?count=3", (), "takes any words, so name the classes"),
        ("classes:star?count=0", (), "N images of each class, at least 1"),
        ("classes:star?number=2", (), "N images of each class"),
        ("classes:star,,ring", (), "name each class once"),
        ("classes:star,star", (), "name each class once"),
        ("classes:Bagg", ("Bag",), "did you mean 'Bag'"),
        ("draws:0", (), "N with the number of images, at least 1"),
        ("draws:many", (), "N with the number of images"),
    ],
)
def test_classes_that_cannot_be_requested_are_refused(reference, known, said):
    with pytest.raises(InputError, match=said):
        load_requests(reference, known)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("empty.txt", " \n", "holds no requests"),
        ("no.json", "{", "cannot be read"),
        ("object.json", "{}", "must hold a list"),
        ("same.json", '[{"id": "a"}, {"id": "a"}]', "'id' of its own; got 'a'"),
        ("number.json", '[{"id": 1}]', "got 1"),
    ],
)
def test_lists_that_are_none_are_refused(name, text, said, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        load_requests(str(tmp_path / name))


def test_other_methods_and_other_folders_are_refused(images, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="holds no generated data set"):
        generate(Told(), ImageRequests(images), out=tmp_path / "full")
    with pytest.raises(InputError, match="no verb 'generate'"):
        generate(Method(), ImageRequests(images), out=tmp_path / "new")
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        generate(Told(), ImageRequests(images), out=tmp_path / "new", batch_size=0)
    with pytest.raises(InputError, match="ids that occur twice"):
        generate(Twice(), ListedRequests("two", [{"id": "a"}, {"id": "b"}]), out=tmp_path / "new", batch_size=1)


def test_held_images_are_distinguished_by_size_and_pixels():
    red, wide = Image.new("RGB", (2, 4), "red"), Image.new("RGB", (4, 2), "red")
    source = HeldImages([red, wide, red.copy()])
    assert source.content_hash(0) == source.content_hash(2) != source.content_hash(1)


def test_another_split_of_the_same_images_is_another_request():
    images = load_images("optotypes:scenes?count=2&size=16#test")
    plain = replace(images, table=images.table.drop_columns(["split"]))
    asked = {split: ImageRequests(replace(plain, split=split)) for split in ("train", "test", None)}
    assert {split: one.read(0)["split"] for split, one in asked.items() if split} == {"train": "train", "test": "test"}
    assert "split" not in asked[None].read(0)
    assert len({one.fingerprint() for one in asked.values()}) == 3
    hidden = ImageRequests(images.unlabelled())
    assert "labels" not in hidden.read(0)
    assert hidden.read(0)["split"] == "test"
