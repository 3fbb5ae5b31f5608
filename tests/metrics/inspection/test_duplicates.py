"""Duplicates: what is planted is found, by kind; look-alikes, chains and flat images are not; order does not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError
from snellen.data.files.bundled import load_bundled
from snellen.metrics.inspection.duplicates import DuplicateGroup, across, exact_groups, near_groups
from snellen.metrics.inspection.fingerprints import fingerprint, pixel_hashes
from snellen.metrics.inspection.matching import coincidence_limits, matches
from tests.metrics.inspection.planted import KINDS, pictures, planted

PICTURES = pictures(400)
SOURCES = np.arange(0, 400, 20)


@pytest.fixture(scope="module")
def thumbnails() -> Tensor:
    images = load_bundled("fashion-mnist")
    return torch.from_numpy(
        np.stack([np.asarray(images.read(row)).reshape(28, 28, -1)[..., :1].repeat(3, 2) for row in range(1500)])
    ).permute(0, 3, 1, 2)


def share_found(images: Tensor, kind: str, sources: NDArray[np.int64]) -> tuple[float, int]:
    """Share of planted copies that are in a group with their source, and how many other images are in groups."""
    groups = near_groups(fingerprint(torch.cat([images, planted(images, kind, sources)])))
    together = {
        frozenset(pair) for pair in zip(sources.tolist(), range(len(images), len(images) + len(sources)), strict=True)
    }
    found = sum(any(pair <= set(group.members) for group in groups) for pair in together)
    others = {position for group in groups for position in group.members} - set().union(*together)
    return found / len(sources), len(others)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_photographs_are_found(kind: str) -> None:
    found, others = share_found(PICTURES, kind, SOURCES)
    assert found >= 0.95
    assert others == 0


#: Shares that must be found among 28-pixel thumbnails, where a cropped pixel is more than a neighbour's difference.
THUMBNAILS_FOUND = {"exact": 1, "jpeg 75": 0.8, "jpeg 90": 0.95, "brightness −10 %": 0.95, "mirrored": 0.95}


def test_copies_of_look_alikes_are_found_and_look_alikes_are_not(thumbnails: Tensor) -> None:
    sources = np.arange(0, 1500, 75)
    for kind, least in THUMBNAILS_FOUND.items():
        found, others = share_found(thumbnails, kind, sources)
        assert found >= least, kind
        assert others <= 2, kind


def test_handwritten_digits_do_not_collapse() -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits().images[:600]
    images = torch.from_numpy(np.minimum(digits * 16, 255).astype(np.uint8))[:, None].expand(-1, 3, -1, -1)
    assert near_groups(fingerprint(images)) == ()


def test_exact_copies_among_near_ones() -> None:
    images = torch.cat([PICTURES, PICTURES[[7, 7, 9]], planted(PICTURES, "jpeg 90", np.array([7]))])
    groups = near_groups(fingerprint(images))
    assert [group.members for group in groups] == [(7, 400, 401, 403), (9, 402)]
    assert groups[1] == DuplicateGroup((9, 402), 9, 0.0, 0)
    assert 0 < groups[0].largest_distance < 0.1
    assert exact_groups(pixel_hashes(images)) == ((7, 400, 401), (9, 402))


def test_mirrored_members_are_named() -> None:
    images = torch.cat([PICTURES, PICTURES[5:6].flip(3)])
    (group,) = near_groups(fingerprint(images))
    assert group.members == (5, 400)
    assert {group.medoid, *group.mirrored} == {5, 400}
    assert near_groups(fingerprint(images), mirrored=False) == ()


def test_the_order_of_the_images_does_not_matter() -> None:
    images = torch.cat([PICTURES, *(planted(PICTURES, kind, SOURCES[:8]) for kind in KINDS)])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    prints = fingerprint(images)
    groups = {frozenset(group.members) for group in near_groups(prints)}
    shuffled = near_groups(prints.select(order.numpy()))
    assert {frozenset(order[list(group.members)].tolist()) for group in shuffled} == groups
    assert sorted(map(len, groups))[4] >= len(KINDS)


def test_a_chain_falls_into_stars() -> None:
    # Each is near the next, the ends are different pictures.
    shares = torch.linspace(0, 1, 40)[:, None, None, None]
    chain = ((1 - shares) * PICTURES[0] + shares * PICTURES[1]).round().to(torch.uint8)
    prints = fingerprint(torch.cat([PICTURES[2:], chain]))
    found = matches(prints)
    groups = [group.members for group in near_groups(prints) if group.members[0] >= 398]
    assert len(groups) >= 3
    linked = {frozenset(pair) for pair in zip(found.first.tolist(), found.second.tolist(), strict=True)}
    for group in near_groups(prints):
        assert all(frozenset((group.medoid, one)) in linked for one in group.members if one != group.medoid)


def test_flat_images_are_only_exact_duplicates() -> None:
    flat = torch.arange(100, 105, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 64, 64)
    images = torch.cat([PICTURES[:50], flat, flat])
    assert near_groups(fingerprint(images)) == ()
    assert len(exact_groups(pixel_hashes(images))) == 5


def test_colour_light_and_contrast_tell_images_apart() -> None:
    image = PICTURES[3:4].float() / 255
    grey = image.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    others = torch.cat([image.flip(1), grey, 0.5 * image, 0.5 + 0.5 * image])
    near = 0.5 + 0.95 * (image - 0.5)
    found = across(fingerprint(torch.cat([others, near])), fingerprint(PICTURES))
    assert (found.first.tolist(), found.second.tolist()) == ([4], [3])


def test_features_have_a_say() -> None:
    rng = np.random.default_rng(0)
    images = torch.cat([PICTURES, planted(PICTURES, "jpeg 75", np.array([3, 8]))])
    features = rng.normal(size=(402, 16)) + 2
    features[400] = 3 * features[3] + 0.01
    prints = fingerprint(images)
    assert [group.members for group in near_groups(prints, features)] == [(3, 400)]
    assert [group.members for group in near_groups(prints)] == [(3, 400), (8, 401)]
    within = matches(prints, first_features=features)
    assert (within.first.tolist(), within.second.tolist()) == ([3], [400])
    two = prints.select(np.arange(400)), prints.select(np.arange(400, 402))
    between = across(*two, first_features=features[:400], second_features=features[400:])
    assert (between.first.tolist(), between.second.tolist()) == ([3], [0])


def test_leaks_between_two_sets_are_found_from_either_side() -> None:
    train = fingerprint(PICTURES[:300])
    test = torch.cat(
        [PICTURES[300:], *(planted(PICTURES, kind, np.array([9, 99])) for kind in ("jpeg 50", "mirrored"))]
    )
    found = across(fingerprint(test), train)
    assert found.first.tolist() == [100, 101, 102, 103]
    assert found.second.tolist() == [9, 99, 9, 99]
    assert found.mirrored.tolist() == [False, False, True, True]
    back = across(train, fingerprint(test))
    assert sorted(zip(back.second.tolist(), back.first.tolist(), strict=True)) == sorted(
        zip(found.first.tolist(), found.second.tolist(), strict=True)
    )


def test_small_sets() -> None:
    assert near_groups(fingerprint(PICTURES[:0])) == ()
    assert near_groups(fingerprint(PICTURES[:1])) == ()
    copy = planted(PICTURES, "jpeg 90", np.array([0]))
    assert [group.members for group in near_groups(fingerprint(torch.cat([PICTURES[:2], copy])))] == [(0, 2)]
    assert len(across(fingerprint(PICTURES[:0]), fingerprint(PICTURES))) == 0


def test_many_copies_of_one_image() -> None:
    prints = fingerprint(PICTURES[:100]).select(np.append(np.arange(100), np.zeros(3000, np.int64)))
    (group,) = near_groups(prints)
    assert group.members == (0, *range(100, 3100))


def test_chance_pairs_of_a_cloud_keep_to_their_number() -> None:
    """Points of known dimension without copies: the pairs below both limits are as few as was asked for."""
    passed = []
    for seed in range(8):
        cloud = np.random.default_rng(seed).normal(size=(1500, 6)).astype(np.float32)
        cloud /= np.linalg.norm(cloud, axis=1, keepdims=True)
        limits = coincidence_limits(cloud, cloud, pairs=1500 * 1499 / 2, same=1e-3, false_alarms=5)
        distances = np.sqrt(np.maximum(2 - 2 * cloud @ cloud.T, 0))
        passed.append(
            int((np.triu(distances <= np.minimum(limits[:, None], limits), 1) & ~np.eye(1500, dtype=bool)).sum())
        )
    assert 0.5 <= np.mean(passed) <= 7.5


PRINTS = fingerprint(PICTURES[:30])
REFUSED = [
    (lambda: near_groups(PRINTS, np.zeros((29, 4))), r"\(30, d\), one row per image"),
    (lambda: near_groups(PRINTS, np.full((30, 4), np.nan)), "finite features"),
    (lambda: across(PRINTS, PRINTS, first_features=np.zeros((30, 4))), "one of the two sets only"),
    (lambda: across(PRINTS, PRINTS, first_features=np.ones((30, 4)), second_features=np.ones((30, 5))), "4 and 5"),
    (lambda: near_groups(PRINTS, radius=-1), "between 0 and 128"),
    (lambda: near_groups(PRINTS, false_alarms=0), "above 0"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refused(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
