"""Names that recorded code bore when it was measured, so that a rename alone changes no record.

``renames.toml`` beside this file lists each name of today with the name before. It has four tables: ``names`` for all
recorded code, ``files`` for single files, ``modules`` for files that moved, and ``words`` for a name that strings hold,
such as that of a split, with the files that hold it. The hash of an experiment reads its code with the earlier names. A
row can hide no change of behaviour, because :func:`as_recorded` refuses two names that would become one, and
:func:`faults` lists rows that could point a name at something else.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from snellen.core import package
from snellen.core.errors import InputError

TABLE = "reproduction/renames.toml"

#: Fields of syntax trees that hold one name, and those that hold a list of names.
_NAME_FIELDS = ("id", "attr", "arg", "name", "asname", "rest")
_LIST_FIELDS = ("names", "kwd_attrs")


@dataclass(frozen=True)
class Renames:
    """Names of today and the names before.

    Attributes:
        names: name → name before, in all files.
        modules: dotted module → dotted module before.
        files: path below the package → names of this file alone, name → name before; a name that is its own name before
            is exempt from ``names``.
        words: name within strings → name before → paths below the package whose strings hold it.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def of_file(self, path: str) -> dict[str, str]:
        """The rows that hold in a file."""
        rows = {**self.names, **self.files.get(path, {})}
        return {new: old for new, old in rows.items() if new != old}

    def words_of(self, path: str) -> dict[str, str]:
        """The words that strings of a file hold, and the words before."""
        return {new: old for new, rows in self.words.items() for old, paths in rows.items() if path in paths}

    def path_before(self, path: str) -> str:
        """Where a file lay when it was measured."""
        module = f"snellen.{path.removesuffix('.py').replace('/', '.')}"
        before = self.modules.get(module)
        return path if before is None else f"{before.removeprefix('snellen.').replace('.', '/')}.py"


@cache
def read_renames() -> Renames:
    """The table of the package."""
    return Renames(**tomllib.loads(package.text(TABLE)))


def as_recorded(tree: ast.Module, names: Mapping[str, str], modules: Mapping[str, str], where: str) -> ast.Module:
    """A syntax tree with the earlier names, in place.

    Imports that hold a renamed name are put into the order of their earlier names, as the formatter had sorted them.

    Args:
        tree: of a file.
        names: name → name before.
        modules: dotted module → dotted module before.
        where: the file, for messages.

    Raises:
        InputError: two names of the file would become one, so that a change of behaviour could keep the hash.
    """
    present = identifiers(tree)
    before: dict[str, str] = {}
    for new, old in names.items():
        if new not in present:
            continue
        if old in present or old in before:
            raise InputError(
                f"{where} has both {new!r} and {before.get(old, old)!r}, and {TABLE} calls both {old!r} as it was "
                f"recorded; take another new name"
            )
        before[old] = new
    rows = {new: old for old, new in before.items()}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            node.module = modules.get(node.module, node.module)
        _rename(node, rows)
    for node in ast.walk(tree):
        for body in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            if isinstance(body, list):
                body[:] = _sorted_imports(body)
    return tree


def words_as_recorded(tree: ast.Module, words: Mapping[str, str], where: str) -> ast.Module:
    """A syntax tree whose strings hold the earlier words, in place.

    Args:
        tree: of a file, without docstrings.
        words: word → word before.
        where: the file, for messages.

    Raises:
        InputError: strings hold the word before, so that two words would become one.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        for new, old in words.items():
            if _word(old).search(node.value):
                raise InputError(f"strings of {where} hold {old!r}, which {TABLE} lists as the earlier name of {new!r}")
        for new, old in words.items():
            node.value = _word(new).sub(old, str(node.value))
    return tree


def _word(name: str) -> re.Pattern[str]:
    """The name as a word of its own; in ``fine-tune`` it is a part of another."""
    return re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")


def identifiers(tree: ast.AST) -> set[str]:
    """Every name of a syntax tree: variables, attributes, arguments, keywords, functions, classes and imports."""
    return {name for node in ast.walk(tree) for name in _names_of(node)}


def _names_of(node: ast.AST) -> Iterator[str]:
    for place in _NAME_FIELDS:
        value = getattr(node, place, None)
        if isinstance(value, str):
            yield value
    for place in _LIST_FIELDS:
        yield from (one for one in getattr(node, place, None) or () if isinstance(one, str))


def _rename(node: ast.AST, rows: Mapping[str, str]) -> None:
    for place in _NAME_FIELDS:
        value = getattr(node, place, None)
        if isinstance(value, str) and value in rows:
            setattr(node, place, rows[value])
    for place in _LIST_FIELDS:
        values = getattr(node, place, None)
        if values:
            setattr(node, place, [rows.get(one, one) if isinstance(one, str) else one for one in values])


def _sorted_imports(body: list[ast.stmt]) -> list[ast.stmt]:
    """Names within an import, and runs of imports from the package, as the linter sorts them."""
    made: list[ast.stmt] = []
    run: list[ast.ImportFrom] = []
    for one in body:
        if isinstance(one, ast.ImportFrom) and (one.module or "").partition(".")[0] == "snellen":
            one.names.sort(key=lambda alias: _member_key(alias.name))
            run.append(one)
            continue
        made += [*_by_module(run), one]
        run = []
    return [*made, *_by_module(run)]


def _by_module(run: Iterable[ast.ImportFrom]) -> list[ast.ImportFrom]:
    return sorted(run, key=lambda statement: _natural(statement.module or ""))


def _member_key(name: str) -> tuple[int, list[tuple[str, int]], str]:
    """Constants, classes, then functions."""
    kind = 0 if len(name) > 1 and name.isupper() else 1 if name[:1].isupper() else 2
    return kind, _natural(name), name


def _natural(name: str) -> list[tuple[str, int]]:
    return [(text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", name.lower())]


def faults(renames: Renames, paths: Iterable[Path], root: Path) -> list[str]:
    """Rows that could hide a change of behaviour in recorded code, in words.

    Names within a file are safe, because :func:`as_recorded` keeps them apart. A name that reaches into another file
    is safe if nothing there bears the earlier name any more, and nothing else bore it.

    Args:
        renames: the table.
        paths: files under hashes of records.
        root: folder of the package, whose definitions are read.
    """
    rows = {*renames.names.items(), *(row for names in renames.files.values() for row in names.items())}
    found = [
        f"{new} = {old!r}: no name may be a keyword or a builtin"
        for new, old in sorted(rows)
        if any(name in dir(builtins) or keyword.iskeyword(name) for name in (new, old))
    ]
    found += [f"{new} = {old!r}: {old} is still there" for new, old in renames.modules.items() if _file(old, root)]
    found += [f"{new} = {old!r}: {new} is not there" for new, old in renames.modules.items() if not _file(new, root)]
    listed = {*renames.words, *(old for olds in renames.words.values() for old in olds)}
    found += [f"{name!r} is no single word" for name in sorted(listed) if not name.isidentifier()]
    reaching: set[str] = set()
    for path in paths:
        names = renames.of_file(path.relative_to(root).as_posix())
        of_old: dict[str, list[str]] = {}
        for new, old in names.items():
            of_old.setdefault(old, []).append(new)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.keyword):
                for name in {*_names_of(node)} & {*names}:
                    reaching.add(names[name])
                    if len(of_old[names[name]]) > 1:
                        found.append(
                            f"{path.relative_to(root)}: {' and '.join(of_old[names[name]])} were all {names[name]}"
                        )
            elif isinstance(node, ast.ImportFrom):
                module = _file(node.module or "", root)
                defined = _definitions(module) if module else {}
                found += [
                    f"{path.relative_to(root)} imports {one.name}: {node.module} still has {names[one.name]}"
                    for one in node.names
                    if names.get(one.name) in defined
                ]
                found += [
                    f"{path.relative_to(root)} imports {one.name}: {node.module} has {other}, which was the same name"
                    for one in node.names
                    for other in sorted(defined)
                    if other != one.name and names.get(other, "") == names.get(one.name)
                ]
    if reaching:
        pattern = re.compile(rf"\b(?:{'|'.join(sorted(reaching))})\b")
        for path in sorted(root.rglob("*.py")):
            if pattern.search(path.read_text(encoding="utf-8")):
                found += [
                    f"{path.relative_to(root)}:{line} defines {name}, which {TABLE} lists as an earlier name"
                    for name, line in _definitions(path).items()
                    if name in reaching
                ]
    return found


def _file(module: str, root: Path) -> Path | None:
    path = root.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return path if path.is_file() else None


def _definitions(path: Path) -> dict[str, int]:
    """Functions, classes, fields, attributes and arguments of a file, with their lines; local variables are none."""
    found: dict[str, int] = {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node.lineno
        elif isinstance(node, ast.arg):
            found[node.arg] = node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found[node.attr] = node.lineno
        if isinstance(node, ast.ClassDef | ast.Module):
            for one in node.body:
                targets = one.targets if isinstance(one, ast.Assign) else [getattr(one, "target", None)]
                found.update({target.id: one.lineno for target in targets if isinstance(target, ast.Name)})
    return found
