"""The command: a control is fitted once and kept, balanced sets come exactly, and what does not fit is refused."""

import json

import pytest
import torch
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.models.diffusion.sampler import seeded
from snellen.systems.distributional_control import fitted_folder, guides
from snellen.systems.distributional_control import method as method_file
from snellen.systems.distributional_control.control import load_control
from snellen.systems.distributional_control.fitted_folder import shares_from
from snellen.systems.distributional_control.method import DistributionalControl

FIT = {"steps": 3, "batch_size": 4, "blocks": 2, "hidden": 8, "check_every": 1, "checked": 16, "warm_up": 0.0}
COLOURS = ("red", "green", "blue")


def requested(folder, **options):
    given = {"words": COLOURS, "template": "a {} shape", "shares": "uniform", "fit": FIT, "samples": 256}
    return DistributionalControl(control=str(folder), **{**given, **options})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls") / "balanced"
    requested(folder).make_ready()
    return folder


def test_a_balanced_set_comes_out_of_one_call(fitted, tmp_path):
    made = snellen.generate(requested(fitted), "classes:?count=3", out=tmp_path / "made")
    images = snellen.load_images(made.manifest)
    assert images.class_names == tuple(sorted(COLOURS))
    judge = guides.judge_of(requested(fitted))
    accepted = [json.loads(text)["accepted"] for text in images.column("provenance")]
    assert all(accepted)
    names = [images.class_names[label] for label in images.labels]
    assert {name: names.count(name) for name in COLOURS} == dict.fromkeys(COLOURS, 3)
    pixels = torch.stack([judge.prepare(images.read(row)) for row in range(len(images))])
    assert [judge.class_names[place] for place in judge(pixels).argmax(1)] == names, (
        "labels are what the classifier sees"
    )
    draws = [json.loads(text)["draws"] for text in images.column("attributes")]
    assert min(draws) == 1 < max(draws), "rare classes are drawn again"
    assert any("effective_sample_size" in note for note in made.notes)


def test_draws_without_a_class_are_draws_of_the_control(fitted):
    method = requested(fitted)
    rows = [{"id": str(number), "seed": number} for number in range(6)]
    whole = method.generate(rows, rng=Randomness(0))
    parts = [method.generate([row], rng=Randomness(0)) for row in rows]
    for row, one in enumerate(parts):
        assert whole.read(row).tobytes() == one.read(0).tobytes(), "a batch changes nothing"
    control = load_control(fitted)
    noise = seeded(range(6)).child("draw", 0).normal("control", (16,))
    expected = (control.images_of(noise) * 255).round().to(torch.uint8)
    found = torch.stack([torch.frombuffer(bytearray(whole.read(row).tobytes()), dtype=torch.uint8) for row in range(6)])
    assert torch.equal(found.view(6, 32, 32, 3).permute(0, 3, 1, 2), expected)


def test_a_request_whose_class_never_comes_is_marked_and_labelled_with_what_it_shows(fitted, monkeypatch):
    own = method_file.class_probabilities

    def never_blue(classifier, images):
        found = own(classifier, images)
        return torch.cat([found[:, :2], torch.zeros_like(found[:, :1])], 1)

    monkeypatch.setattr(method_file, "class_probabilities", never_blue)
    made = requested(fitted, tries=3).generate([{"id": "a", "class": "blue"}], rng=Randomness(0))
    assert made.class_names == COLOURS
    assert COLOURS[int(made.labels[0])] != "blue"
    provenance = json.loads(made.column("provenance")[0])
    assert provenance["accepted"] is False
    assert provenance["reason"] == "3 draws showed no blue"


def test_a_fitted_control_is_read_and_never_fitted_again(fitted, monkeypatch):
    monkeypatch.setattr(fitted_folder, "fit_wanted", lambda *_, **__: pytest.fail("fitted again"))
    requested(fitted).make_ready(Silent())
    DistributionalControl(control=str(fitted)).make_ready()
    with pytest.raises(InputError, match=r"was fitted with shares .* name another folder"):
        requested(fitted, shares="red=0.5,green=0.25,blue=0.25").make_ready()
    with pytest.raises(InputError, match=r"truncation 1\.0, not 0\.7"):
        requested(fitted, truncation=0.7).make_ready()
    with pytest.raises(InputError, match="belongs to one generator"):
        requested(fitted, generator="bundled:scene-diffusion?steps=1").make_ready()


def test_a_second_control_goes_on_top_of_a_first(fitted, tmp_path):
    second = requested(tmp_path / "second", generator=f"control:{fitted}", shares="", classes=("blue",))
    made = second.generate([{"id": "a"}], rng=Randomness(0))
    assert len(made) == 1
    again = load_control(tmp_path / "second")
    assert again.generator.name == f"control:{fitted}"
    assert again.target["classes"] == {"blue": 1.0}


def test_a_text_alone_needs_no_classifier_and_gives_no_labels(tmp_path):
    method = DistributionalControl(control=str(tmp_path / "text"), text="a star", views=2, fit=FIT, text_weight=10.0)
    made = method.generate([{"id": "a"}, {"id": "b"}], rng=Randomness(0))
    assert not made.has_labels
    assert made.column("caption") == ["a star", "a star"]
    assert method.known_classes() == ()
    assert load_control(tmp_path / "text").target["text_weight"] == 10.0
    with pytest.raises(InputError, match="names class 'star'; there are none"):
        method.check([{"id": "a", "class": "star"}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": ""}, "needs the folder of the control"),
        ({"shares": ""}, "needs what is wanted"),
        ({"words": ()}, "needs a classifier of what is wanted"),
    ],
)
def test_what_is_missing_is_said(tmp_path, options, message):
    assert message in requested(tmp_path / "x").model_copy(update=options).missing()


def test_what_cannot_be_queried_is_refused(tmp_path, fitted):
    with pytest.raises(InputError, match="give one of them"):
        snellen.generate(
            {"method": "promptgen", "control": "x", "classifier": "bundled:scene-cnn", "words": ["a"]},
            "draws:1",
            out=tmp_path / "o",
        )
    with pytest.raises(InputError, match="has a prompt, and a control draws one distribution"):
        requested(fitted).check([{"id": "a", "prompt": "a star"}])
    with pytest.raises(InputError, match="names class 'pink'; there are red, green, blue"):
        requested(fitted).check([{"id": "a", "class": "pink"}])
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="holds no control"):
        requested(tmp_path / "other").make_ready()
    for text in ("half", "red=", "=0.5", "red=x"):
        with pytest.raises(InputError, match="shares are 'uniform' or NAME="):
            shares_from(text)
    with pytest.raises(InputError, match=r"'blue' has .* effective sample size of"):
        requested(tmp_path / "never", shares="blue=1", samples=64).make_ready()
    assert not (tmp_path / "never").exists()


def test_labels_are_those_of_another_judge_where_one_is_named(fitted, tmp_path, monkeypatch):
    circular = [note for note in requested(fitted).notes() if "which guided the control" in note]
    assert len(circular) == 1
    guide = guides.guide_of(requested(fitted))
    other = Classifier(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        class_names=["blue", "grey", "red"],
        preparation=Preprocessing(size=(32, 32)),
        name="other",
    )
    monkeypatch.setattr(guides, "classifier_of", lambda reference: other)
    with pytest.raises(InputError, match="has no green"):
        guides.judge_of(requested(fitted, judge="other"))
    other = Classifier(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        class_names=["green", "blue", "red"],
        preparation=Preprocessing(size=(32, 32)),
        name="other",
    )
    method = requested(fitted, judge="other")
    made = method.generate([{"id": str(n)} for n in range(20)], rng=Randomness(0))
    pixels = torch.stack([other.prepare(made.read(row)) for row in range(20)])
    expected = [other.class_names[place] for place in pixels.mean((2, 3)).argmax(1)]
    assert [made.class_names[label] for label in made.labels] == expected
    seen = guide(torch.stack([guide.prepare(made.read(row)) for row in range(20)])).argmax(1)
    assert [guide.class_names[place] for place in seen] != expected, "the guide sees something else"
    assert not any("which guided the control" in note for note in method.notes())
    assert set(method.identities()) == {"control", "classifier", "judge"}
    with pytest.raises(InputError, match="a judge is another network"):
        guides.judge_of(requested(fitted, judge="towers:bundled:scene-clip"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "a {} ring"}, "the guide .* or other texts or weights"),
        ({"words": ("red", "green", "yellow")}, "red, green, yellow"),
        ({"fit": {**FIT, "steps": 4}}, r"a fit with steps 3, not 4"),
        ({"samples": 300}, "samples 256, not 300"),
        ({"fit": None, "preset": "published"}, "a fit with steps 3, not 320"),
    ],
)
def test_an_old_control_is_no_answer_to_another_wish(fitted, options, message):
    with pytest.raises(InputError, match=message):
        requested(fitted, **options).make_ready()


def test_the_card_names_who_guided(fitted, tmp_path):
    card = json.loads((fitted / "card.json").read_text())
    target = card["lineage"]["recipe"]["target"]
    guide = guides.guide_of(requested(fitted))
    assert (target["guide"], target["guide_name"]) == (guide.identity, guide.name)
    assert card["name"] == fitted.name
    assert [path.name for path in fitted.parent.iterdir() if path.name != fitted.name] == []


def test_a_folder_of_the_user_is_never_removed(tmp_path):
    (tmp_path / "new.unfinished").mkdir()
    (tmp_path / "new.unfinished" / "mine.txt").write_text("mine")
    requested(tmp_path / "new").make_ready()
    assert (tmp_path / "new.unfinished" / "mine.txt").read_text() == "mine"


def test_requests_that_did_not_get_their_class_are_counted(fitted, tmp_path):
    made = snellen.generate(requested(fitted, tries=1), "classes:?count=4", out=tmp_path / "made")
    origins = [json.loads(text) for text in snellen.load_images(made.manifest).column("provenance")]
    missed = sum(not origin["accepted"] for origin in origins)
    assert missed
    assert f"warning: {missed} of 12 requests did not get their class" in made.notes
    full = snellen.generate(requested(fitted), "classes:?count=1", out=tmp_path / "full")
    assert not any("did not get their class" in note for note in full.notes)
