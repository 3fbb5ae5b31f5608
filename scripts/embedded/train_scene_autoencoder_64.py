"""Make a generator of 64 pixels of the embedded one of 32: train an autoencoder of 64 pixels to the same latents.

    python scripts/embedded/train_scene_autoencoder_64.py [--resume] [--threads N]

The denoiser, the text tower and the words stay those of ``bundled:scene-diffusion``. So it knows what that one knows,
and cannot draw what that one cannot. The autoencoder has one stage more: 64 × 64 pixels to 8 × 8 × 8 latents and back.
It begins with the weights of the embedded one. Its encoder learns to give what the embedded encoder gives of the same
picture at half the side. Its decoder learns to draw the picture from that. About 20 minutes of one core. The folder is
build/embedded/scene-diffusion-64; load it as ``diffusers:build/embedded/scene-diffusion-64``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from scene_examples import SceneExamples
from scene_world import SIZE, WORLD, scenes
from torch import Tensor, nn
from torch.nn import functional
from train_scene_autoencoder import ARCHITECTURE as EMBEDDED
from train_scene_autoencoder import GRADIENT, OBJECT, SQUARED, weighted_errors
from train_scene_autoencoder import PLAN as EMBEDDED_PLAN

from runs import BUILD, fit, options, write_record
from snellen.core.randomness import derive_seed
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch

SOURCE, NAME = "scene-diffusion", "scene-diffusion-64"
COUNT = 16_000
ARCHITECTURE = {
    **EMBEDDED,
    "block_out_channels": [16, 16, 32, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "sample_size": 2 * SIZE,
}

#: Weight of the squared difference of the encoder's means and log-variances from those of the embedded one.
AGREEMENT = 0.1

PLAN = EMBEDDED_PLAN.model_copy(update={"epochs": 5, "learning_rate": 2e-3})


class BothWays(nn.Module):
    """An autoencoder as one call, whose decoder does not read what its encoder wrote."""

    def __init__(self, model: AutoencoderKL) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Images (n, 3, h, w) in [−1, 1], latents (n, c, h / 8, w / 8) → pictures, moments (n, 2 c, h / 8, w / 8)."""
        return self.model.decode(latents).sample, self.model.encode(images).latent_dist.parameters


class Agreement:
    """The objective: pictures from the embedded encoder's latents, and the same moments as it gives.

    Args:
        embedded: autoencoder of half the side, frozen.
    """

    def __init__(self, embedded: AutoencoderKL) -> None:
        self.embedded = embedded

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,)."""
        images = batch.images * 2 - 1
        noise = batch.rng.normal("latents", (8, SIZE // 4, SIZE // 4))
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            posterior = self.embedded.encode(halved(images)).latent_dist
        found, moments = model(images, posterior.mean + posterior.std * noise)
        apart = (moments.float() - posterior.parameters).square().mean((1, 2, 3))
        return weighted_errors(found.float() - images, batch.targets) + AGREEMENT * apart


def halved(images: Tensor) -> Tensor:
    """Images at half the side; scenes that are drawn so small differ from that by 1 % of the range."""
    return functional.avg_pool2d(images, 2)


def deepened(embedded: AutoencoderKL) -> AutoencoderKL:
    """An autoencoder with a stage more at the side of the pixels, and the embedded one's weights in all others."""
    model, found = AutoencoderKL(**ARCHITECTURE), {}
    for name, value in embedded.state_dict().items():
        parts = name.split(".")
        if parts[:2] == ["encoder", "down_blocks"]:
            parts[2] = str(int(parts[2]) + 1)
        found[".".join(parts)] = value
    model.load_state_dict(found, strict=False)
    model.register_to_config(scaling_factor=embedded.config.scaling_factor)
    return model


def write(source: Path, folder: Path, autoencoder: AutoencoderKL) -> None:
    """Write the folder: the embedded generator with another autoencoder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("vae", "card.json"))
    autoencoder.half().save_pretrained(folder / "vae", safe_serialization=True)


def main() -> None:
    """Train and write."""
    given = options(__doc__ or "")
    source, folder = given.assets / SOURCE, BUILD / NAME
    embedded = AutoencoderKL.from_pretrained(source / "vae", local_files_only=True, torch_dtype=torch.float32).eval()
    examples = SceneExamples(scenes(WORLD, "train", count=COUNT, seen=True), 2 * SIZE, None)
    with seeded(derive_seed(PLAN.seed, NAME, "autoencoder"), torch.device("cpu")):
        model = BothWays(deepened(embedded))
    recipe = {
        "script": "scripts/embedded/train_scene_autoencoder_64.py",
        "architecture": ARCHITECTURE,
        "loss": {"squared": SQUARED, "gradient": GRADIENT, "agreement": AGREEMENT, "object": OBJECT},
    }
    objective = Agreement(embedded)
    given.assets = BUILD  # where the record of --first-steps lies
    trained, record = fit(given, NAME, "autoencoder", model, examples, plan=PLAN, objective=objective, recipe=recipe)
    model.load_state_dict(trained.weights)
    autoencoder = model.model.eval().float()
    drawn = SceneExamples(scenes(WORLD, "val", count=min(COUNT, 512), seen=False), 2 * SIZE, None, "val")
    record["validation"] = validated(autoencoder, embedded, drawn.images().float() / 127.5 - 1)
    write(source, folder, autoencoder)
    write_record(folder, "autoencoder", record)
    print(record["validation"])


def validated(autoencoder: AutoencoderKL, embedded: AutoencoderKL, images: Tensor) -> dict[str, float]:
    """Root mean squared errors on images (n, 3, 64, 64) in [−1, 1].

    Returns:
        ``drawn``, from the embedded encoder's latents; ``returned``, through both ways; ``latents``, as a share of the
        standard deviation of the embedded one's; and, to compare with, ``enlarged``: the embedded autoencoder's picture
        of half the side.
    """
    errors: dict[str, list[Tensor]] = {"drawn": [], "returned": [], "latents": [], "enlarged": []}
    spread = []
    with torch.inference_mode():
        for part in images.split(64):
            latents, own = embedded.encode(halved(part)).latent_dist.mean, autoencoder.encode(part).latent_dist.mean
            small = embedded.decode(latents).sample
            enlarged = functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
            errors["drawn"].append((autoencoder.decode(latents).sample - part).square().flatten())
            errors["returned"].append((autoencoder.decode(own).sample - part).square().flatten())
            errors["latents"].append((own - latents).square().flatten())
            errors["enlarged"].append((enlarged - part).square().flatten())
            spread.append(latents.flatten())
    found = {name: float(torch.cat(parts).mean().sqrt()) for name, parts in errors.items()}
    found["latents"] /= float(torch.cat(spread).std())
    return {name: round(value, 4) for name, value in found.items()}


if __name__ == "__main__":
    main()
