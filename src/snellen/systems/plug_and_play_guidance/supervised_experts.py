"""The baselines with labels: whole networks, fine-tuned on labelled noisy images, one for all noise or one a range.

Dhariwal and Nichol 2021 (one noise-aware classifier); H. Go et al. 2023, section 4.1 (multi-experts). N copies of the
network are held: that is what low-rank experts do away with.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.generation.teachers import Teacher
from snellen.models.diffusion.generator import Generator
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit
from snellen.systems.plug_and_play_guidance.knowledge_transfer import NoisyImages, random_mirrors
from snellen.systems.plug_and_play_guidance.low_rank_experts import NoiseRanges
from snellen.training.batches import Batch, Examples
from snellen.training.loop import train
from snellen.training.objectives import cross_entropy
from snellen.training.transforms import BatchTransform


@dataclass(frozen=True, eq=False)
class WholeExperts:
    """A network for each range of noise; scores each image by the one of its timestep.

    Args:
        networks: prepared images (n, 3, h, w) → scores (n, k), in evaluation mode.
        ranges: which network answers when.
    """

    networks: tuple[nn.Module, ...]
    ranges: NoiseRanges

    def __call__(self, images: Tensor, timesteps: Tensor) -> Tensor:
        """Scores of noisy images (n, 3, h, w) at timesteps (n,), each by its expert."""
        return self.ranges.routed(lambda expert, chosen: self.networks[expert](chosen), images, timesteps)


def fit_supervised(
    teacher: Teacher,
    generator: Generator,
    examples: Examples,
    *,
    fit: TransferFit,
    rng: Randomness,
    transform: BatchTransform | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> WholeExperts:
    """Fine-tune every weight of the teacher by cross-entropy on labelled noisy images, mirrored at random.

    Args:
        teacher: what each network begins as; stays as it is.
        generator: whose schedule and latents.
        examples: clean images as bytes, and class indices; of a generator with an autoencoder they are encoded anew in
            each step.
        fit: experts, iterations, batch size, learning rate and weight decay, and warm start; the rest is not used.
        rng: of order, timesteps and noise.
        transform: of the clean images, crops for instance (published: random crops).
        checkpoint: file to save to, and to go on from; each expert has its own beside it.
        progress: callback that receives progress updates.

    Raises:
        InputError: test images, or class indices that the teacher does not have.
    """
    ranges = NoiseRanges(fit.experts, len(generator.denoiser.alphas_cumprod))
    networks: list[nn.Module] = []
    for expert in range(fit.experts):
        noisy = NoisyImages(generator, teacher, ranges, expert)

        def objective(model: nn.Module, batch: Batch, noisy: NoisyImages = noisy) -> Tensor:
            if int(batch.targets.max()) >= len(teacher.class_names):
                raise InputError(f"{teacher.name} has {len(teacher.class_names)} classes; got {batch.targets.tolist()}")
            return cross_entropy(model(noisy(batch, random_mirrors(batch))).float(), batch.targets)

        before = networks[-1] if fit.warm_start and networks else teacher.network
        trained = train(
            copy.deepcopy(before).requires_grad_(True),
            examples,
            plan=fit.plan(len(examples.ids), rng.child("expert", expert).generator("training").initial_seed() % 2**31),
            objective=objective,
            transform=transform,
            checkpoint=None if checkpoint is None else checkpoint.with_stem(f"{checkpoint.stem}-{expert}"),
            recipe={"expert": expert, **fit.model_dump(mode="json")},
            progress=progress,
        )
        network = copy.deepcopy(teacher.network)
        network.load_state_dict(dict(trained.weights))
        networks.append(network.eval().requires_grad_(False))
    return WholeExperts(tuple(networks), ranges)
