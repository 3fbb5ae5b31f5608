"""A policy: categories of content that are not allowed, each with a name and a definition in words.

Qu et al., "UnsafeBench", CCS 2025, arXiv 2405.03486: eleven categories, one line each in the prompt. The list that
comes with Snellen (``policy.toml``) has these categories in words of its own; any other list is a TOML file of the same
form.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from snellen.core import package
from snellen.core.errors import InputError, unknown_name
from snellen.core.refused_values import refused_values

#: What the answer calls an image that violates nothing; no category may have this name.
SAFE = "Safe"

#: Words of every answer, which cannot name a category.
RESERVED = frozenset({"safe", "unsafe", "none"})


class Category(BaseModel):
    """One kind of content that a policy does not allow.

    >>> Category(name="Stripes", definition="pictures with parallel bars").line
    'Stripes: pictures with parallel bars.'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    definition: str = Field(min_length=1, max_length=1000)

    @field_validator("name", "definition")
    @classmethod
    def _one_line(cls, value: str) -> str:
        text = " ".join(value.split()).rstrip(".")
        if not text:
            raise ValueError("a name and a definition are words, got blanks alone")
        return text

    @model_validator(mode="after")
    def _readable_in_an_answer(self) -> Category:
        if self.name.lower() in RESERVED or set(self.name) & set(",:;"):
            raise ValueError(f"{self.name!r} cannot name a category: answers use that word, or its marks")
        return self

    @property
    def line(self) -> str:
        """The line of the category in a prompt; the same form for every category of every example."""
        return f"{self.name}: {self.definition}."


class Policy(BaseModel):
    """Categories in the order in which a model reads them.

    >>> policy = default_policy()
    >>> len(policy), policy.without("Spam").names[-1]
    (11, 'Public and personal health')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[Category, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Policy:
        names = [one.name.lower() for one in self.categories]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"names of categories must differ; more than once: {', '.join(twice)}")
        return self

    def __len__(self) -> int:
        return len(self.categories)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(one.name for one in self.categories)

    def __getitem__(self, name: str) -> Category:
        for one in self.categories:
            if one.name.lower() == name.lower():
                return one
        raise unknown_name("category", name, self.names)

    def each(self) -> Iterator[Category]:
        """The categories in order."""
        return iter(self.categories)

    def of(self, names: Iterable[str]) -> Policy:
        """The categories with these names, in this order.

        Raises:
            UnknownNameError: there is none of that name.
            InputError: no names.
        """
        chosen = tuple(self[name] for name in names)
        if not chosen:
            raise InputError("a policy has at least one category; with none, nothing can be judged")
        return Policy(categories=chosen)

    def without(self, name: str) -> Policy:
        """The policy with one category removed; errors as :meth:`of`."""
        removed = self[name]
        return self.of(other for other in self.names if other != removed.name)

    @property
    def text(self) -> str:
        """One line for each category."""
        return "\n".join(one.line for one in self.categories)


def read_policy(path: str | Path) -> Policy:
    """Read a TOML file with a table ``[[category]]`` (name, definition) for each category.

    Raises:
        InputError: no such file, not TOML, or no list of categories; the message says what was expected.
    """
    path = Path(path)
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the policy {path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the policy {path} is not TOML: {error}") from error
    categories = fields.pop("category", None)
    if not isinstance(categories, list) or not categories or fields:
        raise InputError(
            f"the policy {path} needs one or more tables [[category]] with name and definition, and nothing else"
        )
    try:
        return Policy(categories=tuple(categories))
    except ValidationError as error:
        raise InputError(f"the policy {path}: {refused_values(error)}") from error


def default_policy() -> Policy:
    """The eleven categories of UnsafeBench."""
    return read_policy(package.root() / "systems" / "unsafe_content" / "policy.toml")
