"""``grabcut``: GrabCut (Rother, Kolmogorov and Blake 2004) as OpenCV has it, a baseline without weights."""

from __future__ import annotations

import hashlib
import threading
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError, import_extra
from snellen.models.segmenters.protocol import Prompt, Prompts, Segmented, checked_prompts, image_bytes

#: Rounds of fitting the two mixtures and cutting, as in OpenCV's example.
ITERATIONS = 5
#: Seed of the clustering that starts the mixtures.
SEED = 0
#: A pixel nearer to a point of the object than this share of the shorter edge may belong to it.
REACH = 0.25


class GrabcutSegmenter:
    """GrabCut from a box, from points, or from both; masks are 0 or 1, and no overlap is predicted.

    A box is what the paper takes: all outside is certainly background, all inside may be object. A prompt of points is
    not in the paper: a small disk (2 % of the shorter edge) around each is certain, object or background by its label;
    what lies within :data:`REACH` of a point of the object may be object, the rest starts as background; and of the
    result only parts that hold a point of the object are kept.

    OpenCV clusters colours with random starts. Each cut runs in a thread of its own, where OpenCV has a generator of
    its own, seeded with :data:`SEED`: masks do not depend on what ran before, and the caller's generator stays as it
    was.
    """

    def __init__(self, *, name: str = "grabcut") -> None:
        self._cv2 = import_extra("cv2", "opencv", "grabcut")
        self.name, self.device = name, torch.device("cpu")
        self.prompts: frozenset[Prompt] = frozenset(("points", "boxes"))

    def identity(self) -> str:
        """Hash of the version of OpenCV and of the parameters (sha256)."""
        return hashlib.sha256(repr(("grabcut", self._cv2.__version__, ITERATIONS, SEED, REACH)).encode()).hexdigest()

    def segment(
        self,
        images: Tensor,
        *,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
    ) -> Segmented:
        """Find one mask for each prompt; see :class:`snellen.models.segmenters.protocol.Segmenter`.

        Raises:
            InputError: images or prompts that cannot be used; a box that leaves no background; points without one on
                the object.
        """
        pixels = image_bytes(images, name=self.name)
        checked = checked_prompts(
            pixels, self.prompts, points=points, point_labels=point_labels, boxes=boxes, name=self.name
        )
        # The order of the colours is the caller's: the mixtures treat all three alike.
        pictures = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in pixels]
        regions = [
            self._cut(
                pictures[0 if len(pictures) == 1 else row], self._start(checked, row, *pixels.shape[-2:]), checked, row
            )
            for row in range(checked.count)
        ]
        return Segmented(
            candidates=torch.from_numpy(np.stack(regions)).float()[:, None],
            predicted=torch.full((checked.count, 1), float("nan")),
            chosen=torch.zeros(checked.count, dtype=torch.int64),
            rule="the only one",
        )

    def _start(self, checked: Prompts, row: int, height: int, width: int) -> NDArray[np.uint8]:
        """What is known before the first cut, (h, w): one of OpenCV's four marks for each pixel."""
        cv2 = self._cv2
        marks = np.full((height, width), cv2.GC_PR_BGD, dtype=np.uint8)
        rows, columns = np.mgrid[:height, :width]
        if checked.boxes is not None:
            x0, y0, x1, y1 = checked.boxes[row].tolist()
            inside = (columns >= x0) & (columns <= x1) & (rows >= y0) & (rows <= y1)
            marks = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
        if checked.points is not None and checked.labels is not None:
            shorter = min(height, width)
            places, on_object = checked.points[row].tolist(), checked.labels[row].tolist()
            if checked.boxes is None:
                if 1 not in on_object:
                    raise InputError(f"{self.name}: points without one on the object (point_labels 1), and no box")
                for (x, y), label in zip(places, on_object, strict=True):
                    if label:
                        marks[np.hypot(columns - x, rows - y) <= max(2.0, REACH * shorter)] = cv2.GC_PR_FGD
            for (x, y), label in zip(places, on_object, strict=True):
                disk = np.hypot(columns - x, rows - y) <= max(1.0, 0.02 * shorter)
                marks[disk] = cv2.GC_FGD if label else cv2.GC_BGD
        background, object_ = (np.isin(marks, kinds).any() for kinds in _kinds(cv2))
        if not (background and object_):
            what = "background" if object_ else "pixel of an object"
            raise InputError(
                f"{self.name}: prompt {row} leaves no {what} in an image {width} pixels wide and {height} high"
            )
        return marks

    def _cut(
        self, picture: NDArray[np.uint8], marks: NDArray[np.uint8], checked: Prompts, row: int
    ) -> NDArray[np.bool_]:
        """The object of one prompt: bool (h, w)."""
        cv2 = self._cv2
        found: list[Any] = []

        def cut() -> None:
            try:
                cv2.setRNGSeed(SEED)
                state = np.zeros((1, 65)), np.zeros((1, 65))
                found.append(cv2.grabCut(picture, marks, None, *state, ITERATIONS, cv2.GC_INIT_WITH_MASK)[0])
            except Exception as error:
                found.append(error)

        thread = threading.Thread(target=cut)
        thread.start()
        thread.join()
        if isinstance(found[0], Exception):
            raise InputError(f"{self.name}: OpenCV cannot cut prompt {row}: {found[0]}") from found[0]
        region: NDArray[np.bool_] = np.isin(found[0], _kinds(cv2)[1])
        if checked.points is None or checked.labels is None:
            return region
        return _parts_with(cv2, region, checked.points[row], checked.labels[row])


def _kinds(cv2: ModuleType) -> tuple[tuple[int, int], tuple[int, int]]:
    """The marks of background, and those of the object."""
    return (cv2.GC_BGD, cv2.GC_PR_BGD), (cv2.GC_FGD, cv2.GC_PR_FGD)


def _parts_with(cv2: ModuleType, region: NDArray[np.bool_], points: Tensor, labels: Tensor) -> NDArray[np.bool_]:
    """The connected parts of a region that hold a point of the object; all of it where no point is on the object."""
    _, parts = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    last = np.array(region.shape[::-1]) - 1
    places = np.clip(np.rint(points[labels == 1].numpy()).astype(int), 0, last)
    if not len(places):
        return region
    kept: NDArray[np.bool_] = np.isin(parts, parts[places[:, 1], places[:, 0]]) & region
    return kept


def load(rest: str, device: torch.device, *, name: str | None = None) -> GrabcutSegmenter:
    """Make the segmenter; there is nothing to load.

    Raises:
        InputError: a device other than the CPU.
        MissingExtraError: OpenCV is not installed.
    """
    if device.type != "cpu":
        raise InputError(f"grabcut runs on cpu, not on {device}")
    return GrabcutSegmenter(name=name or "grabcut")
