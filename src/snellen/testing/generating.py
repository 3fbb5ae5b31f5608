"""What every method that makes images promises, as a plain function that raises ``AssertionError``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from snellen.core.images import ImageSet, Provenance
from snellen.core.method import GeneratorMethod
from snellen.core.randomness import Randomness

#: Levels of 255 by which a pixel may differ in another batch.
_ROUNDING = 1


def check_generator(method: GeneratorMethod, requests: Sequence[Mapping[str, Any]]) -> None:
    """What every method that makes images promises.

    The images of each request, in the order of the requests, named by its id (``ID``, or ``ID/…`` for several);
    provenance of each; requests stay as they are; the same images again, and in any batch up to rounding.

    Args:
        method: with parameters under which it takes a moment.
        requests: at least two that it can serve, with ids.
    """
    assert len(requests) > 1, "at least two requests are needed to compare batches"
    kept = [dict(request) for request in requests]
    made = method.generate(requests, rng=Randomness(0))
    assert [dict(request) for request in requests] == kept, "the requests were changed in place"
    owners = [_owner(example_id, requests) for example_id in made.ids]
    assert owners == sorted(owners), "images are in another order than their requests"
    assert set(owners) == set(range(len(requests))), "a request without an image"
    assert len(set(made.ids)) == len(made), "two images of one id"
    for row, text in enumerate(made.column("provenance")):
        Provenance.model_validate_json(str(text))
        assert made.read(row).mode == "RGB", "an image is not RGB"
    again = method.generate(requests, rng=Randomness(0))
    assert again.ids == made.ids, "the same seed makes other images"
    _check_same(again, made, list(range(len(made))), 0, "the same seed makes other images")
    last = len(requests) - 1
    alone = method.generate([requests[last]], rng=Randomness(0))
    rows = [row for row, owner in enumerate(owners) if owner == last]
    assert alone.ids == [made.ids[row] for row in rows], "another batch makes other images"
    _check_same(alone, made, rows, _ROUNDING, "another batch makes other images")


def _owner(example_id: str, requests: Sequence[Mapping[str, Any]]) -> int:
    """Position of the request that an image belongs to."""
    for position, request in enumerate(requests):
        if example_id == request["id"] or example_id.startswith(f"{request['id']}/"):
            return position
    raise AssertionError(f"image {example_id!r} belongs to no request")


def _check_same(part: ImageSet, whole: ImageSet, rows: Sequence[int], tolerance: int, message: str) -> None:
    """Pixels and captions."""
    assert [whole.column("caption")[row] for row in rows] == list(part.column("caption")), message
    for one, row in enumerate(rows):
        first, second = np.asarray(part.read(one)).astype(int), np.asarray(whole.read(row)).astype(int)
        assert first.shape == second.shape, message
        assert np.abs(first - second).max() <= tolerance, message
