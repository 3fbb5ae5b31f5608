"""snellen.shift_nuisance: trajectories as files, what classifiers make of them, and every way in which it can stop."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RunConflictError
from snellen.core.formats import FORMATS
from snellen.core.preprocessing import Preprocessing
from snellen.methods.generation.made_images import generator_of, identities_of
from snellen.methods.synthesis.avoided_failures import RECORD as FAILURES
from snellen.systems.continuous_nuisance import nuisance_images
from snellen.systems.continuous_nuisance import objects as nuisance_objects
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.nuisance_images import shift_nuisance
from snellen.systems.continuous_nuisance.nuisance_set import RECORD
from snellen.systems.continuous_nuisance.presets import IMAGENET, filled_in
from snellen.systems.continuous_nuisance.slider import CARD, SMALL_FIT, SliderFit
from tests.verbs.stopping import Stopping, contents

STRENGTHS = (0.0, 1.0, 2.0)
CLASSES = ("ring", "star")
#: Trainings of one step: what is tested here is not what sliders learn.
FIT = SliderFit(iterations=1, batch_size=1, steps=2)


class Bright(nn.Module):
    """Calls bright images rings, and gives nothing finite where ``blind`` says so."""

    def __init__(self, blind=2.0):
        super().__init__()
        self.blind = blind

    def forward(self, images):
        mean = images.mean((1, 2, 3))
        scores = torch.stack([mean - 0.45, 0.45 - mean], 1) * 10
        return torch.where(mean[:, None] > self.blind, torch.nan, scores)


def model(name="bright", blind=2.0):
    return Classifier(Bright(blind), class_names=list(CLASSES), preparation=Preprocessing(size=(32, 32)), name=name)


def method(sliders, **fields):
    asked = {"concept": ("fog", "plain=on grass"), "strengths": STRENGTHS, "classes": CLASSES, "steps": 2, "fit": FIT}
    asked["guidance_scale"] = 1.0
    return ContinuousNuisance(sliders=str(sliders), **{**asked, **fields})


@dataclass
class Made:
    result: object
    folder: Path
    sliders: Path

    def again(self, **changed):
        options = {"out": self.folder, "seeds": 2, "reference_model": "bright"} | changed
        return shift_nuisance(method(self.sliders), [model(), model("second")], **options)


@pytest.fixture(scope="module", autouse=True)
def _few():
    """Thresholds from few things."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nuisance_objects, "CALIBRATING", 1)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nuisance")
    made = Made(None, folder / "made", folder / "sliders")
    made.result = made.again()
    return made


# -- what is written ---------------------------------------------------------------------------------------------------


def test_the_manifest_is_a_data_set_of_the_trajectories_that_are_kept(made):
    with (made.folder / "manifest.csv").open() as stream:
        kept = list(csv.DictReader(stream))
    rejected = []
    if (made.folder / "rejected.csv").exists():
        with (made.folder / "rejected.csv").open() as stream:
            rejected = list(csv.DictReader(stream))
    assert len(kept) == sum(made.result.kept.values()) * len(STRENGTHS)
    assert len(rejected) == len(made.result.rejected) * len(STRENGTHS)
    assert len(kept) + len(rejected) == 2 * 2 * 2 * len(STRENGTHS)
    for row in (*kept, *rejected):
        shift, strength, class_name, number = row["id"].split("/")
        told = json.loads(row["attributes"])
        assert row["path"] == f"{shift}/{strength}/{class_name}/{number}.png"
        assert (row["label"], row["group"], row["unit_id"]) == (class_name, shift, f"{class_name}/{number}")
        assert (told["class"], told["concept"], told["strength"]) == (class_name, shift, float(strength))
        assert (made.folder / row["path"]).is_file()
        assert json.loads(row["provenance"])["accepted"] is (row in kept)
    seeds = {row["unit_id"]: json.loads(row["attributes"])["seed"] for row in (*kept, *rejected)}
    assert len(set(seeds.values())) == 4, "each thing has a noise of its own, and one under all shifts"


def test_strength_0_is_one_image_under_all_shifts(made):
    for class_name in CLASSES:
        first, second = (
            (made.folder / shift / "0" / class_name / "0001.png").read_bytes() for shift in ("fog", "plain")
        )
        assert first == second
    assert len({path.read_bytes() for path in (made.folder / "fog" / "0").rglob("*.png")}) == 4


def test_figures_are_those_of_the_written_images(made):
    evidence = made.result.evidence
    classifier, figures = model(), made.result.figures["bright"]
    assert figures.keys() == {shift for shift, count in made.result.kept.items() if count}
    assert figures, "nothing is tested here where the filter keeps nothing"
    rejected = {one.id for one in made.result.rejected}
    for shift, found in figures.items():
        things = [f"{name}/{number:04d}" for name in CLASSES for number in (1, 2)]
        kept = [thing for thing in things if f"{shift}/{thing}" not in rejected]
        right = []
        for strength in STRENGTHS:
            pictures = [Image.open(made.folder / shift / f"{strength:g}" / f"{thing}.png") for thing in kept]
            scores = classifier(torch.stack([classifier.prepare(picture) for picture in pictures]))
            right.append(scores.argmax(1).numpy() == [CLASSES.index(thing.split("/")[0]) for thing in kept])
        means = np.mean(right, axis=1)
        assert [point.accuracy for point in found.curve] == pytest.approx(means)
        assert [point.drop for point in found.curve] == pytest.approx(means[0] - means)
        first = [next((s for s, row in zip(STRENGTHS, right, strict=True) if not row[at]), 3.0)
                 for at in range(len(kept))]  # fmt: skip
        assert found.failures.never == 3.0
        assert found.failures.margin == pytest.approx(3.0 - np.mean(first))
        assert sum(found.failures.histogram.values()) == len(kept)
    invalid = evidence.where(status="invalid").table.to_pylist()
    assert {row["example_id"] for row in invalid} == rejected
    assert len(evidence) == 2 * 8 * len(STRENGTHS)


def test_a_model_beside_itself_loses_as_much_and_changes_no_places(made):
    for found in made.result.figures["second"].values():
        assert found.relative_error in (None, pytest.approx(1.0))
    assert all(order.changes == () for order in made.result.orders.values())
    assert made.result.mean_relative_error.keys() == {"bright", "second"}


def test_sheets_show_every_strength(made):
    for shift in ("fog", "plain"):
        with Image.open(made.folder / f"contact-sheet-{shift}.png") as sheet:
            assert sheet.width > len(STRENGTHS) * 100
    assert {*made.result.files} >= {"manifest.csv", "evidence.parquet", "contact-sheet-fog.png"}


# -- again, and stopped ------------------------------------------------------------------------------------------------


def test_the_same_call_again_writes_nothing_and_another_is_refused(made):
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*")}
    assert made.again().to_json() == made.result.to_json()
    assert {path: path.stat().st_mtime_ns for path in made.folder.rglob("*")} == before
    with pytest.raises(RunConflictError, match=r"another set of nuisance trajectories \(differs in: seeds\)"):
        made.again(seeds=4)


def test_a_call_that_was_stopped_goes_on_and_ends_with_the_same_bytes(made, tmp_path, monkeypatch):
    monkeypatch.setattr(nuisance_images, "OBJECTS_PER_SHARD", 2)
    with pytest.raises(KeyboardInterrupt):
        made.again(out=tmp_path / "made", progress=Stopping(1, "trajectories"))
    assert not (tmp_path / "made" / RECORD).exists()
    # A file that is gone, and one that somebody changed: their shard is made again.
    first = sorted((tmp_path / "made" / "fog").rglob("*.png"))
    first[0].unlink()
    first[1].write_bytes(b"changed")
    made.again(out=tmp_path / "made")
    left, whole = contents(tmp_path / "made"), contents(made.folder)
    assert {name for name in whole if name.endswith(".png")} == {name for name in left if name.endswith(".png")}
    # Images of other batches may differ in the last bit before they are rounded.
    assert left["manifest.csv"] == whole["manifest.csv"]
    assert not (tmp_path / "made" / "unfinished").exists()


def test_a_folder_with_something_else_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is not empty and holds no set of nuisance trajectories"):
        shift_nuisance(method(tmp_path / "sliders"), out=tmp_path / "out")
    assert not (tmp_path / "sliders").exists()
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


# -- nothing left, nothing finite --------------------------------------------------------------------------------------


def test_where_the_filter_keeps_nothing_there_are_no_figures_and_the_reason_is_reported(made, tmp_path):
    high = dict.fromkeys(("class", "class and shift", "reference", "second reference"), 1000.0)
    asked = method(made.sliders, concept=("fog",), thresholds=high)
    result = shift_nuisance(asked, [model()], out=tmp_path / "none", seeds=1)
    assert result.kept == {"fog": 0}
    assert [one.id for one in result.rejected] == ["fog/ring/0001", "fog/star/0001"]
    assert result.rejected[0].reason == "at strength 0, 0 of 4 scores exceed their thresholds, and 2 must"
    assert result.figures == {"bright": {}}
    assert any("no trajectory under fog is left" in note for note in result.notes)
    assert (tmp_path / "none" / "contact-sheet-fog.png").is_file()
    assert (tmp_path / "none" / "manifest.csv").read_text().count("\n") == 1


def test_scores_that_are_not_finite_are_no_failures(made, tmp_path):
    asked = method(made.sliders, concept=("fog",))
    blind = model("blind", blind=-1.0)
    result = shift_nuisance(asked, [model(), blind], out=tmp_path / "blind", seeds=1, filter=False)
    assert result.thresholds == {}
    assert result.kept == {"fog": 2}
    assert result.figures["blind"] == {}
    assert result.figures["bright"]["fog"].curve[0].n == 2
    assert result.orders == {}
    assert any("6 answers had scores that are not finite" in note for note in result.notes)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({"classes": ("rnig", "star")}, {"classifiers": []}, "'rnig'.*did you mean 'ring'"),
        ({"concept": ("in snwo",)}, {}, "snwo"),
        ({"concept": ()}, {}, "needs a shift"),
        ({"classes": ()}, {"classifiers": []}, "there are no classes"),
        ({"classes": ("ring", "ring")}, {}, "name each class once"),
        ({"classes": ("ring", "heart")}, {}, "bright knows no class 'heart'.*its classes: ring, star"),
        ({"classes": ("ring",)}, {}, "images of other classes, and there is 'ring' alone"),
        ({}, {"reference_model": "alexnet"}, r"one of the classifiers \(bright\); got 'alexnet'"),
        ({}, {"seeds": 0}, "seeds is at least 1"),
        ({}, {"thresholds_from": "nowhere"}, "thresholds come from others or given"),
        ({}, {"classifiers": [model(), model()]}, "need different names"),
        ({"generator": "diffusers:nowhere"}, {}, "--text-image and --second-encoder, or --no-filter"),
        (
            {"second_encoder": "bundled:scene-cnn", "text_image": "bundled:scene-clip"},
            {"classifiers": ["bundled:scene-cnn"]},
            "encoder of the filter too",
        ),
    ],
)
def test_what_cannot_be_is_one_clear_message_and_writes_nothing(made, tmp_path, fields, options, message):
    asked = {"classifiers": [model()], **options}
    asked["classifiers"] = [
        snellen.load_classifier(one) if isinstance(one, str) else one for one in asked["classifiers"]
    ]
    with pytest.raises(InputError, match=message):
        shift_nuisance(method(made.sliders, **fields), out=tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


# -- presets -----------------------------------------------------------------------------------------------------------


def test_presets_fill_in_what_is_left_out_and_nothing_else(tmp_path):
    options = {"class_names": ("a", "b"), "sliders": tmp_path / "kept"}
    scenes = filled_in(ContinuousNuisance(concept=("fog",), steps=7), None, filter=True, **options)
    assert (scenes.steps, scenes.guidance_scale, scenes.fit, scenes.classes) == (7, 2.0, SMALL_FIT, ("a", "b"))
    assert scenes.sliders == str(tmp_path / "kept")
    towers = {"text_image": "hf:clip", "second_encoder": "hf:dinov2"}
    own = ContinuousNuisance(generator="diffusers:sd2", template="a photo of {}", classes=("tench",), **towers)
    published = filled_in(own, "imagenet", filter=True, **options)
    assert published.concept == IMAGENET.shifts
    assert len(published.concept) == 14
    assert (published.template, published.classes, published.quirk) == ("a photo of {}", ("tench",), True)
    assert (published.negative, published.guidance_scale, published.steps, published.gate) == (
        IMAGENET.negative, 7.5, 50, 750.0,
    )  # fmt: skip
    assert (published.fit, published.thresholds) == (SliderFit(size=512), dict(IMAGENET.thresholds))
    assert (published.size, published.kept_size, published.sliders_for, published.dtype) == (
        512,
        256,
        "each",
        "bfloat16",
    )
    plain = filled_in(own, None, filter=False, **options)
    assert (plain.concept, plain.text_image, plain.second_encoder, plain.fit) == ((), None, None, None)


def test_sliders_that_are_missing_are_trained_like_those_that_are_there(made, tmp_path):
    (card,) = {json.dumps(json.loads(path.read_text())["fit"]) for path in made.sliders.glob(f"*/{CARD}")}
    options = {"class_names": CLASSES, "sliders": made.sliders, "filter": False}
    assert filled_in(ContinuousNuisance(concept=("blur",)), None, **options).fit == SliderFit(**json.loads(card))
    (tmp_path / ".fog.unfinished").mkdir()
    (tmp_path / ".fog.unfinished" / CARD).write_text("{")
    options["sliders"] = tmp_path
    assert filled_in(ContinuousNuisance(concept=("blur",)), None, **options).fit == SMALL_FIT


# -- what the generator is known to fail at ----------------------------------------------------------------------------


def failures(folder, classes=(), words=(), weights=None):
    """A record of ``snellen scan generator``: classes that fail by themselves, and words that lose a class."""
    searches = [
        {"label": one, "class_fails": True, "rival": False, "not_run": f"6 of 8 images of {one} fail"}
        for one in classes
    ]
    cases = [
        {"name": f"prompts-{label}", "space": "prompts", "label": label, "added": [word], "confirmed": None}
        for label, word in words
    ]
    plan = {"weights": weights or identities_of(generator_of("bundled:scene-diffusion"))}
    folder.mkdir()
    content = FORMATS[FAILURES].stamped({"plan": plan, "searches": searches, "cases": cases})
    (folder / FAILURES).write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_class_under_a_shift_that_is_known_to_fail_is_skipped_and_the_rest_stays_the_same(made, tmp_path):
    avoid = failures(tmp_path / "found", words=[("ring", "fog")])
    asked = method(made.sliders, avoid=avoid)
    few = shift_nuisance(asked, [model()], out=tmp_path / "made", seeds=2, filter=False, contact_sheet=False)
    paths = {path.relative_to(tmp_path / "made").parts[:3:2] for path in (tmp_path / "made").rglob("*.png")}
    assert paths == {("fog", "star"), ("plain", "star"), ("plain", "ring")}
    assert few.kept == {"fog": 2, "plain": 4}
    assert len(few.evidence) == 6 * len(STRENGTHS)
    (told,) = [note for note in few.notes if "was not made" in note]
    assert told == "ring under fog was not made: the generator loses 'ring' in prompts with 'fog' (case prompts-ring)"
    whole = shift_nuisance(method(made.sliders), [model()], out=tmp_path / "whole", seeds=2, filter=False)
    assert whole.figures["bright"]["plain"] == few.figures["bright"]["plain"]
    with pytest.raises(InputError, match=r"request 'a' is for ring under fog: .* loses 'ring'"):
        asked.check([{"id": "a", "class": "ring", "concept": "fog"}])


def test_a_class_that_fails_by_itself_is_left_out_and_nothing_of_nothing_is_refused(made, tmp_path):
    avoid = failures(tmp_path / "found", classes=["ring"], words=[("star", "fog")])
    left, reasons = nuisance_objects.without_failures(method(made.sliders, avoid=avoid))
    assert (left.classes, left.concept) == (("star",), ("plain=on grass",))
    assert len(reasons) == 3
    every = failures(tmp_path / "every", classes=CLASSES)
    with pytest.raises(InputError, match="nothing is left to generate, the first reason: the generator fails at"):
        nuisance_objects.without_failures(method(made.sliders, avoid=every))
    others = failures(tmp_path / "others", classes=["ring"], weights={"denoiser": "0"})
    with pytest.raises(InputError, match="failures of another generator"):
        nuisance_objects.without_failures(method(made.sliders, avoid=others))
