"""Prompts of the small world: which concepts are erased, with which words they are known, and with which they are met.

Every value of a factor has several forms that the generator was trained on. Of a concept to erase, the first form alone
occurs in what is fitted to and calibrated on; the others (a box for a square, scarlet for red) are met in tests only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Described, DescribedObject
from snellen.data.worlds.optotypes.vocabulary import forms

#: What the embedded generator can draw, by factor.
VALUES: dict[str, tuple[str, ...]] = {
    "shape": ("square", "triangle", "star", "cross", "ring", "heart"),
    "colour": ("red", "yellow", "green", "blue", "purple", "white"),
    "texture": ("plain", "striped", "dotted"),
    "background": ("grey", "grass", "sand", "brick"),
}
_SIZES, _PLACES = ("medium", "large"), ("left", "centre", "right", "top", "bottom")

#: Values that may be erased: those that have a picture of their own. Grey and plain are what is left without one.
ERASABLE = {factor: [value for value in values if value not in ("plain", "grey")] for factor, values in VALUES.items()}

#: How often a factor is left out, as in the captions that the generator was trained on.
_UNTOLD = {"colour": 0.1, "texture": 0.1, "size": 0.4, "place": 0.5, "background": 0.1}


@dataclass(frozen=True)
class Concept:
    """A value of a factor."""

    factor: str
    value: str

    @cached_property
    def known(self) -> str:
        """The form that may occur in fitting."""
        return forms(self.factor, self.value, "fitting")[0]

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """Forms that mean the same, and are met in tests only."""
        after = forms("texture after", self.value, "fitting") if self.factor == "texture" else ()
        return (*forms(self.factor, self.value, "fitting")[1:], *after)

    def is_meant(self, said: Described) -> bool:
        """Whether a description has this value."""
        if self.factor == "background":
            return said.background == self.value
        return any(getattr(one, self.factor) == self.value for one in said.objects or ())

    def uses_unseen(self, prompt: str) -> bool:
        """Whether a prompt has one of the unseen forms."""
        return any(contains(prompt, form) for form in self.unseen)


@dataclass(frozen=True)
class Prompt:
    """A prompt and what it says."""

    text: str
    said: Described

    def factors(self) -> dict[str, str]:
        """What a judge can check: factor → value."""
        one = self.said.objects[0] if self.said.objects else DescribedObject()
        told = {"shape": one.shape, "colour": one.colour, "texture": one.texture, "background": self.said.background}
        return {factor: value for factor, value in told.items() if value is not None}


def contains(prompt: str, form: str) -> bool:
    """Whether a prompt has these words.

    >>> contains("a red star", "red"), contains("a bored star", "red")
    (True, False)
    """
    return re.search(rf"\b{re.escape(form)}\b", prompt) is not None


def drawn_concepts(seed: int) -> tuple[Concept, ...]:
    """Five concepts that are erased: two shapes, a colour, a texture and a background."""
    rng = np.random.default_rng(derive_seed(seed, "concepts"))
    counts = {"shape": 2, "colour": 1, "texture": 1, "background": 1}
    return tuple(
        Concept(factor, str(value))
        for factor, count in counts.items()
        for value in rng.choice(ERASABLE[factor], count, replace=False)
    )


class PromptSource:
    """Draws prompts that differ from all that it gave before.

    Args:
        concepts: that are erased.
        seed: of everything it draws.
    """

    def __init__(self, concepts: Sequence[Concept], seed: int) -> None:
        self.concepts = tuple(concepts)
        self._rng = np.random.default_rng(derive_seed(seed, "prompts"))
        self._given: set[str] = set()

    def mixed(self, count: int) -> list[Prompt]:
        """Prompts about anything, the concepts in their known form."""
        return self._draw(count, self.concepts, lambda prompt: not self._unseen(prompt))

    def kept(self, count: int) -> list[Prompt]:
        """Prompts that mean none of the concepts."""
        return self._draw(count, (), lambda prompt: True)

    def showing(self, concept: Concept, count: int, *, unseen: bool) -> list[Prompt]:
        """Prompts that mean this concept and none of the others, in its known form or in an unseen one."""
        return self._draw(
            count,
            (concept,),
            lambda prompt: concept.is_meant(prompt.said) and concept.uses_unseen(prompt.text) == unseen,
            always=concept,
        )

    def _unseen(self, prompt: Prompt) -> bool:
        return any(concept.uses_unseen(prompt.text) for concept in self.concepts)

    def _draw(
        self,
        count: int,
        allowed: Sequence[Concept],
        wanted: Callable[[Prompt], bool],
        always: Concept | None = None,
    ) -> list[Prompt]:
        banned = {(concept.factor, concept.value) for concept in self.concepts if concept not in allowed}
        found: list[Prompt] = []
        while len(found) < count:
            prompt = self._one(banned, always)
            if prompt.text not in self._given and wanted(prompt):
                self._given.add(prompt.text)
                found.append(prompt)
        return found

    def _one(self, banned: set[tuple[str, str]], always: Concept | None) -> Prompt:
        values = {
            factor: str(self._rng.choice([value for value in known if (factor, value) not in banned]))
            for factor, known in VALUES.items()
        } | {"size": str(self._rng.choice(_SIZES)), "place": str(self._rng.choice(_PLACES))}
        told = {factor for factor in values if self._rng.random() >= _UNTOLD.get(factor, 0.0)}
        if always is not None:
            values[always.factor] = always.value
            told.add(always.factor)
        one = {factor: values[factor] for factor in told if factor != "background"}
        background = {"background": values["background"]} if "background" in told else {}
        said = Described.model_validate({"objects": ({**one},), **background})
        return Prompt(caption(said, seed=int(self._rng.integers(2**31)), detail="full"), said)


#: Sentences of everyday life, as captions of photographs are: words that the small generator does not know.
EVERYDAY = (
    "a man riding a wave on a surfboard in the ocean",
    "two dogs sleep on a sofa near the window",
    "a plate with pasta and a glass of wine",
    "a train arrives at a small station in winter",
    "children play football in a park",
    "a kitchen with wooden cabinets and a stove",
    "a giraffe eats leaves from a tall tree",
    "a woman talks on her phone in the street",
    "a bus stops in front of the museum",
    "an old clock hangs on a wall",
    "a cat looks at a laptop on a desk",
    "a pizza with cheese and olives on a table",
    "a plane flies above the clouds",
    "people wait with umbrellas in the city",
    "a bowl of apples beside a vase of flowers",
    "a skier jumps down the mountain",
    "a bedroom with a lamp and a mirror",
    "sheep graze behind a fence",
    "a motorcycle is parked by the river",
    "a baker puts bread into the oven",
)
