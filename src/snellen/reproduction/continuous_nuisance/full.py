"""A part of the benchmark at its own size, on a GPU: Stable Diffusion 2 with ImageNet* tokens, and released sliders.

Everything comes by reference, from environment variables, and nothing is downloaded. Classes follow each other, and a
few seeds of one are made at a time, so that memory does not grow with the images. Estimated from numbers of calls and
not measured: 5 classes, 2 shifts and 50 seeds are 2,750 images of 512 pixels, two hours and 12 GB of an H100. Sliders
that are not given are trained first, over an hour each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.preprocessing import to_image
from snellen.core.progress import Progress
from snellen.metrics.sweep import setting_name
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.models.encoders.references import load_encoder
from snellen.models.references import load_two_tower
from snellen.reproduction.continuous_nuisance.answers import of_classifiers
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.continuous_nuisance.class_tokens import tokens_in_order, with_class_tokens
from snellen.systems.continuous_nuisance.filter_scores import FilterEncoders, filter_scores
from snellen.systems.continuous_nuisance.filtering import keep
from snellen.systems.continuous_nuisance.measuring import measure_trajectories
from snellen.systems.continuous_nuisance.presets import IMAGENET, PublishedSettings
from snellen.systems.continuous_nuisance.released_sliders import import_slider, released_file
from snellen.systems.continuous_nuisance.slider import Slider
from snellen.systems.continuous_nuisance.slider_folder import sliders_in
from snellen.systems.continuous_nuisance.trajectories import sample_trajectories
from snellen.systems.continuous_nuisance.words import class_prompt

GENERATOR, TOKENS, TEXT_IMAGE, ENCODER, MODELS, FOLDER = (
    f"SNELLEN_NUISANCE_{name}" for name in ("GENERATOR", "TOKENS", "TEXT_IMAGE", "ENCODER", "MODELS", "FOLDER")
)

#: Optional: released sliders, and where it runs.
SLIDERS, DEVICE = "SNELLEN_NUISANCE_SLIDERS", "SNELLEN_NUISANCE_DEVICE"

#: Classifiers by the names that figures have; the last one's losses are the unit of relative errors.
NAMES = ("resnet", "vit", "convnext", "deit3", "deit3_small", "deit3_large", "reference")


@dataclass(frozen=True)
class FullSize:
    """How much is made.

    Args:
        shifts: as released names spell them → words in prompts.
        classes: numbers of ImageNet's classes, from 0.
        seeds: of each class.
        together: seeds that are made together.
        settings: of the benchmark.
    """

    shifts: Mapping[str, str]
    classes: tuple[int, ...] = (2, 99, 207, 387, 779)
    seeds: int = 50
    together: int = 5
    settings: PublishedSettings = IMAGENET


#: A style, which fails suddenly in the paper, and a kind of weather, which fails gradually.
FULL = FullSize(shifts={"cartoon_style": "in cartoon style", "heavy_snow": "in heavy snow"})


def full(seed: int, progress: Progress, *, size: FullSize = FULL) -> Mapping[str, Figure]:
    """Relative errors of six classifiers, orders, the filter, and what tokens add.

    Args:
        seed: which seeds of the noise: as many of each class begin behind those of the seeds before.
        progress: callback that receives progress updates.
        size: how much is made.

    Returns:
        What :func:`~snellen.reproduction.continuous_nuisance.answers.of_classifiers` gives; ``tokens.resnet`` and
        ``words.resnet``, answers of the ResNet on images of strength 0 by tokens and by words; ``rising``, steps in
        which the similarity to the words of class and shift rises; ``filter.kept``.

    Raises:
        InputError: a variable is not set, a classifier is missing or has other classes; no slider; nothing is kept.
    """
    absent = [name for name in (GENERATOR, TOKENS, TEXT_IMAGE, ENCODER, MODELS, FOLDER) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}. {GENERATOR} is diffusers:FOLDER of Stable Diffusion 2, "
            f"{TOKENS} the folder of ImageNet* (tokenizer, text_encoder, tokens.pt). {TEXT_IMAGE} and {ENCODER} are "
            f"the filter's, hf:FOLDER of CLIP ViT-B/16 and of DINOv2 ViT-L/14 with registers. {MODELS} is "
            f"NAME=REFERENCE with commas between them, for {', '.join(NAMES)}. Published are ResNet-50, ViT-B/16, "
            f"ConvNeXt-B, DeiT3 of sizes B, S and L, and AlexNet. {FOLDER} is a folder for sliders; {SLIDERS} may name "
            f"released ones"
        )
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, size.settings.dtype) if device != "cpu" else torch.float32
    plain = load_generator(os.environ[GENERATOR], device=device, dtype=dtype)
    tokens = tokens_in_order(Path(os.environ[TOKENS]))
    generator = with_class_tokens(plain, Path(os.environ[TOKENS]))
    models = _classifiers(os.environ[MODELS], device, size.classes)
    encoders = FilterEncoders(
        load_two_tower(os.environ[TEXT_IMAGE], device=device), load_encoder(os.environ[ENCODER], device=device), True
    )
    encoders.check_independent(models)
    settings, first = size.settings, 1 + size.seeds * seed
    parts: list[Evidence] = []
    rising, kept, by_tokens, by_words = list[bool](), list[bool](), list[bool](), list[bool]()
    for number in size.classes:
        words = models[0].class_names[number]
        prompt = class_prompt(settings.template, tokens[number])
        sliders = _sliders(generator, number, prompt, size, seed, progress)
        for begin in range(first, first + size.seeds, size.together):
            seeds = list(range(begin, min(begin + size.together, first + size.seeds)))
            made = sample_trajectories(
                Sampler(generator, steps=settings.steps), sliders, [prompt] * len(seeds), seeds, settings.strengths,
                gate=settings.gate, negative=settings.negative, guidance_scale=settings.guidance_scale,
                size=(settings.size, settings.size), progress=progress,
            )  # fmt: skip
            by_tokens += _right(models[0], _kept_size(made.images[0, :, 0], settings.kept_size), number)
            for row, (name, told) in enumerate(size.shifts.items()):
                images = _kept_size(made.images[row].flatten(0, 1), settings.kept_size)
                images = images.unflatten(0, (len(seeds), len(settings.strengths)))
                scores = filter_scores(encoders, images, [words] * len(seeds), told)
                chosen = keep(scores, settings.thresholds, strengths=settings.strengths)
                rising += (scores["class and shift"][:, 1:] > scores["class and shift"][:, :-1]).ravel().tolist()
                kept += chosen.trajectories.tolist()
                ids = [f"{number}/{one}" for one in seeds]
                parts.append(
                    measure_trajectories(
                        models, images, [number] * len(seeds), name=name, strengths=settings.strengths, ids=ids,
                        reasons=chosen.reasons,
                    )
                )  # fmt: skip
            by_words += _right(models[0], _of_words(plain, words, seeds, settings), number)
    if not any(kept):
        raise InputError("the filter keeps no trajectory; are its encoders CLIP ViT-B/16 and DINOv2 ViT-L/14?")
    evidence = Evidence.merge(parts)
    names = [model.name for model in models]
    enough = [name for name in size.shifts if evidence.correct(setting_name(name, 0.0), names[0])]
    return {
        **of_classifiers(evidence, tuple(size.shifts), enough, names, settings.strengths, reference="reference"),
        "tokens.resnet": Sample.of(by_tokens),
        "words.resnet": Sample.of(by_words),
        "rising": Sample.of(rising),
        "filter.kept": Sample.of(kept),
    }


def _classifiers(given: str, device: str, classes: Sequence[int]) -> list[Classifier]:
    """The classifiers in the order of :data:`NAMES`."""
    named = dict(one.strip().partition("=")[::2] for one in given.split(",") if one.strip())
    if set(named) != set(NAMES) or not all(named.values()):
        raise InputError(f"{MODELS} names {', '.join(NAMES)}, each as NAME=REFERENCE; got {', '.join(named) or 'none'}")
    found = [load_classifier(named[name], device=device, name=name) for name in NAMES]
    for one in found:
        if len(one.class_names) <= max(classes) or one.class_names != found[0].class_names:
            raise InputError(
                f"{one.name} has {len(one.class_names)} classes, or others than {found[0].name}; all are of ImageNet"
            )
    return found


def _sliders(
    generator: Generator, number: int, prompt: str, size: FullSize, seed: int, progress: Progress
) -> dict[str, Slider]:
    """The sliders of a class: released ones are brought into the folder first, others are trained there."""
    folder, released = Path(os.environ[FOLDER]) / f"seed-{seed}" / f"class-{number:03d}", os.environ.get(SLIDERS)
    for name, told in size.shifts.items() if released else ():
        if not (folder / name).is_dir():
            file = released_file(Path(str(released)), name, number)
            beside = folder / f".{name}.imported"
            import_slider(file, generator, beside, told, [prompt], fit=size.settings.fit)
            beside.rename(folder / name)
    return sliders_in(
        folder, generator, size.shifts, [prompt], fit=size.settings.fit, template=size.settings.shifted,
        seed=seed, progress=progress,
    )  # fmt: skip


def _of_words(plain: Generator, words: str, seeds: Sequence[int], settings: PublishedSettings) -> Tensor:
    """Images of strength 0 by the words of a class, without tokens, float32 (n, 3, h, w) in [0, 1]."""
    made = generate(
        Sampler(plain, steps=settings.steps), seeds, prompts=[class_prompt(settings.template, words)] * len(seeds),
        negative=settings.negative, guidance_scale=settings.guidance_scale, size=(settings.size, settings.size),
        batch_size=len(seeds),
    )  # fmt: skip
    return _kept_size(made.images, settings.kept_size)


def _kept_size(images: Tensor, side: int) -> Tensor:
    """Images (n, 3, h, w) in [0, 1] as squares of the kept side, in steps of a byte."""
    scaled = interpolate(images.float(), (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    return (scaled * 255).round() / 255


def _right(model: Classifier, images: Tensor, number: int) -> list[bool]:
    """Whether a classifier names a class, of each image (n, 3, h, w)."""
    shown = torch.stack([model.prepare(to_image(one)) for one in images]).to(model.device)
    with torch.no_grad():
        found: list[bool] = (model.predict(model(shown)) == number).tolist()
    return found
