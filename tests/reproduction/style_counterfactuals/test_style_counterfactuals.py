"""The experiment's parts: lesions with independent factors, equal arms, and figures of every claim."""

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.references import load_images
from snellen.reproduction.sample import Sample
from snellen.reproduction.style_counterfactuals import experiment, full
from snellen.reproduction.style_counterfactuals.arms import moved_of_count
from snellen.reproduction.style_counterfactuals.experiment import PARTS, SMOKE, style_counterfactuals
from snellen.reproduction.style_counterfactuals.garments import draw_garments
from snellen.reproduction.style_counterfactuals.lesions import FACTORS, SIDE, draw_lesions
from snellen.reproduction.style_counterfactuals.networks import blurred
from snellen.reproduction.style_counterfactuals.picture import panel
from snellen.systems.style_counterfactuals import foreign
from snellen.systems.style_counterfactuals.networks import StyleExplainer, StyleRenderer, fixed_noise
from snellen.systems.style_counterfactuals.plan import PUBLISHED
from snellen.systems.style_counterfactuals.study import Search, encode


@pytest.fixture(scope="module")
def run():
    """A run of every stage, and the plans of its generators."""
    plans, plain = [], experiment.train_explainer

    def watched(classifier, images, plan, rng, **options):
        plans.append((plan, images.shape, rng.path))
        return plain(classifier, images, plan, rng, **options)

    experiment.train_explainer = watched
    try:
        return style_counterfactuals("smoke", 0, Silent()), plans
    finally:
        experiment.train_explainer = plain


def test_factors_are_independent_of_each_other_and_the_rule_is_balanced():
    drawn = draw_lesions(4000, torch.Generator().manual_seed(0))
    correlations = np.corrcoef(drawn.factors.numpy().T) - np.eye(len(FACTORS))
    assert np.abs(correlations).max() < 0.06
    for labels in (drawn.labels, drawn.other_labels):
        assert 0.46 < float(labels.float().mean()) < 0.54
    for at in (2, 4, 5):
        assert abs(np.corrcoef(drawn.factors[:, at].numpy(), drawn.labels.numpy())[0, 1]) < 0.06


@pytest.mark.parametrize("factor", range(len(FACTORS)))
def test_every_factor_changes_the_image(factor, monkeypatch):
    original = torch.rand

    def pinned(value):
        def rand(*size, **options):
            found = original(*size, **options)
            if len(size) == 2 and size[1] == len(FACTORS):
                found[:] = 0.5
                found[:, factor] = value
            return found

        return rand

    made = []
    for value in (0.0, 1.0):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "rand", pinned(value))
            made.append(draw_lesions(3, torch.Generator().manual_seed(0)).images.float())
    assert float((made[0] - made[1]).abs().mean()) > 1.0


@pytest.mark.system_data("fashion-mnist")
def test_both_encoders_have_the_same_plan_images_and_randomness(run):
    _, plans = run
    (third, *real), (first, *one), (second, *other) = plans
    assert one == other
    assert third == first, "the generator of garments has the numbers of that of lesions"
    assert real != one
    assert first.sizes.encoder == "pyramid"
    assert second == first.model_copy(update={"sizes": first.sizes.model_copy(update={"encoder": "single"})})


@pytest.mark.system_data("fashion-mnist")
@pytest.mark.covers("32.11")
def test_a_smoke_run_has_every_figure_of_every_claim(run):
    figures, _ = run
    system = find_system("style_counterfactuals")
    wanted = {gate.metric for gate in system.gates}
    for claim in system.claims:
        wanted |= {claim.metric, *([claim.baseline] if claim.baseline else []), *claim.controls}
    assert wanted <= set(figures)
    for name in ("top", "random", "other"):
        assert isinstance(figures[f"{name}.flipped"], Sample)
        assert len(figures[f"{name}.flipped"].values) == SMOKE.test // 2, "paired, image by image"


def test_the_published_shapes_fit_together():
    """Width, blocks and coordinates as published: one image through all networks."""
    explainer = StyleExplainer(PUBLISHED.sizes, 2).eval()
    with torch.no_grad():
        codes = explainer.codes(torch.rand(1, 3, 64, 64), torch.zeros(1, 2))
        renderer = StyleRenderer(explainer.average, fixed_noise(64))
        styles = renderer.styles(codes)
        made = renderer.images(styles)
        score = explainer.critic(made)
    assert (codes.shape, made.shape, score.shape) == ((1, 514), (1, 3, 64, 64), (1, 1))
    assert renderer.coordinates == 2464


@pytest.mark.system_data("fashion-mnist")
def test_garments_are_two_kinds_in_a_black_margin_and_tests_are_no_training_images():
    drawn = {split: draw_garments(split, 60, torch.Generator().manual_seed(3)) for split in PARTS}
    for one in drawn.values():
        assert one.images.shape == (60, 3, SIDE, SIDE)
        assert one.images.dtype == torch.uint8
        assert 0.2 < float(one.labels.float().mean()) < 0.8
        inside = one.images[:, :, 2:-2, 2:-2]
        assert int(one.images.sum()) == int(inside.sum()) > 0
        assert len(one.images.flatten(1).unique(dim=0)) == 60
    sleeves = [drawn["train"].images[drawn["train"].labels == kind][:, 0, 20:, 4:8].float().mean() for kind in (0, 1)]
    assert sleeves[1] > 2 * sleeves[0], "pullovers have long sleeves"
    both = torch.cat([one.images for one in drawn.values()]).flatten(1)
    assert len(both.unique(dim=0)) == 120


def test_a_blurred_image_keeps_its_mean_and_loses_its_edges():
    images = torch.zeros(1, 3, 8, 8)
    images[:, :, 3:5, 3:5] = 1
    found = blurred(images)
    assert float(found.sum()) == pytest.approx(float(images.sum()))
    assert float(found[0, 0, 3, 3]) == pytest.approx(0.5625)


def test_full_names_what_it_lacks(monkeypatch):
    for name in (full.MODEL, full.DATA, full.FEATURES, full.FOLDER):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="SNELLEN_PROJECTEDEX_MODEL, SNELLEN_PROJECTEDEX_DATA"):
        style_counterfactuals("full", 0, Silent())


def test_full_runs_by_reference(monkeypatch, tmp_path):
    values = {full.MODEL: "bundled:fashion-cnn", full.DATA: "bundled:fashion-mnist", full.FOLDER: str(tmp_path)}
    for name, value in {**values, full.FEATURES: "bundled:fashion-cnn", full.DEVICE: "cpu"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(full, "load_images", lambda reference: load_images(reference).limit(48))
    plan = SMOKE.plan
    found = full.full(0, Silent(), plan=plan, search=Search(agreement=0.0, attributes=1, share=0.05), held=24)
    assert len(found["top.flipped"].values) == 12
    assert set(found) == {
        *(f"{kind}.{name}" for kind in ("pyramid", "single") for name in ("agreement", "l1", "frechet")),
        "top.flipped",
        "random.flipped",
    }
    again = full.full(0, Silent(), plan=plan, search=Search(agreement=0.0, attributes=1, share=0.05), held=24)
    assert again == found


def test_a_full_rerun_with_other_images_does_not_take_the_old_generator(monkeypatch, tmp_path):
    values = {full.MODEL: "bundled:fashion-cnn", full.DATA: "bundled:fashion-mnist", full.FOLDER: str(tmp_path)}
    for name, value in {**values, full.FEATURES: "bundled:fashion-cnn", full.DEVICE: "cpu"}.items():
        monkeypatch.setenv(name, value)
    search = Search(agreement=0.0, attributes=1, share=0.05)
    for count in (48, 50):
        monkeypatch.setattr(full, "load_images", lambda one, count=count: load_images(one).limit(count))
        if count == 48:
            full.full(0, Silent(), plan=SMOKE.plan, search=search, held=24)
        else:
            with pytest.raises(InputError, match="trained on other images"):
                full.full(0, Silent(), plan=SMOKE.plan, search=search, held=24)


def test_the_lead_of_the_rule_takes_two_attributes_and_counts_every_other_factor():
    """Columns: intensity, radius, sharpness, gland, texture, position."""
    both, plain = [0.5, 0.4, 0.1, 0.0, 0.0, 0.0], [0.0, 0.6, 0.1, 0.1, 0.2, 0.0]
    gland = [0.3, 0.3, 0.0, 0.4, 0.0, 0.0]
    assert experiment._margin([both]) is None, "one attribute cannot serve both factors"
    assert experiment._margin([both, plain]) == pytest.approx(min(0.5 - 0.1, 0.6 - 0.2))
    assert experiment._margin([both, gland]) == pytest.approx(max(min(0.4, -0.1), min(-0.1, 0.3)))
    assert experiment._margin([gland, gland, both, plain]) == pytest.approx(0.4)


class Reading(torch.nn.Module):
    """Reads the mean as intensity, the upper half as gland, and nothing else."""

    def forward(self, images):
        found = torch.zeros(len(images), len(FACTORS))
        found[:, 0], found[:, 3] = images.mean((1, 2, 3)), images[:, :, :16].mean((1, 2, 3)) / 3
        return found


@pytest.fixture(scope="module")
def small():
    """The experiment with a generator of two steps, and its study."""
    own = experiment.Experiment(SMOKE, 0, Silent())
    training = own.generator("pyramid")
    search = Search(agreement=0.0)
    return own, training, experiment.study(training.explainer, own.seen, own.images, search, own.rng)


def test_what_an_attribute_changes_is_read_off_the_moved_image(small, monkeypatch):
    own, _, found = small
    monkeypatch.setattr(own, "reader", Reading())
    one = max(found.lists.values(), key=len)[0]
    ((*shares,),) = own._shares(found, [one])
    styles = found.measured_on.styles.clone()
    styles[:, one.coordinate] = found.bounds[one.direction][one.coordinate]
    with torch.no_grad():
        moved = found.renderer.images(styles)
    by_hand = (own.reader(moved) - own.reader(found.measured_on.remade)).mean(0).abs()
    assert shares == pytest.approx((by_hand / by_hand.sum()).tolist(), abs=1e-5)
    assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_more_attributes_and_draws_continue_those_of_the_study(small):
    own, _, found = small
    search = Search(agreement=0.0)
    top, drawn = moved_of_count(found, own.seen, own.rng, search, search.attributes, search.shift)
    assert torch.equal(top.scores, found.top.scores)
    assert len(drawn) == len(found.random) > 1
    assert all(torch.equal(one.scores, other.scores) for one, other in zip(drawn, found.random, strict=True))
    near, _ = moved_of_count(found, own.seen, own.rng, search, search.attributes, 1.0)
    assert not torch.equal(near.scores, top.scores)
    _, more = moved_of_count(found, own.seen, own.rng, search, 8, search.shift)
    assert not torch.equal(more[0].scores, drawn[0].scores)


def test_the_picture_has_a_row_for_each_image_and_a_column_for_each_attribute(small, tmp_path):
    own, _, found = small
    panel(found, own.seen, tmp_path / "panel.webp")
    with Image.open(tmp_path / "panel.webp") as drawn:
        assert drawn.width > (2 + max(map(len, found.lists.values()))) * SIDE
        assert drawn.height > SIDE


def test_permuted_logits_are_those_of_other_images(small):
    own, training, _ = small
    order = torch.arange(len(own.images)).roll(1)
    plain = encode(training.explainer, own.seen, own.images)[1]
    other = encode(training.explainer, own.seen, own.images, order=order)[1]
    with torch.no_grad():
        codes = training.explainer.codes(own.images, plain.scores[order])
        by_hand = StyleRenderer(training.explainer.average, fixed_noise(32)).styles(codes)
    assert torch.allclose(other.styles, by_hand, atol=1e-5)
    assert torch.equal(other.decided, plain.decided)
    assert not torch.allclose(other.styles, plain.styles, atol=1e-3)


def test_the_foreign_control_moves_as_many_coordinates_or_gives_no_figure(small, monkeypatch):
    own, training, found = small
    kept, plain = [], foreign.counterfactuals
    monkeypatch.setattr(foreign, "counterfactuals", lambda *a, **k: kept.append(a[4]) or plain(*a, **k))
    figures = own.foreign(found, Search(agreement=0.0), training)
    assert figures["other.flipped"] is not None
    assert {key: len(one) for key, one in kept[-1].items()} == {key: len(one) for key, one in found.lists.items()}
    monkeypatch.setattr(foreign, "attributes_of_classes", lambda *a, **k: {0: [], 1: []})
    figures = own.foreign(found, Search(agreement=0.0), training)
    assert [figures[f"other.{name}"] for name in experiment.MOVED] == [None] * 4
    assert isinstance(figures["foreign.accuracy"], Sample)
