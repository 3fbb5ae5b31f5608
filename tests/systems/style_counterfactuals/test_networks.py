"""Encoders and code: what is frozen stays as it is, and everything that is in the code acts."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.systems.style_counterfactuals.calibration import Standardised
from snellen.systems.style_counterfactuals.maps import map_layers, pyramid_layers, read_maps
from snellen.systems.style_counterfactuals.networks import Sizes, StyleExplainer, StyleRenderer, fixed_noise
from snellen.systems.style_counterfactuals.plan import PUBLISHED, StylePlan
from snellen.systems.style_counterfactuals.pyramid import PyramidEncoder, load_backbone, trainable
from snellen.systems.style_counterfactuals.seen import Seen
from snellen.systems.style_counterfactuals.training import train_explainer
from tests.systems.style_counterfactuals.small import PLAN, SIZES, classifier, images, trained


@pytest.fixture(scope="module")
def training():
    return trained(PLAN.model_copy(update={"steps": 6}))


@pytest.fixture
def explainer():
    torch.manual_seed(0)
    return StyleExplainer(SIZES, 2)


# -- the classifier ----------------------------------------------------------------------------------------------------


@pytest.mark.covers("32.1")
def test_gradients_pass_through_the_frozen_classifier_to_generator_and_encoder(explainer):
    judge = classifier()
    seen = Seen(judge, (32, 32))
    real = to_unit(images(4))
    remade = explainer.generator.synthesis(explainer.codes(real, seen.scores(real)))
    seen.scores(remade)[:, 1].sum().backward()
    assert any(float(one.grad.abs().sum()) > 0 for one in explainer.encoder.heads.parameters())
    assert any(
        one.grad is not None and float(one.grad.abs().sum()) > 0 for one in explainer.generator.blocks.parameters()
    )
    assert all(one.grad is None for one in judge.module.parameters())


@pytest.mark.covers("32.1")
def test_the_classifier_is_the_same_after_a_training():
    judge = classifier()
    before, mode = copy.deepcopy(judge.module.state_dict()), judge.module.training
    train_explainer(judge, images(), PLAN, Randomness(0))
    after = judge.module.state_dict()
    # Running statistics of batch normalisation are among them: they would move in training mode.
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (mode, judge.module.training) == (False, False)
    assert not any(module._forward_hooks for module in judge.module.modules())
    assert all(one.grad is None for one in judge.module.parameters())


# -- the code ----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("32.2")
def test_the_logits_are_the_last_numbers_of_the_code_as_they_are(explainer):
    scores = torch.tensor([[3.0, -2.0], [0.5, 9.0]])
    assert torch.equal(explainer.codes(to_unit(images(2)), scores)[:, -2:], scores)


@pytest.mark.covers("32.2")
def test_more_of_the_logit_in_the_code_is_more_of_it_in_the_image():
    """A short training is enough for the direction: the code's logits alone are changed."""
    sizes = SIZES.model_copy(update={"side": 16, "encoder": "single"})
    plan = PLAN.model_copy(
        update={"sizes": sizes, "steps": 80, "batch_size": 12, "learning_rate": 1e-2, "kl_scale": 3.0, "mixing": 0.0}
    )
    pixels = images(24)[:, :, ::2, ::2].contiguous()
    found = train_explainer(classifier(), pixels, plan, Randomness(0), size=(32, 32))
    real = to_unit(images(24, seed=1))[:, :, ::2, ::2]
    with torch.no_grad():
        codes = found.explainer.codes(real, found.seen.scores(real))
        low, high = codes.clone(), codes.clone()
        low[:, -2:] += torch.tensor([4.0, -4.0])
        high[:, -2:] += torch.tensor([-4.0, 4.0])
        renderer = StyleRenderer(found.explainer.average, fixed_noise(16))
        less, more = (found.seen.scores(renderer.images(renderer.styles(one))) for one in (low, high))
    rise = ((more[:, 1] - more[:, 0]) - (less[:, 1] - less[:, 0])).mean()
    assert float(rise) > 0.5


@pytest.mark.covers("32.4")
@pytest.mark.parametrize("level", range(4))
def test_every_scale_changes_the_image(explainer, level):
    with torch.no_grad():
        parts = explainer.encoder.parts(to_unit(images(2)))
        whole, missing = torch.cat(parts, 1), [one.clone() for one in parts]
        missing[level].zero_()
        scores = torch.zeros(2, 2)
        first = explainer.generator.synthesis(torch.cat([whole, scores], 1))
        second = explainer.generator.synthesis(torch.cat([*missing, scores], 1))
    assert float(parts[level].abs().sum()) > 0
    assert float((first - second).abs().max()) > 1e-6


@pytest.mark.covers("32.4")
@pytest.mark.parametrize("level", range(4))
def test_every_map_of_the_backbone_reaches_the_code(explainer, level):
    """Two images that differ in one map alone have codes that differ in its part alone."""
    encoder, real = explainer.encoder, to_unit(images(2))
    with torch.no_grad():
        maps = encoder.backbone(real)
        changed = [one + (at == level) for at, one in enumerate(maps)]
        encoder.backbone.forward = lambda _: maps
        before = encoder(real)
        encoder.backbone.forward = lambda _: changed
        after = encoder(real)
    differs = ((before - after).abs() > 1e-7).any(0).view(4, 2).any(1)
    assert differs.tolist() == [at == level for at in range(4)]


@pytest.mark.covers("32.4")
def test_the_four_parts_are_of_four_sizes_of_map(explainer):
    assert explainer.encoder.backbone.sides == (16, 8, 4, 2)
    assert [len(part[0]) for part in explainer.encoder.parts(to_unit(images(1)))] == [2, 2, 2, 2]


def test_the_published_sizes_are_514_numbers_and_2464_coordinates():
    shape = PUBLISHED.sizes.shape(2)
    assert (shape.latent, shape.coordinates, shape.side) == (514, 2464, 64)
    plan = StylePlan()
    assert (plan.steps, plan.batch_size, plan.accumulate, plan.learning_rate) == (100_000, 64, 8, 2e-4)
    assert (plan.betas, plan.critic_factor, plan.penalty_every, plan.penalty) == ((0.5, 0.9), 1.5, 4, 10.0)
    assert (plan.path_every, plan.path_start) == (32, 5000)
    assert (plan.average_decay, plan.average_every, plan.average_start) == (0.995, 10, 20_000)


# -- random projections ------------------------------------------------------------------------------------------------


@pytest.mark.covers("32.3")
def test_the_mixing_is_not_trained_and_saved(training):
    fewer = train_explainer(classifier(), images(), PLAN.model_copy(update={"steps": 1}), Randomness(0))
    first, last = fewer.explainer.encoder, training.explainer.encoder
    for one, other in zip(first.mixing, last.mixing, strict=True):
        assert torch.equal(one.weight, other.weight)
    for one, other in zip(first.backbone.network.parameters(), last.backbone.network.parameters(), strict=True):
        assert torch.equal(one, other)
    moved = zip(first.heads.parameters(), last.heads.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in moved)
    fixed = {id(one) for one in (*last.mixing.parameters(), *last.backbone.parameters())}
    optimised = {id(one) for group in training.maker.param_groups for one in group["params"]}
    assert not fixed & optimised
    assert optimised == {id(one) for one in trainable([training.explainer.generator, last])}


@pytest.mark.covers("32.3")
def test_the_mixing_is_in_the_checkpoint(training, tmp_path):
    training.write(tmp_path / "training.safetensors")
    found = load_file(tmp_path / "training.safetensors")
    for number, one in enumerate(training.explainer.encoder.mixing):
        assert torch.equal(found[f"model/encoder.mixing.{number}.weight"], one.weight)


def test_gradients_pass_through_the_mixing_to_the_images(explainer):
    real = to_unit(images(2)).requires_grad_(True)
    explainer.encoder(real).sum().backward()
    assert float(real.grad.abs().sum()) > 0


def test_a_backbone_stays_in_evaluation_mode(explainer):
    explainer.train()
    assert explainer.encoder.heads.training
    assert not any(module.training for module in explainer.encoder.backbone.modules())


# -- backbones by reference --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_resnet(tmp_path_factory):
    """A file of weights for the smallest ResNet of timm, as a reference."""
    timm = pytest.importorskip("timm")
    file = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), file)
    return f"timm:test_resnet@{file}"


def test_the_maps_of_a_resnet_are_those_of_its_four_stages(small_resnet):
    backbone = load_backbone(small_resnet, 32)
    assert backbone.layers == ["layer1", "layer2", "layer3", "layer4"]
    assert [round(side / backbone.sides[3]) for side in backbone.sides] == [8, 4, 2, 1]
    assert not any(one.requires_grad for one in backbone.parameters())
    real = to_unit(images(2)).requires_grad_(True)
    backbone(real)[3].sum().backward()
    assert float(real.grad.abs().sum()) > 0


def test_a_backbone_by_reference_is_not_saved_but_its_mixing_is(small_resnet):
    explainer = StyleExplainer(SIZES.model_copy(update={"backbone": small_resnet}), 2)
    names = list(explainer.saved())
    assert "encoder.mixing.0.weight" in names
    assert not any(name.startswith("encoder.backbone") for name in names)
    explainer.restore(explainer.saved())


def test_a_backbone_of_fewer_sizes_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1), nn.ReLU())
    with pytest.raises(InputError, match="maps of 1 sizes, and a feature pyramid takes 4"):
        pyramid_layers(net, lambda: net(torch.rand(1, 3, 16, 16)), "mine")


def test_a_code_that_cannot_be_split_is_refused():
    with pytest.raises(InputError, match="cannot be split over 4"):
        PyramidEncoder(load_backbone("random", 32, width=2), width=10, mixed=2)


@pytest.mark.parametrize("side", [0, 4, 31, 48, 100])
def test_a_side_that_is_no_power_of_two_is_refused(side):
    with pytest.raises(ValueError, match="power of two"):
        Sizes(side=side)


def test_layers_of_maps_are_the_last_of_each_size_and_hooks_are_removed():
    net = nn.Sequential(
        nn.Conv2d(3, 2, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3, 2, 1), nn.AdaptiveAvgPool2d(1)
    )
    assert map_layers(net, lambda: net(torch.rand(1, 3, 8, 8))) == ["1", "2"]

    def fail():
        raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        read_maps(net, ["0"], fail)
    assert not any(module._forward_hooks for module in net.modules())


def test_a_map_is_kept_as_it_was_before_a_later_layer_changed_it():
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True))
    nn.init.constant_(net[0].weight, -1.0)
    _, (found,) = read_maps(net, ["0"], lambda: net(torch.ones(1, 3, 2, 2)))
    assert bool((found < 0).all())


@pytest.mark.parametrize("kind", ["pyramid", "single"])
def test_calibrated_codes_begin_with_mean_0_and_deviation_1_over_the_training_images(kind):
    sizes, given, starts = SIZES.model_copy(update={"encoder": kind}), images(24), []

    def start(plan):
        """Codes of the first step, which is taken with a rate too small to change anything."""
        made = trained(plan.model_copy(update={"sizes": sizes, "steps": 1, "learning_rate": 1e-12})).explainer
        starts.append(made)
        with torch.no_grad():
            return made.encoder(to_unit(given))

    plain, calibrated = start(PLAN), start(PLAN.model_copy(update={"calibrated": True}))
    assert float(plain.std(0).max()) < 0.3, "what images share outweighs what they differ in"
    assert torch.allclose(calibrated.mean(0), torch.zeros(SIZES.width), atol=1e-3)
    assert torch.allclose(calibrated.std(0), torch.ones(SIZES.width), atol=1e-2)
    again = StyleExplainer(sizes, 2)
    again.restore(starts[1].saved())
    with torch.no_grad():
        assert torch.equal(again.encoder(to_unit(given)), calibrated), "the figures are saved with the weights"


def test_standardised_maps_lack_what_images_share_at_each_place():
    maps = torch.rand(6, 2, 4, 3) + torch.arange(12.0).view(4, 3)
    maps[:, 1] = 5.0
    layer = Standardised(2, (4, 3))
    assert torch.equal(layer(maps), maps)
    made = layer.fit(maps)
    assert torch.allclose(made.mean(0), torch.zeros(2, 4, 3), atol=1e-5)
    assert float(made[:, 0].square().mean().sqrt()) == pytest.approx(1)
    assert float(made[:, 1].abs().max()) == 0, "a map that never changes stays finite"
