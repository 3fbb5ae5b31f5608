"""The rows of a generation manifest: class × prompt × guidance × seed → image, nested and class-balanced.

Row *i* of a class depends on the class, the prompt, the guidance scale, the seed and *i* alone. So the first D images
of each class are the same in a set of D and in a larger one, and no two classes begin with the same noise. A *twin* has
one row for each real image instead, with its id and class (Bansal and Grover 2023): both sets have the same histogram.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.core.randomness import derive_seed
from snellen.data.class_balance import rows_by_class

#: What stands for the words of a class in a template.
BLANK = "{}"


@dataclass(frozen=True, eq=False)
class Source:
    """What a data set is generated for.

    Args:
        classes: names, each once.
        images: real images of these classes; None where only the names are known.
        split: which of the real images these are, and what the generated ones become.

    Raises:
        InputError: no class, one that occurs twice or is empty, or images of other classes.
    """

    classes: tuple[str, ...]
    images: ImageSet | None = None
    split: Split = "train"

    def __post_init__(self) -> None:
        if not self.classes or not all(name.strip() for name in self.classes):
            raise InputError("name at least one class to generate images of, and give each a name")
        twice = next((name for name in self.classes if self.classes.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"class {twice!r} is named twice; name each class once")
        if self.images is not None and self.images.class_names != self.classes:
            raise InputError(f"{self.images.name} has other classes than those to generate images of")

    @classmethod
    def of_images(cls, images: ImageSet, split: Split = "train") -> Source:
        """The classes of real images, and those of the images of one split; images without one count as ``train``.

        Neither prompts nor pictures of images that choose or test a model may reach its training set. So what is made
        from a split belongs to that split.

        Raises:
            InputError: no images of the split, no labels, or no class.
        """
        if images.class_names is None:
            raise InputError(f"{images.name} has no class names to generate images of; name them: classes:star,heart")
        splits = images.column("split")
        chosen = [row for row, own in enumerate(splits) if (own or images.split or "train") == split]
        if not chosen and split == "train":
            raise InputError(
                f"{images.name} has no training images: prompts and pictures of images that choose or test a model "
                f"must not reach its training set"
            )
        if not chosen:
            raise InputError(f"{images.name} has no images of split {split!r} to generate images of")
        return cls(images.class_names, images.select(chosen) if len(chosen) < len(images) else images, split)


@dataclass(frozen=True)
class Manifested:
    """One row of the manifest.

    Attributes:
        id: ``CLASS-INDEX``, or that of the real image whose twin it is.
        label: name of the class.
        index: number within the class, from 0.
        prompt: with the words of the class in it; None for a generator that takes classes.
        seed: of the noise that the image begins with.
        source: position of the real image that it is made from, in the images of the source; None without one.
    """

    id: str
    label: str
    index: int
    prompt: str | None
    seed: int
    source: int | None = None


def check_templates(templates: Sequence[str]) -> None:
    """Refuse templates that cannot name a class.

    Raises:
        ValueError: none, or one without a place for the class, which a parameter model reports.
    """
    if not templates:
        raise ValueError("give at least one template, such as 'a {}'")
    lacking = next((one for one in templates if one.count(BLANK) != 1), None)
    if lacking is not None:
        raise ValueError(
            f"the template {lacking!r} must say where the class stands, by one {BLANK}: 'a photo of a {{}}'; or give "
            f"the name of a set, clip"
        )


def drawn_template(templates: Sequence[str], label: str, index: int, seed: int) -> str:
    """The template of one image: drawn for each image by itself, not for a class or a batch.

    >>> drawn_template(["a {}"], "star", 3, seed=0)
    'a {}'
    """
    return templates[derive_seed(seed, "template", label, index) % len(templates)]


def image_seed(label: str, prompt: str | None, guidance_scale: float, index: int, seed: int) -> int:
    """The seed of one image, which belongs to (class, prompt, guidance, seed, index) alone.

    >>> image_seed("star", "a star", 2.0, 0, seed=0) == image_seed("ring", "a star", 2.0, 0, seed=0)
    False
    """
    return derive_seed(seed, "synthesis", label, prompt or "", float(guidance_scale), index) % 2**31


def drawn_sources(images: ImageSet, seed: int) -> Mapping[str, list[int]]:
    """For each class, positions of its real images in the order in which they are used; then they repeat.

    Raises:
        InputError: a class without images.
    """
    found = rows_by_class(images, seed)
    empty = next((name for name, rows in found.items() if not rows), None)
    if empty is not None:
        raise InputError(
            f"{images.name} has no training image of class {empty!r}, so nothing can be made from one; generate by "
            f"name instead, or leave the class out"
        )
    return found


def turns(classes: Sequence[str], count: int) -> Iterator[tuple[int, str]]:
    """Index and class of every row: all classes at index 0, then at 1, so that what is stopped early is balanced.

    >>> list(turns(["star", "ring"], 2))
    [(0, 'star'), (0, 'ring'), (1, 'star'), (1, 'ring')]

    Raises:
        InputError: a count below 1.
    """
    if count < 1:
        raise InputError(f"at least 1 image of each class is generated; got {count}")
    return ((index, name) for index in range(count) for name in classes)


@dataclass(frozen=True)
class Slot:
    """Where an image of a manifest stands, before it is known what it is conditioned on.

    Attributes:
        id: of the row.
        label: name of the class.
        index: number within the class, from 0.
        source: position of the real image that it may be made from; None without real images.
    """

    id: str
    label: str
    index: int
    source: int | None


def slots(source: Source, count: int | None, seed: int, *, from_images: bool) -> list[Slot]:
    """The places of a manifest: ``count`` for each class in turns, or one for each real image.

    Args:
        source: classes, and real images where there are any.
        count: images of each class; None: one for each real image, in their order, with its id and class.
        seed: of the order in which the real images of a class are used, where there is a count.
        from_images: whether images are made from real ones; else a slot names none, and cannot leak it.

    Raises:
        InputError: a count below 1, or real images that are missing, or have no label.
    """
    if count is None:
        if source.images is None:
            raise InputError("one image for each real image needs real images: give a data set instead of names")
        ids, labels = source.images.ids, source.images.labels.tolist()
        lacking = next((row for row, label in enumerate(labels) if label < 0), None)
        if lacking is not None:
            raise InputError(f"{source.images.name}: image {ids[lacking]!r} has no label; leave it out")
        numbers = dict.fromkeys(source.classes, -1)
        found = []
        for row, (key, label) in enumerate(zip(ids, labels, strict=True)):
            name = source.classes[label]
            numbers[name] += 1
            found.append(Slot(key, name, numbers[name], row if from_images else None))
        return found
    places = drawn_sources(source.images, seed) if from_images and source.images is not None else None
    return [
        Slot(row_id(name, index), name, index, None if places is None else places[name][index % len(places[name])])
        for index, name in turns(source.classes, count)
    ]


def row_id(label: str, index: int) -> str:
    """The id of a row.

    >>> row_id("star", 12)
    'star-000012'
    """
    return f"{label}-{index:06d}"
