"""The mixture of real and synthetic images in a batch: two means, an empty part, repetition."""

import pytest
import torch
from torch import nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.batches import Batch, ImageStore
from snellen.training.fine_tuning import TuningPlan, fine_tune
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from snellen.training.real_and_synthetic import by_source, mixed_in_parts, pooled, term_of_sources, weighed

LOSSES = torch.tensor([1.0, 3.0, 5.0, 7.0, 20.0])
SYNTHETIC = torch.tensor([False, True, True, True, False])


@pytest.mark.covers("8.6")
def test_the_loss_is_the_weighted_sum_of_two_means():
    found = weighed(LOSSES, SYNTHETIC, 0.8).mean()
    assert float(found) == pytest.approx(0.8 * (1 + 20) / 2 + 0.2 * (3 + 5 + 7) / 3)


@pytest.mark.covers("8.6")
def test_weights_of_examples_stay_inside_their_part():
    weights = torch.tensor([1.0, 2.0, 0.0, 1.0, 3.0])
    found = (weighed(LOSSES, SYNTHETIC, 0.3, weights) * weights).sum() / weights.sum()
    assert float(found) == pytest.approx(0.3 * (1 + 3 * 20) / 4 + 0.7 * (2 * 3 + 7) / 3)


@pytest.mark.covers("8.6")
@pytest.mark.parametrize(("synthetic", "share"), [(False, 0.8), (True, 0.2)])
def test_an_empty_part_counts_nothing_and_the_other_keeps_its_weight(synthetic, share):
    losses = LOSSES.clone().requires_grad_(True)
    found = weighed(losses, torch.full((5,), synthetic), 0.8).mean()
    assert float(found.detach()) == pytest.approx(share * float(LOSSES.mean()))
    found.backward()
    assert torch.isfinite(losses.grad).all()


@pytest.mark.covers("8.6")
@pytest.mark.parametrize("real_left", [False, True])
def test_a_part_whose_weights_are_all_zero_counts_nothing_too(real_left):
    weights = (real_left != SYNTHETIC).float()
    found = (weighed(LOSSES, SYNTHETIC, 0.8, weights) * weights).sum() / weights.sum()
    kept = LOSSES[weights > 0].mean()
    assert float(found) == pytest.approx(float((0.8 if real_left else 0.2) * kept))


def store(count, value, targets=None):
    images = torch.full((count, 3, 4, 4), value, dtype=torch.uint8)
    return ImageStore.of_tensors(images, torch.arange(count) % 2 if targets is None else targets)


@pytest.mark.covers("8.7")
@pytest.mark.parametrize(("real", "made", "times"), [(2, 9, 4), (4, 6, 2), (8, 3, 1)])
def test_real_images_are_repeated_until_there_are_as_many(real, made, times):
    both, flags = pooled(store(real, 1), store(made, 2))
    assert int((~flags).sum()) == times * real
    assert int(flags.sum()) == made
    assert (both.images[flags] == 2).all()
    assert (both.images[~flags] == 1).all()
    assert len(set(both.ids)) == len(both)
    plain, _ = pooled(store(real, 1), store(made, 2), repeat=False)
    assert len(plain) == real + made


def test_images_of_different_sizes_are_refused():
    other = ImageStore.of_tensors(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]))
    with pytest.raises(InputError, match="prepare both alike"):
        pooled(store(2, 1), other)
    with pytest.raises(InputError, match=r"in \[0, 1\]; got 1.5"):
        by_source(SYNTHETIC, 1.5)


class Scores(nn.Module):
    """Two scores, whatever the image."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.ones(2))

    def forward(self, images):
        return self.bias.expand(len(images), 2)


def share_learnt(real_share, tuned):
    """Of contradicting real (class 0) and synthetic (class 1) images, the probability of class 0 that is learnt."""
    both, flags = pooled(store(2, 1, torch.tensor([0, 0])), store(6, 2, torch.tensor([1] * 6)), repeat=False)
    if tuned:
        network = fine_tune(
            Scores(), both, [term_of_sources(flags, real_share)], rng=Randomness(0),
            plan=TuningPlan(epochs=80, batch_size=8, rate=0.1, weight_decay=0),
        )  # fmt: skip
        return float(network.bias.detach().softmax(0)[0])
    plan = TrainingPlan(epochs=60, batch_size=8, learning_rate=0.1, weight_decay=0, schedule="constant")
    return float(train(Scores(), both, plan=plan, objective=by_source(flags, real_share)).weights["bias"].softmax(0)[0])


@pytest.mark.covers("8.6")
def test_a_training_learns_the_share_and_not_the_numbers_of_images():
    assert share_learnt(0.8, tuned=False) == pytest.approx(0.8, abs=0.03)


def test_a_fine_tuning_takes_it_as_a_term():
    assert share_learnt(0.8, tuned=True) > 0.6 > 0.4 > share_learnt(0.2, tuned=True)


def test_real_and_synthetic_images_are_mixed_among_themselves():
    seen = []

    class Model(nn.Module):
        def forward(self, images):
            seen.append(images)
            return torch.zeros(len(images), 2)

    flags = torch.tensor([False, True] * 4)
    images = torch.where(flags.view(8, 1, 1, 1), 1.0, 0.0).expand(8, 3, 8, 8).clone()
    rng = Randomness(0).for_examples([str(row) for row in range(8)])
    batch = Batch(images, torch.arange(8) % 2, torch.ones(8), torch.arange(8), rng)
    losses = mixed_in_parts(flags, 2, 1.0)(Model(), batch)
    assert losses.shape == (8,)
    assert torch.allclose(seen[0], images, atol=1e-6), "a mixture of one kind alone keeps its grey"
    plain = mixed_in_parts(flags, 2, 0.0)(Model(), batch)
    torch.testing.assert_close(plain, torch.full((8,), 0.6931), rtol=1e-3, atol=1e-3)
