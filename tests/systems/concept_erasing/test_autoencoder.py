"""The autoencoder: exactly K of n, tied start, unit columns, gradients across them, dead features."""

import copy

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.concept_erasing import autoencoder as module
from snellen.systems.concept_erasing.autoencoder import SparseAutoencoder
from snellen.systems.concept_erasing.geometric_median import geometric_median
from snellen.systems.concept_erasing.reconstruction import Reconstruction, explained_variance
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from tests.systems.concept_erasing.conftest import states


def made(width=6, latents=40, active=5):
    torch.manual_seed(1)
    return SparseAutoencoder(width, latents, active)


def batch(points):
    rng = Randomness(0).bind(len(points))
    return Batch(points, torch.zeros(len(points)), torch.ones(len(points)), torch.arange(len(points)), rng)


def by_hand(network, points):
    """The paper's formula, dense."""
    before = (points - network.centre) @ network.encoder.T + network.offsets
    kept = torch.zeros_like(before)
    for row, values in enumerate(before):
        for feature in values.argsort(descending=True)[: network.active].tolist():
            kept[row, feature] = max(values[feature].item(), 0.0)
    return kept, kept @ network.decoder + network.centre


@pytest.mark.covers("34.1")
def test_it_is_the_formula_with_at_most_k_active():
    network, points = made().eval(), states(30, 6)
    with torch.no_grad():
        network.offsets.copy_(states(40) * 0.3)
        network.centre.copy_(states(6))
        again, codes = network(points)
        kept, wanted = by_hand(network, points)
    assert codes.indices.shape == (30, 5)
    assert all(len(set(row)) == 5 for row in codes.indices.tolist())
    assert torch.equal(codes.dense(40) > 0, kept > 0)
    assert torch.allclose(codes.dense(40), kept, atol=1e-6)
    assert torch.allclose(again, wanted, atol=1e-5)


@pytest.mark.covers("34.1")
def test_relu_comes_after_the_choice():
    network = made(latents=8, active=8).eval()
    _, codes = network(states(20, 6))
    assert (codes.values >= 0).all()
    assert ((codes.values > 0).sum(1) < 8).any(), "negative activations are set to 0, not replaced by others"


def test_chunks_of_latents_change_nothing(monkeypatch):
    network, points = made().eval(), states(30, 6)
    whole = network.encode(points).dense(40)
    for together in (3, 7, 39):
        monkeypatch.setattr(module, "_TOGETHER", together)
        assert torch.allclose(network.encode(points).dense(40), whole, atol=1e-6)


@pytest.mark.covers("34.2")
def test_it_starts_tied_with_unit_columns_at_the_geometric_median():
    network, points = made(), states(50, 6)
    network.start_at(points)
    assert torch.equal(network.encoder, network.decoder)
    assert network.encoder is not network.decoder
    assert torch.allclose(network.decoder.norm(dim=1), torch.ones(40), atol=1e-6)
    assert torch.equal(network.centre.detach(), geometric_median(points))
    assert not network.offsets.any()


@pytest.mark.covers("34.1")
def test_gradients_of_the_decoder_are_orthogonal_to_its_columns():
    network, points = made().train(), states(64, 6)
    Reconstruction(1.0, dead_after=0, dead_active=4)(network, batch(points)).sum().backward()
    assert network.decoder.grad.norm() > 0.1
    along = (network.decoder.grad * network.decoder).sum(1)
    assert along.abs().max() < 1e-5 * network.decoder.grad.norm()
    plain = copy.deepcopy(network).eval()
    plain.decoder.grad = None
    ((plain(points)[0] - points).square().mean(1)).sum().backward()
    assert (plain.decoder.grad * plain.decoder).sum(1).abs().max() > 1e-2, "without the projection it is not"


@pytest.mark.covers("34.1")
def test_columns_have_length_one_after_every_step():
    store = ImageStore.of_tensors(states(64, 6), torch.zeros(64, dtype=torch.int64), split="train")
    plan = TrainingPlan(epochs=3, batch_size=16, learning_rate=0.05, weight_decay=0, schedule="constant")
    seen = []

    class Watched(SparseAutoencoder):
        def decode(self, codes):
            if self.training:
                seen.append(self.decoder.detach().norm(dim=1))
            return super().decode(codes)

    torch.manual_seed(1)
    trained = train(Watched(6, 40, 5), store, plan=plan, objective=Reconstruction(1.0, dead_after=10**6))
    assert len(seen) == 12
    assert torch.allclose(torch.stack(seen), torch.ones(12, 40), atol=1e-6)
    network = made()
    network.load_state_dict(trained.weights)
    assert (network.decoder.norm(dim=1) - 1).abs().max() > 1e-6, "the last step still lengthens them a little"
    network.normalise()
    assert torch.allclose(network.decoder.norm(dim=1), torch.ones(40), atol=1e-6)


def test_training_explains_states_that_are_sparse_sums():
    torch.manual_seed(2)
    directions = torch.nn.functional.normalize(torch.randn(20, 6), dim=1)
    mixed = torch.zeros(600, 20).scatter(1, torch.rand(600, 20).topk(2, dim=1).indices, 1.0) @ directions
    network = made(latents=60, active=2)
    network.start_at(mixed)
    before = explained_variance(mixed, network.eval()(mixed)[0])
    store = ImageStore.of_tensors(mixed, torch.zeros(600, dtype=torch.int64), split="train")
    plan = TrainingPlan(epochs=20, batch_size=100, learning_rate=0.01, weight_decay=0, schedule="constant")
    trained = train(network, store, plan=plan, objective=Reconstruction(1.0, dead_after=10**6))
    network.load_state_dict(trained.weights)
    network.normalise()
    assert explained_variance(mixed, network.eval()(mixed)[0]) > max(before + 0.1, 0.8)


@pytest.mark.covers("34.9")
def test_idle_states_are_counted_in_tokens():
    network = made(latents=40, active=1).train()
    one = network.decoder[3].detach().clone()[None] * 5
    network(one.repeat(7, 1))
    assert network.idle[3] == 0
    assert set(network.idle[torch.arange(40) != 3].tolist()) == {7}
    network(one.repeat(4, 1))
    assert network.dead(10).tolist() == [n for n in range(40) if n != 3]
    assert network.dead(11).tolist() == [], "dead is what is idle for more than so many tokens"
    network.eval()(one)
    assert network.idle.max() == 11, "reading is no training"


@pytest.mark.covers("34.9")
def test_a_dead_feature_is_revived_by_its_loss():
    torch.manual_seed(3)
    network, points = made(latents=10, active=2).train(), states(64, 6)
    with torch.no_grad():
        network.offsets[4] = -100.0  # can never be among the largest
    objective = Reconstruction(1.0, dead_after=60, dead_active=3)
    objective(network, batch(points))
    assert network.dead(60).tolist().count(4) == 1
    again, _ = network(points)
    own = objective.of_dead(network, points, again)
    assert own.shape == (64,)
    assert (own > 0).all()
    with torch.no_grad():
        network.offsets[4] = 0.5
    network.idle.fill_(0)
    network.idle[4] = 1000
    network.zero_grad()
    again = network.decode(network.encode(points)) + network.centre
    objective.of_dead(network, points, again).sum().backward()
    assert network.encoder.grad[4].norm() > 0
    assert network.encoder.grad[torch.arange(10) != 4].norm() == 0, "living features are no part of it"
    network.idle.fill_(0)
    assert not objective.of_dead(network, points, again).any()


def test_nothing_left_to_explain_counts_nothing():
    network, points = made().train(), states(8, 6)
    network.idle.fill_(99)
    assert not Reconstruction(1.0, dead_after=1).of_dead(network, points, points.clone()).any()
    own = Reconstruction(1.0, dead_after=1).of_dead(network, points, points.clone())
    (own.sum() + network.centre.sum()).backward()
    assert all(one.grad is None or bool(one.grad.isfinite().all()) for one in network.parameters())


@pytest.mark.parametrize(("latents", "active"), [(4, 5), (4, 0), (0, 1)])
def test_impossible_sizes_are_refused(latents, active):
    with pytest.raises(InputError, match="active latents"):
        SparseAutoencoder(6, latents, active)


def test_states_that_cannot_be_coded_are_refused():
    with pytest.raises(InputError, match=r"\(m, 6\)"):
        made().encode(states(3, 5))
    with pytest.raises(InputError, match="not finite"):
        made().encode(torch.full((1, 6), float("inf")))
