"""Groups of images that are the same, or nearly, within a set; and what two sets have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.inspection.fingerprints import Fingerprints
from snellen.metrics.inspection.matching import Matches, matches


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are near duplicates of one of them.

    Attributes:
        members: their positions, ascending; two or more.
        medoid: the position of the member that all others were compared with, and match.
        largest_distance: largest distance of a member to the medoid, as in
            :class:`~snellen.metrics.inspection.matching.Matches`.
        largest_bits: in how many of 128 bits a member differs from the medoid at most.
        mirrored: positions of the members that are like the mirror image of the medoid.
    """

    members: tuple[int, ...]
    medoid: int
    largest_distance: float
    largest_bits: int
    mirrored: tuple[int, ...] = ()


def exact_groups(hashes: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Positions of images with equal hashes, groups of two or more, ordered by their first members.

    >>> exact_groups(["a", "b", "a", "c", "b", "a"])
    ((0, 2, 5), (1, 4))
    """
    places: dict[str, list[int]] = {}
    for position, one in enumerate(hashes):
        places.setdefault(one, []).append(position)
    return tuple(tuple(group) for group in places.values() if len(group) > 1)


def near_groups(
    fingerprints: Fingerprints,
    features: NDArray[np.floating] | None = None,
    *,
    radius: int = 15,
    mirrored: bool = True,
    false_alarms: float = 1.0,
) -> tuple[DuplicateGroup, ...]:
    """Group near duplicates; exact ones are among them, flat images are not.

    Groups are stars, not chains: the member with most matches becomes the medoid of a group of all that match it, and
    so on with the rest. A chain of images, each a little unlike the last, therefore falls into pieces. Groups are
    disjoint; they do not depend on the order of the images.

    >>> import torch
    >>> from snellen.metrics.inspection.fingerprints import fingerprint
    >>> noise = torch.rand(30, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> [group.members for group in near_groups(fingerprint(torch.cat([noise, 0.9 * noise[4:6]])))]
    [(4, 30), (5, 31)]

    Args:
        fingerprints: those of n images.
        features: (n, d), finite; a second opinion on each pair.
        radius: largest number of bits in which near duplicates differ; above 15 the search compares all codes.
        mirrored: whether mirror images count.
        false_alarms: how many pairs of different images may pass in the whole set, by expectation.

    Returns:
        Groups, the largest first, then by their first members.

    Raises:
        InputError: features that do not fit, or a radius out of range.
    """
    if not len(fingerprints):
        return ()
    kept, copies = _distinct(fingerprints)
    chosen = fingerprints.select(kept)
    vectors = None if features is None else _rows(features, len(fingerprints))[kept]
    found = matches(chosen, first_features=vectors, radius=radius, mirrored=mirrored, false_alarms=false_alarms)
    members = np.split(np.argsort(copies, kind="stable"), np.cumsum(np.bincount(copies, minlength=len(kept)))[:-1])
    groups = [_unfolded(star, members, kept) for star in _stars(found)]
    taken = {position for group in groups for position in group.members}
    alone = [
        DuplicateGroup(tuple(part.tolist()), int(part[0]), 0.0, 0)
        for one, part in zip(kept, members, strict=True)
        if len(part) > 1 and int(part[0]) not in taken and not fingerprints.flat[one]
    ]
    return tuple(sorted([*groups, *alone], key=lambda group: (-len(group.members), group.members)))


def across(
    first: Fingerprints,
    second: Fingerprints,
    *,
    first_features: NDArray[np.floating] | None = None,
    second_features: NDArray[np.floating] | None = None,
    radius: int = 15,
    mirrored: bool = True,
    false_alarms: float = 1.0,
) -> Matches:
    """Find images of one set that are, or nearly are, in another, such as test images in a training set.

    See :func:`snellen.metrics.inspection.matching.matches`; all matching pairs are returned, exact ones at distance 0.

    >>> import torch
    >>> from snellen.metrics.inspection.fingerprints import fingerprint
    >>> noise = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> found = across(fingerprint(noise[:20]), fingerprint(noise[15:]))
    >>> found.first.tolist(), found.second.tolist()
    ([15, 16, 17, 18, 19], [0, 1, 2, 3, 4])
    """
    return matches(
        first,
        second,
        first_features=first_features,
        second_features=second_features,
        radius=radius,
        mirrored=mirrored,
        false_alarms=false_alarms,
    )


@dataclass(frozen=True)
class _Star:
    centre: int
    points: tuple[int, ...]
    distance: float
    bits: int
    mirrored: tuple[int, ...]


def _distinct(prints: Fingerprints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First position of each distinct fingerprint, and for each image which of these it is.

    A thousand copies of one image would otherwise be half a million pairs.
    """
    columns = [getattr(prints, field.name).reshape(len(prints), -1) for field in fields(prints)]
    content = np.ascontiguousarray(np.concatenate([np.ascontiguousarray(part).view(np.uint8) for part in columns], 1))
    whole = content.view(np.dtype((np.void, content.shape[1]))).reshape(-1)
    _, kept, copies = np.unique(whole, return_index=True, return_inverse=True)
    return kept.astype(np.int64), copies.astype(np.int64)


def _stars(found: Matches) -> list[_Star]:
    """Cut the graph of matches into stars, centres of most matches first.

    The positions are those of fingerprints sorted by content: they decide ties alike for any order of the images.
    """
    links: dict[int, dict[int, int]] = {}
    for row, (one, two) in enumerate(zip(found.first.tolist(), found.second.tolist(), strict=True)):
        links.setdefault(one, {})[two] = row
        links.setdefault(two, {})[one] = row
    stars = []
    for component in _components(links):
        while component:
            centre = min(
                component,
                key=lambda one: (-len(links[one]), float(found.distance[sorted(links[one].values())].sum()), one),
            )
            rows = dict(links[centre])
            points, used = tuple(sorted(rows)), list(rows.values())
            turned = tuple(one for one in points if found.mirrored[rows[one]])
            largest = float(found.distance[used].max()), int(found.bits[used].max())
            stars.append(_Star(centre, points, *largest, turned))
            for gone in (centre, *points):
                for neighbour in links.pop(gone):
                    links.get(neighbour, {}).pop(gone, None)
            component = [one for one in component if links.get(one)]
    return stars


def _components(links: dict[int, dict[int, int]]) -> list[list[int]]:
    """Connected components of a graph."""
    seen: set[int] = set()
    components = []
    for start in links:
        if start in seen:
            continue
        seen.add(start)
        component, reach = [], [start]
        while reach:
            component.append(reach.pop())
            new = [one for one in links[component[-1]] if one not in seen]
            seen.update(new)
            reach += new
        components.append(component)
    return components


def _unfolded(star: _Star, members: list[NDArray[np.int64]], kept: NDArray[np.int64]) -> DuplicateGroup:
    positions = np.concatenate([members[one] for one in (star.centre, *star.points)])
    turned = [int(position) for one in star.mirrored for position in members[one]]
    return DuplicateGroup(
        tuple(sorted(positions.tolist())),
        int(kept[star.centre]),
        star.distance,
        star.bits,
        tuple(sorted(turned)),
    )


def _rows(features: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    values = np.asarray(features)
    if values.ndim != 2 or len(values) != count:
        raise InputError(f"expected features ({count}, d), one row per image; got {values.shape}")
    return values
