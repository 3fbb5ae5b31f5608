"""fail(I) = all_k ( p_k(c | I) < t_k ) and argmax_k ≠ c: an ensemble of classifiers that must agree that c is missing.

SAGE (Liu et al., ICLR 2024, arXiv 2306.00974). A search that follows the gradient of one network finds what fools that
network. So several networks of different training decide together, at least one of them trained against adversarial
images, and the gradient is that of random views (expectation over transformations, Athalye et al. 2018).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, unknown_name
from snellen.core.randomness import Randomness
from snellen.methods.generation.made_images import weights_of
from snellen.methods.generation.teachers import as_prepared

#: Images (n, 3, h, w) in [0, 1] and the name of a class → whether each shows it, bool (n,).
Judge = Callable[[Tensor, str], Tensor]

#: Recipes whose networks were trained on attacked images.
ADVERSARIAL = ("smooth_adversarial", "adversarial", "pgd_training")

#: Treatments that train on attacked images.
ADVERSARIAL_TREATMENTS = ("pgd_tuning", "trades_tuning", "adversarial_training", "trades")


class WeakEnsembleWarning(UserWarning):
    """The discriminator can be fooled more easily than it should be."""


@dataclass(frozen=True)
class Views:
    """Random views of an image, through which gradients are taken.

    Attributes:
        count: views of each image and query; 0: the image itself.
        scale: least side of a crop, as a share of the image's.
        noise: standard deviation of added noise, in [0, 1] pixel units.
        flip: mirror every second view.
    """

    count: int = 1
    scale: float = 0.9
    noise: float = 0.01
    flip: bool = True

    def of(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Views of images (n, 3, h, w) in [0, 1]: (count · n, 3, h, w), one whole set after the other."""
        return torch.cat([self._one(images, generator) for _ in range(self.count)]) if self.count else images

    def _one(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count = len(images)
        draws = torch.rand(count, 4, generator=generator).to(images)
        side = self.scale + (1 - self.scale) * draws[:, 0]
        shift = (1 - side)[:, None] * (2 * draws[:, 1:3] - 1)
        turned = torch.where(draws[:, 3] < 0.5, -1.0, 1.0) if self.flip else torch.ones_like(side)
        grid = torch.zeros(count, 2, 3, dtype=images.dtype, device=images.device)
        grid[:, 0, 0], grid[:, 1, 1], grid[:, :, 2] = side * turned, side, shift
        places = torch.nn.functional.affine_grid(grid, list(images.shape), align_corners=False)
        seen = torch.nn.functional.grid_sample(images, places, padding_mode="border", align_corners=False)
        added = torch.randn(images.shape, generator=generator).to(images)
        return (seen + self.noise * added).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Verdict:
    """The decisions of the discriminator about images.

    Attributes:
        failed: the class is missing, bool (n,); never of an image that is not valid.
        valid: the image holds finite numbers alone, bool (n,).
        probabilities: of the class, by each member, (n, k); NaN where the image is not valid.
        seen: the class that the quorum decides for, with confidence; empty where it names none.
    """

    failed: Tensor
    valid: Tensor
    probabilities: Tensor
    seen: tuple[str, ...]

    @property
    def unrelated(self) -> Tensor:
        """Failed, while the quorum recognises another class: bool (n,)."""
        return self.failed & torch.tensor([bool(one) for one in self.seen], dtype=torch.bool)


class Discriminator:
    """Members that decide together whether an image shows a class.

    Args:
        members: differentiable classifiers of one class out of several; each knows every class by name.
        classes: names of classes, the words of a prompt.
        threshold: t_k, a probability below which a member misses the class; one for all, or one for each member.
        quorum: so many members must miss the class; None: all of them.
        confident: probability from which a member recognises another class.
        views: for gradients; a verdict reads the image itself.
        robust: names of members that were trained against adversarial images, beside those whose recipe says so.

    Raises:
        InputError: no member, one twice, one without gradients, a class that one does not know, or a threshold or
            quorum out of range.
    """

    def __init__(
        self,
        members: Sequence[Classifier],
        classes: Sequence[str],
        *,
        threshold: float | Sequence[float] = 0.1,
        quorum: int | None = None,
        confident: float = 0.6,
        views: Views = Views(),
        robust: Sequence[str] = (),
    ) -> None:
        if not members:
            raise InputError("name at least one classifier that decides whether a class is missing; two or more agree")
        if not classes or len(set(classes)) < len(classes):
            raise InputError(f"name each class once; got {', '.join(classes) or 'none'}")
        self.members, self.classes = tuple(members), tuple(classes)
        self.thresholds = _each(threshold, len(members))
        self.quorum = len(members) if quorum is None else quorum
        self.confident, self.views = confident, views
        if not 1 <= self.quorum <= len(members):
            raise InputError(f"a quorum is 1 to {len(members)}, the number of classifiers; got {quorum}")
        if not 0 < confident < 1:
            raise InputError(f"a class is recognised from a probability in (0, 1); got {confident}")
        for member in members:
            if not member.differentiable or member.output == "labels" or member.task != "single":
                raise InputError(
                    f"{member.name} cannot decide here: a member gives scores of one class out of several, with "
                    f"gradients; it is {member.task}, {member.output}"
                )
        weights = [weights_of(member) for member in members]
        twice = [one.name for number, one in enumerate(members) if weights[number] in weights[:number]]
        if twice:
            raise InputError(f"{twice[0]} has the weights of another member; an ensemble needs different classifiers")
        self._columns = [[_index(member, name) for name in classes] for member in members]
        self.robust = tuple(one.name for one in members if one.name in robust or _is_robust(one))
        self.notes = self._weaknesses()
        for note in self.notes:
            warnings.warn(note, WeakEnsembleWarning, stacklevel=2)

    def _weaknesses(self) -> tuple[str, ...]:
        found = []
        if len(self.members) < 2:
            found.append("one classifier decides alone: many finds will be errors of that classifier; name two or more")
        if not self.robust:
            found.append(
                "no classifier is known to be trained against adversarial images, so the search may fool all of them; "
                "add one, and name it with --robust"
            )
        return tuple(found)

    def log_probabilities(self, images: Tensor, name: str) -> Tensor:
        """Log p_k(c | I) of each member, (n, k), differentiable in the images (n, 3, h, w) in [0, 1]."""
        column = self.position(name)
        found = []
        for member, columns in zip(self.members, self._columns, strict=True):
            scores = member(as_prepared(member, images))
            found.append(torch.log_softmax(scores.float(), 1)[:, columns[column]].to(images.device))
        return torch.stack(found, 1)

    def decides(self, images: Tensor, name: str) -> Tensor:
        """Whether each member decides for a class, bool (n, k), of images (n, 3, h, w) in [0, 1]."""
        column = self.position(name)
        found = [member(as_prepared(member, images)).argmax(1).cpu() for member in self.members]
        return torch.stack([one == columns[column] for one, columns in zip(found, self._columns, strict=True)], 1)

    def loss(self, images: Tensor, name: str, rng: Randomness) -> Tensor:
        """L = mean_k log p_k(c | views of I), (n,): the lower, the less the images show the class."""
        if not self.views.count:
            return self.log_probabilities(images, name).mean(1)
        seen = self.views.of(images, rng.generator("views"))
        return self.log_probabilities(seen, name).mean(1).view(self.views.count, -1).mean(0)

    @torch.no_grad()
    def verdict(self, images: Tensor, name: str) -> Verdict:
        """Whether images (n, 3, h, w) show a class. One with a number that is not finite is invalid, and no failure.

        Raises:
            UnknownNameError: a class that was not named.
        """
        column, count = self.position(name), len(images)
        valid = torch.isfinite(images).flatten(1).all(1).cpu()
        own = torch.full((count, len(self.members)), math.nan)
        rejects = torch.zeros(count, len(self.members), dtype=torch.bool)
        decided: list[list[str]] = [[] for _ in range(count)]
        rows = valid.nonzero().flatten()
        if len(rows):
            clean = images[rows.to(images.device)].clamp(0, 1)
            for number, (member, columns) in enumerate(zip(self.members, self._columns, strict=True)):
                scores = member(as_prepared(member, clean)).float().softmax(1).cpu()
                p, best = scores[:, columns[column]], scores.argmax(1)
                own[rows, number] = p
                rejects[rows, number] = (p < self.thresholds[number]) & (best != columns[column])
                for row, index, sure in zip(rows.tolist(), best.tolist(), scores.amax(1).tolist(), strict=True):
                    if sure >= self.confident:
                        decided[row].append(_plain(member.class_names[index]))
        failed = (rejects.sum(1) >= self.quorum) & valid
        return Verdict(failed, valid, own, tuple(self._agreed(one, name) for one in decided))

    def _agreed(self, decided: Sequence[str], name: str) -> str:
        """Another class that as many members as the quorum recognise."""
        for one in dict.fromkeys(decided):
            if one != _plain(name) and decided.count(one) >= self.quorum:
                return one
        return ""

    def position(self, name: str) -> int:
        """Number of a class.

        Raises:
            UnknownNameError: it was not named.
        """
        if name not in self.classes:
            raise unknown_name("class", name, self.classes)
        return self.classes.index(name)

    def describe(self) -> dict[str, object]:
        """What a record holds of it."""
        return {
            "members": [{"name": one.name, "weights": weights_of(one)} for one in self.members],
            "thresholds": list(self.thresholds),
            "quorum": self.quorum,
            "confident": self.confident,
            "robust": list(self.robust),
            "views": vars(self.views),
        }


def independent_judge(judge: Classifier, discriminator: Discriminator) -> Judge:
    """A classifier that takes no part in the search, as a judge of what the search found.

    Raises:
        InputError: it is a member, or does not know a class.
    """
    own = weights_of(judge)
    for member in discriminator.members:
        if own is not None and own == weights_of(member):
            raise InputError(f"{judge.name} took part in the search as {member.name}; a judge is another classifier")
    columns = {name: _index(judge, name) for name in discriminator.classes}

    @torch.no_grad()
    def shows(images: Tensor, name: str) -> Tensor:
        return (judge(as_prepared(judge, images.clamp(0, 1))).argmax(1) == columns[name]).cpu()

    return shows


def _each(threshold: float | Sequence[float], count: int) -> tuple[float, ...]:
    values = (threshold,) * count if isinstance(threshold, int | float) else tuple(threshold)
    if len(values) != count or not all(0 < one < 1 for one in values):
        raise InputError(f"a threshold is a probability in (0, 1), one for all or {count} of them; got {values}")
    return values


def _plain(name: str) -> str:
    """A class by its first name, in small letters: classes of ImageNet list several."""
    return name.split(",")[0].replace("_", " ").strip().lower()


def _index(member: Classifier, name: str) -> int:
    names = [_plain(one) for one in member.class_names]
    if _plain(name) not in names:
        raise unknown_name(f"class of {member.name}", name, member.class_names)
    return names.index(_plain(name))


def _is_robust(member: Classifier) -> bool:
    method = str(member.recipe.get("method", ""))
    if method != "treat":
        return method in ADVERSARIAL
    treatments = member.recipe.get("treatments")
    given = treatments if isinstance(treatments, list | tuple) else ()
    return any(isinstance(one, Mapping) and one.get("method") in ADVERSARIAL_TREATMENTS for one in given)
