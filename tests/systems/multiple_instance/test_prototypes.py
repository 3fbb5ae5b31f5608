"""Prototypes: the closed form against the loop over the batch, and the case that nothing is known of."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.systems.multiple_instance.prototypes import filled, prototype_scores, updated_prototypes


def one_after_the_other(prototypes: Tensor, queries: Tensor, classes: Tensor, momentum: float) -> Tensor:
    """The update as it is published: a loop over the batch, then normalisation."""
    moved = prototypes.clone()
    for query, of_class in zip(queries, classes.tolist(), strict=True):
        moved[of_class] = momentum * moved[of_class] + (1 - momentum) * query
    return F.normalize(moved, dim=1)


@pytest.mark.covers("36.3")
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("start", ["zero", "somewhere"])
def test_the_closed_form_is_the_loop(momentum: float, start: str) -> None:
    generator = torch.Generator().manual_seed(3)
    prototypes = torch.zeros(2, 5, dtype=torch.float64)
    if start == "somewhere":
        prototypes = F.normalize(torch.randn(2, 5, generator=generator, dtype=torch.float64), dim=1)
    for size in (1, 2, 17, 64):
        queries = F.normalize(torch.randn(size, 5, generator=generator, dtype=torch.float64), dim=1)
        classes = torch.randint(0, 2, (size,), generator=generator)
        expected = one_after_the_other(prototypes, queries, classes, momentum)
        prototypes = updated_prototypes(prototypes, queries, classes, momentum=momentum)
        torch.testing.assert_close(prototypes, expected, rtol=1e-12, atol=1e-12)
        lengths = prototypes.norm(dim=1)
        assert bool(((lengths - 1).abs() < 1e-12).logical_or(lengths == 0).all())


@pytest.mark.covers("36.3")
def test_a_class_that_never_came_has_no_prototype() -> None:
    queries = F.normalize(torch.ones(4, 3), dim=1)
    first = updated_prototypes(torch.zeros(2, 3), queries, torch.zeros(4, dtype=torch.int64), momentum=0.9)
    assert not filled(first)
    assert first[1].tolist() == [0.0, 0.0, 0.0]
    assert filled(updated_prototypes(first, queries, torch.ones(4, dtype=torch.int64), momentum=0.9))


def test_scores_follow_likeness() -> None:
    scores = prototype_scores(torch.eye(2), torch.eye(2))
    assert scores.argmax(1).tolist() == [0, 1]
    torch.testing.assert_close(scores.sum(1), torch.ones(2))
