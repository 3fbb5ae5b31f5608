"""System 16: every stage runs with the real classes, and small versions of what its points ask for hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.metrics.transfer_rates import TransferPair
from snellen.models.layers.split_classifier import PIXELS
from snellen.reproduction.representation_transfer import experiment as module
from snellen.reproduction.representation_transfer.between import measure_layer
from snellen.reproduction.representation_transfer.controls import control_figures
from snellen.reproduction.representation_transfer.depth_figures import (
    alignment_figures,
    alignment_points,
    layer_figures,
    other_ways,
    study_figures,
)
from snellen.reproduction.representation_transfer.known_outcomes import KnownOutcomes
from snellen.reproduction.representation_transfer.networks import (
    SAME_ARCHITECTURE,
    STAGES,
    ZOO,
    permuted_stage,
    staged_network,
)
from snellen.reproduction.representation_transfer.setting import Data, ImageStudy, Pictures, Strength
from snellen.reproduction.representation_transfer.tau_figures import tau_figures, with_missing_taus
from snellen.reproduction.representation_transfer.theory import effect_ratios, theory_figures
from snellen.reproduction.representation_transfer.token_targets import target_scores
from snellen.reproduction.runner import reproduce
from snellen.reproduction.sample import Figure, mean_of
from snellen.systems.representation_transfer.representation_attack import add
from snellen.training.acceleration import seeded


def study(names: tuple[str, ...] = ("base_1", "base_2"), strength: Strength | None = None) -> ImageStudy:
    """Untrained networks whose scores are centred, on random images that all of them get right by definition."""
    generator = torch.Generator().manual_seed(0)
    models = {}
    images = torch.rand(190, 3, 12, 12, generator=generator)
    for number, name in enumerate(names):
        with seeded(number, torch.device("cpu")):
            network = ZOO[name](4).eval()
        with torch.no_grad():
            network[-1].bias -= network(images).mean(0)
        models[name] = Classifier(network, class_names=list("abcd"), name=name)
    labels = models[names[0]](images).argmax(1)
    parts = [Pictures(images[rows], labels[rows]) for rows in (slice(0, 30), slice(30, 120), slice(120, 190))]
    chosen = strength or Strength(steps=8, least_common=1, resamples=50, evaluations=12)
    return ImageStudy(Data(*parts), chosen, Randomness(0), models, STAGES)


@pytest.fixture(scope="module")
def small() -> ImageStudy:
    return study()


@pytest.mark.covers("16.8")
def test_the_effect_ratio_has_the_mean_and_the_deviation_of_the_theorem() -> None:
    figures = theory_figures(5)
    for size in (8, 64, 512):
        # Standard errors of 4,000 draws: 1.6 % of a mean in units of 1/√d, 1.1 % of a deviation.
        assert abs(figures[f"theory.{size}.mean"]) * size**0.5 < 4 * 0.016
        assert figures[f"theory.{size}.deviation"] == pytest.approx(1, abs=4 * 0.0112)
    assert figures["theory.worst_mean"] < 4
    assert figures["theory.data_difference"] < 1e-10
    assert figures["theory.mapped_error"] < 1e-10


@pytest.mark.covers("16.8")
def test_in_one_dimension_a_rotation_keeps_or_turns_the_effect_round() -> None:
    ratios = effect_ratios(1, rotations=60, weights=3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ratios.abs(), torch.ones(180).double())
    assert -0.5 < ratios.mean() < 0.5


@pytest.mark.covers("16.4")
def test_one_network_in_two_bases(small: ImageStudy) -> None:
    figures = control_figures(small, "base_1")
    for control in ("basis", "symmetry"):
        assert figures[f"{control}.difference"] < 1e-5
        assert mean_of(figures[f"{control}.data.tau"]) == pytest.approx(1, abs=1e-9)
        assert mean_of(figures[f"{control}.corrected.tau"]) == pytest.approx(1, abs=0.03)
        assert mean_of(figures[f"{control}.raw.tau"]) < 0.6
    assert len(set(figures["basis.raw.tau"].values)) > 5, "ten rotations, each of its own"


@pytest.mark.covers("16.4")
@pytest.mark.parametrize("normalised", [True, False])
def test_permuted_and_rescaled_channels_are_an_exact_symmetry(normalised: bool) -> None:
    with seeded(0, torch.device("cpu")):
        network = staged_network(5, normalised=normalised).train()
        network(torch.rand(16, 3, 12, 12))
    network.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    changed, matrix = permuted_stage(network, "stage1", "stage2", torch.Generator().manual_seed(1))
    images = torch.rand(4, 3, 12, 12)
    with torch.no_grad():
        assert torch.allclose(changed(images), network(images), atol=1e-5)
        ours, theirs = (net.stage1(net.folded(images)) for net in (network, changed))
    assert torch.allclose(theirs, torch.einsum("nchw,cd->ndhw", ours, matrix), atol=1e-5)
    assert not torch.allclose(theirs, ours, atol=0.01)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.covers("16.3", "16.2", "16.5")
def test_a_pair_is_the_stored_tensor_in_the_target_and_sizes_are_calibrated(small: ImageStudy) -> None:
    cuts = small.cuts("stage2")
    layer = measure_layer(small, "stage2", cuts)
    spent = {name: model.spent.gradients for name, model in small.models.items()}
    assert [(pair.source, pair.target) for pair in layer.pairs["none"]] == [("base_1", "base_2"), ("base_2", "base_1")]
    source, pair = layer.sources["base_1"], layer.pairs["none"][0]
    there = add(cuts["base_2"].split, small.data.measure.images, source.crafted.changes).argmax(1)
    assert pair.on_target.tolist() == (there != small.data.measure.labels).tolist()
    assert {name: model.spent.gradients for name, model in small.models.items()} == spent
    assert pair.random_on_target.shape == (5, 70)
    largest = [float(drawn.abs().max()) for drawn in source.random]
    assert largest == pytest.approx([source.calibrated.epsilon] * 5)
    assert abs(source.calibrated.success - 0.97) <= 0.04
    assert source.relative_epsilon > 0
    figures = layer_figures(small, layer)
    assert figures["least_source_success"] == min(layer.diagonal.values())
    assert {"none.same_architecture", "orthogonal.held_out_residual", "base_1.epsilon"} <= set(figures)


@pytest.mark.covers("16.6", "16.7", "16.10", "16.12")
def test_a_study_tells_transfer_by_depth_beside_alignment_and_counts(small: ImageStudy) -> None:
    figures = study_figures(small, Silent())
    for depth in (PIXELS, *STAGES):
        assert {f"{depth}.none.tau", f"{depth}.none.low", f"{depth}.source_success"} <= set(figures)
    for stage in STAGES:
        for name in ("identity_residual", "channel_correlation", "cka", "neighbour_overlap", "orthogonal.tau"):
            assert f"{stage}.{name}" in figures
    assert f"{PIXELS}.cka" not in figures
    assert f"{PIXELS}.orthogonal.tau" not in figures
    assert figures["counts.pairs"] == 2
    assert 1 <= figures["counts.least_common"] <= figures["counts.measured"] == 70
    assert figures["headline.data.tau"] == figures["pixels.none.tau"]
    assert all(np.isfinite(value) for value in figures.values())


@pytest.mark.covers("16.6")
def test_only_images_that_both_models_of_a_pair_get_right_count(small: ImageStudy) -> None:
    measured = small.data.measure
    decided = {name: model(measured.images).argmax(1) for name, model in small.models.items()}
    # Of some images the label is what the one model says, of some what the other says, of the rest what neither does.
    labels = torch.where(torch.arange(70) < 40, decided["base_1"], decided["base_2"])
    labels[60:] = (decided["base_1"][60:] + 1) % 4
    data = replace(small.data, measure=Pictures(measured.images, labels))
    few = replace(small, data=data, strength=Strength(steps=1, least_common=0, evaluations=2))
    right = {name: said == labels for name, said in decided.items()}
    assert bool((right["base_1"] != right["base_2"]).any())
    for carried in measure_layer(few, "stage1", few.cuts("stage1")).pairs["none"]:
        assert carried.common.tolist() == (right["base_1"] & right["base_2"]).tolist()


@pytest.mark.covers("16.12")
def test_the_scale_of_activations_is_no_residual(small: ImageStudy) -> None:
    cuts = small.cuts("stage1")
    layer = measure_layer(small, "stage1", cuts)
    plain, points = alignment_figures(layer, cuts), alignment_points(small, layer, cuts)
    cuts["base_1"].encoded["fit"] = 50 * cuts["base_1"].encoded["fit"]
    assert alignment_figures(layer, cuts)["identity_residual"] == pytest.approx(plain["identity_residual"])
    assert len(points) <= 1, "two models are one point, in both directions"


@pytest.mark.covers("16.6")
def test_a_study_of_too_few_common_images_is_refused() -> None:
    few = study(strength=Strength(steps=1, least_common=71, evaluations=2))
    with pytest.raises(InputError, match="at least 71 are needed"):
        study_figures(few, Silent())


def pair(broken: int, carried: int) -> TransferPair:
    """Of 60 images so many are broken on the source, and so many on the target; chance breaks none."""
    on_source, on_target = np.arange(60) < broken, np.arange(60) < carried
    nothing = np.zeros((2, 60), dtype=bool)
    common = np.ones(60, dtype=bool)
    return TransferPair("a", "b", common, on_source, on_target, nothing, nothing, on_source & on_target)


@pytest.mark.covers("16.2")
def test_known_outcomes_attack_an_image_only_where_its_outcome_is_open() -> None:
    least = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    asked: list[list[int]] = []

    def broken_at(size: float, rows: torch.Tensor) -> torch.Tensor:
        asked.append(rows.tolist())
        return least[rows] <= size

    outcomes = KnownOutcomes(broken_at, 5)
    shares = [outcomes(size) for size in (2.0, 4.0, 3.0, 2.0, 5.0)]
    assert shares == [0.4, 0.8, 0.6, 0.4, 1.0]
    assert asked == [[0, 1, 2, 3, 4], [2, 3, 4], [2, 3], [4]]
    assert outcomes.measured(3.5) == 0.6
    assert asked[-1] == [0, 1, 2, 3, 4]
    assert KnownOutcomes(broken_at, 0)(1.0) == 0.0


@pytest.mark.covers("16.2")
def test_a_tau_that_is_not_there_is_no_zero() -> None:
    weak, strong = pair(broken=6, carried=0), pair(broken=60, carried=30)
    assert tau_figures([weak, weak], Strength()) == {"pairs_with_tau": 0.0}
    both = tau_figures([weak, strong], Strength(resamples=50))
    assert (both["tau"], both["pairs_with_tau"]) == (0.5, 1.0)
    assert both["low"] < 0.5 < both["high"]
    with pytest.raises(InputError, match="at least 61 are needed"):
        tau_figures([weak], Strength(least_common=61))


def test_a_tau_that_a_claim_names_is_there_as_missing() -> None:
    figures = with_missing_taus({"vision.0.tau": 0.5}, "small")
    assert figures["vision.0.tau"] == 0.5
    assert figures["vision.1.tau"] is None
    assert "vision.least_gain" not in figures, "what is no tau must be measured"


def test_the_target_is_judged_by_its_least_margin_and_climbed_by_its_likelihood() -> None:
    logits = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    target = torch.tensor([2, 6, 0])
    scores = target_scores(logits, target)
    greedy = logits.argmax(2)
    said = torch.cat([greedy, target.expand(1, -1)])
    forced = torch.cat([logits.detach(), 9 * torch.nn.functional.one_hot(target, 7)[None].float()])
    assert (target_scores(forced, target).argmax(1) == 1).tolist() == (said == target).all(1).tolist()
    margins = [
        min(float(row[at, token] - row[at, [other for other in range(7) if other != token]].max()) for at, token in
            enumerate(target.tolist()))
        for row in logits.detach()
    ]  # fmt: skip
    assert scores[:, 1].tolist() == pytest.approx(margins)
    assert not scores[:, 0].any()
    (slope,) = torch.autograd.grad(scores[:, 1].sum(), logits)
    (wanted,) = torch.autograd.grad(-torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), target.repeat(5), reduction="sum"), logits)  # fmt: skip
    assert torch.allclose(slope, wanted, atol=1e-6)


@pytest.mark.covers("16.7")
def test_the_models_are_three_seeds_and_two_other_architectures() -> None:
    assert set(SAME_ARCHITECTURE) < set(ZOO)
    sizes = {}
    for name, build in ZOO.items():
        network = build(3).eval()
        sizes[name] = sum(parameter.numel() for parameter in network.parameters())
        shapes = [tuple(network[: 2 + place](torch.rand(1, 3, 12, 12)).shape) for place in range(4)]
        assert shapes == [(1, 16, 6, 6), (1, 24, 3, 3), (1, 32, 3, 3), (1, 32)], name
    assert len({sizes[name] for name in SAME_ARCHITECTURE}) == 1
    assert len(set(sizes.values())) == 3


@pytest.mark.covers("16.9", "16.11")
def test_the_other_norm_and_universal_tensors_stand_apart() -> None:
    figures = other_ways(study(strength=Strength(steps=2, least_common=0, evaluations=2, resamples=5)))
    for way in ("l2", "universal"):
        for place in ("pixels", "middle"):
            assert {f"{way}.{place}.none.target", f"{way}.{place}.source_success"} <= set(figures)
    assert "l2.middle.none.tau" in figures
    assert figures["l2.middle.relative_epsilon"] != figures["universal.middle.relative_epsilon"]


@pytest.mark.usefixtures("short_resnet")
def test_smoke_runs_every_stage_with_the_real_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Mapping[str, Figure]] = []
    run, classes, cut = module.adversarial_transfer, set(), module.study_figures

    def looked_at(chosen: ImageStudy, progress: Silent) -> dict[str, float]:
        classes.update(type(model.module).__name__ for model in chosen.models.values())
        return cut(chosen, progress)

    monkeypatch.setattr(module, "study_figures", looked_at)
    monkeypatch.setattr(module, "adversarial_transfer", lambda *given: found.append(run(*given)) or found[0])
    result = reproduce("16", scale="smoke", seeds=1)
    assert (result.number, result.claims) == (16, ())
    assert classes == {"ResNet", "VisionTransformer"}
    assert all(np.isfinite(value) for value in found[0].values() if value is not None)
    claims = find_system("16").claims
    small = [claim for claim in claims if "small" in claim.scales]
    wanted = {name for claim in small for name in (claim.metric, claim.baseline, *claim.controls) if name}
    spoken = {name for name in wanted if name.startswith(("theory", "language", "vision"))}
    # The smoke run walks from one basis to another in one step, and no attack of two steps needs to have a τ.
    told = {name for name in spoken if not name.startswith("vision.0.") and not name.endswith(".tau")}
    assert told <= set(found[0])
    assert {"language.data.source", "vision.0.tau", "vision.1.tau", "vision.least_gain"} <= set(found[0])
