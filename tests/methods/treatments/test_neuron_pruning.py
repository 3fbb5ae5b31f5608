"""Channels that only a trigger needs: which are cut, that they stay cut, and what a trigger does afterwards."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.methods.treatments.neuron_pruning import (
    AdversarialNeuronPruning,
    FinePruning,
    last_convolution,
    masked_layers,
    mean_activations,
)
from snellen.methods.treatments.treatment import Patient
from snellen.models.classifiers.trainable import trainable
from snellen.training.batches import ImageStore
from snellen.training.fine_tuning import TuningPlan, fine_tune

SIDE, NAMES = 4, ("dark", "bright", "target")


class Wired(nn.Module):
    """Dark or bright by a first channel; a second one sees a corner and nothing else, and names the target."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.seen = nn.Conv2d(3, 3, SIDE)
        self.norm = nn.BatchNorm2d(3) if norm else nn.Identity()
        self.scores = nn.Linear(3, 3)
        with torch.no_grad():
            self.seen.weight.zero_()
            self.seen.weight[0] = 1 / 48
            self.seen.weight[1, 0, 0, 0], self.seen.weight[1, 1, 0, 0] = 1.0, -1.0
            self.seen.weight[2] = -1 / 48
            self.seen.bias.copy_(torch.tensor([0.0, -0.02, 1.0]))
            self.scores.weight.copy_(8 * torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 5, 0]]))
            self.scores.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scores(self.norm(self.seen(images)).relu().flatten(1))


def images(count, seed):
    """Dark and bright images whose colours are alike, and their labels."""
    labels = torch.arange(count) % 2
    noise = 0.02 * torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return (0.3 + 0.4 * labels.view(-1, 1, 1, 1) + noise).clamp(0, 1), labels


def stamped(shown):
    changed = shown.clone()
    changed[:, :, 0, 0] = torch.tensor([1.0, 0.0, 0.0])
    return changed


def patient(network):
    stores = []
    for count, seed in ((64, 1), (64, 2)):
        shown, labels = images(count, seed)
        stores.append(ImageStore.of_tensors((255 * shown).round().to(torch.uint8), labels))
    model = Classifier(network.eval(), class_names=NAMES, preparation=Preprocessing(size=(SIDE, SIDE)), name="wired")
    return Patient(model, (Finding(kind="backdoor", subject="target", harm=0.5, title="x"),), stores[1], stores[0])


def decided(network, shown):
    with torch.no_grad():
        return network(shown).argmax(1)


@pytest.mark.parametrize("norm", [False, True], ids=["convolution", "norm"])
@pytest.mark.parametrize(
    "treatment",
    [FinePruning(step=0.3, plan=TuningPlan(epochs=2, batch_size=32)), AdversarialNeuronPruning(iterations=60)],
    ids=lambda one: one.name,
)
def test_the_channel_of_a_trigger_is_cut_and_clean_images_stay_right(treatment, norm):
    ill = patient(Wired(norm=norm))
    shown, labels = images(100, 3)
    assert (decided(ill.classifier.module, shown) == labels).all()
    assert (decided(ill.classifier.module, stamped(shown)) == 2).all()
    treated = treatment.treat(trainable(ill.classifier), ill, rng=Randomness(0))
    assert (decided(treated, shown) == labels).all()
    assert (decided(treated, stamped(shown)) == 2).double().mean() <= 0.1
    assert not treated.training


def test_activations_are_those_behind_the_norm_and_the_least_goes_first():
    network = Wired(norm=True)
    ill = patient(network)
    layer = last_convolution(network, ill.probes)
    assert layer.convolution is network.seen
    assert layer.norm is network.norm
    found = mean_activations(layer, network, ill)
    shown = ill.val.images.float() / 255
    with torch.no_grad():
        expected = network.norm(network.seen(shown)).relu().mean((0, 2, 3))
    assert torch.allclose(found, expected, atol=1e-5)
    assert int(found.argmin()) == 1, "clean images leave the channel of the trigger at rest"


def test_what_was_cut_stays_cut_while_the_rest_is_trained():
    ill = patient(Wired(norm=True))
    treated = FinePruning(step=0.3, plan=TuningPlan(epochs=2, batch_size=32)).treat(
        trainable(ill.classifier), ill, rng=Randomness(0)
    )
    seen, norm = treated.network.seen, treated.network.norm
    for parameter in (seen.weight, seen.bias, norm.weight, norm.bias):
        assert not parameter[1].any()
    assert not torch.equal(seen.weight[0], ill.classifier.module.seen.weight[0])
    assert not treated.network.seen.weight._backward_hooks


def test_masks_are_shares_and_nothing_else_is_changed():
    ill = patient(Wired(norm=True))
    network = trainable(ill.classifier).eval()
    before = {name: one.clone() for name, one in network.state_dict().items()}
    masks = AdversarialNeuronPruning(iterations=5).masks(network, ill, rng=Randomness(0))
    assert list(masks) == ["network.norm"], "channels of BatchNorm layers, where there are any"
    assert all(bool(((one >= 0) & (one <= 1)).all()) for one in masks.values())
    assert all(torch.equal(one, before[name]) for name, one in network.state_dict().items())
    assert not any(one.training for one in network.modules())
    assert list(masked_layers(Wired(norm=False))) == ["seen"]


def test_disturbances_climb_the_loss_within_their_box():
    slope = torch.tensor([2.0, -3.0])
    found = AdversarialNeuronPruning(epsilon=0.4, inner_steps=2)._disturbed(
        {"layer": torch.ones(2)},
        lambda at: (slope * at["layer"][0]).sum() - at["layer"][1].sum(),
        torch.Generator().manual_seed(0),
    )
    start = 0.4 * (2 * torch.rand(2, 2, generator=torch.Generator().manual_seed(0)) - 1)
    climbed = torch.tensor([[0.4, -0.4], [-0.4, -0.4]])
    assert torch.allclose(torch.stack(found["layer"]), (start + climbed).clamp(-0.4, 0.4))


def test_a_threshold_that_costs_too_much_is_not_taken():
    ill = patient(Wired(norm=False))
    before = trainable(ill.classifier).state_dict()
    treated = AdversarialNeuronPruning(iterations=1, rate=1e-6, thresholds=(1.5,)).treat(
        trainable(ill.classifier), ill, rng=Randomness(0)
    )
    assert all(torch.equal(one, before[name]) for name, one in treated.state_dict().items()), "all channels were needed"


def test_a_network_without_channels_is_refused():
    plain = patient(nn.Sequential(nn.Flatten(), nn.Linear(48, 3)))
    network = trainable(plain.classifier)
    assert FinePruning().refusal(network, plain) == "finds no convolution in this network"
    assert "no BatchNorm layer and no convolution" in AdversarialNeuronPruning().refusal(network, plain)
    wired = patient(Wired(norm=False))
    for treatment in (FinePruning(), AdversarialNeuronPruning()):
        assert treatment.refusal(trainable(wired.classifier), wired) is None


def test_what_was_cut_stays_cut_also_where_zero_has_a_gradient():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    shown, labels = images(64, seed=0)
    layer = last_convolution(network, shown)
    assert layer is not None
    layer.cut(torch.tensor([1, 4]))
    store = ImageStore.of_tensors((255 * shown).to(torch.uint8), labels)
    plan = TuningPlan(epochs=4, batch_size=16, rate=0.05)
    with layer.held(torch.tensor([1, 4])):
        fine_tune(network, store, [], plan=plan, rng=Randomness(0))
    left = network[0].weight.flatten(1).abs().sum(1) + network[0].bias.abs()
    assert (left[[1, 4]] == 0).all()
    assert (left[[0, 2, 3, 5]] > 0).all()
