"""A renderer that refuses, with the reason, objects of which nothing is to be seen: each when it is first looked at."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping

from torch import Tensor

from snellen.core.errors import RejectedImageError, unknown_name
from snellen.data.worlds.meshes.screening import AcceptedObjects, screened
from snellen.data.worlds.recorded_renderer import RecordedRenderer

#: Share of the eight looks of a screening that may be blank: a sheet of paper is, seen from its two edges.
MOST_BLANK = 0.25


class RefusingRenderer:
    """The objects of another renderer, and those that are known to be unusable.

    An object is screened (:func:`snellen.data.worlds.meshes.screening.screened`) before its first view: one that is
    blank in
    more than :data:`MOST_BLANK` of the looks is refused, whatever view is asked for. So every view of it is rejected by
    name, and none counts.

    Args:
        renderer: looks at the objects.
        refused: object → its class and why it cannot be used, for objects that the renderer does not have.
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
        """Look at one object from viewpoints (n, 6), as the renderer does.

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
