"""One call of a generator: seeds, and a class for each image; and the condition of any other class.

A generator of classes gets a class by its id, one of prompts by words in a template. Guidance away from another class
needs the condition of that class in every step; here each different prompt is encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generator import Generator

#: What stands for the words of a class in a template.
BLANK = "{}"

#: The class of an image without a requested one.
NO_CLASS = -1


@dataclass(frozen=True, eq=False)
class GeneratorCall:
    """One call of a generator.

    Args:
        generator: makes the images.
        seeds: one for each image.
        class_names: of the classifier that guides, or of the generator.
        classes: index into ``class_names`` of each image, int64 (n,) on the CPU; :data:`NO_CLASS` where none is
            requested.
        pictures: one for each image, of a generator of image variations; empty for any other, and where none are
            known yet.
        templates: one prompt for each image, with ``{}`` for the words of its class; a prompt without it is the same
            for every class. None for a generator that takes no prompts.

    Raises:
        InputError: different numbers of seeds, classes and templates; a class that has no name; templates where the
            generator takes none, or none where it needs them; class names that the generator does not have.
    """

    generator: Generator
    seeds: tuple[int, ...]
    class_names: tuple[str, ...]
    classes: Tensor
    templates: tuple[str, ...] | None = None
    pictures: tuple[Image.Image, ...] = ()

    def __post_init__(self) -> None:
        counts = [len(self.seeds), len(self.classes), *([] if self.templates is None else [len(self.templates)])]
        if len(set(counts)) != 1 or not counts[0]:
            raise InputError(f"one seed, class and template belong to each image; got {' and '.join(map(str, counts))}")
        if self.classes.dtype != torch.int64 or self.classes.ndim != 1:
            raise InputError(f"classes are int64 (n,); got {self.classes.dtype} {tuple(self.classes.shape)}")
        if int(self.classes.max()) >= len(self.class_names) or int(self.classes.min()) < NO_CLASS:
            raise InputError(f"classes are numbered 0 to {len(self.class_names) - 1}; got {self.classes.tolist()[:8]}")
        if (self.templates is not None) != (self.generator.takes == "prompts"):
            raise InputError(f"{self.generator.name} takes {self.generator.takes}; templates are for prompts alone")
        if self.generator.takes == "classes":
            _ = self._ids

    def __len__(self) -> int:
        return len(self.seeds)

    def condition(self, classes: Tensor, rows: Sequence[int] | Tensor | None = None) -> Condition:
        """The condition of images as if each were of another class.

        Args:
            classes: one for each of the rows, int64 (m,).
            rows: which images; None for all of them.

        Returns:
            m rows. Equal calls give equal values in different objects: keep it where it is used twice.

        Raises:
            InputError: a class that the generator does not know, or a prompt that does not say where its class is.
        """
        where = list(range(len(self))) if rows is None else torch.as_tensor(rows).tolist()
        wanted = classes.tolist()
        if len(wanted) != len(where):
            raise InputError(f"{len(wanted)} classes came for {len(where)} images")
        wrong = next((index for index in wanted if not 0 <= index < len(self.class_names)), None)
        if wrong is not None:
            raise InputError(f"classes are numbered 0 to {len(self.class_names) - 1}; got {wrong}")
        if self.generator.takes == "classes":
            return self.generator.encode_classes([self._ids[index] for index in wanted])
        if self.templates is None:
            raise InputError(f"{self.generator.name} takes {self.generator.takes}, so it cannot take a class")
        own = self.classes.tolist()
        for row, index in zip(where, wanted, strict=True):
            if BLANK not in self.templates[row] and index != own[row]:
                raise InputError(
                    f"the prompt {self.templates[row]!r} does not say where its class is: write {BLANK} for the words "
                    f"of the class"
                )
        return self._bank.rows([self._prompt(row, index) for row, index in zip(where, wanted, strict=True)])

    @cached_property
    def own(self) -> Condition:
        """The condition of the requested images, (n); that of nothing where the generator takes nothing.

        Raises:
            InputError: an image without a class that a generator of classes, or a template, would need; one without a
                picture that a generator of image variations needs.
        """
        if self.generator.takes == "images":
            if len(self.pictures) != len(self):
                raise InputError(
                    f"{self.generator.name} varies pictures, and some requests bring none: vary a data set by images"
                )
            return self.generator.encode_images(self.pictures)
        if self.generator.takes == "nothing":
            return self.nothing
        if self.generator.takes == "classes":
            return self.condition(self.classes)
        return self._bank.rows(self.captions)

    @cached_property
    def nothing(self) -> Condition:
        """The condition that says nothing, (n): the base of unconditional generation.

        Raises:
            InputError: a generator of classes that was trained without one.
        """
        return self.generator.null(len(self))

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """What each image should show: its prompt, or the name of its class; empty without either.

        Raises:
            InputError: a template with a blank for an image without a class.
        """
        if self.templates is None:
            return tuple("" if index == NO_CLASS else self.class_names[index] for index in self.classes.tolist())
        return tuple(self._prompt(row, index) for row, index in enumerate(self.classes.tolist()))

    def _prompt(self, row: int, index: int) -> str:
        assert self.templates is not None
        template = self.templates[row]
        if BLANK not in template:
            return template
        if index == NO_CLASS:
            raise InputError(f"the prompt {template!r} has a blank for a class, but its image has none")
        return template.replace(BLANK, self.class_names[index])

    @cached_property
    def _bank(self) -> _Encoded:
        return _Encoded(self.generator)

    @cached_property
    def _ids(self) -> list[int]:
        """The generator's id of each class."""
        names = names_of(self.generator)
        if self.class_names == names:
            return list(range(len(names)))  # so that two classes of one name, as ImageNet has, stay two
        unknown = [name for name in self.class_names if name not in names]
        if unknown:
            raise InputError(
                f"the generator {self.generator.name} and what guides it must have the same names of classes; the one "
                f"has {', '.join(names)}, the other {', '.join(self.class_names)}"
            )
        twice = next((name for name in self.class_names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(
                f"the generator {self.generator.name} has several classes called {twice!r}, so what guides it must "
                f"list all its classes in the same order"
            )
        return [names.index(name) for name in self.class_names]


def names_of(generator: Generator) -> tuple[str, ...]:
    """Names of the classes that a generator takes; those of its ids where it has none; empty for prompts."""
    return generator.class_names or tuple(f"class {index}" for index in range(generator.classes))


class _Encoded:
    """Prompts that were encoded, as one condition that grows; a prompt is encoded once."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.places = dict[str, int]()
        self.condition: Condition | None = None

    def rows(self, prompts: Sequence[str]) -> Condition:
        """A row for each prompt."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.places]
        if new:
            encoded = self.generator.encode_prompts(new)
            known = [] if self.condition is None else [self.condition]
            self.condition = Condition.concatenate([*known, encoded])
            self.places |= {prompt: len(self.places) + number for number, prompt in enumerate(new)}
        assert self.condition is not None
        return self.condition.select([self.places[prompt] for prompt in prompts])
