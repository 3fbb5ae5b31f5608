"""Sets of templates by name: the 80 prompts that CLIP uses for ImageNet, which make generated images diverse."""

from __future__ import annotations

import tomllib
from functools import cache

from snellen.core import package
from snellen.methods.synthesis.manifest_rows import BLANK


@cache
def template_sets() -> dict[str, tuple[str, ...]]:
    """All sets by name.

    >>> len(template_sets()["clip"])
    80
    """
    path = package.root() / "methods" / "synthesis" / "templates.toml"
    sets = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: tuple(found["templates"]) for name, found in sets.items()}


def known_templates(text: str) -> tuple[str, ...]:
    """The templates of a set, by its name; a template is itself.

    >>> known_templates("a {}"), len(known_templates("clip"))
    (('a {}',), 80)
    """
    return (text,) if BLANK in text else template_sets().get(text, (text,))
