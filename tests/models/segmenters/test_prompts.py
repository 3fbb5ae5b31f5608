"""What every segmenter refuses, and references."""

import pytest
import torch

from snellen.core.errors import InputError, UnknownNameError
from snellen.models.references import load_segmenter
from snellen.models.segmenters.protocol import checked_prompts, image_bytes

IMAGES = torch.zeros(1, 3, 20, 30)
POINT = torch.tensor([[[4.0, 5.0]]])
BOX = torch.tensor([[1.0, 2.0, 8.0, 9.0]])
BOTH = frozenset(("points", "boxes"))


def check(images=IMAGES, takes=BOTH, points=None, point_labels=None, boxes=None):
    return checked_prompts(images, takes, points=points, point_labels=point_labels, boxes=boxes, name="demo")


def test_prompts_that_fit():
    asked = check(points=POINT, boxes=BOX.int())
    assert asked.count == 1
    assert asked.points.dtype == asked.boxes.dtype == torch.float64
    assert asked.labels.tolist() == [[1]]
    assert check(points=POINT.repeat(7, 3, 1)).count == 7
    assert check(torch.zeros(2, 3, 20, 30), points=POINT.repeat(2, 1, 1)).count == 2
    assert check(torch.zeros(4, 3, 20, 30), takes=frozenset()).count == 4
    corners = torch.tensor([[[-0.5, -0.5], [29.5, 19.5]]])
    assert torch.equal(check(points=corners).points, corners.double())
    assert check(boxes=torch.tensor([[0, 0, 30, 20]])).boxes.tolist() == [[0, 0, 30, 20]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "demo needs a prompt for each mask: boxes= or points="),
        ({"takes": {"boxes"}}, "demo needs a prompt for each mask: boxes=$"),
        ({"takes": {"boxes"}, "points": POINT}, "does not take points; it takes boxes"),
        ({"point_labels": torch.ones(1, 1)}, "point_labels came without points"),
        ({"points": POINT[0]}, r"takes points as a tensor of numbers \(m, k, 2\); got torch.float32 \(1, 2\)"),
        ({"points": [[4, 5]]}, r"takes points as a tensor of numbers \(m, k, 2\); got a list"),
        ({"boxes": torch.ones(1, 3)}, r"takes boxes as a tensor of numbers \(m, 4\); got torch.float32 \(1, 3\)"),
        ({"boxes": torch.ones(1, 4, dtype=torch.complex64)}, "tensor of numbers"),
        ({"points": torch.zeros(0, 1, 2)}, "empty list of prompts"),
        ({"points": torch.zeros(1, 0, 2)}, "empty list of prompts"),
        ({"points": POINT.repeat(2, 1, 1), "boxes": BOX}, "prompts of 2 points and 1 boxes came"),
        ({"images": torch.zeros(2, 3, 20, 30), "boxes": BOX}, "1 prompts for 2 images; expected one each"),
        (
            {"points": torch.tensor([[[30.0, 5.0]]])},
            r"point \(30, 5\) lies outside of an image 30 pixels wide and 20 hi",
        ),
        ({"points": torch.tensor([[[5.0, 20.0]]])}, r"point \(5, 20\) lies outside"),
        ({"points": torch.tensor([[[5.0, 3.0], [-1.0, 3.0]]])}, r"point \(-1, 3\) lies outside"),
        ({"points": torch.tensor([[[float("nan"), 3.0]]])}, r"point \(nan, 3\) lies outside"),
        ({"boxes": torch.tensor([[1.0, 1.0, 31.0, 5.0]])}, r"corner of a box \(31, 5\) lies outside"),
        ({"boxes": torch.tensor([[8.0, 2.0, 1.0, 9.0]])}, r"box \[8.0, 2.0, 1.0, 9.0\] is not \(x0, y0, x1, y1\)"),
        ({"boxes": torch.tensor([[1.0, 2.0, 8.0, 2.0]])}, "with x0 < x1 and y0 < y1"),
        ({"points": POINT, "point_labels": torch.ones(1)}, r"one for each point, \(1, 1\); got torch.float32 \(1,\)"),
        ({"points": POINT, "point_labels": torch.tensor([[2]])}, r"1 \(on the object\) or 0 \(beside it\); got \[2\]"),
    ],
)
def test_prompts_that_do_not_fit(given, message):
    with pytest.raises(InputError, match=message):
        check(**given)


def test_images_become_bytes():
    values = torch.tensor([0.0, 0.0019, 0.5, 1.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert image_bytes(values, name="demo")[0, 0].flatten().tolist() == [0, 0, 128, 255]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 20, 30), r"takes images: float \(n, 3, h, w\) in \[0, 1\]; got torch.float32 \(3, 20, 30\)"),
        (torch.zeros(1, 1, 20, 30), "takes images"),
        (torch.zeros(1, 3, 20, 30, dtype=torch.uint8), "got torch.uint8"),
        ([1], "got a list"),
        (torch.zeros(0, 3, 20, 30), "no images"),
        (torch.full((1, 3, 2, 2), 255.0), "values outside of it, or NaN. Divide bytes by 255"),
        (torch.full((1, 3, 2, 2), float("nan")), "values outside of it, or NaN"),
    ],
)
def test_images_that_cannot_be_used(images, message):
    with pytest.raises(InputError, match=message):
        image_bytes(images, name="demo")


@pytest.mark.parametrize("reference", ["", "hf", "hf:", "isnet:", "bundled:", "grabcut:x", ":x", "folder/of/sam"])
def test_references_that_are_none(reference):
    with pytest.raises(InputError, match=r"is not a segmenter; expected one of: hf:FOLDER, bundled:NAME, isnet:FILE"):
        load_segmenter(reference)


def test_unknown_kinds_and_devices():
    with pytest.raises(UnknownNameError, match="unknown kind of segmenter 'ifnet'; did you mean 'isnet'"):
        load_segmenter("ifnet:x")
    with pytest.raises(InputError, match="unknown device 'tpu'"):
        load_segmenter("grabcut", device="tpu")
