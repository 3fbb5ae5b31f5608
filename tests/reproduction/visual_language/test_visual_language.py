"""The experiment of system 3: known objects, and sentences judged by what they state of the one that is named."""

import math
from types import SimpleNamespace

import pytest
import torch

from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.parser import parse
from snellen.models.captioners.protocol import Captions
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.sample import mean_of
from snellen.reproduction.seed_file import named_figures
from snellen.reproduction.visual_language.experiment import _worth, visual_language
from snellen.reproduction.visual_language.materials import Pictures, drawn_scenes, likeliest, read, stated
from snellen.reproduction.visual_language.sentences import sentence_figures


class Observer:
    """Says what it sees: a picture with red in it is a red star, another a blue ring."""

    name, device = "observer", torch.device("cpu")
    preparation = Preprocessing(size=(8, 8), resize="exact", resize_to=(8, 8))

    def caption(self, images, *, max_tokens=30, prompt=""):
        seen = ("red striped star" if float(image[0].max()) > 0.5 else "blue plain ring" for image in images)
        texts = tuple(f"{prompt} {one}" for one in seen)
        count = len(texts)
        return Captions(texts, torch.zeros(count), torch.zeros(count, 1), torch.ones(count))


def pictures(count=12):
    """Half red stars, half blue rings; half of the stars are plain, which the observer does not see."""
    images = torch.zeros(count, 3, 8, 8)
    images[::2, 0], images[1::2, 2] = 1.0, 1.0
    truths = [
        {"shape": "star", "colour": "red", "texture": "plain" if row % 4 == 0 else "striped"}
        if row % 2 == 0
        else {"shape": "ring", "colour": "blue", "texture": "plain"}
        for row in range(count)
    ]
    return Pictures(images, torch.tensor([row % 2 for row in range(count)]), truths=truths)


def test_sentences_are_judged_by_what_they_state_of_each_image():
    everywhere, nowhere = torch.ones(12, 8, 8, dtype=torch.bool), torch.zeros(12, 8, 8, dtype=torch.bool)
    figures = sentence_figures(Observer(), pictures(), {"region": everywhere, "nothing": nowhere})
    assert set(figures["shape.region"].values) == set(figures["colour.region"].values) == {1.0}
    assert figures["true.region"].values == pytest.approx((2 / 3, 1, 1, 1) * 3)
    assert figures["true.region"] == figures["true.whole_image"]
    assert figures["shape.nothing"].values == (0, 1) * 6, "all black: every picture is called a ring"
    assert figures["true.constant"].values == pytest.approx((1, 1 / 3, 2 / 3, 1 / 3) * 3), "a plain red star"


def test_one_sentence_for_all_images_is_the_most_frequent_of_each():
    truths = pictures().truths
    assert likeliest(truths) == {"shape": "star", "colour": "red", "texture": "plain"}
    assert read("a red striped star on sand") == {"shape": "star", "colour": "red", "texture": "striped"}
    assert read("a middling blue five - pointed star")["shape"] == "star"
    assert read("what nobody can read") == {}
    assert stated(parse("a ring on grass")) == {"shape": "ring"}


def test_the_decision_names_one_of_several_objects_and_its_mask_is_the_truth():
    classifier = load_classifier("bundled:scene-cnn")
    few, more = drawn_scenes(classifier, 6, 5), drawn_scenes(classifier, 12, 5)
    assert more.images.shape == (12, 3, 32, 32)
    assert torch.equal(more.images[:6], few.images), "more scenes leave the first as they are"
    assert torch.equal(more.any_object[:6], few.any_object)
    assert not torch.equal(drawn_scenes(classifier, 6, 6).images, few.images)
    named = [classifier.class_names[target] for target in more.targets.tolist()]
    assert named == [one["shape"] for one in more.truths]
    assert not bool((more.absent == more.targets).any())
    share = more.masks.double().mean((1, 2))
    assert ((share > 0.03) & (share < 0.3)).all()
    same = (more.masks & more.any_object).flatten(1).any(1)
    assert 0 < int(same.sum()) < 12, "the object that is drawn is at times the one that is named"
    assert torch.equal(more.masks[same], more.any_object[same])
    # An object has a colour of its own: the mask of the named one is another colour than that of the drawn one.
    for row in (~same).nonzero().flatten().tolist():
        own, other = (more.images[row][:, mask[row]].mean(1) for mask in (more.masks, more.any_object))
        assert float((own - other).abs().max()) > 0.1


def test_smoke_gives_every_figure_of_the_claims():
    figures = visual_language("smoke", 0, Silent())
    assert set(named_figures(find_system("3"), "small")) <= set(figures)
    assert all(value is None or math.isfinite(mean_of(value)) for value in figures.values())
    assert len(figures["hit.many"].values) == len(figures["iou.region"].values) == 3
    assert set(figures["hit.any_object"].values) <= {0.0, 1.0}


def test_what_has_no_region_is_missing_and_no_zero():
    gone, known = torch.full((3,), torch.nan), torch.tensor([0.2, 0.4, torch.nan])
    explained = SimpleNamespace(figures={"drop": known, "kept": known}, controls={"drop": known, "kept": known})
    figures = _worth(explained, {"drop": torch.tensor([torch.nan, 0.1, 0.1]), "kept": known})
    assert figures["drop.region"].values == pytest.approx((0.4,)), "the one image that every figure knows"
    assert figures["drop.any_object"].values == pytest.approx((0.1,))
    nothing = SimpleNamespace(figures={"drop": gone, "kept": gone}, controls={"drop": gone, "kept": gone})
    assert set(_worth(nothing).values()) == {None}
