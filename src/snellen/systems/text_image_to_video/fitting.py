"""Training in stages: images, then videos from text, then videos from text and frames, last without dropped positions.

Z. Lin et al. 2024, arXiv 2412.07730 (STIV), progressive recipe; dropped positions after H. Zheng et al. 2023 (MaskDiT),
without its decoder: the loss counts where nothing is dropped. A stage starts from the averaged weights of the one
before. Everything random belongs to (seed, stage, example), so a training that was killed ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.systems.text_image_to_video.architecture import VideoArchitecture, without_text
from snellen.systems.text_image_to_video.flow import (
    Density,
    ErrorOf,
    Pattern,
    draw_conditions,
    draw_times,
    error_weights,
    masked_loss,
    on_path,
    replace_frames,
    velocity,
)
from snellen.systems.text_image_to_video.network import VideoTransformer, from_image_model, joined, spread
from snellen.systems.text_image_to_video.videos import Videos
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch
from snellen.training.loop import train
from snellen.training.plan import MixedPrecision, TrainingPlan
from snellen.training.repeated import Repeated


class VideoTraining(BaseModel):
    """Numbers of a training; the defaults are the recipe of the small experiment, about three minutes of a core."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_steps: int = Field(0, ge=0, description="steps on single frames, without temporal layers")
    text_steps: int = Field(500, ge=0, description="steps from text alone")
    joint_steps: int = Field(1500, ge=0, description="steps from text and given frames")
    unmasked_steps: int = Field(0, ge=0, description="such steps without dropped positions, at the end")
    batch_size: int = Field(16, ge=1, description="videos at once")
    accumulate: int = Field(1, ge=1, description="such batches of a step")
    mixed_precision: MixedPrecision = Field("no", description="of the arithmetic in training")
    learning_rate: float = Field(5e-3, gt=0, description="peak, of each stage")
    text_dropout: float = Field(0.1, ge=0, le=1, description="p_T: share of texts that are dropped")
    image_dropout: float = Field(0.1, ge=0, le=1, description="p_I: share of examples without given frames")
    patterns: tuple[Pattern, ...] = Field(("first",), min_length=1, description="which frames are given")
    mask_ratio: float = Field(
        0.0, ge=0, lt=1, description="share of positions that are dropped, until unmasked_steps; published: 0.5"
    )
    mask_each_frame: bool = Field(False, description="drop other positions in each frame, instead of the same in all")
    density: Density = Field(
        "uniform", description="of times in training, before they are shifted; logit_normal spares both ends"
    )
    error_of: ErrorOf = Field("video", description="velocity, or video: the error of v weighted by (1 - t)^2")
    shift: float = Field(4.0, ge=1, description="how far times lie nearer to noise; 1: not at all")
    ema_decay: float = Field(0.99, gt=0, lt=1, description="of the averaged weights; published: 0.9999")
    checkpoint_every: int | None = Field(100, ge=1, description="steps between checkpoints; none: at a stage's end")


@dataclass(frozen=True)
class Stage:
    """One part of a training.

    Attributes:
        name: of its checkpoint.
        steps: number.
        mask_ratio: share of positions that are dropped.
        image_dropout: p_I.
    """

    name: str
    steps: int
    mask_ratio: float
    image_dropout: float


def stages_of(training: VideoTraining) -> list[Stage]:
    """The stages of a video model that have steps, in order; the last one drops no positions."""
    ratio, dropped = training.mask_ratio, training.image_dropout
    rows = (
        Stage("text", training.text_steps, ratio, 1.0),
        Stage("joint", training.joint_steps, ratio, dropped),
        Stage("unmasked", training.unmasked_steps, 0.0, dropped if training.joint_steps else 1.0),
    )
    return [stage for stage in rows if stage.steps]


def kept_positions(rng: Randomness, frames: int, spots: int, ratio: float, *, each_frame: bool) -> Tensor | None:
    """Positions that are not dropped, sorted: int64 (n, F or 1, s'); None where nothing is. Never whole frames.

    Args:
        rng: bound to n examples.
        frames: tokens in time, F.
        spots: positions of a frame, s.
        ratio: share that is dropped.
        each_frame: draw for each frame by itself.
    """
    left = max(1, round(spots * (1 - ratio)))
    if left == spots:
        return None
    scores = rng.uniform("kept", (frames if each_frame else 1, spots))
    return scores.argsort(dim=-1)[..., :left].sort(dim=-1).values


class VideoFlow:
    """The objective: flow matching with dropped conditions, over the frames and positions that are to be generated.

    Args:
        architecture: of the network.
        training: numbers.
        stage: what is dropped.

    Raises:
        InputError: given frames other than the first, for a network that takes an image by cross-attention.
    """

    def __init__(self, architecture: VideoArchitecture, training: VideoTraining, stage: Stage) -> None:
        self.architecture, self.training, self.stage = architecture, training, stage
        if architecture.image_by == "cross_attention" and training.patterns != ("first",):
            raise InputError(
                f"a network that takes an image by cross-attention learns from first frames alone; got the patterns "
                f"{', '.join(training.patterns)}"
            )

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,)."""
        one, training = self.architecture, self.training
        clean, rng = batch.images * 2 - 1, batch.rng
        noise = rng.normal("noise", clean.shape[1:], like=clean)
        times = draw_times(rng, training.density, training.shift).to(clean)
        conditions = draw_conditions(
            rng,
            clean.shape[1],
            image_dropout=self.stage.image_dropout,
            text_dropout=training.text_dropout,
            patterns=training.patterns,
        )
        replaced = conditions.replaced.to(clean.device)
        held = replaced if one.image_by == "replacement" else torch.zeros_like(replaced)
        noisy = replace_frames(on_path(clean, noise, times), clean, held)
        counted = ~held[:, :, None, None, None]
        kept = kept_positions(
            rng,
            clean.shape[1],
            one.grid**2,
            self.stage.mask_ratio,
            each_frame=training.mask_each_frame,
        )
        if kept is not None:
            kept = kept.to(clean.device)
            counted = counted & _where_kept(kept, clean, one)
        predicted = model(
            noisy,
            times,
            without_text(batch.targets, conditions.with_text.to(batch.targets.device)),
            kept=kept,
            image=clean[:, 0],
            with_image=conditions.with_image.to(clean.device),
        )
        losses = masked_loss(predicted, velocity(clean, noise), counted)
        return losses * error_weights(times, training.error_of)


def _where_kept(kept: Tensor, clean: Tensor, one: VideoArchitecture) -> Tensor:
    """Pixels of the positions that are not dropped: bool (n, F, 1, h, w)."""
    frames = clean.shape[1]
    ones = clean.new_ones(len(clean), frames, kept.shape[-1], one.patch**2)
    return joined(spread(ones, kept, one.grid**2), one.patch, one.side) > 0


@dataclass(frozen=True, eq=False)
class FittedVideo:
    """What a training gives.

    Attributes:
        network: with the averaged weights, in evaluation mode.
        history: a row for each stage: number of the stage, steps, mean loss.
        data: fingerprint of the training examples.
    """

    network: VideoTransformer
    history: tuple[Mapping[str, float], ...]
    data: str


def fit_video_model(
    videos: Videos,
    architecture: VideoArchitecture,
    training: VideoTraining,
    *,
    seed: int,
    start: Mapping[str, Tensor] | None = None,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> FittedVideo:
    """Train a video model.

    Args:
        videos: at least one, of the architecture's length and size.
        architecture: numbers of the network.
        training: numbers of the training.
        seed: of weights, order and noise.
        start: weights to begin with, instead of new ones; of the same architecture, but for layers that only one has.
        checkpoints: folder to save to, and to resume from.
        progress: callback that receives progress updates.

    Raises:
        InputError: no step at all; videos of another size; given weights of another architecture, or image steps with
            them.
    """
    expected = (architecture.frames, 3, architecture.side, architecture.side)
    if tuple(videos.pixels.shape[1:]) != expected:
        raise InputError(f"this model takes videos of {expected}; got {tuple(videos.pixels.shape[1:])}")
    stages, history, data = stages_of(training), list[Mapping[str, float]](), ""
    if not stages and not training.image_steps:
        raise InputError("a training takes one step or more; all stages have 0")
    if start is not None and training.image_steps:
        raise InputError(
            f"a training that begins with given weights has no image stage; got {training.image_steps} steps"
        )
    network = _new(architecture, seed)
    if start is not None:
        network = _begun(network, start)
    elif training.image_steps:
        images = architecture.model_copy(update={"frames": 1})
        first = Stage("image", training.image_steps, training.mask_ratio, 1.0)
        pictures, row, data = _run(_new(images, seed), videos, images, training, first, seed, checkpoints, progress)
        history.append(row)
        network = pictures if architecture.frames == 1 else from_image_model(pictures.state_dict(), network)
    for stage in stages:
        network, row, data = _run(network, videos, architecture, training, stage, seed, checkpoints, progress)
        history.append(row)
    return FittedVideo(network.eval().requires_grad_(False), tuple(history), data)


def _new(architecture: VideoArchitecture, seed: int) -> VideoTransformer:
    with seeded(derive_seed(seed, "video model"), torch.device("cpu")):
        return VideoTransformer(architecture)


def _begun(network: VideoTransformer, start: Mapping[str, Tensor]) -> VideoTransformer:
    """The network with given weights; layers that these lack keep their own, and those of no layer are left out."""
    own = network.state_dict()
    other = next((name for name, value in own.items() if name in start and start[name].shape != value.shape), None)
    if other is not None:
        raise InputError(
            f"given weights fit another network: {other} is {tuple(start[other].shape)}, and {tuple(own[other].shape)} "
            f"is expected; give weights of the same architecture"
        )
    if not set(own) & set(start):
        raise InputError("none of the given weights belongs to a video model; give the weights of one")
    network.load_state_dict({name: start.get(name, value) for name, value in own.items()})
    return network


def _run(
    network: VideoTransformer,
    videos: Videos,
    architecture: VideoArchitecture,
    training: VideoTraining,
    stage: Stage,
    seed: int,
    checkpoints: Path | None,
    progress: Progress | None,
) -> tuple[VideoTransformer, Mapping[str, float], str]:
    """Train one stage; the given network gets its averaged weights."""
    plan = TrainingPlan(
        epochs=1,
        batch_size=training.batch_size,
        accumulate=training.accumulate,
        mixed_precision=training.mixed_precision,
        learning_rate=training.learning_rate,
        second_momentum=0.99,
        weight_decay=0.0,
        warmup_steps=min(50, stage.steps // 4),
        clip_norm=1.0,
        ema_decay=training.ema_decay,
        seed=derive_seed(seed, "video training", stage.name) % 2**31,
        checkpoint_every=training.checkpoint_every,
    )
    trained = train(
        network,
        Repeated(videos.store(architecture), stage.steps * training.batch_size * training.accumulate),
        plan=plan,
        objective=VideoFlow(architecture, training, stage),
        checkpoint=None if checkpoints is None else checkpoints / f"{stage.name}.safetensors",
        recipe={"stage": stage.name, "training": training.model_dump(mode="json", exclude={"checkpoint_every"})},
        progress=progress,
    )
    network.load_state_dict(dict(trained.weights))
    return network, dict(trained.history[-1]), trained.data
