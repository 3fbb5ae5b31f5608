"""The scan in two views: what it reports, names and shows, and what it refuses."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import snellen
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.scans.training_set import TrainingSet
from snellen.metrics.auroc import auroc
from snellen.models.diffusion.loading import load_generator
from snellen.systems.trigger_amplification import method
from snellen.systems.trigger_amplification.method import TriggerAmplification
from snellen.systems.trigger_amplification.views import generated_view, without_suspects
from tests.systems.trigger_amplification.poisoned_quadrants import classifier, drawn, image_set, poisoned, quadrants

SCAN = TriggerAmplification(generator="bundled:fashion-diffusion", count=80, pictures=4)


def scanned(monkeypatch, images, model, share, view=None, takes="classes"):
    generator = SimpleNamespace(takes=takes, name="toy generator")
    monkeypatch.setattr(method, "generator_of", lambda reference, device=None: generator)
    monkeypatch.setattr(method, "check_generator", lambda *_, **__: None)
    monkeypatch.setattr(method, "generated_view", lambda *_, **__: drawn(80, share) if view is None else view)
    return SCAN.scan(images, classifier=model, rng=Randomness(0))


def test_poison_is_reported_in_both_views_with_its_share_in_each(monkeypatch):
    images, choice, _ = poisoned()
    found = scanned(monkeypatch, images, classifier(), 0.5)
    assert "suspicious: class 'one', among its training images and generated images" in found.verdict
    assert found.figures["one: share among training images"] == pytest.approx(choice.training_share, abs=0.05)
    assert found.figures["one: share among generated images"] == pytest.approx(0.5, abs=0.05)
    assert found.figures["one: amplification"] == pytest.approx(0.5 / choice.training_share, rel=0.2)
    assert found.figures["one: share among generated images of other classes"] < 0.05
    assert found.figures["auroc among training images"] > 0.9
    rows = found.evidence.table.to_pylist()
    named = np.array([row["reason"] == "suspect" for row in rows if row["view"] == "training"])
    assert named[choice.mask].mean() > 0.9
    assert named[~choice.mask].mean() < 0.02
    assert len({(row["view"], row["example_id"]) for row in rows}) == 800 + 320
    assert len(found.pictures) == 4
    assert set(found.pictures[0].pictures) == {"generated", "training"}


def test_a_scan_of_the_training_set_takes_what_a_generator_draws_as_further_evidence(monkeypatch):
    images, _, _ = poisoned()
    asked = TrainingSet(generator=SCAN.generator, pictures=4)
    assert asked.reference_hashes() == SCAN.reference_hashes() != {}, "another generator makes another plan"
    both = scanned(monkeypatch, images, classifier(), 0.5)
    found = asked.scan(images, classifier=classifier(), rng=Randomness(0))
    assert (found.verdict, found.figures, found.statistic) == (both.verdict, both.figures, both.statistic)
    assert found.evidence.settings == ["training_set"]
    rows, others = (one.evidence.table.drop_columns("setting") for one in (found, both))
    assert rows.equals(others), "the same rows under the name of the scan"
    assert TrainingSet().reference_hashes() == {}
    with pytest.raises(ValueError, match="whitened and in 3 axes"):
        TrainingSet(generator=SCAN.generator, whiten=False)


def test_poison_that_only_the_generator_shows_names_training_images(monkeypatch):
    """Twenty poisoned images are too few to form a cluster that is reported; their generations are not."""
    images, choice, _ = poisoned()
    mask, labels = choice.mask, images.labels
    few = np.flatnonzero(~mask | (np.cumsum(mask) <= 12))
    found = scanned(monkeypatch, images.select(few), classifier(), 0.5)
    assert found.figures["classes reported among generated images"] == 1
    named = {row["example_id"] for row in found.evidence.table.to_pylist() if row["reason"] == "suspect"}
    assert len(named & {images.ids[row] for row in np.flatnonzero(mask)[:12]}) >= 10
    assert (labels[mask] == 0).all()


def test_a_clean_generator_and_a_clean_set_show_nothing(monkeypatch):
    found = scanned(monkeypatch, image_set(*quadrants(800)), classifier(False), 0.0)
    assert found.verdict.startswith(
        "no class is suspicious among 4 in the training images and 4 in the generated images"
    )
    assert "does not show" in found.verdict
    assert found.statistic == 0
    assert not found.pictures


def test_a_view_that_could_not_be_judged_is_named(monkeypatch):
    """No class of the generated images has enough: that is no finding about them."""
    few = drawn(80, 0.5).select(np.arange(30))
    found = scanned(monkeypatch, image_set(*quadrants(800)), classifier(False), 0.0, few)
    assert found.verdict == (
        "no class is suspicious among 4 in the training images, which does not show that they are free of poison; the "
        "generated images could not be judged: no class has 40 usable ones"
    )
    images, _, _ = poisoned()
    found = scanned(monkeypatch, images, classifier(), 0.5, few)
    assert "suspicious: class 'one', among its training images:" in found.verdict
    assert "generated images could not be judged" in found.verdict


def test_nothing_is_generated_for_too_few_training_images(monkeypatch):
    few = poisoned()[0].select(np.arange(60))
    monkeypatch.setattr(TriggerAmplification, "_drawn", lambda *_: pytest.fail("images were generated"))
    found = scanned(monkeypatch, few, classifier(), 0.5)
    assert found.verdict == (
        "nothing could be judged: no class has 40 usable training images, so no image was generated"
    )
    assert found.statistic is None, "nothing was judged, which is no share of 0"
    assert len(found.evidence.table) == 60


def test_a_generator_of_prompts_that_does_not_know_the_classes_is_refused_after_a_few_images(monkeypatch):
    images, counts = image_set(*quadrants(800)), []
    made = drawn(80, 0.0)
    turned = replace(made, table=made.table.set_column(
        made.table.column_names.index("label"), "label", made.table["label"].combine_chunks().take(
            np.random.default_rng(0).permutation(len(made)))))  # fmt: skip

    def view(*_, count, **__):
        counts.append(count)
        return turned.select(np.arange(4 * count))

    monkeypatch.setattr(
        method, "generator_of", lambda reference, device=None: SimpleNamespace(takes="prompts", name="p")
    )
    monkeypatch.setattr(method, "check_generator", lambda *_, **__: None)
    monkeypatch.setattr(method, "generated_view", view)
    with pytest.raises(
        InputError, match=r"p does not draw these classes: quadrants sees the requested class in \d+ of 40"
    ):
        SCAN.scan(images, classifier=classifier(False), rng=Randomness(0))
    assert counts == [10], "ten images of each of four classes, and not all of them"


def test_a_generator_of_prompts_that_knows_the_classes_is_scanned(monkeypatch):
    images, _, _ = poisoned()
    by_class, by_prompt = (scanned(monkeypatch, images, classifier(), 0.5, takes=one) for one in ("classes", "prompts"))
    assert by_prompt.verdict == by_class.verdict
    assert by_prompt.figures == by_class.figures


def two_classes_show_each_other():
    made = drawn(80, 0.0)
    labels = made.labels.copy()
    first, second = (np.flatnonzero(labels == one) for one in (1, 2))
    labels[first], labels[second] = 2, 1
    table = made.table.set_column(made.table.column_names.index("label"), "label", pa.array(labels.tolist()))
    return replace(made, table=table)


def test_a_class_that_a_generator_of_prompts_does_not_draw_is_not_judged(monkeypatch):
    images, made = image_set(*quadrants(800)), two_classes_show_each_other()
    found = scanned(monkeypatch, images, classifier(False), 0.0, made, takes="prompts")
    assert "4 in the training images and 2 in the generated images" in found.verdict
    assert found.verdict.endswith(
        "not judged among the generated images: 'two', 'three', which quadrants sees there no more often than in "
        "images of the other classes"
    )
    assert found.figures["share of generated images with the requested class"] == pytest.approx(0.5, abs=0.02)
    skipped = {row["label"] for row in found.evidence.table.to_pylist() if row["status"] == "skipped"}
    assert skipped == {1, 2}


def test_a_class_of_a_class_conditional_generator_is_judged_even_if_it_shows_another(monkeypatch):
    found = scanned(
        monkeypatch, image_set(*quadrants(800)), classifier(False), 0.0, two_classes_show_each_other(), takes="classes"
    )
    assert "4 in the generated images" in found.verdict
    assert found.verdict.endswith(
        "; view the generated images of 'two', 'three', which quadrants sees there no more often than in images of the "
        "other classes: they may show another class, as poison does, or be badly drawn"
    )
    assert not any(row["status"] == "skipped" for row in found.evidence.table.to_pylist())


def test_a_plan_says_that_generated_images_come_once(fashion):
    model, images = fashion
    scan = TriggerAmplification(generator="bundled:fashion-diffusion", count=40, steps=2, guidance=1)
    for method_of_scan in (scan, TrainingSet(generator="bundled:fashion-diffusion")):
        few, more = (snellen.plan(snellen.scan, model, images.limit(count), method_of_scan) for count in (100, 400))
        count = 40 if method_of_scan is scan else 100
        assert (few.queries, more.queries) == (100 + 10 * count, 400 + 10 * count)
    own = scan.cost(images, model).seconds
    assert own.once > 100 * own.each, "drawing 400 images takes longer than reading a hundred"
    assert TrainingSet().cost(images, model) is None


@pytest.mark.parametrize(("takes", "tried"), [("classes", 0), ("prompts", 40)])
def test_a_plan_draws_few_classes_and_counts_what_a_generator_of_prompts_is_tried_with(
    fashion, monkeypatch, takes, tried
):
    """The clock goes on by a second for each step of an image; reading takes none."""
    clock, requested = [0.0], []
    generator = load_generator("bundled:fashion-diffusion")

    def view(_, class_names, *, count, steps, **how):
        requested.append(len(class_names) * count)
        clock[0] += steps * len(class_names) * count
        return generated_view(generator, class_names, count=count, steps=1, **how)

    stand_in = SimpleNamespace(takes=takes, name="toy generator")
    monkeypatch.setattr(method, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(method, "generator_of", lambda reference, device=None: stand_in)
    monkeypatch.setattr(method, "check_generator", lambda *_, **__: None)
    monkeypatch.setattr(method, "generated_view", view)
    model, images = fashion
    scan = TriggerAmplification(generator="bundled:fashion-diffusion", count=40, steps=5, guidance=1)
    told = scan.cost(images, model)
    assert requested == [8, 8, 8], "one image of each of eight classes of ten"
    assert told.seconds.once == pytest.approx(5 * (10 * 40 + tried))
    assert told.queries.once == 10 * 40 + tried


@pytest.fixture(scope="module")
def fashion():
    return snellen.load_classifier("bundled:fashion-cnn"), snellen.load_images("bundled:fashion-mnist").limit(400)


def test_what_is_missing_is_no_number(monkeypatch):
    images, _, _ = poisoned()
    made = drawn(80, 0.5)
    alone = made.select(np.flatnonzero(made.labels == 0))
    found = scanned(monkeypatch, images, classifier(), 0.5, alone)
    assert found.figures["one: share among generated images of other classes"] is None
    other = made.select(np.flatnonzero(made.labels != 0))
    found = scanned(monkeypatch, images, classifier(), 0.5, other)
    assert found.figures["one: share among generated images"] is None
    assert found.figures["one: amplification"] is None
    assert "training images and no generated image of it is usable" in found.verdict, "a reported class is never lost"
    assert found.statistic is None


def test_images_without_a_signature_are_no_low_scores():
    images, choice, _ = poisoned()
    training = TrainingSet().inspect(images, classifier(), rng=Randomness(0))
    assert method._auroc(training, images)["auroc among training images"] > 0.9
    judged = {one: seen for one, seen in training.classes.items() if one != 0}
    assert method._auroc(replace(training, classes=judged), images) == {}, "no planted image has a signature"
    alone = replace(training, classes={0: training.classes[0]})
    rows = training.classes[0].rows
    wanted = auroc(choice.mask[training.rows[rows]], training.classes[0].scores)
    assert method._auroc(alone, images)["auroc among training images"] == pytest.approx(wanted)


def test_each_view_gets_half_of_alpha(monkeypatch):
    seen = []

    class Watched(method.TrainingSet):
        def model_post_init(self, context):
            seen.append(self.alpha)

    monkeypatch.setattr(method, "TrainingSet", Watched)
    scanned(monkeypatch, poisoned()[0].select(np.arange(200)), classifier(), 0.5)
    assert seen == [SCAN.alpha / 2]


def test_pictures_say_whether_their_neighbour_is_a_suspect(monkeypatch):
    images, choice, _ = poisoned()
    found = scanned(monkeypatch, images, classifier(), 0.5)
    assert all("nearest training image of the suspects: " in one.text for one in found.pictures)
    clean = images.select(np.flatnonzero(~choice.mask))
    found = scanned(monkeypatch, clean, classifier(), 0.5)
    assert found.pictures
    assert all("of its class, none of which is a suspect: " in one.text for one in found.pictures)


@pytest.mark.parametrize(
    ("generator", "steps", "message"),
    [("bundled:fashion-diffusion", 1, "has no class 'one'"), ("bundled:scene-diffusion", 5000, "steps are 1 to")],
)
def test_a_generator_that_cannot_be_used_is_refused_before_any_image_is_read(monkeypatch, generator, steps, message):
    def read(*_, **__):
        raise AssertionError("features were read")

    monkeypatch.setattr(method.TrainingSet, "inspect", read)
    scan = TriggerAmplification(generator=generator, steps=steps)
    with pytest.raises(InputError, match=message):
        scan.scan(poisoned()[0], classifier=classifier(), rng=Randomness(0))


def test_a_set_without_its_suspects_keeps_all_other_images(monkeypatch):
    images, choice, _ = poisoned()
    found = scanned(monkeypatch, images, classifier(), 0.5)
    kept = without_suspects(images, found.evidence)
    rows = found.evidence.table.to_pylist()
    named = {row["example_id"] for row in rows if row["reason"] == "suspect" and row["view"] == "training"}
    assert set(kept.ids) == set(images.ids) - named
    poison = {images.ids[row] for row in choice.indices}
    assert len(poison & set(kept.ids)) <= 0.1 * len(poison)
    assert len(kept) >= len(images) - 1.2 * len(poison)
    with pytest.raises(InputError, match="does not have; give the images of the scan"):
        without_suspects(images.select(np.flatnonzero(~choice.mask)), found.evidence)


def test_generated_images_carry_the_class_that_was_requested():
    generator = load_generator("bundled:fashion-diffusion")
    names = ("Bag", "Sandal")
    made = generated_view(
        generator, names, count=2, steps=1, guidance=2, prompt="{class_name}", rng=Randomness(0), batch_size=3
    )
    assert made.labels.tolist() == [0, 0, 1, 1]
    assert made.class_names == names
    assert len(set(made.ids)) == 4
    assert [json.loads(text)["prompt"] for text in made.column("provenance")] == ["Bag", "Bag", "Sandal", "Sandal"]
    assert {json.loads(text)["guidance_scale"] for text in made.column("provenance")} == {2.0}
    again = generated_view(
        generator, names, count=2, steps=1, guidance=2, prompt="{class_name}", rng=Randomness(0), batch_size=4
    )
    assert made.contents_fingerprint() == again.contents_fingerprint(), "the batch size changes nothing"


def test_a_generator_of_prompts_gets_the_words():
    generator = load_generator("bundled:scene-diffusion")
    made = generated_view(
        generator, ("star", "ring"), count=1, steps=1, guidance=2, prompt="a {class_name}", rng=Randomness(0)
    )
    assert [json.loads(text)["prompt"] for text in made.column("provenance")] == ["a star", "a ring"]


def test_what_is_missing_is_said():
    images, _, _ = poisoned()
    with pytest.raises(InputError, match="needs a generator that was trained on these images"):
        TriggerAmplification().scan(images, classifier=classifier(), rng=Randomness(0))
    with pytest.raises(InputError, match="name it before the images"):
        SCAN.scan(images, rng=Randomness(0))
    with pytest.raises(InputError, match="has no class 'one'"):
        SCAN.scan(images, classifier=classifier(), rng=Randomness(0))
    with pytest.raises(InputError, match="in its prompt"):
        SCAN.model_copy(update={"prompt": "a photo"}).scan(images, classifier=classifier(), rng=Randomness(0))
    bare = image_set(*quadrants(8))
    bare = replace(bare, table=bare.table.drop_columns(["label"]), class_names=None)
    with pytest.raises(InputError, match="needs labels"):
        SCAN.scan(bare, classifier=classifier(), rng=Randomness(0))
