"""The parts with language: continuing captions, and captioning, as figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.metrics.transfer_rates import TransferPair, transfer_rates
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.layers.split_classifier import PIXELS
from snellen.models.references import load_captioner
from snellen.reproduction.representation_transfer.between import attack_source, measure_layer, pair_of, random_outcomes
from snellen.reproduction.representation_transfer.language_models import (
    END,
    PLAN,
    TARGET,
    LanguageSplit,
    Vocabulary,
    caption_words,
    rows_of,
    trained_language_model,
)
from snellen.reproduction.representation_transfer.setting import Cut, Data, Pictures, Strength, Study
from snellen.reproduction.representation_transfer.suffix_attack import greedy_suffixes, target_losses
from snellen.reproduction.representation_transfer.tau_figures import tau_figures
from snellen.reproduction.representation_transfer.vision_language import (
    PROJECTED,
    CaptionSplit,
    fit_projector,
    rotation_towards,
)
from snellen.training.plan import TrainingPlan


@dataclass(frozen=True)
class Speaking:
    """How large the parts with language are.

    Attributes:
        captions: to train on.
        longest: tokens of a caption that are used.
        calibrating: prompts to calibrate sizes on.
        prompts: for each other purpose (fitting maps, measuring).
        prompt_length: words of a prompt, a caption's beginning.
        layers: where the transformers are cut: the embeddings (soft tokens), and behind the first block.
        models: seeds of one architecture.
        suffix_length: tokens of the data attack.
        suffix_steps: steps of its search.
        exchanges: of a step and prompt.
        plan: of the training.
        calibrating_images: of the captioner.
        images: for each other purpose, of the captioner.
        caption_steps: gradient steps of an attack on the captioner.
        shares: t, from the source's basis (0) to a random one (1).
    """

    captions: int = 1500
    longest: int = 24
    calibrating: int = 120
    prompts: int = 60
    prompt_length: int = 5
    layers: tuple[str, ...] = ("transformer.drop", "transformer.h.0")
    models: int = 3
    suffix_length: int = 3
    suffix_steps: int = 12
    exchanges: int = 16
    plan: TrainingPlan = PLAN
    calibrating_images: int = 90
    images: int = 60
    caption_steps: int = 40
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)


#: What the captioner is to say: the beginning of a caption.
CAPTION = "a red ring"


def language_figures(seed: int, strength: Strength, size: Speaking, progress: Progress) -> dict[str, float]:
    """Suffixes and changed states of small causal transformers, tried on others of the same architecture.

    Returns:
        ``data``, and by layer ``none``, ``orthogonal`` and ``ridge``: mean success on source and target, the floor of
        random suffixes or directions, and τ with its interval.
    """
    rng = Randomness(seed).child("language")
    captions = caption_words(size.captions, seed, "train")
    vocabulary = Vocabulary((END, *sorted({word for words in captions for word in words})))
    rows = rows_of(captions, vocabulary)[:, : size.longest]
    names = [f"seed_{number}" for number in range(1, size.models + 1)]
    models = {
        name: trained_language_model(name, rows, len(vocabulary.words), rng, progress, size.plan) for name in names
    }
    target = torch.tensor(vocabulary.tokens(TARGET))
    prompts = _prompts(size, vocabulary, seed)
    parts = [
        Pictures(part, torch.zeros(len(part), dtype=torch.int64))
        for part in prompts.split([size.calibrating, size.prompts, size.prompts])
    ]
    study, figures = Study(Data(*parts), strength, rng), dict[str, float]()
    cuts = {
        layer: {name: Cut(LanguageSplit(name, model, layer, target), study.data) for name, model in models.items()}
        for layer in size.layers
    }
    common = {name: study.correct(cut).numpy() for name, cut in cuts[size.layers[0]].items()}
    figures |= _transfer_figures(
        "data", _suffix_pairs(models, parts[2].images, target, common, size, strength, rng), strength
    )
    for layer, place in cuts.items():
        found = measure_layer(study, layer, place)
        for kind, pairs in found.pairs.items():
            figures |= _transfer_figures(f"{_short(layer)}.{kind}", pairs, strength)
        figures[f"{_short(layer)}.relative_epsilon"] = float(
            np.mean([source.relative_epsilon for source in found.sources.values()])
        )
    return {f"language.{name}": value for name, value in figures.items()}


def vision_language_figures(
    seed: int, strength: Strength, size: Speaking, captioner: CrossAttentionCaptioner | None = None
) -> dict[str, float]:
    """Visual tokens and pixels changed on one captioner, tried on others whose projectors speak in other bases.

    Returns:
        By share t of the way to a random basis, ``T.raw.tau`` and ``T.pixels.tau`` with their floors and success (no
        figure where an attack that breaks too little of its source has no τ, and ``bases_with_pixel_tau``, how many
        have one); and ``largest_rise``, by how much τ of the visual tokens rises at most from one t to the next
        (negative where it falls at each).
    """
    if captioner is None:
        bundled = load_captioner("bundled:scene-captioner")
        assert isinstance(bundled, CrossAttentionCaptioner)
        captioner = bundled
    rng = Randomness(seed).child("vision and language")
    counts = [size.calibrating_images, *[size.images] * 4]
    images = _images(captioner, sum(counts), seed)
    parts = [Pictures(part, torch.zeros(len(part), dtype=torch.int64)) for part in images.split(counts)]
    strength = replace(strength, steps=min(size.caption_steps, 2 * strength.steps))
    study, figures = Study(Data(*parts[:3]), strength, rng), dict[str, float]()
    # The decoder wants the target behind its beginning mark.
    target = captioner.tokenise([CAPTION], ended=False)[0][1:]
    with torch.no_grad():
        own, other = (captioner.encode(part.images) for part in parts[3:5])
    width = own.shape[-1]
    projector = fit_projector(own, torch.eye(width))
    sources = {
        layer: attack_source(
            Cut(CaptionSplit("source", captioner, projector, target, layer), study.data), study, rng=rng.child(layer)
        )
        for layer in (PROJECTED, PIXELS)
    }
    taus: dict[str, list[float]] = {PROJECTED: [], PIXELS: []}
    for share in size.shares:
        rotation = rotation_towards(width, share, rng.generator("basis"))
        moved = fit_projector(other, rotation)
        for layer, source in sources.items():
            cut = Cut(CaptionSplit(f"target at {share:g}", captioner, moved, target, layer), study.data)
            common = (study.correct(source.cut) & study.correct(cut)).numpy()
            floors = random_outcomes(source.cut, source, study), random_outcomes(cut, source, study)
            rates = transfer_rates(
                pair_of("source", cut.split.classifier.name, common, source, cut, study, floors),
                least_common=strength.least_common,
            )
            name = f"vision.{share:g}.{'pixels' if layer == PIXELS else 'raw'}"
            figures |= {
                f"{name}.source": rates.source,
                f"{name}.target": rates.target,
                f"{name}.random_target": rates.random_target,
            }
            if rates.tau is not None:
                figures[f"{name}.tau"] = rates.tau
                taus[layer].append(rates.tau)
    if len(taus[PROJECTED]) == len(size.shares):
        figures |= {
            "vision.largest_rise": max(after - before for before, after in pairwise(taus[PROJECTED])),
            "vision.aligned.tau": taus[PROJECTED][0],
            "vision.random.tau": taus[PROJECTED][-1],
        }
    if taus[PIXELS]:
        figures["vision.least_pixel_tau"] = min(taus[PIXELS])
    return figures | {
        "vision.bases_with_pixel_tau": float(len(taus[PIXELS])),
        "vision.relative_epsilon": sources[PROJECTED].relative_epsilon,
        "vision.pixel_epsilon": sources[PIXELS].calibrated.epsilon,
    }


def _prompts(size: Speaking, vocabulary: Vocabulary, seed: int) -> Tensor:
    """Beginnings of held-out captions in words of the vocabulary: int64 (calibrating + 2 · prompts, p)."""
    wanted, rows = size.calibrating + 2 * size.prompts, list[list[int]]()
    for words in caption_words(2 * wanted, seed, "test"):
        beginning = words[: size.prompt_length]
        if len(beginning) == size.prompt_length and set(beginning) <= set(vocabulary.words):
            rows.append(vocabulary.tokens(beginning))
    return torch.tensor(rows[:wanted])


def _images(captioner: CrossAttentionCaptioner, count: int, seed: int) -> Tensor:
    assert captioner.preparation.size is not None
    images = Scenes(count=count, size=captioner.preparation.size[0], seed=seed, captions=False).images(split="test")
    return torch.stack([captioner.preparation(images.read(row)) for row in range(count)])


def _suffix_pairs(
    models: Mapping[str, torch.nn.Module],
    prompts: Tensor,
    target: Tensor,
    common: Mapping[str, np.ndarray],
    size: Speaking,
    strength: Strength,
    rng: Randomness,
) -> list[TransferPair]:
    """Suffixes of every model on every other."""
    generator = rng.generator("suffixes")
    vocabulary = int(next(iter(models.values())).get_input_embeddings().num_embeddings)  # type: ignore[operator]
    random = torch.randint(1, vocabulary, (strength.draws, len(prompts), size.suffix_length), generator=generator)

    def said(name: str, suffixes: Tensor) -> np.ndarray:
        with torch.no_grad():
            scores = target_losses(models[name], torch.cat([prompts, suffixes], 1), target)[1]
        return (scores.argmax(1) == 1).numpy()

    floors = {name: np.stack([said(name, drawn) for drawn in random]) for name in models}
    pairs = []
    for first, model in models.items():
        suffixes = greedy_suffixes(
            model, prompts, target, length=size.suffix_length, steps=size.suffix_steps,
            nearest=min(16, vocabulary - 1), exchanges=size.exchanges, generator=generator,
        )  # fmt: skip
        here = said(first, suffixes)
        for second in models:
            if second != first:
                there = said(second, suffixes)
                both = common[first] & common[second]
                pairs.append(
                    TransferPair(first, second, both, here, there, floors[first], floors[second], here & there)
                )
    return pairs


def _transfer_figures(name: str, pairs: list[TransferPair], strength: Strength) -> dict[str, float]:
    rates = [transfer_rates(pair, least_common=strength.least_common) for pair in pairs]
    told = {
        f"{name}.{key}": float(np.mean([getattr(rate, key) for rate in rates]))
        for key in ("source", "target", "random_target")
    }
    return told | {f"{name}.{key}": value for key, value in tau_figures(pairs, strength).items()}


def _short(layer: str) -> str:
    return "soft_tokens" if layer == "transformer.drop" else layer.removeprefix("transformer.").replace("h.", "block_")
