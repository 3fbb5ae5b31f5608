"""Captions as words, and the phrases in them."""

from __future__ import annotations

import difflib
import textwrap
from dataclasses import dataclass
from functools import cache

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.vocabulary import ARTICLES, BLANK, Meaning, phrases, vocabulary

_QUOTES = "“”„‟«»'’‘`"
_TO_QUOTE = str.maketrans(dict.fromkeys(_QUOTES, '"'))
_SPACED = str.maketrans(
    {"-": " ", "‐": " ", "–": " ", "(": " , ", ")": " , ", ",": " , ", ":": " , "}
    | {";": " . ", ".": " . ", "!": " . ", "?": " . "}
)

#: Spellings that are read as another.
_SPELLINGS = {"center": "centre", "gray": "grey", "color": "colour", "another": "a"}


@dataclass(frozen=True)
class CaptionTokens:
    """A caption, ready to be read.

    Attributes:
        words: in small letters, without articles and commas; "." ends a sentence, BLANK stands for a quoted text.
        articles: "", "a" or "the" before each word.
        after_comma: numbers of the words with a comma before them: no phrase reaches over one.
        texts: quoted texts in capitals, by the number of their word.
    """

    words: tuple[str, ...]
    articles: tuple[str, ...]
    after_comma: frozenset[int]
    texts: dict[int, str]


def caption_words(caption: str) -> list[str]:
    """Split a caption for a tokenizer into words of :func:`snellen.data.worlds.optotypes.vocabulary.vocabulary`.

    Words are in small letters, a quoted text is spelled letter by letter in capitals, between quotation marks.

    >>> caption_words('A medium-sized star, with the word "GO"')
    ['a', 'medium', 'sized', 'star', ',', 'with', 'the', 'word', '"', 'G', 'O', '"']
    """
    found: list[str] = []
    for number, part in enumerate(caption.translate(_TO_QUOTE).split('"')):
        if number % 2:
            found += ['"', *part.upper().replace(" ", ""), '"']
        else:
            found += [_SPELLINGS.get(word, word) for word in part.lower().translate(_SPACED).split()]
    return found


def tokenise(caption: str) -> CaptionTokens:
    """Split a caption for the parser.

    >>> tokenise('The Gray star, "GO"!').words
    ('grey', 'star', '*', '.')
    """
    words: list[str] = []
    articles: list[str] = []
    after_comma: set[int] = set()
    texts: dict[int, str] = {}
    article = ""
    for number, part in enumerate(caption.translate(_TO_QUOTE).split('"')):
        if number % 2:
            texts[len(words)] = part.strip().upper()
            words.append(BLANK)
            articles.append(article)
            article = ""
            continue
        for word in part.lower().translate(_SPACED).split():
            if word in _SPELLINGS:
                word = _SPELLINGS[word]
            if word in ARTICLES:
                article = "the" if word == "the" else "a"
            elif word == ",":
                after_comma.add(len(words))
            else:
                words.append(word)
                articles.append(article)
                article = ""
    return CaptionTokens(tuple(words), tuple(articles), frozenset(after_comma), texts)


@dataclass(frozen=True, slots=True)
class Phrase:
    """One phrase of a caption.

    Attributes:
        slot: the kind of fact ("colour"); "stop" ends a sentence.
        value: what it says ("red").
        degree: of a nuisance.
        article: before it: "", "a" or "the".
        words: the phrase itself, for messages.
        text: the quoted text in it.
    """

    slot: str
    value: str
    degree: str
    article: str
    words: str
    text: str = ""


class _Node:
    """A place in the tree of phrases: how they go on, and what the phrase that ends here means."""

    __slots__ = ("meaning", "next")

    def __init__(self) -> None:
        self.next: dict[str, _Node] = {}
        self.meaning: Meaning | None = None


def find_phrases(tokens: CaptionTokens) -> list[Phrase]:
    """Split words into phrases; each is the longest with which the rest can be split too.

    Raises:
        InputError: a word or phrase is not known; the message names it and near ones.
    """
    words = tokens.words
    found: list[tuple[int, int, Meaning]] = []
    left: list[list[tuple[int, Meaning]]] = []
    dead_ends: set[int] = set()
    position = 0
    while position < len(words):
        ends = [end for end in _ends(tokens, position) if end[0] not in dead_ends]
        while not ends:
            dead_ends.add(position)
            if not found:
                raise InputError(_not_understood(words, max(dead_ends)))
            position, _, _ = found.pop()
            ends = [end for end in left.pop() if end[0] not in dead_ends]
        end, meaning = ends.pop()
        found.append((position, end, meaning))
        left.append(ends)
        position = end
    return [_phrase(tokens, *span) for span in found]


def _phrase(tokens: CaptionTokens, start: int, end: int, meaning: Meaning) -> Phrase:
    words = " ".join(tokens.words[start:end])
    text = ""
    if BLANK in words:
        text = next(tokens.texts[place] for place in range(start, end) if place in tokens.texts)
        words = words.replace(BLANK, text)
    return Phrase(meaning.slot, meaning.value, meaning.degree, tokens.articles[start], words, text)


def _ends(tokens: CaptionTokens, start: int) -> list[tuple[int, Meaning]]:
    """Where phrases that start at a word end, and what they mean, the longest last."""
    node, words, found = _tree(), tokens.words, []
    for position in range(start, len(words)):
        if position > start and position in tokens.after_comma:
            break
        after = node.next.get(words[position])
        if after is None:
            break
        node = after
        if node.meaning is not None:
            found.append((position + 1, node.meaning))
    return found


@cache
def _tree() -> _Node:
    root = _Node()
    for phrase, meanings in [((".",), [Meaning("stop", ".")]), *phrases().items()]:
        node = root
        for word in phrase:
            node = node.next.setdefault(word, _Node())
        node.meaning = next(iter(meanings))
    return root


def _not_understood(words: tuple[str, ...], position: int) -> str:
    """Which word is not known or, where all are, which phrase."""
    shown = textwrap.shorten(" ".join(words).replace(BLANK, '"…"').replace(" .", "."), 200, placeholder=" …")
    for place in range(position, len(words)):
        if words[place] not in _known() and words[place] != BLANK:
            near = difflib.get_close_matches(words[place], sorted(_known()), n=3, cutoff=0.6)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
            return f"the word {words[place]!r} is not known in captions of scenes{hint} It came in: {shown}"
    rest = " ".join(words[position : position + 5])
    beginnings = [" ".join(phrase) for phrase in phrases() if phrase[0] == words[position]]
    near = difflib.get_close_matches(rest, beginnings, n=3, cutoff=0.0)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    return f"no phrase known in captions of scenes begins with {rest!r}{hint} It came in: {shown}"


@cache
def _known() -> frozenset[str]:
    return frozenset(word for word in vocabulary() if word.islower() or word == ".")
