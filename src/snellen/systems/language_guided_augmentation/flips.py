"""Score s(y, c) = Σ_{o ∈ c} n_flip(y, o) / n_occ(y, o) of each merged phrase c of a class y: stage 4 of ASPIRE.

As published, one rare phrase with a single flip has the score 1 and tops the list, and an edit that damages the image
counts like one that removes a shortcut. So the ranking is by the lower end of the Wilson interval of the share of
images that flip beyond their controls, among phrases of enough images; the published score is reported beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from snellen.core.randomness import Randomness
from snellen.metrics.clustered import ClusteredMean, clustered_mean
from snellen.metrics.intervals import paired_difference, wilson
from snellen.metrics.paired_test import mcnemar
from snellen.systems.language_guided_augmentation.discovery import EditRow
from snellen.systems.language_guided_augmentation.words import SIMILARITY, merged


@dataclass(frozen=True)
class Lean:
    """One merged phrase of one class: how often its edits flip decisions, and how often their controls do.

    Attributes:
        label: the class.
        phrase: the most frequent of its phrases.
        rows: its occurrences in images that the classifier gets right.
        units: code of each image's unit, by id; None where every image is one.
        support: images with edit and control from which it is ranked and tested.
    """

    label: int
    phrase: str
    rows: tuple[EditRow, ...]
    units: Mapping[str, int] | None = None
    support: int = 5

    @cached_property
    def score(self) -> float:
        """The published score: over its phrases, the sum of flips / occurrences; above 1 where several are merged."""
        occurrences = Counter(row.phrase for row in self.rows)
        flips = Counter(row.phrase for row in self.rows if row.flipped)
        return sum(flips[phrase] / count for phrase, count in occurrences.items())

    @property
    def flips(self) -> tuple[EditRow, ...]:
        """Rows whose edit changed the decision."""
        return tuple(row for row in self.rows if row.flipped)

    @property
    def shown(self) -> tuple[EditRow, ...]:
        """Flips whose control leaves the decision as it was: not of the editing, as far as one image can say."""
        return tuple(row for row in self.flips if row.tested and row.control == row.label)

    @cached_property
    def pairs(self) -> dict[str, tuple[bool, bool]]:
        """Image → whether one of its edits flips, and whether one of their controls does; where both were made."""
        found: dict[str, tuple[bool, bool]] = {}
        for row in self.rows:
            if row.tested:
                edit, control = found.get(row.example_id, (False, False))
                found[row.example_id] = (edit or row.flipped, control or row.control != row.label)
        return found

    @property
    def images(self) -> int:
        """Images with edit and control."""
        return len(self.pairs)

    @property
    def only(self) -> tuple[int, int]:
        """Images that the edit alone flips, and that the control alone flips."""
        return (
            sum(edit and not control for edit, control in self.pairs.values()),
            sum(control and not edit for edit, control in self.pairs.values()),
        )

    @property
    def beyond(self) -> int:
        """Images that flip beyond the control, net; 0 or more."""
        edit, control = self.only
        return max(edit - control, 0)

    @property
    def lower(self) -> float:
        """Lower end of the Wilson interval of the share that flips beyond the control; 0 without images."""
        return wilson(self.beyond, self.images).low

    @property
    def supported(self) -> bool:
        """Whether there are enough images."""
        return self.images >= self.support

    def share(self, control: bool = False) -> float:
        """Share of images that flip under the edit, or under the control."""
        return sum(pair[control] for pair in self.pairs.values()) / max(self.images, 1)

    def p_value(self) -> float:
        """One-sided, of "edits flip no more than their controls": McNemar's exact test; by units where there are."""
        if self.units is None:
            return mcnemar(*self.only, alternative="greater")
        return self.beyond_mean().p_value()

    def bound(self, confidence: float) -> float:
        """One-sided lower bound of the share that flips beyond the control, in [0, 1]."""
        if self.units is None:
            return max(paired_difference(*self.only, self.images, 2 * confidence - 1).low, 0.0)
        return max(self.beyond_mean().lower(confidence), 0.0)

    def lost(self) -> dict[str, float]:
        """Image → 1 where the edit alone flips, −1 where the control alone does, else 0."""
        return {key: float(edit) - float(control) for key, (edit, control) in self.pairs.items()}

    def beyond_mean(self) -> ClusteredMean:
        """Mean of :meth:`lost` over the images, by units; there is at least one image."""
        units = None if self.units is None else np.array([self.units[key] for key in self.pairs], dtype=np.int64)
        return clustered_mean(list(self.lost().values()), units, pseudo_units=1.0)


def ranked(
    rows: Sequence[EditRow],
    *,
    support: int = 5,
    similarity: float = SIMILARITY,
    units: Mapping[str, int] | None = None,
) -> dict[int, list[Lean]]:
    """Merged phrases of each class, what it leans on most first; those of too few images come last.

    Args:
        rows: of all classes.
        support: images with edit and control that a phrase needs.
        similarity: least cosine of phrases that are merged.
        units: code of each image's unit, by id.
    """
    found: dict[int, list[Lean]] = {}
    for label in sorted({row.label for row in rows}):
        own = [row for row in rows if row.label == label]
        leaders = merged((row.phrase for row in own), similarity=similarity)
        clusters: dict[str, list[EditRow]] = {}
        for row in own:
            clusters.setdefault(leaders[row.phrase], []).append(row)
        leans = [Lean(label, phrase, tuple(part), units, support) for phrase, part in clusters.items()]
        order = {one.phrase: (not one.supported, -one.lower, -one.score, -len(one.rows)) for one in leans}
        found[label] = sorted(leans, key=lambda one: (order[one.phrase], one.phrase))
    return found


def selected(
    leans: Sequence[Lean], rng: Randomness, *, first: int = 15, later: int = 10, most: int = 35
) -> list[EditRow]:
    """Edits of one class that stand for its shortcuts: what a generator is to be taught by.

    Down the ranking, up to ``first`` flips of the first phrase and ``later`` of each further one, ``most`` in all. They
    are drawn by the images' ids. An image whose control flips too, and phrases that flip no more than their controls,
    have none.

    Args:
        leans: of the class, as :func:`ranked` orders them.
        rng: of the check, not bound.
        first: most of the first phrase.
        later: most of each further one.
        most: in all.
    """
    chosen: list[EditRow] = []
    taken = [one for one in leans if one.supported and one.beyond]
    for place, one in enumerate(taken):
        rows = list(one.shown)
        draws = rng.child("selected", one.phrase).for_examples([row.example_id for row in rows]).uniform("order", ())
        order = sorted(range(len(rows)), key=lambda number: (float(draws[number]), number))
        quota = min(later if place else first, most - len(chosen))
        chosen += [rows[number] for number in order[:quota]]
    return chosen
