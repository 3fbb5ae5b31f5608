"""Test sets with a part of the classes: scores are restricted to these before the largest is taken.

ImageNet-R and ObjectNet hold some classes of ImageNet. A decision for one of the others cannot be right, so a model
decides between the *shared* classes alone: the mask acts on scores, before the argmax. A decision that is masked
afterwards is another and lower figure. A class of the test set may stand for several of the model (a shirt of ObjectNet
is two kinds of ImageNet): the best of these counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: For each class of a test set, in its order, the classes of the model that it stands for.
Groups = tuple[tuple[int, ...], ...]


def shared_classes(
    model: Sequence[str], test: Sequence[str], names: Mapping[str, str | Sequence[str]] | None = None
) -> Groups:
    """Which classes of a model each class of a test set stands for.

    >>> shared_classes(["cat", "dog", "tabby"], ["dog", "cat"], {"cat": ["cat", "tabby"]})
    ((1,), (0, 2))

    Args:
        model: names of the model's classes, each once.
        test: names of the test set's classes.
        names: names of the model's classes for a class of the test set that is called otherwise, or stands for several.

    Raises:
        InputError: a class that the model does not have; one of the model for two of the test set; fewer than two.
    """
    given = names or {}
    unknown = [name for name in given if name not in test]
    if unknown:
        raise InputError(f"{unknown[0]!r} is no class of the test set, which has {', '.join(test)}")
    places = {name: index for index, name in enumerate(model)}
    found = []
    for name in test:
        own = given.get(name, name)
        wanted = [own] if isinstance(own, str) else list(own)
        lacking = [one for one in wanted if one not in places]
        if lacking or not wanted:
            meant = ", ".join(map(repr, lacking)) or "no class"
            raise InputError(
                f"class {name!r} of the test set would be {meant} of the model, which does not have it; leave its "
                f"images out, or say which of the model's classes it is"
            )
        found.append(tuple(dict.fromkeys(places[one] for one in wanted)))
    twice = [index for index, times in Counter(one for group in found for one in group).items() if times > 1]
    if twice:
        raise InputError(
            f"class {model[twice[0]]!r} of the model stands for two classes of the test set, so no decision for it can "
            f"be judged; leave one of them out"
        )
    if len(found) < 2:
        raise InputError(f"a decision is between at least 2 classes, and the test set has {len(found)}")
    return tuple(found)


def restricted(scores: Tensor, groups: Groups) -> Tensor:
    """Scores of the shared classes alone, in the order of the test set: (n, k) → (n, m).

    >>> restricted(torch.tensor([[9.0, 1.0, 2.0]]), ((1,), (2,))).argmax(1)  # class 0 is not in the test set
    tensor([1])

    Args:
        scores: of all classes of the model.
        groups: as :func:`shared_classes` gives them; the largest score of each group counts.
    """
    return torch.stack([scores[:, list(group)].amax(1) for group in groups], 1)
