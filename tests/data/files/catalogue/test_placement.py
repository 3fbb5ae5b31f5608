"""Size and place of cut-outs in their frame."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from snellen.data.files.catalogue.cutout_source import Placement


@settings(max_examples=200, deadline=None)
@given(
    st.integers(8, 512),
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.floats(0.05, 1),
    st.floats(0.05, 1),
    st.sampled_from(["centre", "anywhere"]),
    st.integers(0, 5),
    st.text(max_size=5),
)
def test_inside_with_the_share_and_proportions(
    size: int, width: int, height: int, one: float, other: float, position: str, seed: int, object_id: str
) -> None:
    low, high = sorted((one, other))
    placement = Placement(size=size, least_share=low, most_share=high, position=position, seed=seed)  # type: ignore[arg-type]
    box = placement.place(object_id, width, height)
    assert 0 <= box.left < box.right <= size
    assert 0 <= box.top < box.bottom <= size
    assert low * size - 0.5 <= max(box.width, box.height) <= max(1, high * size + 0.5)
    shorter = min(box.width, box.height)
    assert abs(shorter - max(box.width, box.height) * min(width, height) / max(width, height)) <= 1
    if position == "centre":
        assert abs(box.left - (size - box.right)) <= 1
        assert abs(box.top - (size - box.bottom)) <= 1


def test_draws_depend_on_seed_and_id_alone_and_fill_the_range() -> None:
    placement = Placement(size=100, least_share=0.2, most_share=0.6, position="anywhere")
    boxes = [placement.place(f"object {number}", 10, 10) for number in range(2000)]
    assert boxes[7] == placement.place("object 7", 10, 10)
    assert boxes != [placement.model_copy(update={"seed": 1}).place(f"object {n}", 10, 10) for n in range(2000)]
    widths = [box.width for box in boxes]
    assert (min(widths), max(widths)) == (20, 60)
    assert abs(sum(widths) / 2000 - 40) < 1  # uniform: standard error 0.26
    places = [box.left / (100 - box.width) for box in boxes]
    assert min(places) == 0
    assert max(places) == 1
    assert abs(sum(places) / 2000 - 0.5) < 0.03


def test_shares_in_order() -> None:
    with pytest.raises(ValidationError, match=r"least_share 0\.9 is larger"):
        Placement(least_share=0.9, most_share=0.5)
