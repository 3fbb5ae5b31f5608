"""Full scale by reference: photographs of 224 pixels with masks, and SAM and LLaVA of random weights."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.models.captioners.random_llava import write_random_llava
from snellen.models.random_folders import write_random_sam
from snellen.reproduction.seed_file import named_figures
from snellen.reproduction.visual_language import full, photographs
from snellen.reproduction.visual_language.experiment import visual_language
from snellen.reproduction.visual_language.photographs import FullSize, boxes_of

CLASSES = ("bald eagle, American eagle", "hen", "tench")
SIDE = 224
TINY = FullSize(images=3, budgets=(4, 8, 20), batch=2, max_tokens=3)
BUDGETS = {"100": "4", "300": "8", "1000": "20"}


class ByColour(nn.Module):
    """The class is the channel with the most light, each spot of it as much as any other."""

    def forward(self, images):
        return 40 * images.mean((2, 3))


def write_photographs(folder):
    """Dark images with a bright square of the class's colour, and a mask of it; the last one has the wrong label."""
    folder.mkdir()
    with (folder / "images.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "mask", "caption"])
        for row, (top, left, channel) in enumerate([(0, 112, 0), (112, 0, 1), (0, 0, 2)]):
            pixels, mask = np.full((SIDE, SIDE, 3), 20, dtype=np.uint8), np.zeros((SIDE, SIDE), dtype=np.uint8)
            pixels[top : top + 112, left : left + 112, channel] = 250
            mask[top : top + 112, left : left + 112] = 255
            Image.fromarray(pixels).save(folder / f"{row}.png")
            Image.fromarray(mask).save(folder / f"mask-{row}.png")
            table.writerow([f"{row}.png", CLASSES[min(row, 1)], f"mask-{row}.png", "a bird on a dark ground"])
    return folder / "images.csv"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Photographs, SAM and LLaVA."""
    place = tmp_path_factory.mktemp("full")
    return write_photographs(place / "data"), write_random_sam(place / "sam"), write_random_llava(place / "llava")


@pytest.fixture
def variables(folders, monkeypatch):
    data, sam, llava = folders
    values = {
        full.MODEL: "densenet",
        full.DATA: str(data),
        full.SEGMENTER: f"hf:{sam}",
        full.ANSWERER: f"hf:{llava}",
        full.SONAR_MODEL: "sonar",
        full.SONAR_DATA: str(data),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    preparation = Preprocessing(size=(SIDE, SIDE))
    classifier = Classifier(ByColour().eval(), class_names=CLASSES, preparation=preparation, name="by colour")
    monkeypatch.setattr(full, "load_classifier", lambda reference, device: classifier)


def test_every_figure_of_a_claim_is_measured_and_the_place_is_on_the_object(variables, monkeypatch):
    questioned = []

    class Listening:
        preparation, device = Preprocessing(size=(32, 32)), torch.device("cpu")

        def answer(self, images, questions, *, max_tokens):
            questioned.extend(questions)
            return tuple(one.partition(" is a ")[2].partition(".")[0] or "something" for one in questions)

    monkeypatch.setattr(full, "load_question_answerer", lambda reference, device: Listening())
    found = full.full(0, Silent(), size=TINY)
    named = {
        name.replace(number, own) if name.startswith("hit") else name
        for name in named_figures(find_system("3"), "full")
        for number, own in [next(((big, low) for big, low in BUDGETS.items() if name.endswith(f".{big}")), ("", ""))]
        if not name.endswith((".200", ".500"))
    }
    assert named <= set(found)
    assert found["right"].values == (1.0, 1.0, 0.0)
    assert found["hit.20"].values == (1.0, 1.0), "two that are right"
    assert found["hit.centre"].values == (0.0, 0.0)
    assert found["hit_near.centre"].values == (1.0, 1.0), "the squares touch the middle"
    assert found["sonar.right"].values == (1.0, 1.0, 0.0)
    for name, values in {"named.labelled": (1, 1), "named.generic": (0, 0), "named.misled": (0, 0)}.items():
        assert found[name].values == values, name
    assert found["misled.labelled"].values == (1, 1)
    assert found["misled.generic"].values == (0, 0)
    assert questioned.count(photographs.GENERIC) == 2
    assert 0 <= found["bleu.labelled"] <= 1


def test_real_shapes_of_the_describer_pass_through(variables):
    found = full.full(1, Silent(), size=FullSize(images=1, budgets=(4,), batch=1, max_tokens=2))
    assert len(found["named.generic"].values) == len(found["iou.region"].values) == 1


def test_bounding_boxes_are_filled():
    regions = torch.zeros(1, 5, 5, dtype=torch.bool)
    regions[0, 1, 3] = regions[0, 3, 1] = True
    expected = torch.zeros(1, 5, 5, dtype=torch.bool)
    expected[0, 1:4, 1:4] = True
    assert torch.equal(boxes_of(regions), expected)


def test_what_is_missing_is_named(variables, monkeypatch):
    monkeypatch.delenv(full.SONAR_DATA)
    with pytest.raises(InputError, match="needs both SNELLEN_VALE_SONAR_MODEL and SNELLEN_VALE_SONAR_DATA, or none"):
        visual_language("full", 0, Silent())
    monkeypatch.delenv(full.SEGMENTER)
    with pytest.raises(InputError, match=r"needs SNELLEN_VALE_SEGMENTER\. SNELLEN_VALE_MODEL is a classifier of"):
        visual_language("full", 0, Silent())
