"""A hash of what a record was measured with: the syntax of a system and of its experiment."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

from snellen.core import package
from snellen.core.errors import InputError
from snellen.core.index import entry
from snellen.core.system import System
from snellen.reproduction.renames import as_recorded, read_renames, words_as_recorded

#: Files of an experiment that show or measure something beside the record.
BESIDE = frozenset({"furniture_counterparts.py", "measure.py", "picture.py", "stamp_counterparts.py", "table.py"})


def experiment_hash(system: System) -> str:
    """Hash of the code that a record of a system rests on (sha256, first 16 hex digits).

    It covers the syntax trees of ``systems/NAME``, ``reproduction/NAME`` and the modules of the system's methods,
    without docstrings, so that comments, line breaks and prose change nothing. Nor does a new name that
    :mod:`~snellen.reproduction.renames` lists with the name before. Tables and pictures (:data:`BESIDE`) are left
    out. What all experiments share is not covered: a change there shows when one seed is run again.

    Raises:
        InputError: the system has no code; two names of a file were one when it was recorded.
    """
    digest, renames = hashlib.sha256(), read_renames()
    paths = {path: path.relative_to(package.root()).as_posix() for path in recorded_files(system)}
    if not paths:
        raise InputError(f"{system.name} has neither code of its own nor an experiment")
    before = {path: renames.path_before(today) for path, today in paths.items()}
    for path in sorted(paths, key=lambda one: Path(before[one])):
        tree = without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
        as_recorded(tree, renames.of_file(paths[path]), renames.modules, paths[path])
        words_as_recorded(tree, renames.words_of(paths[path]), paths[path])
        digest.update(f"{before[path]}\0{ast.dump(tree)}\0".encode())
    return digest.hexdigest()[:16]


def recorded_files(system: System) -> Iterable[Path]:
    """The files that the hash of a system covers, in no order; a file may come twice."""
    for room in ("systems", "reproduction"):
        for path in (package.root() / room / system.name).rglob("*.py"):
            if path.name not in BESIDE:
                yield path
    for method in system.methods:
        module = entry(*method.split(".")).target.partition(":")[0]
        path = package.root().parent.joinpath(*module.split(".")).with_suffix(".py")
        if path.is_relative_to(package.root()):
            yield path


def without_docstrings(tree: ast.Module) -> ast.Module:
    """The tree with the docstrings of modules, classes and functions taken out, in place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0].value if isinstance(node.body[0], ast.Expr) else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
    return tree
