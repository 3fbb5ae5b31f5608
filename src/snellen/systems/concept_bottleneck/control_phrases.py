"""Phrases that say nothing of the images: what concepts must be better than.

LM4CV (arXiv 2308.03685) found that random words do nearly as well as concepts when there are many: as many directions
as the vectors have numbers hold all that these say, under any names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from snellen.core.randomness import Randomness
from snellen.systems.concept_bottleneck.filtering import stems

#: Everyday words that name no sign of a class.
_WORDS = """
ladder engine pepper window violin carpet salmon button hammer island candle rocket pillow turtle ticket garden
mirror bottle camera forest blanket needle puzzle anchor basket bridge bucket cactus castle cement cheese cherry
circus copper cotton cousin crayon dinner dragon drawer eagle elbow envelope farmer feather ferry fiddle finger
flute fork fossil fridge giraffe glove goose guitar harbour helmet hotel iron jacket jelly kettle kitten knife
lantern lawyer lemonade letter lizard locker magnet market meadow medal melon monkey muffin museum napkin noodle
oyster paddle parrot pencil piano pigeon pilot pirate planet pocket poem potato prison pumpkin rabbit radio river
saddle sailor school shovel singer sofa spider statue sugar tailor teapot temple thumb tiger toast towel tractor
trumpet tunnel umbrella uncle vase village wagon walnut whistle wizard yogurt zebra
"""

WORDS: tuple[str, ...] = tuple(_WORDS.split())


def random_phrases(phrases: Sequence[str], rng: Randomness, *, avoid: Sequence[str] = ()) -> tuple[str, ...]:
    """As many phrases of as many random words each, all different.

    >>> len(random_phrases(["striped", "a red object"], Randomness(0))[1].split())
    3

    Args:
        phrases: that are stood in for.
        rng: of the words.
        avoid: texts that share no word with these phrases, such as the names of the classes: "a tiger" is no random
            word where tigers are a class.
    """
    avoided = {word for text in avoid for word in stems(text)}
    words = [word for word in WORDS if not avoided.intersection(stems(word))] or WORDS
    generator = rng.generator("random words")
    found: dict[str, None] = {}
    for phrase in phrases:
        length = max(len(phrase.split()), 1)
        said = ""
        # Where all single words are used up, a phrase gets one more.
        for attempt in range(1000):
            places = torch.randint(len(words), (length + attempt // 500,), generator=generator)
            said = " ".join(words[place] for place in places.tolist())
            if said not in found:
                break
        found[said] = None
    return tuple(found)


def shuffled_phrases(phrases: Sequence[str], rng: Randomness) -> tuple[str, ...]:
    """The same phrases with the letters of all their words in random order; blanks stay where they are.

    >>> sorted(shuffled_phrases(["a red star"], Randomness(0))[0].replace(" ", "")) == sorted("aredstar")
    True
    """
    generator, found = rng.generator("shuffled letters"), dict[str, None]()
    for phrase in phrases:
        letters = [letter for letter in phrase if not letter.isspace()]
        said = phrase
        # A short phrase may come out as another did; then it is shuffled again.
        for _ in range(100):
            order = iter(torch.randperm(len(letters), generator=generator).tolist())
            said = "".join(letter if letter.isspace() else letters[next(order)] for letter in phrase)
            if said not in found:
                break
        while said in found:
            said += letters[0]
        found[said] = None
    return tuple(found)
