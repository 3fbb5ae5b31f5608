"""What is filled in where a method of nuisances leaves it out: for the generator of scenes, and as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from snellen.core.errors import InputError
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.published import IMAGENET
from snellen.systems.continuous_nuisance.settings import SMALL_FIT, SliderFit
from snellen.systems.continuous_nuisance.slider import CARD, Slider

Preset = Literal["scenes", "imagenet"]

#: The generator that comes with the package.
SCENE_GENERATOR = "bundled:scene-diffusion"

#: Fields by preset. ``scenes`` is for the generator that comes with the package: a training and a sampler of seconds,
#: and a filter of encoders that learnt no classes. ``imagenet`` is the published benchmark on Stable Diffusion 2; the
#: folders of generator and encoders are the user's own.
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "scenes": {
        "template": "a {}",
        "guidance_scale": 2.0,
        "steps": 20,
        "text_image": "bundled:scene-clip",
        "second_encoder": "bundled:scene-sam",
    },
    "imagenet": {
        "concept": IMAGENET.shifts,
        "strengths": IMAGENET.strengths,
        "template": IMAGENET.template,
        "shifted": IMAGENET.shifted,
        "negative": IMAGENET.negative,
        "guidance_scale": IMAGENET.guidance_scale,
        "steps": IMAGENET.steps,
        "gate": IMAGENET.gate,
        "size": IMAGENET.size,
        "kept_size": IMAGENET.kept_size,
        "sliders_for": "each",
        "dtype": IMAGENET.dtype,
        "thresholds": dict(IMAGENET.thresholds),
        "quirk": True,
    },
}

#: Training of sliders that are missing, by preset.
_FITS: Mapping[Preset, SliderFit] = {"scenes": SMALL_FIT, "imagenet": IMAGENET.fit}


def filled_in(
    method: ContinuousNuisance, preset: Preset | None, *, class_names: Sequence[str], sliders: Path, filter: bool
) -> ContinuousNuisance:
    """The method with what it leaves out; what it says stays.

    Args:
        method: as it was written.
        preset: whose values; None: ``scenes`` for the generator that comes with the package, else those of the method.
        class_names: where it names no classes.
        sliders: folder, where it names none.
        filter: whether to filter; if not, encoders are taken out.

    Raises:
        InputError: a filter without encoders; a slider that is damaged.
    """
    chosen = preset or ("scenes" if method.generator == SCENE_GENERATOR else None)
    said = {name: getattr(method, name) for name in method.model_fields_set}
    folder = Path(said.get("sliders") or sliders)
    parameters: dict[str, Any] = {**PRESETS.get(chosen, {}), **said} if chosen is not None else dict(said)
    parameters |= {"classes": method.classes or tuple(class_names), "sliders": str(folder)}
    if method.fit is None and chosen is not None:
        # One that is there was trained with its own numbers, and those that are missing are to be like it.
        parameters["fit"] = _fit_in(folder) or _FITS[chosen]
    if not filter:
        parameters |= {"text_image": None, "second_encoder": None}
    elif parameters.get("text_image") is None or parameters.get("second_encoder") is None:
        raise InputError(
            "a generated image may show something else than its class, and the filter needs a text-image model and a "
            "second encoder (published: CLIP ViT-B/16 and DINOv2 ViT-L/14): give --text-image and --second-encoder, "
            "or --no-filter"
        )
    return ContinuousNuisance(**parameters)


def _fit_in(folder: Path) -> SliderFit | None:
    """How the first slider in a folder was trained; None without any."""
    # Those of each class lie in a folder of it.
    cards = sorted([*folder.glob(f"*/{CARD}"), *folder.glob(f"*/*/{CARD}")])
    there = [card.parent for card in cards if not card.parent.name.startswith(".")]
    return Slider.load(there[0]).card.fit if there else None
