"""Quality rules: each trouble is found where planted, and sets that are all alike have none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.metrics.inspection.properties import ImageProperties, image_properties
from snellen.metrics.inspection.quality import QualityIssue, quality_issues

COUNT, PLANTED = 120, [4, 77]


def photographs(seed: int = 0) -> Tensor:
    """Grainy images with much contrast: float (n, 3, 32, 32) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(COUNT, 3, 4, 4, generator=generator)
    planes = torch.nn.functional.interpolate(coarse, 32, mode="bilinear")
    return (0.8 * planes + 0.2 * torch.rand(COUNT, 3, 32, 32, generator=generator)).clamp(0.01, 0.99)


def blurred(images: Tensor) -> Tensor:
    for _ in range(6):
        images = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return images


TROUBLES: dict[str, Callable[[Tensor], Tensor]] = {
    "constant": lambda images: torch.full_like(images, 0.4),
    "very dark": lambda images: 0.1 * images,
    "very bright": lambda images: 0.9 + 0.1 * images,
    "low contrast": lambda images: 0.45 + 0.1 * images,
    "blurred": blurred,
    "mostly clipped": lambda images: (images.mean(1, keepdim=True) > 0.5).float().expand_as(images),
}


def found(images: Tensor) -> dict[str, QualityIssue]:
    return {issue.name: issue for issue in quality_issues(image_properties(images))}


@pytest.mark.parametrize("name", TROUBLES)
def test_planted_troubles_are_found_and_nothing_else(name: str) -> None:
    images = photographs()
    assert found(images) == {}
    images[PLANTED] = TROUBLES[name](images[PLANTED])
    issues = found(images)
    assert sorted(issues[name].indices.tolist()) == PLANTED
    assert {place for issue in issues.values() for place in issue.indices.tolist()} == set(PLANTED)
    # What darkens or brightens this much also flattens.
    assert set(issues) <= {name, "low contrast"}


@pytest.mark.parametrize("name", [name for name in TROUBLES if name != "constant"])
def test_a_set_that_is_like_that_has_no_trouble(name: str) -> None:
    assert name not in found(TROUBLES[name](photographs()))


def test_constant_images_are_reported_in_any_set() -> None:
    images = torch.full((5, 3, 8, 8), 0.3)
    images[1, :, :4] = 0.5
    (issue,) = quality_issues(image_properties(images))
    assert (issue.name, issue.indices.tolist()) == ("constant", [0, 2, 3, 4])
    coloured = torch.zeros(1, 3, 8, 8)
    coloured[:, 0, :4], coloured[:, 1, 4:] = 0.587, 0.299  # the same luma to a thousandth
    assert quality_issues(image_properties(coloured)) == ()


def test_the_worst_comes_first_and_the_rule_is_reported() -> None:
    images = photographs()
    images[10], images[20] = 0.2 * images[10], 0.05 * images[20]
    issue = found(images)["very dark"]
    assert issue.indices.tolist() == [20, 10]
    assert issue.values.tolist() == sorted(issue.values)
    assert (issue.values < issue.threshold).all()
    assert "99 % of the pixels have luma below 0.3" in issue.why


def test_order_does_not_matter() -> None:
    images = photographs()
    for step, change in enumerate(TROUBLES.values()):
        images[step * 7 : step * 7 + 2] = change(images[step * 7 : step * 7 + 2])
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    properties = image_properties(images).by_name()
    shuffled = ImageProperties(**{name: values[order.numpy()] for name, values in properties.items()})
    for one, two in zip(quality_issues(image_properties(images)), quality_issues(shuffled), strict=True):
        assert one.name == two.name
        assert set(one.indices.tolist()) == set(order[two.indices].tolist())
        assert one.why == two.why


def test_odd_shapes_and_sizes() -> None:
    properties = image_properties(photographs())
    rng = np.random.default_rng(0)
    widths, heights = rng.integers(480, 720, COUNT), rng.integers(360, 540, COUNT)
    assert quality_issues(properties, widths=widths, heights=heights) == ()
    widths[3], heights[3] = 1800, 170
    widths[9], heights[9] = 64, 48
    widths[11], heights[11] = 6000, 4500
    issues = {issue.name: issue for issue in quality_issues(properties, widths=widths, heights=heights)}
    assert issues["odd aspect ratio"].indices.tolist() == [3]
    assert issues["odd size"].indices.tolist() == [11, 9]
    assert issues["odd size"].values == pytest.approx([np.sqrt(6000 * 4500), np.sqrt(64 * 48)])


def test_equal_sizes_are_not_odd_and_one_other_is() -> None:
    properties = image_properties(photographs())
    sides = np.full(COUNT, 28)
    assert quality_issues(properties, widths=sides, heights=sides) == ()
    wide = sides.copy()
    wide[2], wide[5] = 56, 29
    (issue,) = quality_issues(properties, widths=wide, heights=sides)
    assert (issue.name, issue.indices.tolist(), issue.values.tolist()) == ("odd aspect ratio", [2], [2.0])


def test_mixed_sizes_are_not_odd() -> None:
    rng = np.random.default_rng(0)
    widths = np.exp(rng.normal(6, 0.8, COUNT)).round()
    properties = image_properties(photographs())
    assert quality_issues(properties, widths=widths, heights=np.round(widths * 0.75)) == ()


def test_nothing_and_few() -> None:
    images = photographs()
    assert quality_issues(image_properties(images[:0])) == ()
    few = torch.cat([images[:9], 0.05 * images[9:10]])
    assert quality_issues(image_properties(few), widths=[9] * 10, heights=[9] * 9 + [900]) == ()


PROPERTIES = image_properties(photographs()[:3])
REFUSED = [
    (lambda: quality_issues(PROPERTIES, widths=[1, 2, 3]), "one of them is missing"),
    (lambda: quality_issues(PROPERTIES, widths=[1, 2], heights=[1, 2, 3]), r"widths must be \(3,\)"),
    (lambda: quality_issues(PROPERTIES, widths=[1, 2, 3], heights=[1, 0, 3]), "heights must be"),
    (lambda: quality_issues(PROPERTIES, widths=[1, 2, np.nan], heights=[1, 2, 3]), "widths must be"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refused(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
