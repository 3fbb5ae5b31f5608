"""Arithmetic that makes fewer tensors than autograd would: the same bits, or the same gradients."""

import torch

from snellen.methods.attacks.perturbation.penalty_search import squared_length
from snellen.methods.attacks.perturbation.projections import largest_entry
from snellen.methods.attacks.perturbation.spaces import TanhSpace


def drawn(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_decoding_has_the_bits_of_the_formula_forward_and_back():
    variables, weights = (3 * drawn(4, 3, 5, 5)).requires_grad_(True), drawn(4, 3, 5, 5)
    decoded, written = TanhSpace().decode(variables, variables), (variables.tanh() + 1) / 2
    assert torch.equal(decoded, written)
    gradients = [torch.autograd.grad((images * weights).sum(), variables)[0] for images in (decoded, written)]
    assert torch.equal(*gradients)


def test_squared_lengths_and_their_gradients_are_those_of_autograd():
    candidates, centre = drawn(4, 3, 5, 5, dtype=torch.float64).requires_grad_(True), torch.rand(4, 3, 5, 5).double()
    assert torch.autograd.gradcheck(lambda values: squared_length(values, centre), (candidates,))
    lean, written = squared_length(candidates, centre), (candidates - centre).square().flatten(1).sum(1)
    assert torch.allclose(lean, written, rtol=1e-12)
    weights = torch.arange(1.0, 5.0).double()
    gradients = [torch.autograd.grad((lengths * weights).sum(), candidates)[0] for lengths in (lean, written)]
    assert torch.equal(*gradients)


def test_the_largest_entry_tells_zero_infinite_and_undefined_gradients():
    values = torch.zeros(5, 2, 3)
    values[1, 1, 2], values[2, 0, 0], values[3, 0, 1], values[4, 1, 1] = -4.0, torch.inf, -torch.inf, torch.nan
    largest = largest_entry(values)
    assert largest[:4].tolist() == [0.0, 4.0, torch.inf, torch.inf]
    assert largest.isfinite().tolist() == [True, True, False, False, False]
    assert (largest > 0).tolist() == [False, True, True, True, False]
