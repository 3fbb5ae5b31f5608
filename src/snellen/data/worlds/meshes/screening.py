"""Draws every object once and rejects, by name, those that are invisible."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError, unknown_name
from snellen.data.worlds.viewpoints import RecordedRenderer, ViewRenderer

#: Where a screening looks from: eight azimuths, alternately 15° and 40° above, upright, at distance 4.
LOOKS = torch.tensor(
    [[0.0, azimuth, 15.0 + 25.0 * (turn % 2), 4.0, 0, 0] for turn, azimuth in enumerate(range(0, 360, 45))]
)


@dataclass(frozen=True)
class Screening:
    """What a screening found.

    Args:
        accepted: ids of objects that can be seen, in their order.
        rejected: the other ids, with the reason.
        blank_shares: share of blank views of each object that could be rendered.
    """

    accepted: tuple[str, ...]
    rejected: dict[str, str] = field(default_factory=dict)
    blank_shares: dict[str, float] = field(default_factory=dict)


def screened(
    renderer: ViewRenderer,
    *,
    viewpoints: Tensor | None = None,
    least_coverage: float = 0.002,
    most_blank: float = 0.0,
    least_contrast: float = 0.02,
) -> Screening:
    """Draw each object from some viewpoints and find those that can be used.

    A view is blank when the object covers too little of it, or when what it covers is as white as the background.

    Args:
        renderer: of the objects.
        viewpoints: (n, 6); None: :data:`LOOKS`.
        least_coverage: share of a view that an object must cover.
        most_blank: share of blank views up to which an object is accepted.
        least_contrast: largest distance from white, over pixels and channels of the view, that is needed.

    Raises:
        InputError: no viewpoints, or a share outside [0, 1].
    """
    looks = LOOKS if viewpoints is None else viewpoints
    if not len(looks):
        raise InputError("a screening needs at least one viewpoint, got none")
    for name, share in (
        ("least_coverage", least_coverage),
        ("most_blank", most_blank),
        ("least_contrast", least_contrast),
    ):
        if not 0 <= share <= 1:
            raise InputError(f"{name} must be in [0, 1], got {share}")
    accepted: list[str] = []
    rejected: dict[str, str] = {}
    shares: dict[str, float] = {}
    for object_id in renderer.objects:
        try:
            images, coverage = renderer.render(object_id, looks)
        except RejectedImageError as error:
            rejected[object_id] = str(error)
            continue
        covered = coverage.double().mean((1, 2))
        contrast = 1 - images.double().amin((1, 2, 3))
        blank = (covered < least_coverage) | (contrast < least_contrast)
        shares[object_id] = float(blank.double().mean())
        if shares[object_id] > most_blank:
            rejected[object_id] = (
                f"blank in {int(blank.sum())} of {len(looks)} views: it covers {float(covered.min()):.2%} to "
                f"{float(covered.max()):.2%} of them (at least {least_coverage:.2%} is required), and differs from "
                f"the white background by {float(contrast.min()):.3f} at least (required: {least_contrast:g})"
            )
        else:
            accepted.append(object_id)
    return Screening(tuple(accepted), rejected, shares)


class AcceptedObjects:
    """A renderer of some of the objects of another.

    Raises:
        InputError: no objects, or one that the renderer does not have.
    """

    def __init__(self, renderer: RecordedRenderer, objects: tuple[str, ...]) -> None:
        unknown = sorted(set(objects) - set(renderer.objects))
        if unknown or not objects:
            raise InputError(f"the renderer has no object {unknown[0]!r}" if unknown else "no object was accepted")
        self.renderer, self._objects = renderer, objects

    @property
    def objects(self) -> tuple[str, ...]:
        """Ids of the objects."""
        return self._objects

    @property
    def size(self) -> int:
        """Height and width of the images, pixels."""
        return self.renderer.size

    @property
    def recipe(self) -> str:
        """The renderer's recipe: a view does not follow from what was accepted."""
        return self.renderer.recipe

    def content_hash(self, object_id: str) -> str:
        """Hash of everything that an object was made from (hex)."""
        return self.renderer.content_hash(self._known(object_id))

    def class_of(self, object_id: str) -> str:
        """Name of the class of an object."""
        return self.renderer.class_of(self._known(object_id))

    def render(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        """Render one object from viewpoints (n, 6), as the renderer does."""
        return self.renderer.render(self._known(object_id), viewpoints)

    def _known(self, object_id: str) -> str:
        if object_id not in self._objects:
            raise InputError(f"object {object_id!r} is not among the {len(self._objects)} accepted ones")
        return object_id


#: Share of the eight looks of a screening that may be blank: a sheet of paper is, seen from its two edges.
MOST_BLANK = 0.25


class RefusingRenderer:
    """The objects of another renderer, and those that are known to be unusable.

    An object is screened (:func:`screened`) before its first view: one that is blank in more than :data:`MOST_BLANK` of
    these views is refused, for every requested view. So every view of it is rejected by name, and none counts.

    Args:
        renderer: draws the objects. refused: object → its class and why it cannot be used, for objects that the
            renderer does not have.
    """

    def __init__(self, renderer: RecordedRenderer, refused: Mapping[str, tuple[str, str]] | None = None) -> None:
        self.renderer, self._unusable = renderer, dict(refused or {})
        self._reasons: dict[str, str | None] = {name: reason for name, (_, reason) in self._unusable.items()}
        self._lock = threading.Lock()

    @property
    def objects(self) -> tuple[str, ...]:
        """Ids of the objects, the unusable ones last."""
        return (*self.renderer.objects, *(name for name in self._unusable if name not in self.renderer.objects))

    @property
    def size(self) -> int:
        """Height and width of the images, pixels."""
        return self.renderer.size

    @property
    def recipe(self) -> str:
        """The renderer's recipe: what is refused has no picture."""
        return self.renderer.recipe

    def class_of(self, object_id: str) -> str:
        """Name of the class of an object."""
        return self._unusable[object_id][0] if object_id in self._unusable else self.renderer.class_of(object_id)

    def content_hash(self, object_id: str) -> str:
        """Hash of everything that an object was made from, or of the reason why it cannot be used (hex)."""
        try:
            if object_id in self._unusable:
                raise RejectedImageError(self._unusable[object_id][1])
            return self.renderer.content_hash(object_id)
        except RejectedImageError as error:
            return hashlib.sha256(f"rejected: {error}".encode()).hexdigest()

    def render(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        """Render one object from viewpoints (n, 6), as the renderer does.

        Raises:
            RejectedImageError: the object is unreadable or blank; the message begins with its id.
            UnknownNameError: no such object.
        """
        reason = self.reason(object_id)
        if reason is not None:
            raise RejectedImageError(reason if reason.startswith(object_id) else f"{object_id}: {reason}")
        return self.renderer.render(object_id, viewpoints)

    def reason(self, object_id: str) -> str | None:
        """Why an object cannot be used; None where it can. Raises UnknownNameError for another id."""
        if object_id not in self.objects:
            raise unknown_name("object", object_id, self.objects)
        with self._lock:
            if object_id not in self._reasons:
                found = screened(AcceptedObjects(self.renderer, (object_id,)), most_blank=MOST_BLANK)
                self._reasons[object_id] = found.rejected.get(object_id)
            return self._reasons[object_id]
