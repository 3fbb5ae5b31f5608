"""One step of Adversarial AutoMixup: where gradients go, what they do, and what alternates."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.adversarial_mixup.adversarial_mixing import (
    AdversarialMixing,
    MixSettings,
    adversarial_loss,
    area_loss,
    momentum_at,
    weighted_cosine,
)
from snellen.systems.adversarial_mixup.two_heads import TwoScores
from snellen.training.mixing import blend_images, blend_targets, share_gap
from snellen.training.objectives import cross_entropy

COUNT, CLASSES, SIDE = 8, 4, 12
IMAGES = torch.rand(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(COUNT) % CLASSES
RNG = Randomness(1).for_examples([str(number) for number in range(COUNT)])


class Small(nn.Module):
    """Two convolutions with BatchNorm and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.last(self.stage(images)).mean((2, 3)))
        return scores


def module(**settings: Any) -> AdversarialMixing:
    """A module in training whose heads and masks are far from their first, even values."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        made = AdversarialMixing(
            Small(),
            CLASSES,
            settings=MixSettings(**settings),
            feature_layer="stage",
            total_steps=20,
            size=(SIDE, SIDE),
        )
        for heads in (made.online, made.teacher):
            for head in (heads.network.head, heads.mixed_head):
                nn.init.normal_(head.weight, std=2.0)  # type: ignore[arg-type, union-attr]
        for parameter in made.generator.parameters():
            nn.init.normal_(parameter, std=0.5)
    return made.train()


def without_gradients(part: nn.Module) -> bool:
    return all(parameter.grad is None for parameter in part.parameters())


@pytest.mark.covers("31.1")
@pytest.mark.covers("31.2")
@pytest.mark.parametrize("parts", [2, 3, 4])
@pytest.mark.parametrize("step", [0, 1], ids=["adversarial", "cooperative"])
def test_gradients_reach_their_own_part_alone(parts: int, step: int) -> None:
    made = module(parts=parts)
    made.iterations.fill_(step)
    losses = made.losses(IMAGES, LABELS, RNG)
    assert losses.generator is not None
    assert losses.classifier.shape == losses.generator.shape == (COUNT,)
    losses.generator.mean().backward(retain_graph=True)
    assert without_gradients(made.online)
    assert without_gradients(made.teacher)
    for name, parameter in made.generator.named_parameters():
        # A bias of the values moves all masks alike, and softmax forgets it.
        assert parameter.grad is not None
        assert name == "value.bias" or float(parameter.grad.abs().sum()) > 0, f"{name}: through the frozen teacher"
    made.zero_grad(set_to_none=True)
    losses.classifier.mean().backward()
    assert without_gradients(made.generator)
    assert without_gradients(made.teacher)
    assert not without_gradients(made.online.network)
    assert not without_gradients(made.online.mixed_head)


@pytest.mark.covers("31.3")
@pytest.mark.parametrize("parts", [2, 3])
def test_an_adversarial_step_makes_it_harder_and_a_cooperative_one_easier(parts: int) -> None:
    made = module(parts=parts, beta=1.0)

    def hardness(of: AdversarialMixing) -> Tensor:
        judged = copy.deepcopy(of)
        judged.iterations.fill_(1)
        losses = judged.losses(IMAGES, LABELS, RNG).generator
        assert losses is not None
        return losses.mean().detach()

    before = hardness(made)
    for step, rises in ((0, True), (1, False)):
        changed = copy.deepcopy(made)
        changed.iterations.fill_(step)
        losses = changed.losses(IMAGES, LABELS, RNG).generator
        assert losses is not None
        optimizer = torch.optim.SGD(changed.generator.parameters(), lr=0.02)
        losses.mean().backward()
        optimizer.step()
        assert bool(hardness(changed) > before) == rises, f"step {step}"


@pytest.mark.parametrize("parts", [2, 3])
def test_losses_are_those_of_the_paper(parts: int) -> None:
    """Teacher scores of clean images once and permuted equal those of N further passes in training mode."""
    made = module(parts=parts, margin=0.0)
    again = copy.deepcopy(made)
    losses = made.losses(IMAGES, LABELS, RNG)
    drawn, other = again.draws(IMAGES, RNG)
    maps = again.teacher(IMAGES).maps
    masks, other_masks = (again.generator(maps, d.parts, d.shares, (SIDE, SIDE)) for d in (drawn, other))
    clean = cross_entropy(again.online(IMAGES).plain, LABELS)
    labels = blend_targets(LABELS, drawn, CLASSES)
    if parts > 2:
        mixup = again.online(blend_images(IMAGES, drawn.parts, drawn.shares)).mixed
        clean = 0.5 * clean + 0.5 * cross_entropy(mixup, labels)
    blended = again.online(blend_images(IMAGES, drawn.parts, masks)).mixed
    assert torch.allclose(losses.classifier, clean + cross_entropy(blended, labels), atol=1e-5)
    scores = again.teacher(blend_images(IMAGES, other.parts, other_masks)).mixed
    hardness = cross_entropy(scores, blend_targets(LABELS, other, CLASSES))
    likeness = sum(
        other.shares[:, row] * torch.cosine_similarity(scores, again.teacher(IMAGES[part]).mixed, dim=1)
        for row, part in enumerate(other.parts)
    )
    assert losses.generator is not None
    assert torch.allclose(losses.generator, -0.3 * hardness + 0.7 * likeness, atol=1e-5)


def test_the_area_loss_pulls_masks_to_their_shares() -> None:
    """Without it the hardest blend shows the part of the smaller share, and the label says the other one."""
    masks = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    assert area_loss(masks, torch.tensor([[0.9, 0.1]]), 0.1).item() == pytest.approx(0.3)
    assert area_loss(masks, torch.tensor([[0.55, 0.45]]), 0.1).item() == 0

    def gap(weight: float) -> float:
        made = module(knows_shares=True, area_weight=weight, area_slack=0.0, beta=1.0)
        optimizer = torch.optim.Adam(made.generator.parameters(), lr=0.05)
        for _ in range(40):
            losses = made.losses(IMAGES, LABELS, RNG).generator
            assert losses is not None
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
        _, drawn = made.draws(IMAGES, RNG)
        return float(share_gap(made.blend(IMAGES, drawn).masks, drawn.shares).mean())

    assert gap(20.0) < 0.12 < 0.3 < gap(0.0)


@pytest.mark.covers("31.4")
def test_steps_alternate_and_beta_weighs() -> None:
    hardness, likeness = torch.tensor([2.0, 1.0]), torch.tensor([0.5, -0.5])
    assert adversarial_loss(hardness, likeness, beta=0.25, sign="official").tolist() == [-0.125, -0.625]
    assert adversarial_loss(hardness, likeness, beta=0.25, sign="intent").tolist() == [-0.875, 0.125]
    of_step = {}
    for sign in ("official", "intent"):
        made = module(parts=2, beta=0.25, cosine_sign=sign, margin=0.0)
        for step in range(3):
            made.iterations.fill_(step)
            of_step[sign, step] = made.losses(IMAGES, LABELS, RNG).generator.detach()  # type: ignore[union-attr]
    cooperative = of_step["official", 1]
    assert torch.equal(of_step["official", 0], of_step["official", 2])
    assert torch.equal(cooperative, of_step["intent", 1]), "the cosine term is one of adversarial steps"
    pulled = (of_step["official", 0] - of_step["intent", 0]) / 2
    assert torch.allclose((of_step["official", 0] + of_step["intent", 0]) / 2, -0.25 * cooperative, atol=1e-5)
    assert float(pulled.abs().max()) <= 0.75 + 1e-6, "(1 − beta) times a cosine"
    always = module(parts=2, beta=0.0, adversarial=False, margin=0.0)
    assert torch.equal(always.losses(IMAGES, LABELS, RNG).generator, cooperative), "AutoMix never is adversarial"


def test_the_cosine_is_weighted_by_shares() -> None:
    made = module(parts=2)
    draw, _ = made.draws(IMAGES, RNG)
    scores = torch.randn(COUNT, CLASSES, generator=torch.Generator().manual_seed(3))
    alike = scores[:1].expand(COUNT, CLASSES)
    assert torch.allclose(weighted_cosine(alike, alike, draw), torch.ones(COUNT))
    assert torch.allclose(weighted_cosine(alike, -3 * alike, draw), -torch.ones(COUNT))
    with_own = torch.cosine_similarity(scores, scores[draw.parts[1]], dim=1)
    assert torch.allclose(weighted_cosine(scores, scores, draw), draw.shares[:, 0] + draw.shares[:, 1] * with_own)


@pytest.mark.covers("31.8")
def test_momentum_follows_its_schedule() -> None:
    first, last, total = 0.999, 0.999999, 1000
    at = {share: momentum_at(int(share * total), total) for share in (0.0, 0.099, 0.1, 0.5, 1.0)}
    assert at[0.0] == at[0.099] == first
    assert at[0.1] == pytest.approx(last - (last - first) * (math.cos(0.1 * math.pi) + 1) / 2)
    assert at[0.5] == pytest.approx((first + last) / 2)
    assert at[1.0] == last
    assert momentum_at(24, 100, held=0.25) == first < momentum_at(25, 100, held=0.25)
    with pytest.raises(InputError, match="at least one iteration"):
        momentum_at(0, 0)


@pytest.mark.covers("31.8")
@pytest.mark.parametrize("parity", [False, True])
def test_the_teacher_follows_parameters_and_keeps_statistics_of_its_own(parity: bool) -> None:
    made = module(parts=2, momentum=0.8, last_momentum=0.8, parity=parity)
    before = {name: value.clone() for name, value in made.teacher.named_parameters()}
    statistics = copy.deepcopy(made.teacher)
    made(IMAGES, LABELS, RNG)
    assert bool(made.behind)
    assert all(torch.equal(before[name], value) for name, value in made.teacher.named_parameters()), "not yet"
    with torch.no_grad():
        for parameter in made.online.parameters():
            parameter.add_(1.0)
    seen = {name: value.clone() for name, value in made.teacher.named_buffers()}
    made.follow()
    share = 0.8 if parity else min(0.8, 2 / 11)
    online = dict(made.online.named_parameters())
    for name, value in made.teacher.named_parameters():
        assert torch.allclose(value, share * before[name] + (1 - share) * online[name], atol=1e-5), name
    assert all(torch.equal(seen[name], value) for name, value in made.teacher.named_buffers()), "not averaged"
    moved = made.teacher.network.stage[1].running_mean  # type: ignore[index, union-attr]
    assert not torch.equal(moved, statistics.network.stage[1].running_mean), "it is in training mode"  # type: ignore
    again = {name: value.clone() for name, value in made.teacher.named_parameters()}
    made.follow()
    assert all(torch.equal(again[name], value) for name, value in made.teacher.named_parameters()), "once a step"


@pytest.mark.covers("31.9")
def test_blends_of_classifier_and_generator_are_drawn_independently() -> None:
    for parts in (2, 3):
        drawn, other = module(parts=parts).draws(IMAGES, RNG)
        assert not torch.equal(drawn.parts, other.parts)
        assert torch.equal(drawn.shares, other.shares) == (parts > 2), "more than two parts share their shares"
    several = module(parts=4, random_parts=True)
    counts = {len(several.draws(IMAGES, RNG.child(number))[0].parts) for number in range(30)}
    assert counts == {2, 3, 4}


@pytest.mark.covers("31.11")
def test_a_generator_loss_that_is_not_finite_is_left_out_and_counted() -> None:
    made = module(parts=2)
    with torch.no_grad():
        made.teacher.mixed_head.weight.fill_(float("inf"))
    losses = made(IMAGES, LABELS, RNG)
    assert bool(torch.isfinite(losses).all())
    losses.mean().backward()
    assert without_gradients(made.generator)
    assert (int(made.skipped), int(made.iterations)) == (1, 1)
    spoilt = module(parts=2, margin=0.0)
    statistics = copy.deepcopy(spoilt.teacher)
    with torch.no_grad():
        spoilt.generator.value.weight.fill_(float("nan"))
    assert spoilt.losses(IMAGES, LABELS, RNG).generator is None
    ours, once = spoilt.teacher.network.stage[1], statistics.network.stage[1]  # type: ignore[index]
    assert bool(torch.isfinite(ours.running_mean).all()), "the teacher never saw such a blend"  # type: ignore[union-attr]
    assert int(ours.num_batches_tracked) == int(once.num_batches_tracked) + 1  # type: ignore[union-attr]


@pytest.mark.covers("31.11")
@pytest.mark.parametrize("parts", [2, 3])
def test_a_generator_that_is_not_finite_leaves_the_classifier_plain_blends(parts: int) -> None:
    made = module(parts=parts, margin=0.0)
    with torch.no_grad():
        made.generator.value.weight.fill_(float("nan"))
    losses = made(IMAGES, LABELS, RNG)
    assert bool(torch.isfinite(losses).all())
    losses.mean().backward()
    assert all(bool(torch.isfinite(value).all()) for value in made.online.buffers())
    assert all(bool(torch.isfinite(one.grad).all()) for one in made.online.parameters() if one.grad is not None)
    assert (int(made.skipped), int(made.maskless)) == (1, COUNT)
    whole = module(parts=parts, margin=0.0)
    whole(IMAGES, LABELS, RNG)
    assert int(whole.maskless) == 0


@pytest.mark.covers("31.10")
def test_scores_are_the_teachers_plain_head() -> None:
    made = module(parts=2).eval()
    seen: TwoScores = made.teacher(IMAGES)
    made.generator = None  # type: ignore[assignment]
    assert torch.equal(made(IMAGES), seen.plain)


def test_a_blend_to_look_at_is_that_of_the_masks() -> None:
    made = module(parts=3).eval()
    draw, _ = made.draws(IMAGES, RNG)
    blend = made.blend(IMAGES, draw)
    assert blend.masks.shape == (COUNT, 3, SIDE, SIDE)
    assert torch.allclose(blend.images, blend_images(IMAGES, draw.parts, blend.masks))


def test_more_parts_than_images() -> None:
    with pytest.raises(InputError, match="a blend of 4 images needs a batch of at least 4, and this one has 3"):
        module(parts=4)(IMAGES[:3], LABELS[:3], RNG[range(3)])
