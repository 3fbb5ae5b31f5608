"""Attacks, explanations and certificates on tensors: arrays in, arrays out, and the numbers are the methods'."""

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.core.errors import InputError
from snellen.core.method import build
from snellen.core.randomness import Randomness
from snellen.methods.attacks.pgd import PGD

LABELS = torch.tensor([0, 1, 2, 0, 1])


def model(channels=3):
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)]
    return nn.Sequential(*layers).train()


def images(channels=3):
    return torch.rand(5, channels, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_in_arrays_out_with_the_same_numbers_as_tensors(channels):
    network, held = model(channels), images(channels)
    method = {"method": "pgd", "epsilon": 0.4, "steps": 5}
    of_tensors = snellen.attack_tensors(network, held, LABELS, method)
    of_arrays = snellen.attack_tensors(network, held.numpy(), LABELS.numpy(), method)
    assert isinstance(of_arrays, np.ndarray)
    assert (of_arrays.dtype, of_arrays.shape) == (np.float32, tuple(held.shape))
    assert np.array_equal(of_tensors.numpy(), of_arrays)
    assert 0 < float((of_tensors - held).abs().max()) <= 0.4 + 1e-6
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_attack_is_that_of_the_method():
    network, held, method = model(), images(), PGD(epsilon=0.05, steps=3)
    classifier = snellen.load_classifier(network, list("abc"), preparation=snellen.Preprocessing(size=(12, 12)))
    ids = [f"{number:06d}" for number in range(5)]
    expected = method.attack(classifier, held, LABELS, rng=Randomness(3).for_examples(ids)).images
    assert torch.equal(snellen.attack_tensors(network, held, LABELS, method, seed=3), expected)
    assert torch.equal(snellen.attack_tensors(network, held, LABELS, method, seed=3, batch_size=2), expected)
    assert torch.equal(snellen.attack_tensors(classifier, held, LABELS, method, seed=3), expected)
    doubled = snellen.attack_tensors(network, held.double(), LABELS, method, seed=3)
    assert doubled.dtype == torch.float64


def test_a_normalised_model_comes_with_its_transform():
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    normalise = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])
    network, held = model(), images()
    adversarial = snellen.attack_tensors((network, normalise), held, LABELS, {"method": "fgsm", "epsilon": 0.03})
    plain = snellen.attack_tensors(network, held, LABELS, {"method": "fgsm", "epsilon": 0.03})
    assert not torch.equal(adversarial, plain)
    assert float((adversarial - held).abs().max()) <= 0.03 + 1e-6


def test_maps_and_certificates():
    network, held = model().eval(), images()
    maps = snellen.explain_tensors(network, held.numpy(), "gradient")
    assert (type(maps), maps.shape) == (np.ndarray, (5, 12, 12))
    assert np.isfinite(maps).all()
    chosen = snellen.explain_tensors(network, held, "gradient", targets=LABELS)
    assert not np.allclose(chosen.numpy(), maps)
    proven = snellen.certify_tensors(network, held.numpy(), {"method": "smoothing", "sigma": 0.1, "samples": 100})
    assert isinstance(proven.radius, np.ndarray)
    assert proven.prediction.shape == proven.radius.shape == (5,)
    assert ((proven.radius > 0) == (proven.prediction >= 0)).all()


def test_what_cannot_be_used_is_refused():
    with pytest.raises(InputError, match=r"floats \(n, c, h, w\) in \[0, 1\] with 1 or 3 channels; got torch.uint8"):
        snellen.attack_tensors(model(), (images() * 255).byte(), LABELS)
    with pytest.raises(InputError, match=r"labels are \(n,\) for 5 images; got \(4,\)"):
        snellen.attack_tensors(model(), images(), LABELS[:4])
    with pytest.raises(InputError, match="takes images in"):
        snellen.attack_tensors(model(), images() * 2, LABELS)
    with pytest.raises(InputError, match="explains no tensors of images"):
        snellen.explain_tensors(model(), images(), "neuron_descriptions")


def test_grad_cam_runs_each_image_once_forward_and_once_backward():
    network, held = model(), images()
    network[-1].weight.data.abs_()  # so that there is evidence
    classifier = snellen.load_classifier(network, list("abc"), preparation=snellen.Preprocessing(size=(12, 12)))
    passes = {"forward": 0, "backward": 0}

    def forward(_layer, inputs, _output):
        passes["forward"] += len(inputs[0])

    def backward(_layer, _inputs, gradients):
        passes["backward"] += len(gradients[0])

    classifier.module.register_forward_hook(forward)
    classifier.module[-1].register_full_backward_hook(backward)
    with classifier.counting() as spent:
        maps = snellen.explain_tensors(classifier, held[:2], "grad_cam")
    assert passes == {"forward": 2, "backward": 2}
    assert (spent().queries, spent().gradients) == (2, 2)
    with torch.no_grad():
        decided = classifier(held[:2]).argmax(1)
    method = build("explanations", "grad_cam")
    explained = method.explain(classifier, held[:2], decided)
    assert torch.equal(explained.maps["evidence"], maps)
    assert explained.spent.queries > 2, "how far the map holds is measured by explain alone"
    assert float(maps.max()) > 0
    named = snellen.explain_tensors(classifier, held[:2], {"method": "grad_cam", "layer": "2"})
    assert torch.allclose(named, maps, atol=1e-6)
    looked = snellen.explain_tensors(classifier, held[:2], {"method": "grad_cam", "chunk": 1})
    assert torch.allclose(looked, maps, atol=1e-6)
