"""``snellen.cite``: the published works that a run goes back to, as BibTeX and as plain text.

Which work a method or a check goes back to is in ``references.toml`` beside this file; a published system says it in
its ``system.toml``. Authors of textbook methods are given by their last names, as in the docstrings of the methods.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from snellen.auditing.report import AuditReport
from snellen.core import index, package
from snellen.core.errors import InputError
from snellen.core.formats import FORMATS, TREATMENT
from snellen.core.system import list_systems
from snellen.runs.record import RunResult
from snellen.verbs.evaluation import TABLES, Evaluation
from snellen.version import __version__

#: Area of the methods of a run, by its kind.
_AREAS = {verb: area for area, verb in index.AREAS.items() if area in ("attacks", "certificates", "explanations")} | {
    "attack of the camera": "attacks",
    "scan": "scans",
    "shift": "shifts",
    "forget": "forgetting",
    "forget set": "forgetting",
    "generate": "generation",
    "nuisance": "generation",
    "synthesize": "synthesis",
    "synthesis plan": "synthesis",
}

#: The benchmarks of corruptions that are not of MedMNIST-C; the kinds of all others are.
_IMAGENET_C, _SIZED = "imagenet-c", "sized"
_OF_IMAGENET_C, _OF_OTHERS = "hendrycks2019", "medical_corruptions"

_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
_JOURNAL = re.compile("Journal|Nature|TCSVT")
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")


@dataclass(frozen=True)
class Work:
    """A published work.

    Attributes:
        key: of BibTeX.
        authors: names; the last may be ``others``. Empty where the source names none.
        title: as published.
        venue: conference or journal; empty for a preprint.
        year: of publication; None for what is no publication.
        arxiv: number at arXiv; empty where there is none.
    """

    key: str
    authors: tuple[str, ...]
    title: str
    venue: str
    year: int | None
    arxiv: str = ""

    @property
    def bibtex(self) -> str:
        """An entry of BibTeX; titles keep their capitals."""
        journal = _JOURNAL.search(self.venue)
        fields = {
            "title": f"{{{_tex(self.title)}}}",
            "author": " and ".join(map(_tex, self.authors)),
            "year": "" if self.year is None else str(self.year),
            "journal" if journal else "booktitle": _tex(self.venue),
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else "",
        }
        kind = "article" if journal else "inproceedings" if self.venue else "misc"
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@{kind}{{{self.key},", *lines, "}"])

    @property
    def text(self) -> str:
        """One line."""
        names = [name.strip("{}") for name in self.authors if name != "others"]
        listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
        listed = f"{', '.join(names)} et al." if names and len(names) < len(self.authors) else listed
        parts = [
            self.title,
            self.venue,
            "" if self.year is None else str(self.year),
            f"arXiv {self.arxiv}" if self.arxiv else "",
        ]
        return ". ".join([*([listed.rstrip(".")] if listed else []), ", ".join(part for part in parts if part)])


@dataclass(frozen=True)
class Citations:
    """Works in the order in which the run used them, Snellen first.

    >>> print(Citations((Work("demo2020", ("Ann",), "A demonstration", "", 2020),)))
    Ann. A demonstration, 2020
    """

    works: tuple[Work, ...]

    @property
    def bibtex(self) -> str:
        """All entries, for a ``.bib`` file."""
        return "\n\n".join(work.bibtex for work in self.works) + "\n"

    @property
    def text(self) -> str:
        """One line for each work."""
        return "\n".join(work.text for work in self.works)

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__


def cite(run: AuditReport | RunResult | Evaluation | Path | str) -> Citations:
    """The published works that a run goes back to.

    >>> import snellen
    >>> classifier, images = "bundled:fashion-cnn", snellen.load_images("bundled:fashion-mnist").limit(4)
    >>> print(cite(snellen.attack(classifier, images, "fgsm")).text.splitlines()[1])
    Goodfellow, Shlens and Szegedy. Explaining and harnessing adversarial examples, ICLR, 2015, arXiv 1412.6572

    Args:
        run: a report, the result of a verb, an evaluation, or the folder that one of them wrote: run directories, saved
            reports, artifacts, treated classifiers.

    Raises:
        InputError: something else, or a folder that holds none of these.
    """
    if isinstance(run, RunResult):
        keys = _of_plan(run.plan)
    elif isinstance(run, AuditReport):
        keys = _of_report(run)
    elif isinstance(run, Evaluation):
        keys = [key for plan in run.plans for key in _of_plan(plan)]
    elif isinstance(run, str | Path):
        keys = _of_folder(Path(run))
    else:
        raise InputError(
            f"{type(run).__name__} came; expected a report, the result of a verb, an evaluation, or the folder of one"
        )
    return Citations((_snellen(), *(works()[key] for key in dict.fromkeys(keys))))


def works_of_method(area: str, name: str, record: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Keys of the works that a method goes back to; none for a method of a plugin.

    Args:
        area: such as ``attacks``.
        name: of the method.
        record: its parameters, where they are known.
    """
    entry = index.methods(area).get(name)
    system = _system_of(entry.target) if entry is not None else ()
    return _chosen((*system, *_table()["methods"].get(f"{area}.{name}", ())), record or {})


def works_of_check(name: str, record: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Keys of the works that a check goes back to; none for a check of a plugin."""
    entry = index.checks().get(name)
    keys: list[str] = list(_system_of(entry.target)) if entry is not None else []
    for key in _table()["checks"].get(name, ()):
        area, _, method = key.partition(".")
        keys += works_of_method(area, method, record) if method else [key]
    return tuple(keys)


@cache
def works() -> Mapping[str, Work]:
    """All works by key: those of ``references.toml``, and the published systems under their names."""
    listed = {
        key: Work(key, tuple(row["authors"]), row["title"], row["venue"], row["year"], row.get("arxiv", ""))
        for key, row in _table()["works"].items()
    }
    return listed | {system.name: published(system.name, system.title, system.source) for system in list_systems()}


def published(name: str, title: str, source: str) -> Work:
    """The work behind a published system, from the source that its ``system.toml`` states.

    >>> published("tossing", "Tossing Coins", "A. Author, B. Author et al., CONF 2026, arXiv 2600.00000").authors
    ('A. Author', 'B. Author', 'others')
    """
    parts = source.split(", ")
    dated = next(place for place, part in enumerate(parts) if re.search("[0-9]", part))
    names = [] if parts[0].lower().endswith("authors") else parts[:dated]
    authors = [name.removesuffix(" et al.") for name in names] + ["others"] * any("et al." in name for name in names)
    rest = [part for part in parts[dated:] if not part.startswith("arXiv")]
    number = _ARXIV.search(source)
    year = next(found for part in rest if (found := _YEAR.search(part)))
    months = re.fullmatch(r"[A-Z][a-z]+ \d{4}|\d{4}", rest[0])
    venue = ", ".join(part for part in (rest[1:] if months else rest) if part != year[0]).removesuffix(f" {year[0]}")
    return Work(name, tuple(authors), title, venue, int(year[0]), number[1] if number else "")


def _snellen() -> Work:
    return Work(
        "snellen", ("{The Snellen developers}",), f"Snellen {__version__}: audits of image classifiers", "", None
    )


@cache
def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = tomllib.loads(package.text("verbs/references.toml"))
    return table


def _system_of(target: str) -> tuple[str, ...]:
    """The published system that a module belongs to."""
    parts = target.partition(":")[0].split(".")
    return (parts[2],) if parts[:2] == ["snellen", "systems"] else ()


def _chosen(keys: Sequence[str], record: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the works on corruptions, those of the benchmark that was used."""
    if {_OF_IMAGENET_C, _OF_OTHERS} <= set(keys) and "benchmark" in record:
        # The kinds of an audit's own strengths are those of ImageNet-C, unless they are of a medical domain.
        left = _OF_OTHERS if record["benchmark"] in (_IMAGENET_C, _SIZED) else _OF_IMAGENET_C
        return tuple(key for key in keys if key != left)
    return tuple(keys)


def _of_report(report: AuditReport) -> list[str]:
    records: dict[str, Mapping[str, Any]] = {}
    manifest = None if report.folder is None else report.folder / "manifest.json"
    if manifest is not None and manifest.is_file():
        records = {record["check"]: record for record in json.loads(manifest.read_bytes()).get("checks", ())}
    done = [check.name for check in report.checks if check.status == "done"]
    return [*_table()["audit"]["works"], *(key for name in done for key in works_of_check(name, records.get(name)))]


def _of_plan(plan: Mapping[str, Any]) -> list[str]:
    area = _AREAS.get(str(plan.get("kind")))
    if area is None:
        raise InputError(f"a run of the kind {plan.get('kind')!r} names no methods; expected {', '.join(_AREAS)}")
    return [key for record in _records(plan) for key in works_of_method(area, str(record["method"]), record)]


def _records(value: object) -> Iterable[Mapping[str, Any]]:
    """Every record of a method in a plan, methods within methods included."""
    if isinstance(value, Mapping):
        if isinstance(value.get("method"), str):
            yield value
        for inner in value.values():
            yield from _records(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from _records(inner)


def _of_folder(folder: Path) -> list[str]:
    from snellen.auditing.compare.run_record import open_report

    if (folder / "report.json").is_file():
        return _of_report(open_report(folder))
    if (folder / TREATMENT.file).is_file():
        treated = _json(folder / TREATMENT.file)["treatments"]
        keys = [key for one in treated for key in works_of_method("treatments", str(one["method"]), one)]
        audits = [folder / "audits" / name for name in ("before", "after")]
        return [*keys, *(key for audit in audits if audit.is_dir() for key in _of_folder(audit))]
    if (folder / "card.json").is_file():
        recipe = _json(folder / "card.json").get("lineage", {}).get("recipe", {})
        return [key for record in _records(recipe) for key in works_of_method("recipes", str(record["method"]), record)]
    for name in FORMATS:
        record = _json(folder / name) if (folder / name).is_file() else {}
        if "plan" in record:
            return _of_plan(record["plan"])
    if (folder / TABLES["accuracies"]).is_file():  # of an evaluation: MODEL/seed-N is what an attack wrote
        return [key for one in sorted(folder.glob("*/seed-*")) for key in _of_folder(one)]
    raise InputError(
        f"{folder} holds no report, no record of a verb and no artifact; give the folder of a finished run"
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON ({error})") from error
    return FORMATS[file.name].read(value, file)


def _tex(text: str) -> str:
    r"""Text in a field of BibTeX; letters stay as they are, in UTF-8.

    >>> print(_tex("IEEE S&P"))
    IEEE S\&P
    """
    return re.sub(r"([&%$#_])", r"\\\1", text)
