"""The parts of the full experiment with language: published causal models, and LLaVA."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.metrics.rank_correlation import spearman
from snellen.models.captioners.llava import LlavaAnswerer
from snellen.models.language.causal import CausalLanguageModel, load_causal_language_model
from snellen.models.references import load_question_answerer
from snellen.reproduction.representation_transfer.answering_models import AnswerSplit, ShownSpeaker
from snellen.reproduction.representation_transfer.between import measure_layer
from snellen.reproduction.representation_transfer.depth_figures import alignment_points
from snellen.reproduction.representation_transfer.setting import Cut, Data, Pictures, Strength, Study
from snellen.reproduction.representation_transfer.speaking_figures import (
    Speaking,
    language_transfer,
    place_figures,
    suffix_pairs,
    transfer_figures,
)
from snellen.reproduction.sample import Figure


@dataclass(frozen=True)
class PublishedSpeaking:
    """How much is measured.

    Attributes:
        calibrate: prompts, or images, to calibrate sizes on.
        fit: prompts to fit maps on; states of width 4,096 need 911 prompts of 12 tokens or more.
        fit_images: the same for visual tokens.
        speaking: lengths and searches; ``images`` and ``prompts`` are those measured.
        strength: of the attacks.
        target: what models are to say.
        question: the same for every image.
    """

    calibrate: int = 100
    fit: int = 1000
    fit_images: int = 40
    speaking: Speaking = field(
        default_factory=lambda: Speaking(
            prompts=100, prompt_length=12, suffix_length=20, suffix_steps=500, nearest=256, exchanges=512, images=100
        )
    )
    strength: Strength = field(default_factory=lambda: Strength(wanted=0.93, steps=40, together=1))
    target: str = "Sure, here is a poem"
    question: str = "What is shown here?"


def published_language_figures(
    references: list[str], prompts: Path, size: PublishedSpeaking, rng: Randomness, device: str
) -> dict[str, Figure]:
    """Suffixes, and residual streams at a quarter, half and three quarters of the depth.

    Raises:
        InputError: models of different vocabularies, or too few prompts.
    """
    models = {one: load_causal_language_model(one, device=device) for one in references}
    first = next(iter(models.values()))
    for one in models.values():
        if one.vocabulary != first.vocabulary:
            raise InputError(f"{one.name} has other tokens than {first.name}; suffixes carry over between equal ones")
    lines = prompts.read_text(encoding="utf-8").splitlines()
    length = size.speaking.prompt_length
    rows = [row[:length] for row in first.tokenise([line for line in lines if line.strip()], ended=False)]
    rows = [row for row in rows if len(row) == length]
    counts = [size.calibrate, size.fit, size.speaking.prompts]
    if len(rows) < sum(counts):
        raise InputError(f"{prompts} has {len(rows)} prompts of {length} tokens; expected at least {sum(counts)}")
    parts = torch.stack(rows[: sum(counts)]).to(first.device).split(counts)
    data = Data(*(Pictures(part, torch.zeros(len(part), dtype=torch.int64, device=part.device)) for part in parts))
    blocks = _blocks(first.module)
    layers = {name: blocks[len(blocks) * quarter // 4 - 1] for name, quarter in
              (("quarter", 1), ("half", 2), ("three_quarters", 3))}  # fmt: skip
    networks = {name: one.module for name, one in models.items()}
    chosen = replace(size.speaking, layers=layers)
    return dict(language_transfer(networks, Study(data, size.strength, rng), _target(first, size.target), chosen))


def _target(model: CausalLanguageModel, text: str) -> Tensor:
    # A beginning mark comes first.
    return model.tokenise([f" {text}"], ended=False)[0][1:].to(model.device)


def _blocks(module: nn.Module) -> list[str]:
    """Full names of the blocks of a transformer: the longest list of layers in it."""
    name, longest = max(
        ((name, len(one)) for name, one in module.named_modules() if isinstance(one, nn.ModuleList)),
        key=lambda found: found[1],
    )
    return [f"{name}.{place}" for place in range(longest)]


def llava_figures(
    references: list[str], images: ImageSet, size: PublishedSpeaking, rng: Randomness, device: str
) -> dict[str, Figure]:
    """Visual tokens, and suffixes of the question, made on one LLaVA and tried on the others.

    Raises:
        InputError: fewer than two models, or other ones; too few images.
    """
    models = {one: load_question_answerer(one, device=device) for one in references}
    answerers = {name: one for name, one in models.items() if isinstance(one, LlavaAnswerer)}
    if len(answerers) < max(len(models), 2):
        raise InputError(f"{len(answerers)} of {len(models)} models are LLaVA; expected two or more, and no other")
    first, counts = next(iter(answerers.values())), [size.calibrate, size.fit_images, size.speaking.images]
    if len(images) < sum(counts):
        raise InputError(f"{images.name} has {len(images)} images; LLaVA is measured on {sum(counts)}")
    target = torch.tensor(first.tokens(f" {size.target}"), device=first.device)
    room = len(target) + size.speaking.suffix_length
    splits = {name: AnswerSplit(one, size.question, target, room=room) for name, one in answerers.items()}
    rows = torch.randperm(len(images), generator=rng.generator("shown"))[: sum(counts)].split(counts)
    parts = []
    for chosen in rows:
        shown = torch.stack([first.preparation(images.read(row)) for row in chosen.tolist()]).to(first.device)
        parts.append(Pictures(shown, torch.zeros(len(shown), dtype=torch.int64, device=first.device)))
    study = Study(Data(*parts), size.strength, rng)
    cuts = {name: Cut(split, study.data, together=size.strength.together) for name, split in splits.items()}
    layer = measure_layer(study, "projected", cuts)
    common = {name: study.correct(cut).cpu().numpy() for name, cut in cuts.items()}
    speakers = {
        name: ShownSpeaker(split.answerer.module, split, cuts[name].encoded["measure"])
        for name, split in splits.items()
    }
    asking = next(iter(splits.values()))
    asked = asking.prompt.expand(counts[2], -1)
    pairs = suffix_pairs(speakers, asked, target, common, size.speaking, study, asking.tail)
    points = list(alignment_points(study, layer, cuts).values())
    return {
        **transfer_figures("data", pairs, study.strength),
        **place_figures("projected", layer, study.strength),
        "rank_correlation": spearman(*zip(*points, strict=True)) if len(points) > 2 else None,
    }
