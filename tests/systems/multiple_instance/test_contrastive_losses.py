"""Contrastive losses against their formulas written out, one query and one entry at a time."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.systems.multiple_instance.contrastive_losses import info_nce, weakly_supervised_contrast

TEMPERATURE = 0.07


def points(count: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


@pytest.mark.covers("36.6")
def test_of_the_pool_only_the_query_itself_is_left_out() -> None:
    queries, keys, queue = points(5, 0), points(5, 1), points(7, 2)
    classes, of_queue = torch.tensor([0, 1, 0, 0, 1]), torch.tensor([0, 1, 1, 0, 0, 1, 0])
    pool, of_pool = torch.cat([queries, keys, queue]), torch.cat([classes, classes, of_queue])
    expected = []
    for i, query in enumerate(queries):
        others = [j for j in range(len(pool)) if j != i]
        assert i + len(queries) in others  # the other view of the same instance stays
        whole = sum(math.exp(float(query @ pool[j]) / TEMPERATURE) for j in others)
        alike = [j for j in others if of_pool[j] == classes[i]]
        logs = [math.log(math.exp(float(query @ pool[j]) / TEMPERATURE) / whole) for j in alike]
        expected.append(-sum(logs) / len(alike))
    found = weakly_supervised_contrast(
        queries, torch.cat([keys, queue]), classes, torch.cat([classes, of_queue]), temperature=TEMPERATURE
    )
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_gradients_are_finite_and_reach_queries_alone() -> None:
    queries = points(3, 0).requires_grad_(True)
    loss = weakly_supervised_contrast(
        queries, points(3, 1), torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0]), temperature=TEMPERATURE
    )
    assert loss[2] == 0  # nothing else is of its class
    loss.sum().backward()
    assert queries.grad is not None
    assert bool(torch.isfinite(queries.grad).all())


@pytest.mark.covers("36.8")
def test_in_the_warm_up_the_own_key_is_distinguished_from_the_queue() -> None:
    queries, keys, queue = points(5, 0), points(5, 1), points(7, 2)
    logits = torch.stack([torch.cat([(q @ k)[None], queue @ q]) for q, k in zip(queries, keys, strict=True)])
    expected = F.cross_entropy(logits / TEMPERATURE, torch.zeros(5, dtype=torch.int64), reduction="none")
    torch.testing.assert_close(info_nce(queries, keys, queue, temperature=TEMPERATURE), expected)
    assert info_nce(queries, keys, queue[:0], temperature=TEMPERATURE).abs().max() < 1e-12
