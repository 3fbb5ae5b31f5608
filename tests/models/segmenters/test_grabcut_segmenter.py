"""GrabCut: disks whose masks are known, and a generator that is left alone."""

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage import data

from snellen.core.errors import InputError, MissingExtraError
from snellen.metrics.mask_overlap import intersection_over_union
from snellen.models.references import load_segmenter
from snellen.models.segmenters import grabcut_segmenter

cv2 = pytest.importorskip("cv2")


def overlap(found: object, mask: np.ndarray) -> float:
    return float(intersection_over_union(found.regions.numpy(), mask[None])[0])


@pytest.mark.parametrize("place", [(20.0, 25.0), (60.0, 40.0), (10.0, 50.0)])
def test_a_disk_is_found_from_a_box_and_from_a_point(disk: Callable, place: tuple[float, float]) -> None:
    picture, mask = disk(*place)
    x, y = place
    segmenter = load_segmenter("grabcut")
    box = torch.tensor([[max(0, x - 16), max(0, y - 16), min(79, x + 16), min(59, y + 16)]])
    assert overlap(segmenter.segment(picture, boxes=box), mask) > 0.97
    assert overlap(segmenter.segment(picture, points=torch.tensor([[[x, y]]])), mask) > 0.97
    assert overlap(segmenter.segment(picture, points=torch.tensor([[[x, y]]]), boxes=box), mask) > 0.97
    # x goes to the right, y down: rows and columns exchanged miss the disk.
    if not mask[min(int(x), 59), int(y)]:
        turned = torch.tensor([[[y, min(x, 59)]]])
        assert overlap(segmenter.segment(picture, points=turned), mask) < 0.5


def test_only_the_part_with_the_point_is_kept(disk: Callable) -> None:
    first, mask = disk(22, 30, radius=10)
    second, other = disk(50, 30, radius=10)
    both = torch.where(torch.from_numpy(other), second, first)
    segmenter = load_segmenter("grabcut")
    one = segmenter.segment(both, points=torch.tensor([[[22.0, 30.0]]]))
    two = segmenter.segment(both, points=torch.tensor([[[22.0, 30.0], [50.0, 30.0]]]))
    assert overlap(one, mask) > 0.95
    assert overlap(two, mask | other) > 0.95


def test_points_beside_the_object_are_left_out(disk: Callable) -> None:
    picture, _ = disk(40, 30)
    found = load_segmenter("grabcut").segment(
        picture, points=torch.tensor([[[35.0, 30.0], [46.0, 30.0]]]), point_labels=torch.tensor([[1, 0]])
    )
    assert bool(found.regions[0, 30, 35])
    assert not bool(found.regions[0, 30, 46])


@pytest.fixture(scope="module")
def coffee() -> torch.Tensor:
    """A photograph (1, 3, 67, 100) on which the start of the clustering decides."""
    return torch.from_numpy(np.ascontiguousarray(data.coffee()[::6, ::6].transpose(2, 0, 1)))[None] / 255


def test_the_generator_of_opencv_decides_here(coffee: torch.Tensor) -> None:
    """Where it does not, the next test would hold whatever was done."""
    picture = np.ascontiguousarray((coffee[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()[..., ::-1])
    masks = []
    for seed in range(12):
        marks, state = np.zeros(picture.shape[:2], np.uint8), (np.zeros((1, 65)), np.zeros((1, 65)))
        cv2.setRNGSeed(seed)
        cv2.grabCut(picture, marks, (20, 13, 60, 40), *state, 5, cv2.GC_INIT_WITH_RECT)
        masks.append(marks)
    assert any((mask != masks[0]).any() for mask in masks)


def test_masks_do_not_depend_on_the_generator_and_leave_it_as_it_was(coffee: torch.Tensor) -> None:
    segmenter, box = load_segmenter("grabcut"), torch.tensor([[20.0, 13.0, 79.0, 52.0]])
    masks = []
    for seed in range(12):
        cv2.setRNGSeed(seed)
        expected = cv2.randu(np.zeros(5), 0, 1)
        cv2.setRNGSeed(seed)
        masks.append(segmenter.segment(coffee, boxes=box).masks)
        assert np.array_equal(cv2.randu(np.zeros(5), 0, 1), expected)
    assert all(torch.equal(mask, masks[0]) for mask in masks)
    assert bool(masks[0].any())


def test_the_seed_is_the_one_that_is_reported(coffee: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, box = load_segmenter("grabcut"), torch.tensor([[20.0, 13.0, 79.0, 52.0]])
    masks = []
    for seed in range(12):
        monkeypatch.setattr(grabcut_segmenter, "SEED", seed)
        masks.append(segmenter.segment(coffee, boxes=box).masks)
    assert any(not torch.equal(mask, masks[0]) for mask in masks)


def test_many_prompts_on_one_image_are_calls_of_their_own(disk: Callable) -> None:
    picture, _ = disk(40, 30)
    segmenter = load_segmenter("grabcut")
    boxes = torch.tensor([[20.0, 10.0, 60.0, 50.0], [30.0, 15.0, 55.0, 59.0]])
    together = segmenter.segment(picture, boxes=boxes)
    each = segmenter.segment(picture.repeat(2, 1, 1, 1), boxes=boxes)
    alone = [segmenter.segment(picture, boxes=boxes[[row]]).masks[0] for row in (0, 1)]
    assert torch.equal(together.masks, torch.stack(alone))
    assert torch.equal(each.masks, together.masks)
    assert together.candidates.shape == (2, 1, 60, 80)
    assert bool(together.quality.isnan().all())
    assert set(together.masks.unique().tolist()) == {0.0, 1.0}


def test_a_picture_of_one_colour_is_no_crash() -> None:
    found = load_segmenter("grabcut").segment(torch.full((1, 3, 20, 20), 0.5), boxes=torch.tensor([[5.0, 5, 14, 14]]))
    assert not bool(found.regions[0, :4].any())


def test_what_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = load_segmenter("grabcut")
    assert (segmenter.name, segmenter.prompts) == ("grabcut", {"points", "boxes"})
    assert segmenter.device == torch.device("cpu")
    before = segmenter.identity()
    monkeypatch.setattr(grabcut_segmenter, "ITERATIONS", 6)
    assert segmenter.identity() != before


def test_prompts_that_leave_nothing(disk: Callable) -> None:
    picture, _ = disk(40, 30)
    segmenter = load_segmenter("grabcut")
    with pytest.raises(InputError, match="prompt 0 leaves no background in an image 80 pixels wide and 60 high"):
        segmenter.segment(picture, boxes=torch.tensor([[0.0, 0.0, 80.0, 60.0]]))
    with pytest.raises(InputError, match="points without one on the object"):
        segmenter.segment(picture, points=torch.tensor([[[3.0, 3.0]]]), point_labels=torch.tensor([[0]]))
    with pytest.raises(InputError, match="prompt 0 leaves no pixel of an object"):
        segmenter.segment(picture, boxes=torch.tensor([[3.2, 3.2, 3.4, 3.4]]))


def test_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'snellen\[opencv\]'"):
        load_segmenter("grabcut")
