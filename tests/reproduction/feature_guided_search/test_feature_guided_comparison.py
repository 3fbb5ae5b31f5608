"""System 15: every stage runs with VGG16, and the toys are what they are said to be."""

import dataclasses

import numpy as np
import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.methods.attacks.saliency_map import SaliencyMap
from snellen.reproduction.feature_guided_search import experiment as module
from snellen.reproduction.feature_guided_search import measure
from snellen.reproduction.feature_guided_search.experiment import feature_guided_comparison
from snellen.reproduction.sample import mean_of
from snellen.reproduction.seed_file import named_figures
from snellen.reproduction.shared.severity_figures import changed_pixels, pair_figures, shares_on
from snellen.reproduction.shared.traffic_lights import traffic_lights
from snellen.systems.feature_guided_search.method import FeatureGuidedSearch
from snellen.testing.conformance import small_problem
from snellen.training.plan import TrainingPlan


def test_smoke_runs_every_stage_on_vgg16(monkeypatch):
    seen, problem = [], module._random_problem
    monkeypatch.setattr(module, "_random_problem", lambda seed: seen.append(problem(seed)) or seen[-1])
    figures = feature_guided_comparison("smoke", 0, Silent())
    assert type(seen[0].classifier.module).__name__ == "VGG"
    assert tuple(seen[0].images.shape) == (2, 3, 224, 224)
    assert all(value is not None and np.isfinite(mean_of(value)) for value in figures.values())
    for name in ("guided", "uniform", "random", "published", "jsma", "cw_l0"):
        assert set(figures[f"large.{name}.success"].values) <= {0.0, 1.0}
    assert figures["large.guided.queries"] <= 4


def test_small_gives_what_the_claims_name(monkeypatch):
    tiny = module.Sizes(
        queries=40, scenes=3, thumbnails=2, textures=2, lights=2, references=1, cw_steps=2, training=90, shown=40
    )  # fmt: skip
    monkeypatch.setattr(module, "SMALL", tiny)
    monkeypatch.setattr(module, "SMALL_PLAN", TrainingPlan(epochs=2, batch_size=10, learning_rate=2e-3))
    figures = feature_guided_comparison("small", 0, Silent())
    assert set(named_figures(find_system("15"), "small")) <= set(figures)
    assert len(figures["scenes.ratio_to_uniform.log2"].values) == 3
    assert all(value is not None and np.isfinite(mean_of(value)) for value in figures.values())
    assert figures["scenes.guided.queries"] <= 40
    full = module.Sizes()
    assert (full.queries, full.scenes, full.textures, full.lights) == (2000, 30, 40, 48)


def test_the_searches_differ_in_guidance_and_tree_alone():
    base = FeatureGuidedSearch().model_dump()
    changed = {name: FeatureGuidedSearch(**fields).model_dump() for name, fields in module.SEARCHES.items()}
    differing = {name: {key for key in base if fields[key] != base[key]} for name, fields in changed.items()}
    published = {"every_move", "adapting", "overshoot"}
    assert differing == {
        "guided": set(), "uniform": {"choice"}, "random": {"choice", "depth"}, "published": published
    }  # fmt: skip


def test_jsma_makes_the_moves_of_the_game():
    classifier, images, labels = small_problem(count=6)
    attacked = module._with_our_moves(SaliencyMap(largest_share=1.0), classifier, images, labels)
    assert bool(attacked.success.any())
    assert torch.equal(classifier(attacked.images).argmax(1) != labels, attacked.success)
    moved = (images < 0.5).float()
    changed = (attacked.images != images).any(1, keepdim=True)
    assert bool(changed.any())
    assert torch.allclose(attacked.images, torch.where(changed, moved, images))


def lamps_alone(lights):
    """A classifier that sees the brightest lamp, as a function of the pixels of each picture's own lamps."""
    rows = torch.arange(32.0).view(1, 32, 1)
    top = (lights.lamps * rows + ~lights.lamps * 99).flatten(1).amin(1)
    bottom = (lights.lamps * rows).flatten(1).amax(1)
    third = (bottom - top + 1) / 3
    return torch.stack(
        [
            lights.lamps & (rows >= (top + n * third).view(-1, 1, 1)) & (rows < (top + (n + 1) * third).view(-1, 1, 1))
            for n in range(3)
        ],
        1,
    )


def test_traffic_lights_are_dark_but_for_one_lamp():
    lights = traffic_lights(40, seed=3)
    again = traffic_lights(10, seed=3)
    assert torch.equal(lights.images[:10], again.images)
    assert not torch.equal(lights.images, traffic_lights(40, seed=4).images)
    assert set(lights.labels.tolist()) == {0, 1, 2}
    assert lights.images.min() >= 0
    assert lights.images.max() <= 1
    parts = lamps_alone(lights)
    brightness = lights.images.amax(1)
    means = (brightness[:, None] * parts).flatten(2).sum(2) / parts.flatten(2).sum(2)
    assert (means.argmax(1) == lights.labels).float().mean() > 0.95
    outside = (brightness * ~lights.lamps).flatten(1).quantile(0.9, dim=1)
    assert outside.max() < 0.3


@pytest.mark.covers("15.2")
def test_guidance_puts_pixels_on_lamps():
    # The class is which third of the picture is brightest: the lamps decide, and only near them pixels are cheap.
    lights = traffic_lights(10, seed=5)
    parts = lamps_alone(lights).double()
    one = lights.images[[0]], parts[0]

    def brightest(candidates):
        sums = (candidates.double().mean(1)[:, None] * one[1]).flatten(2).sum(2)
        return sums.float()

    classifier = Classifier(brightest, class_names=("red", "amber", "green"))
    labels = classifier(one[0]).argmax(1)
    shares = {}
    for choice in ("features", "uniform"):
        method = FeatureGuidedSearch(queries=300, leaves=16, choice=choice, backtracking=0)
        shares[choice] = float(shares_on(method.attack(classifier, one[0], labels), one[0], lights.lamps[[0]]))
    assert shares["features"] > 2 * max(shares["uniform"], float(lights.lamps[0].double().mean()))


def test_figures_count_what_withstood_with_all_its_pixels():
    classifier, images, labels = small_problem(count=6)
    attacked = FeatureGuidedSearch(queries=30, leaves=4, epsilon=1).attack(classifier, images, labels)
    changed = changed_pixels(attacked, images)
    assert (changed[~attacked.success] == 64).all()
    assert (changed[attacked.success] == 1).all()
    ours = torch.tensor([2.0, 8.0, 4.0, 4.0])
    found = pair_figures(ours, torch.full((4,), 8.0), "r")
    assert found["r"] == pytest.approx(0.5)
    assert found["r.log2"].values == pytest.approx((-2.0, 0.0, -1.0, -1.0))
    assert shares_on(attacked, images, torch.ones(6, 8, 8, dtype=torch.bool)).isnan().equal(~attacked.success)
    assert dataclasses.is_dataclass(module.SMALL)


def test_garments_lie_at_random_places_of_a_black_image():
    images = module.load_images("bundled:fashion-mnist")
    made, _ = measure._placed(images, 12, 12, Randomness(3))
    again, _ = measure._placed(images, 12, 12, Randomness(3))
    assert torch.equal(made, again)
    assert made.shape == (12, 3, measure.SIDE, measure.SIDE)
    tops = []
    for one in made:
        rows, columns = one.amax((0, 2)).nonzero().flatten(), one.amax((0, 1)).nonzero().flatten()
        assert 0 <= rows[-1] - rows[0] < 12
        assert 0 <= columns[-1] - columns[0] < 12
        tops.append((int(rows[-1]), int(columns[-1])))
    # Below and beside where a garment at one corner could end.
    assert any(row >= 12 for row, _ in tops)
    assert any(column >= 12 for _, column in tops)
    assert any(row < 16 for row, _ in tops)


def test_a_garment_keeps_its_pixels_and_its_label():
    images = module.load_images("bundled:fashion-mnist")
    known = {np.array(images.read(row)).tobytes(): int(images.labels[row]) for row in range(len(images))}
    made, labels = measure._placed(images, 6, 28, Randomness(3))
    for one, label in zip(made, labels.tolist(), strict=True):
        pixels = one.permute(1, 2, 0).numpy()
        crops = [pixels[top : top + 28, left : left + 28] for top in range(5) for left in range(5)]
        assert {known[crop.tobytes()] for crop in crops if crop.tobytes() in known} == {label}
