"""The explanation: which single style coordinates move the classifier's output, and images with each of them moved.

Qi et al., "ProjectedEx: Enhancing Generation in Explainable AI for Prostate Cancer", CBMS 2025, arXiv 2501.01392; the
search is that of StylEx (Lang et al., ICCV 2021). A counterfactual shows what moves *this* classifier in images of
*this* generator; it is no statement about the disease.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need
from snellen.core.outcomes import Described
from snellen.core.preparation import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.loading import prepared_batches
from snellen.models.classifiers.references import load_classifier
from snellen.systems.style_counterfactuals.attributes import EXPLAINED, UP, Attribute, moved_styles
from snellen.systems.style_counterfactuals.flips import SHIFT, runners_up
from snellen.systems.style_counterfactuals.folder import (
    check_place,
    finished,
    load_explainer,
    trained_by,
    trained_explainer,
)
from snellen.systems.style_counterfactuals.networks import EncoderKind, StyleExplainer
from snellen.systems.style_counterfactuals.pyramid import check_side, resized
from snellen.systems.style_counterfactuals.study import (
    Search,
    Study,
    alone,
    check_decisions,
    distances,
    flip_rate,
    followed,
    off_manifold,
    study,
)
from snellen.systems.style_counterfactuals.training import PRESETS, Seen, StylePlan, images_hash

#: Fewer images than this are refused: some train the generator, some choose attributes, some measure them.
FEWEST = 16

#: Below this agreement, the result carries a warning.
SOUND = 0.9

#: Images read at once.
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class ReadImages:
    """Images as the classifier sees them, reduced to the generator's side: uint8 (n, 3, side, side)."""

    ids: tuple[str, ...]
    pixels: Tensor
    size: tuple[int, int]
    rejected: tuple[tuple[str, str], ...]


class StyleCounterfactuals(Method):
    """Train a style generator around a classifier, and find attributes that move its decision.

    >>> StyleCounterfactuals(steps=500).plan.steps
    500
    """

    name: ClassVar[str] = "style_counterfactuals"
    needs: ClassVar[frozenset[Need]] = frozenset({"gradients", "scores", "layers"})

    generator: Path | None = Field(
        None,
        description="folder of the generator: a finished one is used as it is; else one is trained there, and resumes "
        "there; left out, one is trained and kept nowhere",
    )
    preset: Literal["published", "small"] = Field(
        "small", description="numbers of the training: those of the paper, or for minutes of one core"
    )
    steps: int | None = Field(None, ge=2, description="steps of the training, in place of the preset's")
    side: int | None = Field(None, description="width of the generator's images in pixels, a power of two")
    encoder: EncoderKind | None = Field(None, description="pyramid of a frozen backbone, or one trained scale")
    backbone: str | None = Field(None, description="reference of the frozen backbone of the pyramid, or random")
    held_back: int = Field(128, ge=8, description="images kept from the training, to search and measure on")
    attributes: int = Field(4, ge=1, description="attributes of each class (m)")
    explained: float = Field(EXPLAINED, gt=0, description="logits after which an image counts as explained (θ)")
    shift: float = Field(SHIFT, gt=0, description="how far attributes are moved; 1 is the bound over the images")
    share: float = Field(1.0, gt=0, le=1, description="share of the coordinates that are tried, chosen by gradients")
    unstable: int | None = Field(None, ge=0, description="leave out images that more coordinates move by 0.3 logits")
    realistic: float | None = Field(None, description="leave out reconstructions that the critic scores above this")
    agreement: float = Field(
        0.8, ge=0, le=1, description="least agreement of images and reconstructions; 0: any, with a warning"
    )
    judge: str | None = Field(None, description="reference of a second classifier, to see whether it follows a flip")
    shown: int = Field(4, ge=0, description="images that are shown with every attribute moved")

    @field_validator("side")
    @classmethod
    def _power_of_two(cls, side: int | None) -> int | None:
        if side is not None:
            check_side(side)
        return side

    @property
    def plan(self) -> StylePlan:
        """Numbers of the training."""
        preset = PRESETS[self.preset]
        sizes = {"side": self.side, "encoder": self.encoder, "backbone": self.backbone}
        chosen = preset.sizes.model_copy(update={key: value for key, value in sizes.items() if value is not None})
        return preset.model_copy(update={"sizes": chosen, **({} if self.steps is None else {"steps": self.steps})})

    @property
    def search(self) -> Search:
        """Numbers of the search."""
        return Search(**{name: getattr(self, name) for name in Search.model_fields if name in type(self).model_fields})

    def load(self) -> None:
        """Load the second classifier, and check the folder of the generator."""
        if self.judge is not None:
            load_classifier(self.judge)
        if self.generator is not None and not finished(self.generator):
            check_place(self.generator)
        if self.generator is not None and finished(self.generator):
            self._check_plan(self.generator)

    def _check_plan(self, folder: Path) -> None:
        """Refuse numbers of a training that a finished generator does not have."""
        plan = trained_by(folder)[0]
        kept = {"steps": plan.steps, **{name: getattr(plan.sizes, name) for name in ("side", "encoder", "backbone")}}
        for name, value in kept.items():
            if getattr(self, name) not in (None, value):
                raise InputError(
                    f"{folder} holds a finished generator with {name} {value}, and {getattr(self, name)} is asked for; "
                    f"leave --{name} out, or name a new folder"
                )

    def describe(
        self, classifier: Classifier, images: ImageSet, *, rng: Randomness, progress: Progress | None = None
    ) -> Described:
        """Find attributes and show them.

        Args:
            classifier: a torch module of one class for each image; it stays as it is.
            images: some are held back to be explained, the generator is trained on the others; labels are not read.
            rng: of everything random.
            progress: callback that receives progress updates.

        Raises:
            InputError: too few images, images of one decision only, or a folder that holds something else.
            ModelError: the generator does not rebuild what the classifier sees.
            UnsupportedError: a classifier of several classes for each image, or of one class.
        """
        self.load()
        if classifier.task != "single" or len(classifier.class_names) < 2:
            raise UnsupportedError(
                f"style_counterfactuals needs a classifier that decides for one of two classes or more; "
                f"{classifier.name} is {classifier.task} with {len(classifier.class_names)}"
            )
        names = classifier.class_names
        judge = None if self.judge is None else load_classifier(self.judge, device=str(classifier.device))
        loaded = load_explainer(self.generator, classifier) if self.generator and finished(self.generator) else None
        read = read_images(classifier, images, (loaded or self.plan).sizes.side)
        order = torch.randperm(len(read.pixels), generator=rng.generator("held back"))
        held = min(self.held_back, len(order) // 2)
        with classifier.counting() as spent:
            seen = Seen(classifier, torch.full((2, 3, *read.size), 0.5))
            if self.agreement:
                with torch.no_grad():  # before a long training
                    check_decisions(seen.scores(to_unit(read.pixels[order[:held]]).to(classifier.device)), names)
            explainer = loaded or trained_explainer(
                self.generator, classifier, read.pixels[order[held:]], self.plan, rng, size=read.size, progress=progress
            )
            kept = order[:held]
            found = study(explainer, seen, to_unit(read.pixels[kept]), self.search, rng, progress=progress)
            ids = [read.ids[kept[at]] for at in found.measured_rows.tolist()]
            rows = _Rows(self, explainer, seen, found, judge, ids)
            rows.together()
            rows.attributes()
            rows.examples()
        data = None if self.generator is None else trained_by(self.generator)[1]
        known = data is None or data == images_hash(read.pixels[order[held:]])
        return rows.described(read.rejected, spent(), held_back=known)


def read_images(classifier: Classifier, images: ImageSet, side: int) -> ReadImages:
    """All usable images in memory, at the generator's side.

    Raises:
        InputError: too few are usable.
    """
    ids, parts, rejected, size = list[str](), list[Tensor](), list[tuple[str, str]](), None
    for batch in prepared_batches(images, classifier.preparation, _TOGETHER):
        rejected += batch.rejected
        if not batch.ids:
            continue
        size = size or (int(batch.pixels.shape[2]), int(batch.pixels.shape[3]))
        if tuple(batch.pixels.shape[2:]) != size:
            reason = f"{batch.pixels.shape[3]}x{batch.pixels.shape[2]} pixels, and the first images have another size"
            rejected += [(key, reason) for key in batch.ids]
            continue
        ids += batch.ids
        parts.append(resized(to_unit(batch.pixels), (side, side)).mul(255).round().to(torch.uint8))
    if len(ids) < FEWEST:
        first = f"; first of {len(rejected)} that are not: {rejected[0][0]}: {rejected[0][1]}" if rejected else ""
        raise InputError(
            f"{len(ids)} images of {images.name} are usable, and style_counterfactuals takes {FEWEST} or more (some "
            f"hundred, for a generator that means anything){first}"
        )
    assert size is not None
    return ReadImages(tuple(ids), torch.cat(parts), size, tuple(rejected))


class _Tile(NamedTuple):
    """A picture with its head, made of the measured image at a position."""

    at: int
    head: str
    image: Tensor


class _Rows:
    """Rows of the result: attributes, all of a class together, and images."""

    def __init__(
        self,
        method: StyleCounterfactuals,
        explainer: StyleExplainer,
        seen: Seen,
        found: Study,
        judge: Classifier | None,
        ids: Sequence[str],
    ) -> None:
        self.method, self.explainer, self.seen, self.found, self.judge = method, explainer, seen, found, judge
        self.ids = ids  # of the measured images
        self.names = seen.classifier.class_names
        self.parts, self.text = list[str](), list[str]()
        self.pictures = list[Tensor]()
        self.heads, self.sources = list[tuple[str, ...]](), list[tuple[str, ...]]()
        self.figures: list[dict[str, float]] = []
        self.controls: list[dict[str, float]] = []
        self.records: list[dict[str, object]] = []
        count = len(seen.classifier.class_names)
        # Of two classes, what raises one lowers the other: the list of the second says it all.
        self.classes = (1,) if count == 2 else tuple(range(count))
        self.blank = torch.zeros(0, 3, *found.chosen_on.images.shape[2:], dtype=torch.uint8)

    def attributes(self) -> None:
        """A row for each attribute, with some images that it is moved in, both ways."""
        random = self._random_alone()
        control = sum(random) / len(random) if random else math.nan
        for target in self.classes:
            for number, one in enumerate(self.found.lists[target], 1):
                flipped = alone(self.found, self.seen, one, self.method.shift)
                way = "up" if one.direction == UP else "down"
                block = int(self.found.renderer.block_of[one.coordinate])
                line = "" if math.isnan(flipped) else f"; alone it flips {flipped:.0%} (random: {control:.0%})"
                self._add(
                    self._name(number, one),
                    f"coordinate {one.coordinate} {way} (block {block}) raises {self.names[target]} by "
                    f"{one.effect:.2f} logits{line}",
                    figures={"effect": one.effect, "flipped": flipped},
                    controls={"flipped": control},
                    record={
                        "coordinate": one.coordinate,
                        "block": block,
                        "direction": way,
                        "class": self.names[target],
                        "effect": one.effect,
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
        line = f"shift {self.method.shift:g} flips {own:.0%} of {len(remade)} images; random coordinates {control:.0%}"
        if self.judge is not None:
            figures["followed"] = followed(self.judge, self.judge.preparation.size, remade, found.top)
            if not math.isnan(figures["followed"]):
                line += f"; a second classifier follows {figures['followed']:.0%} of the flips"
        if found.agreement < SOUND:
            line += f". Careful: only {found.agreement:.0%} of the reconstructions keep the decision"
        self._add(f"top {self.method.attributes} together", line, figures=figures, controls=controls, record={})

    def examples(self) -> None:
        """Rows of some images: reconstruction, and each attribute moved toward the runner-up and away from it."""
        base = self.found.measured_on.base
        decided, nearest = base.argmax(1).tolist(), runners_up(base).tolist()
        places = {key: [at for at, one in enumerate(decided) if one == key] for key in dict.fromkeys(decided)}
        turns = max(map(len, places.values()))
        order = [rows[at] for at in range(turns) for rows in places.values() if at < len(rows)]
        for at in order[: self.method.shown]:
            self._add(
                f"image {self.ids[at]}",
                f"taken for {self.names[decided[at]]}, next to it {self.names[nearest[at]]}",
                shown=self._example(at, nearest[at]),
            )

    def described(self, rejected: tuple[tuple[str, str], ...], spent: Spent, *, held_back: bool) -> Described:
        """The result; ``held_back`` says whether the generator was trained on the other images of this call."""
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

    def _random_alone(self) -> list[float]:
        """Flip rates of single random coordinates: the ones drawn, each alone, toward the classes that have rows."""
        from snellen.systems.style_counterfactuals.flips import random_attributes

        found, rates = self.found, list[float]()
        decided = found.chosen_on.base.argmax(1).cpu()
        drawn = random_attributes(found.effects, found.bounds, decided, 8, torch.Generator().manual_seed(0))
        for target in self.classes:
            rates += [alone(found, self.seen, one, self.method.shift) for one in drawn[target]]
        return [rate for rate in rates if not math.isnan(rate)]

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
                moved = moved_styles(styles, [way], self.found.bounds, self.method.shift)
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
