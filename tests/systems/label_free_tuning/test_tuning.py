"""Two views, the loss, and which epoch is taken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snellen.core.randomness import Randomness
from snellen.systems.label_free_tuning import tuning
from snellen.systems.label_free_tuning.tuning import LABEL_SMOOTHING, TUNING_PLAN, StrongView, agreement, tune_network
from snellen.training.batches import Examples, ImageStore

PLAN = TUNING_PLAN.model_copy(update={"epochs": 3, "batch_size": 8})


def store(count: int = 16) -> ImageStore:
    images = torch.randint(0, 256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageStore.of_tensors(images, torch.arange(count) % 3)


class Seeing(nn.Module):
    """A linear classifier that remembers what it was shown, by mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, 3)

    def forward(self, images: Tensor) -> Tensor:
        SEEN[self.training].append(images.detach().clone())
        return self.layer(images.flatten(1))


SEEN: dict[bool, list[Tensor]] = {True: [], False: []}


@pytest.mark.covers("35.5")
def test_the_student_sees_strong_views_and_is_compared_on_plain_ones() -> None:
    SEEN[True].clear()
    SEEN[False].clear()
    examples = store()
    tune_network(Seeing(), examples, plan=PLAN, selection="agreement")
    plain = examples.images.float() / 255
    shown = torch.cat(SEEN[True])
    assert len(shown) == 3 * 16
    nearest = (shown[:, None] - plain[None]).abs().amax((2, 3, 4)).amin(1)
    assert float(nearest.min()) > 1e-3, "no plain view is ever learned from"
    assert torch.allclose(SEEN[False][-1], plain), "and the teacher's labels are those of plain views"


def test_the_strong_view_is_the_published_one() -> None:
    view = StrongView()
    assert (view.smallest_crop, view.distortion, view.perspective_share, view.blur) == (0.2, 0.2, 0.5, (0.1, 2.0))
    assert (view.brightness, view.contrast, view.saturation, view.hue) == (0.4, 0.4, 0.4, 0.1)
    assert view.jitter_share == 0.8
    images = torch.rand(6, 3, 16, 16)
    rng = Randomness(0).bind(6)
    changed, targets = view.transform()(images, torch.arange(6), rng)
    assert changed.shape == images.shape
    assert targets.tolist() == list(range(6))
    assert bool(((changed - images).abs().amax((1, 2, 3)) > 0.01).all())
    alone, _ = view.transform()(images[2:3], torch.zeros(1), rng[[2]])
    assert torch.allclose(alone, changed[2:3], atol=1e-6)


def test_numbers_of_the_student_are_the_papers() -> None:
    plan = TUNING_PLAN
    assert (plan.epochs, plan.batch_size, plan.learning_rate, plan.weight_decay) == (50, 512, 0.004, 0.01)
    assert (plan.momentum, plan.second_momentum, plan.schedule, LABEL_SMOOTHING) == (0.9, 0.999, "constant", 0.1)


def test_the_loss_is_smoothed_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Tensor] = []
    whole = tuning.train

    def spied(model: nn.Module, examples: Examples, **options: object) -> object:
        objective = options["objective"]

        class Batch:
            images, targets = torch.zeros(2, 3, 8, 8), torch.tensor([0, 2])

        logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]])
        found.append(objective(lambda _images: logits, Batch()))  # type: ignore[operator]
        found.append(logits)
        return whole(model, examples, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tuning, "train", spied)
    tune_network(Seeing(), store(), plan=PLAN)
    losses, logits = found
    log = logits.log_softmax(1)
    for row, label in enumerate((0, 2)):
        by_hand = 0.9 * -log[row, label] + 0.1 * (-log[row]).mean()
        assert torch.allclose(losses[row], by_hand)


@pytest.mark.covers("35.9")
def test_the_last_epoch_is_taken_or_the_one_that_agrees_with_the_teacher() -> None:
    examples = store()
    last = tune_network(Seeing(), examples, plan=PLAN)
    assert last.best_epoch == 3
    assert set(last.history[0]) == {"epoch", "step", "train.loss"}, "no accuracy anywhere"
    chosen = tune_network(Seeing(), examples, plan=PLAN, selection="agreement")
    figures = [row["val.agreement"] for row in chosen.history]
    assert chosen.best_epoch == 1 + figures.index(max(figures))
    model = Seeing().eval()
    model.load_state_dict(dict(chosen.weights))
    assert agreement(model, examples)["agreement"] == max(figures)
