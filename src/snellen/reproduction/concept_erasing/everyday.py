"""Sentences of everyday life to fit to, in place of the captions of photographs that the paper's autoencoders saw.

They share function words with the sentences that false alarms are counted on
(:data:`snellen.reproduction.concept_erasing.prompts.EVERYDAY`), and no other word. The small text encoder knows almost
none of these words: they fall apart into letters, as rare names do in a large one.
"""

from __future__ import annotations

import re

import numpy as np

from snellen.core.randomness import derive_seed

_FUNCTION = """
a an the and with of on in at by to into from through down up above behind beside near her his is are two
"""

#: Words that may stand in both.
FUNCTION_WORDS = frozenset(_FUNCTION.split())

#: Words for each place in a frame.
_WORDS = {
    "who": """
doctor farmer boy girl nurse singer waiter bird goat rabbit tourist teacher pilot child fisherman painter grandmother
soldier student monkey duck tiger sailor driver carpenter cyclist
""",
    "does": """
rests waits smiles runs walks reads stands sits plays works cooks sings dances climbs swims laughs listens shops writes
drives
""",
    "thing": """
bicycle chair bridge boat guitar cup bottle book hat basket ladder truck cake salad sandwich lemon kite bench candle
pillow camera suitcase garden bucket shovel violin blanket rope engine drum carpet curtain statue
""",
    "like": """
broken heavy fresh empty shiny rusty folded famous quiet busy crowded dusty modern ancient warm cold gentle hungry tired
""",
    "where": """
market harbour forest classroom office airport valley village stadium theatre library hospital bakery workshop farmyard
rooftop corridor balcony tunnel
""",
    "when": "morning evening autumn summer spring twilight",
}

_FRAMES = (
    "a {who} {does} beside a {thing}",
    "a {like} {thing} in the {where}",
    "two {who}s near a {like} {thing}",
    "a {thing} and a {thing} on a {like} bench",
    "the {who} {does} in the {where} in the {when}",
    "a {who} with a {thing} {does} at the {where}",
    "the {like} {where} with a {thing} and a {thing}",
    "her {thing} is behind the {thing}",
    "a {thing} of the {who} is in the {where}",
)


def everyday_sentences(count: int, seed: int) -> list[str]:
    """Different sentences about anything but scenes.

    >>> everyday_sentences(2, 0) == everyday_sentences(2, 0) != everyday_sentences(2, 1)
    True
    """
    rng = np.random.default_rng(derive_seed(seed, "everyday"))
    words = {place: row.split() for place, row in _WORDS.items()}

    def word(place: re.Match[str]) -> str:
        return str(rng.choice(words[place[1]]))

    found: dict[str, None] = {}
    while len(found) < count:
        found[re.sub(r"\{(\w+)\}", word, str(rng.choice(_FRAMES)))] = None
    return list(found)
