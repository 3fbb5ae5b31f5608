"""Shortcuts are treated by training images without them: edited, or generated from what edits taught."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core.errors import InputError, ModelError
from snellen.core.finding import Finding
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.planting.truth import set_column
from snellen.methods.synthesis.by_name import ByName
from snellen.models.classifiers.trainable import trainable
from snellen.reproduction.language_guided_augmentation.experiment import pairs, world
from snellen.systems.language_guided_augmentation.augmenting import FewEditsWarning
from snellen.systems.language_guided_augmentation.check import Shortcuts
from snellen.systems.language_guided_augmentation.personalising import PRESETS, SMALL
from snellen.systems.language_guided_augmentation.treating import EditedShortcuts, PersonalisedImages, phrases_found
from snellen.training.evaluation import score_examples
from snellen.training.fine_tuning import TuningPlan
from snellen.training.students import store_to_measure
from snellen.treatments import EditedShortcuts as Public
from tests.systems.language_guided_augmentation.leaning import PLAN
from tests.systems.language_guided_augmentation.leaning import leaning_patient as patient


def finding(name, phrase, *merged):
    facts = {"class": name, "phrase": phrase, "merged": json.dumps([phrase, *merged])}
    return Finding(kind="shortcut", subject=f"{name}: {phrase}", harm=0.3, title="planted", facts=facts)


GRASS, SAND = finding("star", "grass", "lawn"), finding("ring", "sand")
TUNING = TuningPlan(epochs=12, batch_size=32, rate=0.03)


def network_of(case):
    return trainable(case.classifier)


def worst(network):
    test = world("test", 200, 0.5, 9)
    scores, targets = score_examples(network.eval(), store_to_measure(test, PLAN))
    right, groups = (scores.argmax(1) == targets).double(), pairs(test)
    return min(float(right[groups == group].mean()) for group in groups.unique())


def test_edits_are_those_of_the_class_and_phrase_that_were_found():
    case = patient(GRASS)
    images, places = EditedShortcuts().edits(case)
    assert Public is EditedShortcuts
    labels = dict(zip(case.images.ids, case.images.labels.tolist(), strict=True))
    grounds = dict(zip(case.images.ids, case.images.column("group"), strict=True))
    on_grass = {key for key in labels if labels[key] == 0 and grounds[key] == "grass"}
    assert set(places) == on_grass, "stars on grass, and neither rings nor stars on sand"
    assert [len(own) for own in places.values()] == [1] * len(places), "the harmless circle is no part of it"
    records = dict(zip(case.images.ids, case.images.column("attributes"), strict=True))
    key = next(iter(places))
    scene = Scene.from_json(records[key])
    from snellen.data.worlds.optotypes.rendering import render

    sand = render([scene.model_copy(update={"background": "sand"})], 32).pixels[0]
    assert torch.equal(images[places[key][0]], sand), "the recipe of the audit: the same scene on another background"
    few, some = EditedShortcuts(most=5).edits(case)
    assert (len(few), sum(map(len, some.values()))) == (5, 5)


def test_the_transform_shows_edits_of_those_images_alone():
    case = patient(GRASS)
    _, places = EditedShortcuts().edits(case)
    (change,) = EditedShortcuts().term(case, rng=Randomness(0)).transforms
    store = case.training
    images, targets = store.read(torch.arange(len(store)))
    shown, same = change(images.float() / 255, targets, Randomness(0).for_examples(store.ids))
    assert torch.equal(same, targets)
    changed = ((shown * 255).round().byte() != images).flatten(1).any(1)
    assert {store.ids[row] for row in changed.nonzero().flatten().tolist()} == set(places)


def test_training_on_edits_helps_the_worst_group():
    case = patient(GRASS, SAND)
    before = worst(network_of(case))
    after = worst(EditedShortcuts(plan=TUNING).treat(network_of(case), case, rng=Randomness(0)))
    assert before < 0.6
    assert after > before + 0.1


def test_generated_images_are_made_once_and_from_the_tokens(monkeypatch):
    monkeypatch.setitem(PRESETS, "small", SMALL.model_copy(update={"steps": 2, "batch_size": 2, "crops": 1}))
    case = patient(GRASS, SAND, maker=ByName(steps=2))
    one = PersonalisedImages(count=3, plan=TuningPlan(epochs=1, batch_size=32))
    made = one.made(case, Randomness(0))
    assert one.made(case, Randomness(1)) is made
    assert made.class_names == case.classifier.class_names
    assert np.bincount(made.labels).tolist() == [3, 3]
    assert {json.loads(origin)["prompt"] for origin in made.column("provenance")} == {"a <star>", "a <ring>"}
    network = network_of(case)
    weights = [tensor.clone() for tensor in network.state_dict().values()]
    treated = one.treat(network, case, rng=Randomness(0))
    assert any(not torch.equal(*pair) for pair in zip(weights, treated.state_dict().values(), strict=True))


def test_a_class_with_few_edits_is_given_these_alone(monkeypatch):
    monkeypatch.setitem(PRESETS, "small", SMALL.model_copy(update={"steps": 1, "batch_size": 2, "crops": 1}))
    case = patient(GRASS, SAND, maker=ByName(steps=1), check=Shortcuts(support=3, first=3))
    with pytest.warns(
        FewEditsWarning, match=r"fewer than 5 .* token: star \(3\), ring \(3\); their edited images alone"
    ):
        made = PersonalisedImages(count=3).made(case, Randomness(0))
    assert np.bincount(made.labels).tolist() == [3, 3]
    assert set(made.column("provenance")) == {None}, "none is generated"


def test_only_classes_that_were_found_get_images(monkeypatch):
    monkeypatch.setitem(PRESETS, "small", SMALL.model_copy(update={"steps": 1, "batch_size": 2, "crops": 1}))
    made = PersonalisedImages(count=2).made(patient(SAND, maker=ByName(steps=1)), Randomness(0))
    assert set(made.labels.tolist()) == {1}


@pytest.mark.covers("4.9")
def test_no_group_is_read_by_a_treatment(monkeypatch):
    asked = []
    plain = type(world("train", 2, 0.95, 0)).column
    monkeypatch.setattr(
        "snellen.core.images.ImageSet.column", lambda self, name: (asked.append(name), plain(self, name))[1]
    )
    monkeypatch.setitem(PRESETS, "small", SMALL.model_copy(update={"steps": 1, "batch_size": 2, "crops": 1}))
    case = patient(GRASS, SAND, maker=ByName(steps=1))
    asked.clear()
    EditedShortcuts().edits(case)
    PersonalisedImages(count=1).made(case, Randomness(0))
    assert asked
    assert "group" not in asked


def test_what_cannot_be_treated_says_why(tmp_path):
    network = None
    case = patient(GRASS)
    assert EditedShortcuts().refusal(network, case) is None
    assert "needs a generator" in PersonalisedImages().refusal(network, case)
    absent = patient(finding("star", "brick"))
    assert EditedShortcuts().refusal(network, absent) == "finds no training image that shows star: brick"
    silent = patient(GRASS, images=captioned(world("train", 40, 0.95, 3), None))
    assert "edits training images as the audit did, and that needs captions" in EditedShortcuts().refusal(
        network, silent
    )
    classes = replace(case, generator=ByName(generator="bundled:fashion-diffusion"))
    assert "one text tower" in PersonalisedImages().refusal(network, classes)
    adapted = replace(case, generator=ByName(adapter=tmp_path))
    assert "leave out --adapter" in PersonalisedImages().refusal(network, adapted)
    assert EditedShortcuts().refusal(network, replace(case, images=None)) == "needs training images (--train DATA)"
    blind = replace(case, generator=ByName(), findings=(finding("ring", "brick"),))
    blind.checks["shortcuts"] = Shortcuts(support=10_000)
    with pytest.raises(InputError, match="no edit of a training image changes a decision for ring"):
        PersonalisedImages().made(blind, Randomness(0))


def captioned(images, caption):
    return replace(images, table=set_column(images.table, "caption", pa.array([caption] * len(images), pa.string())))


def test_spellings_of_a_phrase_are_read_from_the_finding():
    assert phrases_found(patient(GRASS, SAND)) == {"star": ["grass", "lawn"], "ring": ["sand"]}
    other = Finding(kind="worst_class", subject="star", harm=0.3, title="planted")
    assert phrases_found(patient(other)) == {}


def test_colons_and_commas_of_classes_and_phrases_are_no_separators():
    odd = finding("star: red", "a box, open: left", "box, open")
    assert phrases_found(patient(odd)) == {"star: red": ["a box, open: left", "box, open"]}
    facts = {"merged": "grass, lawn"}
    earlier = Finding(kind="shortcut", subject="star: grass", harm=0.3, title="planted", facts=facts)
    assert phrases_found(patient(earlier)) == {"star": ["grass", "lawn"]}


def test_tokens_learn_from_edits_of_phrases_that_were_found_alone(monkeypatch):
    """The student flips on grass; a finding about its circle gives a generator no image without grass."""
    monkeypatch.setitem(PRESETS, "small", SMALL.model_copy(update={"steps": 1, "batch_size": 2, "crops": 1}))
    one, case = PersonalisedImages(count=1), patient(GRASS, maker=ByName(steps=1))
    phrases = {key.rpartition("/")[2] for key in one._selected(case, Randomness(0), Silent()).ids}
    assert phrases == {"grass"}
    other = patient(finding("star", "white circle"), maker=ByName(steps=1))
    with pytest.raises(InputError, match=r"changes a decision for star \(white circle\)"):
        one._selected(other, Randomness(0), Silent())


def test_captions_of_a_bounded_number_of_images_are_read(monkeypatch):
    case, read, plain = patient(GRASS), [], Shortcuts.read

    def watched(self, images, rows, *rest):
        read.append(len(rows))
        return plain(self, images, rows, *rest)

    monkeypatch.setattr(Shortcuts, "read", watched)
    few = EditedShortcuts(read=30)
    assert few.refusal(None, case) is None
    assert 0 < len(few.edits(case)[1]) <= 30
    assert read == [30], "once for a patient"
    EditedShortcuts().refusal(None, case)
    assert read == [30, 120], "other settings read for themselves"
    assert "of 30 training images" in few.refusal(None, patient(finding("star", "brick")))


def test_a_reader_that_does_not_answer_is_a_reason_and_no_crash(monkeypatch):
    def broken(*_, **__):
        raise ModelError("no answer from the server")

    monkeypatch.setattr(Shortcuts, "read", broken)
    why = EditedShortcuts().refusal(None, patient(GRASS))
    assert why == "cannot read captions of the training images: no answer from the server"


@pytest.mark.parametrize(
    ("preset", "maker", "expected"),
    [("small", {}, 2.0), ("published", {}, 7.5), ("published", {"guidance_scale": 3.0}, 3.0)],
)
def test_guidance_is_that_of_the_preset_unless_the_caller_set_one(monkeypatch, preset, maker, expected):
    tiny = {"steps": 1, "batch_size": 2, "crops": 1, "word": "a"}
    monkeypatch.setitem(PRESETS, preset, PRESETS[preset].model_copy(update=tiny))
    case = patient(GRASS, maker=ByName(steps=1, templates=("a {}",), **maker))
    made = PersonalisedImages(count=1, preset=preset).made(case, Randomness(0))
    assert {json.loads(one)["guidance_scale"] for one in made.column("provenance")} == {expected}
