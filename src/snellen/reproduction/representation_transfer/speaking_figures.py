"""The parts with language: continuing captions, and captioning, as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn

from snellen.core.images import Split
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.metrics.rank_correlation import spearman
from snellen.metrics.transfer_rates import TransferPair, transfer_rates
from snellen.models.captioners.captioner import BATCH, CrossAttentionCaptioner
from snellen.models.references import load_captioner
from snellen.reproduction.representation_transfer.between import Layer, measure_layer
from snellen.reproduction.representation_transfer.depth_figures import alignment_points
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
from snellen.reproduction.representation_transfer.suffix_attack import greedy_suffixes, target_losses, with_suffixes
from snellen.reproduction.representation_transfer.tau_figures import tau_figures
from snellen.reproduction.representation_transfer.vision_language import (
    PLAN as PROJECTOR_PLAN,
)
from snellen.reproduction.representation_transfer.vision_language import (
    PROJECTED,
    CaptionSplit,
    caption_gain,
    caption_store,
    rotation_towards,
    trained_projector,
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
        layers: where the transformers are cut, by name: the embeddings (soft tokens), and behind the first block.
        models: seeds of one architecture.
        suffix_length: tokens of the data attack.
        suffix_steps: steps of its search.
        nearest: candidates for each token of it.
        exchanges: of a step and prompt.
        plan: of the training.
        captioned: images with captions that a projector is trained on.
        caption_words: first words of these captions that are used; None: all.
        projector_plan: of that training.
        calibrating_images: of the captioners.
        images: for each other purpose, of the captioners.
        caption_steps: gradient steps of an attack on a captioner.
        shares: t of each projector, from the decoder's own basis (0) to a random one (1).
    """

    captions: int = 1500
    longest: int = 24
    calibrating: int = 120
    prompts: int = 60
    prompt_length: int = 5
    layers: Mapping[str, str] = field(
        default_factory=lambda: {"soft_tokens": "transformer.drop", "block_0": "transformer.h.0"}
    )
    models: int = 3
    suffix_length: int = 3
    suffix_steps: int = 12
    nearest: int = 16
    exchanges: int = 16
    plan: TrainingPlan = PLAN
    captioned: int = 1600
    caption_words: int | None = None
    projector_plan: TrainingPlan = PROJECTOR_PLAN
    calibrating_images: int = 90
    images: int = 60
    caption_steps: int = 40
    shares: tuple[float, ...] = (0.0, 0.0, 0.25, 0.5, 1.0)


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
    figures = language_transfer(models, Study(Data(*parts), strength, rng), target, size)
    return {f"language.{name}": value for name, value in figures.items()}


def language_transfer(
    models: Mapping[str, nn.Module], study: Study, target: Tensor, size: Speaking
) -> dict[str, float]:
    """Suffixes and changed states of causal transformers of one vocabulary, tried on all others.

    Args:
        models: by name.
        study: prompts int64 (n, p) in each part.
        target: int64 (t,), what they are to say.
        size: where they are cut, and how suffixes are searched.
    """
    cuts = {
        layer: {
            name: Cut(LanguageSplit(name, model, layer, target), study.data, together=study.strength.together)
            for name, model in models.items()
        }
        for layer in size.layers.values()
    }
    common = {name: study.correct(cut).cpu().numpy() for name, cut in next(iter(cuts.values())).items()}
    speakers = {name: Speaker(model) for name, model in models.items()}
    pairs = suffix_pairs(speakers, study.data.measure.images, target, common, size, study)
    figures = transfer_figures("data", pairs, study.strength)
    for name, layer in size.layers.items():
        # Randomness goes by the layer's full name.
        figures |= place_figures(name, measure_layer(study, layer, cuts[layer]), study.strength)
    return figures


def place_figures(name: str, layer: Layer, strength: Strength) -> dict[str, float]:
    """Success and transfer of changed states at one place by map, and their mean relative size."""
    figures = dict[str, float]()
    for kind, pairs in layer.pairs.items():
        figures |= transfer_figures(f"{name}.{kind}", pairs, strength)
    relative = float(np.mean([source.relative_epsilon for source in layer.sources.values()]))
    return figures | {f"{name}.relative_epsilon": relative}


@dataclass(frozen=True, eq=False)
class Speaker:
    """What suffixes are searched for: a causal transformer, alike for all prompts.

    Attributes:
        model: called as those of the transformers library.
    """

    model: nn.Module

    def behind(self, rows: Tensor) -> nn.Module:
        """The model that reads these prompts; one that is shown an image reads each prompt with its own."""
        return self.model


def vision_language_figures(
    seed: int,
    strength: Strength,
    size: Speaking,
    progress: Progress,
    captioner: CrossAttentionCaptioner | None = None,
) -> dict[str, float | None]:
    """Visual tokens changed behind one trained projector, tried behind every other.

    Returns:
        ``least_gain``: by how much the loss of held-out captions rises at least when they are given another image, in
        nats a token: 0 of a projector that shows its decoder nothing. By map, success and τ over all pairs. By share t
        of the way to a random basis, ``T.tau`` between the projectors at t and those at 0, in both directions, and
        ``T.identity_residual`` of their tokens. ``rank_correlation`` of τ with that residual over the pairs. A τ that
        no pair has is None.
    """
    if captioner is None:
        bundled = load_captioner("bundled:scene-captioner")
        assert isinstance(bundled, CrossAttentionCaptioner)
        captioner = bundled
    rng = Randomness(seed).child("vision and language")
    counts = [size.calibrating_images, size.images, size.images]
    images, captions = _captioned(captioner, sum(counts), size.caption_words, seed, "test")
    parts = [Pictures(part, torch.zeros(len(part), dtype=torch.int64)) for part in images.split(counts)]
    study = Study(Data(*parts), replace(strength, steps=min(size.caption_steps, 2 * strength.steps)), rng)
    # The decoder wants the target behind its beginning mark.
    target = captioner.tokenise([CAPTION], ended=False)[0][1:]
    learnt = _captioned(captioner, size.captioned, size.caption_words, seed, "train")
    told = caption_store(captioner, *_states_of(captioner, *learnt))
    held_out = caption_store(captioner, *_states_of(captioner, images, captions))
    shares, cuts, gains = dict[str, float](), dict[str, Cut](), list[float]()
    for number, share in enumerate(size.shares, start=1):
        name = f"projector_{number}"
        # A generator of this name always begins anew: Q is the same for every t.
        basis = rotation_towards(told.images.shape[-1], share, rng.generator("basis"))
        projector = trained_projector(captioner, told, basis, rng.child(name), progress, size.projector_plan)
        gains.append(caption_gain(captioner, projector, held_out))
        cuts[name] = Cut(CaptionSplit(name, captioner, projector, target), study.data)
        shares[name] = share
    layer = measure_layer(study, PROJECTED, cuts)
    figures: dict[str, float | None] = {"least_gain": min(gains), **place_figures("projected", layer, study.strength)}
    points = alignment_points(study, layer, cuts)
    for share in sorted(set(shares.values())):
        near = {frozenset(pair) for pair in permutations(shares, 2) if {shares[one] for one in pair} == {0.0, share}}
        known = [points[pair] for pair in near if pair in points]
        figures[f"{share:g}.tau"] = float(np.mean([tau for _, tau in known])) if known else None
        figures[f"{share:g}.identity_residual"] = float(np.mean([one for one, _ in known])) if known else None
    figures["rank_correlation"] = spearman(*zip(*points.values(), strict=True)) if len(points) > 2 else None
    return {f"vision.{name}": value for name, value in figures.items()}


def _states_of(
    captioner: CrossAttentionCaptioner, images: Tensor, captions: Sequence[str]
) -> tuple[Tensor, Sequence[str]]:
    """States of images, and their captions."""
    with torch.no_grad():
        return torch.cat([captioner.encode(part) for part in images.split(BATCH)]), captions


def _prompts(size: Speaking, vocabulary: Vocabulary, seed: int) -> Tensor:
    """Beginnings of held-out captions in words of the vocabulary: int64 (calibrating + 2 · prompts, p)."""
    wanted, rows = size.calibrating + 2 * size.prompts, list[list[int]]()
    for words in caption_words(2 * wanted, seed, "test"):
        beginning = words[: size.prompt_length]
        if len(beginning) == size.prompt_length and set(beginning) <= set(vocabulary.words):
            rows.append(vocabulary.tokens(beginning))
    return torch.tensor(rows[:wanted])


def _captioned(
    captioner: CrossAttentionCaptioner, count: int, words: int | None, seed: int, split: Split
) -> tuple[Tensor, tuple[str, ...]]:
    """Prepared scenes (n, 3, h, w), and the first words of their captions."""
    assert captioner.preparation.size is not None
    images = Scenes(count=count, size=captioner.preparation.size[0], seed=seed).images(split=split)
    prepared = torch.stack([captioner.preparation(images.read(row)) for row in range(count)])
    return prepared, tuple(" ".join(str(caption).split()[:words]) for caption in images.column("caption"))


def suffix_pairs(
    speakers: Mapping[str, Speaker],
    prompts: Tensor,
    target: Tensor,
    common: Mapping[str, np.ndarray],
    size: Speaking,
    study: Study,
    tail: Tensor | None = None,
) -> list[TransferPair]:
    """Suffixes of every model on every other.

    Args:
        speakers: by name.
        prompts: int64 (n, p).
        target: int64 (t,).
        common: by name, which prompts a model does not answer with the target anyway.
        size: of suffixes and their search.
        study: strength and randomness.
        tail: int64 (q,), what stands between suffix and target.
    """
    generator = study.rng.generator("suffixes")
    batches = torch.arange(len(prompts)).split(study.strength.together or len(prompts))
    embeddings = next(iter(speakers.values())).behind(batches[0]).get_input_embeddings()  # type: ignore[operator]
    vocabulary, shape = int(embeddings.num_embeddings), (study.strength.draws, len(prompts), size.suffix_length)
    random = torch.randint(1, vocabulary, shape, generator=generator).to(prompts.device)

    @torch.no_grad()
    def said(name: str, suffixes: Tensor) -> np.ndarray:
        found = [
            target_losses(
                speakers[name].behind(rows), with_suffixes(prompts[rows], suffixes[rows], tail), target
            )[1].argmax(1)
            for rows in batches
        ]  # fmt: skip
        return (torch.cat(found) == 1).cpu().numpy()

    floors = {name: np.stack([said(name, drawn) for drawn in random]) for name in speakers}
    pairs = []
    for first, speaker in speakers.items():
        suffixes = torch.cat([
            greedy_suffixes(
                speaker.behind(rows), prompts[rows], target, length=size.suffix_length, steps=size.suffix_steps,
                nearest=min(size.nearest, vocabulary - 1), exchanges=size.exchanges, generator=generator, tail=tail,
            )
            for rows in batches
        ])  # fmt: skip
        here = said(first, suffixes)
        for second in speakers:
            if second != first:
                there = said(second, suffixes)
                both = common[first] & common[second]
                pairs.append(
                    TransferPair(first, second, both, here, there, floors[first], floors[second], here & there)
                )
    return pairs


def transfer_figures(name: str, pairs: Sequence[TransferPair], strength: Strength) -> dict[str, float]:
    """Mean success and floor of several pairs, and τ with its interval where one has it."""
    rates = [transfer_rates(pair, least_common=strength.least_common) for pair in pairs]
    told = {
        f"{name}.{key}": float(np.mean([getattr(rate, key) for rate in rates]))
        for key in ("source", "target", "random_target")
    }
    return told | {f"{name}.{key}": value for key, value in tau_figures(pairs, strength).items()}
