"""Layers that are not there, edits that cannot act, and changes that do not fit."""

import pytest
import torch
from torch import nn

from snellen.core.errors import InputError, ModelError, UnknownNameError, UnsupportedError
from snellen.models.layers.layer_edits import (
    add_vector,
    edited,
    find_layers,
    on_samples,
    on_tokens,
    reading,
    scale,
    token_states,
    zero_units,
)
from tests.models.small_networks import make_layers, make_unet, noise


@pytest.fixture(scope="module")
def network():
    return make_layers()


@pytest.fixture(scope="module")
def unet():
    return make_unet()


def test_unknown_layers_are_refused_with_near_names(network, unet):
    with pytest.raises(UnknownNameError, match="unknown layer of the Sequential 'steem'; did you mean 'stem'"):
        find_layers(network, ["head", "steem"])
    with pytest.raises(UnknownNameError, match=r"unknown layer of the UNet2DConditionModel '\*\.atn1'"):
        find_layers(unet, "*.atn1")
    with pytest.raises(InputError, match="at least one layer"):
        find_layers(network, [])
    message = "argument of layer 'stem' 'inputt'; did you mean 'input'"
    with pytest.raises(UnknownNameError, match=message), edited(network, "stem", scale(2.0), where="inputt"):
        pass


def test_an_edit_that_could_not_act_says_so():
    fused = nn.Sequential(nn.MultiheadAttention(8, 2, batch_first=True))
    fused.forward = lambda x: fused[0](x, x, x)[0]
    message = r"'0\.out_proj' was never called, so the edit changed nothing"
    with pytest.raises(UnsupportedError, match=message), edited(fused, "0.out_proj", torch.zeros_like):
        fused(noise(2, 3, 8))
    with edited(fused, "0.out_proj", torch.zeros_like):
        pass  # the network did not run


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda maps: maps[:, :1], r"gives torch.float32 \(2, 1, 6, 6\)"), (torch.Tensor.double, "gives torch.float64")],
)
def test_a_change_of_shape_or_type_is_refused(network, change, message):
    with pytest.raises(ModelError, match=message), edited(network, "stem", change):
        network(noise(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: zero_units([8]), r"unit 8 of a layer with 8 units \(0 to 7\)"),
        (lambda: zero_units([]), "at least one"),
        (lambda: zero_units([1, 1]), "different positions"),
        (lambda: zero_units([-1]), "from 0 on"),
        (lambda: zero_units([0], dim=4), "cannot lie along dim 4"),
        (lambda: zero_units([0], dim=0), "cannot lie along dim 0"),
        (lambda: add_vector(torch.ones(7)), "a vector of 7 numbers for a layer with 8 channels"),
        (lambda: add_vector(torch.ones(2, 4)), "one number for each channel"),
        (lambda: scale(torch.ones(4)), r"one value for each of the 2 rows .* got \(4,\); .* take the values by rows"),
        (lambda: on_samples(torch.ones(3, dtype=torch.bool), torch.neg), "one value for each of the 2 rows"),
        (lambda: on_samples(torch.ones(2), torch.neg), r"the mask is bool \(n,\), got torch.float32"),
        (lambda: on_tokens(torch.ones(5, dtype=torch.bool), torch.neg), r"a mask of tokens \(5,\)"),
    ],
)
def test_values_that_do_not_fit_are_refused(network, change, message):
    with pytest.raises(InputError, match=message), edited(network, "stem", change()):
        network(noise(2, 3, 8, 8))


def test_positions_beyond_the_tokens_are_refused():
    with pytest.raises(InputError, match="one position from 0 on for each sample"):
        token_states([0, 7])(torch.zeros(2, 7, 3))
    with pytest.raises(InputError, match="one position from 0 on for each sample"):
        token_states([0])(torch.zeros(2, 7, 3))


def test_layers_without_tensors_are_refused(unet):
    class Nothing(nn.Module):
        def forward(self, values):
            return None

    network = nn.Sequential(Nothing())
    with pytest.raises(UnsupportedError, match="'0' gives a NoneType that holds no tensor"), reading(network, "0"):
        network(torch.ones(1))
    edit = edited(unet, "*.attn1", scale(2.0), where="encoder_hidden_states")
    with torch.no_grad(), pytest.raises(UnsupportedError, match="without a tensor for its argument 'encoder_h"), edit:
        unet(noise(1, 4, 8, 8), 3, noise(1, 5, 16))
