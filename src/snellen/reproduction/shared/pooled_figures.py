"""Figures of several blocks of images, as those of all of them: how a large set is measured without holding it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snellen.reproduction.sample import Figure, Sample, mean_of


def pooled(blocks: Sequence[tuple[int, Mapping[str, Figure]]]) -> dict[str, Figure]:
    """Figures of blocks as those of all: what has a value for each image is joined, numbers are averaged by images.

    Medians of blocks are no median and are left out, unless there is one block. What no block could measure is None.

    >>> found = pooled([(3, {"a": Sample((1.0, 0.0)), "b": 1.0}), (1, {"a": None, "b": 0.0})])
    >>> found["a"].values, found["b"]
    ((1.0, 0.0), 0.75)

    Args:
        blocks: number of images and figures of each, with the same names.
    """
    if len(blocks) == 1:
        return dict(blocks[0][1])
    total, found = sum(count for count, _ in blocks), dict[str, Figure]()
    for name in blocks[0][1]:
        values = [(count, figures[name]) for count, figures in blocks]
        samples = [one.values for _, one in values if isinstance(one, Sample)]
        if samples or all(one is None for _, one in values):
            found[name] = Sample.of([value for sample in samples for value in sample]) if samples else None
        elif "median" not in name:
            found[name] = sum(count * (mean_of(one) or 0.0) for count, one in values) / total
    return found
