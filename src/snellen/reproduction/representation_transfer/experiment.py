"""System 16: attacks on data and on representations, of equal success on their source, tried on other models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from snellen.core.progress import Progress
from snellen.core.system import Scale
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.random_folders import write_random_vit_gpt2
from snellen.models.references import load_captioner
from snellen.reproduction.representation_transfer.controls import control_figures
from snellen.reproduction.representation_transfer.depth_figures import (
    other_ways,
    prefixed,
    split_difference,
    study_figures,
)
from snellen.reproduction.representation_transfer.full import full
from snellen.reproduction.representation_transfer.networks import SAME_ARCHITECTURE
from snellen.reproduction.representation_transfer.setting import Strength
from snellen.reproduction.representation_transfer.speaking_figures import (
    Speaking,
    language_figures,
    vision_language_figures,
)
from snellen.reproduction.representation_transfer.studies import fashion_study, scenes_study, smoke_studies
from snellen.reproduction.representation_transfer.tau_figures import with_missing_taus
from snellen.reproduction.representation_transfer.theory import theory_figures
from snellen.reproduction.sample import Figure
from snellen.training.plan import TrainingPlan


def adversarial_transfer(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 16.

    Returns:
        ``theory``: the theorem by dimension. ``scenes`` and ``fashion``: by depth and map, see
        :func:`~snellen.reproduction.representation_transfer.depth_figures.study_figures`. ``basis`` and ``symmetry``:
        one network in other bases. ``l2``: two seeds under the other norm. ``universal``: one tensor for all images.
        ``language`` and ``vision``: models that speak.

    Raises:
        InputError: the scale is full, and a model or images that it needs are not named.
    """
    if scale == "smoke":
        return _smoke(seed, progress)
    if scale == "full":
        return with_missing_taus(full(seed, progress), scale)
    figures: dict[str, Figure] = dict(theory_figures(seed))
    scenes = scenes_study(seed, progress)
    figures |= prefixed("scenes", study_figures(scenes, progress))
    figures |= prefixed("scenes", split_difference(scenes))
    figures |= prefixed("scenes", control_figures(scenes, SAME_ARCHITECTURE[0]))
    figures |= prefixed("scenes", other_ways(scenes))
    figures |= prefixed("fashion", study_figures(fashion_study(seed, progress), progress))
    # A search for suffixes has no size that could be calibrated: the others are made as strong as it is.
    figures |= language_figures(seed, replace(scenes.strength, wanted=0.93), Speaking(), progress)
    figures |= vision_language_figures(seed, scenes.strength, Speaking(), progress)
    return with_missing_taus(figures, scale)


adversarial_transfer.stand_ins = {  # type: ignore[attr-defined]
    "smoke": (
        "random images; two networks of the real classes (ResNet-18, a vision transformer of two blocks) each with "
        "random weights, two gradient steps; a GPT-2 of two blocks trained for an epoch on 40 captions; a ViT-GPT-2 "
        "captioner with random weights",
    ),
    "small": (
        "scenes with one of ten shapes at 32 pixels (2,400 to train on, 120 measured) and the bundled 2,000 images of "
        "Fashion-MNIST (1,400 to train on, 140 measured) for CIFAR-10 and ImageNet",
        "five convolutional networks of three stages on scenes (three seeds, one of double inner width, one without "
        "BatchNorm), three seeds on Fashion-MNIST, for families of ResNets and vision transformers",
        "three GPT-2 of two blocks and width 48, trained on captions, for open language models; a harmless phrase for "
        "the answers of a jailbreak; suffixes of three tokens",
        "the embedded captioner with five projectors, each trained by the captions' loss, for several vision-language "
        "models",
    ),
    "full": ("see full.py; LLaVA for the Prismatic models",),
}


def _smoke(seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Every stage with the real classes; no figure of it means anything."""
    figures: dict[str, Figure] = dict(theory_figures(seed, dimensions=(8,), draws=50))
    strength = Strength()
    for family, study in smoke_studies(seed).items():
        strength = study.strength
        figures |= prefixed(family, study_figures(study, progress))
        figures |= prefixed(family, split_difference(study))
        figures |= prefixed(family, other_ways(study))
    size = Speaking(
        captions=40,
        calibrating=2,
        calibrating_images=2,
        prompts=30,
        models=2,
        suffix_steps=1,
        exchanges=2,
        plan=TrainingPlan(epochs=1),
        captioned=8,
        caption_words=3,
        projector_plan=TrainingPlan(epochs=1, batch_size=8),
        images=6,
        caption_steps=2,
        shares=(0.0, 0.0, 1.0),
    )
    figures |= language_figures(seed, strength, size, progress)
    return figures | vision_language_figures(seed, strength, size, progress, _random_captioner(seed))


def _random_captioner(seed: int) -> CrossAttentionCaptioner:
    with TemporaryDirectory() as folder:
        loaded = load_captioner(f"hf:{write_random_vit_gpt2(Path(folder), seed=seed)}")
    assert isinstance(loaded, CrossAttentionCaptioner)
    assert isinstance(loaded.module, torch.nn.Module)
    return loaded
