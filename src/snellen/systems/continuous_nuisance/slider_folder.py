"""Sliders in a folder, read or trained there, and what else a method of nuisances loads."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.generation.made_images import generator_of
from snellen.models.diffusion.generator import Generator
from snellen.models.encoders.references import load_encoder
from snellen.models.references import load_two_tower
from snellen.systems.continuous_nuisance.class_tokens import with_class_tokens
from snellen.systems.continuous_nuisance.filter_scores import FilterEncoders
from snellen.systems.continuous_nuisance.fitting import fit_slider
from snellen.systems.continuous_nuisance.slider import Slider, SliderFit
from snellen.systems.continuous_nuisance.words import SHIFTED, named_phrases, shifted_prompt

#: Names of shifts become names of folders.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]*")

#: Names of classes that do, too: the others may hold anything, and two that differ in case alone are one on some disks.
_PLAIN = re.compile(r"[a-z0-9](?:[a-z0-9 _-]{0,58}[a-z0-9])?")


def sliders_in(
    folder: Path,
    generator: Generator,
    concepts: Mapping[str, str],
    prompts: Sequence[str],
    *,
    fit: SliderFit | None = None,
    template: str = SHIFTED,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Slider]:
    """Load a slider for each shift, or train it and write it there where it is missing.

    A training that was stopped leaves nothing: the sliders that are there are whole, and the others are trained anew.

    Args:
        folder: with a folder for each shift, of its name.
        generator: that they belong to.
        concepts: name of each shift → its words in prompts, such as "fog" → "in fog".
        prompts: c, those to train on; a slider that is there may have been trained on others (see its card).
        fit: numbers of a training; a slider that is there must have been trained with them. None: the published ones,
            or those of the sliders that are there.
        template: how words are put to a prompt.
        seed: of a training.
        progress: callback that receives progress updates.

    Raises:
        InputError: a name that cannot be that of a folder; a slider of another generator, with other words, or that
            was trained with other numbers.
    """
    if not concepts:
        raise InputError("there is no shift: name one at least, such as fog")
    for name, words in concepts.items():
        if not _NAME.fullmatch(name):
            raise InputError(f"the name of a shift is made of letters, digits, blanks, - and _; got {name!r}")
        for prompt in prompts:
            shifted_prompt(prompt, words, template)
    found: dict[str, Slider] = {}
    for name, words in concepts.items():
        place = folder / name
        if not place.exists():
            beside = folder / f".{name}.unfinished"
            shutil.rmtree(beside, ignore_errors=True)
            rng = Randomness(seed).child("slider", name)
            fit_slider(generator, beside, words, prompts, fit=fit, template=template, rng=rng, progress=progress)
            beside.rename(place)
        slider = Slider.load(place)
        slider.check(generator)
        _check_fit(slider, words, fit)
        found[name] = slider
    return found


def sliders_of_class(
    folder: Path,
    generator: Generator,
    concepts: Mapping[str, str],
    class_name: str,
    prompt: str,
    *,
    fit: SliderFit | None = None,
    template: str = SHIFTED,
    progress: Progress | None = None,
) -> dict[str, Slider]:
    """:func:`sliders_in` for one class alone, as published: in a folder of the class, trained on its prompt only.

    Args:
        folder: with a folder for each class, which has one for each shift.
        generator: that they belong to.
        concepts: name of each shift → its words in prompts.
        class_name: words of the class.
        prompt: c, that of the class.
        fit: numbers of a training.
        template: how words are put to the prompt.
        progress: callback that receives progress updates.

    Raises:
        InputError: what :func:`sliders_in` refuses; a slider that was trained on another prompt.
    """
    own = folder / _class_folder(class_name)
    found = sliders_in(own, generator, concepts, [prompt], fit=fit, template=template, progress=progress)
    for slider in found.values():
        if slider.card.prompts != (prompt,):
            raise InputError(
                f"{slider.folder} was trained on {', '.join(map(repr, slider.card.prompts)) or 'no prompt'}, not on "
                f"{prompt!r} alone; take another folder"
            )
    return found


def _class_folder(class_name: str) -> str:
    """The name of a class where it is plain, else what is plain of it and a hash.

    >>> _class_folder("great white shark"), _class_folder("St. Bernard")
    ('great white shark', 'st-bernard-7f7f71a5')
    """
    if _PLAIN.fullmatch(class_name):
        return class_name
    plain = re.sub("[^a-z0-9]+", "-", class_name.lower())[:50].strip("-")
    return f"{plain}-{hashlib.sha256(class_name.encode()).hexdigest()[:8]}".lstrip("-")


def _check_fit(slider: Slider, words: str, fit: SliderFit | None) -> None:
    """Refuse words and numbers that a slider which is there was not trained with."""
    if slider.card.words != words:
        raise InputError(
            f"{slider.folder} is a slider of {slider.card.words!r}, not of {words!r}; name the shift otherwise, or "
            f"take another folder"
        )
    was, asked = slider.card.fit.model_dump(), {} if fit is None else fit.model_dump()
    differs = [f"{key} {was[key]}, not {value}" for key, value in asked.items() if was[key] != value]
    if differs:
        raise InputError(
            f"{slider.folder} was trained with {', '.join(differs)}; take the numbers away to use it, or name another "
            f"folder"
        )


if TYPE_CHECKING:
    from snellen.systems.continuous_nuisance.method import ContinuousNuisance


def nuisance_generator(method: ContinuousNuisance) -> Generator:
    """The generator of a method, where and in the precision that it says, with learned tokens where it names some."""
    if method.tokens is None:
        return generator_of(method.generator, method.device, method.dtype)
    return _knowing(method.generator, method.device, method.dtype, method.tokens)


@lru_cache(maxsize=1)
def _knowing(reference: str, device: str, dtype: str, tokens: Path) -> Generator:
    return with_class_tokens(generator_of(reference, device, dtype), tokens)


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
    prompts = {name: method.prompt(name) for name in method.classes}
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
