"""Figures of estimates: oracles and identities, the attacked victim, averages, the curve, attention."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.methods.explanations.grad_cam import grad_cam
from snellen.systems.perturbation_estimation.estimate import (
    COLUMNS,
    behind,
    decided,
    evidence_of,
    red,
    unbounded_scores,
)
from snellen.systems.perturbation_estimation.figures import (
    attention_figures,
    averaged,
    benign_figures,
    pair_figures,
    partial_curve,
)
from snellen.systems.perturbation_estimation.fitting import by_victims
from snellen.systems.perturbation_estimation.pairs import Cell
from tests.systems.perturbation_estimation.blobs import brightness


def level(*values):
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()


CLEAN, ATTACKED = level(0.4, 0.45), level(0.55, 0.6)
SIZE = (3 * 64) ** 0.5


def figures(estimate, victim=None):
    found = pair_figures(estimate, CLEAN, ATTACKED, unbounded_scores(victim or brightness()))
    return {name: values.tolist() for name, values in found.items()}


@pytest.mark.covers("5.1")
def test_an_oracle_has_both_shares_and_the_identity_finds_nothing():
    oracle, identity = figures(CLEAN), figures(ATTACKED)
    assert oracle["pa_benign"] == oracle["pa_adversarial"] == [1, 1]
    assert oracle["d"] == oracle["logits_benign"] == [0, 0]
    assert identity["pa_benign"] == identity["pa_adversarial"] == [0, 0]
    assert identity["d"] == pytest.approx([0.15 * SIZE] * 2)
    assert identity["d"] == identity["d_attack"]
    assert identity["d_to_attacked"] == [0, 0]


def test_the_perturbation_is_what_is_left_and_may_leave_the_range():
    far = figures(CLEAN - 2.0)
    assert far["d"] == pytest.approx([2 * SIZE] * 2)
    assert far["pa_adversarial"] == [1, 1]
    assert far["pa_benign"] == [1, 1]


@pytest.mark.covers("5.7")
def test_the_victim_that_was_attacked_judges():
    shy = brightness(0.2, name="shy")
    cells = [Cell("plain", "a", CLEAN, ATTACKED, ("1", "2"), 2), Cell("shy", "a", CLEAN, ATTACKED, ("1", "2"), 2)]
    victims = {"plain": unbounded_scores(brightness()), "shy": unbounded_scores(shy)}
    found = by_victims(cells, victims)(nn.Identity(), None)
    # Before the shy one, everything is light: nothing changes.
    assert figures(ATTACKED, shy)["pa_benign"] == [1, 1]
    assert found["pa_benign"] == 0.5
    swapped = {"plain": victims["shy"], "shy": victims["shy"]}
    assert by_victims(cells, swapped)(nn.Identity(), None)["pa_benign"] == 1.0


def test_distances_count_pairs_and_shares_count_cells():
    small = {"d": torch.tensor([1.0]), "pa_benign": torch.tensor([1.0])}
    large = {"d": torch.tensor([4.0, 4.0, 4.0]), "pa_benign": torch.tensor([0.0, 0.0, 0.0])}
    empty = {"d": torch.zeros(0), "pa_benign": torch.zeros(0)}
    assert averaged([small, empty, large]) == {"d": 3.25, "pa_benign": 0.5}
    with pytest.raises(InputError, match="no cell holds a pair"):
        averaged([empty])


@pytest.mark.covers("5.15")
def test_benign_images_whose_decision_changes_are_counted():
    found = benign_figures(lambda seen: seen - 0.1, level(0.55, 0.9, 0.2, 0.8), unbounded_scores(brightness()))
    assert found["changed"] == 0.25
    assert found["d"] == pytest.approx(0.1 * SIZE)


def test_the_curve_goes_from_no_perturbation_to_the_whole():
    cell = Cell("v", "a", level(0.4, 0.3), level(0.6, 0.7), ("1", "2"), 2)
    rows = partial_curve(lambda seen: seen - 0.15, cell, unbounded_scores(brightness()), (0.0, 0.7, 1.0))
    assert [row["attacked"] for row in rows] == [0.0, 1.0, 1.0]
    # What is pasted back is 0.15 whatever the share: enough for the first, too little for the second.
    assert [row["success"] for row in rows] == [0.5, 0.5, 0.5]
    assert [row["benign"] for row in rows] == [1.0, 1.0, 0.5]
    assert rows[0]["d"] == pytest.approx(0.15 * SIZE)
    oracle = partial_curve(lambda seen: cell.clean, cell, unbounded_scores(brightness()), (1.0,))
    assert oracle[0]["success"] == oracle[0]["benign"] == 1.0


@pytest.mark.covers("5.14")
def test_red_splits_an_image_and_refuses_what_is_none():
    found = red(lambda seen: seen - 0.7, ATTACKED)
    assert torch.allclose(found.clean + found.perturbation, ATTACKED)
    assert found.clean.min() < 0
    cut = red(lambda seen: seen - 0.7, ATTACKED, clamp=True)
    assert cut.clean.min() == 0
    assert torch.allclose(cut.perturbation, ATTACKED)
    for wrong, message in (
        (ATTACKED * 2, "lie in"),
        (ATTACKED * float("nan"), "lie in"),
        (ATTACKED[0], "float"),
        ((ATTACKED * 255).to(torch.uint8), "float"),
    ):
        with pytest.raises(InputError, match=message):
            red(nn.Identity().eval(), wrong)
    with pytest.raises(InputError, match="training mode"):
        red(nn.Identity().train(), ATTACKED)
    with pytest.raises(InputError, match="one shape"):
        pair_figures(CLEAN[:1], CLEAN, ATTACKED, unbounded_scores(brightness()))


@pytest.mark.covers("5.10")
def test_an_adaptive_attack_has_gradients_through_the_denoiser():
    class Darker(nn.Module):
        def forward(self, images):
            return images - 0.3

    defended = behind(Darker().eval(), brightness())
    seen = level(0.7).requires_grad_()
    values = defended(seen)
    assert torch.allclose(values, unbounded_scores(brightness())(level(0.4)))
    (gradient,) = torch.autograd.grad(values[:, 1].sum(), seen)
    assert (gradient > 0).all()
    assert defended.class_names == ("dark", "light")


def test_attention_is_compared_on_both_classes():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    victim = Classifier(network, class_names=["a", "b"])
    clean = torch.rand(3, 3, 8, 8)
    attacked = 0.2 * torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        # Centred scores: dark and light images are decided otherwise.
        network[-1].bias.sub_(network(torch.cat([clean, attacked])).mean(0))
    same = attention_figures(victim, clean, clean, attacked)
    assert torch.allclose(same["iaa_benign"], torch.zeros(3), atol=1e-6)
    assert torch.allclose(same["iaa_adversarial"], torch.zeros(3), atol=1e-6)
    nothing = attention_figures(victim, attacked, clean, attacked)
    assert float(nothing["iaa_benign"].max()) > 0
    assert torch.allclose(nothing["iaa_benign"], nothing["iaa_adversarial"], atol=1e-6)
    assert float(nothing["iaa_benign"].max()) <= 2
    with torch.no_grad():
        classes = victim(clean).argmax(1), victim(attacked).argmax(1)
    assert not torch.equal(*classes), "one class tells nothing of two"

    def maps(seen, target):
        found = grad_cam(victim, seen, target).maps.flatten(1)
        return found / found.norm(dim=1, keepdim=True).clamp(min=1e-12)

    apart = [(maps(attacked, one) - maps(clean, one)).square().sum(1) for one in classes]
    assert torch.allclose(nothing["iaa_benign"], (apart[0] + apart[1]) / 2, atol=1e-6)


def test_what_is_known_without_the_clean_image():
    seen = level(0.6, 0.2)
    rows = decided(seen, seen - 0.2, brightness())
    assert [row.prediction for row in rows] == [1, 0]
    assert [row.estimate_prediction for row in rows] == [0, 0]
    assert [row.changed for row in rows] == [True, False]
    assert rows[0].delta_l2 == pytest.approx(0.2 * SIZE)
    assert rows[0].delta_linf == pytest.approx(0.2)
    near = decided(level(0.7), level(0.55), brightness())[0]
    sure = [float(brightness().probabilities(brightness()(level(one))).max()) for one in (0.7, 0.55)]
    assert (near.confidence, near.estimate_confidence) == pytest.approx(sure)
    assert sure[0] > sure[1] > 0.5
    assert rows[0].score_distance > 0
    bare = decided(seen, seen)
    assert bare[0].changed is None
    assert bare[0].delta_l2 == 0
    evidence = evidence_of(rows, ["a", "b"], setting="perturbation", model="m", unit_ids=[None, "u"], labels=[1, None])
    assert set(COLUMNS) <= set(evidence.table.column_names)
    assert evidence.table["changed"].to_pylist() == [True, False]
    lost = decided(seen, seen, Classifier(lambda x: x.flatten(1)[:, :2] / 0, class_names=["a", "b"]))
    assert [row.usable for row in lost] == [False, False]
