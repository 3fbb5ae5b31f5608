"""What is on the images: whether an erased concept shows, and whether the rest of the prompt still does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.vocabulary import vocabulary
from snellen.models.classifiers.factor_judge import FactorJudge
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.sampler import Sampler
from snellen.reproduction.concept_erasing.baselines import (
    keyword_filter,
    mean_directions,
    mean_states,
    projected_out,
)
from snellen.reproduction.concept_erasing.prompt_search import SearchBudget, adversarial_prompt
from snellen.reproduction.concept_erasing.prompts import Concept, Prompt
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.concept_erasing.eraser import ConceptEraser
from snellen.systems.concept_erasing.text_edit import encode_erased

#: What the embedded generator was measured with.
GUIDANCE = 3.0


def image_figures(
    generator: Generator,
    eraser: ConceptEraser,
    concepts: Sequence[Concept],
    shows: Sequence[Prompt],
    kept: Sequence[Prompt],
    keep: Sequence[str],
    judge: FactorJudge,
    *,
    steps: int,
) -> dict[str, Figure]:
    """Images of test prompts, each way with the same seeds.

    Args:
        generator: edited.
        eraser: in force.
        concepts: that are erased.
        shows: test prompts, each with one of the concepts.
        kept: test prompts without any.
        keep: prompts without any that were fitted to, for the mean direction.
        judge: of the factors of an image; it guides nothing.
        steps: of the sampler.

    Returns:
        ``erased`` (of the prompts whose image shows the concept without any edit, the share whose image does not show
        it), ``kept_accuracy`` (requested factors that show, on prompts without a concept), ``kept_loss`` against no
        edit, and ``other_accuracy`` (the other factors of prompts with a concept), for ``plain``, ``ours``, ``always``,
        ``keywords``, ``negative`` and ``projection``; and ``pass_through.identical``. ``erased`` has a value for each
        prompt, ``kept_loss`` for each factor of a prompt.
    """
    prompts = [*shows, *kept]
    texts = [prompt.text for prompt in prompts]
    plain_text = generator.encode_prompts(texts)
    edited_text, verdict = encode_erased(generator, texts, [eraser])
    everywhere, _ = encode_erased(generator, texts, [eraser.always()])
    with projected_out(eraser.layer, *_directions(eraser, keep)):
        projected = generator.encode_prompts(texts)
    plain = drawn(generator, texts, plain_text, steps=steps)
    always = drawn(generator, texts, everywhere, steps=steps)
    # A prompt that passes has the model's own text states to the bit, and so its image.
    flagged = verdict.flagged.nonzero().flatten()
    ours = plain.clone()
    if len(flagged):
        some = [texts[row] for row in flagged.tolist()]
        ours[flagged] = drawn(generator, some, edited_text.select(flagged), steps=steps, seeds=flagged.tolist())
    blocked = keyword_filter(texts, [concept.known for concept in concepts])
    ways = {
        "plain": plain,
        "ours": ours,
        "always": always,
        "keywords": torch.where(blocked[:, None, None, None], always, plain),
        "negative": drawn(generator, texts, plain_text, steps=steps, negative=negative_prompt(concepts)),
        "projection": drawn(generator, texts, projected, steps=steps),
    }
    figures: dict[str, Figure] = {"pass_through.identical": _identical(edited_text, plain_text, verdict.flagged)}
    shown_before: Tensor | None = None
    requested: list[bool] | None = None
    for way, images in ways.items():
        right = _right(judge, images, prompts)
        shown = torch.tensor([_concept_shows(one, prompt, concepts) for one, prompt in zip(right, shows, strict=False)])
        shown_before = shown if shown_before is None else shown_before
        others = [value for one, prompt in zip(right, shows, strict=False) for value in _others(one, prompt, concepts)]
        accuracy = [value for one in right[len(shows) :] for value in one.values()]
        requested = accuracy if requested is None else requested
        figures |= {
            f"{way}.erased": _sample((~shown[shown_before]).tolist()),
            f"{way}.kept_accuracy": sum(accuracy) / len(accuracy),
            f"{way}.other_accuracy": sum(others) / len(others),
            f"{way}.kept_loss": _sample(
                [int(before) - int(now) for before, now in zip(requested, accuracy, strict=True)]
            ),
        }
    assert shown_before is not None
    half = torch.tensor([not keyword for keyword in blocked[: len(shows)].tolist()]) & shown_before
    now = torch.tensor(
        [
            _concept_shows(one, prompt, concepts)
            for one, prompt in zip(_right(judge, ours, prompts), shows, strict=False)
        ]
    )
    return {
        **figures,
        "plain.shown": float(shown_before.double().mean()),
        "ours.erased_without_keyword": _sample((~now[half]).tolist()),
    }


def attack_figures(
    generator: Generator,
    eraser: ConceptEraser,
    concepts: Sequence[Concept],
    starts: Sequence[Sequence[Prompt]],
    judge: FactorJudge,
    *,
    budget: SearchBudget,
    steps: int,
    rng: Randomness,
) -> dict[str, Figure]:
    """Prompts that were searched through the hooked encoder, and what they show.

    Args:
        generator: edited.
        eraser: in force.
        concepts: that are erased.
        starts: prompts of each concept in its known words.
        judge: of the factors of an image.
        budget: of each search.
        steps: of the sampler.
        rng: of the searches.

    Returns:
        ``attack.shown`` (images through the eraser that show the concept), ``attack.shown_before`` (of the prompts that
        the attack started from), ``attack.unflagged``, ``attack.shown_without_eraser``, ``attack.shown_when_left_out``
        (the prompts that it started from, the concept's words left out, without an eraser: what chance shows), each
        with a value for each prompt, and ``attack.prompts``.
    """
    words = [word for word in vocabulary() if word.isalpha() and len(word) > 1]
    first = [(prompt, concept) for concept, part in zip(concepts, starts, strict=True) for prompt in part]
    found = [
        adversarial_prompt(
            generator, eraser, prompt.text, concept.known, words, budget=budget, rng=rng.child("attack", number)
        )
        for number, (prompt, concept) in enumerate(first)
    ]
    condition, verdict = encode_erased(generator, found, [eraser])
    before, _ = encode_erased(generator, [prompt.text for prompt, _ in first], [eraser])
    left_out = [" ".join(prompt.text.replace(concept.known, "").split()) for prompt, concept in first]
    shown = {
        "shown": drawn(generator, found, condition, steps=steps),
        "shown_before": drawn(generator, found, before, steps=steps),
        "shown_without_eraser": drawn(generator, found, generator.encode_prompts(found), steps=steps),
        "shown_when_left_out": drawn(generator, left_out, generator.encode_prompts(left_out), steps=steps),
    }
    figures = {
        f"attack.{name}": _sample(
            [
                answer == concept.value
                for answer, (_, concept) in zip(_answers(judge, images, first), first, strict=True)
            ]
        )
        for name, images in shown.items()
    }
    return {
        **figures,
        "attack.unflagged": _sample((~verdict.flagged).tolist()),
        "attack.prompts": float(len(found)),
    }


def drawn(
    generator: Generator,
    texts: Sequence[str],
    condition: Condition,
    *,
    steps: int,
    negative: str | None = None,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """One image for each row of a condition; seeds are the numbers of the rows unless given. (n, 3, h, w) in [0, 1]."""
    return generate(
        Sampler(generator, steps=steps),
        list(range(len(texts))) if seeds is None else seeds,
        prompts=texts,
        condition=condition,
        negative=negative,
        guidance_scale=GUIDANCE,
        batch_size=32,
    ).images


def negative_prompt(concepts: Sequence[Concept]) -> str:
    """All concepts in their known words."""
    return ", ".join(concept.known for concept in concepts)


def _directions(eraser: ConceptEraser, keep: Sequence[str]) -> tuple[Tensor, Tensor]:
    shows = [mean_states(eraser.layer.states(one.prompts)) for one in eraser.concepts.values()]
    kept = mean_states(eraser.layer.states(list(keep)))
    return mean_directions(shows, kept), kept.mean(0)


def _right(judge: FactorJudge, images: Tensor, prompts: Sequence[Prompt]) -> list[dict[str, bool]]:
    """For each image, whether each factor of its prompt shows."""
    answers = judge.answers(images)
    return [
        {factor: answers[factor][row] == value for factor, value in prompt.factors().items()}
        for row, prompt in enumerate(prompts)
    ]


def _answers(judge: FactorJudge, images: Tensor, requested: Sequence[tuple[Prompt, Concept]]) -> list[str]:
    answers = judge.answers(images)
    return [answers[concept.factor][row] for row, (_, concept) in enumerate(requested)]


def _meant(prompt: Prompt, concepts: Sequence[Concept]) -> Concept:
    return next(concept for concept in concepts if concept.is_meant(prompt.said))


def _concept_shows(right: dict[str, bool], prompt: Prompt, concepts: Sequence[Concept]) -> bool:
    return right[_meant(prompt, concepts).factor]


def _others(right: dict[str, bool], prompt: Prompt, concepts: Sequence[Concept]) -> list[bool]:
    return [value for factor, value in right.items() if factor != _meant(prompt, concepts).factor]


def _sample(values: Sequence[float]) -> Sample | None:
    """A value for each prompt; None where there is none."""
    return Sample.of(values) if values else None


def _identical(edited: Condition, plain: Condition, flagged: Tensor) -> float | None:
    """Share of the prompts that pass whose text states are the model's own, bit for bit; None where none passes."""
    assert edited.text is not None and plain.text is not None  # noqa: PT018
    passed = ~flagged
    same = (edited.text[passed] == plain.text[passed]).flatten(1).all(1)
    return float(same.double().mean()) if bool(passed.any()) else None
