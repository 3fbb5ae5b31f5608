"""What is filled in where a method of nuisances leaves it out: for the generator of scenes, and as published.

Nothing of it is shipped: the folder of ``stabilityai/stable-diffusion-2`` (``diffusers:FOLDER``), the tokens of classes
(ImageNet*), CLIP ViT-B/16 and DINOv2 ViT-L/14 with registers (``hf:FOLDER``) are given by reference. All 1,400 sliders
take about 2,000 hours of a GPU and the images about 350; a few classes and shifts take a day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from snellen.core.errors import InputError
from snellen.systems.continuous_nuisance.filtering import PUBLISHED_THRESHOLDS
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.slider import CARD, SMALL_FIT, Slider, SliderFit
from snellen.systems.continuous_nuisance.strengths import PUBLISHED

#: Eight styles and six kinds of weather, as the prompts name them.
STYLES = ("cartoon", "plush toy", "pencil sketch", "painting", "sculpture", "graffiti", "video game", "tattoo")
WEATHERS = ("heavy snow", "heavy rain", "dense fog", "haze", "dust", "sandstorm")


@dataclass(frozen=True)
class PublishedSettings:
    """Settings of the benchmark on ImageNet.

    Attributes:
        shifts: words of each.
        template: prompt of a class.
        shifted: prompt of a class under a shift, with its words.
        negative: prompt to guide away from.
        guidance_scale: of classifier-free guidance.
        steps: of the sampler, DDIM.
        gate: highest timestep at which sliders act.
        strengths: of a trajectory.
        classes: of ImageNet.
        seeds: of each class; the first one is 1.
        size: height and width that are trained on and generated.
        kept_size: height and width of the images that are kept.
        dtype: of the generator's weights.
        fit: of a slider, one for each class and shift.
        thresholds: of the filter, with ``quirk``.
        reference: classifier whose errors are the unit of rCE. The sources do not name one; AlexNet is that of
            ImageNet-C.
    """

    shifts: tuple[str, ...] = (*STYLES, *WEATHERS)
    template: str = "a picture of a {}"
    shifted: str = "{}, {}"
    negative: str = "blurry,text,caption,lowquality,lowresolution,low res,grainy,ugly"
    guidance_scale: float = 7.5
    steps: int = 50
    gate: float = 750.0
    strengths: tuple[float, ...] = PUBLISHED
    classes: int = 100
    seeds: int = 50
    size: int = 512
    kept_size: int = 256
    dtype: str = "bfloat16"
    fit: SliderFit = field(default_factory=lambda: SliderFit(size=512))
    thresholds: Mapping[str, float] = field(default_factory=lambda: dict(PUBLISHED_THRESHOLDS))
    reference: str = "torchvision:alexnet"


IMAGENET = PublishedSettings()


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
