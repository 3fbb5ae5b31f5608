"""Training generator, encoder and critic around a frozen classifier; noise and encoder steps take turns, step by step.

Qi et al., CBMS 2025, arXiv 2501.01392, with the schedule of its released code. There noise and encoder alternate inside
the accumulation of a step, so that without accumulation no image is ever reconstructed; here a whole step is of one
kind. All randomness follows from (seed, step), so a training that was stopped ends with the same weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.systems.style_counterfactuals.losses import (
    adversarial_loss,
    consistency_loss,
    critic_loss,
    encoder_step_loss,
    gradient_penalty,
    nearness_loss,
    path_lengths,
    perceptual_distance,
    reconstruction_loss,
)
from snellen.systems.style_counterfactuals.networks import StyleExplainer
from snellen.systems.style_counterfactuals.plan import Kind, StylePlan, kind_of
from snellen.systems.style_counterfactuals.pyramid import trainable
from snellen.systems.style_counterfactuals.seen import Seen
from snellen.training.checkpoints import Checkpoint, TrainingState, restore_optimizer
from snellen.training.optimizers import average_into

#: What progress calls it.
TASK = "training the generator"

#: Numbers from which the critic's parameters are counted in a checkpoint.
_CRITIC = 1_000_000

#: Training images whose codes decide how the encoder begins.
CALIBRATING = 256


@dataclass
class Training:
    """A training of an explainer on images.

    Attributes:
        explainer: what is trained, in place.
        seen: the frozen classifier.
        images: uint8 (n, 3, side, side).
        plan: numbers.
        rng: of everything random.
        losses: of the last step, by name.
        history: mean losses of stretches of steps.
    """

    explainer: StyleExplainer
    seen: Seen
    images: Tensor
    plan: StylePlan
    rng: Randomness
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        side = self.plan.sizes.side
        if self.images.dtype != torch.uint8 or tuple(self.images.shape[1:]) != (3, side, side) or len(self.images) < 2:
            raise InputError(
                f"training takes two images or more, uint8 (n, 3, {side}, {side}); got {self.images.dtype} "
                f"{tuple(self.images.shape)}"
            )
        own, rate, betas = self.explainer, self.plan.learning_rate, self.plan.betas
        self.device = own.path_length.device
        self.made_by = trainable([own.generator, own.encoder])
        self.judged_by = trainable([own.critic])
        self.maker = torch.optim.Adam(self.made_by, lr=rate, betas=betas)
        self.judge = torch.optim.Adam(self.judged_by, lr=rate * self.plan.critic_factor, betas=betas)
        with torch.no_grad():
            parts = [self.seen.scores(to_unit(part).to(self.device)) for part in self.images.split(128)]
        self.scores = torch.cat(parts)
        #: Images whose scores are finite; others are never drawn.
        self.rows = self.scores.isfinite().all(1).nonzero().flatten().cpu()
        if len(self.rows) < 2:
            raise ModelError(
                f"{self.seen.classifier.name} gives finite scores for {len(self.rows)} of {len(self.images)} images of "
                f"training; two are needed"
            )

    def one_step(self) -> None:
        """One step of the critic, then one of generator and encoder, both of the kind of this step."""
        plan, step = self.plan, self.step
        kind, criticised = kind_of(step, plan.warm_up), step >= plan.warm_up
        sums = dict[str, float]()

        def add(name: str, value: Tensor) -> None:
            sums[name] = sums.get(name, 0.0) + float(value.detach()) / plan.accumulate

        if criticised:
            self._criticise(kind, add)
        self.explainer.critic.requires_grad_(False)
        self.maker.zero_grad()
        for group in self.maker.param_groups:
            group["lr"] = plan.rate(step)
            group["betas"] = plan.betas if criticised else plan.warm_up_betas
        for part in range(plan.accumulate):
            real, scores, draws = self._batch(part)
            fake, codes = self._make(kind, real, scores, draws)
            if not criticised:
                loss = nearness_loss(real, fake)
                add("nearness", loss)
                (loss / plan.accumulate).backward()
                continue
            loss = adversarial_loss(self.explainer.critic(fake)[:, 0])
            add("adversarial", loss)
            if kind == "encoder":
                rebuilt, agreed = self._rebuilding(real, fake, scores, codes)
                add("reconstruction", rebuilt)
                add("consistency", agreed)
                loss = encoder_step_loss(loss, rebuilt, agreed, rec_scale=plan.rec_scale, kl_scale=plan.kl_scale)
            elif plan.path_every and step >= plan.path_start and step % plan.path_every == 0:
                loss = loss + self._path_penalty(codes, draws)
            (loss / plan.accumulate).backward()
        self.explainer.critic.requires_grad_(True)
        self.maker.step()
        self._average()
        if not all(map(math.isfinite, sums.values())):
            raise ModelError(f"training diverged at step {step}: losses {sums}; take a lower learning rate")
        self.losses, self.step = sums, step + 1

    def _criticise(self, kind: Kind, add: Callable[[str, Tensor], None]) -> None:
        """One step of the critic."""
        plan = self.plan
        self.judge.zero_grad()
        for part in range(plan.accumulate):
            real, scores, draws = self._batch(part)
            with torch.no_grad():
                fake = self._make(kind, real, scores, draws)[0]
            penalised = bool(plan.penalty_every) and self.step % plan.penalty_every == 0
            real = real.requires_grad_(penalised)
            judged = self.explainer.critic(real)[:, 0]
            loss = critic_loss(judged, self.explainer.critic(fake)[:, 0])
            add("critic", loss)
            if penalised:
                penalty = gradient_penalty(real, judged, plan.penalty)
                add("penalty", penalty)
                loss = loss + penalty
            (loss / plan.accumulate).backward()
        self.judge.step()

    def _batch(self, part: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Images in [0, 1], their logits, and a source of noise, of one micro-batch of this step."""
        draws = self.rng.generator(f"step {self.step} part {part}")
        rows = self.rows[torch.randint(len(self.rows), (self.plan.batch_size,), generator=draws)]
        real = to_unit(self.images[rows]).to(self.device).contiguous(memory_format=torch.channels_last)
        return real, self.scores[rows.to(self.device)], draws

    def _make(self, kind: Kind, real: Tensor, scores: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images of this step, in [0, 1] if the generator is bounded, and the codes that they were made of."""
        own, side = self.explainer, self.plan.sizes.side
        grain = torch.randn(len(real), 1, side, side, generator=draws).to(self.device)
        if kind == "encoder":
            codes = own.codes(real, scores)
            return own.generator.synthesis(codes, grain), codes
        blocks, latent = len(own.generator.blocks), own.generator.shape.latent
        first, second = (
            own.generator.mapping(torch.randn(len(real), latent, generator=draws).to(self.device)) for _ in "ab"
        )
        mixes = torch.rand(len(real), generator=draws) < self.plan.mixing
        cut = torch.randint(1, blocks + 1, (len(real),), generator=draws) if blocks > 1 else torch.ones(len(real))
        late = (torch.arange(blocks) >= cut[:, None]) & mixes[:, None]
        codes = torch.where(late.to(self.device)[..., None], second[:, None], first[:, None])
        return own.generator.synthesis(codes, grain), codes

    def _rebuilding(self, real: Tensor, fake: Tensor, scores: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction loss, and how well the classifier agrees on the reconstruction."""
        seen, width = fake.clamp(0, 1), self.plan.sizes.width
        with torch.no_grad():
            maps = self.seen.maps(real)
        distance = perceptual_distance(maps, self.seen.maps(seen))
        remade, scale = self.explainer.encoder(seen), self.plan.codes_scale
        rebuilt = reconstruction_loss(real, fake, distance, codes[:, :width] * scale, remade * scale)
        return rebuilt, consistency_loss(scores, self.seen.scores(seen))

    def _path_penalty(self, codes: Tensor, draws: torch.Generator) -> Tensor:
        own, side = self.explainer, self.plan.sizes.side
        style = own.generator.styles(codes.detach())
        images = own.generator.render(style)
        noise = torch.randn(len(images), 3, side, side, generator=draws).to(self.device)
        lengths = path_lengths(images, style.space, noise)
        mean = lengths.mean().detach()
        own.path_length.copy_(mean if float(own.path_length) == 0 else own.path_length.lerp(mean, 0.01))
        return (lengths - own.path_length).square().mean()

    def _average(self) -> None:
        if self.step < self.plan.average_start:
            if self.step in (self.plan.average_start - 1, self.plan.steps - 1):
                self.explainer.average.load_state_dict(self.explainer.generator.state_dict())
        elif self.step % self.plan.average_every == 0:
            average_into(self.explainer.average, self.explainer.generator, self.plan.average_decay)

    # -- stopping and resuming ------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        """What the training is; one that is resumed must agree."""
        return {
            "plan": self.plan.model_dump(mode="json"),
            "classifier": self.seen.classifier.fingerprint(),
            "images": images_hash(self.images),
            "seed": [self.rng.seed, *self.rng.path],
        }

    def write(self, path: Path) -> None:
        """Write a checkpoint."""
        states = [one.state_dict()["state"] for one in (self.maker, self.judge)]
        Checkpoint(
            identity=self.identity(),
            state=TrainingState(step=self.step, history=self.history),
            tensors={"model": self.explainer.saved()},
            optimizer={**states[0], **{_CRITIC + number: value for number, value in states[1].items()}},
            scaler={},
        ).write(path)

    def resume(self, path: Path) -> None:
        """Take up a checkpoint.

        Raises:
            InputError, RunConflictError: no checkpoint, or that of another training.
        """
        found = Checkpoint.read(path, self.identity())
        self.explainer.restore(dict(found.tensors["model"]))
        restore_optimizer(self.maker, {n: one for n, one in found.optimizer.items() if n < _CRITIC})
        restore_optimizer(self.judge, {n - _CRITIC: one for n, one in found.optimizer.items() if n >= _CRITIC})
        self.step, self.history = found.state.step, found.state.history


def images_hash(images: Tensor) -> str:
    """Hash of training images uint8 (n, 3, side, side), sha256 in hex."""
    return hashlib.sha256(images.numpy().tobytes()).hexdigest()


def train_explainer(
    classifier: Classifier,
    images: Tensor,
    plan: StylePlan,
    rng: Randomness,
    *,
    size: tuple[int, int] | None = None,
    checkpoint: Path | None = None,
    every: int = 200,
    progress: Progress | None = None,
    watch: Callable[[Training], None] | None = None,
) -> Training:
    """Train an explainer for a classifier, to the last step of the plan.

    Args:
        classifier: frozen; nothing of it is changed.
        images: uint8 (n, 3, side, side).
        plan: numbers.
        rng: of initial weights and everything else.
        size: height and width at which the classifier sees images; None: that of the images.
        checkpoint: file to save to, and to resume from if it exists.
        every: steps between checkpoints, and of a row of the history.
        progress: callback that receives progress updates.
        watch: called after each step.

    Raises:
        InputError: images that do not fit the plan. ModelError: the training diverged.
    """
    listener = progress or Silent()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.generator("initial weights").initial_seed() % 2**31)
        explainer = StyleExplainer(plan.sizes, len(classifier.class_names), device=classifier.device)
    explainer.train()
    training = Training(
        explainer, Seen(classifier, size or (images.shape[2], images.shape[3])), images, plan, rng.child("training")
    )
    if plan.calibrated:
        explainer.encoder.calibrate(to_unit(images[:CALIBRATING]).to(training.device))
    if checkpoint is not None and checkpoint.is_file():
        training.resume(checkpoint)
    listener.begin(TASK, plan.steps)
    listener.advance(TASK, training.step)
    rows: list[Mapping[str, float]] = []
    while training.step < plan.steps:
        training.one_step()
        rows.append(training.losses)
        listener.advance(TASK, 1)
        if watch is not None:
            watch(training)
        if training.step % every == 0 or training.step == plan.steps:
            training.history.append({"step": float(training.step), **_means(rows)})
            rows = []
            if checkpoint is not None:
                training.write(checkpoint)
    listener.finish(TASK)
    explainer.eval()
    return training


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = {name for row in rows for name in row}
    held = {name: [row[name] for row in rows if name in row] for name in sorted(names)}
    return {name: sum(values) / len(values) for name, values in held.items()}
