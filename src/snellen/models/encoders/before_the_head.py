"""A classifier without its last linear layer: the vectors that the layer takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import UnsupportedError
from snellen.core.layer_hooks import find_layer
from snellen.models.classifiers.assembly import probe_images


class _Taken(nn.Module):
    """A network that gives what one of its layers takes, or gives, instead of its own output."""

    def __init__(self, network: nn.Module, layer: str, *, given: bool) -> None:
        super().__init__()
        self.network, self.layer, self.given = network, layer, given

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (n, 3, h, w) → vectors (n, d); maps (n, d, h, w) are averaged over places."""
        caught: list[object] = []
        module = find_layer(self.network, self.layer, "the network")
        if self.given:
            handle = module.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
        else:
            handle = module.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
        try:
            self.network(images)
        finally:
            handle.remove()
        vectors = caught[-1] if caught else None
        if not isinstance(vectors, Tensor) or vectors.ndim not in (2, 4):
            came = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise UnsupportedError(f"layer {self.layer!r} has {came}; a vector (n, d) or maps (n, d, h, w) are needed")
        # A copy, which no later layer changes in place.
        return vectors.mean((2, 3)) if vectors.ndim == 4 else vectors.clone()


def before_the_head(classifier: Classifier, layer: str | None = None) -> tuple[nn.Module, str]:
    """The network that gives the vectors before a classifier's decision, and in words where they are taken.

    Args:
        classifier: a torch module.
        layer: a layer whose output is meant (maps are averaged over places); None: what the last linear layer with one
            output for each class takes, or, without such a layer, the output of the classifier's ``feature_layer``.

    Raises:
        UnsupportedError: not a torch module, or no layer is known and there is no linear one for the classes.
        UnknownNameError: no such layer.
    """
    if classifier.module is None:
        raise UnsupportedError(f"{classifier.name} is not a torch module: its layers cannot be read")
    if layer is not None:
        find_layer(classifier.module, layer, classifier.name)
        return _Taken(classifier.module, layer, given=True), f"output of {layer}"
    head = _last_linear(classifier)
    if head is not None:
        return _Taken(classifier.module, head, given=False), f"input of {head}"
    if classifier.feature_layer is not None:
        chosen = classifier.feature_layer
        return _Taken(classifier.module, chosen, given=True), f"output of {chosen}"
    raise UnsupportedError(
        f"{classifier.name} has no linear layer with one output for each of its {len(classifier.class_names)} classes; "
        f"name the layer whose output is meant (layer=...), one of {', '.join(classifier.layers[-8:])}"
    )


def _last_linear(classifier: Classifier) -> str | None:
    """Name of the linear layer for the classes that a pass calls last, if it takes vectors (n, d)."""
    module, size = classifier.module, classifier.preparation.size
    if module is None or size is None:
        return None
    called: list[tuple[str, tuple[int, ...]]] = []
    handles = [
        layer.register_forward_pre_hook(lambda _layer, inputs, name=name: called.append((name, inputs[0].shape)))
        for name, layer in module.named_modules()
        if name and isinstance(layer, nn.Linear) and layer.out_features == len(classifier.class_names)
    ]
    try:
        with torch.no_grad():
            classifier(probe_images(size, 1).to(classifier.device))
    finally:
        for handle in handles:
            handle.remove()
    return called[-1][0] if called and len(called[-1][1]) == 2 else None
