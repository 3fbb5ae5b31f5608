"""How long a fine-tuning is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snellen.core.randomness import Randomness
from snellen.training.batches import ImageStore
from snellen.training.fine_tuning import MOST_PASSES, Term, TuningPlan, fine_tune


@pytest.mark.parametrize(
    ("least", "steps"), [(0, 2), (5, 6), (1_000, 2 * MOST_PASSES)], ids=["as planned", "enough", "not without end"]
)
def test_few_images_are_shown_more_often(least: int, steps: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    images = torch.randint(0, 256, (64, 3, 2, 2), dtype=torch.uint8)
    made = []

    def counted(model: nn.Module, batch: object) -> torch.Tensor:
        made.append(batch)
        return torch.zeros(32)

    plan = TuningPlan(epochs=1, least_steps=least, batch_size=32)
    store = ImageStore.of_tensors(images, torch.arange(64) % 2)
    fine_tune(network, store, [Term(objective=counted)], plan=plan, rng=Randomness(0))
    assert len(made) == steps
