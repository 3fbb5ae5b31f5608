"""One step of instance-level learning: what it compares with, what it moves, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.systems.multiple_instance.candidate_labels import candidates_of
from snellen.systems.multiple_instance.contrastive_losses import info_nce, weakly_supervised_contrast
from snellen.systems.multiple_instance.instance_learner import InstanceLearner
from snellen.systems.multiple_instance.prototypes import updated_prototypes
from snellen.systems.multiple_instance.settings import InstanceSettings
from snellen.training.optimizers import build_optimizer
from snellen.training.plan import TrainingPlan
from tests.systems.multiple_instance.small_bags import small_bags, small_networks

INSTANCES, _ = small_bags()
ROWS = torch.tensor([3, 12, 0, 15, 11, 30])  # of a negative bag, positive, negative, positive, positive, positive
WEAK, STRONG = INSTANCES.inputs[ROWS], INSTANCES.inputs[ROWS] + 0.1


def learner(**settings: object) -> InstanceLearner:
    numbers = InstanceSettings.model_validate({"queue": 7, "projection": 4, **settings})
    return InstanceLearner(*small_networks(), candidates_of(INSTANCES.instance_labels), numbers)


def with_prototypes(one: InstanceLearner) -> Tensor:
    prototypes = F.normalize(torch.randn(2, 4, generator=torch.Generator().manual_seed(5)), dim=1)
    one.prototypes.copy_(prototypes)
    return prototypes


def projected(one: InstanceLearner) -> Tensor:
    return F.normalize(one.projection(one.encoder(WEAK)), dim=1).detach()


@pytest.mark.covers("36.2", "36.3")
def test_in_the_warm_up_prototypes_fill_and_targets_stay() -> None:
    one = learner()
    before = one.targets.clone()
    for _ in range(5):
        one.step(WEAK, STRONG, ROWS, warm_up=True, inertia=0.5)
    assert torch.equal(one.targets, before)
    assert one.targets[INSTANCES.instance_labels == 1].unique().tolist() == [0.5]
    assert bool((one.prototypes.norm(dim=1) > 0).all())  # so that nothing but the warm-up keeps them


@pytest.mark.covers("36.3")
def test_an_empty_prototype_moves_no_target() -> None:
    one = learner()
    with torch.no_grad():
        one.classifier.bias.copy_(torch.tensor([50.0, -50.0]))  # all are called negative: μ₁ is never filled
    for _ in range(3):
        one.step(WEAK, STRONG, ROWS, warm_up=False, inertia=0.5)
    assert one.prototypes[1].abs().sum() == 0
    assert one.targets[INSTANCES.instance_labels == 1].unique().tolist() == [0.5]


@pytest.mark.covers("36.3", "36.4")
def test_prototypes_of_before_make_pseudo_labels_and_the_classifier_moves_prototypes() -> None:
    one = learner()
    prototypes, queries = with_prototypes(one), projected(one)
    called = (one(WEAK).softmax(1) * one.candidates[ROWS]).argmax(1)
    nearest = ((queries @ prototypes.T).softmax(1) * one.candidates[ROWS]).argmax(1)
    assert called.tolist() != nearest.tolist()  # otherwise nothing is told apart here
    one.step(WEAK, STRONG, ROWS, warm_up=False, inertia=0.75)
    expected = 0.75 * one.candidates[ROWS].float() / one.candidates[ROWS].sum(1, keepdim=True)
    expected += 0.25 * F.one_hot(nearest, 2)
    torch.testing.assert_close(one.targets[ROWS], expected)
    torch.testing.assert_close(one.prototypes, updated_prototypes(prototypes, queries, called, momentum=0.9))
    others = torch.ones(len(INSTANCES), dtype=torch.bool).index_fill(0, ROWS, False)
    assert one.targets[others & (INSTANCES.instance_labels == 1)].unique().tolist() == [0.5]


@pytest.mark.covers("36.4")
def test_the_ablation_takes_the_classifiers_word_instead() -> None:
    one = learner(labelled_by="classifier")
    with_prototypes(one)
    called = (one(WEAK).softmax(1) * one.candidates[ROWS]).argmax(1)
    one.step(WEAK, STRONG, ROWS, warm_up=False, inertia=0.0)
    assert one.targets[ROWS].argmax(1).tolist() == called.tolist()


@pytest.mark.covers("36.4", "36.6", "36.8")
def test_the_losses_of_both_phases_are_those_of_their_formulas() -> None:
    for warm_up in (True, False):
        one = learner(key_momentum=0.0)
        with_prototypes(one)
        one.step(INSTANCES.inputs[20:23], INSTANCES.inputs[20:23], torch.arange(20, 23), warm_up=True, inertia=1.0)
        held = one.queue.entries()
        queries = projected(one)
        keys = F.normalize(one.projection(one.encoder(STRONG)), dim=1).detach()
        called = (one(WEAK).softmax(1) * one.candidates[ROWS]).argmax(1)
        found = one.step(WEAK, STRONG, ROWS, warm_up=warm_up, inertia=1.0)
        if warm_up:
            expected = info_nce(queries, keys, held.keys, temperature=0.07)
        else:
            pool_classes = torch.cat([called, held.scores.argmax(1)])
            expected = weakly_supervised_contrast(
                queries, torch.cat([keys, held.keys]), called, pool_classes, temperature=0.07
            )
        torch.testing.assert_close(found.contrast.detach(), expected)
        torch.testing.assert_close(
            found.classification, F.cross_entropy(one(WEAK), one.targets[ROWS], reduction="none")
        )


@pytest.mark.covers("36.5")
def test_the_queue_gets_the_keys_and_the_masked_scores_of_the_batch() -> None:
    one = learner(key_momentum=0.0)
    for _ in range(2):  # 12 entries go into 7 places
        scores = (one(WEAK).softmax(1) * one.candidates[ROWS]).detach()
        one.step(WEAK, STRONG, ROWS, warm_up=True, inertia=1.0)
    places = (6 + torch.arange(6)) % 7
    held = one.queue.entries()
    keys = F.normalize(one.projection(one.encoder(STRONG)), dim=1).detach()
    torch.testing.assert_close(held.keys[places], keys)
    torch.testing.assert_close(held.scores[places], scores)
    assert not bool(held.scores[places][~one.candidates[ROWS]].any()), "no weight outside of the candidate set"
    assert not bool(one.candidates[ROWS].all())


@pytest.mark.covers("36.7")
def test_copies_follow_and_are_never_trained() -> None:
    one = learner(key_momentum=0.75)
    copied = [*one.key_encoder.parameters(), *one.key_projection.parameters()]
    optimizer = build_optimizer(one, TrainingPlan(optimizer="sgd"))
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert not trained & {id(parameter) for parameter in copied}
    assert len(trained) == 8
    with torch.no_grad():
        for parameter in one.encoder.parameters():
            parameter.add_(1.0)
    before = [parameter.clone() for parameter in one.key_encoder.parameters()]
    losses = one.step(WEAK, STRONG, ROWS, warm_up=False, inertia=0.9)
    (losses.classification.sum() + losses.contrast.sum()).backward()
    for old, new, followed in zip(before, one.key_encoder.parameters(), one.encoder.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * followed)
        assert followed.grad is not None
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in copied)
