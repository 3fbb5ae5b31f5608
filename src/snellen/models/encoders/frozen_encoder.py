"""An encoder that nothing trains: prepared images → vectors, and a name for exactly what it computes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization, hash_tensors
from snellen.core.errors import InputError, ModelError
from snellen.core.preparation import Preparation
from snellen.core.randomness import Randomness
from snellen.models.classifiers.image_checks import check_prepared


@dataclass(frozen=True, eq=False, kw_only=True)
class FrozenEncoder:
    """Images → vectors, without gradients.

    The network is put into evaluation mode and frozen at construction, in place.

    >>> network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> encoder = FrozenEncoder(name="mean colour", network=network, preparation=Preparation(size=(4, 4)))
    >>> encoder.dim, encoder.encode(torch.ones(2, 3, 4, 4)).tolist()
    (3, [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])

    Attributes:
        name: the reference, shown in reports and messages.
        network: *normalised* images (n, 3, h, w) → vectors (n, d).
        preparation: resize and crop of the encoder; has a fixed size.
        normalization: per-channel mean and std of the encoder, in [0, 1] units, applied by :meth:`encode`.
        layer: which layer's vectors these are, in words.
        configuration: what the network follows from beside its tensors, such as the hash of a file that names its
            activations and numbers of heads; empty where nothing tells.
        device: where it runs.
        dim: length d of a vector; found by a probe.
        identity: hash (sha256, hex) of weights, configuration, preparation, normalisation and layer.

    Raises:
        InputError: a preparation without a fixed size, or of a size that the network does not take.
        ModelError: a network that does not give finite vectors (n, d).
    """

    name: str
    network: nn.Module
    preparation: Preparation
    normalization: Normalization = field(default_factory=Normalization)
    layer: str = "output"
    configuration: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dim: int = field(init=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False).to(self.device)
        if self.preparation.size is None:
            raise InputError(f"{self.name} does not tell how large its images are; an encoder needs a fixed size")
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
