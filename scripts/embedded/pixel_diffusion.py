"""What the trainings of the embedded diffusion models in pixels have in common: schedule, network, and their folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DModel
from torch import Tensor, nn

from runs import fit, write_folder_card, write_record
from snellen.core.randomness import derive_seed
from snellen.training import TrainingPlan
from snellen.training.acceleration import seeded
from snellen.training.batches import Examples
from snellen.training.class_denoising import NamedDenoising

# Without clipping: DDIM clips the image but not the noise that goes with it, and under guidance the two drift apart (of
# what was asked for at scale 2, two thirds were recognised with it, and all without it).
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "clip_sample": False,
    "prediction_type": "v_prediction",
}


class Denoiser(nn.Module):
    """A UNet as one call: noisy images, times and classes → prediction; one without classes ignores them."""

    def __init__(self, model: UNet2DModel) -> None:
        super().__init__()
        self.model = model
        self.classes = model.config.num_class_embeds is not None

    def forward(self, images: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """Images (n, c, h, w) in [−1, 1] with noise, times (n,), classes (n,)."""
        return self.model(images, timesteps, class_labels=classes if self.classes else None).sample


def train_and_write(
    given: argparse.Namespace,
    name: str,
    examples: Examples,
    *,
    architecture: Mapping[str, Any],
    plan: TrainingPlan,
    recipe: Mapping[str, Any],
    description: str,
    none: int = 0,
    empty: float = 0.0,
    index: Mapping[str, Any] | None = None,
) -> None:
    """Train a UNet that predicts velocities, and write it as DDPMPipeline reads it, in half precision.

    Args:
        given: the command line.
        name: folder of the model in the assets.
        examples: images, and the classes as targets; a network without classes takes any targets.
        architecture: of the UNet2DModel.
        plan: all numbers.
        recipe: what else defines the training.
        description: of the card.
        none: the class that stands for none.
        empty: share of the classes that it replaces.
        index: further entries of ``model_index.json``.
    """
    scheduler = DDIMScheduler(**SCHEDULER)
    with seeded(derive_seed(plan.seed, name), torch.device("cpu")):
        model = Denoiser(UNet2DModel(**architecture))
    objective = NamedDenoising(scheduler.alphas_cumprod, none, empty=empty)
    defined = {
        "script": recipe["script"],
        "architecture": dict(architecture),
        "scheduler": SCHEDULER,
        **{key: value for key, value in recipe.items() if key != "script"},
    }
    trained, record = fit(given, name, "denoiser", model, examples, plan=plan, objective=objective, recipe=defined)
    model.load_state_dict(trained.weights)
    folder = given.assets / name
    model.model.half().save_pretrained(folder / "unet", safe_serialization=True)
    scheduler.save_pretrained(folder / "scheduler")
    found = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": "0.42.0",
        **(index or {}),
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    write_record(folder, "denoiser", record)
    write_folder_card(folder, kind="diffusion", description=description)
