"""Experts: which parameters they have, the same arithmetic in all modes, routing, and one network for all of them."""

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.low_rank import LowRank
from snellen.systems.plug_and_play_guidance.adapted_layers import adapted_layers, free_parameters, last_layer
from snellen.systems.plug_and_play_guidance.low_rank_experts import (
    LowRankExperts,
    NoiseRanges,
    expected_shapes,
    factor_shapes,
    own_tensors,
    start_from,
    student_of,
)
from tests.methods.generation.tiny_guided import tiny_network

SETTINGS = LowRank(rank=2, alpha=6.0)  # a scaling of 3, which would show where it is left out


def changed_student(network, seed=1):
    """A student whose own tensors are all away from their start."""
    student = student_of(network, SETTINGS, Randomness(seed), name="demo")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in student.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.1 * torch.randn(buffer.shape, generator=generator))
    return student


def experts_of_students(network, students, timesteps=100):
    own = tuple(own_tensors(student) for student in students)
    return LowRankExperts(network, NoiseRanges(len(own), timesteps), own, SETTINGS)


def pictures(count=5, seed=0):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.covers("12.5")
@pytest.mark.parametrize(
    ("name", "layers", "factors", "free", "share"),
    [("resnet50", 33, 1_410_352, 53_120, 0.0573), ("deit_small_patch16_224", 24, 442_368, 51_456, 0.0224)],
)
def test_the_published_networks_have_the_published_counts(name, layers, factors, free, share):
    with torch.device("meta"):
        network = timm.create_model(name)
    shapes = expected_shapes(network, 16)
    lora = sum(a * b for layer, (a, b) in ((key, s) for key, s in shapes.items() if "lora" in key))
    own = sum(network.get_parameter(key).numel() for key in free_parameters(network))
    assert (len(adapted_layers(network)), lora, own) == (layers, factors, free)
    assert (lora + own) / sum(p.numel() for p in network.parameters()) == pytest.approx(share, abs=1e-4)


@pytest.mark.covers("12.5")
def test_layers_are_chosen_by_what_they_are():
    with torch.device("meta"):
        resnet = timm.create_model("resnet50")
        vit = timm.create_model("vit_tiny_patch16_224")
        mobile = timm.create_model("mobilenetv3_small_100")
    chosen = list(adapted_layers(resnet))
    assert chosen[:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert not any("conv3" in name or "downsample" in name for name in chosen)
    assert {name.split(".", 2)[2] for name in adapted_layers(vit)} == {"attn.qkv", "attn.proj"}
    assert all(layer.groups == 1 for layer in adapted_layers(mobile).values())
    assert list(adapted_layers(tiny_network())) == ["0", "3.one", "3.two"]
    decoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Upsample(2), nn.Conv2d(4, 1, 3))
    assert list(adapted_layers(decoder)) == ["0", "2"], "of a dense predictor all but the last layer"
    assert last_layer(decoder) == "4"
    assert {name for name in free_parameters(resnet) if name.startswith(("fc", "layer1.0.downsample"))} == {
        "layer1.0.downsample.1.weight",
        "layer1.0.downsample.1.bias",
    }


class Staged(nn.Module):
    """A stem, stages in containers beside it, and one of a single 1 × 1 convolution between two others."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.stage = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.mixed = nn.Sequential(nn.Sequential(nn.Conv2d(4, 8, 1), nn.ReLU()), nn.Conv2d(8, 4, 3))
        self.head = nn.Linear(4, 2)


@pytest.mark.covers("12.5")
def test_what_follows_a_stem_in_containers_is_no_shortcut():
    assert list(adapted_layers(Staged())) == ["stem", "stage.2", "stage.4", "mixed.0.0", "mixed.1"]
    for name, expansions in (("mobilenet_v2", 16), ("densenet121", 0)):
        with torch.device("meta"):
            network = getattr(torchvision.models, name)(weights=None)
        ungrouped = [key for key, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
        assert list(adapted_layers(network)) == ungrouped
        assert sum(key.endswith("conv.0.0") for key in ungrouped) == expansions


@pytest.mark.covers("12.4")
def test_an_untrained_expert_is_its_teacher():
    network = tiny_network()
    student = student_of(network, SETTINGS, Randomness(0), name="fresh")
    assert torch.equal(student.eval()(pictures()), network(pictures()))
    assert any(float(part.abs().max()) > 0 for name, part in own_tensors(student).items() if name.endswith("lora_A"))
    experts = experts_of_students(network, [student])
    torch.testing.assert_close(experts(pictures(), torch.zeros(5)), network(pictures()), atol=1e-6, rtol=0)


@pytest.mark.covers("12.3")
@pytest.mark.parametrize("layer", [nn.Linear(5, 7), nn.Conv2d(5, 7, 3, padding=1), nn.Conv2d(5, 7, 1)])
def test_a_change_is_what_the_formula_says(layer):
    """In training, in evaluation and merged, against the formula written down a second time."""
    network = nn.Sequential(layer, nn.Flatten(), nn.Linear(7 if isinstance(layer, nn.Linear) else 7 * 16, 2))
    if isinstance(layer, nn.Linear):
        network = nn.Sequential(Attention(layer), nn.Linear(7, 2))
    inputs = torch.randn(4, 5) if isinstance(layer, nn.Linear) else torch.randn(4, 5, 4, 4)
    student = changed_student(network)
    own = own_tensors(student)
    name = next(iter(adapted_layers(network)))
    down, up = own[f"{name}.lora_A"], own[f"{name}.lora_B"]
    assert (tuple(down.shape), tuple(up.shape)) == factor_shapes(layer.weight, 2)
    if isinstance(layer, nn.Linear):
        hidden = F.linear(inputs, layer.weight, own[f"{name}.bias"]) + 3.0 * (inputs @ down.T) @ up.T
    else:
        change = 3.0 * (up @ down).reshape(layer.weight.shape)
        hidden = F.conv2d(inputs, layer.weight, own[f"{name}.bias"], padding=layer.padding)
        hidden = hidden + F.conv2d(inputs, change, None, padding=layer.padding)
    expected = network[-1](hidden.flatten(1))
    for mode in (student.train(), student.eval()):
        torch.testing.assert_close(mode(inputs), expected, atol=1e-5, rtol=1e-5)
    merged = experts_of_students(network, [student])
    torch.testing.assert_close(merged(inputs, torch.zeros(4)), expected, atol=1e-5, rtol=1e-5)
    assert float((network(inputs) - expected).detach().abs().max()) > 1e-2


class Attention(nn.Module):
    """Attention in name alone: a Linear layer in it is one that experts change."""

    def __init__(self, layer):
        super().__init__()
        self.qkv = layer

    def forward(self, inputs):
        return self.qkv(inputs)


@pytest.mark.covers("12.3", "12.9")
def test_evaluated_and_merged_experts_agree():
    network = tiny_network()
    students = [changed_student(network, seed) for seed in (1, 2)]
    experts = experts_of_students(network, students)
    for number, student in enumerate(students):
        torch.testing.assert_close(experts.answer(number, pictures()), student.eval()(pictures()), atol=1e-5, rtol=1e-5)


@pytest.mark.covers("12.5")
def test_only_what_is_an_experts_own_is_trained():
    network = tiny_network()
    student = student_of(network, SETTINGS, Randomness(0), name="demo")
    student(pictures()).square().sum().backward()
    trained = {name for name, parameter in student.named_parameters() if parameter.grad is not None}
    named = {name.replace(".parametrizations.weight.0", "") for name in trained}
    factors = {f"{layer}.{part}" for layer in ("0", "3.one", "3.two") for part in ("lora_A", "lora_B")}
    affine = {f"{norm}.{part}" for norm in ("1", "3.norm", "3.shortcut.1") for part in ("weight", "bias")}
    assert named == factors | affine | {"3.two.bias", "3.shortcut.0.bias"}
    assert not any(parameter.requires_grad for parameter in student[5].parameters()), "the last layer is frozen"
    assert trained == {name for name, parameter in student.named_parameters() if parameter.requires_grad}


@pytest.mark.covers("12.9")
def test_each_expert_has_its_own_running_statistics():
    network = tiny_network()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    students = [student_of(network, SETTINGS, Randomness(0), name=str(number)) for number in range(2)]
    for number, student in enumerate(students):
        student.train()(pictures() + number)
    experts = experts_of_students(network, students)
    one, other = (own["1.running_mean"] for own in experts.tensors)
    assert not torch.equal(one, other)
    experts(pictures(2), torch.tensor([0.0, 99.0]))
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())
    assert not torch.equal(*(experts.answer(number, pictures()) for number in range(2)))


@pytest.mark.covers("12.1", "12.2")
def test_each_image_is_read_by_the_expert_of_its_timestep():
    network = tiny_network()
    experts = experts_of_students(network, [changed_student(network, seed) for seed in (1, 2, 3)], timesteps=30)
    timesteps = torch.tensor([25, 3, 9, 10, 19])
    found = experts(pictures(), timesteps)
    for row, (expert, timestep) in enumerate(zip([2, 0, 0, 1, 1], timesteps, strict=True)):
        alone = experts(pictures()[row : row + 1], timestep[None])
        torch.testing.assert_close(found[row : row + 1], alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone, experts.answer(expert, pictures()[row : row + 1]), atol=1e-5, rtol=1e-5)
    across = experts(pictures(1).expand(2, -1, -1, -1), torch.tensor([9, 10]))
    assert float((across[0] - across[1]).abs().max()) > 1e-3


def test_gradients_of_the_images_go_through_the_right_expert():
    network = tiny_network()
    experts = experts_of_students(network, [changed_student(network, seed) for seed in (1, 2)], timesteps=10)
    images = pictures(2).requires_grad_(True)
    (gradient,) = torch.autograd.grad(experts(images, torch.tensor([7, 2])).sum(), images)
    for row, expert in ((0, 1), (1, 0)):
        alone = pictures(2)[row : row + 1].requires_grad_(True)
        (expected,) = torch.autograd.grad(experts.answer(expert, alone).sum(), alone)
        torch.testing.assert_close(gradient[row : row + 1], expected, atol=1e-5, rtol=1e-5)


def test_experts_that_were_queried_without_gradients_can_guide_afterwards():
    network = tiny_network()
    experts = experts_of_students(network, [changed_student(network)])
    with torch.inference_mode():
        found = experts(pictures(2), torch.zeros(2))
    images = pictures(2).requires_grad_(True)
    answers = experts(images, torch.zeros(2))
    (gradient,) = torch.autograd.grad(answers.sum(), images)
    assert float(gradient.abs().max()) > 0
    torch.testing.assert_close(answers.detach(), found.clone())


def test_one_network_is_held_whatever_the_number_of_experts():
    network = tiny_network(channels=64)
    experts = experts_of_students(network, [changed_student(network, seed) for seed in range(4)])
    whole, small = experts.bytes
    assert small < 4 * whole * 0.9
    assert experts.network is network
    experts(pictures(4), torch.tensor([10, 30, 60, 90]))
    assert len(experts._held) == 1
    assert experts.share == pytest.approx(experts.parameters / sum(p.numel() for p in network.parameters()))


def test_an_expert_begins_where_another_ended():
    network = tiny_network()
    first = changed_student(network)
    second = student_of(network, SETTINGS, Randomness(9), name="second")
    start_from(second, own_tensors(first))
    torch.testing.assert_close(second.eval()(pictures()), first.eval()(pictures()))
    assert all(
        parameter.requires_grad == other.requires_grad
        for parameter, other in zip(first.parameters(), second.parameters(), strict=True)
    )


@pytest.mark.covers("12.11")
def test_what_does_not_fit_is_refused():
    network = tiny_network()
    own = own_tensors(changed_student(network))
    with pytest.raises(InputError, match="2 ranges of noise and tensors of 1 experts"):
        LowRankExperts(network, NoiseRanges(2, 10), (own,), SETTINGS)
    less = {name: tensor for name, tensor in own.items() if name != "1.running_mean"}
    with pytest.raises(InputError, match=r"expert 0 does not fit the Sequential at rank 2: 1 tensors, 1.running_mean"):
        LowRankExperts(network, NoiseRanges(1, 10), (less,), SETTINGS)
    with pytest.raises(InputError, match=r"at rank 3: .* expected \(9, 9\), got \(6, 9\)"):
        LowRankExperts(network, NoiseRanges(1, 10), (own,), LowRank(rank=3))
    experts = LowRankExperts(network, NoiseRanges(1, 10), (own,), SETTINGS)
    with pytest.raises(InputError, match="give one for each"):
        experts(pictures(), torch.zeros(2))
    with pytest.raises(InputError, match="square kernels; got 1x3"):
        student_of(
            nn.Sequential(nn.Conv2d(3, 4, (1, 3)), nn.Flatten(), nn.Linear(4, 2)), SETTINGS, Randomness(0), name="x"
        )
    with pytest.raises(InputError, match="neither ungrouped convolutions nor Linear"):
        adapted_layers(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    with pytest.raises(InputError, match="no Linear or Conv2d layer"):
        last_layer(nn.ReLU())
