"""The U-Net: sizes, what variants share, the control, padding under attack."""

import pytest
import torch
from torch import nn

from snellen.attacks import PGD, CosPGD
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.systems.context_upsampling.unet import ContextUNet, LargeKernelBlock

WAYS = {
    "transposed": {"kind": "transposed", "kernels": 2},
    "pixel_shuffle": {"kind": "pixel_shuffle"},
    "bilinear": {"kind": "bilinear"},
    "lctc7": {"kernels": 7},
    "lctc11": {"kernels": (7, 11)},
}
H2 = {"kind": "transposed", "kernels": 2, "decoder_kernel": 7}


@pytest.mark.covers("19.4")
@pytest.mark.parametrize("way", WAYS)
def test_all_but_upsampling_starts_the_same(way):
    base, other = ContextUNet(4, seed=3, **WAYS["transposed"]), ContextUNet(4, seed=3, **WAYS[way])
    shared = {name: value for name, value in base.state_dict().items() if not name.startswith("upsampling.")}
    given = {name: value for name, value in other.state_dict().items() if not name.startswith("upsampling.")}
    assert shared.keys() == given.keys()
    assert all(torch.equal(value, given[name]) for name, value in shared.items())
    assert len(shared) > 20
    different = ContextUNet(4, seed=4, **WAYS[way])
    assert not torch.equal(different.head.weight, other.head.weight)


def test_initial_weights_do_not_depend_on_the_global_generator():
    torch.manual_seed(1)
    first = ContextUNet(4, seed=0)
    state = torch.random.get_rng_state()
    second = ContextUNet(4, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value)


@pytest.mark.covers("19.5")
def test_the_control_has_as_many_parameters_large_decoder_kernels_and_the_upsampling_of_the_baseline():
    def count(options):
        return sum(weight.numel() for weight in ContextUNet(5, **options).parameters())

    for side in (7, 11):
        control = ContextUNet(5, **{**H2, "decoder_kernel": side})
        large = max(count(WAYS["lctc7"]), count(WAYS["lctc11"]))
        assert sum(weight.numel() for weight in control.parameters()) >= large
        blocks = [block for block in control.decoder.modules() if isinstance(block, LargeKernelBlock)]
        assert len(blocks) == 4
        assert {block.depthwise.kernel_size for block in blocks} == {(side, side)}
    base = ContextUNet(5, **WAYS["transposed"])
    for ours, theirs in zip(control.upsampling, base.upsampling, strict=True):
        assert isinstance(ours, nn.ConvTranspose2d)
        assert ours.kernel_size == theirs.kernel_size == (2, 2)
        assert torch.equal(ours.weight, theirs.weight)
    assert 100_000 < count(WAYS["lctc11"]) < 130_000


@pytest.mark.parametrize("size", [(16, 16), (30, 50), (17, 4), (5, 33)])
def test_any_size_comes_back(size):
    model = ContextUNet(3, widths=(4, 8, 16)).eval()
    assert model(torch.rand(1, 3, *size)).shape == (1, 3, *size)


@pytest.mark.covers("19.8")
@pytest.mark.parametrize("kind", [PGD, CosPGD])
def test_padding_follows_the_attacked_image(kind):
    """13 × 18 pixels are padded to 16 × 20 inside, with the border of the attacked image."""
    seen = []
    model = ContextUNet(3, widths=(4, 8, 16)).eval()
    model.encoder[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    segmenter = Classifier(model, class_names=["a", "b", "c"], task="segment")
    images, labels = torch.rand(2, 3, 13, 18), torch.randint(0, 3, (2, 13, 18))
    attacked = kind(epsilon=0.1, steps=3).attack(segmenter, images, labels)
    assert attacked.images.shape == images.shape
    last = seen[-1]
    assert last.shape == (2, 3, 16, 20)
    assert torch.equal(last[..., :13, :18], attacked.images)
    assert torch.equal(last[..., 13:, :18], attacked.images[..., 12:13, :].expand(-1, -1, 3, -1))
    assert (attacked.images - images).abs().max() <= 0.1 + 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (4, 9)}, "double from level to level"),
        ({"widths": (4, 8, 16), "kernels": (7,) * 3}, "one for each step"),
        ({"widths": (4,)}, "double"),
        ({"kernels": 6}, "got 6"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ContextUNet(4, **options)
