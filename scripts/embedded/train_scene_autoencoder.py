"""Train the autoencoder of the embedded latent diffusion: 32 × 32 pixels to 8 × 8 × 8 latents and back.

    python scripts/embedded/train_scene_autoencoder.py [--resume] [--threads N] [--first-steps]

An AutoencoderKL of diffusers. What a latent model can express is capped by it, so errors on the object count four
times.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from scene_examples import SceneExamples
from scene_world import SIZE, WORLD, scenes
from torch import Tensor, nn

from runs import fit, options, write_record
from snellen.core.randomness import derive_seed
from snellen.training import TrainingPlan
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch

NAME = "scene-diffusion"
COUNT = 24_000
ARCHITECTURE = {
    "block_out_channels": [16, 32, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 1,
    "latent_channels": 8,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "sample_size": SIZE,
}

#: Weights of the parts of the loss beside the absolute error: squared error, error of differences of neighbours,
#: divergence of a latent element from the standard normal; and how much more an error on the object counts.
SQUARED, GRADIENT, DIVERGENCE, OBJECT = 0.5, 0.3, 1e-4, 3.0

PLAN = TrainingPlan(
    epochs=6,
    batch_size=64,
    drop_last=True,
    learning_rate=3e-3,
    second_momentum=0.95,
    schedule="cosine",
    warmup_steps=50,
    ema_decay=0.995,
    clip_norm=1.0,
    mixed_precision="bf16",
    channels_last=True,
)


class Reconstruction(nn.Module):
    """An autoencoder as one call: images and noise → reconstruction, mean and log-variance of the latents."""

    def __init__(self, model: AutoencoderKL) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (n, 3, h, w) in [−1, 1], noise like the latents."""
        posterior = self.model.encode(images).latent_dist
        latents = posterior.mean + posterior.std * noise
        return self.model.decode(latents).sample, posterior.mean, posterior.logvar


def weighted_errors(error: Tensor, masks: Tensor) -> Tensor:
    """Absolute, squared and gradient error of each image, weighted towards the object.

    Args:
        error: reconstruction less image, float (n, 3, h, w), of images in [−1, 1].
        masks: of the objects, uint8 (n, 1, h, w).

    Returns:
        (n,).
    """
    weight = 1 + OBJECT * masks.float() / 255
    across, down = error.diff(dim=3).abs() * weight[..., 1:], error.diff(dim=2).abs() * weight[..., 1:, :]
    pixels = weight * (error.abs() + SQUARED * error.square())
    return pixels.mean((1, 2, 3)) + GRADIENT * (across.mean((1, 2, 3)) + down.mean((1, 2, 3)))


def objective(model: nn.Module, batch: Batch) -> Tensor:
    """Weighted errors, and the divergence of the latents."""
    images = batch.images * 2 - 1
    noise = batch.rng.normal("latents", (8, SIZE // 4, SIZE // 4))
    found, mean, logvar = model(images, noise)
    divergence = 0.5 * (mean.float().square() + logvar.float().exp() - 1 - logvar.float())
    return weighted_errors(found.float() - images, batch.targets) + DIVERGENCE * divergence.mean((1, 2, 3))


def main() -> None:
    """Train and write."""
    given = options(__doc__ or "")
    examples = SceneExamples(scenes(WORLD, "train", count=COUNT, seen=True), SIZE, None)
    with seeded(derive_seed(PLAN.seed, NAME, "autoencoder"), torch.device("cpu")):
        model = Reconstruction(AutoencoderKL(**ARCHITECTURE))
    recipe = {
        "script": "scripts/embedded/train_scene_autoencoder.py",
        "architecture": ARCHITECTURE,
        "loss": {"squared": SQUARED, "gradient": GRADIENT, "divergence": DIVERGENCE, "object": OBJECT},
    }
    trained, record = fit(given, NAME, "autoencoder", model, examples, plan=PLAN, objective=objective, recipe=recipe)
    model.load_state_dict(trained.weights)
    autoencoder = model.model.eval().float()
    with torch.inference_mode():
        images = examples.read(torch.arange(2048))[0].float() / 127.5 - 1
        latents = torch.cat([autoencoder.encode(part).latent_dist.mean for part in images.split(256)])
    autoencoder.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
    folder = given.assets / NAME
    autoencoder.half().save_pretrained(folder / "vae", safe_serialization=True)
    write_record(folder, "autoencoder", record)
    print(f"latents have standard deviations {[round(v, 2) for v in latents.std((0, 2, 3)).tolist()]}")


if __name__ == "__main__":
    main()
