"""The experiment of system 3: known objects, sentences judged by what they state, and a leak that is seen."""

import math

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.preparation import Preparation
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.parser import parse
from snellen.models.captioners.protocol import Captions
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.visual_language.experiment import visual_language
from snellen.reproduction.visual_language.materials import Pictures, drawn_scenes, likeliest, read, stated
from snellen.reproduction.visual_language.sentences import sentence_figures

NAMES = ("star", "ring", "heart")


class Parrot:
    """Says the shape that it is told, else what it sees: a red picture is a red star, another a blue ring."""

    name, device = "parrot", torch.device("cpu")
    preparation = Preparation(size=(8, 8), resize="exact", resize_to=(8, 8))

    def caption(self, images, *, max_tokens=30, prompt=""):
        texts = []
        for image in images:
            red = float(image[0].max()) > 0.5
            seen = "red striped star" if red else "blue plain ring"
            texts.append(f"{prompt} {seen}" if prompt == "a" else prompt)
        count = len(texts)
        return Captions(tuple(texts), torch.zeros(count), torch.zeros(count, 1), torch.ones(count))


def pictures(count=12):
    """Half red stars, half blue rings; half of the stars are plain, which the parrot does not see."""
    images = torch.zeros(count, 3, 8, 8)
    images[::2, 0], images[1::2, 2] = 1.0, 1.0
    truths = [
        {"shape": "star", "colour": "red", "texture": "plain" if row % 4 == 0 else "striped"}
        if row % 2 == 0
        else {"shape": "ring", "colour": "blue", "texture": "plain"}
        for row in range(count)
    ]
    references = [[f"a {one['colour']} {one['texture']} {one['shape']}"] for one in truths]
    return Pictures(images, torch.tensor([row % 2 for row in range(count)]), None, truths, references)


def test_sentences_are_judged_by_what_they_state():
    everywhere = torch.ones(12, 8, 8, dtype=torch.bool)
    figures = sentence_figures(Parrot(), pictures(), everywhere, NAMES, Randomness(0))
    assert figures["shape.generic"] == figures["colour.generic"] == 1.0
    assert figures["true.generic"] == pytest.approx((1 + 1 + 0.75) / 3)
    assert figures["true.generic"] == figures["true.whole_image"]
    # Told a class, the parrot repeats it and forgets the rest: right for the right one, wrong for a wrong one.
    assert (figures["shape.right"], figures["shape.wrong"], figures["colour.right"]) == (1.0, 0.0, 0.0)
    assert (figures["names_wrong.told"], figures["names_wrong.not_told"]) == (1.0, 0.0)
    assert figures["bleu.generic"] > figures["bleu.right"]


def test_the_region_is_what_is_described():
    nothing = sentence_figures(Parrot(), pictures(), torch.zeros(12, 8, 8, dtype=torch.bool), NAMES, Randomness(0))
    assert nothing["shape.generic"] == 0.5, "all black: every picture is called a ring"
    assert nothing["shape.whole_image"] == 1.0


def test_one_sentence_for_all_images_is_the_most_frequent_of_each():
    truths = pictures().truths
    assert likeliest(truths) == {"shape": "star", "colour": "red", "texture": "plain"}
    assert read("a red striped star on sand") == {"shape": "star", "colour": "red", "texture": "striped"}
    assert read("a middling blue five - pointed star")["shape"] == "star"
    assert read("what nobody can read") == {}
    assert stated(parse("a ring on grass")) == {"shape": "ring"}


def test_scenes_are_right_and_their_masks_are_their_objects():
    classifier = load_classifier("bundled:scene-cnn")
    few, more = drawn_scenes(classifier, 4, 5), drawn_scenes(classifier, 6, 5)
    assert few.images.shape == (4, 3, 32, 32)
    assert [classifier.class_names[target] for target in few.targets.tolist()] == [one["shape"] for one in few.truths]
    assert torch.equal(more.images[:4], few.images), "more scenes leave the first as they are"
    assert not torch.equal(drawn_scenes(classifier, 4, 6).images, few.images)
    share = few.masks.double().mean((1, 2))
    assert ((share > 0.03) & (share < 0.6)).all()
    for image, mask in zip(few.images, few.masks, strict=True):
        inside, outside = image[:, mask].mean(1), image[:, ~mask].mean(1)
        assert float((inside - outside).abs().max()) > 0.05
    assert all(len(set(one)) > 1 for one in few.references)
    assert [read(one[0])["shape"] for one in few.references] == [one["shape"] for one in few.truths]


def test_smoke_gives_every_figure_of_the_claims():
    figures = visual_language("smoke", 0, Silent())
    named = {name for claim in find_system("3").claims for name in (claim.metric, claim.baseline, *claim.controls)}
    # Budgets are smaller; there, two of them stand for all.
    budgets = {
        f"{kind}.{budget}"
        for kind in ("hit", "hit_near", "hit_off_centre")
        for budget in (50, 100, 200, 300, 500, 1000)
    }
    assert named - budgets - {None} <= set(figures)
    assert {"hit.8", "hit.16", "hit_near.16", "hit_off_centre.16"} <= set(figures)
    assert all(math.isfinite(value) for value in figures.values())
    assert figures["iou.region"] > figures["iou.moved"]
    assert np.isclose(figures["names_wrong.told"], 1.0)


def test_there_is_no_full_experiment_yet():
    with pytest.raises(InputError, match="no full experiment yet"):
        visual_language("full", 0, Silent())
