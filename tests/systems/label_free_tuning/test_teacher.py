"""The head on frozen features: what it learns from, and that it is never trained again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.label_free_tuning.selection import FewImagesWarning
from snellen.systems.label_free_tuning.teaching import HEAD_PLAN, LabelHead, fit_label_head, hard_labels, teach
from snellen.systems.label_free_tuning.tuning import TUNING_PLAN, tune_network
from snellen.training.batches import ImageStore

NAMES = ["a", "b", "c"]


def clusters(count: int = 90, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features in three clusters, and the class of each."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return torch.eye(3, 8)[labels] * 4 + torch.randn(count, 8, generator=generator) * 0.3, labels


def guesses(labels: Tensor, right: float, seed: int = 1) -> Tensor:
    """Probabilities of a model that is right on a share of the images, and the surer the likelier it is right."""
    generator = torch.Generator().manual_seed(seed)
    surety = torch.rand(len(labels), generator=generator)
    named = torch.where(surety > 1 - right, labels, (labels + 1) % 3)
    return nn.functional.one_hot(named, 3) * (0.4 + 0.5 * surety)[:, None] + 0.05


def test_the_head_is_two_linear_layers_trained_as_published() -> None:
    head = LabelHead(768, 256, 10)
    assert [tuple(one.weight.shape) for one in head.layers if isinstance(one, nn.Linear)] == [(256, 768), (10, 256)]
    assert isinstance(head.layers[1], nn.ReLU)
    plan = HEAD_PLAN
    assert (plan.epochs, plan.batch_size, plan.learning_rate, plan.weight_decay) == (50, 32, 1e-3, 0.0)
    assert (plan.optimizer, plan.schedule) == ("adamw", "constant")


def test_it_learns_and_the_same_seed_gives_the_same_head() -> None:
    features, labels = clusters()
    head = fit_label_head(features, labels, 3, hidden=16, rng=Randomness(0))
    assert float((hard_labels(head, features) == labels).double().mean()) > 0.98
    again = fit_label_head(features, labels, 3, hidden=16, rng=Randomness(0))
    assert torch.equal(head(features), again(features))
    other = fit_label_head(features, labels, 3, hidden=16, rng=Randomness(1))
    assert not torch.equal(head(features), other(features))
    assert not any(parameter.requires_grad for parameter in head.parameters())


@pytest.mark.covers("35.4")
def test_the_teacher_learns_clusters_of_its_features_and_repairs_the_guesses() -> None:
    features, labels = clusters()
    probabilities = guesses(labels, 0.7)
    assert 0.6 < float((probabilities.argmax(1) == labels).double().mean()) < 0.8
    taught = teach(probabilities, features, NAMES, rng=Randomness(0), least=8, hidden=16)
    assert float((taught.labels == labels).double().mean()) > 0.98
    blind = teach(probabilities, torch.randn(90, 8), NAMES, rng=Randomness(0), least=8, hidden=16)
    assert float((blind.labels == labels).double().mean()) < 0.7, "it is the features that know better"


@pytest.mark.covers("35.10")
def test_labels_are_made_once_for_all_images_from_the_features_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clusters()
    calls: list[int] = []
    forward = LabelHead.forward

    def counted(head: LabelHead, rows: Tensor) -> Tensor:
        if not head.training:
            calls.append(len(rows))
        return forward(head, rows)

    monkeypatch.setattr(LabelHead, "forward", counted)
    taught = teach(guesses(labels, 0.7), features, NAMES, rng=Randomness(0), least=8, hidden=16)
    assert calls == [90]
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    store = ImageStore.of_tensors(torch.zeros(90, 3, 8, 8, dtype=torch.uint8), taught.labels)
    tune_network(network, store, plan=TUNING_PLAN.model_copy(update={"epochs": 2, "batch_size": 45}))
    assert calls == [90], "the student's training never asks the teacher"


@pytest.mark.covers("35.6")
def test_the_teacher_is_frozen_while_the_student_learns() -> None:
    features, labels = clusters()
    taught = teach(guesses(labels, 0.7), features, NAMES, rng=Randomness(0), least=8, hidden=16)
    before, given = hash_tensors(taught.head.state_dict()), taught.labels.clone()
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    images = torch.randint(0, 256, (90, 3, 8, 8), dtype=torch.uint8)
    trained = tune_network(
        network,
        ImageStore.of_tensors(images, taught.labels),
        plan=TUNING_PLAN.model_copy(update={"epochs": 2, "batch_size": 45}),
    )
    assert not torch.equal(trained.weights["1.weight"], network.state_dict()["1.weight"]), "the student has moved"
    assert hash_tensors(taught.head.state_dict()) == before
    assert torch.equal(taught.labels, given)


def test_what_does_not_fit_is_refused_and_few_images_are_reported() -> None:
    features, labels = clusters()
    with pytest.raises(InputError, match="same n images and k = 2 classes"):
        teach(guesses(labels, 0.7), features, ["a", "b"], rng=Randomness(0))
    with pytest.raises(InputError, match="there is one class, 'a'"):
        teach(torch.ones(90, 1), features, ["a"], rng=Randomness(0))
    with pytest.warns(FewImagesWarning):
        taught = teach(guesses(labels, 0.7)[:30], features[:30], NAMES, rng=Randomness(0), hidden=8)
    assert taught.per_class == 16
    assert len(taught.selected.positions) <= 30
    with pytest.raises(InputError, match="from 0 to 1"):
        fit_label_head(features, labels, 2, rng=Randomness(0))
    with pytest.raises(InputError, match="m ≥ 1"):
        fit_label_head(features[:0], labels[:0], 2, rng=Randomness(0))
