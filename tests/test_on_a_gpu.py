"""Verbs on a pretended GPU: no operation mixes devices, values are those of the CPU, images are not read one by one.

No GPU was there when this was written; what only a real one can show is not tested here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import snellen
from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.fast_copy import fast_copy
from snellen.core.images import ImageSet
from snellen.core.method import Attack
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.testing.conformance import small_problem
from tests.pretended_gpu import GPU, METAL, OnGpu, pretended_gpu

SMALL, IMAGES, _ = small_problem(count=24, size=12)
PIXELS = (IMAGES * 255).round().byte()
LABELS = SMALL(PIXELS / 255).argmax(1)

#: Fewer steps than usual, by the name of the parameter.
FEWER = {"steps": 3, "queries": 20, "binary_steps": 2, "search_steps": 2, "restarts": 1, "iterations": 3}


def on_gpu(device: torch.device = GPU) -> Classifier:
    return Classifier(
        copy.deepcopy(SMALL.module), class_names=SMALL.class_names, preparation=SMALL.preparation, device=device,
        name=SMALL.name, feature_layer=SMALL.feature_layer,
    )  # fmt: skip


def images(count: int) -> ImageSet:
    pixels = PIXELS[:count].permute(0, 2, 3, 1).numpy()
    return load_arrays(pixels, LABELS[:count].numpy(), class_names=SMALL.class_names)


def made(name: str) -> Attack:
    kind = index.methods("attacks")[name].load()
    return kind(**{field: value for field, value in FEWER.items() if field in kind.model_fields})


ATTACKS = [
    name
    for name, entry in index.methods("attacks").items()
    if hasattr(kind := entry.load(), "attack") and getattr(kind, "takes_classifiers", True)
]


def test_the_pretended_gpu_refuses_what_a_gpu_refuses_and_counts_what_waits():
    with pretended_gpu() as reads:
        there = torch.rand(3, 4).to(GPU)
        assert there.device == GPU
        assert (there * 2 + torch.zeros(3, 4, device=GPU)).device == GPU
        assert (there + torch.tensor(1.0)).device == GPU, "single numbers go along"
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.zeros(3, 4)
        with pytest.raises(RuntimeError, match="same device"):
            torch.zeros(3, 4)[torch.tensor([0]).to(GPU)]
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(there)
        assert reads() == 0
        assert there[torch.tensor([1])].shape == (1, 4), "positions of the CPU are positions"
        assert float(there.sum()) == pytest.approx(float(there.cpu().sum()))
        assert reads() == 2
    assert not isinstance(torch.zeros(2), OnGpu)


def test_gradients_cross_between_the_devices():
    with pretended_gpu():
        here = torch.ones(2, requires_grad=True)
        (2 * here.to(GPU)).cpu().sum().backward()
        assert here.grad is not None
        assert here.grad.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_finds_on_a_gpu_what_it_finds_on_the_cpu(name):
    attack, given, rng = made(name), PIXELS[:4] / 255, Randomness(0).bind(4)
    expected = attack.attack(SMALL, given, LABELS[:4], rng=rng)
    with pretended_gpu():
        found = attack.attack(on_gpu(), given.to(GPU), LABELS[:4].to(GPU), rng=rng)
        assert found.images.device == GPU
        assert torch.equal(found.images.cpu(), expected.images)
        assert found.status == expected.status


# Two attacks of published systems, feature_guided_search and representation_transfer, compute in float64 on the device.
# Their code is part of recorded results, and stays.
@pytest.mark.parametrize("name", ["pgd", "carlini_wagner_l2", "hop_skip_jump"])
def test_an_attack_finds_on_metal_which_knows_no_float64_what_it_finds_on_the_cpu(name):
    attack, given, rng = made(name), PIXELS[:2] / 255, Randomness(0).bind(2)
    expected = attack.attack(SMALL, given, LABELS[:2], rng=rng)
    with pretended_gpu(metal=True):
        with pytest.raises(TypeError, match="float64"):
            given.to(METAL).double()
        found = attack.attack(on_gpu(METAL), given.to(METAL), LABELS[:2].to(METAL), rng=rng)
        assert found.images.device == METAL
        assert found.status == expected.status
        assert torch.allclose(found.images.cpu(), expected.images, atol=1e-3)


def test_an_audit_on_metal_gives_the_figures_of_the_cpu():
    options: dict[str, Any] = {"checks": ["clean", "calibration", "corruption", "label_noise"]}
    with pretended_gpu(metal=True):
        found = snellen.audit(on_gpu(METAL), images(24), **options)
    expected = snellen.audit(SMALL, images(24), **options)
    assert [check.status for check in found.checks] == [check.status for check in expected.checks]
    for name, figure in expected.metrics.items():
        assert found.metrics[name].value == pytest.approx(figure.value, abs=1e-4), name


@pytest.mark.parametrize("name", ["integrated_gradients", "grad_cam"])
def test_an_explanation_on_metal_is_that_of_the_cpu(name):
    expected = snellen.explain(SMALL, images(2), name)
    with pretended_gpu(metal=True):
        found = snellen.explain(on_gpu(METAL), images(2), name)
    (figures,), (wanted,) = found.settings.values(), expected.settings.values()
    assert wanted.figures
    for key, figure in wanted.figures.items():
        assert figures.figures[key].found.value == pytest.approx(figure.found.value, abs=1e-5)


def test_a_faster_copy_is_made_on_the_gpu():
    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    ).eval()
    nn.init.uniform_(network[1].weight)
    expected = network(IMAGES)
    with pretended_gpu():
        classifier = Classifier(
            copy.deepcopy(network), class_names="abc", preparation=Preprocessing(size=(12, 12)), device=GPU
        )
        made = fast_copy(classifier)
        assert isinstance(made.module[1], nn.Identity)
        assert {one.device for one in made.module.parameters()} == {GPU}
        scores = made(IMAGES.to(GPU))
        assert scores.device == GPU
        assert torch.allclose(scores.cpu(), expected, atol=1e-5)


def test_an_audit_on_a_gpu_gives_the_figures_of_the_cpu():
    checks = ["clean", "calibration", "corruption", "adversarial", "masking", "label_noise", "drift"]
    options: dict[str, Any] = {"checks": checks, "train": images(12)}
    # The same network to the bit: on a processor alone it is laid out for speed.
    with pretended_gpu():
        found = snellen.audit(on_gpu(), images(24), **options)
    expected = snellen.audit(SMALL, images(24), **options)
    assert [check.status for check in found.checks] == [check.status for check in expected.checks]
    for name, figure in expected.metrics.items():
        assert found.metrics[name].value == pytest.approx(figure.value, abs=1e-4), name


@pytest.mark.parametrize(
    "name", ["gradient", "integrated_gradients", "grad_cam", "occlusion", "partition_shap", "rise", "smooth_grad"]
)
def test_an_explanation_on_a_gpu_is_that_of_the_cpu(name):
    expected = snellen.explain(SMALL, images(2), name)
    with pretended_gpu():
        found = snellen.explain(on_gpu(), images(2), name)
    (figures,), (wanted,) = found.settings.values(), expected.settings.values()
    assert wanted.figures
    for key, figure in wanted.figures.items():
        assert figures.figures[key].found.value == pytest.approx(figure.found.value, abs=1e-5)


def reads_of(call: Callable[[Classifier, Tensor, Tensor], object], count: int) -> int:
    with pretended_gpu() as reads:
        given, labels = (PIXELS[:count] / 255).to(GPU), LABELS[:count].to(GPU)
        classifier = on_gpu()
        before = reads()
        call(classifier, given, labels)
        return reads() - before


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "square", "standard_ensemble"])
def test_no_attack_reads_image_by_image(name):
    attack = made(name)

    def run(classifier: Classifier, given: Tensor, labels: Tensor) -> object:
        return attack.attack(classifier, given, labels, rng=Randomness(0).bind(len(given)))

    few, many = reads_of(run, 4), reads_of(run, 24)
    # As many for six times the images, but for steps that only a larger batch still needs.
    assert many <= 1.5 * few + 10
