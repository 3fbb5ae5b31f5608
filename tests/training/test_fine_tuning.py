"""How long a fine-tuning is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snellen.core.randomness import Randomness
from snellen.training.batches import ImageStore
from snellen.training.evaluation import accuracy
from snellen.training.fine_tuning import MOST_PASSES, Term, TuningPlan, fine_tune, within_loss


@pytest.mark.parametrize(
    ("planned", "steps"), [(1, 2), (6, 6), (1_000, 2 * MOST_PASSES)], ids=["one pass", "as planned", "not without end"]
)
def test_as_many_steps_are_made_of_few_images_as_of_many(planned: int, steps: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    images = torch.randint(0, 256, (64, 3, 2, 2), dtype=torch.uint8)
    made = []

    def counted(model: nn.Module, batch: object) -> torch.Tensor:
        made.append(batch)
        return torch.zeros(32)

    plan = TuningPlan(steps=planned, batch_size=32)
    store = ImageStore.of_tensors(images, torch.arange(64) % 2)
    fine_tune(network, store, [Term(objective=counted)], plan=plan, rng=Randomness(0))
    assert len(made) == steps


def test_weights_go_back_until_hardly_any_accuracy_is_lost() -> None:
    # Dark images are of the second class: its score falls with brightness, that of the first rises.
    right = torch.tensor([[1.0], [-1.0]]).expand(2, 12)
    images = torch.cat([torch.full((20, 3, 2, 2), 200), torch.full((20, 3, 2, 2), 20)]).to(torch.uint8)
    store = ImageStore.of_tensors(images, torch.tensor([0] * 20 + [1] * 20))
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    bias = torch.tensor([-5.0, 5.0])
    before = {"1.weight": right.clone(), "1.bias": bias.clone()}
    after = {"1.weight": -right.clone(), "1.bias": -bias.clone()}
    network.load_state_dict(before)
    assert accuracy(network, store)["accuracy"] == 1.0
    network.load_state_dict(after)
    assert within_loss(network, before, store, accuracy_before=1.0, most=0.01) == 0.25, "beyond half of the way, wrong"
    assert torch.allclose(network[1].weight, 0.5 * right)
    network.load_state_dict({name: 2 * value for name, value in before.items()})
    assert within_loss(network, before, store, accuracy_before=1.0, most=0.01) == 1.0
