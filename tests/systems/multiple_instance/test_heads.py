"""Heads on bags: formulas written out, padding and order that must not matter, and what single instances say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.models.encoders.head_on_encoder import InstanceHead, Standardise
from snellen.systems.multiple_instance.attention_heads import AttentionHead, ClusteringAttentionHead
from snellen.systems.multiple_instance.bag_head import BagHead, PooledHead
from snellen.systems.multiple_instance.dual_stream_head import DualStreamHead
from snellen.systems.multiple_instance.transformer_head import TransformerHead

DIM, WIDTH = 6, 16
HEADS: dict[str, Callable[[], BagHead]] = {
    "mean": lambda: PooledHead(DIM, WIDTH, "mean"),
    "max": lambda: PooledHead(DIM, WIDTH, "max"),
    "attention": lambda: AttentionHead(DIM, WIDTH),
    "clustering": lambda: ClusteringAttentionHead(DIM, WIDTH),
    "dual stream": lambda: DualStreamHead(DIM, WIDTH),
    "transformer": lambda: TransformerHead(DIM, WIDTH, heads=4),
}


def made(name: str) -> BagHead:
    torch.manual_seed(0)
    return HEADS[name]().eval()


def bags(count: int, length: int) -> Tensor:
    return torch.randn(count, length, DIM, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", HEADS)
def test_padding_changes_nothing(name: str) -> None:
    head, vectors = made(name), bags(2, 7)
    present = torch.ones(2, 7, dtype=torch.bool)
    present[1, 4:] = False
    together = head.bags(vectors, present)
    for row, length in ((0, 7), (1, 4)):
        alone = head.bags(vectors[row : row + 1, :length], torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(together.logits[row], alone.logits[0])
        torch.testing.assert_close(together.instances[row, :length], alone.instances[0])
    labels = torch.tensor([1, 0])
    losses = head.losses(vectors, present, labels)
    torch.testing.assert_close(losses[1:], head.losses(vectors[1:, :4], present[1:, :4], labels[1:]))


@pytest.mark.parametrize("name", [name for name in HEADS if name != "transformer"])
def test_the_order_of_instances_changes_nothing(name: str) -> None:
    head, vectors, present = made(name), bags(1, 7), torch.ones(1, 7, dtype=torch.bool)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    first, second = head.bags(vectors, present), head.bags(vectors[:, order], present)
    torch.testing.assert_close(first.logits, second.logits)
    torch.testing.assert_close(first.instances[:, order], second.instances)


@pytest.mark.parametrize("name", HEADS)
def test_a_single_instance_is_a_bag_of_its_own(name: str) -> None:
    head, vectors = made(name), bags(1, 5)
    alone = torch.cat(
        [head.bags(vectors[:, row : row + 1], torch.ones(1, 1, dtype=torch.bool)).logits for row in range(5)]
    )
    torch.testing.assert_close(head(vectors[0]), alone)


@pytest.mark.parametrize("name", HEADS)
def test_gradients_reach_everything_that_the_loss_needs(name: str) -> None:
    head = made(name).train()
    head.losses(bags(2, 9), torch.ones(2, 9, dtype=torch.bool), torch.tensor([0, 1])).sum().backward()
    without = {key for key, parameter in head.named_parameters() if parameter.grad is None}
    assert without == set()


def test_pooled_probabilities_are_mean_and_maximum() -> None:
    vectors, present = bags(3, 5), torch.ones(3, 5, dtype=torch.bool)
    for pooling, expected in (("mean", lambda p: p.mean(1)), ("max", lambda p: p.amax(1))):
        head = made(pooling)
        assert isinstance(head, PooledHead)
        positive = head.scores(head.hidden(vectors)).softmax(-1)[..., 1]
        torch.testing.assert_close(head.bags(vectors, present).logits.exp()[:, 1], expected(positive))
        torch.testing.assert_close(head.bags(vectors, present).logits.exp().sum(1), torch.ones(3))


def test_gated_attention_is_its_formula() -> None:
    head, vectors = made("attention"), bags(1, 4)
    assert isinstance(head, AttentionHead)
    hidden = [F.relu(head.hidden[0](vector)) for vector in vectors[0]]
    part = head.attention
    raw = torch.stack([part.score(torch.tanh(part.tanh(h)) * torch.sigmoid(part.gate(h)))[0] for h in hidden])
    pooled = sum(weight * h for weight, h in zip(raw.exp() / raw.exp().sum(), hidden, strict=True))
    found = head.bags(vectors, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(found.logits[0], head.scores(pooled))
    torch.testing.assert_close(found.instances[0], raw)


def test_clustering_asks_both_ends_of_the_order() -> None:
    torch.manual_seed(0)
    head = ClusteringAttentionHead(DIM, WIDTH, clustered=2, bag_weight=0.0)
    vectors, present = bags(1, 6), torch.ones(1, 6, dtype=torch.bool)
    hidden = head.hidden(vectors)[0]
    order = head.attention(hidden).argsort(descending=True)
    evidence = head.evidence(hidden).unflatten(-1, (2, 2))
    for label in (0, 1):
        asked = [(order[0], label, 1), (order[1], label, 1), (order[4], label, 0), (order[5], label, 0)]
        asked += [(order[0], 1 - label, 0), (order[1], 1 - label, 0)]
        losses = [F.cross_entropy(evidence[row, of_class][None], torch.tensor([yes])) for row, of_class, yes in asked]
        found = head.losses(vectors, present, torch.tensor([label]))
        torch.testing.assert_close(found[0], torch.stack(losses).mean())


def test_two_streams_meet_in_the_critical_instance() -> None:
    head, vectors = made("dual stream"), bags(1, 5)
    assert isinstance(head, DualStreamHead)
    hidden = head.hidden(vectors)[0]
    scores = head.scores(hidden)
    critical = int((scores[:, 1] - scores[:, 0]).argmax())
    queries = head.query(hidden)
    weights = (queries @ queries[critical] / queries.shape[1] ** 0.5).softmax(0)
    expected = (scores[critical] + head.bag_scores(weights @ head.value(hidden))) / 2
    torch.testing.assert_close(head.bags(vectors, torch.ones(1, 5, dtype=torch.bool)).logits[0], expected)


def test_the_class_token_spreads_all_but_what_it_keeps() -> None:
    head, vectors = made("transformer"), bags(2, 7)
    found = head.bags(vectors, torch.ones(2, 7, dtype=torch.bool)).instances / 7
    assert bool((found > 0).all())
    assert bool((found.sum(1) < 1).all())


def test_standardising_leaves_constant_entries_as_they_are() -> None:
    vectors = torch.cat([bags(1, 50)[0] * 3 + 2, torch.full((50, 1), 4.0)], 1)
    standardise = Standardise(DIM + 1)
    standardise.fit(vectors)
    found = standardise(vectors)
    torch.testing.assert_close(found.mean(0), torch.zeros(DIM + 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:, :DIM].std(0, correction=0), torch.ones(DIM))
    assert bool((found[:, -1] == 0).all())


def test_an_instance_head_scores_vectors() -> None:
    assert InstanceHead(DIM, WIDTH)(bags(1, 3)[0]).shape == (3, 2)


def test_both_streams_of_two_learn_from_the_label_of_the_bag() -> None:
    """By their mean alone, an instance stream that is wrong costs nothing where the other makes up for it."""
    head, vectors, present = made("dual stream"), bags(1, 5), torch.ones(1, 5, dtype=torch.bool)
    assert isinstance(head, DualStreamHead)
    with torch.no_grad():
        head.scores.weight.zero_()
        head.scores.bias.copy_(torch.tensor([8.0, -8.0]))
        head.bag_scores.weight.zero_()
        head.bag_scores.bias.copy_(torch.tensor([-9.0, 9.0]))
    assert head.bags(vectors, present).logits.diff(dim=1).item() > 0
    # Half of −log sigmoid(−16), the loss of the wrong stream.
    assert head.losses(vectors, present, torch.tensor([1])).item() == pytest.approx(8, abs=0.01)
