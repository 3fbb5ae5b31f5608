"""Vector scaling: what it finds, and when it is worth trying."""

import numpy as np
import torch

from snellen.metrics.temperature import fit_temperature, negative_log_likelihood
from snellen.metrics.vector_scaling import enough_for_vector_scaling, fit_vector_scaling


def _distorted(count=6000, classes=4, seed=0):
    """Calibrated scores, and the same with a scale and a shift for each class."""
    rng = np.random.default_rng(seed)
    calibrated = rng.normal(size=(count, classes)) * 1.5
    shares = np.exp(calibrated) / np.exp(calibrated).sum(1, keepdims=True)
    labels = np.array([rng.choice(classes, p=row) for row in shares])
    scale, shift = np.array([0.5, 1.0, 2.0, 1.25]), np.array([1.0, -0.5, 0.0, -0.5])
    return calibrated, (calibrated - shift) / scale, labels, scale, shift


def test_scale_and_shift_are_found():
    _, given, labels, scale, shift = _distorted()
    found = fit_vector_scaling(given, labels)
    np.testing.assert_allclose(found.scale, scale, rtol=0.1)
    np.testing.assert_allclose(found.shift, shift, atol=0.1)
    assert abs(found.shift.sum()) < 1e-9


def test_it_leaves_less_than_a_temperature_on_other_images():
    _, given, labels, _, _ = _distorted()
    other = _distorted(seed=1)
    temperature = fit_temperature(given, labels).temperature
    found = fit_vector_scaling(given, labels)
    loss = negative_log_likelihood(np.log(found.probabilities(other[1])), other[2])
    assert loss < negative_log_likelihood(other[1], other[2], temperature) - 0.05


def test_the_minimum_is_that_of_torch():
    _, given, labels, _, _ = _distorted(count=500)
    found = fit_vector_scaling(given, labels)
    scale, shift = (torch.tensor(part.copy(), requires_grad=True) for part in (found.scale, found.shift))
    torch.nn.functional.cross_entropy(torch.tensor(given) * scale + shift, torch.tensor(labels)).backward()
    assert float(torch.cat([scale.grad, shift.grad]).abs().max()) < 1e-4


def test_few_images_tell_too_little():
    assert enough_for_vector_scaling(200, 10)
    assert not enough_for_vector_scaling(199, 10)
