"""The layers: sizes, groups, parallel paths, phases, merging, initial weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snellen.core.errors import InputError
from snellen.systems.context_upsampling.polyphase import (
    by_phases,
    equivalent_kernel,
    phase_kernels,
    phases,
)
from snellen.systems.context_upsampling.upsampling import (
    LargeContextUpsampling,
    interpolation_taps,
    margins,
    merged,
    transposed,
    upsampling,
)

SIDES = (2, 3, 7, 11, 15, 31)
KINDS = ("lctc", "transposed", "pixel_shuffle", "nearest", "bilinear", "bicubic")


@pytest.mark.covers("19.1")
@pytest.mark.parametrize("kernel", SIDES)
@pytest.mark.parametrize("size", [(5, 9), (8, 4), (1, 3)])
def test_the_output_is_exactly_twice_as_large(kernel, size):
    maps = torch.rand(2, 8, *size)
    for layer in (
        LargeContextUpsampling(8, 4, kernel=kernel, small_kernel=2 if kernel == 2 else 3),
        LargeContextUpsampling(8, kernel=kernel, small_kernel=None),
        transposed(8, 6, kernel),
    ):
        assert layer(maps).shape[2:] == (2 * size[0], 2 * size[1])


@pytest.mark.covers("19.1")
@pytest.mark.parametrize("kind", KINDS)
def test_all_ways_have_one_interface(kind):
    assert upsampling(kind, 8, 4)(torch.rand(2, 8, 5, 9)).shape == (2, 4, 10, 18)
    assert upsampling(kind, 8)(torch.rand(1, 8, 3, 3)).shape == (1, 8, 6, 6)


@pytest.mark.covers("19.2")
def test_both_paths_are_summed_and_both_get_gradients():
    layer, maps = LargeContextUpsampling(6, 3, kernel=7), torch.randn(2, 6, 4, 5)
    assert torch.equal(layer(maps), layer.large(maps) + layer.small(maps))
    assert (layer(maps) < 0).any()
    layer(maps).square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in layer.parameters())
    # Neither path reads what the other gives: without the large one, the small one is left.
    nn.init.zeros_(layer.large.weight)
    nn.init.zeros_(layer.large.bias)
    assert torch.equal(layer(maps), layer.small(maps))


@pytest.mark.covers("19.3")
@pytest.mark.parametrize(
    ("channels_in", "channels_out", "groups", "each"), [(8, 8, 8, 1), (8, 4, 4, 2), (4, 8, 4, 1), (6, 4, 2, 3)]
)
def test_groups_and_numbers_of_weights_are_as_published(channels_in, channels_out, groups, each):
    layer = LargeContextUpsampling(channels_in, channels_out, kernel=11)
    for path, side in ((layer.large, 11), (layer.small, 3)):
        assert path.groups == groups
        assert channels_in // path.groups == each
        assert path.weight.numel() == channels_out * (channels_in // groups) * side**2
        assert path.bias.numel() == channels_out
    dense = LargeContextUpsampling(channels_in, channels_out, kernel=7, groups=1)
    assert dense.large.weight.numel() == channels_in * channels_out * 49


@pytest.mark.covers("19.3")
def test_an_output_channel_reads_its_two_input_channels_and_no_other():
    layer = LargeContextUpsampling(8, 4, kernel=7)
    maps = torch.rand(1, 8, 4, 4)
    other = maps.clone()
    other[:, 2:4] += 1
    changed = (layer(maps) != layer(other)).flatten(2).any(2)[0]
    assert changed.tolist() == [False, True, False, False]


@pytest.mark.parametrize("kernel", SIDES)
@pytest.mark.parametrize(("channels_in", "channels_out", "groups"), [(8, 4, 4), (4, 4, 4), (4, 4, 1), (4, 8, 4)])
def test_phases_give_what_the_layer_gives(kernel, channels_in, channels_out, groups):
    torch.manual_seed(0)
    layer = transposed(channels_in, channels_out, kernel, groups=groups).double()
    maps = torch.randn(2, channels_in, 5, 9, dtype=torch.float64)
    assert torch.allclose(by_phases(layer, maps), layer(maps), atol=1e-12)


def test_taps_of_phases_are_those_of_the_published_table():
    taps = {side: sorted(phase.taps for phase in phases(side, margins(side)[0])) for side in SIDES}
    assert taps == {2: [1, 1], 3: [1, 2], 7: [3, 4], 11: [5, 6], 15: [7, 8], 31: [15, 16]}
    kernels = phase_kernels(torch.arange(49.0).view(7, 7))
    assert kernels[1][0, 0] == 1
    assert kernels[2][0, 0] == 7
    assert sum(one.numel() for one in kernels) == 49


@pytest.mark.parametrize("kernel", SIDES)
@pytest.mark.parametrize("small", [2, 3, 7])
def test_the_small_path_merges_exactly(kernel, small):
    if small > kernel:
        with pytest.raises(InputError, match="larger than the large one"):
            LargeContextUpsampling(4, kernel=kernel, small_kernel=small)
        return
    layer = LargeContextUpsampling(8, 4, kernel=kernel, small_kernel=small).double()
    one, maps = merged(layer), torch.randn(1, 8, 5, 7, dtype=torch.float64)
    assert one.small is None
    assert torch.allclose(one(maps), layer(maps), atol=1e-12)
    assert layer.small is not None
    assert torch.equal(merged(one)(maps), one(maps))


@pytest.mark.parametrize("kind", ["lctc", "transposed", "pixel_shuffle", "nearest", "bilinear"])
def test_every_way_is_zero_insertion_and_its_equivalent_kernel(kind):
    """Away from the border, where interpolations repeat the last pixel."""
    torch.manual_seed(0)
    layer = upsampling(kind, 4, 2, kernel=7).double()
    maps = torch.zeros(1, 4, 9, 9, dtype=torch.float64)
    maps[:, :, 3:6, 3:6] = torch.randn(1, 4, 3, 3, dtype=torch.float64)
    for one in layer.modules():
        if getattr(one, "bias", None) is not None:
            nn.init.zeros_(one.bias)
    kernel = equivalent_kernel(layer)
    full = F.conv_transpose2d(maps, kernel, stride=2, groups=2 // kernel.shape[1])
    given = layer(maps)
    # The same up to where the padding cuts.
    start = (full.shape[-1] - given.shape[-1] + 1) // 2
    shifts = [
        full[..., top : top + 18, left : left + 18]
        for top in range(max(start - 2, 0), start + 3)
        for left in range(max(start - 2, 0), start + 3)
    ]
    assert any(one.shape == given.shape and torch.allclose(one, given, atol=1e-10) for one in shifts)
    with pytest.raises(InputError, match="kernel is known"):
        equivalent_kernel(upsampling("bicubic", 4))


@pytest.mark.covers("19.12")
def test_weights_start_as_pytorch_starts_them():
    torch.manual_seed(5)
    ours = LargeContextUpsampling(8, 4, kernel=7)
    torch.manual_seed(5)
    theirs = nn.ConvTranspose2d(8, 4, 7, stride=2, padding=3, output_padding=1, groups=4)
    assert torch.equal(ours.large.weight, theirs.weight)
    assert torch.equal(ours.large.bias, theirs.bias)
    bound = 1 / math.sqrt(1 * 49)  # PyTorch's fan-in of a transposed convolution is that of its outputs
    assert ours.large.weight.abs().max() <= bound


@pytest.mark.covers("19.12")
@pytest.mark.parametrize("initial", ["bilinear", "sinc"])
def test_interpolating_starts_keep_constants_and_ramps(initial):
    layer = LargeContextUpsampling(4, kernel=11, initial=initial)
    constant = layer(torch.full((1, 4, 12, 12), 3.0))[..., 8:-8, 8:-8]
    assert torch.allclose(constant, torch.full_like(constant, 3.0), atol=1e-5)
    ramp = torch.arange(16.0).expand(1, 4, 16, 16)
    inner = layer(ramp)[..., 10:-10, 10:-10]
    steps = inner.diff(dim=-1)
    assert torch.allclose(steps, torch.full_like(steps, 0.5), atol=0.02)
    if initial == "bilinear":
        assert interpolation_taps(7, "bilinear").tolist() == [0, 0, 0.5, 1, 0.5, 0, 0]
    with pytest.raises(InputError, match="needs an odd side"):
        LargeContextUpsampling(4, kernel=2, small_kernel=None, initial=initial)


@pytest.mark.parametrize("kernel", [0, 1, 4, 8, 33, -3])
def test_even_and_huge_kernels_are_refused(kernel):
    with pytest.raises(InputError, match=f"side 2, or an odd one from 3 to 31; got {kernel}"):
        LargeContextUpsampling(4, kernel=kernel, small_kernel=None)


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match="3 groups do not divide 8 channels and 4"):
        LargeContextUpsampling(8, 4, groups=3)
