"""System 39: retrieval and reference measures over the scale of guidance, with three unconditional sides.

One captioner is fine-tuned on vague captions twice, with dropped conditions (ρ = 0.5) and without (ρ = 0). Decoded are
the first over γ, the second over γ, the second with a language model of the same captions as its unconditional side,
and the first towards the style of a language model of full captions (α, β). All γ of a sweep are one batch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.metrics.caption_measures import caption_words
from snellen.metrics.pareto import knee, pareto_front
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.captioners.protocol import Captioner
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.language.causal import (
    CausalLanguageModel,
    load_causal_language_model,
    small_causal_model,
    write_causal_model,
)
from snellen.models.random_folders import write_random_clip, write_random_vit_gpt2
from snellen.models.references import load_captioner, load_two_tower
from snellen.models.tokens.small_tokenizers import WORDS
from snellen.models.weights.bundled_folders import bundled_folder
from snellen.models.weights.hugging_face_folder import import_transformers, load_tokenizer
from snellen.reproduction.guided_captions.judging import Judge, named, self_recall
from snellen.reproduction.guided_captions.vague_world import captioned, true_facts
from snellen.systems.guided_captions.caption_decoding import GuidedSteps, decode
from snellen.systems.guided_captions.caption_rules import ClassifierFree, LanguageGuided, Rule, newline_tokens
from snellen.systems.guided_captions.caption_tuning import (
    DROPPED,
    CaptionRows,
    encoded,
    train_language_model,
    tune_captioner,
)
from snellen.training.acceleration import seeded
from snellen.training.plan import TrainingPlan

#: γ of Table 1, and fewer for the other curves.
SCALES, FEWER = (1.0, 1.2, 1.5, 2.0, 3.0, 4.0), (1.0, 1.5, 2.0, 3.0)

#: α of the style curve; β = α / 2, as the paper's α = 5, |β| = 5/2.
ALPHAS = (1.0, 2.0, 5.0, 10.0)

#: Scenes of the small experiment to train on and to test on.
SMALL_SIZES = (8000, 1000)

SMALL_PLAN = TrainingPlan(
    epochs=12, batch_size=64, drop_last=True, learning_rate=1e-3, weight_decay=0.0, schedule="linear",
    warmup_steps=75, clip_norm=1.0,
)  # fmt: skip
LANGUAGE_PLAN = SMALL_PLAN.model_copy(update={"learning_rate": 3e-3})
SMOKE_PLAN = TrainingPlan(epochs=1, batch_size=2, learning_rate=1e-4)

#: Rows that are decoded together, and images of the captioner's own retrieval.
ROWS, OWN_IMAGES = 512, 40


@dataclass(frozen=True, eq=False)
class Setup:
    """One study.

    Attributes:
        folder: of the captioner to start from.
        captioner: it, loaded.
        towers: the judge.
        sizes: images to train on and to test on.
        plan: of both fine-tunings.
        language_plan: of both language models.
        max_tokens: most tokens of a caption.
    """

    folder: Path
    captioner: CrossAttentionCaptioner
    towers: TwoTower
    sizes: tuple[int, int]
    plan: TrainingPlan
    language_plan: TrainingPlan
    max_tokens: int


def guided_captions(scale: Scale, seed: int, progress: Progress) -> Mapping[str, float]:
    """Measure the claims of system 39.

    Returns:
        For ``cfg_γ`` (ρ = 0.5), ``undropped_γ`` (ρ = 0), ``language_γ`` (ρ = 0, a language model as the unconditional
        side) and ``style_α`` all figures of :meth:`~snellen.reproduction.guided_captions.judging.Judge.figures`; gains
        of R@1 from γ = 1 to 2; ``cfg_γ.self_recall_1`` for 1 and 2; the γ at the knee of the front of CIDEr and R@1,
        and how many settings are on it.

    Raises:
        InputError: the scale is full.
    """
    with tempfile.TemporaryDirectory() as scratch:
        return _measure(_setup(scale, Path(scratch), seed), seed, Path(scratch), progress)


guided_captions.stand_ins = {  # type: ignore[attr-defined]
    "smoke": (
        "networks of the real classes (ViT with GPT-2 at 224 pixels, CLIP at 224 pixels, GPT-2) of small width with "
        "random weights, one optimizer step, two test images",
    ),
    "small": (
        "scenes of 32 pixels (8,000 to train on, 1,000 to test on) for MS-COCO; five references each, which mostly "
        "tell background, size and place, and mostly leave out shape, colour and texture",
        "the embedded captioner, its image encoder frozen, for CoCa-Base",
        "the embedded towers for CLIP ViT-B/32; the captioner's encoder began as a copy of their image side",
        "language models of one block, trained on 8,000 scenes' full captions without a prompt (style), and on the "
        "captioner's own training captions (unconditional side), for one of 2 billion parameters",
        "1,500 steps of fine-tuning at 1e-3 for 20,000 at 1e-5; METEOR by exact words",
    ),
}


def _measure(setup: Setup, seed: int, scratch: Path, progress: Progress) -> dict[str, float]:
    train_count, test_count = setup.sizes
    examples, test = captioned("train", train_count, seed=seed), captioned("test", test_count, seed=seed)
    captioner, towers = setup.captioner, setup.towers
    states = encoded(captioner, _fitting(examples.images, captioner))
    shown = encoded(captioner, _fitting(test.images, captioner))
    plan = setup.plan.model_copy(update={"seed": seed})

    def tuned(dropped: float) -> CrossAttentionCaptioner:
        return tune_captioner(captioner, states, examples.vague, plan=plan, dropped=dropped, progress=progress)[0]

    with_null, without = tuned(DROPPED), tuned(0.0)
    vague = _language_model(setup, "vague", examples.vague, seed, scratch, progress)
    full = _language_model(setup, "full", examples.full, seed, scratch, progress)
    with torch.no_grad():
        vectors = torch.cat([towers.encode_images(part) for part in _fitting(test.images, towers).split(64)])
    judge = Judge(towers, vectors, test.vague, test.full, true_facts(test.scenes))
    newlines = newline_tokens(captioner.vocabulary)

    def free(scales: Tensor) -> Rule:
        return ClassifierFree(scales)

    def free_of_language(scales: Tensor) -> Rule:
        return ClassifierFree(scales, "language_model")

    def style(alphas: Tensor) -> Rule:
        return LanguageGuided(alphas, alphas / 2, captioner.end_token, newlines)

    curves = {
        "cfg": curve_of(with_null, shown, SCALES, free, setup.max_tokens),
        "undropped": curve_of(without, shown, FEWER, free, setup.max_tokens),
        "language": curve_of(without, shown, FEWER, free_of_language, setup.max_tokens, vague),
        "style": curve_of(with_null, shown, ALPHAS, style, setup.max_tokens, full),
    }
    figures: dict[str, float] = {}
    for curve, by_value in curves.items():
        for value, captions in by_value.items():
            figures |= named(f"{curve}_{value:g}", judge.figures(captions))
    for curve in ("cfg", "undropped", "language"):
        figures[f"{curve}.gain"] = figures[f"{curve}_2.recall_1"] - figures[f"{curve}_1.recall_1"]
    for value in (1.0, 2.0):
        own = curves["cfg"][value][:OWN_IMAGES]
        figures[f"cfg_{value:g}.self_recall_1"] = self_recall(with_null, shown[:OWN_IMAGES], own)
    return {**figures, **_trade_off(figures, curves)}


def _trade_off(figures: Mapping[str, float], curves: Mapping[str, Mapping[float, object]]) -> dict[str, float]:
    """The knee of classifier-free guidance, and how many settings of all curves are on the common front."""
    pairs = [(figures[f"cfg_{value:g}.cider"], figures[f"cfg_{value:g}.recall_1"]) for value in SCALES]
    names = [f"{curve}_{value:g}" for curve, by_value in curves.items() for value in by_value]
    every = [(figures[f"{name}.cider"], figures[f"{name}.recall_1"]) for name in names]
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
) -> dict[float, list[str]]:
    """Captions of all images at every value, decoded greedily in common batches."""
    begin = captioner.tokenise([""], ended=False)[0]
    room = min(max_tokens, captioner.context_length - len(begin))
    found: dict[float, list[str]] = {value: [] for value in values}
    for part in states.split(max(ROWS // len(values), 1)):
        each = torch.tensor(values).repeat(len(part))
        steps = GuidedSteps(captioner, part.repeat_interleave(len(values), 0), rule(each), language=language)
        start = begin.expand(len(each), -1)
        end = captioner.end_token
        texts = captioner.texts(decode(steps, start, end=end, filler=end, max_tokens=room).tokens)
        for position, value in enumerate(values):
            found[value] += texts[position :: len(values)]
    return found


def _language_model(
    setup: Setup, name: str, captions: Sequence[Sequence[str]], seed: int, scratch: Path, progress: Progress
) -> CausalLanguageModel:
    """Train on captions alone, write the folder, and load it as any other."""
    captioner = setup.captioner
    tokenizer = load_tokenizer(import_transformers("a language model"), setup.folder)
    begin = int(captioner.tokenise([""], ended=False)[0][0])
    with seeded(Randomness(seed).child(name).generator("initial weights").initial_seed(), torch.device("cpu")):
        network: Any = small_causal_model(
            len(captioner.vocabulary),
            begin=begin,
            end=captioner.end_token,
            context_length=captioner.context_length,
        )
    plan = setup.language_plan.model_copy(update={"seed": seed})
    train_language_model(network, CaptionRows.of(captioner, captions), plan=plan, progress=progress)
    return load_causal_language_model(f"hf:{write_causal_model(network, tokenizer, scratch / name)}")


def _fitting(images: Tensor, model: CrossAttentionCaptioner | TwoTower) -> Tensor:
    """Images at the size that a model takes."""
    size = model.preparation.size
    if size is None or images.shape[2:] == tuple(size):
        return images
    return torch.nn.functional.interpolate(images, size=tuple(size), mode="nearest")


def _setup(scale: Scale, scratch: Path, seed: int) -> Setup:
    if scale == "small":
        return _known(
            bundled_folder("scene-captioner"),
            load_captioner("bundled:scene-captioner"),
            load_two_tower("bundled:scene-clip"),
            sizes=SMALL_SIZES,
            plan=SMALL_PLAN,
            language_plan=LANGUAGE_PLAN,
            max_tokens=39,
        )
    if scale == "smoke":
        told = [*captioned("train", 2, seed=seed).full, *captioned("test", 2, seed=seed).full]
        words = sorted({word for row in told for one in row for word in caption_words(one)} | set(WORDS))
        folder = write_random_vit_gpt2(scratch / "captioner", image_size=224, words=words)
        return _known(
            folder,
            load_captioner(f"hf:{folder}"),
            load_two_tower(f"hf:{write_random_clip(scratch / 'towers', image_size=224)}"),
            sizes=(2, 2),
            plan=SMOKE_PLAN,
            language_plan=SMOKE_PLAN,
            max_tokens=4,
        )
    raise InputError(
        "system 39 has no full experiment: it needs MS-COCO with the Karpathy splits and a captioner of its size; "
        "choose small"
    )


def _known(folder: Path, captioner: Captioner, towers: TwoTower, **rest: Any) -> Setup:  # noqa: ANN401 - passed on
    assert isinstance(captioner, CrossAttentionCaptioner)
    return Setup(folder=folder, captioner=captioner, towers=towers, **rest)
