"""Replacing upsampling in other people's models: what is found, what is kept, and that nothing else changes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snellen.core.errors import InputError, ModelError
from snellen.systems.context_upsampling.swapping import SwapRule, swap_upsampling
from snellen.systems.context_upsampling.unet import ContextUNet
from snellen.systems.context_upsampling.upsampling import LargeContextUpsampling


class Mixed(nn.Module):
    """Every way of upsampling, and one that code does."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Dropout(0.5))
        self.up = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1)
        self.shuffle = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.PixelShuffle(2))
        self.bare = nn.PixelShuffle(2)
        self.larger = nn.Upsample(scale_factor=2, mode="nearest")
        self.odd = nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1)

    def forward(self, images):
        maps = self.larger(self.bare(self.shuffle(self.up(self.stem(images)))))
        return F.interpolate(self.odd(maps), scale_factor=0.5)


EXAMPLE = torch.rand(2, 3, 8, 12)


def test_what_is_found_is_replaced_and_the_rest_is_reported():
    model = Mixed().eval()
    swapped, report = swap_upsampling(model, SwapRule(kernel=7, kernels={"up": 11}), EXAMPLE)
    assert [one.name for one in report.swaps] == ["up", "shuffle.1", "bare", "larger"]
    assert swapped.up.large.kernel_size == (11, 11)
    assert swapped.up.large.groups == 8
    assert isinstance(swapped.shuffle[0], nn.Identity)
    assert swapped.shuffle[1].large.in_channels == 8
    assert (swapped.bare.large.in_channels, swapped.bare.large.out_channels) == (4, 1)
    assert "do not give exactly twice" in report.kept["odd"]
    assert "to 16" in report.kept["F.interpolate in the model itself"] or "scales" in str(report)
    assert report.checked
    assert swapped(EXAMPLE).shape == model(EXAMPLE).shape
    assert report.parameters[1] == sum(weight.numel() for weight in swapped.parameters())
    assert "large context 11 × 11 + 3 × 3, 8 → 8" in str(report)


@pytest.mark.covers("19.4")
def test_the_given_model_stays_and_the_copy_differs_in_its_upsampling_alone():
    model = Mixed().train()
    model.stem[1].eval()
    model.up.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    modes = [one.training for one in model.modules()]
    swapped, _ = swap_upsampling(model, None, EXAMPLE)
    assert [one.training for one in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.up.weight.requires_grad
    assert model.stem[0].weight.requires_grad
    for name in ("stem.0.weight", "stem.1.running_mean", "odd.weight"):
        assert torch.equal(swapped.state_dict()[name], before[name])
    assert swapped.stem[0].weight is not model.stem[0].weight
    assert swapped.training
    assert not swapped.stem[1].training


def test_the_same_rule_gives_the_same_weights_whatever_was_drawn_before():
    found = []
    for seed in (1, 2):
        model = Mixed()
        torch.manual_seed(seed)
        found.append(swap_upsampling(model, SwapRule(seed=3), EXAMPLE)[0].up.large.weight)
    assert torch.equal(*found)
    assert not torch.equal(swap_upsampling(Mixed(), SwapRule(seed=4), EXAMPLE)[0].up.large.weight, found[0])


def test_without_an_example_layers_without_channels_are_kept():
    swapped, report = swap_upsampling(Mixed())
    assert [one.name for one in report.swaps] == ["up", "shuffle.1"]
    assert "give an example" in report.kept["bare"]
    assert "give an example" in report.kept["larger"]
    assert isinstance(swapped.bare, nn.PixelShuffle)
    assert not report.checked
    assert "Shapes were not compared" in str(report)


@pytest.mark.parametrize("kind", ["lctc", "transposed", "pixel_shuffle", "nearest", "bilinear", "bicubic"])
def test_every_kind_keeps_the_shapes_of_a_unet(kind):
    model = ContextUNet(4, widths=(4, 8, 16), kind="pixel_shuffle").eval()
    swapped, report = swap_upsampling(model, SwapRule(kind=kind), torch.rand(1, 3, 12, 20))
    assert [one.name for one in report.swaps] == ["upsampling.0.1", "upsampling.1.1"]
    assert swapped(torch.rand(1, 3, 12, 20)).shape == (1, 4, 12, 20)


def test_a_layer_that_is_a_model_and_one_in_two_places():
    swapped, report = swap_upsampling(nn.ConvTranspose2d(3, 3, 2, 2).double())
    assert isinstance(swapped, LargeContextUpsampling)
    assert swapped.large.weight.dtype == torch.float64
    assert report.swaps[0].name == ""
    shared = nn.ConvTranspose2d(3, 3, 2, 2)
    twice, report = swap_upsampling(nn.Sequential(shared, nn.ReLU(), shared), None, EXAMPLE)
    assert isinstance(twice[0], nn.ConvTranspose2d)
    assert "stands in 2 places of the model (0, 2)" in report.kept["0"]
    bare = nn.PixelShuffle(2)
    both = nn.Sequential(nn.Sequential(nn.Conv2d(3, 16, 1), bare), nn.Sequential(nn.Conv2d(4, 16, 1), bare))
    for example in (None, EXAMPLE):
        kept, report = swap_upsampling(both, None, example)
        assert "stands in 2 places" in report.kept["0.1"]
        assert kept(EXAMPLE).shape == (2, 4, 32, 48)


class Again(nn.Module):
    """A layer, or the convolution before one, that the code calls in two places."""

    def __init__(self, up, *, convolution):
        super().__init__()
        self.up, self.convolution = up, convolution

    def forward(self, images):
        return self.up(images).mean() + (self.up[0](images) if self.convolution else self.up(2 * images)).mean()


@pytest.mark.parametrize("example", [None, torch.rand(1, 3, 8, 8)])
def test_a_convolution_in_two_places_is_not_taken_away_from_the_other(example):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 16, 3, padding=1)
            self.up = nn.Sequential(self.first, nn.PixelShuffle(2))

        def forward(self, images):
            return self.up(images).mean() + self.first(images).mean()

    model = Both()
    swapped, report = swap_upsampling(model, None, example)
    assert not report.swaps
    assert "the convolution before it stands in 2 places" in report.kept["up.1"]
    assert torch.equal(swapped(EXAMPLE), model(EXAMPLE))


def test_what_is_called_more_than_once_or_shares_its_weights_is_kept():
    shuffle = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.PixelShuffle(2))
    _, report = swap_upsampling(Again(shuffle, convolution=True), None, EXAMPLE)
    assert "the convolution before it is called 2 times" in report.kept["up.1"]
    _, report = swap_upsampling(Again(nn.Sequential(nn.ConvTranspose2d(3, 3, 2, 2)), convolution=False), None, EXAMPLE)
    assert "called 2 times" in report.kept["up.0"]
    tied = nn.Sequential(nn.ConvTranspose2d(3, 3, 2, 2), nn.ConvTranspose2d(3, 3, 2, 2))
    tied[1].weight = tied[0].weight
    _, report = swap_upsampling(tied)
    assert report.kept["0"] == "it shares its weights with 1"


def test_bad_rules_and_examples():
    with pytest.raises(InputError, match="got 4"):
        SwapRule(kernel=4)
    with pytest.raises(InputError, match=r"larger than the kernel of every layer, of side 2; .* small_kernel=None"):
        SwapRule(kernel=2)
    with pytest.raises(InputError, match="larger than the kernel of up, of side 3"):
        SwapRule(kernels={"up": 3}, small_kernel=5)
    assert SwapRule(kernel=2, small_kernel=None, kind="transposed").kernel == 2
    assert SwapRule(kernel=2, kind="transposed").kernel == 2
    with pytest.raises(InputError, match=r"has kernels for nowhere, and up, shuffle\.1 are replaced"):
        swap_upsampling(Mixed(), SwapRule(kernels={"nowhere": 7}))
    with pytest.raises(InputError, match=r"does not take the example \(2, 4, 8, 12\)"):
        swap_upsampling(Mixed(), None, torch.rand(2, 4, 8, 12))

    class Sized(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 3, 2, 2)

        def forward(self, images):
            return self.up(images, output_size=(2 * images.shape[2], 2 * images.shape[3]))

    with pytest.raises(ModelError, match="fails on the example"):
        swap_upsampling(Sized(), None, EXAMPLE)


def test_torchvision_segmenters_interpolate_by_code_and_the_report_says_so():
    models = pytest.importorskip("torchvision").models.segmentation
    model = models.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
    _, report = swap_upsampling(model, None, torch.rand(1, 3, 64, 64))
    assert not report.swaps
    assert "8 × 8 to 64 × 64" in report.kept["F.interpolate in the model itself"]
    assert "4 × 4 to 8 × 8" in report.kept["F.interpolate in classifier"]


def test_the_mask_decoder_of_sam_gets_large_context():
    transformers = pytest.importorskip("transformers")
    config = transformers.SamConfig(
        vision_config={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
                       "patch_size": 8, "output_channels": 16, "global_attn_indexes": [0], "num_pos_feats": 8},
        prompt_encoder_config={"hidden_size": 16, "image_size": 32, "patch_size": 8, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 8},
    )  # fmt: skip
    model = transformers.SamModel(config).eval()
    swapped, report = swap_upsampling(model, SwapRule(kernel=7))
    assert [one.name for one in report.swaps] == ["mask_decoder.upscale_conv1", "mask_decoder.upscale_conv2"]
    given = {"pixel_values": torch.rand(1, 3, 32, 32), "input_points": torch.rand(1, 1, 1, 2) * 32}
    with torch.no_grad():
        assert swapped(**given).pred_masks.shape == model(**given).pred_masks.shape
