"""Maps as arrays: evidence or none, the strongest pixel, parts of a size, and the same part elsewhere."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.maps import has_evidence, moved, pixel_map, strongest, top_part

NAN = float("nan")


def test_channels_are_summed_and_totals_stay():
    maps = torch.rand(2, 3, 4, 5)
    assert torch.equal(pixel_map(maps), maps.sum(1))
    assert pixel_map(maps[:, 0]) is not None
    for wrong in (maps[0, 0], maps.long()):
        with pytest.raises(InputError, match=r"float \(n, h, w\)"):
            pixel_map(wrong)


def test_a_map_that_is_constant_or_not_finite_says_nothing():
    maps = torch.rand(4, 3, 3)
    maps[1] = 0.7
    maps[2, 1, 1] = NAN
    maps[3, 0, 0] = float("inf")
    assert has_evidence(maps).tolist() == [True, False, False, False]
    assert strongest(maps)[1:].tolist() == [[-1, -1]] * 3
    assert top_part(maps, torch.tensor([2, 2, 2, 2])).sum((1, 2)).tolist() == [2, 0, 0, 0]


def test_the_strongest_pixel_is_row_and_column():
    maps = torch.zeros(1, 4, 7)
    maps[0, 2, 5] = 1.0
    maps[0, 3, 1] = -9.0
    assert strongest(maps).tolist() == [[2, 5]]
    assert strongest(maps, "absolute").tolist() == [[3, 1]]


def test_of_a_block_of_equals_the_first_or_the_middle_is_meant():
    maps = torch.zeros(2, 8, 9)
    maps[0, 2:7, 3:8] = 1.0
    maps[1, 0, 0] = maps[1, 0, 8] = maps[1, 7, 4] = 2.0  # their centre is none of them
    assert strongest(maps).tolist() == [[2, 3], [0, 0]]
    assert strongest(maps, ties="centre").tolist() == [[4, 5], [0, 0]]
    assert strongest(-maps, "absolute", "centre").tolist() == [[4, 5], [0, 0]]
    assert strongest(torch.zeros(1, 2, 2), ties="centre").tolist() == [[-1, -1]]


def test_a_map_that_speaks_only_against_the_class_has_no_positive_point():
    maps = torch.tensor([[[-1.0, -2.0]], [[0.0, -2.0]]])
    assert strongest(maps).tolist() == [[-1, -1]] * 2
    assert strongest(maps, "absolute").tolist() == [[0, 1]] * 2


def test_a_part_has_exactly_so_many_pixels_and_the_highest():
    maps = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    part = top_part(maps, torch.tensor([1, 7, 30]))
    assert part.sum((1, 2)).tolist() == [1, 7, 30]
    assert float(maps[1][part[1]].min()) >= float(maps[1][~part[1]].max())


def test_what_is_moved_keeps_size_and_shape_and_does_not_depend_on_neighbours():
    maps = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    rng = Randomness(3).for_examples(["a", "b", "c", "d"])
    there = moved(maps, rng)
    assert not torch.equal(there, maps)
    assert torch.equal(there.flatten(1).sort(1).values, maps.flatten(1).sort(1).values)
    assert torch.equal(moved(maps[[2, 0]], rng[[2, 0]]), there[[2, 0]])
    assert any(torch.equal(torch.roll(maps[0], (y, x), (0, 1)), there[0]) for y in range(6) for x in range(5))
    masks = maps > 0
    assert torch.equal(moved(masks, rng).sum((1, 2)), masks.sum((1, 2)))


def test_every_other_place_is_as_likely():
    maps = torch.zeros(3000, 2, 3)
    maps[:, 0, 1] = 1
    places = strongest(moved(maps, Randomness(0)))
    counts = torch.bincount(places[:, 0] * 3 + places[:, 1], minlength=6)
    assert counts[1] == 0
    assert counts[[0, 2, 3, 4, 5]].min() > 500
    assert moved(torch.ones(1, 1, 1), Randomness(0)).tolist() == [[[1.0]]]
