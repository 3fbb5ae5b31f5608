"""The formats of the files that Snellen writes: their versions, and how a reader takes up an older one.

Each file holds two keys whose names and meaning never change: ``schema_version``, an integer, and ``written_by``, the
version of Snellen. A file without them is of version 1. A reader refuses a newer version and migrates an older one,
step by step. A migration is a pure function of the content: ``migrations[0]`` makes version 2 of version 1. The version
of a format is one more than the number of its migrations, so that none can rise without one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from snellen.core.errors import InputError
from snellen.version import __version__

#: The keys of every file.
VERSION, WRITER = "schema_version", "written_by"

#: What a version of Snellen looks like. Anything else in a file is not shown.
_WRITER = re.compile(r"[0-9][0-9A-Za-z.+-]{0,40}")

Migration: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Format:
    """The format of one file.

    >>> Format("demo.json", "demonstration").stamped({"value": 3})["schema_version"]
    1

    Attributes:
        file: name of the file.
        content: what it holds, in words.
        migrations: from each version to the next.
    """

    file: str
    content: str
    migrations: tuple[Migration, ...] = ()

    @property
    def version(self) -> int:
        """Version that this Snellen writes."""
        return 1 + len(self.migrations)

    def stamped(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """The content with its version and writer, as it is written."""
        return {VERSION: self.version, WRITER: __version__, **value}

    def read(self, value: object, where: Path | str) -> dict[str, Any]:
        """The content of a file in today's version, without the two keys.

        Args:
            value: as it was parsed.
            where: the file, for errors.

        Raises:
            InputError: a newer version, none that can be, or not an object.
        """
        found = self.known_version(value, where)
        assert isinstance(value, Mapping)
        content = {key: member for key, member in value.items() if key not in (VERSION, WRITER)}
        for migrate in self.migrations[found - 1 :]:
            content = migrate(content)
        return content

    def known_version(self, value: object, where: Path | str) -> int:
        """Version of a file that this Snellen can read; errors as :meth:`read`."""
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: not a {self.content}: it holds no object with named members")
        found = value.get(VERSION, 1)
        if type(found) is not int or found < 1:
            raise InputError(f"{where}: {VERSION} is an integer of at least 1, got {found!r}")
        if found > self.version:
            writer = writer_of(value)
            raise InputError(
                f"{where} is a {self.content} of format version {found}, written by {writer or 'a newer Snellen'}; "
                f"Snellen {__version__} reads versions up to {self.version}: upgrade with "
                f"'pip install --upgrade snellen', or make the file again with this version"
            )
        return found

    def schema(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON Schema (2020-12) of a file, made of that of its content."""
        keys = {
            VERSION: {"const": self.version, "description": "version of the format", "type": "integer"},
            WRITER: {"description": "version of Snellen that wrote the file", "type": "string"},
        }
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **content,
            "properties": {**keys, **content.get("properties", {})},
            "required": sorted({*keys, *content.get("required", ())}),
            "title": f"Snellen {self.content}",
        }


def writer_of(value: Mapping[str, Any]) -> str | None:
    """What wrote a file, in words; None where the file does not say it.

    >>> writer_of({"written_by": "0.3.1"})
    'Snellen 0.3.1'
    """
    found = value.get(WRITER)
    return f"Snellen {found}" if isinstance(found, str) and _WRITER.fullmatch(found) else None


def _with_usual_harm(report: dict[str, Any]) -> dict[str, Any]:
    """Version 2 knows what healthy classifiers lose, and says what would have been found; earlier ones did not ask."""
    findings = [{**finding, "usual": 0.0} for finding in report["findings"]]
    return {**report, "findings": findings, "sight": []}


def _with_setting(report: dict[str, Any]) -> dict[str, Any]:
    """Version 3 says which setting a check lacked; in earlier ones its option is a part of the reason."""
    option = re.compile(r"--set \w+\.(\w+)=")

    def named(check: object) -> object:
        if not isinstance(check, Mapping):
            return check  # its reader refuses it, in words
        found = option.search(str(check.get("reason"))) if check.get("status") == "skipped" else None
        return {**check, "setting": None if found is None else found[1]}

    checks = report.get("checks")
    return {**report, "checks": [named(check) for check in checks]} if isinstance(checks, list) else report


def _with_val(card: dict[str, Any]) -> dict[str, Any]:
    """Version 2 calls the figures of the validation images ``val.NAME``; they were ``tune.NAME``."""

    def named(figures: object) -> object:
        if isinstance(figures, list):
            return [named(row) for row in figures]
        if not isinstance(figures, Mapping):
            return figures  # its reader refuses it, in words
        now = {name: re.sub(r"^tune\.", "val.", name) for name in figures}
        # Two names that would become one stay as they are, so that no figure is lost.
        return {name if now[name] in figures else now[name]: value for name, value in figures.items()}

    return {**card, **{key: named(card[key]) for key in ("metrics", "history") if key in card}}


REPORT = Format("report.json", "report of an audit", (_with_usual_harm, _with_setting))

#: What a run must do, and the layout of the folder around it: shards, evidence, pictures.
MANIFEST = Format("manifest.json", "manifest of a run")

#: Artifacts, and folders of models in the format of their own library.
CARD = Format("card.json", "model card", (_with_val,))

SYSTEM = Format("system.toml", "description of a published system")

#: How classifier and images of an audit were loaded, and what became of its findings.
INPUTS = Format("inputs.json", "description of what an audit examined")
TREATMENT = Format("treatment.json", "record of a treatment")

#: All formats by the name of the file.
FORMATS: Mapping[str, Format] = {
    each.file: each
    for each in (
        REPORT,
        Format("attack.json", "record of attacks"),
        Format("certify.json", "record of certificates"),
        Format("explain.json", "record of explanations"),
        Format("forget.json", "record of a classifier that forgot images"),
        Format("forget-prompts.json", "record of a searched forget set of prompts"),
        Format("forget-set.json", "record of a searched forget set"),
        Format("generate.json", "record of generated images"),
        Format("generator-failures.json", "record of failures of a generator"),
        Format("nuisance.json", "record of nuisance trajectories"),
        Format("label.json", "record of a labelled concept"),
        Format("comparison.json", "comparison of two audits"),
        Format("monitoring.json", "record of images without labels"),
        Format("requirements.json", "table of models and requirements"),
        Format("scan.json", "record of scans"),
        Format("search.json", "record of a search for a network"),
        Format("synthesis-plan.json", "record of a plan to generate images"),
        Format("robustness-study.json", "record of a study of generated training images"),
        Format("synthesize.json", "record of a generated labelled data set"),
        Format("shift.json", "record of shifted images"),
        CARD,
        INPUTS,
        MANIFEST,
        SYSTEM,
        TREATMENT,
    )
}
