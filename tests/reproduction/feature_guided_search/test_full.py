"""The full experiment on blocks of images, with small classifiers and a few queries."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.feature_guided_search import experiment
from snellen.reproduction.feature_guided_search import full as module
from snellen.reproduction.feature_guided_search.experiment import feature_guided_comparison
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.seed_file import named_figures
from snellen.systems.feature_guided_search.method import FeatureGuidedSearch
from tests.verbs.picture_sets import InMemory


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, ImageSet]:
    """Nine pictures a collection, seven of them with the label that a linear classifier gives."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with torch.no_grad():
        network[1].weight.copy_(0.05 * torch.randn(10, 3072, generator=generator))
    classifier = Classifier(network, class_names=list("0123456789"), preparation=Preprocessing(size=(32, 32)))
    pixels = torch.randint(0, 256, (9, 32, 32, 3), generator=generator, dtype=torch.uint8).numpy()
    pictures = [Image.fromarray(one) for one in pixels]
    with torch.no_grad():
        labels = classifier(torch.stack([classifier.prepare(one) for one in pictures])).argmax(1)
    labels[:2] = (labels[:2] + 1) % 10
    table = pa.table({"id": [str(one) for one in range(9)], "label": labels.tolist()})
    shown = ImageSet(InMemory(pictures), table, tuple("0123456789"), name="pictures")
    images = dict.fromkeys(("mnist", "cifar", "gtsrb"), shown)
    for name, (variable, model) in module.COLLECTIONS.items():
        monkeypatch.setenv(variable, name)
        monkeypatch.setenv(model, name)
    monkeypatch.setattr(module, "load_images", images.__getitem__)
    monkeypatch.setattr(module, "load_classifier", lambda *_, **__: classifier)
    return images


def test_only_images_that_are_right_are_attacked_and_blocks_are_joined(given: Mapping[str, ImageSet]) -> None:
    seen: list[tuple[str, int]] = []

    def compared(classifier: Classifier, images: torch.Tensor, labels: torch.Tensor, kind: str) -> dict[str, Figure]:
        assert bool((classifier(images).argmax(1) == labels).all())
        seen.append((kind, len(images)))
        return {"success": Sample.of([1.0] * len(images)), "mean_l0": float(len(images)), "median_l0": 1.0}

    figures = module.full(0, compared, count=6, block=4)
    for name in module.COLLECTIONS:
        sizes = [count for kind, count in seen if kind == name]
        assert sum(sizes) == figures[f"{name}.images"] == len(figures[f"{name}.success"].values) == 6
        assert max(sizes) <= 4
        assert figures[f"{name}.mean_l0"] == pytest.approx(np.average(sizes, weights=sizes))
        assert f"{name}.median_l0" not in figures


@pytest.mark.usefixtures("given")
def test_every_search_and_reference_runs_on_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "FULL_SEARCH", FeatureGuidedSearch(queries=6, leaves=2, batch_size=2))
    monkeypatch.setattr(experiment, "SMALL", experiment.Sizes(cw_steps=1))
    whole = module.full
    monkeypatch.setattr(experiment, "full", lambda seed, compared: whole(seed, compared, count=4, block=2))
    figures = feature_guided_comparison("full", 0, Silent())
    for name in module.COLLECTIONS:
        assert {
            f"{name}.{way}.mean_l0" for way in ("guided", "uniform", "random", "published", "jsma", "cw_l0")
        } <= set(figures)
        assert figures[f"{name}.guided.queries"] <= 6
    assert set(named_figures(find_system("feature_guided_search"), "full")) <= set(figures)


def test_refusals_name_what_is_needed(given: dict[str, ImageSet], monkeypatch: pytest.MonkeyPatch) -> None:
    given["cifar"] = ImageSet(given["cifar"].source, given["cifar"].table, (*"0123456789", "more"), name="eleven")
    with pytest.raises(InputError, match="has 10 classes, and eleven has 11"):
        module.full(0, lambda *_: {"success": 1.0}, count=2, block=2)
    variables = [variable for both in module.COLLECTIONS.values() for variable in both]
    for variable in variables:
        monkeypatch.delenv(variable)
    with pytest.raises(InputError) as refused:
        feature_guided_comparison("full", 0, Silent())
    assert all(variable in str(refused.value) for variable in variables)
