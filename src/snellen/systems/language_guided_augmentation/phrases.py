"""Captions → phrases of one image: objects beside the class, at most one background, and another background for it.

Stage 2 of ASPIRE. Any language model parses captions, or files of its answers do (``file:FILE``, by example id), or the
rules below. Of any parser, phrases that denote the class are left out: removing its object is no shortcut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import InputError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.factors import BACKGROUNDS, LIGHTINGS, STYLES
from snellen.data.worlds.optotypes.parser import parse as parse_scene
from snellen.models.language.protocol import LanguageModel, UnusableReplyError
from snellen.systems.language_guided_augmentation.words import cosine, denotes, merged, stems


class ParsedCaption(BaseModel):
    """What a parser reads in a caption; the form of a language model's reply."""

    model_config = ConfigDict(frozen=True)

    foreground: tuple[str, ...] = Field((), description="objects beside the one that the label names, each a phrase")
    background: tuple[str, ...] = Field((), max_length=1, description="the predominant background, at most one phrase")
    alternative: tuple[str, ...] = Field(
        (), max_length=1, description="another background that the object could be before; empty without a background"
    )


@dataclass(frozen=True)
class ImagePhrases:
    """The record of one image.

    Attributes:
        example_id: of the image.
        caption: as it came; empty where there is none.
        foreground: phrases of objects, none of the class and none twice.
        background: at most one.
        alternative: another background; None where none is known, so that the background is not edited.
        reason: why there is no phrase; empty where there is one.
    """

    example_id: str
    caption: str
    foreground: tuple[str, ...] = ()
    background: str | None = None
    alternative: str | None = None
    reason: str = ""


class CaptionParser(Protocol):
    """Reads phrases in captions."""

    @property
    def name(self) -> str:
        """Shown in reports."""

    def parse(self, caption: str, label: str, *, key: str) -> ParsedCaption:
        """Parse the caption of one image, with the name of its class and its id.

        Raises:
            InputError: it cannot be read.
        """


_QUESTION = """An image of the class "{label}" has this caption: "{caption}"

List the objects in the foreground, each as a short noun phrase. Leave out everything that means the class "{label}" or
a part of it. Name the predominant background in one phrase, if the caption has one, and then another background that
"{label}" could plausibly be seen before. Name nothing that the caption does not mention, but for that other one."""


@dataclass(frozen=True)
class LanguageParser:
    """A language model; a file of answers has one for each example id."""

    model: LanguageModel

    @property
    def name(self) -> str:
        """Of the model."""
        return self.model.name

    def parse(self, caption: str, label: str, *, key: str) -> ParsedCaption:
        """Ask the model once; see :class:`CaptionParser`.

        Raises:
            InputError: a file without an answer for this image, or a reply without the requested form.
        """
        question = _QUESTION.format(label=label, caption=caption.replace('"', "'"))
        try:
            reply = self.model.complete(question, key=key, schema=ParsedCaption)
        except (UnusableReplyError, UnknownNameError) as error:
            raise InputError(str(error)) from error
        assert isinstance(reply.value, ParsedCaption)
        return reply.value


@dataclass(frozen=True)
class SceneParser:
    """Captions of scenes (Optotypes). The first object is the class's, unless the class is one of the whole scene."""

    name: str = "captions of scenes"

    def parse(self, caption: str, label: str, *, key: str) -> ParsedCaption:
        """Read the caption; lettering is the phrase "text LETTERS".

        >>> SceneParser().parse('a red star on grass, with a small blue ring to its right', "star", key="0")
        ParsedCaption(foreground=('blue ring',), background=('grass',), alternative=())

        Raises:
            InputError: words that captions of scenes do not use.
        """
        read = parse_scene(caption)
        beside = (read.objects or ())[0 if label in (*BACKGROUNDS, *LIGHTINGS, *STYLES) else 1 :]
        named = (" ".join(part for part in (one.colour, one.shape) if part) for one in beside)
        lettering = [f"text {read.lettering}"] if read.lettering else []
        return ParsedCaption(
            foreground=(*filter(None, named), *lettering), background=(read.background,) if read.background else ()
        )


_BEHIND = "in front of|against|on top of|inside|on|in|at|over|under|along|across|through"
_BESIDE = "with|and|next to|beside|near|by|holding|wearing|carrying|behind|,"
_SPLIT = re.compile(rf"\s*(?:\b({_BEHIND}|{_BESIDE.removesuffix('|,')})\b|(,))\s*")
_OPENING = re.compile(r"^(?:there (?:is|are)|(?:an?|the) (?:\w+ )?(?:photo|picture|image|painting|view)s? of)\s+")
#: Heads of phrases that say where, and not before what.
_PLACES = frozenset({
    "left", "right", "top", "bottom", "middle", "center", "centre", "corner", "side", "front", "back", "foreground",
    "edge",
})  # fmt: skip
_NOT_NOUNS = re.compile(r"(?:\s+(?:is|are|that|which|while|\w{2,}ing))+$")


@dataclass(frozen=True)
class RuleParser:
    """Plain English: "in front of X", "on X" name a background, "with X", "and X", "beside X" objects."""

    name: str = "rules"

    def parse(self, caption: str, label: str, *, key: str) -> ParsedCaption:
        """Split the caption at prepositions and connectives.

        >>> RuleParser().parse("A bird standing in front of a bamboo forest, with a man and a dog.", "bird", key="0")
        ParsedCaption(foreground=('bird', 'man', 'dog'), background=('bamboo forest',), alternative=())
        >>> RuleParser().parse("a cow with hills in the background", "cow", key="0").background
        ('hills',)
        """
        text = _OPENING.sub("", re.sub(r"[.;:!?()\"]", ",", caption.lower()).strip(" ,"))
        parts = _SPLIT.split(text)
        objects, grounds = [_noun(parts[0])], list[str]()
        last = objects
        for word, comma, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            phrase = _noun(rest)
            words = stems(phrase)
            if words == ("background",):  # the phrase before it is one
                if last is objects and objects:
                    grounds.insert(0, objects.pop())
                last = grounds
            elif not words or words[-1] in _PLACES:
                continue
            else:
                last = objects if comma or re.fullmatch(_BESIDE, word) else grounds
                last.append(phrase)
        # A second "on X" is where an object lies, and not what is behind all of them.
        return ParsedCaption(foreground=tuple(filter(None, objects)), background=tuple(filter(None, grounds))[:1])


def _noun(text: str) -> str:
    return re.sub(r"^(?:an?|the|some|its|his|her|their)\s+", "", _NOT_NOUNS.sub("", text.strip()))


def image_phrases(example_id: str, caption: str | None, names: Sequence[str], parser: CaptionParser) -> ImagePhrases:
    """The record of one image, without phrases that denote its class.

    Args:
        example_id: of the image.
        caption: None or empty where there is none.
        names: of its class: its own first, then synonyms.
        parser: of captions.
    """
    if not (caption or "").strip():
        return ImagePhrases(example_id, "", reason="no caption")
    assert caption is not None
    try:
        parsed = parser.parse(caption, names[0], key=example_id)
    except InputError as error:
        return ImagePhrases(example_id, caption, reason=f"no phrase: {error}")

    def kept(phrases: Sequence[str]) -> tuple[str, ...]:
        usable = [phrase.strip() for phrase in phrases if stems(phrase) and not denotes(phrase, names)]
        first: dict[tuple[str, ...], str] = {}
        for phrase in usable:
            first.setdefault(stems(phrase), phrase)
        return tuple(first.values())

    grounds, others = kept(parsed.background), kept(parsed.alternative)
    background = grounds[0] if grounds else None
    alternative = others[0] if others and background and cosine(others[0], background) < 1 else None
    foreground = tuple(one for one in kept(parsed.foreground) if background is None or stems(one) != stems(background))
    reason = "" if foreground or background else "no phrase"
    return ImagePhrases(example_id, caption, foreground, background, alternative, reason)


def with_alternatives(records: Sequence[ImagePhrases], rng: Randomness) -> list[ImagePhrases]:
    """The records, where a background without an alternative gets one of another image, drawn by the image's id.

    >>> shown = [ImagePhrases("a", "…", background="grass"), ImagePhrases("b", "…", background="sand")]
    >>> [one.alternative for one in with_alternatives(shown, Randomness(0))]
    ['sand', 'grass']
    """
    leaders = merged(one.background for one in records if one.background is not None)
    draws = rng.for_examples([one.example_id for one in records]).uniform("alternative", ()).tolist()
    found = []
    for one, draw in zip(records, draws, strict=True):
        if one.background is None or one.alternative is not None:
            found.append(one)
            continue
        others = sorted(set(leaders.values()) - {leaders[one.background]})
        found.append(replace(one, alternative=others[int(draw * len(others))] if others else None))
    return found


def class_words(class_names: Sequence[str], synonyms: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Names of each class: its own, then its synonyms.

    Raises:
        InputError: synonyms of something that is no class.
    """
    unknown = sorted(set(synonyms) - set(class_names))
    if unknown:
        raise InputError(
            f"synonyms are given for {unknown[0]!r}, which is no class; the classes are {', '.join(class_names[:20])}"
        )
    return [(name, *synonyms.get(name, ())) for name in class_names]
