"""The manifest: nested, balanced, each image with its own stream; nothing of images that choose or test a model."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import snellen
from snellen.core.errors import InputError, RunConflictError
from snellen.core.images import Provenance
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.data.class_balance import synthetic
from snellen.data.files.arrays import load_arrays
from snellen.methods.generation.sample import Sample
from snellen.methods.generation.variation import Variation
from snellen.methods.synthesis.by_caption import ByCaption
from snellen.methods.synthesis.by_image import ByImage
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.copies import copies
from snellen.methods.synthesis.forecast import seconds_an_image
from snellen.methods.synthesis.manifest_rows import Source
from snellen.methods.synthesis.synthesizing import synthesize_into
from snellen.methods.synthesis.synthetic_set import with_classes_of
from snellen.runs.settings import Setting
from snellen.verbs.synthesize import given_source

SHAPES = Source(("star", "ring", "heart"))
TEMPLATES = ("a {}", "a red {}", "a {} on grass")


def pictures(splits=None, captions=True, labels=(0, 0, 0, 1, 1, 1)):
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 12, 12, 3), dtype=np.uint8)
    images = load_arrays(pixels, list(labels), class_names=("star", "ring"), name="shots")
    table = images.table
    if captions:
        table = table.append_column("caption", pa.array([f"caption {row}" for row in range(len(labels))]))
    if splits is not None:
        table = table.append_column("split", pa.array(splits))
    return replace(images, table=table)


@pytest.mark.covers("14.2")
@pytest.mark.parametrize("method", [ByName(templates=TEMPLATES), ByCaption(), ByImage()], ids=lambda one: one.name)
def test_a_larger_manifest_only_adds_rows(method):
    source = Source.of_images(pictures())
    small, large = method.rows(source, 2, 0), method.rows(source, 7, 0)
    assert large[: len(small)] == small
    assert len({row.id for row in large}) == len(large) == 14
    assert len({row.seed for row in large}) == 14, "no image repeats: each has noise of its own"
    assert [row.label for row in small] == ["star", "ring", "star", "ring"], "in turns over the classes"


def test_the_stream_of_an_image_belongs_to_class_prompt_guidance_seed_and_index():
    base = ByName()
    first = {row.id: row.seed for row in base.rows(SHAPES, 3, 0)}
    others = [
        {row.id: row.seed for row in ByName(guidance_scale=3).rows(SHAPES, 3, 0)},
        {row.id: row.seed for row in ByName(templates=("one {}",)).rows(SHAPES, 3, 0)},
        {row.id: row.seed for row in base.rows(SHAPES, 3, 1)},
    ]
    for other in others:
        assert other.keys() == first.keys()
        assert not set(other.values()) & set(first.values())
    # The classes that are generated beside it change nothing.
    assert {row.id: row.seed for row in base.rows(Source(("star",)), 3, 0)}.items() <= first.items()


def test_templates_are_drawn_for_each_image_and_not_for_each_class():
    rows = ByName(templates=TEMPLATES).rows(SHAPES, 40, 0)
    for label in SHAPES.classes:
        own = [row.prompt for row in rows if row.label == label]
        assert {prompt.replace(label, "{}") for prompt in own} == set(TEMPLATES)
    assert {row.prompt for row in ByName().rows(SHAPES, 40, 0)} == {"a star", "a ring", "a heart"}


@pytest.mark.covers("14.7")
def test_captions_and_pictures_are_those_of_training_images_alone():
    images = pictures(["train", "val", "test", "train", "test", "train"])
    for method in (ByCaption(), ByImage()):
        source = Source.of_images(images)
        requests = [method.request(row, source) for row in method.rows(source, 9, 0)]
        used = {request["source"] for request in requests}
        assert used == {images.ids[row] for row in (0, 3, 5)}
    prompts = {row.prompt for row in ByCaption().rows(Source.of_images(images), 9, 0)}
    assert prompts == {"a star, caption 0", "a ring, caption 3", "a ring, caption 5"}
    for split in ("test", "val"):
        with pytest.raises(InputError, match="no training images"):
            Source.of_images(replace(pictures(), split=split))


def test_captions_do_not_see_the_picture_and_names_see_neither():
    source = Source.of_images(pictures())
    by_caption, by_name = ByCaption(), ByName()
    assert "image" not in by_caption.request(by_caption.rows(source, 1, 0)[0], source)
    assert not {"image", "source"} & set(by_name.request(by_name.rows(source, 1, 0)[0], source))
    assert ByCaption(named=False).rows(source, 1, 0)[0].prompt.startswith("caption")


def test_words_stand_in_the_prompt_and_the_class_keeps_its_name(tmp_path):
    method = ByName(words={"n01": "star"}, steps=1)
    made = snellen.synthesize(method, ["n01", "ring"], out=tmp_path / "out", count=1, sheet=False)
    images = snellen.load_images(made.manifest)
    assert dict(zip(images.column("caption"), images.labels.tolist(), strict=True)) == {"a star": 0, "a ring": 1}
    assert images.class_names == ("n01", "ring")


def test_a_generator_of_classes_gets_them_by_name(tmp_path):
    method = ByName(generator="bundled:fashion-diffusion", steps=1)
    made = snellen.synthesize(method, ["Bag", "Coat"], out=tmp_path / "out", count=1)
    assert snellen.load_images(made.manifest).class_names == ("Bag", "Coat")
    with pytest.raises(InputError, match="names class 'sofa'"):
        snellen.synthesize(method, ["Bag", "sofa"], out=tmp_path / "other", count=1)
    with pytest.raises(InputError, match="takes no prompts, so it cannot take captions"):
        ByCaption(generator="bundled:fashion-diffusion").rows(Source.of_images(pictures()), 1, 0)


def test_what_was_written_is_labelled_balanced_and_flagged(tmp_path):
    made = snellen.synthesize(
        [ByName(steps=2, guidance_scale=scale) for scale in (1, 3)], ["star", "ring"], out=tmp_path / "out", count=3
    )
    images = snellen.load_images(made.manifest)
    assert len(images) == 12
    assert synthetic(images).all()
    assert images.column("synthetic") == ["1"] * 12
    assert {name: list(counts.values()) for name, counts in made.written.items()} == {
        name: [3, 3] for name in made.written
    }
    for (setting, path), scale in zip(made.manifests.items(), (1.0, 3.0), strict=True):
        own = snellen.load_images(path)
        assert set(own.column("setting")) == {setting}
        found = [Provenance.model_validate_json(text) for text in own.column("provenance")]
        assert {one.guidance_scale for one in found} == {scale}
        assert {one.origin for one in found} == {"generated"}
    record = json.loads((tmp_path / "out" / "synthesize.json").read_text())
    assert record["schema_version"] == 1
    assert record["plan"]["source"]["classes"] == ["star", "ring"]
    with pytest.raises(RunConflictError, match="differs in: count"):
        snellen.synthesize(
            [ByName(steps=2, guidance_scale=scale) for scale in (1, 3)], ["star", "ring"], out=tmp_path / "out", count=4
        )


def test_a_larger_set_holds_the_images_of_a_smaller_one(tmp_path):
    few = snellen.synthesize(ByName(steps=2), ["star", "ring"], out=tmp_path / "few", count=2, batch_size=2)
    many = snellen.synthesize(ByName(steps=2), ["star", "ring"], out=tmp_path / "many", count=4, batch_size=2)
    small, large = snellen.load_images(few.manifest), snellen.load_images(many.manifest)
    for row, key in enumerate(small.ids):
        assert small.read(row).tobytes() == large.read(large.ids.index(key)).tobytes()


def test_images_of_an_earlier_smaller_set_are_taken_and_only_the_rest_is_generated(tmp_path, monkeypatch):
    settings = [Setting(f"scale {scale}", ByName(steps=1, guidance_scale=scale)) for scale in (1, 3)]
    source = Source(("star", "ring"))
    few = synthesize_into(settings, source, tmp_path / "few", count=2, sheet=False, progress=Silent())
    asked, own = [], ByName.generate
    monkeypatch.setattr(
        ByName, "generate", lambda self, wanted, *, rng: asked.extend(wanted) or own(self, wanted, rng=rng)
    )

    def larger(name, earlier, **options):
        asked.clear()
        options = {"count": 5, "sheet": False, "progress": Silent(), **options}
        return synthesize_into(settings[1:], source, tmp_path / name, earlier=earlier, **options), len(asked)

    many, generated = larger("many", few.folder)
    assert generated == 2 * 3
    images, earlier = (snellen.load_images(path) for path in (many.manifest, few.manifests["scale 3"]))
    assert sorted(images.ids) == sorted(f"{label}-{index:06d}" for label in source.classes for index in range(5))
    for row, key in enumerate(earlier.ids):
        place = images.ids.index(key.removeprefix("scale 3/"))
        assert earlier.read(row).tobytes() == images.read(place).tobytes()
        assert earlier.column("provenance")[row] == images.column("provenance")[place]
    whole, generated = larger("whole", None)
    assert generated == 2 * 5
    assert snellen.load_images(whole.manifest).ids == images.ids, "the same order"
    _, generated = larger("other", few.folder, seed=1)
    assert generated == 2 * 5, "images of another seed are not taken"


def test_the_time_of_an_image_is_that_of_all_its_steps(monkeypatch):
    clock = [0.0]

    def generate(self, wanted, *, rng):
        clock[0] += len(wanted) * (0.5 + 0.25 * self.steps)

    monkeypatch.setattr(ByName, "generate", generate)
    monkeypatch.setattr("snellen.methods.synthesis.forecast.time.perf_counter", lambda: clock[0])
    assert seconds_an_image(ByName(steps=20), SHAPES) == pytest.approx(0.5 + 0.25 * 20)


def test_classes_are_ordered_as_those_of_real_images():
    made = pictures()
    real = replace(made, class_names=("ring", "disc", "star"))
    ordered = with_classes_of(made, real)
    assert ordered.class_names == real.class_names
    assert [ordered.class_names[label] for label in ordered.labels] == [
        made.class_names[label] for label in made.labels
    ]
    with pytest.raises(InputError, match="has a class 'star'"):
        with_classes_of(made, replace(made, class_names=("ring", "disc")))


@pytest.mark.parametrize("channels", ["bundled:scene-diffusion", "bundled:fashion-diffusion"])
def test_little_strength_keeps_the_picture_and_full_strength_does_not(channels):
    scenes = snellen.load_images("optotypes:scenes?count=20")
    classes = ("star", "star") if "scene" in channels else ("Bag", "Bag")
    requests = [{"id": str(row), "class": classes[row], "image": scenes.read(row)} for row in range(2)]
    size = (32, 32) if "scene" in channels else (28, 28)

    def distance(strength):
        method = Variation(generator=channels, steps=20, strength=strength, guidance_scale=1)
        made = method.generate(requests, rng=Randomness(0))
        own = [np.asarray(request["image"].resize(size).convert("L")).astype(float) for request in requests]
        shown = [np.asarray(made.read(row).convert("L")).astype(float) for row in range(2)]
        assert Provenance.model_validate_json(str(made.column("provenance")[1])).source_id == "1"
        return np.mean([np.abs(first - second).mean() for first, second in zip(own, shown, strict=True)])

    assert distance(0.1) < 0.5 * distance(1.0)


def test_full_strength_is_not_the_sampler_from_noise_but_plain_sampling_is_untouched_by_images():
    request = {"id": "a", "class": "star", "seed": 3}
    picture = pictures().read(0)
    plain = Sample(steps=2).generate([request], rng=Randomness(0))
    beside = Sample(steps=2).generate([{**request, "image": picture}], rng=Randomness(0))
    assert plain.read(0).tobytes() == beside.read(0).tobytes()
    with pytest.raises(InputError, match="has no image to start from"):
        Variation(steps=2).generate([request], rng=Randomness(0))


def test_copies_are_counted():
    noise = np.random.default_rng(1).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    made = load_arrays(np.concatenate([noise, noise[:1], (noise[1:2] * 0.9).astype(np.uint8), noise[:1] * 0]))
    found = copies(made, load_arrays(noise[2:4]))
    assert (found.images, found.exact, found.near, found.of_real, found.blank) == (9, 1, 2, 2, 1)
    assert [note.partition(":")[0] for note in found.notes] == [
        "2 of 9 images are copies of others",
        "2 images are copies of real ones",
        "1 images are nearly constant",
    ]
    assert copies(load_arrays(noise)).notes == ()
    assert copies(load_arrays(noise)).of_real is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("classes:star?count=3", "an option of its own"),
        ("classes:", "name at least one class"),
        ("classes:star,star", "'star' is named twice"),
        (["star", " "], "name at least one class"),
    ],
)
def test_classes_that_cannot_be(source, message):
    with pytest.raises(InputError, match=message):
        given_source(source)


def test_settings_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="must say where the class stands"):
        ByName(templates=("a star",))
    with pytest.raises(ValueError, match="at least one template"):
        ByName(templates=())
    with pytest.raises(InputError, match="at least 1 image of each class is generated; got 0"):
        snellen.synthesize("by-name", ["star"], out=tmp_path, count=0)
    with pytest.raises(InputError, match="needs real images"):
        snellen.synthesize(ByImage(), ["star"], out=tmp_path, count=1)
    with pytest.raises(InputError, match="image '000000' has no caption"):
        ByCaption().rows(Source.of_images(pictures(captions=False, labels=(0, 1))), 1, 0)
    with pytest.raises(InputError, match="no training image of class 'ring'"):
        ByImage().rows(Source.of_images(pictures(labels=(0, 0))), 1, 0)
    with pytest.raises(InputError, match="makes no rows of a manifest"):
        snellen.synthesize(Sample(), ["star"], out=tmp_path, count=1)
