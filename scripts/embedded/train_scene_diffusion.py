"""Train the denoiser of the embedded text-to-image model on latents of scenes, and write its diffusers folder.

    python scripts/embedded/train_scene_diffusion.py [--resume] [--threads N] [--first-steps]

Needs the autoencoder (train_scene_autoencoder.py) and the towers (train_scene_towers.py): it works on the latents of
the one, and its text encoder is the text tower of the other, which stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from caption_tokens import VARIANTS, CaptionTokens
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from scene_examples import EncodedExamples, SceneExamples, factor_numbers
from scene_world import SIZE, WORLD, scenes
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from runs import fit, options, write_folder_card, write_record
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.described import Factor
from snellen.models.diffusion.denoiser import add_noise, squared_errors, stratified_timesteps, training_target
from snellen.training import TrainingPlan
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch

NAME, TOWERS = "scene-diffusion", "scene-clip"
COUNT = 40_000

#: A generator is asked for much at once: less is left out than where texts are told apart.
LEFT_OUT: Mapping[Factor, float] = {
    "shape": 0.0,
    "colour": 0.1,
    "texture": 0.1,
    "size": 0.4,
    "place": 0.5,
    "background": 0.1,
    "nuisances": 0.0,
}

#: Share of captions that are empty, for guidance without a classifier.
EMPTY = 0.1

ARCHITECTURE = {
    "sample_size": SIZE // 4,
    "in_channels": 8,
    "out_channels": 8,
    "block_out_channels": [64, 96],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 4,
    "norm_num_groups": 8,
    "cross_attention_dim": 64,
}
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "v_prediction",
    "steps_offset": 1,
}

DESCRIPTION = (
    "Text to image in the format of Stable Diffusion, 32 pixels: one square, triangle, star, cross, ring or heart, "
    "medium or large and upright, in six colours, three textures and on four backgrounds; at times in fog or blurred. "
    "It knows the words of scene captions and no others."
)

PLAN = TrainingPlan(
    epochs=10,
    batch_size=64,
    drop_last=True,
    learning_rate=1.5e-3,
    second_momentum=0.99,
    schedule="cosine",
    warmup_steps=200,
    ema_decay=0.998,
    clip_norm=1.0,
    mixed_precision="bf16",
    channels_last=True,
)


class Denoiser(nn.Module):
    """A UNet as one call: noisy latents, times and text states → prediction."""

    def __init__(self, model: UNet2DConditionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: Tensor, timesteps: Tensor, states: Tensor) -> Tensor:
        """Latents (n, c, h, w), times (n,), text states (n, l, d)."""
        return self.model(latents, timesteps, encoder_hidden_states=states).sample


class Denoising:
    """The objective: the velocity of noisy latents, told a caption.

    Args:
        captions: of each example.
        text: the frozen text encoder.
        alphas_cumprod: (times,).
    """

    def __init__(self, captions: CaptionTokens, text: CLIPTextModel, alphas_cumprod: Tensor) -> None:
        self.captions, self.text, self.alphas = captions, text, alphas_cumprod

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,)."""
        tokens = self.captions(batch.positions, batch.rng)
        tokens[batch.rng.uniform("empty", (1,))[:, 0] < EMPTY] = self.captions.tokens([""])[0]
        with torch.no_grad():
            states = self.text(input_ids=tokens).last_hidden_state
        timesteps = stratified_timesteps(len(batch.images), len(self.alphas), torch.rand(()))
        noise = batch.rng.normal("noise", batch.images.shape[1:])
        noisy = add_noise(batch.images, noise, self.alphas, timesteps)
        target = training_target("v_prediction", batch.images, noise, self.alphas, timesteps)
        return squared_errors(model(noisy, timesteps, states), target)


def main() -> None:
    """Train and write."""
    given = options(__doc__ or "")
    folder, towers = given.assets / NAME, given.assets / TOWERS
    tokenizer = CLIPTokenizer.from_pretrained(towers, local_files_only=True)
    text = CLIPTextModel.from_pretrained(towers, local_files_only=True, dtype=torch.float32).eval()
    autoencoder = AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True, torch_dtype=torch.float32).eval()
    scaling = autoencoder.config.scaling_factor

    def encode(images: Tensor) -> Tensor:
        with torch.inference_mode():
            return autoencoder.encode(images.float() / 127.5 - 1).latent_dist.mean * scaling

    drawn = scenes(WORLD, "train", count=COUNT, seen=True)
    pictures = SceneExamples(drawn, SIZE, factor_numbers(drawn, ("shape",)))
    examples = EncodedExamples(pictures, encode, (8, SIZE // 4, SIZE // 4), _weights_hash(folder / "vae"))
    scheduler = DDIMScheduler(**SCHEDULER)
    with seeded(derive_seed(PLAN.seed, NAME, "denoiser"), torch.device("cpu")):
        model = Denoiser(UNet2DConditionModel(**ARCHITECTURE))
    recipe = {
        "script": "scripts/embedded/train_scene_diffusion.py",
        "architecture": ARCHITECTURE,
        "scheduler": SCHEDULER,
        "captions": {"variants": VARIANTS, "left out": dict(LEFT_OUT), "empty": EMPTY},
    }
    objective = Denoising(CaptionTokens(tokenizer, drawn, LEFT_OUT), text, scheduler.alphas_cumprod)
    trained, record = fit(given, NAME, "denoiser", model, examples, plan=PLAN, objective=objective, recipe=recipe)
    model.load_state_dict(trained.weights)
    write(folder, model.model, text, tokenizer, scheduler)
    write_record(folder, "denoiser", record)
    write_folder_card(folder, kind="diffusion", description=DESCRIPTION)


def write(
    folder: Path, unet: UNet2DConditionModel, text: CLIPTextModel, tokenizer: CLIPTokenizer, scheduler: DDIMScheduler
) -> None:
    """Write the folder as StableDiffusionPipeline reads it, in half precision, in files of less than 4 MB."""
    unet.half().save_pretrained(folder / "unet", safe_serialization=True, max_shard_size="3MB")
    text.half().save_pretrained(folder / "text_encoder", safe_serialization=True)
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _weights_hash(folder: Path) -> str:
    import hashlib

    return hashlib.sha256((folder / "diffusion_pytorch_model.safetensors").read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
