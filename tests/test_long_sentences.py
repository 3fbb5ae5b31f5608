"""Sentences have 25 words at most; longer ones are the exception, and those that are left only become fewer."""

import ast
import functools
import re
from collections.abc import Iterator

from tests.test_plain_words import ROOT, SOURCE, SUMMARY, page_of

#: Words that a sentence has, that the longest exception has, and the share of a page's sentences that are exceptions.
MOST, LONGEST, SHARE = 25, 40, 0.05

#: Place → how many long sentences it still has. These numbers only fall.
LEFT = {
    "docs/statistics.md": 3,  # what is in its pictures, for those who do not see them
    "strings of auditing": 6,
    "strings of cli": 2,
    "strings of core": 2,
    "strings of data": 13,
    "strings of desk": 2,
    "strings of methods": 14,
    "strings of metrics": 3,
    "strings of models": 23,
    "strings of reproduction": 49,  # statements of claims and code that records hash
    "strings of runs": 5,
    "strings of systems": 85,  # code that records hash, to change with the records
    "strings of training": 2,
    "strings of verbs": 6,
}

#: Pages that people read; all but the history of changes.
PAGES = [
    str(path.relative_to(ROOT))
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "distributions").rglob("*.md")])
    if path.name != "CHANGELOG.md"
]

MARKS = re.compile(r"<!--.*?-->", re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=#)")
END = re.compile(r"(?<!\bal\.)(?<=[.!?])[\"”)*]*\s+(?=[^a-z\s])")
#: Texts of a template: what stands between tags that begin a new line or cell.
UNSEEN = re.compile(r"\{#.*?#\}|\{%.*?%\}|<(script|style|svg)\b.*?</\1>", re.DOTALL)
INLINE = re.compile(r"</?(?:a|b|i|em|strong|code|span|abbr|small|sub|sup)\b[^>]*>")
TAG = re.compile(r"<[^>]*>")


def sentences(text: str) -> Iterator[str]:
    """Sentences of Markdown or plain text: items of lists and paragraphs end one; headings and tables have none."""
    for paragraph in PARAGRAPH.split(LINK.sub(r"\1", MARKS.sub("", text))):
        plain = " ".join(paragraph.split())
        if plain and not plain.startswith(("|", "#")):
            yield from END.split(plain)


def words(sentence: str) -> int:
    """Words of a sentence; code is one word."""
    return len(re.findall(r"\S*\w\S*", re.sub(r"`[^`]*`", "x", sentence)))


def strings_of(code: str) -> Iterator[str]:
    """Texts of a file of Python that a user may read: its strings, without docstrings."""
    tree = ast.parse(code)
    nodes = list(ast.walk(tree))
    skipped = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    skipped |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)


def template_of(text: str) -> Iterator[str]:
    """What a template shows."""
    yield re.sub(r"\{\{.*?\}\}", "x", TAG.sub("\n\n", INLINE.sub("", UNSEEN.sub("", text))), flags=re.DOTALL)


@functools.cache
def counted() -> dict[str, list[str]]:
    """Sentences by place: each page, templates, one-line descriptions, and the strings of each room."""
    found = {place: list(sentences(page_of(ROOT / place))) for place in PAGES}
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix == ".py":
            place, texts = f"strings of {path.relative_to(SOURCE).parts[0]}", strings_of
        elif path.name.endswith(".html.j2"):
            place, texts = "templates", template_of
        elif path.name in ("system.toml", "methods.toml", "checks.toml", "treatments.toml"):
            place, texts = "descriptions", SUMMARY.findall
        else:
            continue
        of_file = [one for text in texts(path.read_text(encoding="utf-8")) for one in sentences(text)]
        found.setdefault(place, []).extend(of_file)
    return found


def long_ones(place: str, most: int = MOST) -> list[str]:
    """Sentences of a place with more words than that."""
    return [one for one in counted()[place] if words(one) > most]


def test_long_sentences_only_become_fewer():
    found = {place: long_ones(place) for place in counted()}
    more = {place: left for place, left in found.items() if len(left) > LEFT.get(place, 0)}
    assert not more, f"sentences of more than {MOST} words: " + "".join(
        f"\n{place} has {len(left)} instead of at most {LEFT.get(place, 0)}:"
        + "".join(f"\n  {words(one)}: {one}" for one in left)
        for place, left in more.items()
    )
    fewer = {place: len(found.get(place, ())) for place in LEFT if len(found.get(place, ())) < LEFT[place]}
    assert not fewer, f"well done: lower these numbers in LEFT of this file (0: drop the line): {fewer}"


def test_long_sentences_are_the_exception_of_each_page():
    shares = {place: len(long_ones(place)) / max(len(counted()[place]), 1) for place in PAGES}
    assert not {place: share for place, share in shares.items() if share >= SHARE}
    assert not {place: found for place in PAGES if (found := long_ones(place, LONGEST))}


def test_what_is_no_sentence_is_not_counted(tmp_path):
    text = " ".join(["word"] * 26)
    page = tmp_path / "page.md"
    for other in (f"| {text} |", f"```\n{text}\n```", f"<!-- a:begin -->\n{text}\n<!-- a:end -->", f"# {text}"):
        page.write_text(other, encoding="utf-8")
        assert not [one for one in sentences(page_of(page)) if words(one) > MOST], other
    assert [words(one) for one in sentences(f"Short one. {text.capitalize()}.")] == [2, 26]
    assert len([*sentences(f"- {text}\n- {text}")]) == 2
    assert [words(one) for one in sentences("See `a b c` and [two words](a b.md).")] == [5]


def test_strings_and_templates_are_read_as_a_user_sees_them():
    code = '"""Not this."""\nx = f"one {y} two" " three"\nraise ValueError("four")\n'
    assert sorted(strings_of(code)) == ["four", "one X two three"]
    assert [
        *sentences("".join(template_of("<p>One <b>{{ two }}</b>.</p><script>no</script><td>Three{% if a %}</td>")))
    ] == [
        "One x.",
        "Three",
    ]
