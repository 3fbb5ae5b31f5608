"""One function in other bases: a trained network against itself, rotated at random ten times, and with its channels
permuted and rescaled.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.metrics.alignment import random_orthogonal
from snellen.metrics.transfer_rates import transfer_rates
from snellen.models.layers.split_classifier import PIXELS, SplitClassifier, channel_dim
from snellen.reproduction.representation_transfer.between import Source, attack_source, pair_of, random_outcomes
from snellen.reproduction.representation_transfer.networks import permuted_stage
from snellen.reproduction.representation_transfer.setting import Cut, ImageStudy
from snellen.reproduction.sample import Figure, Sample

#: The layer whose basis is changed, and the stage that reads it.
STAGE, FOLLOWING = "stage2", "stage3"

#: Random rotations: one alone says little of how much a random one lets through.
ROTATIONS = 10


def control_figures(
    study: ImageStudy, name: str, stage: str = STAGE, reader: str | None = FOLLOWING
) -> Mapping[str, Figure]:
    """τ of attacks on data and on a representation, from a network to itself in other bases.

    Args:
        study: models and images.
        name: of the network.
        stage: the layer whose basis is changed.
        reader: the stage that reads it; None where channels cannot be permuted, and ``symmetry`` is left out.

    Returns:
        For ``basis`` (random rotations, one value for each) and ``symmetry`` (channels permuted and rescaled in the
        weights): the largest relative difference of scores; τ of the data attack, of the same tensor, and of the tensor
        mapped by the known matrix. A figure is None where a rotation has no τ.
    """
    network, examples = study.models[name], study.data.measure.images
    attacked = {
        "data": attack_source(
            _cut(study, SplitClassifier(network, PIXELS, examples)), study, rng=study.rng.child("control", "data")
        ),
        "raw": attack_source(
            _cut(study, SplitClassifier(network, stage, examples)), study, rng=study.rng.child("control", "raw")
        ),
    }
    figures: dict[str, Figure] = {}
    for control, targets in _targets(study, name, attacked["raw"].cut, reader).items():
        rows = [_carried(study, name, control, attacked, *target) for target in targets]
        figures[f"{control}.difference"] = max(difference for difference, _ in rows)
        for kind in ("data", "raw", "corrected"):
            taus = [tau[kind] for _, tau in rows]
            known = [tau for tau in taus if tau is not None]
            figures[f"{control}.{kind}.tau"] = Sample.of(known) if len(known) == len(taus) else None
    return figures


def _carried(
    study: ImageStudy,
    name: str,
    control: str,
    attacked: Mapping[str, Source],
    target_data: Cut,
    target_inner: Cut,
    matrix: Tensor,
) -> tuple[float, dict[str, float | None]]:
    """The largest relative difference of scores, and τ by kind: None where too little of the source is broken."""
    network, examples = study.models[name], study.data.measure.images
    with torch.no_grad():
        ours, theirs = network(examples), target_data.split.decode(examples)
        inner = target_inner.split.decode(target_inner.encoded["measure"], examples)
    largest = ours.abs().max().clamp(min=1.0)
    taus: dict[str, float | None] = {}
    for kind, target, carried in (
        ("data", target_data, None),
        ("raw", target_inner, None),
        ("corrected", target_inner, matrix),
    ):
        source = attacked["data" if kind == "data" else "raw"]
        floors = random_outcomes(source.cut, source, study), random_outcomes(target, source, study, carried)
        common = (study.correct(source.cut) & study.correct(target)).cpu().numpy()
        pair = pair_of(name, control, common, source, target, study, floors, carried)
        taus[kind] = transfer_rates(pair, least_common=study.strength.least_common).tau
    return float(max((theirs - ours).abs().max(), (inner - ours).abs().max()) / largest), taus


def _cut(study: ImageStudy, split: SplitClassifier) -> Cut:
    return Cut(split, study.data, together=study.strength.together)


def _targets(
    study: ImageStudy, name: str, source: Cut, reader: str | None
) -> Mapping[str, list[tuple[Cut, Cut, Tensor]]]:
    """By control, for each change of basis: the target at the pixels and at the layer, and the matrix of the change."""
    network, examples = study.models[name], study.data.measure.images
    generator = study.rng.child("control").generator("basis")
    channels = source.encoded["measure"].shape[channel_dim(source.encoded["measure"].ndim)]
    assert isinstance(source.split, SplitClassifier)
    itself = _cut(study, SplitClassifier(network, PIXELS, examples))
    rotations = [random_orthogonal(channels, generator).float() for _ in range(ROTATIONS)]
    targets = {"basis": [(itself, _cut(study, source.split.with_basis(one)), one) for one in rotations]}
    if reader is None:
        return targets
    assert network.module is not None
    changed, matrix = permuted_stage(network.module, source.split.layer, reader, generator)
    copied = Classifier(changed, class_names=network.class_names, preparation=network.preparation, name="symmetric")
    other, inner = (SplitClassifier(copied, layer, examples) for layer in (PIXELS, source.split.layer))
    return targets | {"symmetry": [(_cut(study, other), _cut(study, inner), matrix)]}
