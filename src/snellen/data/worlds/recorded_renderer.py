"""A renderer of which it is known what its pictures follow from."""

from __future__ import annotations

from typing import Protocol

from snellen.data.worlds.viewpoints import ViewRenderer


class RecordedRenderer(ViewRenderer, Protocol):
    """A renderer whose views can be told apart without rendering them."""

    @property
    def size(self) -> int:
        """Height and width of its images, pixels."""
        ...

    @property
    def recipe(self) -> str:
        """Text that says everything, besides object and viewpoint, that a picture follows from; versions included."""
        ...

    def content_hash(self, object_id: str) -> str:
        """Hash of everything that an object was made from (hex)."""
        ...
