"""Channels that only a hidden trigger needs are cut: those that clean images leave at rest, or that tip over first.

Liu, Dolan-Gavitt and Garg, "Fine-pruning: defending against backdooring attacks on deep neural networks", RAID 2018,
arXiv 1805.12185, section 4; Wu and Wang, "Adversarial neuron pruning purifies backdoored deep models", NeurIPS 2021,
arXiv 2110.14430, equations 4 to 6. Both were rebuilt from the papers. Neither knows the trigger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.methods.treatments.treatment import TRAINING, Patient, Stage, Treating, Treatment
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.evaluation import accuracy, score_examples
from snellen.training.fine_tuning import TuningPlan, fine_tune


class FinePruning(Treatment):
    """Cut the channels of the last convolution that clean images activate least, and train the rest on.

    Channels go in the order of their mean activation on clean validation images, for as long as the accuracy on these
    falls by at most ``loss``. A channel that was cut stays cut in the training. The activation is that after the
    BatchNorm layer behind the convolution, where there is one, and of its positive part.

    >>> FinePruning().loss
    0.04
    """

    name: ClassVar[str] = "fine_pruning"
    treats: ClassVar[tuple[str, ...]] = ("backdoor",)
    stage: ClassVar[Stage] = Stage.SURGERY
    #: As if it cost more than to unlearn a trigger that was recovered, which is tried first.
    passes: ClassVar[float] = 13.0
    packages: ClassVar[Mapping[str, str]] = TRAINING

    loss: float = Field(
        0.04, ge=0, lt=1, description="accuracy on validation images that may be lost before the training makes it good"
    )
    step: float = Field(
        0.02, gt=0, le=1, description="share of the channels that is cut between two looks, one at least"
    )
    plan: TuningPlan = Field(TuningPlan(), description="numbers of the training")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """A network without a convolution of torch."""
        return None if last_convolution(network, patient.probes) else "finds no convolution in this network"

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Cut, and train."""
        layer = last_convolution(network.eval(), patient.probes)
        assert layer is not None, "the plan refuses a network without convolutions"
        least = accuracy(network, patient.val)["accuracy"] - self.loss
        order = mean_activations(layer, network, patient).argsort(stable=True)
        width = max(round(self.step * len(order)), 1)
        cut = 0
        for count in range(width, len(order), width):
            with _kept(layer):
                layer.cut(order[:count])
                if accuracy(network, patient.val)["accuracy"] < least:
                    break
            cut = count
        layer.cut(order[:cut])
        with layer.held(order[:cut]):
            return fine_tune(
                network,
                patient.training,
                [],
                plan=self.plan,
                rng=call.rng,
                checkpoint=call.checkpoint,
                recipe=self.record(),
                progress=call.progress,
            )


class AdversarialNeuronPruning(Treatment):
    """Cut the channels that tip over first when weights and biases are disturbed (ANP).

    A mask m of every channel, in [0, 1], is learnt on clean images: equation 6, min over m of
    α L(m ⊙ w, b) + (1 − α) max over −ε ≤ δ, ξ ≤ ε of L((m + δ) ⊙ w, (1 + ξ) ⊙ b). Equations 4 and 5 are the inner
    maximum: steps along the sign of the gradient, from a random start, cut to the box. Channels whose mask ends below a
    threshold are cut; their bias stays. Channels are those of BatchNorm layers where there are any, as published, else
    those of convolutions. The threshold is the largest of ``thresholds`` that keeps the accuracy on validation images.

    >>> AdversarialNeuronPruning().iterations
    2000
    """

    name: ClassVar[str] = "adversarial_neuron_pruning"
    treats: ClassVar[tuple[str, ...]] = ("backdoor",)
    stage: ClassVar[Stage] = Stage.SURGERY
    passes: ClassVar[float] = 150.0

    epsilon: float = Field(0.4, gt=0, description="largest disturbance of weights and biases, as a share of them (ε)")
    alpha: float = Field(0.2, ge=0, le=1, description="weight of the undisturbed loss beside the disturbed one (α)")
    inner_steps: int = Field(1, ge=1, description="steps of the inner maximum, each of epsilon / inner_steps")
    iterations: int = Field(2000, ge=1, description="steps of the masks")
    batch_size: int = Field(128, ge=2, description="images of one step")
    rate: float = Field(0.2, gt=0, description="learning rate of the masks (SGD)")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    thresholds: tuple[float, ...] = Field(
        tuple(round(0.05 * number, 2) for number in range(1, 19)),
        min_length=1,
        description="masks below which channels are cut, that are tried",
    )

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """A network without channels that can be masked."""
        return None if masked_layers(network) else "finds no BatchNorm layer and no convolution in this network"

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Learn the masks, and cut."""
        least = accuracy(network.eval(), patient.val)["accuracy"] - patient.max_loss
        masks = self.masks(network, patient, rng=call.rng, progress=call.progress)
        layers, before = masked_layers(network), {name: one.clone() for name, one in network.state_dict().items()}
        for threshold in sorted(self.thresholds, reverse=True):
            with torch.no_grad():
                for name, layer in layers.items():
                    layer.weight[masks[name] < threshold] = 0
            if accuracy(network, patient.val)["accuracy"] >= least:
                return network
            network.load_state_dict(before)
        return network

    def masks(
        self, network: PreparedNetwork, patient: Patient, *, rng: Randomness, progress: Progress | None = None
    ) -> dict[str, Tensor]:
        """Mask of every channel, float32 (c,) in [0, 1], by name of its layer; the network stays as it is."""
        layers, store, device = masked_layers(network), patient.training, patient.classifier.device
        weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
        masks = {name: torch.ones(len(one.weight), device=device, requires_grad=True) for name, one in layers.items()}
        optimizer = torch.optim.SGD(masks.values(), lr=self.rate, momentum=self.momentum)
        generator, listener = rng.generator("neuron masks"), progress or Silent()

        def loss(images: Tensor, targets: Tensor, disturbed: Mapping[str, tuple[Tensor, Tensor]] | None) -> Tensor:
            changed = dict(weights)
            for name, mask in masks.items():
                factor = mask if disturbed is None else mask + disturbed[name][0]
                changed[f"{name}.weight"] = _along_channels(factor, weights[f"{name}.weight"])
                if disturbed is not None and f"{name}.bias" in weights:
                    changed[f"{name}.bias"] = (1 + disturbed[name][1]) * weights[f"{name}.bias"]
            # Batches are normalised by their own statistics, as published; those of the network stay as they are.
            buffers = {name: one.clone() for name, one in network.named_buffers()}
            scores = torch.func.functional_call(network, changed | buffers, (images,))
            return functional.cross_entropy(scores.float(), targets)

        listener.begin("learn neuron masks", self.iterations)
        with _normalising_by_batches(network):
            for _ in range(self.iterations):
                rows = torch.randperm(len(store), generator=generator)[: self.batch_size]
                images, targets = store.read(rows)
                images, targets = to_unit(images).to(device), targets.to(device)
                disturbed = self._disturbed(masks, partial(loss, images, targets), generator)
                optimizer.zero_grad()
                both = self.alpha * loss(images, targets, None) + (1 - self.alpha) * loss(images, targets, disturbed)
                both.backward()
                optimizer.step()
                with torch.no_grad():
                    for mask in masks.values():
                        mask.clamp_(0, 1)
                listener.advance("learn neuron masks", 1)
        listener.finish("learn neuron masks")
        return {name: mask.detach() for name, mask in masks.items()}

    def _disturbed(
        self,
        masks: Mapping[str, Tensor],
        loss: Callable[[Mapping[str, tuple[Tensor, Tensor]]], Tensor],
        generator: torch.Generator,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Equations 4 and 5: δ and ξ of every channel, each (c,) in [−ε, ε]."""
        found = dict[str, tuple[Tensor, Tensor]]()
        for name, mask in masks.items():
            start = self.epsilon * (2 * torch.rand(2, len(mask), generator=generator) - 1)
            found[name] = (start[0].to(mask), start[1].to(mask))
        step = self.epsilon / self.inner_steps
        for _ in range(self.inner_steps):
            free = {name: (a.requires_grad_(True), b.requires_grad_(True)) for name, (a, b) in found.items()}
            flat = [one for pair in free.values() for one in pair]
            # Layers without a bias have no use for its disturbance.
            slopes = torch.autograd.grad(loss(free), flat, allow_unused=True, materialize_grads=True)
            moved = [
                (one.detach() + step * slope.sign()).clamp(-self.epsilon, self.epsilon)
                for one, slope in zip(flat, slopes, strict=True)
            ]
            found = {name: (moved[2 * place], moved[2 * place + 1]) for place, name in enumerate(found)}
        return found


@dataclass(frozen=True, eq=False)
class LastConvolution:
    """The last convolution that a network runs, and the BatchNorm layer behind it, if any."""

    convolution: _ConvNd
    norm: _BatchNorm | None

    @property
    def output(self) -> nn.Module:
        """The layer whose output are the channels."""
        return self.norm or self.convolution

    @property
    def parameters(self) -> list[Tensor]:
        """Everything that has a row for each channel: (c, ...)."""
        held: list[Tensor | None] = [self.convolution.weight, self.convolution.bias]
        if self.norm is not None:
            held += [self.norm.weight, self.norm.bias]
        return [one for one in held if one is not None]

    @torch.no_grad()
    def cut(self, channels: Tensor) -> None:
        """Set all that belongs to these channels to zero, so that they give zero."""
        for one in self.parameters:
            one[channels.to(one.device)] = 0

    @contextmanager
    def held(self, channels: Tensor) -> Iterator[None]:
        """Train nothing of these channels meanwhile: they give zero, and so get no gradient.

        A hook of the layer, because a training copies the network, and hooks of tensors are not copied with it.
        """
        handle = self.output.register_forward_hook(_Without(channels))
        try:
            yield
        finally:
            handle.remove()


class _Without:
    """What a layer gives, with zero at some channels."""

    def __init__(self, channels: Tensor) -> None:
        self.channels = channels

    def __call__(self, _layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept = output.new_ones(output.shape[1])
        kept[self.channels.to(output.device)] = 0
        return output * kept.view(-1, *[1] * (output.ndim - 2))


def last_convolution(network: nn.Module, images: Tensor) -> LastConvolution | None:
    """The last convolution of torch that these images (n, 3, h, w) go through; None where there is none."""
    ran: list[tuple[nn.Module, Tensor, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda layer, inputs, output: ran.append((layer, inputs[0], output)))
        for module in network.modules()
        if isinstance(module, _ConvNd | _BatchNorm)
    ]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    places = [place for place, (layer, _, _) in enumerate(ran) if isinstance(layer, _ConvNd)]
    if not places:
        return None
    layer, _, output = ran[places[-1]]
    assert isinstance(layer, _ConvNd)
    behind = [one for one, given, _ in ran[places[-1] + 1 :] if given is output and isinstance(one, _BatchNorm)]
    norm = behind[0] if behind and behind[0].affine else None
    return LastConvolution(layer, norm)


def mean_activations(layer: LastConvolution, network: nn.Module, patient: Patient) -> Tensor:
    """Mean positive part of each channel over clean validation images, (c,)."""
    sums: list[Tensor] = []
    handle = layer.output.register_forward_hook(
        lambda _layer, _inputs, output: sums.append(output.detach().clamp_min(0).flatten(2).mean(2).sum(0).cpu())
    )
    try:
        score_examples(network, patient.val)
    finally:
        handle.remove()
    return torch.stack(sums).sum(0) / len(patient.val)


def masked_layers(network: nn.Module) -> dict[str, _BatchNorm | _ConvNd]:
    """The layers whose channels are masked, by name: BatchNorm layers with weights, else convolutions."""
    norms = {name: one for name, one in network.named_modules() if isinstance(one, _BatchNorm) and one.affine}
    if norms:
        return dict(norms)
    return {name: one for name, one in network.named_modules() if isinstance(one, _ConvNd) and not one.transposed}


def _along_channels(factors: Tensor, weight: Tensor) -> Tensor:
    """A weight (c, ...) times a number for each channel (c,)."""
    return factors.view(-1, *[1] * (weight.ndim - 1)) * weight


@contextmanager
def _normalising_by_batches(network: nn.Module) -> Iterator[None]:
    """BatchNorm layers in training mode meanwhile, and nothing else: dropout would draw from the global generator."""
    layers = [one for one in network.modules() if isinstance(one, _BatchNorm)]
    try:
        for one in layers:
            one.train()
        yield
    finally:
        for one in layers:
            one.eval()


@contextmanager
def _kept(layer: LastConvolution) -> Iterator[None]:
    """Put the layer back afterwards."""
    before = [one.detach().clone() for one in layer.parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for one, old in zip(layer.parameters, before, strict=True):
                one.copy_(old)
