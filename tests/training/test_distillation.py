"""Both trainings of a distillation against their formulas, and what a temperature does to the scores."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.batches import Batch, ImageStore
from snellen.training.distillation import at_temperature, distil, scale_last_layer, soft_labels, towards
from snellen.training.plan import TrainingPlan

PLAN = TrainingPlan(epochs=8, batch_size=20, learning_rate=2e-2)


def examples(count: int = 120, seed: int = 0) -> ImageStore:
    """Images of three classes, one for each bright channel."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = torch.randint(0, 120, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)
    pixels[torch.arange(count), labels] += 60
    return ImageStore.of_tensors(pixels, labels, split="train")


def network(seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def batch(positions: list[int]) -> Batch:
    images, targets = examples().read(torch.tensor(positions))
    return Batch(images.float() / 255, targets, torch.ones(len(positions)), torch.tensor(positions), Randomness(0))


@pytest.mark.covers("10.5")
def test_both_objectives_are_the_formulas_at_the_temperature() -> None:
    model, given, temperature = network(), batch([5, 0, 17]), 20.0
    scores = model(given.images)
    ours = at_temperature(temperature)(model, given)
    assert torch.allclose(ours, F.cross_entropy(scores / temperature, given.targets, reduction="none"))
    soft = torch.rand(120, 3, generator=torch.Generator().manual_seed(1))
    soft /= soft.sum(1, keepdim=True)
    by_hand = -(soft[[5, 0, 17]] * (scores / temperature).log_softmax(1)).sum(1)
    assert torch.allclose(towards(soft, temperature=temperature)(model, given), by_hand), "looked up by position"
    divergence = by_hand + (soft[[5, 0, 17]] * soft[[5, 0, 17]].log()).sum(1)
    mixed = 0.7 * temperature**2 * divergence + 0.3 * F.cross_entropy(scores, given.targets, reduction="none")
    assert torch.allclose(towards(soft, temperature=temperature, hard_share=0.3)(model, given), mixed, rtol=1e-4)


def test_soft_labels_are_the_teachers_probabilities_in_evaluation_mode() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 3)).train()
    found = soft_labels(teacher, examples(), temperature=7.0)
    assert torch.equal(found, soft_labels(teacher, examples(), temperature=7.0))
    images, _ = examples().read(torch.arange(120))
    expected = (teacher[2]((images.float() / 255).flatten(1)) / 7).softmax(1)
    assert torch.allclose(found, expected.detach(), atol=1e-6)
    assert found.dtype == torch.float32


@pytest.mark.covers("10.5")
def test_a_teacher_in_place_of_its_answers_judges_what_the_student_sees() -> None:
    teacher, student, given = network(1).eval(), network(2), batch([5, 0, 17])
    whole = soft_labels(teacher, examples(), temperature=5.0)
    once, anew = towards(whole, temperature=5.0), towards(teacher, temperature=5.0)
    assert torch.allclose(anew(student, given), once(student, given), atol=1e-6)
    brighter = replace(given, images=given.images.flip(1))
    wanted = -((teacher(brighter.images) / 5).softmax(1) * (student(brighter.images) / 5).log_softmax(1)).sum(1)
    assert torch.allclose(anew(student, brighter), wanted, atol=1e-6)
    assert not torch.allclose(once(student, brighter), wanted, atol=1e-3)


@pytest.mark.covers("10.5")
def test_scores_of_the_student_grow_with_the_temperature() -> None:
    margins = {}
    for temperature in (1.0, 30.0):
        teacher, student = (scale_last_layer(network(seed), temperature) for seed in (1, 2))
        both = distil(teacher, student, examples(), temperature=temperature, plan=PLAN)
        student.load_state_dict(dict(both.student.weights))
        images, targets = examples().read(torch.arange(120))
        with torch.no_grad():
            scores = student(images.float() / 255)
        assert (scores.argmax(1) == targets).double().mean() > 0.95
        top = scores.topk(2, dim=1).values
        margins[temperature] = float((top[:, 0] - top[:, 1]).median())
    # Of the order of the temperature: how far exactly depends on how long the trainings are.
    assert 10 < margins[30.0] / margins[1.0] < 90


def test_the_given_networks_stay_and_a_trained_teacher_is_not_trained() -> None:
    teacher, student = network(1), network(2)
    before = [parameter.clone() for model in (teacher, student) for parameter in model.parameters()]
    both = distil(teacher, student, examples(), temperature=5.0, plan=PLAN)
    after = [parameter for model in (teacher, student) for parameter in model.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert both.teacher is not None
    teacher.load_state_dict(dict(both.teacher.weights))
    again = distil(teacher, student, examples(), temperature=5.0, plan=PLAN, teacher_is_trained=True)
    assert again.teacher is None
    assert all(torch.equal(tensor, again.student.weights[name]) for name, tensor in both.student.weights.items())


def test_what_cannot_be_distilled_is_refused() -> None:
    for temperature in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="a temperature is a number above 0"):
            distil(network(), network(), examples(), temperature=temperature, plan=PLAN)
    with pytest.raises(InputError, match="hard_share is a weight from 0 to below 1, got 1"):
        towards(torch.ones(1, 1), temperature=1.0, hard_share=1.0)
    with pytest.raises(InputError, match="no linear layer"):
        scale_last_layer(nn.Sequential(nn.Flatten()), 2.0)
