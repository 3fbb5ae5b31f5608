"""Every stage on text encoders of the classes of Stable Diffusion 1.5 and SDXL, with tiny sizes and random weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from snellen.core.randomness import Randomness
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.systems.concept_erasing.eraser import concept_eraser
from snellen.systems.concept_erasing.fitting import AutoencoderFit, autoencoder_of, fit_autoencoder
from snellen.systems.concept_erasing.text_edit import encode_erased
from snellen.systems.concept_erasing.text_layer import text_layer

_FIT = AutoencoderFit(latents=128, active=6, steps=40, batch_size=128, dead_after=2000)
_COLOURS, _SHAPES = ("red", "green", "blue"), ("star", "ring", "heart", "box")
_NAMES = {"one_tower": "stable-diffusion-1.5", "two_towers": "stable-diffusion-xl"}


def smoke_figures(seed: int) -> dict[str, float]:
    """Fit, find features, judge, edit and generate; figures of no meaning but that unflagged prompts pass."""
    prompts = [f"a {colour} {shape}" for colour in _COLOURS for shape in _SHAPES]
    red, others = [one for one in prompts if "red" in one], [one for one in prompts if "red" not in one]
    figures = dict[str, float]()
    for label, name in _NAMES.items():
        with tempfile.TemporaryDirectory() as folder:
            generator = load_generator(f"diffusers:{write_smoke_folder(name, Path(folder) / name, seed=seed)}")
        assert generator.text is not None
        erasers = []
        for tower in range(len(generator.text.towers)):
            layer = text_layer(generator.text, tower)
            made = fit_autoencoder(layer, prompts, fit=_FIT, rng=Randomness(seed))
            erasers.append(concept_eraser(layer, autoencoder_of(made, layer), {"red": red}, others, selected=24))
        asked = [red[0], others[0]]
        plain = generator.encode_prompts(asked).text
        condition, verdict = encode_erased(generator, asked, erasers)
        assert plain is not None and condition.text is not None  # noqa: PT018
        images = generate(Sampler(generator, steps=2), [0, 1], prompts=asked, condition=condition, guidance_scale=2.0)
        passed = torch.equal(condition.text[~verdict.flagged], plain[~verdict.flagged])
        figures |= {
            f"{label}.flagged": float(verdict.flagged.double().mean()),
            f"{label}.passes": float(passed),
            f"{label}.images": float(len(images)),
        }
    return figures
