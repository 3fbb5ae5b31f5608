"""The definition of a concept: scope = all necessary conditions and any positive cue and no negative cue.

Toubal, Avinash, Alldrin, Dlabal and others, *Modeling Collaborator*, CVPR 2024, arXiv 2403.02626, stage A. A language
model turns name and description into conditions; the owner of the concept confirms, edits or corrects them. The hash of
a definition covers every word of it: labels are kept under that hash, so a correction outdates the labels of the former
definition and of no other.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from snellen.core.errors import InputError
from snellen.core.refused_values import refused_values
from snellen.core.run import canonical_json
from snellen.systems.language_model_annotation.conversation import Conversation

Kind = Literal["necessary", "positive", "negative"]

#: Conditions of a definition, letters of one, and bytes of a file at most.
MOST_CONDITIONS, MOST_LETTERS, MAX_BYTES = 12, 300, 2**20


class Condition(NamedTuple):
    """One condition: ``id`` is its kind and number, such as ``negative 1``."""

    id: str
    kind: Kind
    text: str


class _Conditions(BaseModel):
    """What a language model writes, strictly parsed: no other member, no empty text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    necessary: tuple[str, ...] = Field((), description="conditions that must all hold in an image of the concept")
    positive: tuple[str, ...] = Field((), description="cues; at least one must be there; may be empty")
    negative: tuple[str, ...] = Field((), description="cues that exclude an image in any case")
    notes: tuple[str, ...] = Field((), description="how to decide at the boundary")

    @field_validator("necessary", "positive", "negative", "notes")
    @classmethod
    def _in_words(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            if not text.strip() or len(text) > MOST_LETTERS:
                raise ValueError(f"a condition has 1 to {MOST_LETTERS} letters, got {text[:40]!r}")
        return tuple(text.strip() for text in texts)


class Definition(_Conditions):
    """A concept and its conditions.

    >>> fish = Definition(name="gourmet tuna", description="tuna served finely", necessary=("tuna is visible",))
    >>> [condition.id for condition in fish.conditions], fish.hash == fish.model_copy().hash
    (['necessary 1'], True)

    Attributes:
        name: of the concept.
        description: in the owner's words.
        corrections: what the owner corrected, oldest first.
    """

    name: str
    description: str
    corrections: tuple[str, ...] = ()

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All conditions in the order of their questions: what excludes most images comes first."""
        parts: tuple[tuple[Kind, tuple[str, ...]], ...] = (
            ("necessary", self.necessary),
            ("negative", self.negative),
            ("positive", self.positive),
        )
        return tuple(
            Condition(f"{kind} {number}", kind, text) for kind, texts in parts for number, text in enumerate(texts, 1)
        )

    @property
    def hash(self) -> str:
        """Hash of every word (sha256, hex)."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()

    def to_toml(self) -> str:
        """As a file that the owner can read, edit, and hand in again."""
        lines = []
        for name, value in self.model_dump(mode="json").items():
            shown = json.dumps(value, ensure_ascii=False)
            if isinstance(value, list) and value:
                shown = "[\n" + "".join(f"  {json.dumps(text, ensure_ascii=False)},\n" for text in value) + "]"
            lines.append(f"{name} = {shown}")
        return "\n".join(lines) + "\n"


def checked(definition: Definition) -> Definition:
    """The definition, if images can be decided by it.

    Raises:
        InputError: no description, nothing to decide by, too many conditions, or a text on both sides.
    """
    if not definition.name.strip() or not definition.description.strip():
        raise InputError(
            "a concept needs a name and a description in words; write what belongs to it, what does not, and why"
        )
    if not definition.necessary and not definition.positive:
        raise InputError(
            f"the definition of {definition.name!r} has neither a necessary condition nor a positive cue, so every "
            f"image would belong to it; add one"
        )
    if len(definition.conditions) > MOST_CONDITIONS:
        raise InputError(
            f"the definition of {definition.name!r} has {len(definition.conditions)} conditions, and each is a "
            f"question about every image; keep at most {MOST_CONDITIONS}"
        )
    wanted = {text.casefold() for text in (*definition.necessary, *definition.positive)}
    both = sorted(text for text in definition.negative if text.casefold() in wanted)
    if both:
        raise InputError(
            f"the definition of {definition.name!r} contradicts itself: {both[0]!r} includes and excludes images; keep "
            f"one of them"
        )
    return definition


def read_concept(concept: str | Path | Mapping[str, Any] | Definition) -> Definition:
    """A concept from a text ("gourmet tuna: tuna served finely …"), a TOML or JSON file, a mapping, or a definition.

    A file holds ``name`` and ``description``, and may hold conditions that the owner wrote or confirmed.

    >>> read_concept("red star: a star that is red").name
    'red star'

    Raises:
        InputError: a file that cannot be read, no name or description, or a member that is not known.
    """
    if isinstance(concept, Definition):
        return concept
    if isinstance(concept, Mapping):
        return _parsed(dict(concept), "the concept")
    path = Path(concept)
    if path.suffix.lower() in (".toml", ".json"):
        return _parsed(_file(path), str(path))
    name, colon, description = str(concept).partition(":")
    return _parsed({"name": name.strip(), "description": (description if colon else name).strip()}, "the concept")


def _file(path: Path) -> Any:  # noqa: ANN401 - what a file holds
    if not path.is_file():
        raise InputError(f"no file of a concept at {path}")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} is too large for a concept (at most {MAX_BYTES} bytes)")
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _parsed(value: object, where: str) -> Definition:
    try:
        found = Definition.model_validate(value)
    except ValidationError as error:
        faults = refused_values(error, most=3)
        raise InputError(f"{where}: expected name, description and lists of conditions: {faults}") from error
    if not found.name.strip() or not found.description.strip():
        raise InputError(f"{where}: a concept needs a name and a description in words, and one of them is empty")
    return found


def specify(concept: Definition, talk: Conversation) -> Definition:
    """Stage A: the concept with its conditions. Conditions that are there already are the owner's, and stay.

    Args:
        concept: with name and description at least.
        talk: with the language model.

    Raises:
        UnusableReplyError: replies of another form.
        InputError: see :func:`checked`.
    """
    if concept.conditions:
        return checked(concept)
    written = talk.request(
        f"A person wants to find images of the concept {json.dumps(concept.name)}, described as "
        f"{json.dumps(concept.description)}. Define it so that another person can decide every image alike: necessary "
        f"conditions that must all hold, positive cues of which at least one must be there (none, if the necessary "
        f"conditions are enough), negative cues that exclude an image, and notes about the boundary. Each condition is "
        f"one short statement about what can be seen. At most {MOST_CONDITIONS} conditions in all.",
        _Conditions,
        key="definition",
        check=lambda found: checked(concept.model_copy(update=found.model_dump())),
    )
    return checked(concept.model_copy(update=written.model_dump()))


def correct(definition: Definition, correction: str, talk: Conversation) -> Definition:
    """Change the text of a definition by a correction in the owner's words.

    The new definition has another hash, so no label of the former one is taken for it.

    Raises:
        InputError: an empty correction, or see :func:`checked`.
        UnusableReplyError: replies of another form.
    """
    if not correction.strip():
        raise InputError("a correction is a sentence, such as 'a blue plate excludes the image'; got an empty one")
    now = {name: getattr(definition, name) for name in _Conditions.model_fields}
    written = talk.request(
        f"This is the definition of the concept {json.dumps(definition.name)}, described as "
        f"{json.dumps(definition.description)}:\n{json.dumps(now)}\nIts owner corrects it: {json.dumps(correction)}. "
        f"Write the whole definition again with the correction, and change nothing else.",
        _Conditions,
        key=f"correction {len(definition.corrections) + 1}",
        check=lambda found: checked(definition.model_copy(update=found.model_dump())),
    )
    corrections = (*definition.corrections, correction.strip())
    return checked(definition.model_copy(update={**written.model_dump(), "corrections": corrections}))
