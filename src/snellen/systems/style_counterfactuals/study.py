"""One study: encoded images, their attributes, and what moving these does, beside random coordinates.

Attributes are chosen on one half of the images and measured on the other, so that a flip rate is not that of the images
an attribute was chosen on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.systems.style_counterfactuals.attributes import (
    EXPLAINED,
    UNSTABLE_EFFECT,
    Attribute,
    attributes_of_classes,
    effects,
    promising,
    stable_images,
    style_bounds,
)
from snellen.systems.style_counterfactuals.flips import (
    SHIFT,
    Counterfactuals,
    counterfactuals,
    directed,
    random_coordinates,
    runners_up,
)
from snellen.systems.style_counterfactuals.losses import perceptual_distance
from snellen.systems.style_counterfactuals.networks import StyleExplainer, StyleRenderer, fixed_noise
from snellen.systems.style_counterfactuals.pyramid import resized
from snellen.systems.style_counterfactuals.seen import Seen

#: What progress calls it.
TASK = "searching attributes"

#: Share of the reconstructions that the critic finds more real than its threshold.
REAL_SHARE = 0.95

#: Draws of random coordinates, whose mean is the control. A few coordinates move much: over five draws chance decides.
DRAWS = 20

#: Random coordinates that are moved alone.
SINGLES = 8


class Search(BaseModel):
    """Numbers of a search for attributes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attributes: int = Field(4, ge=1, description="attributes of each class (m)")
    explained: float = Field(EXPLAINED, gt=0, description="logits after which an image counts as explained (θ)")
    merge: bool = Field(False, description="of two classes, merge both lists, each turned, as the released code does")
    shift: float = Field(SHIFT, gt=0, description="how far attributes are moved; 1 is the bound over the images")
    share: float = Field(1.0, gt=0, le=1, description="share of the coordinates that are tried, chosen by gradients")
    unstable: int | None = Field(None, ge=0, description="leave out images that more coordinates move by over 0.3")
    realistic: float | None = Field(None, description="leave out reconstructions that the critic scores above this")
    agreement: float = Field(0.8, ge=0, le=1, description="least agreement of image and reconstruction; 0: any")
    together: int = Field(256, ge=1, description="images rendered at once")


@dataclass(frozen=True, eq=False)
class Encoded:
    """Images in the generator's space.

    Attributes:
        images: (n, 3, side, side) in [0, 1].
        scores: logits of the images, (n, K).
        styles: rows of styles.
        remade: reconstructions.
        base: logits of these.
        decided: int64 (n,), what the classifier takes the images for, at their own size.
    """

    images: Tensor
    scores: Tensor
    styles: Tensor
    remade: Tensor
    base: Tensor
    decided: Tensor

    @property
    def agreed(self) -> Tensor:
        """Whether image and reconstruction are taken for the same class, bool (n,)."""
        return self.decided == self.base.argmax(1)

    def of(self, rows: Tensor) -> Encoded:
        """Some of them."""
        parts = (self.images, self.scores, self.styles, self.remade, self.base, self.decided)
        return Encoded(*(one[rows] for one in parts))

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Study:
    """What was found.

    Attributes:
        renderer: the generator with its fixed noise.
        chosen_on: images that attributes were chosen on.
        measured_on: images that they were measured on.
        measured_rows: positions of the latter among the images that were given.
        bounds: of the styles of ``chosen_on``, without those of images that were left out.
        effects: (n, 2, S, K), on ``chosen_on``.
        lists: attributes of each class.
        top: counterfactuals of ``measured_on`` by the attributes.
        random: the same for each draw of as many random coordinates.
        drawn: the random coordinates of each draw, by class.
        single: random coordinates of each class, to be moved alone.
        agreement: share of all usable images whose reconstruction is taken for what the image is taken for.
        reduced: share of them that are still taken for that once they are reduced to the generator's side.
        left_out: images that were left out, and why.
    """

    renderer: StyleRenderer
    chosen_on: Encoded
    measured_on: Encoded
    measured_rows: Tensor
    bounds: tuple[Tensor, Tensor]
    effects: Tensor
    lists: Mapping[int, Sequence[Attribute]]
    top: Counterfactuals
    random: Sequence[Counterfactuals]
    drawn: Sequence[Mapping[int, Sequence[Attribute]]]
    single: Mapping[int, Sequence[Attribute]]
    agreement: float
    reduced: float
    left_out: Mapping[str, int]


def encode(
    explainer: StyleExplainer,
    seen: Seen,
    images: Tensor,
    together: int = 256,
    *,
    decided: Tensor | None = None,
    order: Tensor | None = None,
) -> tuple[StyleRenderer, Encoded]:
    """Encode and rebuild images (n, 3, side, side) in [0, 1] by the averaged generator, with the one fixed noise.

    Args:
        explainer: whose average draws.
        seen: the classifier.
        images: at the generator's side.
        together: images at once.
        decided: int64 (n,), what the classifier takes them for at their own size; None: what it takes these for.
        order: int64 (n,), a control: the code of each image takes the logits of the image that is named here.
    """
    device = explainer.path_length.device
    renderer = StyleRenderer(explainer.average, fixed_noise(explainer.sizes.side, device))
    parts: list[tuple[Tensor, ...]] = []
    with torch.no_grad():
        scores = torch.cat([seen.scores(part) for part in images.to(device).split(together)])
        # A classifier may fail on single images; these are left out later, and must not spoil their batch.
        known = torch.where(scores.isfinite(), scores, 0.0)
        known = known if order is None else known[order.to(device)]
        for part, logits in zip(images.to(device).split(together), known.split(together), strict=True):
            styles = renderer.styles(explainer.codes(part, logits))
            remade = renderer.images(styles)
            if not bool(remade.isfinite().all()):
                raise ModelError("the generator gives values that are not finite; train it at a lower rate")
            parts.append((part, styles, remade, seen.scores(remade)))
    given, styles, remade, base = (torch.cat(column) for column in zip(*parts, strict=True))
    decisions = scores.argmax(1) if decided is None else decided.to(device)
    return renderer, Encoded(given, scores, styles, remade, base, decisions)


def check_decisions(decided: Tensor, names: Sequence[str]) -> Tensor:
    """Images of each class by the classifier's decision, int64 (K,), of decisions (n,).

    Raises:
        InputError: all are of one class.
    """
    counts = decided.bincount(minlength=len(names))
    if int((counts > 0).sum()) < 2:
        raise InputError(
            f"all {len(decided)} explained images are taken for {names[int(counts.argmax())]}, so nothing shows what "
            f"would change that; give some images that are taken for another class"
        )
    return counts


def check_agreement(encoded: Encoded, names: Sequence[str], least: float) -> None:
    """Refuse reconstructions that the classifier takes for something else: their attributes would mean nothing.

    Raises:
        InputError: all images are taken for one class.
        ModelError: agreement below ``least``, or no better than always naming the most frequent class.
    """
    counts = check_decisions(encoded.decided, names)
    found, chance = float(encoded.agreed.float().mean()), float(counts.max()) / len(encoded)
    if found < least or found <= chance:
        raise ModelError(
            f"the classifier takes {found:.0%} of the reconstructions for what it takes the images for (needed are "
            f"{least:.0%}, and more than always naming one class gives, {chance:.0%}): attributes of such a generator "
            f"would mean nothing. Train it longer (--steps, in a new folder --generator), on more images, or at a "
            f"larger side"
        )


def study(
    explainer: StyleExplainer,
    seen: Seen,
    images: Tensor,
    search: Search,
    rng: Randomness,
    *,
    decided: Tensor | None = None,
    progress: Progress | None = None,
) -> Study:
    """Encode images, choose attributes on one half, and measure counterfactuals on the other.

    Args:
        explainer: trained for the classifier; in evaluation mode.
        seen: the classifier.
        images: (n, 3, side, side) in [0, 1], not among those of the training.
        search: numbers.
        rng: splits the images, draws random coordinates.
        decided: int64 (n,), what the classifier takes the images for at their own size; None: what it takes these for.
        progress: callback that receives progress updates.

    Raises:
        InputError: too few images. ModelError: the generator does not rebuild what the classifier sees.
    """
    listener = progress or Silent()
    renderer, encoded = encode(explainer, seen, images, search.together, decided=decided)
    usable = encoded.styles.isfinite().all(1) & encoded.base.isfinite().all(1) & encoded.scores.isfinite().all(1)
    left_out = {"their scores or styles are not finite": int((~usable).sum())}
    whole = encoded.of(usable)  # before filters, which leave out what is rebuilt badly
    if search.agreement and len(whole):
        check_agreement(whole, seen.classifier.class_names, search.agreement)
    if search.realistic is not None:
        with torch.no_grad():
            real = explainer.critic(encoded.remade)[:, 0] <= search.realistic
        left_out["the critic takes their reconstruction for made"] = int((usable & ~real).sum())
        usable = usable & real
    rows = usable.nonzero().flatten()
    rows = rows[torch.randperm(len(rows), generator=rng.generator("halves")).to(rows.device)]
    if len(rows) < 4:
        raise InputError(
            f"{len(rows)} of {len(images)} images are usable, and two halves take four; left out: {left_out}"
        )
    first, second = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    chosen_on, measured_on = encoded.of(first), encoded.of(second)
    bounds = style_bounds(chosen_on.styles)
    tried = torch.arange(renderer.coordinates)
    if search.share < 1:
        tried = promising(renderer, seen.scores, chosen_on.styles, bounds, search.share, search.together)

    def measured(styles: Tensor, coordinates: Tensor) -> Tensor:
        listener.begin(TASK, len(styles) * 2 * len(coordinates))
        found = effects(
            renderer, seen.scores, styles, bounds, coordinates=coordinates, together=search.together,
            advance=lambda count: listener.advance(TASK, count),
        )  # fmt: skip
        listener.finish(TASK)
        return found

    found = measured(chosen_on.styles, tried)
    if search.unstable is not None:
        kept = stable_images(found, search.unstable, UNSTABLE_EFFECT)
        left_out[f"more than {search.unstable} coordinates move them"] = int((~kept).sum())
        if int(kept.sum()) < 2:
            raise InputError(
                f"more than {search.unstable} coordinates move {int((~kept).sum())} of {len(kept)} images, and two "
                f"must be left to choose attributes on; allow more by --unstable"
            )
        chosen_on, found = chosen_on.of(kept.to(chosen_on.styles.device)), found[kept]
        # Where an image that was left out stood at a bound, the others moved to a value that none of them has.
        before, bounds = bounds, style_bounds(chosen_on.styles)
        narrowed = (torch.stack(before) != torch.stack(bounds)).any(0).cpu()
        again = tried[narrowed[tried]]
        found[:, :, again] = measured(chosen_on.styles, again)[:, :, again]
    choices = chosen_on.base.argmax(1).cpu()
    lists = attributes_of_classes(found, choices, search.attributes, explained=search.explained, merge=search.merge)
    if not any(lists.values()):
        raise ModelError("no coordinate of the generator raises any class: it ignores its code; train it longer")

    def moved(chosen: Mapping[int, Sequence[Attribute]]) -> Counterfactuals:
        return counterfactuals(
            renderer, seen.scores, measured_on.styles, measured_on.base, chosen, bounds,
            shift=search.shift, together=search.together,
        )  # fmt: skip

    def drawn(name: str, counts: Mapping[int, int]) -> dict[int, list[int]]:
        order = random_coordinates(bounds, renderer.coordinates, rng.generator(name))
        return {target: order[:count] for target, count in counts.items()}

    draws = [drawn(f"random {draw}", {target: len(own) for target, own in lists.items()}) for draw in range(DRAWS)]
    alone = drawn("random alone", dict.fromkeys(lists, SINGLES))
    # A share of the coordinates was tried; the direction of a random one is measured as that of the others is.
    named = {one for draw in [*draws, alone] for own in draw.values() for one in own}
    lacking = sorted(named - set(tried.tolist()))
    if lacking:
        others = measured(chosen_on.styles, torch.tensor(lacking))
        found = torch.where(found.isnan(), others, found)
    controls = [directed(found, choices, one) for one in draws]
    return Study(
        renderer=renderer,
        chosen_on=chosen_on,
        measured_on=measured_on,
        measured_rows=second.cpu(),
        bounds=bounds,
        effects=found,
        lists=lists,
        top=moved(lists),
        random=[moved(one) for one in controls],
        drawn=controls,
        single=directed(found, choices, alone),
        agreement=float(whole.agreed.float().mean()),
        reduced=float((whole.scores.argmax(1) == whole.decided).float().mean()),
        left_out={why: count for why, count in left_out.items() if count},
    )


def flip_rate(found: Counterfactuals) -> float:
    """Share of images whose decision changed."""
    return float(found.flipped.float().mean())


def distances(seen: Seen, images: Tensor, others: Tensor, together: int = 128) -> Tensor:
    """Perceptual distance of each pair, in the first maps of the classifier: (n,)."""
    with torch.no_grad():
        parts = [
            perceptual_distance(seen.maps(one), seen.maps(other))
            for one, other in zip(images.split(together), others.split(together), strict=True)
        ]
    return torch.cat(parts)


def off_manifold(explainer: StyleExplainer, remade: Tensor, images: Tensor) -> float:
    """Share of images that the critic finds less real than it finds 95 % of the reconstructions."""
    with torch.no_grad():
        usual = explainer.critic(remade)[:, 0].quantile(REAL_SHARE)
        return float((explainer.critic(images)[:, 0] > usual).float().mean())


def followed(judge: Classifier, size: tuple[int, int] | None, remade: Tensor, found: Counterfactuals) -> float:
    """Share of the flips that a second classifier follows: its decision changes too. NaN where nothing flipped."""
    if not bool(found.flipped.any()):
        return float("nan")
    with torch.no_grad():
        before = judge(resized(remade[found.flipped], size).to(judge.device)).argmax(1)
        after = judge(resized(found.images[found.flipped], size).to(judge.device)).argmax(1)
    return float((before != after).float().mean())


def flipped_alone(study: Study, seen: Seen, attribute: Attribute, shift: float) -> float:
    """Share of the measured images next to an attribute's class whose decision it changes, moved alone; else NaN."""
    rows = runners_up(study.measured_on.base) == attribute.target
    if not bool(rows.any()):
        return float("nan")
    part = study.measured_on.of(rows)
    found = counterfactuals(
        study.renderer, seen.scores, part.styles, part.base, {attribute.target: [attribute]}, study.bounds, shift=shift
    )
    return flip_rate(found)
