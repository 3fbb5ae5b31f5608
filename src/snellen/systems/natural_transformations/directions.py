"""Directions of a latent space that change attributes and keep the class, found without attribute labels (NaTra, UADM).

The abstract names the step; the two standard algorithms below are our choice. Closed form (SeFa: Shen and Zhou, CVPR
2021, arXiv 2007.06600, equation 4): top eigenvectors of AᵀA, where A stacks the weights of the affine layers that read
the codes. Principal components (GANSpace: Härkönen et al., NeurIPS 2020, arXiv 2004.02546): eigenvectors of the
covariance of codes. Both are those of the codes of all layers of a range side by side: an encoder gives each layer a
code of its own, and the same numbers of two layers need not mean the same. Each direction n acts on a range of layers:
w ← w + t · σ_n · n, with t in standard deviations along n: of the given codes for principal components, of the
generator's own for the closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.natural_transformations.inversion import Codes, Prior, SplitGenerator, render

Algorithm = Literal["closed_form", "principal"]

#: Images (n, 3, h, w) in [0, 1] → scores (n, k).
Scores = Callable[[Tensor], Tensor]

#: Names of ranges of layers, the coarsest first, and the name of all layers at once.
RANGES, ALL = ("coarse", "middle", "fine"), "all"

#: Share of the reconstructions that a judge reads rightly at least, where it filters.
LEAST_READ = 0.5

#: Images that are rendered at once.
_TOGETHER = 128


class NoDirectionError(InputError):
    """No direction is left, or none could be judged: there is nothing to edit along."""


@dataclass(frozen=True, eq=False)
class Directions:
    """K directions, each on a range of layers.

    Attributes:
        vectors: (K, L, d), 0 outside the rows of its layers, of unit length over them.
        deviations: standard deviation along each, (K,): of the given codes where it is principal, of the generator's
            own where it is closed-form.
        names: algorithm, number and range of each.
    """

    vectors: Tensor
    deviations: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: Sequence[int]) -> Directions:
        chosen = list(rows)
        return Directions(self.vectors[chosen], self.deviations[chosen], tuple(self.names[row] for row in chosen))

    def shift(self, coefficients: Tensor) -> Tensor:
        """Coefficients in standard deviations (n, K) → what is added to codes, (n, L, d); zeros for zeros."""
        return torch.einsum("nk,kld->nld", coefficients * self.deviations, self.vectors)

    def along(self, row: int, t: float, count: int) -> Tensor:
        """The shift of t standard deviations along one direction, for ``count`` images: (count, L, d)."""
        return (t * self.deviations[row] * self.vectors[row]).expand(count, *self.vectors.shape[1:])


def closed_form(weights: Sequence[Tensor], count: int) -> Tensor:
    """Top eigenvectors of AᵀA, A of all weights stacked: weights (outputs, d) each → orthonormal rows (count, d).

    >>> closed_form([torch.tensor([[0.0, 3.0], [1.0, 0.0]])], 1).abs().tolist()
    [[0.0, 1.0]]

    Raises:
        InputError: more directions than numbers in a code.
    """
    stacked = torch.cat([one.detach().double() for one in weights])
    return _top(stacked.T @ stacked, count).to(weights[0])


def principal(codes: Tensor, count: int) -> Tensor:
    """Principal components of codes (m, d): orthonormal rows (count, d), the largest variance first.

    Raises:
        InputError: more directions than numbers in a code, or fewer than two codes.
    """
    return _top(Prior.of_codes(codes.double()).covariance, count).to(codes)


def _top(symmetric: Tensor, count: int) -> Tensor:
    """Eigenvectors with the largest eigenvalues; of each, the number furthest from 0 is positive."""
    if not 1 <= count <= len(symmetric):
        raise InputError(f"codes of {len(symmetric)} numbers have 1 to {len(symmetric)} directions; got {count}")
    vectors = torch.linalg.eigh(symmetric.cpu()).eigenvectors.T.flip(0)[:count]
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * torch.sign(largest)


def layer_ranges(layers: int) -> dict[str, range]:
    """Coarse, middle and fine thirds of the layers; a generator of fewer layers has fewer ranges.

    >>> {name: list(rows) for name, rows in layer_ranges(7).items()}
    {'coarse': [0, 1], 'middle': [2, 3, 4], 'fine': [5, 6]}
    """
    ends = [round(layers * part / 3 - 0.01) for part in range(4)]
    found = {name: range(ends[place], ends[place + 1]) for place, name in enumerate(RANGES)}
    return {name: rows for name, rows in found.items() if len(rows)}


def find_directions(
    generator: SplitGenerator,
    count: int,
    *,
    algorithm: Algorithm = "closed_form",
    codes: Tensor | None = None,
    ranges: Sequence[str] = RANGES,
) -> Directions:
    """Directions of every range of layers. No label of any kind is read, and nothing is drawn.

    Args:
        generator: cut at a layer.
        count: directions of each range.
        algorithm: ``closed_form``, from weights, or ``principal``, from codes.
        codes: inverted codes (n, L, d), of ``principal``.
        ranges: which ranges of layers; ``all``: one range of all of them.

    Raises:
        InputError: an unknown range, no codes where they are needed, or more directions than a code has numbers.
    """
    known = {**layer_ranges(generator.layers), ALL: range(generator.layers)}
    if unknown := [one for one in ranges if one not in (*RANGES, ALL)]:
        raise InputError(f"layers have the ranges {', '.join((*RANGES, ALL))}; got {', '.join(unknown)}")
    if algorithm == "principal" and codes is None:
        raise InputError("principal directions are those of codes, and none were given; use closed_form without any")
    vectors, deviations, names = list[Tensor](), list[Tensor](), list[str]()
    for name in ranges:
        rows = known.get(name)
        if rows is None:
            continue
        if algorithm == "principal":
            assert codes is not None
            own = codes[:, rows.start : rows.stop]
            side_by_side = principal(own.flatten(1), count)
            found = side_by_side.unflatten(1, own.shape[1:])
            deviations.append((own.flatten(1) @ side_by_side.T).std(0, unbiased=False))
        else:
            # Layers side by side: each has a code of its own, so that their weights stand on the diagonal.
            weights = torch.block_diag(*(generator.affine[row] for row in rows))
            found = closed_form([weights], count).unflatten(1, (len(rows), -1))
            variances = torch.einsum("kld,de,kle->k", found, generator.prior.covariance, found)
            deviations.append(variances.clamp_min(0).sqrt())
        placed = found.new_zeros(count, generator.layers, found.shape[2])
        placed[:, rows.start : rows.stop] = found
        vectors.append(placed)
        names += [f"{algorithm} {number + 1}, {name} layers" for number in range(count)]
    if not names:
        raise InputError(f"a generator of {generator.layers} layers has none of the ranges {', '.join(ranges)}")
    return Directions(torch.cat(vectors), torch.cat(deviations), tuple(names))


@dataclass(frozen=True)
class Examined:
    """What a judge found of one direction.

    Attributes:
        name: of the direction.
        changed: share of the judged images whose label is lost, the worse of −ε and ε.
        by_class: the same for each class, None where no image of it was judged.
        visible: mean absolute change of a pixel, in [0, 1], the weaker of −ε and ε.
        judged: images that the judge reads rightly before the edit.
        kept: whether training uses it.
        reason: why not; empty where it is kept.
    """

    name: str
    changed: float
    by_class: tuple[float | None, ...]
    visible: float
    judged: int
    kept: bool
    reason: str

    @property
    def hidden(self) -> bool:
        """Whether it is left out because it changes too little."""
        return "pixels" in self.reason

    def row(self) -> dict[str, Any]:
        """As JSON values, for a lineage."""
        return {
            "direction": self.name,
            "label_changed": round(self.changed, 4),
            "by_class": [None if one is None else round(one, 4) for one in self.by_class],
            "visible": round(self.visible, 4),
            "judged": self.judged,
            "kept": self.kept,
            "reason": self.reason,
        }


@torch.no_grad()
def examine_directions(
    directions: Directions,
    generator: SplitGenerator,
    codes: Codes,
    labels: Tensor,
    judge: Scores,
    *,
    epsilon: float,
    most_changed: float = 0.05,
    least_visible: float = 0.01,
) -> tuple[Examined, ...]:
    """Judge each direction at −ε and ε, by a model that is not trained here.

    A label is lost where the judge reads it rightly in the reconstruction (t = 0) and wrongly in the edit.

    Args:
        directions: K of them.
        generator: cut at a layer.
        codes: of n images.
        labels: their classes, int64 (n,).
        judge: images → scores.
        epsilon: in standard deviations.
        most_changed: τ: a direction that loses this share or more is left out; 1: the filter is open.
        least_visible: δ: one that changes pixels less, in the mean, is left out.

    Raises:
        NoDirectionError: the judge reads too few reconstructions rightly, or none of a class; an open filter needs one.
    """

    def shown(row: int | None, t: float) -> Tensor:
        parts = []
        for rows in torch.arange(len(codes)).split(_TOGETHER):
            shift = None if row is None else directions.along(row, t, len(rows))
            parts.append(render(generator, codes[rows], shift))
        return torch.cat(parts)

    def read(images: Tensor) -> Tensor:
        return torch.cat([judge(part).argmax(1) for part in images.split(_TOGETHER)])

    plain = shown(None, 0.0)
    scores = torch.cat([judge(part) for part in plain.split(_TOGETHER)])
    count, right = scores.shape[1], scores.argmax(1) == labels
    if not bool(right.any()):
        raise NoDirectionError(
            f"the judge reads none of {len(labels)} reconstructions rightly, so that it cannot say which directions "
            f"keep a class: name another judge, or train the generator for longer"
        )
    unread = sorted({int(one) for one in labels.tolist()} - {int(one) for one in labels[right].tolist()})
    if most_changed < 1 and (unread or float(right.double().mean()) < LEAST_READ):
        raise NoDirectionError(
            f"the judge reads {int(right.sum())} of {len(labels)} reconstructions rightly"
            + (f" and none of the classes {', '.join(map(str, unread))}" if unread else "")
            + f"; expected {LEAST_READ:.0%} and some of every class, or it would pass directions that change the "
            f"class: name another judge, or train the generator for longer"
        )
    found = []
    for row, name in enumerate(directions.names):
        ends = [shown(row, sign * epsilon) for sign in (-1, 1)]
        lost = torch.stack([read(end) != labels for end in ends])[:, right].double()
        visible = min(float((end - plain).abs().mean()) for end in ends)
        changed = float(lost.mean(1).max())
        owners = labels[right]
        by_class = tuple(
            float(lost[:, owners == one].mean(1).max()) if bool((owners == one).any()) else None for one in range(count)
        )
        reason = (
            f"changes the label of {changed:.1%}" if changed >= most_changed
            else f"changes pixels by {visible:.4f} only" if visible < least_visible
            else ""
        )  # fmt: skip
        found.append(Examined(name, changed, by_class, visible, int(right.sum()), not reason, reason))
    return tuple(found)


def kept_directions(directions: Directions, examined: Sequence[Examined]) -> Directions:
    """Those that the filter keeps.

    Raises:
        NoDirectionError: none; the message says why the nearest one was left out.
    """
    rows = [row for row, one in enumerate(examined) if one.kept]
    if not rows:
        nearest = min(examined, key=lambda one: (one.hidden, one.changed))
        advice = (
            "lower least_visible or raise epsilon (--edits), or train the generator for longer"
            if nearest.hidden
            else "raise most_changed or lower epsilon (--edits), or name a judge that does not decide by what the "
            "directions change"
        )
        raise NoDirectionError(
            f"none of {len(examined)} directions keeps the class and is visible; {nearest.name} {nearest.reason}: "
            f"{advice}"
        )
    return directions[rows]
