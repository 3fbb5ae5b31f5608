"""Prose is plain English: words of the private dialect do not come back, and those that are left only become fewer."""

import ast
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "snellen"

#: Word of the dialect → what it looks like, and what to write instead.
DIALECT = {
    "told": (r"(?:fore|un)?(?:told|tells?|telling)", "shows, reports, gives, states; told apart: distinguished"),
    "hears": (r"hears?|heard", "callback that receives progress updates"),
    "asked": (r"asked|asks|asking", "requested, needs, runs, queries, scores"),
    "looked at": (r"(?:looks?|looked|looking) (?:at|up)", "scores, reads, inspects, renders, finds"),
    "things": (r"things?", "the noun itself: images, rows, objects, attributes"),
    "following": (r"following", "these, or the noun itself"),
    "said": (r"said|says? of", "described, stated, given; says of: the noun, such as record or description"),
    "of which": (r"of which", "whose, with, or a second sentence"),
    "whatever": (r"whatever|whoever", "any, every, or the noun itself"),
    "for certain": (r"for certain", "significantly; at 95 % confidence"),
    "sought": (r"sought", "searched"),
    "another's": (r"another's", "of another class, image, row"),
    "goes on": (r"(?:goes|gone|went) on", "resumes, continues"),
    "everyone": (r"everyone", "each item, all rows"),
    "to be had": (r"to be had", "available"),
    "accused": (r"accus(?:ed|es|ing)", "reported, flagged"),
}
#: All of them, in small letters. The letters in front are those that they begin with: most words are left at once.
PATTERN = re.compile(
    r"\b(?=[aefghlostuw])(?:" + "|".join(f"(?P<w{n}>{form})" for n, (form, _) in enumerate(DIALECT.values())) + r")\b"
)

#: Place → how many words of the dialect it still has. These numbers only fall.
LEFT = {
    "help of systems": 24,  # fields of systems and experiments: code that records hash, to change with the records
    "models": 1,  # a word of a tokenizer
    "systems": 1,  # the title of a paper
}

#: Word within a name → what to write instead. Names are those of files, classes, functions, fields and arguments.
NAMES = {
    "told": "reported, or the noun itself",
    "asked": "requested, queried, prompted",
    "following": "the noun itself",
    "things": "objects, images, rows",
    "thing": "object, image, row",
    "looked_up": "matched, found",
    "halves": "what is split, or a verb",
    "blind": "zero_gradients",
    "tune": "val, for the validation split",
}
#: Classes that have another name now.
CLASSES = {
    "Conclusion": "CheckResult",
    "Measured": "CheckFigure, or the noun of what was measured",
    "Preparation": "Preprocessing",
}
#: Names that stay, each with its reason. Variables within a function are read in one place, and are not compared.
NAMES_LEFT: dict[str, str] = {
    "tune_captioner": "to tune, a verb",
    "tune_network": "to tune, a verb",
}

#: The validation split is called val. Files below src/snellen that hold its earlier name, each with its reason.
TUNE_LEFT = {
    "cli/app.py": "the error of the earlier option",
    "core/formats.py": "cards of version 1 have it",
    "core/randomness.py": "streams of random numbers keep it",
    "data/files/splits.py": "a spelling that data of others has",
    "reproduction/context_upsampling/full.py": "code under the hash of a record, with a list of images called val",
}
TUNE = re.compile(r"(?<![\w])(?<![Ff]ine-)tune(?![\w])")

#: Triple quotes, comments on lines of their own, and comments behind code, as ruff formats them.
PROSE = re.compile(r'"""((?s:.*?))"""|((?:^[ ]*#.*\n)+)|(?<=\S)  (# .*)$', re.MULTILINE)
#: Texts that the command line and schemas show.
HELP = re.compile(r'\b(?:help|description|epilog)=\s*((?:f?"(?:[^"\\]|\\.)*"\s*)+)')
SUMMARY = re.compile(r'^(?:summary|title) = "(.*)"$', re.MULTILINE)
GENERATED = re.compile(r"<!-- ([^>]*?):begin.*?<!-- \1:end -->", re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
#: Code within a sentence, examples, and the names of arguments in front of what they mean.
CODE = re.compile(r"``[^`]*``|:\w+:`[^`]*`|`[^`\n]*`|\{[^{}]*\}|^ *(?:>>>|\.\.\.) .*$|^ +\w+: ", re.MULTILINE)
BREAK = re.compile(r'\s*\n\s*(?:#:? ?)?|"\s*\n\s*f?"')


def words_in(texts: Iterable[str]) -> Counter[str]:
    """Words of the dialect, across line ends, outside of code within a sentence."""
    names, found = list(DIALECT), Counter[str]()
    for text in texts:
        plain = BREAK.sub(" ", CODE.sub("", text)).lower()
        found.update(names[int(str(match.lastgroup)[1:])] for match in PATTERN.finditer(plain))
    return found


def prose_of(path: Path) -> list[str]:
    """Docstrings and comments of a file of Python."""
    return ["".join(match.groups("")) for match in PROSE.finditer(path.read_text(encoding="utf-8"))]


def page_of(path: Path) -> str:
    """A page without generated blocks and blocks of code."""
    return FENCED.sub("", GENERATED.sub("", path.read_text(encoding="utf-8")))


def counted() -> dict[str, Counter[str]]:
    """Words of the dialect by place: pages, help, report templates, and the prose of each room."""
    files: dict[str, list[str]] = {}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    files["pages"] = [page_of(path) for path in pages]
    files["report templates"] = [path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.html.j2")]
    for path in SOURCE.rglob("*.toml"):
        if path.name in ("system.toml", "methods.toml", "checks.toml"):
            files.setdefault("help", []).extend(SUMMARY.findall(path.read_text(encoding="utf-8")))
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0]
        text = path.read_text(encoding="utf-8")
        files.setdefault(room, []).extend("".join(match.groups("")) for match in PROSE.finditer(text))
        hashed = room in ("systems", "reproduction")
        files.setdefault("help of systems" if hashed else "help", []).extend(HELP.findall(text))
    return {place: words_in(texts) for place, texts in files.items()}


def test_words_of_the_dialect_only_become_fewer():
    found = {place: words for place, words in counted().items() if words or place in LEFT}
    more = {place: words for place, words in found.items() if words.total() > LEFT.get(place, 0)}
    assert not more, "write plain words: " + "; ".join(
        f"{place} has {words.total()} instead of at most {LEFT.get(place, 0)}: "
        + ", ".join(f"{word} ({count}; instead: {DIALECT[word][1]})" for word, count in words.most_common())
        for place, words in more.items()
    )
    fewer = {place: words.total() for place, words in found.items() if words.total() < LEFT.get(place, 0)}
    assert not fewer, f"well done: lower these numbers in LEFT of tests/test_plain_words.py (0: drop the line): {fewer}"


def test_the_places_that_people_read_first_have_none():
    assert not {"pages", "help", "report templates", "cli"} & set(LEFT)


def names_in(path: Path) -> set[str]:
    """The file's own name and, as code has them, those of classes, functions, fields and arguments."""
    found = {path.stem.removeprefix("test_")}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.arg(arg=name) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
        if isinstance(node, ast.ClassDef):
            found |= {
                target.id
                for one in node.body
                for target in (one.targets if isinstance(one, ast.Assign) else [getattr(one, "target", None)])
                if isinstance(target, ast.Name)
            }
    return found


def dialect_in(names: Iterable[str]) -> dict[str, str]:
    """Name → what to write instead, of names that hold a word of the dialect."""
    found = {}
    for name in names:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
        for word, better in NAMES.items():
            if re.search(rf"(?:^|_)(?<!fine_){word}(?:_|$)", words):
                found[name] = better
        if name in CLASSES:
            found[name] = CLASSES[name]
    return found


def test_names_are_free_of_the_dialect():
    found = {}
    for room in ("src", "scripts", "benchmarks", "fuzzing"):
        for path in (ROOT / room).rglob("*.py"):
            for name, better in dialect_in(names_in(path)).items():
                found[name] = f"{path.relative_to(ROOT)}: {name} (instead: {better})"
    files = [path.stem for path in (ROOT / "tests").rglob("*.py")]
    found |= {name: f"file {name}.py (instead: {better})" for name, better in dialect_in(files).items()}
    wrong = [place for name, place in sorted(found.items()) if name not in NAMES_LEFT]
    assert not wrong, "write plain names: " + "; ".join(wrong)
    assert set(NAMES_LEFT) <= set(found), "drop what is gone from NAMES_LEFT"


def test_the_validation_split_is_called_val():
    """In code, help, templates and pages; a split, an option, an argument, a field or a figure."""
    files = {one.relative_to(SOURCE).as_posix(): one.read_text(encoding="utf-8") for one in SOURCE.rglob("*.py")}
    found = {name for name, text in files.items() if TUNE.search(text)}
    assert found == set(TUNE_LEFT)
    others = [*SOURCE.rglob("*.j2"), *SOURCE.rglob("*.js"), *SOURCE.rglob("system.toml"), ROOT / "README.md"]
    pages = [one for one in (ROOT / "docs").rglob("*.md") if one.name != "design.md"]
    texts = {one: one.read_text(encoding="utf-8") for one in others} | {
        one: GENERATED.sub("", one.read_text(encoding="utf-8")) for one in pages
    }
    assert not [one for one, text in texts.items() if TUNE.search(text)]
    assert "--tune" not in (ROOT / "tests" / "public_options.txt").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("text", ["--tune DATA", "a.csv#tune", '"tune"', "tune.accuracy", "tune=val", "the tune split"])
def test_the_earlier_name_of_the_validation_split_is_found(text):
    assert TUNE.search(text)


@pytest.mark.parametrize("text", ["fine-tune", "fine_tune", "tuned", "tune_captioner", "neptune", "Tune a classifier"])
def test_to_tune_is_a_verb(text):
    assert not TUNE.search(text)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("def f(tune): ...", "tune"),
        ("def things_of(): ...", "things_of"),
        ("class LookedUp: ...", "LookedUp"),
        ("class A:\n    told: int = 1", "told"),
        ("class A:\n    asked = 1", "asked"),
        ("class A:\n    def f(self):\n        self._told = 1", "_told"),
        ("async def f(*, halves=1): ...", "halves"),
        ("class Measured: ...", "Measured"),
        ("class SamFollowing: ...", "SamFollowing"),
    ],
)
def test_a_name_of_the_dialect_is_found(tmp_path, code, name):
    (tmp_path / "one.py").write_text(code, encoding="utf-8")
    assert set(dialect_in(names_in(tmp_path / "one.py"))) == {name}


def test_variables_and_longer_words_are_no_names_of_the_dialect(tmp_path):
    (tmp_path / "untold.py").write_text("told = 1\ndef something(): asked = untold = 1\n", encoding="utf-8")
    assert not dialect_in(names_in(tmp_path / "untold.py"))
    (tmp_path / "test_asked.py").write_text("", encoding="utf-8")
    assert set(dialect_in(names_in(tmp_path / "test_asked.py"))) == {"asked"}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("What is missing is told.", "told"),
        ("the images\n    # that were looked\n    # at", "looked at"),
        ("a class, of which\n    nothing is left", "of which"),
        ("*Whatever* comes", "whatever"),
    ],
)
def test_a_word_is_found_at_the_end_of_a_line_and_within_marks(text, word):
    assert words_in([text]) == {word: 1}


def test_names_in_code_are_no_prose():
    assert not words_in(["see ``told`` and `asked`", ":func:`said`", "{told}", "untoldable, things_of, something"])


def test_docstrings_and_comments_are_read_and_strings_are_not(tmp_path):
    (tmp_path / "one.py").write_text(
        '"""Told here."""\n\n# and asked\nx = "told"  # said\n\n\ndef told():\n    """Of\n    which."""\n',
        encoding="utf-8",
    )
    assert words_in(prose_of(tmp_path / "one.py")) == {"told": 1, "asked": 1, "said": 1, "of which": 1}


def test_generated_blocks_and_code_of_a_page_are_not_read(tmp_path):
    (tmp_path / "page.md").write_text(
        "<!-- a b:begin -->\ntold\n<!-- a b:end -->\n```\nasked\n```\nIt is said.\n", encoding="utf-8"
    )
    assert words_in([page_of(tmp_path / "page.md")]) == {"said": 1}
