"""What a method of nuisances loads: its generator, its sliders, the encoders of its filter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.methods.generation.made_images import generator_of
from snellen.models.diffusion.generator import Generator
from snellen.models.encoders.references import load_encoder
from snellen.models.references import load_two_tower
from snellen.systems.continuous_nuisance.filter_scores import FilterEncoders
from snellen.systems.continuous_nuisance.slider import Slider
from snellen.systems.continuous_nuisance.slider_folder import sliders_in, sliders_of_class
from snellen.systems.continuous_nuisance.words import class_prompt, named_phrases

if TYPE_CHECKING:
    from snellen.systems.continuous_nuisance.method import ContinuousNuisance


def nuisance_generator(method: ContinuousNuisance) -> Generator:
    """The generator of a method, where and in the precision that it says."""
    return generator_of(method.generator, method.device, method.dtype)


def sliders_of(
    method: ContinuousNuisance, class_names: Sequence[str], progress: Progress | None = None
) -> dict[str, dict[str, Slider]]:
    """The sliders of some classes, by class and then by shift, trained first where their folder lacks them.

    Raises:
        InputError: what the method lacks; a slider of another generator, with other words, numbers or prompts.
    """
    lacking = method.missing()
    if lacking is not None:
        raise InputError(f"{method.name} {lacking}")
    folder, generator, shifts = Path(method.sliders), nuisance_generator(method), named_phrases(method.concept)
    prompts = {name: class_prompt(method.template, name) for name in method.classes}
    if method.sliders_for == "each":
        return {
            name: sliders_of_class(
                folder, generator, shifts, name, prompts[name],
                fit=method.fit, template=method.shifted, progress=progress,
            )
            for name in class_names
        }  # fmt: skip
    shared = sliders_in(
        folder, generator, shifts, list(prompts.values()), fit=method.fit, template=method.shifted, progress=progress
    )
    return dict.fromkeys(class_names, shared)


def slider_identities(method: ContinuousNuisance) -> dict[str, str]:
    """Hashes of the weights of all sliders of a method."""
    found = sliders_of(method, method.classes)
    if method.sliders_for == "each":
        return {
            f"slider {class_name}/{name}": slider.card.sha256
            for class_name, sliders in found.items()
            for name, slider in sliders.items()
        }
    return {f"slider {name}": slider.card.sha256 for sliders in found.values() for name, slider in sliders.items()}


def filter_of(method: ContinuousNuisance) -> FilterEncoders | None:
    """The encoders of a method's filter; None where it has none."""
    if method.text_image is None or method.second_encoder is None:
        return None
    return _encoders(method.text_image, method.second_encoder, method.quirk, method.device)


@lru_cache(maxsize=1)
def _encoders(text_image: str, second: str, quirk: bool, device: str) -> FilterEncoders:
    return FilterEncoders(load_two_tower(text_image, device=device), load_encoder(second, device=device), quirk)
