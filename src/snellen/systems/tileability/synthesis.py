"""A texture optimised to look like an example and to repeat: the metric as a loss.

The metric alone finds pictures that fool it and do not repeat, so it stands beside a loss of the texture, and what is
made is checked by the jump at its seams, which nothing here optimises.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.data.worlds.textures.breaking import seam_energy_ratio
from snellen.systems.tileability.tileability import SMALLEST, Tileability

#: What progress calls it.
TASK = "texture"


class TextureSynthesis(BaseModel):
    """Numbers of the optimisation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tileability: float = Field(0.05, ge=0, description="weight of softplus(−z) beside the texture; 0: texture alone")
    steps: int = Field(200, ge=1, description="of Adam")
    learning_rate: float = Field(0.02, gt=0, description="of Adam, on pixels in [0, 1]")
    projections: int = Field(64, ge=1, description="random directions of patches, drawn at each step and scale")
    patch: int = Field(7, ge=2, description="side of a patch, pixels")
    scales: int = Field(3, ge=1, description="sizes of the picture at which patches are compared, halved each time")


@dataclass(frozen=True, eq=False)
class MadeTexture:
    """A texture, and what was measured of it.

    Attributes:
        image: float32 (3, h, w) in [0, 1].
        logit: of the metric that was optimised; None without one.
        seam_ratio: mean jump at the seams over that inside, before and after; 1 is seamless.
    """

    image: Tensor
    logit: float | None
    seam_ratio: tuple[float, float]


def synthesize_texture(
    example: Tensor,
    metric: Tileability | None,
    *,
    start: Tensor | None = None,
    synthesis: TextureSynthesis | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> MadeTexture:
    """Minimise sliced_wasserstein(patches) + β softplus(−z) over pixels.

    Args:
        example: float32 (3, h, w) in [0, 1], a texture that need not repeat.
        metric: see :func:`snellen.systems.tileability.tileability.load_tileability`; None: the texture alone.
        start: where the optimisation begins, float32 (3, h, w); None: the example.
        synthesis: the numbers.
        seed: of projections.
        progress: callback that receives progress updates.

    Raises:
        InputError: another shape or range, or a picture that is smaller than its patches.
        ModelError: the loss is not finite.
    """
    numbers = synthesis or TextureSynthesis()
    begun = example if start is None else start
    for one in (example, begun):
        if one.ndim != 3 or one.shape[0] != 3 or one.dtype != torch.float32 or min(one.shape[1:]) < SMALLEST:
            raise InputError(f"expected float32 (3, h, w) of {SMALLEST} pixels or more, got {one.dtype} {one.shape}")
        if float(one.min()) < 0 or float(one.max()) > 1:
            raise InputError("a texture has values in [0, 1]; divide bytes by 255")
    if min(*example.shape[1:], *begun.shape[1:]) >> (numbers.scales - 1) < numbers.patch:
        raise InputError(f"after {numbers.scales - 1} halvings the picture is smaller than a patch of {numbers.patch}")
    listener, rng = progress or Silent(), Randomness(seed)
    wanted = [patches_of(level[0], numbers.patch) for level in _levels(example[None], numbers.scales)]
    image = begun.clone()[None].requires_grad_(True)
    optimizer = torch.optim.Adam([image], lr=numbers.learning_rate)
    listener.begin(TASK, numbers.steps)
    for step in range(numbers.steps):
        directions = torch.randn(
            numbers.projections, 3 * numbers.patch**2, generator=rng.generator(f"projections {step}")
        )
        shown = image.clamp(0, 1)
        levels = _levels(shown, numbers.scales)
        texture = sum(
            (sliced_wasserstein(patches_of(level[0], numbers.patch), own, directions)
             for level, own in zip(levels, wanted, strict=True)),
            start=torch.zeros(()),
        )  # fmt: skip
        loss = texture
        if metric is not None and numbers.tileability:
            loss = loss + numbers.tileability * functional.softplus(-metric.logits(shown))[0]
        if not bool(loss.isfinite()):
            raise ModelError("the loss of the texture is not finite; a lower learning rate may help")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
        listener.advance(TASK, 1)
    listener.finish(TASK)
    made = image.detach()
    logit = None if metric is None else float(metric.logits(made)[0])
    return MadeTexture(made[0], logit, (seam_ratio(begun), seam_ratio(made[0])))


def sliced_wasserstein(first: Tensor, second: Tensor, directions: Tensor) -> Tensor:
    """Mean squared distance of sorted projections of two sets of patches, ().

    >>> same = torch.eye(3)
    >>> sliced_wasserstein(same, same.flip(0), torch.ones(1, 3)).item()
    0.0

    Args:
        first: (n, d). second: (m, d); of the larger set, quantiles are compared.
        directions: (k, d).
    """
    along = functional.normalize(directions, dim=1).T
    ours, theirs = (first @ along).sort(0).values, (second @ along).sort(0).values
    if len(ours) != len(theirs):
        theirs = functional.interpolate(theirs.T[None], len(ours), mode="linear", align_corners=True)[0].T
    return (ours - theirs).square().mean()


def seam_ratio(image: Tensor) -> float:
    """Mean jump across the seams over the mean jump inside of an image (3, h, w) in [0, 1]; 1 is seamless."""
    pixels = (image.detach().clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return float(seam_energy_ratio(pixels[None])[0])


def _levels(images: Tensor, scales: int) -> list[Tensor]:
    levels = [images]
    for _ in range(scales - 1):
        levels.append(functional.avg_pool2d(levels[-1], 2))
    return levels


def patches_of(image: Tensor, side: int) -> Tensor:
    """All patches inside an image (3, h, w), (n, 3 side²): none crosses the border."""
    return functional.unfold(image[None], side)[0].T
