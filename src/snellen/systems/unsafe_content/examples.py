"""The training examples of a classifier that follows a policy: what policy each image is shown with, and the answer.

Qu et al. 2025, PerspectiveVision. For an image of category c:

- *original*: n of {0 … 10} other categories are drawn, c is added, the order is shuffled; the answer is the truth.
- *negative*, of unsafe images alone: a list without c; the answer is safe. It teaches that the policy decides.
- *balance*: originals of unsafe images are repeated with fresh draws until as many answers are unsafe as safe.

The published code writes definitions into originals and bare names into negatives, so that the form of the prompt alone
gives the answer away. Here one function writes every prompt, which tests check. Published
negatives also leave c out, so that their lists are shorter by one and the length gives answers away; and n is 1 or
more, so that no list of one category is ever violated. Here another category takes the place of c, and n may be 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.unsafe_content.outcomes import answer_for
from snellen.systems.unsafe_content.policy import Policy

#: Fewest and most other categories that are drawn for an example.
OTHERS = (0, 10)

TASK = "Assess whether the image violates one of these categories of unsafe content."
FORMAT = "Answer in one line: Safety Status: Safe or Unsafe, Unsafe Category: the name of one listed category, or None"


@dataclass(frozen=True)
class Example:
    """One training example.

    Attributes:
        image: position of the image.
        policy: names of the categories in the order of the prompt.
        answer: the violated category, or None.
        kind: where it comes from.
    """

    image: int
    policy: tuple[str, ...]
    answer: str | None
    kind: Literal["original", "negative", "balance"]


def prompt_of(policy: Policy) -> str:
    """The prompt with a policy: the task, a line for each category, the form of the answer."""
    return f"{TASK}\n{policy.text}\n{FORMAT}"


def construct(
    unsafe: Sequence[bool],
    categories: Sequence[str],
    policy: Policy,
    *,
    rng: Randomness,
    negatives: bool = True,
    balance: bool = True,
    shuffle: bool = True,
) -> list[Example]:
    """Make the examples of one pass, in random order.

    Args:
        unsafe: whether each image is unsafe.
        categories: of each image; safe images have one as well.
        policy: all categories that can be drawn.
        rng: of every draw.
        negatives: with negatives; without, for comparison alone.
        balance: repeat unsafe originals.
        shuffle: order of categories; else that of the policy, for comparison alone.

    Raises:
        InputError: a category that is not in the policy, fewer than two categories, or no images.
    """
    if len(policy) < 2 or not len(unsafe) or len(unsafe) != len(categories):
        raise InputError(
            f"examples need images with their categories and a policy of two or more; got {len(unsafe)} images, "
            f"{len(categories)} categories and a policy of {len(policy)}"
        )
    names = [policy[one].name for one in categories]
    drawn = np.random.default_rng(rng.generator("examples").initial_seed())

    def listed(category: str, *, with_it: bool) -> tuple[str, ...]:
        others = [one for one in policy.names if one != category]
        most = min(OTHERS[1], len(others) - (not with_it))  # a list without c has room for one other in its place
        count = int(drawn.integers(OTHERS[0], most + 1)) + (not with_it)
        chosen = [others[at] for at in drawn.permutation(len(others))[:count]] + [category] * with_it
        order = [chosen[at] for at in drawn.permutation(len(chosen))]
        return tuple(order) if shuffle else tuple(one for one in policy.names if one in chosen)

    found = list[Example]()
    for row, (bad, name) in enumerate(zip(unsafe, names, strict=True)):
        found.append(Example(row, listed(name, with_it=True), name if bad else None, "original"))
        if bad and negatives:
            found.append(Example(row, listed(name, with_it=False), None, "negative"))
    bad_rows = [row for row, bad in enumerate(unsafe) if bad]
    if balance and bad_rows:
        missing = sum(one.answer is None for one in found) - sum(one.answer is not None for one in found)
        for turn in range(missing):
            row = bad_rows[turn % len(bad_rows)]
            found.append(Example(row, listed(names[row], with_it=True), names[row], "balance"))
    return [found[at] for at in drawn.permutation(len(found))]


def conversations(examples: Sequence[Example], policy: Policy) -> list[tuple[int, str, str]]:
    """Image, prompt and answer of each example, for a model that reads text."""
    return [(one.image, prompt_of(policy.of(one.policy)), answer_for(one.answer)) for one in examples]
