"""The features that a player chooses among: keypoints of an image, or a grid of blobs where there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import MissingExtraError, import_extra
from snellen.systems.feature_guided_search.keypoints import keypoints

Detector = Literal["auto", "opencv", "own"]

#: Images with a smaller side are enlarged before keypoints are looked for (as the authors' code does).
SMALL_SIDE = 50
#: Blobs along a side where an image has no keypoint.
_GRID = 4


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one image, from the strongest on.

    Attributes:
        x: (f,) columns, in pixels of the image; 0 is the middle of the first pixel.
        y: (f,) rows.
        size: (f,) diameters in pixels.
        response: (f,) strengths, positive.
        fallback: there was no keypoint, and these are blobs on a grid, all of one strength.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    size: NDArray[np.float64]
    response: NDArray[np.float64]
    fallback: bool = False

    def __len__(self) -> int:
        return len(self.x)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Share of each feature in all responses: (f,), sums to 1 (phi in the paper)."""
        share: NDArray[np.float64] = self.response / self.response.sum()
        return share


def detect(image: Tensor, *, detector: Detector = "auto", most: int = 64, inflation: int = 4) -> Features:
    """Find the features of a prepared image.

    >>> detect(torch.zeros(3, 32, 32), detector="own").fallback
    True

    Args:
        image: (3, h, w) in [0, 1].
        detector: ``opencv`` (SIFT), ``own`` (:mod:`snellen.systems.feature_guided_search.keypoints`), or ``auto``: the
            first if it is installed.
        most: the strongest so many keypoints are kept.
        inflation: factor by which images with a side under 50 pixels are enlarged first; places and sizes are divided
            back.

    Raises:
        MissingExtraError: OpenCV was requested and is not installed.
    """
    red, green, blue = image.detach().cpu().float()
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    factor = inflation if min(grey.shape) < SMALL_SIDE else 1
    if factor > 1:
        grey = F.interpolate(grey[None, None], scale_factor=factor, mode="bicubic", align_corners=False)[0, 0]
    found = _found(grey.clamp(0, 1), detector)
    height, width = image.shape[1:]
    # The middle of a pixel of the image is the middle of its factor by factor block.
    found[:, :2] = (found[:, :2] + 0.5) / factor - 0.5
    found[:, 2] /= factor
    inside = (found[:, :2] >= -0.5).all(1) & (found[:, 0] < width - 0.5) & (found[:, 1] < height - 0.5)
    found = found[inside & (found[:, 3] > 0)][:most]
    if not len(found):
        return _blobs(height, width)
    return Features(found[:, 0], found[:, 1], found[:, 2], found[:, 3])


def _found(grey: Tensor, detector: Detector) -> NDArray[np.float64]:
    """Keypoints (f, 4) of the chosen detector, in pixels of the image it is given."""
    if detector != "own":
        try:
            return opencv_keypoints(grey)
        except MissingExtraError:
            if detector == "opencv":
                raise
    return keypoints(grey)


def opencv_keypoints(grey: Tensor) -> NDArray[np.float64]:
    """Keypoints of OpenCV's SIFT: (h, w) in [0, 1] → (f, 4) of x, y, size, response, from the strongest on.

    A place that SIFT lists once for each of its orientations counts once.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    cv2 = import_extra("cv2", "opencv", "SIFT keypoints of OpenCV")
    bytes_ = (grey * 255).round().to(torch.uint8).numpy()
    points = [(*point.pt, point.size, point.response) for point in cv2.SIFT_create().detect(bytes_, None)]
    every = np.unique(np.array(points, dtype=np.float64).reshape(-1, 4), axis=0)
    return every[np.argsort(-every[:, 3], kind="stable")]


def _blobs(height: int, width: int) -> Features:
    """A grid of blobs over the image, one for at most every pixel."""
    rows, columns = min(_GRID, height), min(_GRID, width)
    y, x = np.meshgrid(
        (np.arange(rows) + 0.5) * height / rows - 0.5, (np.arange(columns) + 0.5) * width / columns - 0.5, indexing="ij"
    )
    size = np.full(rows * columns, max(height / rows, width / columns))
    return Features(x.ravel(), y.ravel(), size, np.ones(rows * columns), fallback=True)
