"""One function, two bases: a trained network against itself, and against a copy with permuted and rescaled channels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.metrics.alignment import random_orthogonal
from snellen.metrics.transfer_rates import transfer_rates
from snellen.models.layers.split_classifier import PIXELS, SplitClassifier, channel_dim
from snellen.reproduction.representation_transfer.between import attack_source, pair_of, random_outcomes
from snellen.reproduction.representation_transfer.networks import permuted_stage
from snellen.reproduction.representation_transfer.setting import Cut, ImageStudy

#: The layer whose basis is changed, and the stage that reads it.
STAGE, FOLLOWING = "stage2", "stage3"


def control_figures(study: ImageStudy, name: str) -> Mapping[str, float]:
    """τ of attacks on data and on a representation, from a network to itself in another basis.

    Returns:
        For ``basis`` (a random rotation) and ``symmetry`` (channels permuted and rescaled in the weights): the largest
        relative difference of scores; τ of the data attack, of the same tensor, and of the tensor mapped by the known
        matrix.
    """
    network, examples = study.models[name], study.data.measure.images
    source_data = Cut(SplitClassifier(network, PIXELS, examples), study.data)
    source_inner = Cut(SplitClassifier(network, STAGE, examples), study.data)
    attacked = {
        "data": attack_source(source_data, study, rng=study.rng.child("control", "data")),
        "raw": attack_source(source_inner, study, rng=study.rng.child("control", "raw")),
    }
    figures = {}
    for control, (target_data, target_inner, matrix) in _targets(study, name, source_inner).items():
        with torch.no_grad():
            ours, theirs = network(examples), target_data.split.decode(examples)
            inner = target_inner.split.decode(target_inner.encoded["measure"], examples)
        largest = ours.abs().max().clamp(min=1.0)
        figures[f"{control}.difference"] = float(max((theirs - ours).abs().max(), (inner - ours).abs().max()) / largest)
        for kind, target, carried in (
            ("data", target_data, None),
            ("raw", target_inner, None),
            ("corrected", target_inner, matrix),
        ):
            source = attacked["data" if kind == "data" else "raw"]
            floors = random_outcomes(source.cut, source, study), random_outcomes(target, source, study, carried)
            common = (study.correct(source.cut) & study.correct(target)).numpy()
            pair = pair_of(name, control, common, source, target, study, floors, carried)
            rates = transfer_rates(pair, least_common=study.strength.least_common)
            # Of an attack that breaks too little of its source there is no τ.
            if rates.tau is not None:
                figures[f"{control}.{kind}.tau"] = rates.tau
    return figures


def _targets(study: ImageStudy, name: str, source: Cut) -> Mapping[str, tuple[Cut, Cut, Tensor]]:
    """By control: the target at the pixels and at the layer, and the matrix of the change of basis."""
    network, examples = study.models[name], study.data.measure.images
    generator = study.rng.child("control").generator("basis")
    channels = source.encoded["measure"].shape[channel_dim(source.encoded["measure"].ndim)]
    rotation = random_orthogonal(channels, generator).float()
    assert isinstance(source.split, SplitClassifier)
    rotated = Cut(source.split.with_basis(rotation), study.data)
    assert network.module is not None
    changed, matrix = permuted_stage(network.module, STAGE, FOLLOWING, generator)
    copied = Classifier(changed, class_names=network.class_names, preparation=network.preparation, name="symmetric")
    return {
        "basis": (Cut(SplitClassifier(network, PIXELS, examples), study.data), rotated, rotation),
        "symmetry": (
            Cut(SplitClassifier(copied, PIXELS, examples), study.data),
            Cut(SplitClassifier(copied, STAGE, examples), study.data),
            matrix,
        ),
    }
