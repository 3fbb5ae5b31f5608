"""An encoder that nothing trains: prepared images → vectors, and a name for exactly what it computes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier, Normalization, hash_tensors
from snellen.core.errors import InputError, ModelError, UnsupportedError
from snellen.core.layer_hooks import find_layer
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.models.classifiers.assembly import probe_images
from snellen.models.classifiers.prepared_images import check_prepared


@dataclass(frozen=True, eq=False, kw_only=True)
class FrozenEncoder:
    """Images → vectors, without gradients.

    The network is put into evaluation mode and frozen at construction, in place.

    >>> network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> encoder = FrozenEncoder(name="mean colour", network=network, preparation=Preprocessing(size=(4, 4)))
    >>> encoder.dim, encoder.encode(torch.ones(2, 3, 4, 4)).tolist()
    (3, [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])

    Attributes:
        name: the reference, shown in reports and messages.
        network: *normalised* images (n, 3, h, w) → vectors (n, d).
        preparation: resize and crop of the encoder; has a fixed size.
        normalization: per-channel mean and std of the encoder, in [0, 1] units, applied by :meth:`encode`.
        layer: which layer's vectors these are, in words.
        configuration: what the network follows from beside its tensors, such as the hash of a file that names its
            activations and numbers of heads; empty where no file states it.
        device: where it runs.
        dim: length d of a vector; found by a probe.
        identity: hash (sha256, hex) of weights, configuration, preparation, normalisation and layer.

    Raises:
        InputError: a preparation without a fixed size, or of a size that the network does not take.
        ModelError: a network that does not give finite vectors (n, d).
    """

    name: str
    network: nn.Module
    preparation: Preprocessing
    normalization: Normalization = field(default_factory=Normalization)
    layer: str = "output"
    configuration: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dim: int = field(init=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False).to(self.device)
        if self.preparation.size is None:
            raise InputError(f"{self.name} does not state the size of its images; an encoder needs a fixed size")
        probe = Randomness(0).bind(1).uniform("encoder probe", (3, *self.preparation.size))
        try:
            with torch.no_grad():
                vectors = self.network(self.normalise(probe.float().to(self.device)))
        except (RuntimeError, ValueError, AssertionError) as error:
            height, width = self.preparation.size
            words = " ".join(str(error).split())[:160]
            raise InputError(f"{self.name} takes no images of {height} × {width} pixels ({words})") from error
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != 1:
            came = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise ModelError(f"{self.name} gives {came} for one image at {self.layer}; expected one vector (1, d)")
        if not bool(torch.isfinite(vectors).all()):
            raise ModelError(f"{self.name} gives vectors that are not finite")
        object.__setattr__(self, "dim", int(vectors.shape[1]))
        described = [
            hash_tensors(self.network.state_dict()),
            self.preparation.model_dump_json(),
            [list(map(float, values)) for values in self.normalization],
            self.layer,
            *([self.configuration] if self.configuration else []),
        ]
        object.__setattr__(self, "identity", hashlib.sha256(repr(described).encode()).hexdigest())

    def __repr__(self) -> str:
        height, width = self.preparation.size or (0, 0)
        return f"FrozenEncoder({self.name!r}, {height}x{width}, {self.dim} numbers, {self.layer})"

    def normalise(self, images: Tensor) -> Tensor:
        """Apply the encoder's own mean and std: prepared (n, 3, h, w) → what ``network`` takes."""
        mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in self.normalization)
        return (images - mean) / std

    def encode(self, images: Tensor) -> Tensor:
        """Prepared images, float (n, 3, h, w) in [0, 1] → raw vectors, float32 (n, d), on the encoder's device.

        Raises:
            InputError: images of another shape, type, size or range.
        """
        check_prepared(images, self.preparation.size, name=self.name)
        with torch.no_grad():
            vectors: Tensor = self.network(self.normalise(images.to(self.device, torch.float32)))
        return vectors.float()


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
