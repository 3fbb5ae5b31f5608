"""What a study comes to, as rows: all attributes together, each of them, and images with them moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
from snellen.core.outcomes import Described
from snellen.systems.style_counterfactuals.attributes import UP, Attribute, moved_styles, rise
from snellen.systems.style_counterfactuals.flips import Counterfactuals, runners_up
from snellen.systems.style_counterfactuals.foreign import moved_by_foreign
from snellen.systems.style_counterfactuals.networks import StyleExplainer
from snellen.systems.style_counterfactuals.pyramid import resized
from snellen.systems.style_counterfactuals.seen import Seen
from snellen.systems.style_counterfactuals.study import (
    Search,
    Study,
    distances,
    flip_rate,
    flipped_alone,
    followed,
    off_manifold,
)

#: Below this agreement, the result carries a warning.
SOUND = 0.9


class _Tile(NamedTuple):
    """A picture with its head, made of the measured image at a position."""

    at: int
    head: str
    image: Tensor


class Rows:
    """Rows of the result: attributes, all of a class together, and images."""

    def __init__(
        self,
        explainer: StyleExplainer,
        seen: Seen,
        found: Study,
        judge: Classifier | None,
        ids: Sequence[str],
        search: Search,
        *,
        shown: int,
    ) -> None:
        self.explainer, self.seen, self.found, self.judge = explainer, seen, found, judge
        self.search, self.shift, self.shown = search, search.shift, shown
        self.ids = ids  # of the measured images
        self.names = seen.classifier.class_names
        self.parts, self.text = list[str](), list[str]()
        self.pictures = list[Tensor]()
        self.heads, self.sources = list[tuple[str, ...]](), list[tuple[str, ...]]()
        self.figures: list[dict[str, float]] = []
        self.controls: list[dict[str, float]] = []
        self.records: list[dict[str, object]] = []
        # Only classes that some image is next to are ever moved to.
        self.classes = sorted(set(runners_up(found.measured_on.base).tolist()))
        self.blank = torch.zeros(0, 3, *found.chosen_on.images.shape[2:], dtype=torch.uint8)

    def attributes(self) -> None:
        """A row for each attribute, with some images that it is moved in, both ways."""
        for target in self.classes:
            control = self._random_alone(target)
            for number, one in enumerate(self.found.lists[target], 1):
                flipped = flipped_alone(self.found, self.seen, one, self.shift)
                gained = rise(self.found.effects, self.found.chosen_on.base.argmax(1).cpu(), one)
                way = "up" if one.direction == UP else "down"
                block = int(self.found.renderer.block_of[one.coordinate])
                line = "" if math.isnan(flipped) else f"; alone it flips {flipped:.0%} (random: {control:.0%})"
                self._add(
                    self._name(number, one),
                    f"coordinate {one.coordinate} {way} (block {block})"
                    + ("" if math.isnan(gained) else f" raises {self.names[target]} by {gained:.2f} logits")
                    + line,
                    figures={"effect": gained, "flipped_alone": flipped},
                    controls={"flipped_alone": control},
                    record={
                        "coordinate": one.coordinate,
                        "block": block,
                        "direction": way,
                        "class": self.names[target],
                        "effect": None if math.isnan(gained) else gained,
                    },
                    shown=self._both_ways(one),
                )

    def together(self) -> None:
        """The row of all attributes together: flips, what they cost, and whether others follow."""
        found, remade = self.found, self.found.measured_on.remade
        own, others = flip_rate(found.top), [flip_rate(one) for one in found.random]
        cost = float(distances(self.seen, remade, found.top.images).mean())
        costs = [float(distances(self.seen, remade, one.images).mean()) for one in found.random]
        figures = {
            "flipped": own,
            "distance": cost,
            "off_manifold": off_manifold(self.explainer, remade, found.top.images),
            "agreement": found.agreement,
        }
        control = sum(others) / len(others)
        controls = {
            "flipped": control,
            "distance": sum(costs) / len(costs),
            "off_manifold": sum(off_manifold(self.explainer, remade, one.images) for one in found.random) / len(costs),
        }
        line = f"shift {self.shift:g} flips {own:.0%} of {len(remade)} images; as many random coordinates {control:.0%}"
        if self.judge is not None:
            figures["followed"] = followed(self.judge, self.judge.preparation.size, remade, found.top)
            if not math.isnan(figures["followed"]):
                line += f"; a second classifier follows {figures['followed']:.0%} of the flips"
            others_moved = self._by_foreign(self.judge)
            if others_moved is not None:
                figures["flipped_by_judge"] = flip_rate(others_moved)
                line += f"; as many attributes of the second classifier flip {figures['flipped_by_judge']:.0%}"
        if found.agreement < SOUND:
            line += f". Careful: only {found.agreement:.0%} of the reconstructions keep the decision"
        counts = {len(found.lists[target]) for target in runners_up(found.measured_on.base).tolist()}
        if len(counts) > 1:
            line += f"; {min(counts)} to {max(counts)} attributes, by class"
        self._add(f"top {max(counts)} together", line, figures=figures, controls=controls, record={})

    def examples(self) -> None:
        """Rows of some images: reconstruction, and each attribute moved toward the runner-up and away from it."""
        base = self.found.measured_on.base
        decided, nearest = base.argmax(1).tolist(), runners_up(base).tolist()
        places = {key: [at for at, one in enumerate(decided) if one == key] for key in dict.fromkeys(decided)}
        turns = max(map(len, places.values()))
        order = [rows[at] for at in range(turns) for rows in places.values() if at < len(rows)]
        for at in order[: self.shown]:
            taken, remade = int(self.found.measured_on.decided[at]), decided[at]
            kept = "" if taken == remade else f"; its reconstruction for {self.names[remade]}"
            self._add(
                f"image {self.ids[at]}",
                f"taken for {self.names[taken]}{kept}; next to it {self.names[nearest[at]]}",
                shown=self._example(at, nearest[at]),
            )

    def described(self, rejected: tuple[tuple[str, str], ...], spent: Spent, *, held_back: bool) -> Described:
        """The result.

        Args:
            rejected: images that could not be used, and why.
            spent: passes of the classifier.
            held_back: whether the generator was trained on the other images of this call.
        """
        side = self.explainer.sizes.side
        names = {name for row in self.figures for name in row}
        controlled = {name for row in self.controls for name in row}

        def column(rows: list[dict[str, float]], name: str) -> Tensor:
            return torch.tensor([row.get(name, math.nan) for row in rows])

        left = tuple(f"{count} images were left out: {why}" for why, count in self.found.left_out.items())
        warning = (
            (f"only {self.found.agreement:.0%} of the reconstructions keep the decision: attributes may mislead",)
            if self.found.agreement < SOUND
            else ()
        )
        return Described(
            parts=tuple(self.parts),
            status=("ok",) * len(self.parts),
            text=tuple(self.text),
            pictures=tuple(self.pictures),
            sources=tuple(self.sources),
            heads=tuple(self.heads),
            figures={name: column(self.figures, name) for name in sorted(names)},
            controls={name: column(self.controls, name) for name in sorted(controlled)},
            records=tuple(self.records),
            rejected=rejected,
            assumptions=(
                f"the classifier takes {self.found.agreement:.1%} of the reconstructions for what it takes the images "
                f"for; effects are logits against the reconstruction, not the image",
                f"the generator draws {side}x{side} pixels; reduced to these, {self.found.reduced:.1%} of the images "
                f"keep the classifier's decision",
                f"attributes were chosen on {len(self.found.chosen_on)} images and measured on "
                f"{len(self.found.measured_on)} others; "
                + (
                    "the generator was trained on none of them"
                    if held_back
                    else "the generator was trained in another call, and may have seen some of them"
                ),
                "an attribute is what the generator changes with one coordinate; that the classifier follows it does "
                "not make it a sign of the class in nature",
                *warning,
                *left,
            ),
            spent=spent,
        )

    def _name(self, number: int, one: Attribute) -> str:
        return f"{self.names[one.target]}, attribute {number}"

    def _add(
        self,
        part: str,
        text: str,
        *,
        figures: dict[str, float] | None = None,
        controls: dict[str, float] | None = None,
        record: dict[str, object] | None = None,
        shown: Sequence[_Tile] = (),
    ) -> None:
        self.parts.append(part)
        self.text.append(text)
        self.figures.append(figures or {})
        self.controls.append(controls or {})
        self.records.append(record or {})
        self.heads.append(tuple(tile.head for tile in shown))
        self.sources.append(tuple(self.ids[tile.at] for tile in shown))
        bytes_ = [tile.image.mul(255).round().to(torch.uint8).cpu() for tile in shown]
        self.pictures.append(torch.stack(bytes_) if bytes_ else self.blank)

    def _by_foreign(self, judge: Classifier) -> Counterfactuals | None:
        """The control: attributes of the second classifier, moved to change this one."""

        def scores(images: Tensor) -> Tensor:
            return judge(resized(images.to(judge.device), judge.preparation.size)).to(images.device)

        return moved_by_foreign(self.found, self.seen, scores, self.search, gradients=judge.differentiable)

    def _random_alone(self, target: int) -> float:
        """Mean flip rate of single random coordinates toward a class; NaN where no image is next to it."""
        rates = [flipped_alone(self.found, self.seen, one, self.shift) for one in self.found.single[target]]
        return sum(rates) / len(rates) if rates else math.nan

    def _both_ways(self, one: Attribute, count: int = 2) -> list[_Tile]:
        """Some images with one attribute moved toward its class and away from it."""
        encoded = self.found.measured_on
        away = (runners_up(encoded.base) == one.target).nonzero().flatten()
        rows = (away if len(away) else torch.arange(len(encoded)))[:count]
        shown = list[_Tile]()
        for at in rows.tolist():
            shown.append(_Tile(at, f"rebuilt, {self._chance(encoded.base[at], one.target)}", encoded.remade[at]))
            shown += self._moved(at, one)
        return shown

    def _moved(self, at: int, one: Attribute, mark: str = "") -> list[_Tile]:
        """An image with an attribute moved toward its class, and away from it, with the probability of the class."""
        styles, shown = self.found.measured_on.styles[at : at + 1], list[_Tile]()
        with torch.no_grad():
            for word, way in (("toward", one), ("away", one.opposite)):
                moved = moved_styles(styles, [way], self.found.bounds, self.shift)
                image = self.found.renderer.images(moved)
                chance = self._chance(self.seen.scores(image)[0], one.target)
                shown.append(_Tile(at, f"{mark}{word}, {chance}", image[0]))
        return shown

    def _example(self, at: int, target: int) -> list[_Tile]:
        """An image, its reconstruction, and every attribute of a class moved both ways."""
        encoded = self.found.measured_on
        shown = [
            _Tile(at, f"image, {self._chance(encoded.scores[at], target)}", encoded.images[at]),
            _Tile(at, f"rebuilt, {self._chance(encoded.base[at], target)}", encoded.remade[at]),
        ]
        for number, one in enumerate(self.found.lists.get(target, ()), 1):
            shown += self._moved(at, one, f"{number} ")
        return shown

    def _chance(self, scores: Tensor, target: int) -> str:
        """A class and its probability, short enough for the head of a column."""
        return f"{self.names[target]} {float(self.seen.classifier.probabilities(scores[None])[0, target]):.2f}"
