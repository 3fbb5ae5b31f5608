"""Inspection of sets of images beside DataEval: copies, statistics of images, drift, and labels that neighbours deny.

Two sets: the bundled thumbnails of 28 pixels, and crops of photos at 224. Copies, a shift and wrong labels are planted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import torch
from beside.contest import Contest, Peer
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from corruptions import photos
from label_errors import judged, planted

import snellen
from snellen.metrics.inspection.column_drift import property_drift
from snellen.metrics.inspection.drift import feature_drift
from snellen.metrics.inspection.duplicates import exact_groups, near_groups
from snellen.metrics.inspection.fingerprints import fingerprint, pixel_hashes
from snellen.metrics.inspection.label_errors import label_errors
from snellen.metrics.inspection.label_opinions import neighbour_opinion
from snellen.metrics.inspection.properties import ImageProperties, image_properties

PEERS = {"dataeval": "dataeval.core"}

#: Thumbnails, copies planted among them, photos, and images of each set whose drift is tested.
IMAGES, COPIES, PHOTOS, DRIFTED = 1000, 20, 32, 400

#: Positions of images that are alike.
Groups = Iterable[Sequence[int]]

#: A shift of every feature, in its standard deviations.
SHIFT = 0.3


def contests(available: Set[str]) -> Iterator[Contest]:
    """All of them."""
    if not available:
        return
    some = snellen.load_images("bundled:fashion-mnist").limit(IMAGES)
    prepare = snellen.load_classifier("bundled:fashion-cnn").prepare
    thumbnails = (torch.stack([prepare(some.read(row)) for row in range(IMAGES)]) * 255).round().to(torch.uint8)
    yield from copies(thumbnails)
    yield from statistics(thumbnails, f"{IMAGES:,} thumbnails of 28 pixels")
    pictures = torch.from_numpy(photos(PHOTOS)).permute(0, 3, 1, 2).contiguous()
    yield from statistics(pictures, f"{PHOTOS} photos of 224 pixels")
    features = thumbnails[:, 0].flatten(1).float().div(255).numpy()
    yield from drift(features[:, features.std(0) > 0.05][:, ::4])
    yield from wrong_labels(features, some.labels.astype(np.int64))


def copies(images: Tensor) -> Iterator[Contest]:
    """Exact copies, then slightly brighter ones: which pairs are found."""
    from dataeval.flags import ImageStats
    from dataeval.quality import Duplicates

    exact = torch.cat([images, images[:COPIES]])
    brighter = torch.cat([images, (images[:COPIES].float() * 1.05).round().clamp(max=255).to(torch.uint8)])
    true = {frozenset((row, IMAGES + row)) for row in range(COPIES)}
    arrays = {"exact": list(exact.numpy()), "near": list(brighter.numpy())}
    yield Contest(
        f"exact copies among {len(exact):,} thumbnails",
        lambda: exact_groups(pixel_hashes(exact)),
        {
            "dataeval": Peer(
                "dataeval", lambda: Duplicates(flags=ImageStats.HASH_XXHASH).evaluate(arrays["exact"]).exact
            )
        },
        found_copies(true),
    )
    yield Contest(
        f"near copies among {len(brighter):,} thumbnails",
        lambda: [group.members for group in near_groups(fingerprint(brighter))],
        {
            "dataeval": Peer(
                "dataeval",
                lambda: [group for group, _ in Duplicates().evaluate(arrays["near"]).near],
            )
        },
        found_copies(true),
    )


def found_copies(true: set[frozenset[int]]) -> Callable[[Groups, Groups], tuple[bool, str]]:
    """Compare the pairs in groups: planted ones that were found, and others."""

    def pairs(groups: Groups) -> set[frozenset[int]]:
        return {frozenset((one, two)) for group in groups for one in group for two in group if one != two}

    def verdict(mine: Groups, theirs: Groups) -> tuple[bool, str]:
        first, second = pairs(mine), pairs(theirs)
        counts = [
            f"{len(found & true)} of {len(true)} and {len(found - true)} other pairs" for found in (first, second)
        ]
        return first == second, f"{counts[0]}; theirs {counts[1]}"

    return verdict


def statistics(images: Tensor, what: str) -> Iterator[Contest]:
    """Eleven properties of each image beside its pixel and visual statistics; mean and deviation are in both."""
    from dataeval.core import compute_stats
    from dataeval.flags import ImageStats

    arrays = list(images.numpy())
    grey = bool((images == images[:, :1]).all())

    def theirs() -> Mapping[str, ArrayLike]:
        return compute_stats(arrays, stats=ImageStats.PIXEL | ImageStats.VISUAL, per_target=False)["stats"]

    def verdict(mine: ImageProperties, other: Mapping[str, ArrayLike]) -> tuple[bool, str]:
        mean, spread = np.asarray(other["mean"], dtype=np.float64), np.asarray(other["std"], dtype=np.float64)
        scale = 255.0 if mean.max() > 1 else 1.0
        ours = [mine.brightness, mine.contrast]
        if not grey:  # theirs is over all values, ours over luma
            return False, "eleven properties, theirs fourteen; on colour no two of them are the same"
        most = max(float(np.abs(a - b / scale).max()) for a, b in zip(ours, (mean, spread), strict=True))
        return most < 1e-3, f"eleven properties, theirs fourteen; means and deviations differ by {most:.0e} at most"

    yield Contest(
        f"statistics of {what}", lambda: image_properties(images), {"dataeval": Peer("dataeval", theirs)}, verdict
    )


def drift(features: NDArray[np.float32]) -> Iterator[Contest]:
    """Kolmogorov-Smirnov tests of each feature, and a kernel test of all."""
    from dataeval.shift import DriftMMD, DriftUnivariate

    spread = features.std(0)
    before, after = features[:DRIFTED], features[DRIFTED : 2 * DRIFTED] + np.float32(SHIFT) * spread
    names = [f"{column:03}" for column in range(features.shape[1])]
    columns = [dict(zip(names, part.T.astype(np.float64), strict=True)) for part in (before, after)]

    def ours() -> NDArray[np.float64]:
        found = {one.name: one.distance for one in property_drift(*columns)}
        return np.array([found[name] for name in names])

    def theirs() -> NDArray[np.float32]:
        return DriftUnivariate(method="ks").fit(before).predict(after).details["distances"]

    def same_distances(mine: NDArray, other: NDArray) -> tuple[bool, str]:
        most = float(np.abs(mine - other).max())
        return most < 1e-5, f"largest difference of a distance {most:.0e}"

    what = f"{features.shape[1]} features of two sets of {DRIFTED} images"
    yield Contest(f"Kolmogorov-Smirnov tests, {what}", ours, {"dataeval": Peer("dataeval", theirs)}, same_distances)

    def same_verdict(mine: float, other: float) -> tuple[bool, str]:
        return (mine < 0.05) == (other < 0.05), f"p = {mine:.1g}, theirs {other:.1g}"

    yield Contest(
        f"kernel test of 999 permutations, ours with a classifier test, {what}",
        lambda: feature_drift(before, after, permutations=999).p_value,
        {
            "dataeval": Peer(
                "dataeval",
                lambda: float(DriftMMD(n_permutations=999, device="cpu").fit(before).predict(after).details["p_val"]),
            )
        },
        same_verdict,
    )


def wrong_labels(features: NDArray[np.float32], truth: NDArray[np.int64]) -> Iterator[Contest]:
    """Labels that the neighbours in features deny."""
    from dataeval.core import label_errors as their_errors

    given = planted(truth, 0.05, np.random.default_rng(0))
    wrong = given != truth

    def ours() -> NDArray[np.bool_]:
        opinion = neighbour_opinion(features, given, classes=10)
        return np.isin(np.arange(len(given)), label_errors(opinion, given).suspects)

    def theirs() -> NDArray[np.bool_]:
        return np.isin(np.arange(len(given)), list(their_errors(features, given)["errors"]))

    def verdict(mine: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[bool, str]:
        first, second = judged(mine, wrong), judged(other, wrong)
        words = [f"precision {one[0]:.2f} and recall {one[1]:.2f}" for one in (first, second)]
        return bool((mine == other).all()), f"{words[0]}; theirs {words[1]}"

    yield Contest(
        f"wrong labels by neighbours of {len(given):,} thumbnails",
        ours,
        {"dataeval": Peer("dataeval", theirs)},
        verdict,
    )
