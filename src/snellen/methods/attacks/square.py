"""Square attack: random search on scores only.

Andriushchenko, Croce, Flammarion and Hein, "Square attack: a query-efficient black-box adversarial attack via random
search", ECCV 2020, arXiv 1912.00049: algorithm 1, with the squares of algorithm 2 (L-infinity) and algorithm 3 (L2).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import uphill
from snellen.methods.attacks.perturbation import Search, negative_margin, on_scores
from snellen.methods.attacks.perturbation.contested_classes import refuse_without_pairs
from snellen.methods.attacks.perturbation.inputs import gives_maps
from snellen.methods.attacks.perturbation.squares import (
    Windows,
    bump,
    corners,
    share_of_pixels,
    side_of_square,
    with_moved_mass,
    with_squares_at_bounds,
)
from snellen.methods.attacks.perturbation.stopping import Hopeless
from snellen.methods.attacks.pixel_search import OnPixels, evenly, keep_best, keep_worse, kept_by
from snellen.methods.attacks.search_attack import BallAttack

#: Queries whose draws are made at once: 100 · 8 numbers an image, 32 MB for 10,000 images.
_BLOCK = 100


class Square(BallAttack):
    """Random squares of shrinking size, each kept where it lowers the margin: no gradients are needed.

    An image costs at most ``restarts · queries + 1`` queries. Of a model that decides each pixel it climbs the mean
    loss over the pixels, without a query of the clean image; every image returns its best candidate, or the first that
    meets the criterion.

    >>> import torch
    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    >>> scores_only = Classifier(model, class_names=["a", "b"], differentiable=False)
    >>> images, labels = torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1])
    >>> attacked = Square(epsilon=0.1, queries=50).attack(scores_only, images, labels)
    >>> int(attacked.queries.max()) <= 51, attacked.gradients.tolist()
    (True, [0, 0, 0, 0])
    """

    name: ClassVar[str] = "square"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    takes_maps: ClassVar[bool] = True

    queries: int = Field(5000, ge=1, description="candidates of each restart, beside one query of the clean image")
    first_share: float = Field(0.8, gt=0, le=1, description="share of the pixels that the first squares cover (p)")
    rescale: bool = Field(
        True, description="fit the schedule of shrinking squares, made for 10,000 queries, to the number of queries"
    )
    restarts: int = Field(1, ge=1, description="independent searches; only unbroken images go on to the next")
    patience: float | None = Field(
        None,
        gt=0,
        le=1,
        description="end a search that would not break the image by its last query, rising as fast as in the last such "
        "share of its queries. Not in the paper; can lose a success. By default never",
    )

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        if gives_maps(search.classifier):
            search.evaluate = OnPixels(search.classifier, evenly, steps=self.queries, criterion=search.criterion)
        else:
            refuse_without_pairs(search.classifier, self.name)
            search.evaluate = on_scores(search.classifier, negative_margin)
            search.judge_clean()
        for restart in range(self.restarts):
            before = kept_by(search) if restart else None
            self._try_squares(search, rng.child("restart", restart))
            if before is not None and search.keep == "last":
                keep_worse(search, before)
        return search.result()

    def _try_squares(self, search: Search, rng: Randomness) -> None:
        """One search, for every image that is not done."""
        positions = search.open_positions()
        if not len(positions):
            return
        images, direction = search.images[positions], search.criterion.direction
        best = self._first(images, rng[positions])
        pixels = search.keep == "last"
        values, done = keep_best(search, best, positions) if pixels else search.look(best, positions)
        highest, block = direction * values, dict[str, Tensor]()
        stop = None
        if self.patience is not None:
            stop = Hopeless(len(search.images), steps=self.queries, share=self.patience, direction=direction)
            stop(values, positions, 0)
        for query in range(self.queries - 1):
            number, place = divmod(query, _BLOCK)
            if bool(done.any()) or not place:
                left = (~done).nonzero().flatten()
                if not len(left):
                    return
                positions, images, best, highest = positions[left], images[left], best[left], highest[left]
                if place:
                    block = {name: tensor[left] for name, tensor in block.items()}
                else:
                    block = self._drawn(images, query, rng.child("block", number)[positions])
            candidates = self._changed(best, images, block, place, self._side(query, images))
            if pixels:
                values, done = keep_best(search, candidates, positions, highest)
            else:
                values, done = search.look(candidates, positions)
            if stop is not None:
                done = done | stop(values, positions, query + 1)
            values = direction * values
            better = values > highest
            highest = torch.where(better, values, highest)
            best = torch.where(better.view(-1, 1, 1, 1), candidates, best)

    def _side(self, query: int, images: Tensor) -> int:
        share = share_of_pixels(query, self.queries if self.rescale else 10_000, self.first_share)
        return side_of_square(share, *images.shape[2:], odd=self.norm == "l2")

    def _drawn(self, images: Tensor, query: int, rng: Randomness) -> dict[str, Tensor]:
        """What chance decides about the next squares: their places, orientations and signs, (n, block, ...) each."""
        draws = rng.uniform("squares", (_BLOCK, 5 + images.shape[1]), like=images)
        sides = [self._side(query + ahead, images) for ahead in range(_BLOCK)]
        return {
            "places": corners(draws[:, :, :2], sides, *images.shape[2:]),
            "sources": corners(draws[:, :, 2:4], sides, *images.shape[2:]),
            "standing": draws[:, :, 4] < 0.5,
            "positive": draws[:, :, 5:] < 0.5,
        }

    def _changed(self, best: Tensor, images: Tensor, block: dict[str, Tensor], place: int, side: int) -> Tensor:
        """Candidates with one more square each."""
        windows = Windows(block["places"][:, place], side)
        positive = block["positive"][:, place]
        if self.norm == "linf":
            return with_squares_at_bounds(best, images, windows, positive, self.epsilon)
        source = Windows(block["sources"][:, place], side)
        bumps = _signed(_turned(side, block["standing"][:, place], images), positive)
        return with_moved_mass(best, images, windows, source, bumps, self.epsilon)

    def _first(self, images: Tensor, rng: Randomness) -> Tensor:
        """Vertical stripes one pixel wide at the bounds (L-infinity), or a chequer of bumps (L2)."""
        _, channels, height, width = images.shape
        if self.norm == "linf":
            stripes = rng.uniform("stripes", (channels, 1, width), like=images) < 0.5
            return (images + torch.where(stripes, -self.epsilon, self.epsilon)).clamp(0, 1).to(images.dtype)
        side = max(min(height, width) // 5, 1)
        down, across = height // side, width // side
        draws = rng.uniform("tiles", (1 + channels, down, across), like=images).to(images.dtype)
        change = torch.zeros_like(images)
        top, left = (height - side * down) // 2, (width - side * across) // 2
        for row in range(down):
            for column in range(across):
                turned = _turned(side, draws[:, 0, row, column] < 0.5, images)
                rows = slice(top + row * side, top + (row + 1) * side)
                columns = slice(left + column * side, left + (column + 1) * side)
                change[:, :, rows, columns] = _signed(turned, draws[:, 1:, row, column] < 0.5)
        return (images + self.epsilon * uphill("l2", change)).clamp(0, 1)


def _turned(side: int, standing: Tensor, like: Tensor) -> Tensor:
    """The bumps of this side, one above the other where they stand, else side by side: (n, 1, side, side)."""
    upright = bump(side).to(like)
    return torch.where(standing.view(-1, 1, 1, 1), upright, upright.T)


def _signed(bumps: Tensor, positive: Tensor) -> Tensor:
    """Bumps (n, 1, side, side) turned round in the channels that are not positive, (n, c): (n, c, side, side)."""
    return torch.where(positive[:, :, None, None], bumps, -bumps)
