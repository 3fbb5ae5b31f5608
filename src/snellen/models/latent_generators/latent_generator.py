"""A generator as methods that search or shape its latents see it: z ~ N(0, I) in d dimensions → an image in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import Randomness

#: What a decoder makes of its latents before they are scaled: images in [0, 1], or in [−1, 1].
Values = Literal["unit", "signed"]

#: Images that are made together without gradients.
TOGETHER = 128


@runtime_checkable
class Truncating(Protocol):
    """A decoder with a truncation of its own, such as that of StyleGAN2 in its space w."""

    def truncated(self, latents: Tensor, truncation: float) -> Tensor:
        """Decode latents (n, d) at a truncation in (0, 1]; 1 is none."""


class LatentGenerator:
    """A frozen generator. Calling it makes images of latents, with gradients with respect to these where they are on.

    The prior is standard normal. A decoder whose latents have another spread multiplies them itself (BigGAN's class
    vector, for instance). Truncation ψ trades variety for quality: latents are multiplied by ψ, unless the decoder is
    :class:`Truncating`.

    >>> decoder = nn.Sequential(nn.Linear(2, 3 * 4 * 4), nn.Sigmoid(), nn.Unflatten(1, (3, 4, 4)))
    >>> generator = LatentGenerator(decoder, 2, name="demo")
    >>> generator(torch.zeros(5, 2)).shape, generator.image_size
    (torch.Size([5, 3, 4, 4]), (4, 4))

    Args:
        decoder: latents (n, d) → images (n, 3, h, w). A module is put into evaluation mode and frozen, in place.
        dimension: d.
        name: the reference by which it is found again; also shown in messages.
        values: what the decoder gives: ``unit`` images in [0, 1], or ``signed`` ones in [−1, 1]. What lies outside is
            cut off.
        device: where it runs.
        identity: hash of the weights; computed from those of a module where it is not given.

    Raises:
        InputError: fewer than 2 dimensions, or images of another shape.
        ModelError: images that are not finite.
    """

    def __init__(
        self,
        decoder: nn.Module | Callable[[Tensor], Tensor],
        dimension: int,
        *,
        name: str,
        values: Values = "unit",
        device: str | torch.device = "cpu",
        identity: str | None = None,
    ) -> None:
        if dimension < 2:
            raise InputError(f"{name}: a latent generator has at least 2 dimensions; got {dimension}")
        self.decoder, self.dimension, self.name, self.values = decoder, dimension, name, values
        self.device = torch.device(device)
        if isinstance(decoder, nn.Module):
            decoder.eval().requires_grad_(False).to(self.device)
        self._identity = identity
        with torch.no_grad():
            probe = self(torch.zeros(1, dimension, device=self.device))
        self.image_size: tuple[int, int] = (int(probe.shape[2]), int(probe.shape[3]))

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"LatentGenerator({self.name!r}, {self.dimension} dimensions, {height}x{width})"

    def __call__(self, latents: Tensor, truncation: float = 1.0) -> Tensor:
        """Latents (n, d) → images float32 (n, 3, h, w) in [0, 1].

        Raises:
            InputError: latents of another shape, a truncation outside (0, 1], or a decoder of another kind of image.
            ModelError: images that are not finite.
        """
        if latents.ndim != 2 or latents.shape[1] != self.dimension:
            raise InputError(
                f"{self.name} takes latents (n, {self.dimension}); got {tuple(latents.shape)}: the latent dimension "
                f"of a control must be that of its generator"
            )
        if not 0 < truncation <= 1:
            raise InputError(f"truncation is in (0, 1], and 1 is none; got {truncation}")
        if isinstance(self.decoder, Truncating):
            made = self.decoder.truncated(latents, truncation)
        else:
            made = self.decoder(latents if truncation == 1 else latents * truncation)
        if not isinstance(made, Tensor) or made.ndim != 4 or made.shape[:2] != (len(latents), 3):
            came = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise InputError(f"{self.name}: expected images ({len(latents)}, 3, h, w) of its decoder; got {came}")
        if not bool(torch.isfinite(made).all()):
            raise ModelError(f"{self.name}: its decoder gave values that are not finite")
        images = made.float()
        return (images / 2 + 0.5 if self.values == "signed" else images).clamp(0, 1)

    @property
    def identity(self) -> str | None:
        """Hash of the weights (sha256); None of a plain function without one."""
        if self._identity is None and isinstance(self.decoder, nn.Module):
            self._identity = hash_tensors(self.decoder.state_dict())
        return self._identity

    def draw(self, rng: Randomness) -> Tensor:
        """Latents of the prior, (n, d), one for each example that the randomness is bound to."""
        return rng.normal("latents", (self.dimension,)).to(self.device)

    def images(self, latents: Tensor, truncation: float = 1.0, *, together: int = TOGETHER) -> Tensor:
        """The same as a call without gradients, in batches: (n, d) → (n, 3, h, w) on the CPU."""
        return torch.cat(list(self.batches(latents, truncation, together=together)))

    def batches(self, latents: Tensor, truncation: float = 1.0, *, together: int = TOGETHER) -> Iterator[Tensor]:
        """Batches of images on the CPU, so that many need no memory at once."""
        for part in latents.split(together):
            with torch.no_grad():
                made = self(part.to(self.device), truncation)
            yield made.cpu()

    def check_gradients(self) -> None:
        """Make sure that gradients reach the latents.

        Raises:
            InputError: images do not depend on them in a way that torch can follow.
        """
        latents = torch.zeros(1, self.dimension, device=self.device, requires_grad=True)
        with torch.enable_grad():
            made = self(latents)
        if not made.requires_grad:
            raise InputError(
                f"{self.name} gives no gradients of its images with respect to the latents, which are needed here: "
                f"remove torch.no_grad or inference_mode from its forward pass, and leave its results on the tape"
            )
