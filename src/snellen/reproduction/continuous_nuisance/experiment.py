"""System 2, CNS-Bench, on small scenes: four sliders, four classifiers, a filter that shares no weights with any.

The generator is that of scenes, the judge of every reading guided, filtered and decided nothing, and the filter's
encoders (two towers, the image side of a segmenter) are none of the classifiers. Thresholds come from trajectories of
other seeds that the judge labels, as people did for the published ones.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.core.system import Scale
from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.metrics.sweep import first_failures
from snellen.models.classifiers.factor_judge import load_judge
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.models.encoders.references import load_encoder
from snellen.models.references import load_two_tower
from snellen.reproduction.continuous_nuisance.classifiers import ARMS, REFERENCE, trained_classifiers
from snellen.reproduction.continuous_nuisance.exactness import exactness
from snellen.reproduction.continuous_nuisance.oracle import Reading, read
from snellen.reproduction.continuous_nuisance.scales import SHIFTS, SMALL, SMOKE, TEMPLATE, WEATHER, Budget
from snellen.reproduction.continuous_nuisance.switching import switched
from snellen.systems.continuous_nuisance.filter_scores import FilterEncoders, filter_scores
from snellen.systems.continuous_nuisance.filtering import Kept, calibrated, keep, rates, threshold_keeping
from snellen.systems.continuous_nuisance.measuring import measure_trajectories
from snellen.systems.continuous_nuisance.robustness import (
    NEVER,
    failure_summary,
    mean_relative_error,
    nuisance_curve,
    rank_changes,
    rank_distance,
    rankings,
)
from snellen.systems.continuous_nuisance.slider import Slider
from snellen.systems.continuous_nuisance.slider_folder import sliders_in
from snellen.systems.continuous_nuisance.trajectories import Trajectories, sample_trajectories
from snellen.systems.continuous_nuisance.words import class_prompt

#: Fewest trajectories under a shift for figures of classifiers under it.
FEWEST = 5

#: Images that are sampled together.
_TOGETHER = 30


def continuous_nuisance(scale: Scale, seed: int, progress: Progress) -> Mapping[str, float]:
    """Measure the claims of system 2.

    Returns:
        ``neutral.difference``, ``gate.difference`` and ``gate.opened``, ``alone.difference``: largest differences of
        images, and of latents above and below the gate. ``oracle.SHIFT.spearman`` and ``.rising``, and their means.
        ``filter.*`` and ``single.*``: rates of the four scores and of the class's score alone on images the judge
        labels; ``filter.wrong_before`` and ``wrong_after``: share of trajectories of another class at the largest
        strength. ``SHIFT.MODEL.drop`` (mean over strengths), ``.failure`` (mean failure point, 3 for never) and
        ``accuracy.MODEL`` at strength 0; ``rce.MODEL`` and ``weather.rce.MODEL``, relative errors to the plain network;
        ``rank.changes`` and ``rank.distance``. ``switch.*`` and ``slider.*``: prompt switching beside sliders.
        ``cost.rows`` and ``cost.calls``: shares of what each image takes alone.

    Raises:
        InputError: the scale is full.
    """
    if scale == "full":
        raise InputError(
            "system 2 has no full experiment that this machine could run: it needs the folder of Stable Diffusion 2, "
            "learned tokens of ImageNet's classes and a GPU for weeks. Its settings are in "
            "snellen.systems.continuous_nuisance.presets; run a part of it with 'snellen shift nuisance "
            "--preset imagenet --generator diffusers:FOLDER', or choose small"
        )
    budget, prefix = (SMOKE, "smoke.") if scale == "smoke" else (SMALL, "")
    classifiers = trained_classifiers(budget, seed, progress)
    sampler = Sampler(load_generator("bundled:scene-diffusion"), steps=budget.steps)
    with tempfile.TemporaryDirectory() as folder:
        sliders: dict[str, Slider] = {}
        for name in budget.shifts:
            sliders |= sliders_in(
                Path(folder),
                sampler.generator,
                {name: SHIFTS[name].words},
                [class_prompt(TEMPLATE, shape) for shape in SHAPES],
                fit=budget.fit.model_copy(update={"learning_rate": SHIFTS[name].learning_rate}),
                seed=seed,
                progress=progress,
            )
        made = {
            part: sample_trajectories(
                sampler,
                sliders,
                [class_prompt(TEMPLATE, shape) for shape in SHAPES] * count,
                [derive_seed(seed, part, row) % 2**31 for row in range(count * len(SHAPES))],
                strengths,
                guidance_scale=budget.guidance_scale,
                batch_size=_TOGETHER,
                progress=progress,
            )
            for part, count, strengths in (
                ("calibration", budget.calibrated, budget.labelled),
                ("test", budget.objects, budget.strengths),
            )
        }
        figures = exactness(sampler, sliders, made["test"], budget, _TOGETHER)
    judge = load_judge()
    encoders = FilterEncoders(load_two_tower("bundled:scene-clip"), load_encoder("bundled:scene-sam"))
    encoders.check_independent(classifiers)
    seen = {
        part: {
            name: _Seen(
                read(judge, found.images[row], SHIFTS[name], _classes(found)),
                filter_scores(encoders, found.images[row], _classes(found), SHIFTS[name].words),
            )
            for row, name in enumerate(found.concepts)
        }
        for part, found in made.items()
    }
    figures |= _of_oracle({name: one.reading for name, one in seen["test"].items()}, budget)
    kept, found = _filtered(seen["calibration"], seen["test"], budget)
    figures |= found
    labels = torch.arange(len(SHAPES)).repeat(budget.objects)
    evidence = Evidence.merge(
        measure_trajectories(
            classifiers,
            made["test"].images[row],
            labels,
            name=name,
            strengths=budget.strengths,
            ids=[
                f"{shape}/{seed_of}" for shape, seed_of in zip(_classes(made["test"]), made["test"].seeds, strict=True)
            ],
            reasons=kept[name].reasons if budget.filtered else None,
        )
        for row, name in enumerate(budget.shifts)
    )
    enough = [name for name in budget.shifts if not budget.filtered or kept[name].trajectories.sum() >= FEWEST]
    # A shift with too few left has no measured loss: 0, which the number of those that are kept explains.
    figures |= {f"{name}.{model}.drop": 0.0 for name in budget.shifts for model in ARMS}
    figures |= of_classifiers(evidence, enough, budget)
    figures |= switched(
        sampler, judge, made["test"], {name: one.reading for name, one in seen["test"].items()}, budget, _TOGETHER
    )
    return {prefix + name: value for name, value in figures.items()}


continuous_nuisance.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("one shift of two training steps, two strengths, a trajectory for each of six classes",),
    "small": (
        "bundled:scene-diffusion (2.5 million weights, 32 pixels) for Stable Diffusion 2 with learned tokens",
        "fog, blur, stripes and bricks, words of scene captions, for 14 shifts; one slider for all six classes, of 40 "
        "steps and learning rate 1e-3 (fog 8e-4, blur 6.5e-4), for 1,400 of 400 steps and 2e-4",
        "60 trajectories under each shift for 32,000 in all; 20 steps and guidance 2 for 50 and 7.5",
        "bundled:scene-clip and bundled:scene-sam for CLIP ViT-B/16 and DINOv2 ViT-L/14 in the filter; "
        "bundled:scene-judge for people, who labels trajectories of twice the strength as well",
        "networks of three families trained on 2,500 drawn scenes, one of them with fog and blur as well, for 40 "
        "classifiers",
    ),
}


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the judge reads of trajectories, and the filter's scores."""

    reading: Reading
    scores: Mapping[str, NDArray[np.float64]]


def of_classifiers(evidence: Evidence, shifts: list[str], budget: Budget) -> dict[str, float]:
    """Figures of every classifier under the shifts with enough trajectories left."""
    models, figures = list(ARMS), dict[str, float]()
    neutral: dict[str, list[float]] = {model: [] for model in models}
    changes, distances = 0, []
    for name in shifts:
        for model in models:
            curve = nuisance_curve(evidence, name, model)
            summary = failure_summary(first_failures(evidence, name, model, never=NEVER), budget.strengths, never=NEVER)
            neutral[model].append(curve[0].accuracy)
            figures[f"{name}.{model}.drop"] = fmean(point.drop for point in curve[1:])
            figures[f"{name}.{model}.failure"] = NEVER - summary.margin
            figures |= {f"{name}.{model}.accuracy_at_{point.strength:g}": point.accuracy for point in curve}
        order = rankings(evidence, name, models)
        distances.append(rank_distance(order[budget.strengths[1]], order[budget.strengths[-1]]))
        changes += len(rank_changes(evidence, name, models))
    for model in models:
        figures[f"accuracy.{model}"] = fmean(neutral[model]) if shifts else 0.0
        for group, names in (("", shifts), ("weather.", [name for name in shifts if name in WEATHER])):
            relative = mean_relative_error(evidence, names, model, REFERENCE)
            # Where the reference loses nothing there is no unit, and no difference to report.
            figures[f"{group}rce.{model}"] = 1.0 if relative is None else relative
    return figures | {"rank.changes": float(changes), "rank.distance": fmean(distances) if distances else 0.0}


def _classes(found: Trajectories) -> list[str]:
    return [str(shape) for shape in SHAPES] * (len(found.prompts) // len(SHAPES))


def _of_oracle(readings: Mapping[str, Reading], budget: Budget) -> dict[str, float]:
    figures = {f"oracle.{name}.spearman": reading.spearman(budget.strengths) for name, reading in readings.items()}
    figures |= {f"oracle.{name}.rising": reading.rising() for name, reading in readings.items()}
    for kind in ("spearman", "rising"):
        figures[f"oracle.{kind}"] = fmean(figures[f"oracle.{name}.{kind}"] for name in readings)
    return figures


def _filtered(
    labelled: Mapping[str, _Seen], test: Mapping[str, _Seen], budget: Budget
) -> tuple[dict[str, Kept], dict[str, float]]:
    """What four scores keep of the test's trajectories, and their rates beside those of one score."""
    right = np.concatenate([one.reading.right for one in labelled.values()])
    scores = _joined(labelled)
    thresholds = dict.fromkeys(scores, -np.inf) if right.all() else calibrated(scores, right)
    kept = {name: keep(one.scores, thresholds, strengths=budget.strengths) for name, one in test.items()}
    truth = np.concatenate([one.reading.right for one in test.values()])
    images = np.concatenate([one.images for one in kept.values()])
    whole = np.concatenate([one.trajectories for one in kept.values()])
    ours = rates(images, truth)
    alone = _joined(test)["class"]
    # One score at the threshold at which it keeps as many of the test's own images of their class: in its favour.
    at = threshold_keeping(alone[truth], max(ours["true_positives"], 1e-9)) if truth.any() else -np.inf
    single = rates(alone > at, truth)
    last = ~truth[:, -1]
    before = float(last.mean())
    return kept, {
        **{f"filter.{name}": value for name, value in ours.items()},
        **{f"single.{name}": value for name, value in single.items()},
        "filter.out_of_class": float((~truth).mean()),
        "filter.kept": float(whole.mean()),
        "filter.wrong_before": before,
        "filter.wrong_after": float(last[whole].mean()) if whole.any() else before,
        **{f"filter.{name}.kept": float(one.trajectories.mean()) for name, one in kept.items()},
    }


def _joined(parts: Mapping[str, _Seen]) -> dict[str, NDArray[np.float64]]:
    names = next(iter(parts.values())).scores
    return {name: np.concatenate([one.scores[name] for one in parts.values()]) for name in names}
