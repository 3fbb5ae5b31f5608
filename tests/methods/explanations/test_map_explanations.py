"""Every attribution as a method: finds a planted patch, beats itself moved, and says what it cannot do."""

import pytest
import torch
from torch import nn

from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.method import build
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributor
from snellen.methods.explanations.by_map import MapExplanation
from snellen.methods.explanations.maps import strongest

#: Smaller budgets; what is promised does not depend on them.
SMALL = {
    "gradient": {},
    "integrated_gradients": {"steps": 8},
    "smooth_grad": {"samples": 6},
    "grad_cam": {},
    "occlusion": {"window": 0.25, "fill": "black"},
    "rise": {"masks": 300},
    "partition_shap": {"budget": 120},
}
PATCH = (slice(4, 8), slice(10, 14))
TARGETS = torch.tensor([1, 1, 1])


class PatchDetector(nn.Module):
    """Class 1 by how bright a patch is, against a fixed class 0; the rest of the image does not count."""

    def __init__(self):
        super().__init__()
        self.cells = nn.AvgPool2d(2)
        self.curve = nn.Tanh()
        weights = torch.zeros(1, 1, 8, 8)
        weights[0, 0, 2:4, 5:7] = 1.0
        self.weights = nn.Parameter(weights)

    def forward(self, images):
        cells = self.curve(self.cells(images.mean(1, keepdim=True)) * self.weights)
        brightness = cells.sum((1, 2, 3))
        return torch.stack([0 * brightness, 4 * (brightness - 1.6)], 1)


def detector():
    return Classifier(PatchDetector(), class_names=["dark", "bright"], name="detector")


def bright_images():
    images = 0.2 * torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images[:, :, *PATCH] += 0.7
    return images


def method(name, **fields):
    return build("explanations", {"method": name, "curve_steps": 8, **SMALL[name], **fields})


def attributions():
    return [
        entry.load() for entry in index.methods("explanations").values() if issubclass(entry.load(), MapExplanation)
    ]


def test_all_of_them_are_here():
    assert {cls.name for cls in attributions()} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_the_patch_is_found_and_the_map_beats_itself_moved(name):
    classifier, images = detector(), bright_images()
    found = method(name).explain(classifier, images, TARGETS, rng=Randomness(0).bind(3))
    assert found.status == ("ok",) * 3
    assert found.maps["evidence"].shape == (3, 16, 16)
    for x, y in found.points.tolist():
        assert 8 <= x <= 15
        assert 2 <= y <= 9
    assert set(found.controls) == {"deletion", "insertion"}
    assert bool((found.figures["deletion"] < found.controls["deletion"]).all())
    assert bool((found.figures["insertion"] > found.controls["insertion"]).all())
    assert found.spent.queries >= 3 * 4 * 8
    assert any("probability" in words or "score" in words for words in found.assumptions)


@pytest.mark.parametrize("name", SMALL)
def test_completeness_is_reported_where_it_is_promised(name):
    found = method(name).explain(detector(), bright_images(), TARGETS, rng=Randomness(0))
    assert ("completeness_gap" in found.figures) == (name in {"integrated_gradients", "partition_shap"})
    if name == "partition_shap":
        assert float(found.figures["completeness_gap"].max()) < 1e-9
    if name == "integrated_gradients":
        assert float(found.figures["completeness_gap"].max()) < 1e-2


@pytest.mark.parametrize("name", SMALL)
def test_neighbours_change_nothing(name):
    classifier, images = detector(), bright_images()
    rng = Randomness(0).for_examples(["a", "b", "c"])
    whole = method(name).explain(classifier, images, TARGETS, rng=rng)
    alone = method(name).explain(classifier, images[[2]], TARGETS[[2]], rng=rng[[2]])
    assert torch.allclose(alone.maps["evidence"], whole.maps["evidence"][2:], atol=1e-5)
    for figure in ("deletion", "insertion"):
        assert torch.allclose(alone.figures[figure], whole.figures[figure][2:], atol=1e-5)
        assert torch.allclose(alone.controls[figure], whole.controls[figure][2:], atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_the_map_alone_is_what_others_build_on(name):
    chosen, rng = method(name), Randomness(0).bind(3)
    assert isinstance(chosen, Attributor)
    alone = chosen.attribute(detector(), bright_images(), TARGETS, rng=rng)
    told = chosen.explain(detector(), bright_images(), TARGETS, rng=rng)
    assert torch.allclose(alone.pixels, told.maps["evidence"], atol=1e-6)
    row, column = strongest(alone.pixels)[0].tolist()
    assert told.points[0].tolist() == [column, row]


class Indifferent(PatchDetector):
    def forward(self, images):
        return torch.where((images[:, 0, 0, 0] == 0.75)[:, None], torch.nan, 0 * super().forward(images))


@pytest.mark.parametrize("name", SMALL)
def test_an_image_without_evidence_or_scores_has_neither_point_nor_figures(name):
    classifier, images = Classifier(Indifferent(), class_names=["dark", "bright"]), bright_images()
    images[1, 0, 0, 0] = 0.75
    found = method(name).explain(classifier, images, TARGETS, rng=Randomness(0))
    assert [status[:11] for status in found.status] == ["no evidence", "not finite:", "no evidence"]
    assert found.points.isnan().all()
    assert not found.maps["evidence"][1].isfinite().any()
    assert all(figure.isnan().all() for key, figure in found.figures.items() if key != "completeness_gap")
    assert all(figure.isnan().all() for figure in found.controls.values())


@pytest.mark.parametrize("name", SMALL)
def test_a_black_box_is_explained_or_the_reason_is_reported(name):
    module = PatchDetector().requires_grad_(False)
    box = Classifier(lambda images: module(images), class_names=["dark", "bright"], name="box")
    chosen = method(name)
    if name in {"occlusion", "rise", "partition_shap"}:
        assert chosen.missing(box) is None
        assert chosen.explain(box, bright_images(), TARGETS, rng=Randomness(0)).status == ("ok",) * 3
    else:
        assert "box gives none" in chosen.missing(box)
    labels = Classifier(lambda images: module(images), class_names=["dark", "bright"], output="labels", name="box")
    assert chosen.missing(labels) is not None


def test_fields_reach_the_mathematics():
    classifier, images, rng = detector(), bright_images(), Randomness(0).bind(3)

    def maps(name, **fields):
        return method(name, **fields).attribute(classifier, images, TARGETS, rng=rng).pixels

    for name, fields in [
        ("gradient", {"signed": True}),
        ("gradient", {"of": "probability"}),
        ("integrated_gradients", {"baseline": "grey"}),
        ("integrated_gradients", {"rule": "midpoint", "steps": 2}),
        ("smooth_grad", {"sigma": 0.5}),
        ("grad_cam", {"layer": "cells"}),
        ("occlusion", {"fill": "blur"}),
        ("occlusion", {"overlap": 0.0}),
        ("rise", {"fill": "grey"}),
        ("rise", {"keep": 0.2}),
        ("partition_shap", {"smallest": 4}),
        ("partition_shap", {"fill": "telea"}),
        ("partition_shap", {"of": "score"}),
    ]:
        assert not torch.allclose(maps(name, **fields), maps(name), atol=1e-6), (name, fields)
    one, other = (
        method("rise", removed=removed).explain(classifier, images, TARGETS, rng=rng) for removed in ("blur", "black")
    )
    assert torch.equal(one.maps["evidence"], other.maps["evidence"])
    assert not torch.equal(one.figures["deletion"], other.figures["deletion"])
