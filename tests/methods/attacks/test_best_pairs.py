"""The best pair against a table of all pairs."""

import pytest
import torch

from snellen.methods.attacks import saliency_map
from snellen.methods.attacks.saliency_map import best_pairs


def of_all_pairs(gains, costs, free):
    a, b = (v[:, :, None] + v[:, None] for v in (gains, costs))
    allowed = (a > 0) & (b > 0) & free[:, :, None] & free[:, None] & ~torch.eye(gains.shape[1], dtype=torch.bool)
    return torch.where(allowed, a * b, -1.0).flatten(1).max(1).values


@pytest.mark.parametrize("width", [2, 3, 40, 150])
@pytest.mark.parametrize("table", [2**24, 500])
def test_equals_the_best_of_all_pairs(width, table, monkeypatch):
    monkeypatch.setattr(saliency_map, "_TABLE", table)
    generator = torch.Generator().manual_seed(width)
    for scale in (1.0, 0.1, 10.0):
        gains, costs = torch.randn(30, width, generator=generator), scale * torch.randn(30, width, generator=generator)
        free = torch.rand(30, width, generator=generator) > 0.3
        pairs, exists = best_pairs(gains, costs, free)
        best = of_all_pairs(gains, costs, free)
        assert torch.equal(exists, best > 0)
        product = gains.gather(1, pairs).sum(1) * costs.gather(1, pairs).sum(1)
        assert torch.allclose(product[exists], best[exists], rtol=1e-6)
        assert (pairs[exists][:, 0] < pairs[exists][:, 1]).all()
        assert free.gather(1, pairs)[exists].all()


def test_an_image_does_not_depend_on_its_neighbours():
    generator = torch.Generator().manual_seed(1)
    gains, costs = torch.randn(2, 20, 60, generator=generator)
    free = torch.rand(20, 60, generator=generator) > 0.1
    whole = best_pairs(gains, costs, free)[0]
    for i in range(20):
        assert torch.equal(best_pairs(gains[[i]], costs[[i]], free[[i]])[0][0], whole[i])


def test_no_pair_where_fewer_than_two_are_free_or_no_sum_has_the_right_sign():
    gains, costs = torch.ones(3, 4), torch.ones(3, 4)
    free = torch.tensor([[True, False, False, False], [False] * 4, [True] * 4])
    assert best_pairs(gains, costs, free)[1].tolist() == [False, False, True]
    assert not best_pairs(gains, -costs, free)[1].any()
    assert best_pairs(gains[:, :1], costs[:, :1], free[:, :1])[1].tolist() == [False] * 3
    assert best_pairs(gains[:0], costs[:0], free[:0])[0].shape == (0, 2)


def test_values_that_are_all_equal_take_the_first_two():
    assert best_pairs(torch.ones(1, 50), torch.ones(1, 50), torch.ones(1, 50, dtype=torch.bool))[0].tolist() == [[0, 1]]
