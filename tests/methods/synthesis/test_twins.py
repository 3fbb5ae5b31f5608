"""Twins of real sets: one image each, the same histogram; nothing of the name, the picture or the test set leaks."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import snellen
from snellen.core.errors import InputError
from snellen.core.images import Provenance
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.methods.synthesis.by_image import ByImage
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import Source
from snellen.methods.synthesis.synthesizing import REDRAWS
from snellen.methods.synthesis.templates import template_sets

LABELS = (0, 1, 1, 1, 0, 1, 1)


@pytest.fixture
def folder(tmp_path):
    """Class folders below splits, with fewer stars than rings."""
    for split, labels in (("train", LABELS), ("val", (0, 1, 1)), ("test", (0, 0, 1))):
        for number, label in enumerate(labels):
            place = tmp_path / "real" / split / ("star", "ring")[label]
            place.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([len(labels), number]).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.jpg")
    return tmp_path / "real"


def pictures(names=("star", "ring")):
    pixels = np.random.default_rng(0).integers(0, 256, (len(LABELS), 12, 12, 3), dtype=np.uint8)
    return load_arrays(pixels, list(LABELS), class_names=names, name="shots")


@pytest.mark.covers("6.1")
@pytest.mark.parametrize("method", [ByName(steps=1), ByImage(steps=2)], ids=lambda one: one.name)
def test_a_twin_has_the_path_class_and_histogram_of_every_real_image(folder, tmp_path, method):
    real = snellen.load_images(folder)
    made = snellen.synthesize(method, real, out=tmp_path / "twin", one_each=True, batch_size=3, sheet=False)
    twin, own = snellen.load_images(made.manifest), real.of_split("train")
    assert sorted(twin.ids) == sorted(own.ids)
    named = {key: own.class_names[label] for key, label in zip(own.ids, own.labels, strict=True)}
    assert {key: twin.class_names[label] for key, label in zip(twin.ids, twin.labels, strict=True)} == named
    assert made.written == {method.name: dict(Counter(named.values()))}
    for key in own.ids:
        assert (tmp_path / "twin" / "images" / key).with_suffix(".png").is_file()
    assert made.plan["count"] is None


@pytest.mark.covers("6.6")
def test_a_twin_resumes_where_it_was_killed_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    method, own = ByName(steps=1, templates=("clip",)), ByName.generate
    method = ByName(steps=1, templates=("a {}", "a red {}"))
    arguments = {"one_each": True, "batch_size": 2, "sheet": False}
    whole = snellen.synthesize(method, pictures(), out=tmp_path / "whole", **arguments)
    calls = []

    def dying(self, requests, *, rng):
        calls.append(len(requests))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return own(self, requests, rng=rng)

    monkeypatch.setattr(ByName, "generate", dying)
    with pytest.raises(KeyboardInterrupt):
        snellen.synthesize(method, pictures(), out=tmp_path / "killed", **arguments)
    assert not (tmp_path / "killed" / "synthesize.json").exists()
    resumed = snellen.synthesize(method, pictures(), out=tmp_path / "killed", **arguments)
    assert calls == [2, 2, 2, 2, 1], "two of four batches were there already"
    assert resumed.manifest.read_bytes() == whole.manifest.read_bytes()
    snellen.synthesize(method, pictures(), out=tmp_path / "killed", **arguments)
    assert len(calls) == 5, "everything is there"
    images = snellen.load_images(resumed.manifest)
    found = [Provenance.model_validate_json(text) for text in images.column("provenance")]
    assert {one.guidance_scale for one in found} == {2.0}
    assert {one.prompt for one in found} <= {f"{a} {name}" for a in ("a", "a red") for name in ("star", "ring")}
    assert len({one.seed for one in found}) == len(images)
    assert resumed.plan["settings"][0]["steps"] == 1
    assert resumed.plan["models"]["by_name"]["denoiser"]


@pytest.mark.covers("6.2")
def test_templates_are_drawn_for_each_image_from_the_80_of_clip_or_are_one():
    diverse, single = ByName(templates=("clip",)), ByName(templates=("a photo of a {}",))
    assert diverse.templates == template_sets()["clip"]
    assert len(set(diverse.templates)) == 80
    many = load_arrays(np.zeros((2000, 8, 8, 3), np.uint8), [0, 1] * 1000, class_names=("star", "heart"))
    rows = diverse.rows(Source.of_images(many), None, 0)
    for label in ("star", "heart"):
        drawn = Counter(row.prompt.replace(label, "{}") for row in rows if row.label == label)
        assert set(drawn) == set(diverse.templates), "of 1,000 images, each template has some of every class"
        assert max(drawn.values()) < 40, "12.5 are expected"
    batches = [{row.prompt.replace(row.label, "{}") for row in rows[at : at + 32]} for at in range(0, 2000, 32)]
    assert min(map(len, batches)) > 10, "not for a batch either"
    assert {row.prompt for row in single.rows(Source.of_images(many), None, 0)} == {
        "a photo of a star",
        "a photo of a heart",
    }
    assert [row.prompt for row in diverse.rows(Source.of_images(many), None, 1)] != [row.prompt for row in rows]
    with pytest.raises(ValueError, match="or give the name of a set, clip"):
        ByName(templates=("klip",))


@pytest.mark.covers("6.8")
def test_an_image_alone_does_not_see_the_name_of_its_class(tmp_path):
    def drawn(method, names, folder):
        made = snellen.synthesize(method, pictures(names), out=tmp_path / folder, one_each=True, sheet=False)
        images = snellen.load_images(made.manifest)
        return [images.read(images.ids.index(key)).tobytes() for key in sorted(images.ids)], images

    alone = ByImage(steps=4, named=False)
    first, images = drawn(alone, ("star", "ring"), "first")
    assert first == drawn(alone, ("heart", "cross"), "second")[0], "other names change nothing"
    assert set(images.column("caption")) <= {None, ""}
    named = ByImage(steps=4)
    assert drawn(named, ("star", "ring"), "third")[0] != drawn(named, ("heart", "cross"), "fourth")[0]
    with pytest.raises(InputError, match="always sees the class"):
        ByImage(generator="bundled:fashion-diffusion", named=False).rows(Source.of_images(pictures()), None, 0)


@pytest.mark.covers("6.8")
def test_a_name_alone_does_not_see_the_picture():
    method, source = ByName(), Source.of_images(pictures())
    read = replace(source.images, source=_Unreadable())
    for row in method.rows(Source(source.classes, read), None, 0):
        request = method.request(row, Source(source.classes, read))
        assert not {"image", "source"} & set(request)


class _Unreadable:
    def read(self, index):
        raise AssertionError("the picture was read")

    content_hash = read


@pytest.mark.covers("6.7")
def test_the_strength_decides_what_is_left_of_an_image_and_is_recorded(tmp_path):
    source = Source.of_images(snellen.load_images("optotypes:scenes?count=30&size=32#train"))
    kept = {}
    for strength in (0.1, 1.0):
        method = ByImage(steps=20, strength=strength, guidance_scale=1)
        assert method.record()["strength"] == strength
        requests = [method.request(row, source) for row in method.rows(source, None, 0)[:6]]
        made = method.generate(requests, rng=Randomness(0))
        shown = np.stack([np.asarray(made.read(row), dtype=float) for row in range(6)])
        own = np.stack([np.asarray(one["image"], dtype=float) for one in requests])
        kept[strength] = np.corrcoef(shown.reshape(-1), own.reshape(-1))[0, 1]
    assert kept[0.1] > 0.9
    assert kept[1.0] < 0.6
    made = snellen.synthesize(ByImage(steps=2, strength=0.5), pictures(), out=tmp_path / "out", one_each=True)
    assert made.plan["settings"][0]["strength"] == 0.5


@pytest.mark.covers("6.9")
@pytest.mark.parametrize("method", [ByName(steps=1), ByImage(steps=2, named=False)], ids=lambda one: one.name)
def test_images_to_test_with_come_from_their_split_and_cannot_be_trained_on(folder, tmp_path, method):
    real = snellen.load_images(folder)
    for split, count in (("val", 3), ("test", 3)):
        made = snellen.synthesize(method, real, out=tmp_path / split, one_each=True, split=split, sheet=False)
        images = snellen.load_images(made.manifest)
        assert sorted(images.ids) == sorted(real.of_split(split).ids)
        assert not set(images.ids) & set(real.of_split("train").ids)
        assert set(images.column("split")) == {split}
        assert len(images) == count
    with pytest.raises(InputError, match="nothing may be fitted"):
        images.for_fitting()
    with pytest.raises(InputError, match="no training images"):
        Source.of_images(images)
    with pytest.raises(InputError, match="has no images of split 'test'"):
        Source.of_images(pictures(), "test")


def some_black(monkeypatch, black):
    """Turn the images of some calls black, by the number of the call and the position in it."""
    own, calls = ByName.generate, []

    def generate(self, requests, *, rng):
        made = own(self, requests, rng=rng)
        calls.append([one["seed"] for one in requests])
        pixels = np.stack([np.asarray(made.read(row)) for row in range(len(made))]).copy()
        for row in range(len(made)):
            pixels[row] = 0 if black(len(calls) - 1, row) else pixels[row]
        return replace(made, source=load_arrays(pixels).source)

    monkeypatch.setattr(ByName, "generate", generate)
    return calls


def test_a_black_image_is_drawn_again_from_other_noise_and_counted(tmp_path, monkeypatch):
    plain = snellen.synthesize(ByName(steps=2), ["star", "ring"], out=tmp_path / "plain", count=2, sheet=False)
    calls = some_black(monkeypatch, lambda call, row: call < 2 and row == 1)
    made = snellen.synthesize(ByName(steps=2), ["star", "ring"], out=tmp_path / "again", count=2, sheet=False)
    assert [len(seeds) for seeds in calls] == [4, 1], "only the black one, until it is drawn"
    assert calls[1][0] not in calls[0]
    images, before = snellen.load_images(made.manifest), snellen.load_images(plain.manifest)
    assert images.ids == before.ids
    assert made.redrawn == {"by_name": 1}
    assert [images.column("redrawn")[images.ids.index(key)] for key in ("star-000000", "ring-000000")] == [None, "1"]
    assert made.copies["by_name"].blank == 0
    unchanged = [key for key in images.ids if key != "ring-000000"]
    for key in unchanged:
        assert images.read(images.ids.index(key)).tobytes() == before.read(before.ids.index(key)).tobytes()


def test_a_row_whose_image_stays_black_is_rejected_and_named(tmp_path, monkeypatch):
    calls = some_black(monkeypatch, lambda call, row: row == 0)
    arguments = {"count": 3, "sheet": False, "batch_size": 1}
    with pytest.raises(InputError, match="no image was generated; first: star-000000: nothing is drawn in it, 4 times"):
        snellen.synthesize(ByName(steps=1), ["star"], out=tmp_path / "none", allow_rejected=True, **arguments)
    assert len(calls) == 3 * (REDRAWS + 1)


def test_what_a_twin_cannot_be_made_of(tmp_path):
    with pytest.raises(InputError, match="needs real images: give a data set"):
        snellen.synthesize(ByName(steps=1), ["star"], out=tmp_path / "out", one_each=True)
    with pytest.raises(InputError, match="a budget cannot make fewer"):
        snellen.synthesize(ByName(steps=1), pictures(), out=tmp_path / "out", one_each=True, budget="1s")
    table = pictures().table.set_column(1, "label", pa.array([-1, *LABELS[1:]], pa.int64()))
    with pytest.raises(InputError, match="image '000000' has no label"):
        ByName().rows(Source(("star", "ring"), replace(pictures(), table=table)), None, 0)
    estimate = snellen.plan(snellen.synthesize, ByName(steps=1), pictures(), out=tmp_path / "out", one_each=True)
    assert estimate.items == len(LABELS)


def test_a_count_beside_one_for_each_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="count says 3; leave one out"):
        snellen.synthesize(ByName(), str(folder), out=tmp_path / "out", one_each=True, count=3)
    assert not (tmp_path / "out").exists()
