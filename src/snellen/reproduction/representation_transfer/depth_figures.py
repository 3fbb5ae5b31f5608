"""What a study of image classifiers gives as figures: transfer by depth, alignment, and the headline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from torch import Tensor

from snellen.core.progress import Progress
from snellen.metrics.alignment import channel_correlation, identity_residual, linear_cka, neighbour_overlap
from snellen.metrics.rank_correlation import spearman
from snellen.metrics.transfer_rates import transfer_rates
from snellen.models.layers.split_classifier import PIXELS, channel_rows
from snellen.reproduction.representation_transfer.between import Layer, measure_layer, target_success
from snellen.reproduction.representation_transfer.networks import SAME_ARCHITECTURE
from snellen.reproduction.representation_transfer.setting import Cut, ImageStudy, Study
from snellen.reproduction.representation_transfer.tau_figures import tau_figures
from snellen.reproduction.sample import Figure
from snellen.systems.representation_transfer.representation_maps import MapKind

#: The middle layer, at which the second norm and universal tensors are tried; else the middle of those there are.
MIDDLE = "stage2"

#: The three that the headline compares: by name, the depths that count and the map.
HEADLINE: dict[str, tuple[bool, MapKind]] = {
    "data": (True, "none"),
    "raw": (False, "none"),
    "corrected": (False, "orthogonal"),
}


#: Measures a depth: study, layer and every model cut there.
Measured: TypeAlias = Callable[[ImageStudy, str, Mapping[str, Cut]], Layer]


def study_figures(study: ImageStudy, progress: Progress, measured: Measured = measure_layer) -> dict[str, float]:
    """Attack at every depth, and measure what carried over.

    Args:
        study: models and images.
        progress: callback that receives progress updates.
        measured: measures a depth; a large study takes its images block by block.

    Returns:
        By depth: ``DEPTH.MAP.tau`` with ``low`` and ``high`` of its bootstrap interval over images and pairs,
        ``same_architecture`` (τ among the seeds of one architecture), shares of success, floors and of the same wrong
        class; sizes; alignment. The ``headline``: data, raw and corrected over all hidden layers, with intervals.
        ``rank_correlation`` of τ with the identity residual, over the pairs of a layer, averaged over the hidden
        layers. ``counts``: common images of the pairs, and pairs. A τ that no pair has, and what follows from it, are
        left out.
    """
    figures, layers = dict[str, float](), dict[str, Layer]()
    correlations = list[float]()
    progress.begin("layers", len(study.depths))
    for depth in study.depths:
        cuts = study.cuts(depth)
        layers[depth] = measured(study, depth, cuts)
        figures |= {f"{depth}.{name}": value for name, value in layer_figures(study, layers[depth]).items()}
        if depth != PIXELS:
            points = alignment_points(study, layers[depth], cuts).values()
            if len(points) > 2:
                correlations.append(spearman(*zip(*points, strict=True)))
            alignment = alignment_figures(layers[depth], cuts)
            figures |= {f"{depth}.{name}": value for name, value in alignment.items()}
        figures |= {f"{depth}.{name}": value for name, value in sweep_figures(study, layers[depth], cuts).items()}
        progress.advance("layers", 1)
    progress.finish("layers")
    counts = [pair.count for pair in layers[PIXELS].pairs["none"]]
    return {
        **figures,
        **headline_figures(study, layers),
        **({"rank_correlation": float(np.mean(correlations))} if correlations else {}),
        "counts.least_common": float(min(counts)),
        "counts.pairs": float(len(counts)),
        "counts.measured": float(len(layers[PIXELS].pairs["none"][0].common)),
    }


def layer_figures(study: ImageStudy, layer: Layer) -> dict[str, float]:
    """Sizes, success and transfer of one depth."""
    sources = list(layer.sources.values())
    figures = {
        "source_success": float(np.mean(list(layer.diagonal.values()))),
        "least_source_success": min(layer.diagonal.values()),
        "calibrated_success": float(np.mean([source.calibrated.success for source in sources])),
        "worst_calibration": max(abs(source.calibrated.success - study.strength.wanted) for source in sources),
        "relative_epsilon": float(np.mean([source.relative_epsilon for source in sources])),
    }
    for name, source in layer.sources.items():
        figures[f"{name}.epsilon"] = source.calibrated.epsilon
        figures[f"{name}.relative_epsilon"] = source.relative_epsilon
    for kind, pairs in layer.pairs.items():
        rates = [transfer_rates(pair, least_common=study.strength.least_common) for pair in pairs]
        for name in ("source", "target", "random_source", "random_target", "same_class"):
            figures[f"{kind}.{name}"] = float(np.mean([getattr(rate, name) for rate in rates]))
        figures |= {f"{kind}.{name}": value for name, value in tau_figures(pairs, study.strength).items()}
        alike = [pair for pair in pairs if {pair.source, pair.target} <= set(SAME_ARCHITECTURE)]
        if alike and "tau" in (among := tau_figures(alike, study.strength)):
            figures[f"{kind}.same_architecture"] = among["tau"]
        for pair, rate in zip(pairs, rates, strict=True):
            if rate.tau is not None:
                figures[f"{kind}.{pair.source}.{pair.target}.tau"] = rate.tau
    residuals: dict[str, list[float]] = {}
    for (kind, _, _), fitted in layer.maps.items():
        residuals.setdefault(kind, []).append(fitted.held_out_residual)
    return figures | {f"{kind}.held_out_residual": float(np.mean(values)) for kind, values in residuals.items()}


def alignment_figures(layer: Layer, cuts: Mapping[str, Cut]) -> dict[str, float]:
    """Mean alignment over the pairs; see :func:`alignment_points` for the scale of the residual."""
    measured: dict[str, list[float]] = {}
    for pair in layer.pairs["none"]:
        first, second = (_scaled(channel_rows(cuts[name].encoded["fit"])) for name in (pair.source, pair.target))
        for name, value in (
            ("identity_residual", identity_residual(first, second)),
            ("channel_correlation", channel_correlation(first, second)),
            ("cka", linear_cka(first, second)),
            # Whole images, not places: neighbours are found among at most so many rows.
            ("neighbour_overlap", _overlap(cuts[pair.source], cuts[pair.target])),
        ):
            measured.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in measured.items()}


def alignment_points(study: Study, layer: Layer, cuts: Mapping[str, Cut]) -> dict[frozenset[str], tuple[float, float]]:
    """(identity residual, τ) of each two models that have a τ.

    Residuals are of representations at a root mean square of 1: otherwise they measure the scale of the activations.
    The two directions of a pair then share one, and count once, with their mean τ.
    """
    taus: dict[frozenset[str], list[float]] = {}
    residuals: dict[frozenset[str], float] = {}
    for pair in layer.pairs["none"]:
        tau = transfer_rates(pair, least_common=study.strength.least_common).tau
        if tau is None:
            continue
        both = frozenset((pair.source, pair.target))
        taus.setdefault(both, []).append(tau)
        if both not in residuals:
            rows = (_scaled(channel_rows(cuts[name].encoded["fit"])) for name in (pair.source, pair.target))
            residuals[both] = identity_residual(*rows)
    return {both: (residuals[both], float(np.mean(found))) for both, found in taus.items()}


def _scaled(rows: Tensor) -> Tensor:
    """Rows (n, d) that are centred, at a root mean square of 1."""
    centred = rows - rows.mean(0)
    return centred / centred.square().mean().sqrt()


def _overlap(first: Cut, second: Cut) -> float:
    rows = [cut.encoded["fit"].flatten(1) for cut in (first, second)]
    return neighbour_overlap(rows[0], rows[1], neighbours=min(10, len(rows[0]) - 1))


def sweep_figures(study: ImageStudy, layer: Layer, cuts: Mapping[str, Cut]) -> dict[str, float]:
    """Success on the source and on another model against the size of the attack, for the first two models."""
    names, figures = list(layer.sources), dict[str, float]()
    source, target = layer.sources[names[0]], cuts[names[1]]
    common = study.correct(source.cut) & study.correct(target)
    for factor in study.strength.factors:
        rng = study.rng.child("sweep", str(factor))
        found = target_success(study, source, target, common, factor=factor, norm=study.strength.norm, rng=rng)
        figures[f"sweep.{factor:g}.source"], figures[f"sweep.{factor:g}.target"] = found
    return figures


def headline_figures(study: ImageStudy, layers: Mapping[str, Layer]) -> dict[str, float]:
    """Data-space transfer beside that of representations, as they are and rotated, over all hidden layers."""
    figures = dict[str, float]()
    for name, (pixels, kind) in HEADLINE.items():
        pairs = [
            pair for depth, layer in layers.items() if (depth == PIXELS) == pixels for pair in layer.pairs.get(kind, ())
        ]
        found = tau_figures(pairs, study.strength)
        figures |= {f"headline.{name}.{key}": value for key, value in found.items()}
    figures["headline.least_source_success"] = min(min(layer.diagonal.values()) for layer in layers.values())
    means = [float(np.mean(list(layer.diagonal.values()))) for layer in layers.values()]
    figures["headline.least_mean_source_success"] = min(means)
    figures["headline.spread_of_source_success"] = max(means) - min(means)
    return figures


def split_difference(study: ImageStudy) -> dict[str, float]:
    """The largest relative difference of decode(encode(x)) from the model, over all models and layers."""
    images = study.data.measure.images[:100]
    differences = []
    for layer in study.layers:
        for cut in study.cuts(layer).values():
            differences.append(cut.split.difference(images))  # type: ignore[attr-defined]
    return {"split_difference": max(differences)}


def other_ways(study: ImageStudy) -> dict[str, float]:
    """Two seeds of one architecture under L2, and with one tensor for all images, at pixels and the middle layer."""
    figures = dict[str, float]()
    two = {name: study.models[name] for name in list(study.models)[:2]}
    middle = MIDDLE if MIDDLE in study.layers else study.layers[len(study.layers) // 2]
    for name, changed, scope in (
        ("l2", replace(study.strength, norm="l2"), "per-image"),
        ("universal", replace(study.strength, wanted=min(study.strength.wanted, 0.9)), "universal"),
    ):
        other = replace(study, models=two, strength=changed, rng=study.rng.child(name))
        for depth in (PIXELS, middle):
            layer: Layer = measure_layer(other, depth, other.cuts(depth), scope=scope)  # type: ignore[arg-type]
            told = layer_figures(other, layer)
            kept = (
                "source_success",
                "relative_epsilon",
                *(f"none.{key}" for key in ("target", "random_source", "random_target", "pairs_with_tau", "tau")),
                "orthogonal.tau",
            )
            label = "pixels" if depth == PIXELS else "middle"
            figures |= {f"{name}.{label}.{key}": told[key] for key in kept if key in told}
    return figures


def prefixed(name: str, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Figures under a common first name."""
    return {f"{name}.{key}": value for key, value in figures.items()}
