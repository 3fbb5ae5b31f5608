"""A hash of what a record was measured with: the syntax of a system and of its experiment."""

from __future__ import annotations

import ast
import hashlib

from snellen.core import package


def experiment_hash(name: str) -> str:
    """Hash of ``systems/NAME`` and ``reproduction/NAME`` (sha256, first 16 hex digits).

    It covers the syntax trees of all modules without docstrings, so that comments, line breaks and prose change
    nothing.

    >>> len(experiment_hash("smooth_inversion"))
    16
    """
    digest = hashlib.sha256()
    for room in ("systems", "reproduction"):
        for path in sorted((package.root() / room / name).rglob("*.py")):
            tree = without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
            digest.update(f"{path.relative_to(package.root()).as_posix()}\0{ast.dump(tree)}\0".encode())
    return digest.hexdigest()[:16]


def without_docstrings(tree: ast.Module) -> ast.Module:
    """The tree with the docstrings of modules, classes and functions taken out, in place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0].value if isinstance(node.body[0], ast.Expr) else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
    return tree
