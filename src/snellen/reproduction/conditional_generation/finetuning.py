"""A generator that is trained on with real images and the names of their classes alone: it forgets other looks.

Bansal and Grover (2023) compare Stable Diffusion with one that was finetuned on pairs of ImageNet's images and names.
All weights of the denoiser are trained on, with its own objective (:mod:`snellen.models.diffusion.denoiser`).
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core import package
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.models.diffusion.denoiser import add_noise, squared_errors, stratified_timesteps, training_target
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.models.weights.bundled_folders import bundled_folder
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from snellen.training.repeated import Repeated

#: Images of an update, and share of prompts that are empty, for guidance without a classifier.
BATCH, EMPTY = 64, 0.1


def finetuned(reference: str, images: ImageSet, updates: int, cache: Path, progress: Progress) -> str:
    """The reference of the generator after so many updates on these images; trained once, and kept.

    Args:
        reference: of an embedded generator of prompts.
        images: labelled, of its size.
        updates: of 64 images each.
        cache: where the folder is kept.
        progress: receives updates.
    """
    rests_on = [reference, images.fingerprint(progress), updates, BATCH, EMPTY, package.code_hash()]
    folder = cache / f"finetuned-{hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()[:16]}"
    if not (folder / "model_index.json").exists():
        network = trained_on(load_generator(reference), images, updates, progress)
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(bundled_folder(reference.removeprefix("bundled:")), partial)
        shutil.rmtree(partial / "unet")
        network.save_pretrained(partial / "unet", safe_serialization=True)  # type: ignore[operator]
        partial.rename(folder)
    return f"diffusers:{folder}"


class _Denoising(nn.Module):
    """A UNet as one call: noisy latents, times and text states → prediction."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, latents: Tensor, timesteps: Tensor, states: Tensor) -> Tensor:
        """Latents (n, c, h, w), times (n,), text states (n, l, d)."""
        predicted: Tensor = self.network(latents, timesteps, encoder_hidden_states=states).sample
        return predicted


def trained_on(generator: Generator, images: ImageSet, updates: int, progress: Progress) -> nn.Module:
    """The denoiser after the updates, in evaluation mode; the given one stays as it is."""
    height, width = generator.image_size
    preparation = Preprocessing(size=(height, width), resize="shorter", resize_to=(height, width))
    store = ImageStore.of_images(images, preparation)
    latents = torch.cat([generator.encode(to_unit(part)) for part in store.images.split(BATCH)])
    names = images.class_names or ()
    states = generator.encode_prompts([*(f"a {name}" for name in names), ""]).text
    assert states is not None
    alphas, prediction = generator.denoiser.alphas_cumprod, generator.denoiser.prediction
    nothing = len(names)

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        empty = batch.rng.uniform("empty", (1,))[:, 0] < EMPTY
        prompts = torch.where(empty, torch.full_like(batch.targets, nothing), batch.targets)
        timesteps = stratified_timesteps(len(batch.images), len(alphas), torch.rand(())).to(batch.images.device)
        noise = batch.rng.normal("noise", batch.images.shape[1:])
        noisy = add_noise(batch.images, noise, alphas, timesteps)
        target = training_target(prediction, batch.images, noise, alphas, timesteps)
        return squared_errors(model(noisy, timesteps, states.to(batch.images.device)[prompts]), target)

    plan = TrainingPlan(
        epochs=1,
        batch_size=BATCH,
        learning_rate=5e-4,
        clip_norm=1.0,
        warmup_steps=updates // 10,
    )
    examples = ImageStore.of_tensors(latents, store.targets, ids=store.ids)
    network = _Denoising(copy.deepcopy(generator.denoiser.network).requires_grad_(True))
    found = train(network, Repeated(examples, updates * BATCH), plan=plan, objective=objective, progress=progress)
    network.load_state_dict(dict(found.weights))
    return network.network.eval()
