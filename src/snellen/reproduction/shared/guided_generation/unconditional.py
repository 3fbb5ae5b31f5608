"""A generator that draws well without a condition: the embedded one, trained on with every label left out.

The embedded generators leave out a tenth of their labels, so what they make without one is poor. A published
unconditional model never saw a label.
"""

from __future__ import annotations

from dataclasses import replace

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.reproduction.shared.guided_generation.setups import REAL, Setup
from snellen.reproduction.shared.guided_generation.weak_denoiser import trained_denoiser
from snellen.training.plan import TrainingPlan

PLAN = TrainingPlan(
    epochs=1, batch_size=64, drop_last=True, learning_rate=6e-4, second_momentum=0.99, schedule="cosine",
    warmup_steps=10, ema_decay=0.95, clip_norm=1.0, mixed_precision="bf16", channels_last=True,
)  # fmt: skip


def without_condition(
    setup: Setup, rng: Randomness, *, count: int, plan: TrainingPlan = PLAN, progress: Progress | None = None
) -> Setup:
    """The same world with a generator that was trained on without any condition.

    Args:
        setup: with a generator that can run without a condition.
        rng: of images and training.
        count: images of the training split.
        plan: of the training.
        progress: callback that receives progress updates.

    Returns:
        A setup whose ``real`` and ``other_real`` are of the images that the generator was trained on: its samples are
        set beside the distribution that it was to learn.

    Raises:
        InputError: the training images are not installed.
    """
    seed = rng.generator("without a condition").initial_seed() % 2**31
    seen = setup.seen(count, seed)
    denoiser = trained_denoiser(
        setup.generator,
        seen,
        network=setup.generator.denoiser.network,
        empty=1.0,
        plan=plan.model_copy(update={"seed": seed}),
        progress=progress,
    )
    generator = replace(setup.generator, name=f"{setup.generator.name} without a condition", denoiser=denoiser)
    return replace(setup, generator=generator, real=seen.images[:REAL], other_real=seen.images[REAL : 2 * REAL])
