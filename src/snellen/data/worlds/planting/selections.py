"""Defects of selection: rare classes, combinations of factors that never occur, and hidden subgroups."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.factors import column_of, lighting_of, row_of, size_of, tilt_of
from snellen.data.worlds.planting.planted_defect import (
    PlantedDefect,
    choose_exactly,
    integer_by_id,
    single_labels,
    uniform_by_id,
)
from snellen.data.worlds.planting.truth import with_truth

#: Value of a factor.
Value = str | int | float | bool | None

#: Path of a factor → the value that it must have, or the values that it may have.
Condition = dict[str, str | bool | int | float | tuple[str, ...]]

#: Names of numbers in the record of a scene: name → (number, how it is named).
_NAMED: dict[str, tuple[str, Callable[[float], str]]] = {
    "size": ("radius", size_of),
    "tilt": ("rotation", tilt_of),
    "column": ("x", column_of),
    "row": ("y", row_of),
    "name": ("level", lighting_of),
}


def factor(record: Mapping[str, object], path: str) -> Value:
    """Look one factor up in a record of attributes.

    A path names keys and positions from the outside in. Numbers of scenes have names too: "objects.0.size" (of the
    radius), "tilt", "column", "row" and "light.name".

    >>> scene = {"background": "grass", "objects": [{"colour": "red", "radius": 0.43}]}
    >>> factor(scene, "objects.0.colour"), factor(scene, "background"), factor(scene, "objects.0.size")
    ('red', 'grass', 'small')

    Raises:
        InputError: there is no such factor, or it is not a single value.
    """
    found: object = record
    walked: list[str] = []
    for part in path.split("."):
        found = _step(found, part, ".".join(walked) or "the record", path)
        walked.append(part)
    if isinstance(found, Mapping | list | tuple):
        raise InputError(f"factor {path!r} holds several values ({_keys(found)}); name one of them, as in {path}.…")
    assert found is None or isinstance(found, str | int | float | bool)
    return found


def holds(record: Mapping[str, object], condition: Condition) -> bool:
    """Whether all factors have the values of the condition.

    >>> holds({"shape": "star", "colour": "red"}, {"shape": "star", "colour": ("red", "blue")})
    True
    """
    return all(
        factor(record, path) in wanted if isinstance(wanted, tuple) else factor(record, path) == wanted
        for path, wanted in condition.items()
    )


def rows_where(images: ImageSet, conditions: Sequence[Condition]) -> NDArray[np.bool_]:
    """Rows whose attributes meet at least one condition: bool (n,).

    Raises:
        InputError: an image has no attributes, or not the factor of the condition.
    """
    met = np.zeros(len(images), dtype=np.bool_)
    for index, (example_id, text) in enumerate(zip(images.ids, images.column("attributes"), strict=True)):
        if text is None:
            raise InputError(f"{images.name}: image {example_id!r} has no attributes to put a condition on")
        try:
            record = json.loads(str(text))
            met[index] = any(holds(record, condition) for condition in conditions)
        except InputError as error:
            raise InputError(f"{images.name}: image {example_id!r}: {error}") from error
    return met


def _step(found: object, part: str, where: str, path: str) -> object:
    if isinstance(found, Mapping):
        if part in found:
            return found[part]
        number, name = _NAMED.get(part, ("", str))
        if isinstance(found.get(number), int | float):
            return name(found[number])
    elif isinstance(found, list | tuple) and part.isdecimal() and int(part) < len(found):
        return found[int(part)]
    raise InputError(f"no factor {path!r}: {where} has no {part!r}; it has: {_keys(found)}")


def _keys(found: object) -> str:
    if isinstance(found, Mapping):
        return ", ".join(map(str, found)) or "nothing"
    return f"0 … {len(found) - 1}" if isinstance(found, list | tuple) and found else repr(found)


class Imbalance(PlantedDefect):
    """Images of some classes left out, so that classes become unequal.

    Of K classes in order, class k keeps the share ratio^(−k / (K − 1)) of its images (exponential; Cui et al. 2019), or
    the first half keeps all and the others the share 1 / ratio (step; Buda et al. 2018). Shares are of each class's own
    number, rounded, and at least one image stays. Numbers are exact, so which images stay depends on which there are,
    but not on their order. Images without a label, and those out of reach, stay.

    ``planted`` holds, for every image that was in reach, which share of its class was kept.

    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((300, 4, 4), dtype=np.uint8), np.arange(300) % 3)
    >>> np.bincount(Imbalance(ratio=100).plant(images, rng=Randomness(0)).labels).tolist()
    [100, 10, 1]
    """

    name: ClassVar[str] = "imbalance"

    ratio: float = Field(10.0, ge=1, le=1e6, description="the largest share that a class keeps over the smallest")
    profile: Literal["exponential", "step"] = Field("exponential", description="how shares fall from class to class")
    order: tuple[int, ...] | None = Field(None, description="all classes, from the fullest; None: by their index")

    def shares(self, classes: int) -> NDArray[np.float64]:
        """Share that each class keeps, float64 (K,) in (0, 1].

        Raises:
            InputError: ``order`` does not name each class once.
        """
        order = np.asarray(self.order if self.order is not None else range(classes), dtype=np.int64)
        if sorted(order.tolist()) != list(range(classes)):
            raise InputError(f"order must name each of the classes 0 … {classes - 1} once, got {order.tolist()}")
        place = np.empty(classes, dtype=np.float64)
        place[order] = np.arange(classes)
        if self.profile == "step":
            return np.where(place < (classes + 1) // 2, 1.0, 1 / self.ratio)
        return self.ratio ** -(place / max(classes - 1, 1))

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """The images that stay, in their order.

        Raises:
            InputError: there are no labels, only test images, or ``order`` does not fit.
        """
        labels, classes = single_labels(images, "imbalance")
        reach = self.rows_in_reach(images) & (labels >= 0)
        shares, ids, draws = self.shares(classes), images.ids, self.draws(rng)
        kept = ~reach
        for number, share in enumerate(shares.tolist()):
            of_class = reach & (labels == number)
            kept |= choose_exactly(draws, ids, "kept", of_class, max(1, round(share * int(of_class.sum()))))
        entries = [
            {"kept_share": float(shares[label])} if hit else None
            for label, hit in zip(labels.tolist(), reach.tolist(), strict=True)
        ]
        return with_truth(images, self.truth_key, entries).select(np.flatnonzero(kept))


class MissingCombinations(PlantedDefect):
    """Images left out because of what their attributes say, such as all red stars.

    Nothing is drawn: an image stays or goes by its attributes alone. Conditions are those of
    :mod:`snellen.data.worlds.planting.selections`; one that holds is enough.

    >>> from dataclasses import replace
    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((3, 4, 4), dtype=np.uint8), [0, 1, 0])
    >>> table = images.table.append_column("attributes", [['{"colour": "red"}', '{"colour": "blue"}', "{}"]])
    >>> images = replace(images, table=table).select([0, 1])
    >>> MissingCombinations(combinations=({"colour": "red"},)).plant(images, rng=Randomness(0)).ids
    ['000001']
    """

    name: ClassVar[str] = "missing_combinations"

    combinations: tuple[Condition, ...] = Field(
        ({"objects.0.shape": "star", "objects.0.colour": "red"},),
        min_length=1,
        description="path of a factor → value, or values; images that meet all of one are left out",
    )

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """The images that stay, in their order. The defect alone shows what is missing.

        Raises:
            InputError: images without such attributes, only test images, or nothing would stay.
        """
        gone = self.rows_in_reach(images) & rows_where(images, self.combinations)
        if len(images) and not gone.any():
            raise InputError(f"no image of {images.name} within reach meets {self.combinations}; is a value misspelt?")
        if len(images) and gone.all():
            raise InputError(f"all {len(images)} images of {images.name} meet {self.combinations}; nothing would stay")
        return with_truth(images, self.truth_key, [None] * len(images)).select(np.flatnonzero(~gone))


class HiddenSubgroup(PlantedDefect):
    """A subgroup whose labels are mostly wrong, or with few images left.

    The column ``group`` does not name it, so that it has to be found; ``planted`` says for each image of the subgroup
    that it is a member, and whether its label is wrong.

    >>> HiddenSubgroup(members={"background": "night"}, how="rare", rate=0.9).how
    'rare'
    """

    name: ClassVar[str] = "hidden_subgroup"

    members: Condition = Field(
        {"background": "night"}, min_length=1, description="path of a factor → value, or values: who is a member"
    )
    how: Literal["wrong labels", "rare"] = Field(
        "wrong labels", description="wrong labels: another class, all others alike; rare: images are left out"
    )
    rate: float = Field(0.8, ge=0, le=1, description="probability that it happens to a member")

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """The images with the subgroup.

        Raises:
            InputError: images without such attributes, no members, no labels to make wrong, or only test images.
        """
        reach, member = self.rows_in_reach(images), rows_where(images, (self.members,))
        if len(images) and not (member & reach).any():
            raise InputError(f"no image of {images.name} within reach meets {self.members}")
        draws = self.draws(rng)
        struck = reach & member & (uniform_by_id(draws, images.ids, "struck") < self.rate)
        if self.how == "rare":
            marked = with_truth(images, self.truth_key, [{"member": True} if one else None for one in member.tolist()])
            return marked.select(np.flatnonzero(~struck))
        labels, classes = single_labels(images, "a subgroup with wrong labels", least_classes=2)
        step = 1 + integer_by_id(draws, images.ids, "class", classes - 1)
        wrong = struck & (labels >= 0)
        entries = [
            {"member": True, "wrong_label": bad} if one else None
            for one, bad in zip(member.tolist(), wrong.tolist(), strict=True)
        ]
        return with_truth(images, self.truth_key, entries, labels=np.where(wrong, (labels + step) % classes, labels))
