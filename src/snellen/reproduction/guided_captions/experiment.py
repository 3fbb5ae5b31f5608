"""System 39: retrieval and reference measures over the scale of guidance, with three unconditional sides.

One captioner is fine-tuned on vague captions twice, with dropped conditions (ρ = 0.5) and without (ρ = 0); see
:mod:`snellen.reproduction.guided_captions.curves`. A language model that read vague and full captions alike is prompted
with a few full ones of other scenes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.metrics.caption_measures import caption_words
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
from snellen.reproduction.guided_captions.curves import ALPHA, Materials, curve_figures
from snellen.reproduction.guided_captions.full import full
from snellen.reproduction.guided_captions.judging import Judge
from snellen.reproduction.guided_captions.style_documents import TOGETHER, style_documents
from snellen.reproduction.guided_captions.vague_world import captioned, synonyms, true_facts
from snellen.reproduction.sample import Figure, mean_of
from snellen.systems.guided_captions.caption_tuning import CaptionRows, encoded, train_language_model
from snellen.training.acceleration import seeded
from snellen.training.plan import TrainingPlan

#: Scenes of the small experiment to train on and to test on.
SMALL_SIZES = (7000, 800)

SMALL_PLAN = TrainingPlan(
    epochs=12, batch_size=64, drop_last=True, learning_rate=1e-3, weight_decay=0.0, schedule="linear",
    warmup_steps=75, clip_norm=1.0,
)  # fmt: skip
LANGUAGE_PLAN = SMALL_PLAN.model_copy(update={"learning_rate": 3e-3})
SMOKE_PLAN = TrainingPlan(epochs=1, batch_size=2, learning_rate=1e-4)

#: Captions of a prompt: one fewer than a document of the language model has.
PROMPT = TOGETHER - 1


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


def guided_captions(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 39.

    Returns:
        Those of :func:`~snellen.reproduction.guided_captions.curves.curve_figures`; ``vague_prompt_5`` is the prompted
        language model with vague captions in its prompt, and ``prompt.gain`` how many facts more it states with full
        ones. At full scale, see
        :func:`snellen.reproduction.guided_captions.full.full`.
    """
    if scale == "full":
        return full(seed, progress)
    with tempfile.TemporaryDirectory() as scratch:
        return _measure(_setup(scale, Path(scratch), seed), seed, Path(scratch), progress)


guided_captions.stand_ins = {  # type: ignore[attr-defined]
    "smoke": (
        "networks of the real classes (ViT with GPT-2 at 224 pixels, CLIP at 224 pixels, GPT-2) of small width with "
        "random weights, one optimizer step, two test images",
    ),
    "small": (
        "scenes of 32 pixels (7,000 to train on, 800 to test on) for MS-COCO; five references each, which mostly "
        "tell background, size and place, and mostly leave out shape, colour and texture",
        "the embedded captioner, its image encoder frozen, for CoCa-Base",
        "the embedded towers for CLIP ViT-B/32; the captioner's encoder began as a copy of their image side",
        "a language model of two blocks that read documents of vague and of full captions, prompted with three full "
        "captions, for one of 2 billion parameters with ten",
        "a language model of one block, trained on the captioner's own captions, as another unconditional side",
        "1,300 steps of fine-tuning at 1e-3 for 20,000 at 1e-5",
        "METEOR of 2005 with stems and the world's own synonyms, for METEOR 1.5 with WordNet and paraphrases",
    ),
    "full": (
        "any captioner with cross-attention, its image encoder frozen, for CoCa-Base",
        "any causal language model with the captioner's tokens for one of 2 billion parameters",
        "METEOR of 2005 with stems, and synonyms if a table is named, for METEOR 1.5",
    ),
}


def _measure(setup: Setup, seed: int, scratch: Path, progress: Progress) -> dict[str, Figure]:
    train_count, test_count = setup.sizes
    examples, test = captioned("train", train_count, seed=seed), captioned("test", test_count, seed=seed)
    captioner, towers = setup.captioner, setup.towers
    with torch.no_grad():
        vectors = torch.cat([towers.encode_images(part) for part in _fitting(test.images, towers).split(64)])
    documents = style_documents(captioner, [examples.vague, examples.full], seed=seed)
    own = CaptionRows.of(captioner, examples.vague)
    materials = Materials(
        captioner=captioner,
        states=encoded(captioner, _fitting(examples.images, captioner)),
        captions=examples.vague,
        shown=encoded(captioner, _fitting(test.images, captioner)),
        judge=Judge(towers, vectors, test.vague, synonyms(), test.full, true_facts(test.scenes)),
        plan=setup.plan.model_copy(update={"seed": seed}),
        max_tokens=setup.max_tokens,
        prompted=_language_model(setup, "styles", documents, seed, scratch, progress, layers=2, lengths=TOGETHER),
        prompts={"style": _prompt(examples.full), "vague_prompt": _prompt(examples.vague)},
        language=_language_model(setup, "vague", own, seed, scratch, progress),
    )
    figures = curve_figures(materials, progress)
    full_prompt, vague_prompt = (mean_of(figures[f"{name}_{ALPHA:g}.facts"]) for name in ("style", "vague_prompt"))
    assert full_prompt is not None
    assert vague_prompt is not None
    return figures | {"prompt.gain": full_prompt - vague_prompt}


def _prompt(captions: Sequence[Sequence[str]]) -> list[str]:
    """A caption of each of the first scenes."""
    return [told[0] for told in captions[:PROMPT]]


def _language_model(
    setup: Setup,
    name: str,
    rows: CaptionRows,
    seed: int,
    scratch: Path,
    progress: Progress,
    *,
    layers: int = 1,
    lengths: int = 1,
) -> CausalLanguageModel:
    """Train on captions alone, write the folder, and load it as any other; its context has ``lengths`` captions."""
    captioner = setup.captioner
    tokenizer = load_tokenizer(import_transformers("a language model"), setup.folder)
    begin = int(captioner.tokenise([""], ended=False)[0][0])
    with seeded(Randomness(seed).child(name).generator("initial weights").initial_seed(), torch.device("cpu")):
        network: Any = small_causal_model(
            len(captioner.vocabulary),
            begin=begin,
            end=captioner.end_token,
            context_length=lengths * captioner.context_length,
            layers=layers,
        )
    train_language_model(network, rows, plan=setup.language_plan.model_copy(update={"seed": seed}), progress=progress)
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


def _known(folder: Path, captioner: Captioner, towers: TwoTower, **rest: Any) -> Setup:  # noqa: ANN401 - passed on
    assert isinstance(captioner, CrossAttentionCaptioner)
    return Setup(folder=folder, captioner=captioner, towers=towers, **rest)
