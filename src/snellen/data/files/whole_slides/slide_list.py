"""Which slides a folder or a table names, and what is known about each before it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from snellen.core.errors import InputError
from snellen.core.images import Split
from snellen.data.files.contained_file import printable
from snellen.data.files.folder import list_images, places_of
from snellen.data.files.labels import checked_class_count, numbered_class_names
from snellen.data.files.manifest_table import Written, read_csv
from snellen.data.files.splits import SPELLINGS, split_of
from snellen.data.files.whole_slides.slide_file import SUFFIXES

#: Names of a class that means that nothing was found, in small letters: it becomes class 0 of two.
NEGATIVES = ("normal", "negative", "healthy", "benign", "control")

#: Folder beside folders of classes whose slides have no label in it: the test half of CAMELYON16 is testing/images.
UNLABELLED = "images"

#: Columns of a table of slides.
COLUMNS = ("slide", "label", "patient", "site", "split")


@dataclass(frozen=True, kw_only=True)
class ListedSlide:
    """A slide before it is opened.

    Attributes:
        path: relative to the folder.
        id: the path as text that can be stored.
        label: name of its class; None where unknown.
        patient: whose it is; None where unknown.
        site: where it was made; None where unknown.
        split: train, val or test; None where unknown.
        refused: why it must not be opened.
    """

    path: str
    id: str
    label: str | None = None
    patient: str | None = None
    site: str | None = None
    split: Split | None = None
    refused: str | None = None


@dataclass(frozen=True, kw_only=True)
class SlideList:
    """Slides below one folder, and their classes.

    Attributes:
        root: the folder that no file may lie outside of.
        slides: in order.
        class_names: that labels are of; None without any label.
        name: shown in reports.
    """

    root: Path
    slides: tuple[ListedSlide, ...]
    class_names: tuple[str, ...] | None
    name: str

    def of_split(self, split: Split) -> SlideList:
        """The slides of a split; all classes stay.

        Raises:
            InputError: none.
        """
        chosen = tuple(slide for slide in self.slides if slide.split == split)
        if not chosen:
            present = sorted({slide.split for slide in self.slides if slide.split is not None})
            raise InputError(f"{self.name} has no slides of split {split!r}; it has: {', '.join(present) or 'none'}")
        some = len(chosen) < len(self.slides)
        return replace(self, slides=chosen, name=f"{self.name} ({split} split)" if some else self.name)


def list_slides(path: Path, class_names: Sequence[str] | None = None) -> SlideList:
    """Find slides without opening any.

    - A folder: class subfolders as ``normal/`` and ``tumor/``, splits of class subfolders, or slides alone, as
      :func:`~snellen.data.files.folder.load_folder` reads images. Slides of a folder ``images`` beside class folders
      have no label, so that CAMELYON16 (training/normal, training/tumor, testing/images) is read as it lies.
    - A table ``.csv`` with a column ``slide`` (path relative to the table's folder), and ``label``, ``patient``,
      ``site`` and ``split`` where they are known.
    - One slide.

    Classes are sorted by name, but one of :data:`NEGATIVES` comes first, so that class 1 of two is what was looked for.

    Args:
        path: a folder, a table or one slide.
        class_names: of the slides, in order; None: those that occur.

    Raises:
        InputError: nothing there, no slides, or a table that cannot be.
    """
    if path.is_dir():
        found = _of_folder(path)
    elif path.suffix.lower() == ".csv" and path.is_file():
        found = _of_table(path)
    elif path.suffix.lower() in SUFFIXES and path.is_file():
        only = ListedSlide(path=path.name, id=printable(path.name))
        found = SlideList(root=path.parent.resolve(), slides=(only,), class_names=None, name=only.id)
    else:
        raise InputError(
            f"there are no slides at {path}: a folder of slides, a table FILE.csv with a column 'slide', or one slide "
            f"({' '.join(SUFFIXES)}) is expected"
        )
    if class_names is None:
        return found
    odd = next((slide for slide in found.slides if slide.label is not None and slide.label not in class_names), None)
    if odd is not None:
        raise InputError(f"slide {odd.id} is of class {odd.label!r}, which is none of: {', '.join(class_names)}")
    return replace(found, class_names=tuple(class_names))


def _of_folder(folder: Path) -> SlideList:
    root = folder.resolve()
    listing = list_images(root, SUFFIXES)
    if not listing.paths:
        first = "".join(f"; refused {printable(path)!r}: {why}" for path, why in list(listing.refused.items())[:3])
        raise InputError(
            f"{folder} holds no slides: looked for files ending in {' '.join(SUFFIXES)}; {listing.skipped} other files "
            f"were skipped{first}"
        )
    paths = sorted([*listing.paths, *listing.refused])
    places, names, _ = places_of(paths, listing)
    classes = [printable(name) for name in names if name != UNLABELLED or len(names) == 1]
    slides = []
    for path, place in zip(paths, places, strict=True):
        refused = listing.refused.get(path)
        if place is None and refused is None:
            refused = "lies beside the class folders, so its class is unknown; move it into one of them"
        split, label = place or (None, None)
        text = printable(label) if label is not None and printable(label) in classes else None
        slides.append(ListedSlide(path=path, id=printable(path), label=text, split=split, refused=refused))
    return SlideList(
        root=root,
        slides=tuple(slides),
        class_names=_ordered(classes) or None,
        name=printable(folder.name or root.name),
    )


def _of_table(path: Path) -> SlideList:
    written = read_csv(path, needed="slide", meant=COLUMNS)
    if not written.rows:
        raise InputError(f"{path} lists no slides")
    slides = tuple(_row(path, written, position) for position in range(len(written.rows)))
    seen: set[str] = set()
    for slide, row in zip(slides, written.rows, strict=True):
        if slide.id in seen:
            raise InputError(f"{path}, {row}: slide {slide.id} is listed twice")
        seen.add(slide.id)
    labels = {slide.label for slide in slides if slide.label is not None}
    names = _ordered(labels)
    if labels and all(label.isdecimal() for label in labels):
        names = numbered_class_names(checked_class_count(max(map(int, labels)) + 1, f"{path}, column 'label'"))
        slides = tuple(
            slide if slide.label is None else replace(slide, label=str(int(slide.label))) for slide in slides
        )
    return SlideList(root=path.parent.resolve(), slides=slides, class_names=names or None, name=path.stem)


def _row(path: Path, written: Written, position: int) -> ListedSlide:
    def text(column: str) -> str | None:
        value = written.columns[column][position] if column in written.columns else None
        return None if value is None else str(value)

    where, slide, named = f"{path}, {written.rows[position]}", text("slide"), text("split")
    if slide is None:
        raise InputError(f"{where}: no slide is named")
    split = None if named is None else split_of(named)
    if named is not None and split is None:
        raise InputError(f"{where}: unknown split {named!r}; known: {', '.join(SPELLINGS)}")
    return ListedSlide(
        path=slide, id=printable(slide), label=text("label"), patient=text("patient"), site=text("site"), split=split
    )


def _ordered(names: Sequence[str] | set[str]) -> tuple[str, ...]:
    """Sorted, the name for "nothing was found" first."""
    return tuple(sorted(set(names), key=lambda name: (name.lower() not in NEGATIVES, name)))
