"""The prompts that are hardest to erase: max_w Σ_i w_i ℓ(θ_u(w); i) − γ ‖w‖², 0 ≤ w ≤ 1, Σ w = m, with θ_u(w) erased.

Fan, Liu, Hero and Liu, "Challenging Forgets", ECCV 2024, arXiv 2403.07362, with an entry of w for each pair of a
concept and a prompt. Lower level: :func:`~snellen.methods.forgetting.prompt_erasing.erased` from the generator as it
was, by steps of the sign. A sign has no derivative, so θ_u does not depend on w to first order, and the gradient of the
upper level is ℓ(θ_u) alone. Upper step: w ← Proj(w + η_w (ℓ − 2γw)), from the uniform start m / n.

ℓ is the erasing loss, which stays high where a prompt is still drawn; or, as in the published code, minus the denoising
loss of pictures of the prompt, which stays low there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.methods.forgetting.prompt_erasing import Erasing, Floats, Probe, Prompted, PromptLosses, erased

#: What progress calls it.
SEARCHING = "searching the forget set of prompts"

#: A search that moved a smaller share of the weight hardly searched.
MOVED = 0.1


class PromptSearch(BaseModel):
    """Numbers of a search; :data:`PUBLISHED` holds those of the published code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upper_steps: int = Field(10, ge=1, description="steps of the selection (T)")
    step: float = Field(1.0, gt=0, description="of the selection (η_w)")
    scale_free: bool = Field(True, description="whether the step is divided by the spread of the losses")
    gamma: float = Field(0.0, ge=0, description="weight of ‖w‖² (γ)")
    loss: Literal["erasing", "denoising"] = Field("erasing", description="what shows that a prompt is still drawn")
    reverse: bool = Field(False, description="search the prompts that are easiest to erase")
    lower: Erasing = Field(Erasing(), description="numbers of the lower level")


#: Of the published code: η_w 100, γ 1e-4, a thousand steps of the sign at a rate of 1e-5 for each of ten upper steps.
#: Those have a picture each; here four, because a sign drops the weight of one.
PUBLISHED = PromptSearch(
    step=100.0, scale_free=False, gamma=1e-4, loss="denoising", lower=Erasing(steps=1000, rate=1e-5, batch_size=4)
)


@dataclass(frozen=True, eq=False)
class PromptSelection:
    """What a search found.

    Attributes:
        weights: w before the first and behind each upper step, float64 (T + 1, n).
        chosen: the m selected prompts, ascending.
        moved: share of the weight that stands elsewhere than in the start, before w becomes binary.
        losses: mean loss of the m largest after erasing, at each upper step.
    """

    weights: Floats
    chosen: NDArray[np.int64]
    moved: float
    losses: tuple[float, ...]


def nearest_weights(values: Floats, count: int) -> Floats:
    """The nearest point with 0 ≤ w ≤ 1 and Σ w = m: clip(a − μ, 0, 1). Σ falls in straight lines between places of μ.

    >>> nearest_weights(np.array([5.0, 0.5, 0.25, -7.0]), 1).tolist()
    [1.0, 0.0, 0.0, 0.0]
    >>> nearest_weights(np.zeros(4), 1).tolist()
    [0.25, 0.25, 0.25, 0.25]

    Args:
        values: a, finite, float64 (n,).
        count: m, 0 < m < n.

    Raises:
        InputError: a count out of range, or values that are not finite.
    """
    given = np.asarray(values, dtype=np.float64)
    if not 0 < count < len(given):
        raise InputError(f"a forget set holds at least 1 and at most {len(given) - 1} of {len(given)}; got {count}")
    if not np.isfinite(given).all():
        raise InputError("values to project must be finite")
    places = np.unique(np.concatenate([given - 1, given]))
    sums = np.array([np.clip(given - place, 0, 1).sum() for place in places])
    return np.clip(given - np.interp(-float(count), -sums, places), 0.0, 1.0)


def largest(weights: Floats, count: int) -> NDArray[np.int64]:
    """Positions of the m largest, ascending; of equal ones the first positions."""
    return np.sort(np.argsort(-weights, kind="stable")[:count]).astype(np.int64)


def hardness(losses: PromptLosses, search: PromptSearch) -> Floats:
    """How much of each prompt is still drawn, (n,); with ``reverse`` how little."""
    found = losses.erasing if search.loss == "erasing" else -losses.denoising
    return -found if search.reverse else found


def upper_step(weights: Floats, hard: Floats, count: int, search: PromptSearch) -> Floats:
    """Weights after one step, projected.

    The spread is the median absolute deviation, or the standard deviation where that is 0.

    Args:
        weights: w, (n,).
        hard: of each prompt (:func:`hardness`), (n,).
        count: m.
        search: numbers.
    """
    spreads = float(np.median(np.abs(hard - np.median(hard)))), float(np.std(hard)), 1.0
    scale = next(one for one in spreads if one > 0) if search.scale_free else 1.0
    return nearest_weights(weights + search.step * (hard / scale - 2 * search.gamma * weights), count)


def search_prompts(
    prompted: Prompted,
    drawn: Tensor,
    count: int,
    *,
    search: PromptSearch,
    rng: Randomness,
    progress: Progress | None = None,
) -> PromptSelection:
    """Find the m prompts that are hardest to erase, or the easiest ones.

    Args:
        prompted: all n prompts, with the generator as it was; it stays, and every upper step begins with it.
        drawn: latents of pictures of each prompt, (n, l, c, h, w).
        count: m.
        search: numbers.
        rng: of everything random.
        progress: callback that receives progress updates.

    Raises:
        InputError: a count out of range.
        ModelError: a lower level that diverges.
    """
    total, listener = len(prompted), progress or Silent()
    if not 0 < count < total:
        raise InputError(f"a forget set holds at least 1 and at most {total - 1} of {total} prompts; got {count}")
    probe = Probe.of(prompted, drawn, search.lower.negative_guidance, rng.child("probe"))
    weights = np.full(total, count / total)
    course, means = [weights], list[float]()
    listener.begin(SEARCHING, search.upper_steps)
    for number in range(1, search.upper_steps + 1):
        lowered = erased(prompted, drawn, weights, search.lower, rng.child("upper step", number))
        found = probe.losses(lowered)
        weights = upper_step(weights, hardness(found, search), count, search)
        course.append(weights)
        means.append(float(getattr(found, search.loss)[largest(weights, count)].mean()))
        listener.advance(SEARCHING, 1, f"{search.loss} loss of the forget set {means[-1]:.4f}")
    listener.finish(SEARCHING)
    moved = float(np.abs(weights - course[0]).sum() / (2 * count))
    chosen = largest(weights, count)
    course[-1] = np.isin(np.arange(total), chosen).astype(np.float64)
    return PromptSelection(np.stack(course), chosen, moved, tuple(means))
