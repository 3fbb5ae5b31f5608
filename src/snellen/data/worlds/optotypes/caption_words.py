"""Captions as words."""

from __future__ import annotations

from dataclasses import dataclass

from snellen.data.worlds.optotypes.vocabulary import ARTICLES, BLANK

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

    Words are in small letters, a quoted text is told letter by letter in capitals, between quotation marks.

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
