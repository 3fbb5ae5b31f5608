"""The paper's experiment on a GPU: StyleGAN2 on faces, two attributes with independent judges, and CLIP.

The generator is a torch module of the user's own library, since the published one has none on a package index: a
function without arguments, named as ``module:function``, that returns a module from latents (n, 512) to images in
[−1, 1]; where it has a method ``truncated(latents, psi)``, that is used. Classifiers and CLIP come by reference. With
StyleGAN2 of 1,024 pixels and batches of 8 a fit of 4,000 steps of 32 takes about 5 hours of an H100 and 40 GiB of its
memory (the paper: one RTX A4000 with batches of 2), a seed with seven fits 2 days, 256 pixels a quarter of it. These
are estimates: nobody has run it. Images are made in batches and leave the GPU at once; 16 GiB of main memory hold the
4,096 of one distribution at 256 pixels.
"""

from __future__ import annotations

import importlib
import os

import torch
from torch import nn

from snellen.core.errors import InputError
from snellen.models.classifiers.references import load_classifier
from snellen.models.latent_generators.latent_generator import LatentGenerator
from snellen.models.references import load_two_tower
from snellen.reproduction.distributional_control.materials import Attribute, Material, Size
from snellen.systems.distributional_control.fitting import PRESETS

_PREFIX = "SNELLEN_PROMPTGEN"

#: ``module:function`` of the generator; classifiers that guide, and that judge; CLIP.
GENERATOR, TOWER = f"{_PREFIX}_GENERATOR", f"{_PREFIX}_TOWER"
FIRST, FIRST_JUDGE, SECOND, SECOND_JUDGE = (
    f"{_PREFIX}_{name}" for name in ("FIRST", "FIRST_JUDGE", "SECOND", "SECOND_JUDGE")
)

#: Wanted classes of both attributes, and the text; attributes of people are never built in.
FIRST_CLASS, SECOND_CLASS, TEXT = (f"{_PREFIX}_{name}" for name in ("FIRST_CLASS", "SECOND_CLASS", "TEXT"))

#: Latents of StyleGAN2.
DIMENSION = 512

_PUBLISHED = PRESETS["published"]
FULL = Size(
    fit=_PUBLISHED.model_copy(update={"steps": 4000, "warm_up": 0.1}),
    few=_PUBLISHED,
    views=50,
    weight=300.0,
    text_weight=600.0,
    samples=10_000,
    judged=4096,
    rivals=256,
    walk=100,
)


def full_material() -> Material:
    """Everything that the environment names.

    Raises:
        InputError: a variable is not set, or what it names is no generator.
    """
    wanted = (GENERATOR, FIRST, FIRST_JUDGE, FIRST_CLASS, SECOND, SECOND_JUDGE, SECOND_CLASS, TOWER, TEXT)
    absent = [name for name in wanted if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}: {GENERATOR} is module:function of a generator of yours, "
            f"{FIRST} and {SECOND} are classifiers of two attributes by reference, their _JUDGE another network each, "
            f"their _CLASS the class that is wanted, {TOWER} is CLIP by reference and {TEXT} a text. For your own "
            f"generator, snellen generate promptgen does one control at a time"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    named = {name: os.environ[name] for name in wanted}

    def attribute(guide: str, judge: str, wanted_class: str) -> Attribute:
        classifier = load_classifier(named[guide], device=device)
        if named[guide] == named[judge]:
            raise InputError(f"{judge} names the classifier that guides; a judge is another network")
        return Attribute(
            classifier, load_classifier(named[judge], device=device), named[wanted_class], classifier.class_names
        )

    return Material(
        generator=LatentGenerator(
            _module(named[GENERATOR]), DIMENSION, name=named[GENERATOR], values="signed", device=device
        ),
        first=attribute(FIRST, FIRST_JUDGE, FIRST_CLASS),
        second=attribute(SECOND, SECOND_JUDGE, SECOND_CLASS),
        pair=named[FIRST_CLASS],
        tower=load_two_tower(named[TOWER], device=device),
        text=named[TEXT],
    )


def _module(reference: str) -> nn.Module:
    """What the user's own function returns."""
    module, colon, function = reference.partition(":")
    try:
        made = getattr(importlib.import_module(module), function)() if colon else None
    except (ImportError, AttributeError) as error:
        raise InputError(f"{GENERATOR}={reference}: cannot be imported: {error}") from error
    if not isinstance(made, nn.Module):
        raise InputError(f"{GENERATOR}={reference}: expected module:function that returns a torch module")
    return made
