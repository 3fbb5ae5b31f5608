"""The curves over the scale of guidance: one captioner fine-tuned with and without dropped conditions, and judged.

Decoded are the first over γ, the second over γ, the second with a language model as its unconditional side, and the
first towards the style of a prompted language model (α, β). All γ of a sweep are one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.progress import Progress
from snellen.metrics.pareto import knee, pareto_front
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.language.causal import CausalLanguageModel
from snellen.reproduction.guided_captions.judging import Judge, named, self_recall
from snellen.reproduction.sample import Figure, Sample, mean_of
from snellen.systems.guided_captions.caption_decoding import GuidedSteps, decode, prompt_tokens
from snellen.systems.guided_captions.caption_rules import ClassifierFree, LanguageGuided, Rule, newline_tokens
from snellen.systems.guided_captions.caption_tuning import DROPPED, tune_captioner
from snellen.training.plan import TrainingPlan

#: γ of Table 1, and fewer for the other curves.
SCALES, FEWER = (1.0, 1.2, 1.5, 2.0, 3.0, 4.0), (1.0, 1.5, 2.0, 3.0)

#: α of the style curve; β = α / 2, as the paper's α = 5, |β| = 5/2.
ALPHAS = (1.0, 2.0, 5.0, 10.0)

#: The paper's α, at which the same model with another prompt is the control.
ALPHA = 5.0

#: Rows that are decoded together, and images of the captioner's own retrieval.
ROWS, OWN_IMAGES = 512, 40


@dataclass(frozen=True, eq=False)
class Materials:
    """What is compared.

    Attributes:
        captioner: to fine-tune.
        states: of the training images (n, s, w), and ``captions`` of each.
        shown: states of the test images (m, s, w).
        judge: of their captions.
        plan: of both fine-tunings.
        max_tokens: most tokens of a caption.
        prompted: language model that is prompted.
        prompts: captions that prompt it, by the name of their curve, ``style`` among them.
        language: language model of the training captions, in place of dropped conditions; None: no such curve.
    """

    captioner: CrossAttentionCaptioner
    states: Tensor
    captions: Sequence[Sequence[str]]
    shown: Tensor
    judge: Judge
    plan: TrainingPlan
    max_tokens: int
    prompted: CausalLanguageModel
    prompts: Mapping[str, Sequence[str]]
    language: CausalLanguageModel | None = None


def curve_figures(materials: Materials, progress: Progress) -> dict[str, Figure]:
    """Fine-tune twice, decode every curve, and judge.

    Returns:
        For ``cfg_γ`` (ρ = 0.5), ``undropped_γ`` (ρ = 0), ``language_γ`` (ρ = 0, a language model as the unconditional
        side), ``style_α`` and, at :data:`ALPHA`, every other prompt, all figures of
        :meth:`~snellen.reproduction.guided_captions.judging.Judge.figures`; ``CURVE.gain`` of the judge's main recall
        from γ = 1 to 2; ``cfg_γ.self_recall_1`` for 1 and 2; the γ at the knee of the front of CIDEr and R@1, and how
        many settings are on it.
    """
    made, judge = materials, materials.judge

    def tuned(dropped: float) -> CrossAttentionCaptioner:
        return tune_captioner(
            made.captioner, made.states, made.captions, plan=made.plan, dropped=dropped, progress=progress
        )[0]

    with_null, without = tuned(DROPPED), tuned(0.0)
    newlines = newline_tokens(made.captioner.vocabulary).to(made.captioner.device)

    def free(scales: Tensor) -> Rule:
        return ClassifierFree(scales)

    def style(alphas: Tensor) -> Rule:
        return LanguageGuided(alphas, alphas / 2, made.captioner.end_token, newlines)

    curves = {
        "cfg": curve_of(with_null, made.shown, SCALES, free, made.max_tokens),
        "undropped": curve_of(without, made.shown, FEWER, free, made.max_tokens),
    }
    if made.language is not None:
        curves["language"] = curve_of(
            without, made.shown, FEWER, lambda scales: ClassifierFree(scales, "language_model"), made.max_tokens,
            made.language,
        )  # fmt: skip
    for name, captions in made.prompts.items():
        prompt = prompt_tokens(made.prompted, list(captions), newline=bool(len(newlines)))
        alphas = ALPHAS if name == "style" else (ALPHA,)
        curves[name] = curve_of(with_null, made.shown, alphas, style, made.max_tokens, made.prompted, prompt)
    figures: dict[str, Figure] = {}
    for curve, by_value in curves.items():
        for value, captions in by_value.items():
            figures |= named(f"{curve}_{value:g}", judge.figures(captions))
    for curve in [name for name in ("cfg", "undropped", "language") if name in curves]:
        first, second = (figures[f"{curve}_{value}.{judge.main_recall}"] for value in (1, 2))
        assert isinstance(first, Sample)
        assert isinstance(second, Sample)
        figures[f"{curve}.gain"] = Sample.of([b - a for a, b in zip(first.values, second.values, strict=True)])
    for value in (1.0, 2.0):
        own = curves["cfg"][value][:OWN_IMAGES]
        figures[f"cfg_{value:g}.self_recall_1"] = self_recall(with_null, made.shown[:OWN_IMAGES], own)
    return {**figures, **_trade_off(figures, curves)}


def _trade_off(figures: Mapping[str, Figure], curves: Mapping[str, Mapping[float, object]]) -> dict[str, Figure]:
    """The knee of classifier-free guidance, and how many settings of all curves are on the common front."""

    def pair(name: str) -> tuple[float, float]:
        return mean_of(figures[f"{name}.cider"]) or 0.0, mean_of(figures[f"{name}.recall_1"]) or 0.0

    pairs = [pair(f"cfg_{value:g}") for value in SCALES]
    names = [f"{curve}_{value:g}" for curve, by_value in curves.items() for value in by_value]
    every = [pair(name) for name in names]
    front = [names[index] for index in pareto_front(every)]
    found = {f"front.{curve}": float(sum(name.startswith(f"{curve}_") for name in front)) for curve in curves}
    return {"cfg.knee": SCALES[knee(pairs)], **found}


def curve_of(
    captioner: CrossAttentionCaptioner,
    states: Tensor,
    values: Sequence[float],
    rule: Callable[[Tensor], Rule],
    max_tokens: int,
    language: CausalLanguageModel | None = None,
    prompt: Tensor | None = None,
) -> dict[float, list[str]]:
    """Captions of all images at every value, decoded greedily in common batches."""
    begin = captioner.tokenise([""], ended=False)[0].to(captioner.device)
    room = min(max_tokens, captioner.context_length - len(begin))
    found: dict[float, list[str]] = {value: [] for value in values}
    for part in states.split(max(ROWS // len(values), 1)):
        each = torch.tensor(values, device=captioner.device).repeat(len(part))
        shown = part.to(captioner.device).repeat_interleave(len(values), 0)
        steps = GuidedSteps(captioner, shown, rule(each), language=language, prompt=prompt)
        start = begin.expand(len(each), -1)
        end = captioner.end_token
        texts = captioner.texts(decode(steps, start, end=end, filler=end, max_tokens=room).tokens)
        for position, value in enumerate(values):
            found[value] += texts[position :: len(values)]
    return found
