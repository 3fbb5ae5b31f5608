"""System 34: concepts erased from a text-to-image model, judged on words that nothing was fitted to.

Five concepts are drawn for each seed. An autoencoder is fitted to the text states of mixed prompts; the concepts'
features and the threshold come from prompts in the concepts' known words. Detection is measured on other sentences with
these words and on synonyms, images by a judge that guides nothing, beside a keyword filter, a linear probe, a negative
prompt, a mean direction taken out, and the same edit without a threshold. Last, prompts are searched that get through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.models.classifiers.factor_judge import load_judge
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.reproduction.concept_erasing.detection import area, detection_figures, share
from snellen.reproduction.concept_erasing.everyday import everyday_sentences
from snellen.reproduction.concept_erasing.full import full
from snellen.reproduction.concept_erasing.pictures import attack_figures, image_figures
from snellen.reproduction.concept_erasing.prompt_search import SearchBudget
from snellen.reproduction.concept_erasing.prompts import EVERYDAY, Concept, Prompt, PromptSource, drawn_concepts
from snellen.reproduction.concept_erasing.smoke import smoke_figures
from snellen.reproduction.sample import Figure
from snellen.systems.concept_erasing.eraser import ConceptEraser, concept_eraser
from snellen.systems.concept_erasing.fitting import AutoencoderFit, autoencoder_of, fit_autoencoder
from snellen.systems.concept_erasing.text_edit import encode_erased
from snellen.systems.concept_erasing.text_layer import text_layer

GENERATOR = "bundled:scene-diffusion"
SMALL_BUDGET = SearchBudget(rounds=2, tried=32)
SMALL_FIT = AutoencoderFit(
    latents=4096, active=4, steps=500, batch_size=512, learning_rate=2e-3, dead_after=200_000, most_states=40_000
)


@dataclass(frozen=True)
class Sizes:
    """How much is drawn, fitted and generated.

    Args:
        mixed: prompts to fit to, about any scene.
        retained: further prompts to fit to, without a concept; with those among the mixed ones, the prompts to keep.
        targets: target prompts of each concept.
        tested: test prompts of each concept in known words, and as many with synonyms.
        kept: test prompts without a concept.
        drawn: test prompts of each concept of each kind that images are made of.
        drawn_kept: test prompts without a concept that images are made of.
        attacked: prompts of each concept from which an attack starts.
        budget: of each attack.
        steps: of the sampler.
        fit: of the autoencoder.
        selected: features chosen for one prompt.
        everyday: sentences of everyday life that a second autoencoder is fitted to besides.
        everyday_kept: of these, prompts to keep.
    """

    mixed: int = 2000
    retained: int = 500
    targets: int = 20
    tested: int = 40
    kept: int = 300
    drawn: int = 10
    drawn_kept: int = 80
    attacked: int = 8
    budget: SearchBudget = SMALL_BUDGET
    steps: int = 12
    fit: AutoencoderFit = SMALL_FIT
    selected: int = 6
    everyday: int = 1000
    everyday_kept: int = 250


SMALL = Sizes()


@dataclass(frozen=True, eq=False)
class Setup:
    """One seed: the model, the prompts, and the eraser."""

    generator: Generator
    concepts: tuple[Concept, ...]
    keep: list[str]
    fitted_on: list[str]
    targets: dict[str, list[str]]
    known: list[list[Prompt]]
    synonyms: list[list[Prompt]]
    kept: list[Prompt]
    eraser: ConceptEraser
    figures: dict[str, float]


def concept_erasing(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 34.

    Returns:
        Figures by name: those of :func:`detection_figures`, :func:`added_figures`, :func:`general_figures`,
        :func:`image_figures` and :func:`attack_figures`, and of the autoencoder. At full scale:
        :func:`snellen.reproduction.concept_erasing.full.full`.
    """
    if scale == "smoke":
        return smoke_figures(seed)
    if scale == "full":
        return full(seed, progress)
    ready, rng = set_up(SMALL, seed, progress), Randomness(seed)
    judge = load_judge()
    return {
        **ready.figures,
        **detection_figures(ready.eraser, ready.concepts, ready.known, ready.synonyms, ready.kept, ready.keep),
        **added_figures(ready),
        **general_figures(SMALL, ready, seed, progress),
        **image_figures(
            ready.generator,
            ready.eraser,
            ready.concepts,
            [prompt for part in (*ready.known, *ready.synonyms) for prompt in part[: SMALL.drawn]],
            ready.kept[: SMALL.drawn_kept],
            ready.keep,
            judge,
            steps=SMALL.steps,
        ),
        **attack_figures(
            ready.generator,
            ready.eraser,
            ready.concepts,
            [part[: SMALL.attacked] for part in ready.known],
            judge,
            budget=SMALL.budget,
            steps=SMALL.steps,
            rng=rng,
        ),
    }


concept_erasing.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("generators of the classes of Stable Diffusion 1.5 and SDXL with tiny sizes and random weights",),
    "small": (
        "the embedded generator of scenes (32 pixels, a CLIP text encoder of two layers of width 64, layer 0) for "
        "Stable Diffusion 1.4 and layer 8 of 12",
        "five of its shapes, colours, textures and backgrounds, drawn for each seed, for celebrities, styles and "
        "explicit content",
        "an autoencoder of 4,096 features, 4 active, on 2,600 captions for one of 524,288 features, 64 active, on "
        "40,000; 6 features chosen for a prompt for 128",
        "1,000 sentences of a grammar for COCO captions, in the fitting of a second autoencoder (general) alone",
        "a judge of scenes for the celebrity detector and NudeNet; 180 images for each way",
        "a greedy search over words for Ring-A-Bell, P4D and UnlearnDiffAtk",
    ),
    "full": ("see full.py",),
}


def set_up(sizes: Sizes, seed: int, progress: Progress) -> Setup:
    """Draw concepts and prompts, fit the autoencoder, and find the features."""
    generator, concepts = load_generator(GENERATOR), drawn_concepts(seed)
    assert generator.text is not None
    layer, source = text_layer(generator.text), PromptSource(concepts, seed)
    mixed, retained = source.mixed(sizes.mixed), source.kept(sizes.retained)
    targets = {
        concept.value: [prompt.text for prompt in source.showing(concept, sizes.targets, unseen=False)]
        for concept in concepts
    }
    keep = [one.text for one in (*mixed, *retained) if not any(concept.is_meant(one.said) for concept in concepts)]
    fitted_on = [one.text for one in (*mixed, *retained)] + [text for texts in targets.values() for text in texts]
    artifact = fit_autoencoder(
        layer, fitted_on, fit=sizes.fit, rng=Randomness(seed), generator=GENERATOR, progress=progress
    )
    eraser = concept_eraser(layer, autoencoder_of(artifact, layer), targets, keep, selected=sizes.selected)
    return Setup(
        generator=generator,
        concepts=concepts,
        keep=keep,
        fitted_on=fitted_on,
        targets=targets,
        known=[source.showing(concept, sizes.tested, unseen=False) for concept in concepts],
        synonyms=[source.showing(concept, sizes.tested, unseen=True) for concept in concepts],
        kept=source.kept(sizes.kept),
        eraser=eraser,
        figures={
            **{f"autoencoder.{name}": value for name, value in artifact.card.metrics.items()},
            "features.of_a_concept": sum(float(one.features.sum()) for one in eraser.concepts.values()) / len(concepts),
            "features.kept": float(eraser.kept.sum()),
        },
    )


def added_figures(ready: Setup) -> dict[str, float]:
    """Four concepts first, the fifth added: the same weights, the earlier ones still blocked, the new one too."""
    *earlier, last = ready.concepts
    four = concept_eraser(
        ready.eraser.layer,
        ready.eraser.autoencoder,
        {concept.value: ready.targets[concept.value] for concept in earlier},
        ready.keep,
        selected=ready.eraser.selected,
    )
    before = hash_tensors(dict(four.autoencoder.state_dict()))
    five = four.adding({last.value: ready.targets[last.value]})
    tests = [[prompt.text for prompt in part] for part in ready.synonyms]
    targets = [text for texts in ready.targets.values() for text in texts]
    old, new = [text for part in tests[:-1] for text in part], tests[-1]
    blocked = four.flags(four.score_prompts(old))
    return {
        "added.same_weights": float(hash_tensors(dict(five.autoencoder.state_dict())) == before),
        "added.targets_flagged": float(five.flags(five.score_prompts(targets)).double().mean()),
        "added.earlier_still_flagged": float(five.flags(five.score_prompts(old))[blocked].double().mean()),
        "added.flagged": float(five.flags(five.score_prompts(new)).double().mean()),
        "added.flagged_before": float(four.flags(four.score_prompts(new)).double().mean()),
        "added.passes": float(passes_bitwise(ready.generator, five, [prompt.text for prompt in ready.kept])),
    }


def general_figures(sizes: Sizes, ready: Setup, seed: int, progress: Progress) -> dict[str, Figure]:
    """A second autoencoder, fitted to everyday sentences as well, some of them among the prompts to keep.

    The autoencoders of the paper saw 30,000 captions of photographs as well; the first one here saw scenes alone. Where
    nothing is left of the features of a concept there is no eraser: ``general.refused`` is 1, all else is missing.
    """
    layer, sentences = ready.eraser.layer, everyday_sentences(sizes.everyday, seed)
    artifact = fit_autoencoder(
        layer,
        [*ready.fitted_on, *sentences],
        fit=sizes.fit,
        rng=Randomness(seed),
        generator=GENERATOR,
        progress=progress,
    )
    groups = {
        "kept": [prompt.text for prompt in ready.kept],
        "known": [prompt.text for part in ready.known for prompt in part],
        "synonyms": [prompt.text for part in ready.synonyms for prompt in part],
        "everyday": list(EVERYDAY),
    }
    explained: dict[str, Figure] = {"general.explained_variance": artifact.card.metrics["explained_variance"]}
    keep = [*ready.keep, *sentences[: sizes.everyday_kept]]
    try:
        eraser = concept_eraser(layer, autoencoder_of(artifact, layer), ready.targets, keep, selected=sizes.selected)
    except InputError:
        missing = [f"{name}_flagged" for name in groups] + [
            f"{name}_auroc" for name in ("known", "synonyms", "everyday")
        ]
        return {**{f"general.{name}": None for name in missing}, **explained, "general.refused": 1.0}
    scores = {name: eraser.score_prompts(prompts) for name, prompts in groups.items()}
    return {
        **{f"general.{name}_flagged": share(eraser.flags(found)) for name, found in scores.items()},
        **{f"general.{name}_auroc": area(scores[name], scores["kept"]) for name in ("known", "synonyms")},
        "general.everyday_auroc": area(scores["synonyms"], scores["everyday"]),
        **explained,
        "general.refused": 0.0,
    }


def passes_bitwise(generator: Generator, eraser: ConceptEraser, prompts: list[str]) -> bool:
    """Whether every prompt that is not flagged has the text states that it has without an eraser, bit for bit."""
    plain = generator.encode_prompts(prompts).text
    condition, verdict = encode_erased(generator, prompts, [eraser])
    assert plain is not None and condition.text is not None  # noqa: PT018
    return torch.equal(condition.text[~verdict.flagged], plain[~verdict.flagged])
