"""A trainable copy of a classifier of any form, and a classifier of the trained copy."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import ModelError, UnsupportedError
from snellen.core.preprocessing import Normalization


class PreparedNetwork(nn.Module):
    """Prepared images, float (n, 3, h, w) in [0, 1] → scores (n, k): a classifier's normalisation and its network.

    Training shows images in [0, 1] as they are, and the network is trained on what it is deployed with.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.thresholds: tuple[float, ...] | None = None  # of several labels, as those of a classifier
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise, and run the network."""
        scores: Tensor = self.network((images - self.mean) / self.std)
        return scores


class Called(nn.Module):
    """A classifier that is no module, as one: prepared images (n, 3, h, w) → its scores (n, k). It has no weights."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.queried = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Query it; it normalises by itself."""
        return self.queried(images.to(self.queried.device))

    def __deepcopy__(self, memo: dict[int, object]) -> Called:
        # A connection or a session cannot be copied, and holds nothing that a treatment changes.
        return Called(self.queried)


def copied(classifier: Classifier) -> PreparedNetwork:
    """A copy whose weights, where there are any, are its own and require gradients; the classifier stays as it is.

    A function, a server or an ONNX file that ONNX Runtime runs has no weights here. It is queried (:class:`Called`),
    and what is done to its scores can stand behind it.

    Raises:
        UnsupportedError: only predictions are known, of some images.
        ModelError: its module cannot be copied.
    """
    if classifier.module is None:
        if classifier.recorded:
            raise UnsupportedError(
                f"of {classifier.name} only predictions are known, and other images must be decided to treat it; give "
                f"the model itself"
            )
        network: nn.Module = Called(classifier)
        normalization = Normalization()
    else:
        try:
            network = copy.deepcopy(classifier.module)
        except Exception as error:
            raise ModelError(f"{classifier.name} cannot be copied for training: {error}") from error
        _turn_constants_into_weights(network)
        normalization = classifier.normalization
    for one in network.parameters():
        if one.is_floating_point():
            one.requires_grad_(True)
    found = PreparedNetwork(network, *normalization).to(classifier.device)
    found.thresholds = classifier.thresholds
    return found


def has_weights(network: nn.Module) -> bool:
    """Whether it holds weights that can be trained."""
    return any(one.is_floating_point() for one in network.parameters())


def trainable(classifier: Classifier) -> PreparedNetwork:
    """As :func:`copied`, of a classifier that has weights.

    Raises:
        UnsupportedError: the classifier has no weights here: a server, a callable, an ONNX file that was not converted.
        ModelError: its module cannot be copied, or has no weights.
    """
    if classifier.module is None:
        raise UnsupportedError(
            f"{classifier.name} has no weights that can be trained here (a server, a callable, predictions, or an ONNX "
            f"file that ONNX Runtime runs); only what is done to its scores, or to the data, can treat it"
        )
    network = copied(classifier)
    if not has_weights(network):
        raise ModelError(f"{classifier.name} has no weights that can be trained")
    return network


def trained_classifier(classifier: Classifier, network: PreparedNetwork, note: str) -> Classifier:
    """The classifier with the weights of a trained copy; everything else of it is kept.

    Args:
        classifier: that was copied.
        network: its trained copy; becomes part of the result, frozen and in evaluation mode.
        note: what was done, for reports.
    """
    made = Classifier(
        network.network,
        class_names=classifier.class_names,
        preparation=classifier.preparation,
        normalization=None if classifier.module is None else classifier.normalization,  # it normalises by itself
        task=classifier.task,
        output=classifier.output,
        differentiable=None if classifier.module is not None else classifier.differentiable,
        name=f"{classifier.name}, treated",
        notes=(*classifier.notes, note),
        feature_layer=classifier.feature_layer,
        recipe=classifier.recipe,
        bag_decision=classifier.bag_decision,
        sent_to=classifier.sent_to,
        device=classifier.device,
    )
    made.thresholds = network.thresholds
    if made.feature_layer is not None and made.feature_layer not in made.layers:
        made.feature_layer = None
    return made


#: Operators of an ONNX graph whose constants are weights.
_WEIGHTED = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Add", "LayerNormalization", "BatchNormalization"})


def _turn_constants_into_weights(network: nn.Module) -> None:
    """Weights of a converted ONNX graph that no layer of torch holds are constants of its operators."""
    for module in network.modules():
        if getattr(module, "kind", None) in _WEIGHTED and hasattr(module, "computed"):
            for name, value in list(module.named_buffers(recurse=False)):
                if value.is_floating_point() and value.ndim:
                    delattr(module, name)
                    module.register_parameter(name, nn.Parameter(value.clone()))


def last_layer(network: nn.Module, images: Tensor) -> nn.Linear | None:
    """The linear layer whose output the scores are, or the log-probabilities of it; None where there is none.

    Args:
        network: prepared images → scores (n, k).
        images: prepared, (n, 3, h, w), to look with.
    """
    outputs: list[tuple[nn.Linear, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda layer, _inputs, output: outputs.append((layer, output)))
        for module in network.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with torch.no_grad():
            scores = network(images)
    finally:
        for handle in handles:
            handle.remove()
    for layer, output in reversed(outputs):
        if output.shape == scores.shape and _same_answers(output, scores):
            return layer
    return None


def _same_answers(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one, other) or torch.equal(one.log_softmax(1), other)
