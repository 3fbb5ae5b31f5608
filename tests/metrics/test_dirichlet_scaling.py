"""Dirichlet calibration: what it finds, that scores and log-probabilities give the same, and that it is a minimum."""

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.metrics.dirichlet_scaling import DirichletScaling, fit_dirichlet_scaling
from snellen.metrics.temperature import negative_log_likelihood
from snellen.metrics.vector_scaling import fit_vector_scaling

#: Rows have equal sums, as those that can be found.
MIXING = np.array([[1.0, 0.6, 0.0], [0.0, 1.6, 0.0], [0.2, 0.2, 1.2]])


def _mixed(count=4000, seed=0):
    """Scores whose classes borrow from each other, and labels drawn from calibrated ones."""
    rng = np.random.default_rng(seed)
    calibrated = rng.normal(size=(count, 3)) * 2
    shares = np.exp(calibrated) / np.exp(calibrated).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in shares])
    return calibrated @ np.linalg.inv(MIXING).T, labels


def test_classes_that_borrow_from_each_other_are_distinguished():
    scores, labels = _mixed()
    other = _mixed(seed=1)
    found = fit_dirichlet_scaling(scores, labels)
    np.testing.assert_allclose(found.matrix.sum(1), found.matrix.sum(1)[0])
    # A vector that is added to every row adds the same to all scores of an image: only differences of rows count.
    np.testing.assert_allclose(found.matrix - found.matrix[:1], MIXING - MIXING[:1], atol=0.25)
    matrix_loss = negative_log_likelihood(np.log(found.probabilities(other[0])), other[1])
    vector_loss = negative_log_likelihood(np.log(fit_vector_scaling(scores, labels).probabilities(other[0])), other[1])
    assert matrix_loss < vector_loss - 0.01
    assert found.penalty < 1.0, "of much that is seen little is penalised"


def test_scores_and_log_probabilities_give_the_same():
    scores, labels = _mixed(600)
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    first, second = (fit_dirichlet_scaling(one, labels, penalties=(0.1,)) for one in (scores, logs))
    np.testing.assert_allclose(first.probabilities(scores), second.probabilities(logs), atol=1e-4)
    np.testing.assert_allclose(first.probabilities(logs), second.probabilities(logs), atol=1e-4)


def test_the_minimum_is_that_of_torch():
    scores, labels = _mixed(300)
    penalty = 0.1
    found = fit_dirichlet_scaling(scores, labels, penalties=(penalty,))
    matrix, shift = (torch.tensor(part.copy(), requires_grad=True) for part in (found.matrix, found.shift))
    loss = torch.nn.functional.cross_entropy(torch.tensor(scores) @ matrix.T + shift, torch.tensor(labels))
    off = 1 - torch.eye(3, dtype=torch.float64)
    (loss + penalty * ((off * matrix**2).sum() / 6 + (shift**2).sum() / 3)).backward()
    slope = matrix.grad - (matrix.grad.sum(1) - matrix.grad.sum(1).mean())[:, None] / 3
    assert float(slope.abs().max()) < 1e-4, "no way down among matrices whose rows have equal sums"
    assert float(shift.grad.abs().max()) < 1e-4


def test_a_few_images_of_many_classes_leave_it_near_a_temperature():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 60)
    scores = 3 * np.eye(10)[labels] + 2 * rng.normal(size=(60, 10))
    found = fit_dirichlet_scaling(scores, labels)
    other = rng.integers(0, 10, 2000)
    seen = 3 * np.eye(10)[other] + 2 * rng.normal(size=(2000, 10))
    free = fit_dirichlet_scaling(scores, labels, penalties=(1e-6,))
    losses = [negative_log_likelihood(np.log(one.probabilities(seen) + 1e-300), other) for one in (found, free)]
    assert losses[0] < losses[1] / 2
    assert found.penalty >= 1.0
    assert isinstance(found, DirichletScaling)


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="needs 3 images at least, got 2"):
        fit_dirichlet_scaling([[1.0, 0.0], [0.0, 1.0]], [1, 0])
