"""Work of methods over images: what attack, certify, explain, scan and shift hold, and how a worker makes it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from threading import Lock
from typing import Any, ClassVar, Self

from snellen.core.classifier import Classifier
from snellen.core.errors import UnsupportedError
from snellen.core.images import ImageSet
from snellen.runs.reopening import Reopening
from snellen.runs.settings import Setting, settings_again, settings_record

_LOADED = ("classifier", "images", "settings", "reading", "shared")


@dataclass(frozen=True, eq=False)
class MethodWork:
    """A model, images, and methods with names. Fields that a subclass adds are JSON values.

    Attributes:
        classifier: the model; None where the methods need none.
        images: the set, labels in the classes of the model.
        settings: the methods.
        reading: held while images are read: a set of one's own may not be made for several threads.
        shared: what is made once for all threads, under the same lock.
    """

    area: ClassVar[str]

    classifier: Any
    images: ImageSet
    settings: Sequence[Setting]
    reading: AbstractContextManager[Any] = field(default_factory=Lock, kw_only=True)
    shared: dict[str, Any] = field(default_factory=dict, kw_only=True)

    @property
    def at_once(self) -> int:
        """Images of one pass, where a method has a chunk of its own."""
        return max((int(getattr(setting.method, "chunk", 0)) for setting in self.settings), default=0)

    def twin(self) -> Self:
        """The same work for another thread of this process.

        Raises:
            UnsupportedError: the model, or a method, is for one thread at a time.
            ModelError: the model cannot be copied.
        """
        alone = sorted(setting.name for setting in self.settings if not setting.method.concurrent)
        if alone:
            raise UnsupportedError(f"{', '.join(alone)} may not run in several threads")
        return replace(self, classifier=self.classifier.twin())

    @classmethod
    def again(
        cls, classifiers: Sequence[Classifier], sets: Mapping[str, ImageSet], arguments: Mapping[str, Any]
    ) -> Self:
        """The same work in another process, from what :meth:`reopening` says."""
        own = {one.name: arguments[one.name] for one in fields(cls) if one.name not in _LOADED}
        settings = settings_again(cls.area, arguments["settings"])
        return cls(classifiers[0] if classifiers else None, sets[""], settings, **own)

    def reopening(self) -> Reopening:
        """From what a worker makes the same work."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in _LOADED}
        return Reopening(
            maker=f"{type(self).__module__}:{type(self).__qualname__}.again",
            classifiers=() if self.classifier is None else (self.classifier,),
            sets={"": self.images},
            methods={self.area: [setting.method for setting in self.settings]},
            arguments={"settings": settings_record(self.settings), **own},
        )
