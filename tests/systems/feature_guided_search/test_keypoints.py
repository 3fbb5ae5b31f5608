"""Keypoints: where blobs are, not on edges, and where OpenCV's SIFT finds them."""

import importlib.util

import numpy as np
import pytest
import torch

from snellen.core.errors import MissingExtraError
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.systems.feature_guided_search import features as module
from snellen.systems.feature_guided_search.features import detect, opencv_keypoints
from snellen.systems.feature_guided_search.keypoints import keypoints


def blob(x, y, sigma, side=48):
    rows, columns = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    return torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize(("x", "y", "sigma"), [(20, 30, 2.0), (25.4, 18.7, 3.0), (24, 24, 5.0)])
def test_a_blob_has_its_keypoint_in_its_middle_with_its_size(x, y, sigma):
    found = keypoints(blob(x, y, sigma))
    assert abs(found[0, 0] - x) < 0.15
    assert abs(found[0, 1] - y) < 0.15
    # The difference of Gaussians of a Gaussian blob is extremal at about its own sigma; size is twice that.
    assert found[0, 2] / (2 * sigma) == pytest.approx(1, abs=0.25)


def test_dark_blobs_count_as_light_ones_do_and_the_stronger_one_comes_first():
    picture = 0.5 + 0.45 * blob(14, 14, 2.5) - 0.3 * blob(34, 34, 2.5)
    found = keypoints(picture)
    places = [tuple(np.round(point[:2]).astype(int)) for point in found]
    assert places[0] == (14, 14)
    assert (34, 34) in places
    assert (np.diff(found[:, 3]) <= 0).all()


def test_edges_and_flat_images_have_none():
    edge = (torch.arange(48.0) > 24).float().expand(48, 48)
    assert len(keypoints(edge)) == 0
    assert len(keypoints(torch.full((48, 48), 0.3))) == 0
    assert len(keypoints(torch.rand(4, 4))) == 0, "too small for a neighbourhood"


def test_contrast_is_a_threshold():
    faint = 0.5 + 0.02 * blob(24, 24, 3.0)
    assert len(keypoints(faint)) == 0
    assert len(keypoints(faint, contrast=0.005)) == 1


@pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed")
def test_finds_what_opencv_finds():
    scenes = Scenes(count=6, size=96, objects=(1, 2)).images()
    matched = total = extra = ours_total = 0
    for row in range(6):
        grey = torch.from_numpy(np.array(scenes.read(row).convert("L"))).float() / 255
        ours, theirs = keypoints(grey), opencv_keypoints(grey)
        near = np.hypot(*(ours[:, None, axis] - theirs[None, :, axis] for axis in (0, 1)))
        alike = (near < 1) & (np.abs(np.log2(ours[:, None, 2] / theirs[None, :, 2])) < 0.4)
        matched, total = matched + alike.any(0).sum(), total + len(theirs)
        extra, ours_total = extra + (~alike.any(1)).sum(), ours_total + len(ours)
    assert total > 40
    assert matched / total > 0.9
    assert extra / ours_total < 0.1


def test_small_images_are_enlarged_and_coordinates_divided_back():
    image = (0.2 + 0.6 * blob(9, 20, 1.5, side=28)).expand(3, 28, 28)
    for inflation in (3, 4, 15):
        found = detect(image, detector="own", inflation=inflation)
        assert abs(found.x[0] - 9) < 0.2
        assert abs(found.y[0] - 20) < 0.2
        assert found.size[0] == pytest.approx(3, abs=1)
        assert not found.fallback


def test_flat_images_get_a_grid_and_say_so():
    found = detect(torch.full((3, 40, 24), 0.5), detector="own")
    assert found.fallback
    assert len(found) == 16
    assert np.allclose(found.weights, 1 / 16)
    assert found.x.min() >= 0
    assert found.x.max() <= 23
    tiny = detect(torch.zeros(3, 3, 3), detector="own")
    assert sorted(zip(tiny.x, tiny.y, strict=True)) == [(x, y) for x in range(3) for y in range(3)]


def test_the_strongest_are_kept():
    image = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))
    every, few = detect(image, detector="own", most=1000), detect(image, detector="own", most=5)
    assert len(every) > len(few) == 5
    assert few.response.tolist() == every.response[:5].tolist()
    assert few.weights.sum() == pytest.approx(1)


def test_opencv_is_optional(monkeypatch):
    def missing(*_):
        raise MissingExtraError("OpenCV is not there; pip install 'snellen[opencv]'")

    monkeypatch.setattr(module, "import_extra", missing)
    image = (0.2 + 0.6 * blob(24, 24, 3.0, side=64)).expand(3, 64, 64)
    assert len(detect(image, detector="auto")) == len(detect(image, detector="own"))
    with pytest.raises(MissingExtraError, match="opencv"):
        detect(image, detector="opencv")
