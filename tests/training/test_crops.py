"""Random resized crops: boxes of the published distribution, and pixels of exactly these boxes."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import RandomResizedCrop

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.transforms import cut_boxes, draw_boxes, random_resized_crops

MANY = Randomness(0).for_examples([str(number) for number in range(4000)])


def areas_and_ratios(boxes: torch.Tensor, aspects: torch.Tensor | float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    return width * height, width / height * aspects


@pytest.mark.parametrize("aspect", [1.0, 0.5, 3.0])
def test_boxes_have_the_distribution_of_torchvision(aspect: float) -> None:
    boxes = draw_boxes(MANY, smallest=0.08, aspects=torch.full((4000,), aspect))
    assert float(boxes.min()) >= 0
    assert float(boxes.max()) <= 1
    height, width = 400, round(400 * aspect)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = (
            torch.tensor(
                [
                    RandomResizedCrop.get_params(torch.empty(3, height, width), (0.08, 1), (3 / 4, 4 / 3))
                    for _ in range(4000)
                ]
            )
            if hasattr(RandomResizedCrop, "get_params")
            else _by_call(height, width)
        )
    top, left, high, wide = theirs.float().unbind(1)
    ours = torch.stack([*areas_and_ratios(boxes, aspect), boxes[:, 0], boxes[:, 1]])
    other = torch.stack([high * wide / (height * width), wide / high, left / width, top / height])
    for quantile in (0.1, 0.5, 0.9):
        assert torch.allclose(ours.quantile(quantile, 1), other.quantile(quantile, 1), atol=0.03), quantile


def _by_call(height: int, width: int) -> torch.Tensor:
    crop = RandomResizedCrop(10, scale=(0.08, 1))
    rows = [crop.make_params([torch.empty(3, height, width)]) for _ in range(4000)]
    return torch.tensor([[row["top"], row["left"], row["height"], row["width"]] for row in rows])


def test_a_box_belongs_to_its_example() -> None:
    boxes = draw_boxes(MANY, smallest=0.3)
    assert torch.equal(draw_boxes(MANY[[7, 3]], smallest=0.3), boxes[[7, 3]])
    assert not torch.equal(draw_boxes(MANY.child("other"), smallest=0.3), boxes)


def test_a_whole_image_is_itself_and_a_shape_that_never_fits_gives_the_largest_central_box() -> None:
    image = torch.rand(2, 3, 9, 9)
    whole = torch.tensor([[0.0, 0, 1, 1]]).expand(2, 4)
    assert torch.allclose(cut_boxes(image, whole, 9), image, atol=1e-6)
    (left, top, right, bottom) = draw_boxes(MANY[[0]], smallest=1.0, aspects=torch.tensor([4.0]))[0].tolist()
    assert (top, bottom) == (0, 1)
    assert right - left == pytest.approx(1 / 3), "4 : 3 of an image of 4 : 1"
    assert left == pytest.approx(1 / 3)


def test_what_is_cut_lies_in_the_box() -> None:
    """Every pixel holds its own place: the crop must hold the places of the box's pixels."""
    side, result = 40, 10
    places = (torch.arange(side) + 0.5) / side
    image = torch.stack([places.expand(side, side), places[:, None].expand(side, side)])[None]
    boxes = draw_boxes(MANY[list(range(50))], smallest=0.2)
    cut = cut_boxes(image.expand(50, -1, -1, -1), boxes, result)
    at = (torch.arange(result) + 0.5) / result
    left, top, right, bottom = boxes.unbind(1)
    x = left[:, None] + (right - left)[:, None] * at
    y = top[:, None] + (bottom - top)[:, None] * at
    inner = slice(1, -1)  # beyond the centres of border pixels, the border is repeated
    assert torch.allclose(cut[:, 0, 5, inner], x[:, inner], atol=2e-3)
    assert torch.allclose(cut[:, 1, inner, 5], y[:, inner], atol=2e-3)


def test_fine_patterns_do_not_alias() -> None:
    checks = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).float().expand(1, 1, 64, 64)
    small = cut_boxes(checks, torch.tensor([[0.0, 0, 1, 1]]), 16)
    assert torch.allclose(small, torch.full_like(small, 0.5), atol=1e-6)


def test_the_transform_keeps_sizes_and_targets() -> None:
    images, targets = torch.rand(3, 3, 8, 8), torch.arange(3)
    cropped, same = random_resized_crops(0.2)(images, targets, MANY[[0, 1, 2]])
    assert cropped.shape == images.shape
    assert same is targets
    assert not torch.allclose(cropped, images)


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"a share in \(0, 1\]"):
        draw_boxes(MANY, smallest=0.0)
    with pytest.raises(InputError, match="ratios"):
        draw_boxes(MANY, smallest=0.5, ratios=(2.0, 1.0))
    with pytest.raises(InputError, match=r"square images, got 9 × 8"):
        random_resized_crops()(torch.rand(1, 3, 8, 9), torch.zeros(1), MANY[[0]])
