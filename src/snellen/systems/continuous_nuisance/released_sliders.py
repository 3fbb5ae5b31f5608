"""Sliders as the benchmark releases them, turned into the folders that are read here.

A released slider is a file of torch (``.pt``) or safetensors with three tensors for each layer of the denoiser:
``lora_unet_LAYER.lora_down.weight``, ``….lora_up.weight`` and ``….alpha``, where LAYER is the full name of the layer
with underscores for dots. The change of a layer is up(down(x)) · strength · alpha / rank. It lies in a folder
``SHIFT_class_NUMBER_alpha1.0_rank4_noxattn``, beside those of earlier steps; the last file by name counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError, unknown_name
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.low_rank import adaptable_layers
from snellen.models.weights.checkpoint_file import read_checkpoint
from snellen.systems.continuous_nuisance.slider import Slider, SliderCard, SliderFit, generator_identity, save_slider
from snellen.systems.continuous_nuisance.words import SHIFTED, shifted_prompt

#: What stands before the names of layers.
_PREFIX = "lora_unet_"

#: Ends of the three names of a layer.
_DOWN, _UP, _ALPHA = ".lora_down.weight", ".lora_up.weight", ".alpha"

_NAME = "slider"


def released_file(folder: Path, shift: str, number: int) -> Path:
    """The file of a shift and a class in a folder of released sliders.

    Args:
        folder: with a folder for each slider.
        shift: as released names spell it, such as ``cartoon_style``.
        number: of the class in ImageNet, from 0.

    Raises:
        InputError: there is none.
    """
    found = sorted(folder.glob(f"{shift}_class_{number:03d}*/*.pt"))
    found += [] if found else sorted(folder.glob(f"{shift}_class_{number:03d}*/*.safetensors"))
    if not found:
        raise InputError(
            f"{folder} has no slider {shift}_class_{number:03d}…/*.pt; expected the unpacked adapters of the benchmark"
        )
    return found[-1]


def import_slider(
    file: Path,
    generator: Generator,
    folder: Path,
    words: str,
    prompts: Sequence[str],
    *,
    fit: SliderFit | None = None,
    template: str = SHIFTED,
) -> Slider:
    """Write a released slider into a folder of :func:`~snellen.systems.continuous_nuisance.slider_folder.sliders_in`.

    Args:
        file: of the release.
        generator: that it was trained for; the file does not name it, so that nobody can check more than shapes.
        folder: for the files of the slider.
        words: of the shift, such as "in cartoon style".
        prompts: c, that it was trained on.
        fit: numbers of its training; by default the published ones.
        template: how the words were put to a prompt.

    Raises:
        InputError: tensors of other names or shapes, a layer that the generator does not have, or half of one.
    """
    numbers = fit or SliderFit(size=512)
    identity = generator_identity(generator)
    layers = _layers(file, generator.denoiser.network)
    ranks = {name: len(down) for name, (down, _, _) in layers.items()}
    alphas = {name: alpha for name, (_, _, alpha) in layers.items()}
    uniform = len(set(ranks.values())) == len(set(alphas.values())) == 1
    options: dict[str, Any] = {
        "r": next(iter(ranks.values())),
        "lora_alpha": next(iter(alphas.values())),
        "inference_mode": False,
    }
    if not uniform:
        options |= {"rank_pattern": ranks, "alpha_pattern": alphas}
    adapters = Adapters(generator.denoiser.network)
    try:
        adapters.inject(_NAME, list(layers), options)
        places = adapters.tensors(_NAME)
        for name, (down, up, _) in layers.items():
            for part, given in (("lora_A", down), ("lora_B", up)):
                place = places[f"{name}.{part}.weight"]
                if place.shape != given.shape:
                    raise InputError(
                        f"{file}: {name}.{part} is {tuple(given.shape)}, and {generator.name} takes "
                        f"{tuple(place.shape)}: the slider is of another generator"
                    )
                place.copy_(given)
        card = SliderCard(
            words=words,
            prompts=tuple(prompts),
            shifted=tuple(shifted_prompt(prompt, words, template) for prompt in prompts),
            fit=numbers.model_copy(update={"rank": options["r"], "alpha": options["lora_alpha"]}),
            generator=generator.name,
            generator_identity=identity,
            environment={"released": file.name},
        )
        return save_slider(adapters, _NAME, folder, card)
    finally:
        adapters.unload()


def _layers(file: Path, network: nn.Module) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Both factors and alpha of each layer, in the order of the network."""
    tensors, _ = read_checkpoint(file)
    known = adaptable_layers(network)
    spelled = {name.replace(".", "_"): name for name in known}
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        end = next((one for one in (_DOWN, _UP, _ALPHA) if key.endswith(one)), None)
        if end is None or not key.startswith(_PREFIX):
            raise InputError(f"{file}: {key!r} is no tensor of a released slider ({_PREFIX}LAYER{_DOWN} and two more)")
        layer = key.removeprefix(_PREFIX).removesuffix(end)
        if layer not in spelled:
            raise unknown_name(f"layer in {file}; the generator has no", layer, spelled)
        found.setdefault(spelled[layer], {})[end] = tensor
    for layer, parts in found.items():
        if len(parts) != 3:
            raise InputError(f"{file}: layer {layer} has {', '.join(sorted(parts))} alone; the file is cut")
    with torch.no_grad():
        return {
            name: (found[name][_DOWN].float(), found[name][_UP].float(), float(found[name][_ALPHA]))
            for name in known
            if name in found
        }
