import math

import pytest
import torch

from snellen.data.worlds.stable_arithmetic import blend, cosine, error_function, exponential, length, logarithm, sine

VALUES = torch.rand(4099, generator=torch.Generator().manual_seed(0)) * 20 + 0.01
EXACT = {
    sine: math.sin,
    cosine: math.cos,
    exponential: math.exp,
    logarithm: math.log,
    error_function: math.erf,
}


@pytest.mark.parametrize("function", EXACT, ids=lambda function: function.__name__)
def test_values_are_right_and_do_not_depend_on_their_place(function):
    found = function(VALUES)
    expected = torch.tensor([EXACT[function](value) for value in VALUES.tolist()])
    assert torch.allclose(found, expected, rtol=3e-7, atol=1e-7)
    for start in (1, 5, 4090):
        assert torch.equal(function(VALUES[start:].clone()), found[start:])
    assert VALUES.min() > 0, "the input is left alone"


def test_lengths_and_blends_do_not_depend_on_their_place_either():
    others = VALUES.flip(0).contiguous()
    assert torch.allclose(length(VALUES, others), torch.hypot(VALUES, others), rtol=1e-6)
    assert torch.equal(blend(VALUES, others, torch.zeros(())), VALUES)
    for start in (1, 7, 4095):
        part = slice(start, None)
        assert torch.equal(length(VALUES[part].clone(), others[part].clone()), length(VALUES, others)[part])
        share = VALUES / 21
        assert torch.equal(
            blend(VALUES[part].clone(), others[part].clone(), share[part].clone()), blend(VALUES, others, share)[part]
        )
