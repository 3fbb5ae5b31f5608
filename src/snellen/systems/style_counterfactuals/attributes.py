"""AttFind: which single coordinates of StyleSpace move a classifier's logits, and which few of them cover the images.

Lang et al., "Explaining in Style" (StylEx), ICCV 2021, algorithm 1, as ProjectedEx (Qi et al., CBMS 2025) uses it.
Effects are differences of logits against the *reconstruction*, with the same noise; a coordinate is one of the style
vector, behind the affine layers, not one of the code w.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.style_counterfactuals.networks import StyleRenderer

#: Directions of a coordinate: toward its least and toward its largest value over the images.
DOWN, UP = 0, 1

#: An image is explained once the chosen attributes moved its logit by so much (θ).
EXPLAINED = 2.5

#: An image is unstable if more than so many coordinates move it by more than so much.
UNSTABLE_COORDINATES, UNSTABLE_EFFECT = 150, 0.3


@dataclass(frozen=True)
class Attribute:
    """A coordinate and the way it goes.

    Attributes:
        coordinate: of StyleSpace.
        direction: :data:`DOWN` or :data:`UP`.
        target: class whose logit it raises.
        effect: mean of max(0, Δ logit) over the images that were unexplained when it was chosen. Of a turned attribute
            (:func:`merged`) it is that of the other way on the other class: an order, and not what ``target`` gains,
            which is :func:`rise`.
    """

    coordinate: int
    direction: int
    target: int
    effect: float

    @property
    def opposite(self) -> Attribute:
        """The same coordinate the other way."""
        return replace(self, direction=UP + DOWN - self.direction)


def style_bounds(styles: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest value of each coordinate over valid images, and no others: (S,) each, of styles (n, S).

    >>> low, high = style_bounds(torch.tensor([[1.0], [3.0]]))
    >>> float(low), float(high)
    (1.0, 3.0)

    Raises:
        InputError: fewer than two images, or styles that are not finite.
    """
    if len(styles) < 2:
        raise InputError(f"bounds of styles take two images or more; got {len(styles)}")
    if not bool(styles.isfinite().all()):
        raise InputError("styles are not finite: the generator diverged; train it at a lower rate")
    return styles.amin(0), styles.amax(0)


def shifted_styles(
    styles: Tensor, coordinates: Tensor, directions: Tensor, bounds: tuple[Tensor, Tensor], shift: float = 1.0
) -> Tensor:
    """A copy of styles with one coordinate of each row moved: s + shift · (bound − s).

    Args:
        styles: (n, S); not changed.
        coordinates: int64 (n,).
        directions: int64 (n,), :data:`DOWN` or :data:`UP`.
        bounds: least and largest values, (S,) each.
        shift: 1 is the bound itself.
    """
    moved, rows = styles.clone(), torch.arange(len(styles), device=styles.device)
    bound = torch.where(directions == UP, bounds[1][coordinates], bounds[0][coordinates])
    own = styles[rows, coordinates]
    moved[rows, coordinates] = own + shift * (bound - own)
    return moved


def moved_styles(
    styles: Tensor, attributes: Sequence[Attribute], bounds: tuple[Tensor, Tensor], shift: float
) -> Tensor:
    """A copy of styles (n, S) with several attributes moved in every row, each from where it stood."""
    moved = styles.clone()
    for one in attributes:
        at = torch.full((len(styles),), one.coordinate, device=styles.device)
        alone = shifted_styles(styles, at, torch.full_like(at, one.direction), bounds, shift)
        moved[:, one.coordinate] = alone[:, one.coordinate]
    return moved


def effects(
    renderer: StyleRenderer,
    scores_of: Callable[[Tensor], Tensor],
    styles: Tensor,
    bounds: tuple[Tensor, Tensor],
    *,
    shift: float = 1.0,
    coordinates: Tensor | None = None,
    together: int = 256,
    advance: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Δ logits of every image, direction and coordinate: float32 (n, 2, S, K), NaN where nothing was measured.

    Every image is rendered up to each block once; a coordinate of it is moved, and the blocks from there on run.

    Args:
        renderer: the generator, with its fixed noise.
        scores_of: images (m, 3, h, w) in [0, 1] → logits (m, K).
        styles: (n, S), of the reconstructions.
        bounds: of :func:`style_bounds`.
        shift: 1 when searching.
        coordinates: int64, those that are tried; None: all. Those without a range need no try: their effect is 0.
        together: images rendered at once.
        advance: receives how many images were rendered.
    """
    blocks = renderer.block_of.cpu()
    total = len(blocks)
    tried = torch.arange(total) if coordinates is None else coordinates.cpu()
    moves = ((bounds[1] - bounds[0]) > 0).cpu()[:total]
    tried = tried[moves[tried]]
    with torch.no_grad():
        base = torch.cat([scores_of(renderer.images(part)) for part in styles.split(together)])
        found = torch.full((len(styles), 2, total, base.shape[1]), torch.nan)
        found[:, :, ~moves] = 0
        for block in blocks.unique().tolist():
            own = tried[blocks[tried] == block]
            for rows in torch.arange(len(styles)).split(together):
                state = renderer.before(styles[rows], block)
                for image, way, at in _pairs(len(rows), own, together):
                    part = shifted_styles(
                        styles[rows][image], at.to(styles.device), way.to(styles.device), bounds, shift
                    )
                    scores = scores_of(renderer.on(renderer.rows(state, image), part, block))
                    found[rows[image], way, at] = (scores - base[rows[image]]).float().cpu()
                    advance(len(part))
    return found


def _pairs(images: int, coordinates: Tensor, together: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every image with every direction and coordinate, so many at once: rows, directions, coordinates."""
    grid = torch.cartesian_prod(torch.arange(images), torch.tensor([DOWN, UP]), coordinates)
    for part in grid.reshape(-1, 3).split(together):
        if len(part):
            yield part[:, 0], part[:, 1], part[:, 2]


def promising(
    renderer: StyleRenderer,
    scores_of: Callable[[Tensor], Tensor],
    styles: Tensor,
    bounds: tuple[Tensor, Tensor],
    share: float,
    together: int = 256,
) -> Tensor:
    """Coordinates of the largest mean |∂ logit / ∂ s| · range, sorted: a filter before the exact search.

    The sum over classes of the absolute derivatives decides; ``share`` of all coordinates are kept, at least one.
    """
    size = torch.zeros(styles.shape[1])
    for part in styles.split(together):
        leaf = part.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            scores = scores_of(renderer.images(leaf))
            for column in scores.sum(0):
                (gradient,) = torch.autograd.grad(column, leaf, retain_graph=True)
                size += gradient.abs().sum(0).cpu()
    reach = (size * (bounds[1] - bounds[0]).cpu())[: len(renderer.block_of)]
    ranked = reach.argsort(descending=True, stable=True)
    return ranked[: max(round(share * len(ranked)), 1)].sort().values


def stable_images(found: Tensor, most: int = UNSTABLE_COORDINATES, above: float = UNSTABLE_EFFECT) -> Tensor:
    """Images that no more than ``most`` coordinates move by more than ``above``: bool (n,), of effects (n, 2, S, K)."""
    return (found.nan_to_num(0).abs().amax((1, 3)) > above).sum(1) <= most


def cover(
    found: Tensor, target: int, count: int, *, rows: Tensor | None = None, explained: float = EXPLAINED
) -> list[Attribute]:
    """Choose attributes that raise a class, greedily, so that they cover the images between them.

    A = max(0, Δ of the class). Again and again the (direction, coordinate) of the largest mean A over the images that
    are not explained yet is chosen; A of it is added to what each image has, and an image that has θ leaves the mean.
    A coordinate is chosen once: moved both ways it would move nowhere. Effects that were not measured raise nothing.
    Ends early when all images are explained or nothing raises the class any more.

    Args:
        found: effects (n, 2, S, K).
        target: the class c.
        count: attributes at most (m).
        rows: bool (n,), the images it is chosen on: those that are taken for another class. None: all.
        explained: θ, in logits.
    """
    raised = found[..., target].nan_to_num(0).clamp(min=0).flatten(1)
    raised = (raised if rows is None else raised[rows]).clone()
    has, width, chosen = torch.zeros(len(raised)), found.shape[2], list[Attribute]()
    while len(chosen) < count and bool((open_ := has < explained).any()):
        means = raised[open_].mean(0)
        best = int(means.argmax())
        if float(means[best]) <= 0:
            break
        chosen.append(Attribute(best % width, best // width, target, float(means[best])))
        has += raised[:, best]
        raised[:, [best % width, best % width + width]] = 0
    return chosen


def attributes_of_classes(
    found: Tensor,
    decided: Tensor,
    count: int,
    *,
    explained: float = EXPLAINED,
    merge: bool = False,
    classes: Sequence[int] | None = None,
) -> dict[int, list[Attribute]]:
    """For every class the attributes that raise it, at most ``count``.

    They are chosen on the images taken for another class, in the order of :func:`cover`. A class that all images are
    taken for has no such image and no list.

    Args:
        found: effects (n, 2, S, K).
        decided: int64 (n,), what each reconstruction is taken for.
        count: attributes of each class.
        explained: θ.
        merge: of two classes, give each its own list and the turned one of the other, by mean effect, as the released
            code does. What raises one class need not lower it the other way: turned attributes may flip nothing.
        classes: that are wanted; None: all.
    """
    total = found.shape[3]
    lists = {
        target: cover(found, target, count, rows=decided != target, explained=explained)
        for target in range(total)
        if bool((decided != target).any())
    }
    if merge and total == 2:
        lists = {target: merged(lists.get(target, []), lists.get(1 - target, []), target) for target in (0, 1)}
    wanted = range(total) if classes is None else classes
    return {target: lists.get(target, [])[:count] for target in wanted}


def merged(own: Sequence[Attribute], other: Sequence[Attribute], target: int) -> list[Attribute]:
    """Attributes of a class and those of the only other class turned: each coordinate once, by mean effect."""
    best: dict[int, Attribute] = {}
    for one in [*own, *(replace(other_one.opposite, target=target) for other_one in other)]:
        if one.coordinate not in best or one.effect > best[one.coordinate].effect:
            best[one.coordinate] = one
    return sorted(best.values(), key=lambda one: -one.effect)


def rise(found: Tensor, decided: Tensor, attribute: Attribute) -> float:
    """Mean of max(0, Δ logit) of the attribute's class, over the images taken for another class; NaN without any.

    Args:
        found: effects (n, 2, S, K).
        decided: int64 (n,), what each reconstruction is taken for.
        attribute: a coordinate whose effects were measured, its way and its class.
    """
    rows = decided != attribute.target
    gained = found[rows, attribute.direction, attribute.coordinate, attribute.target].clamp(min=0)
    return float(gained.mean())
