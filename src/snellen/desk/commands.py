"""Command lines made of what a form holds: what the desk starts is what a person could have typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from snellen.core.budget import seconds_of
from snellen.core.errors import InputError
from snellen.desk.export import columns_of, free_folder, reading_options
from snellen.desk.run_folder import RunFolder

#: Efforts of an audit, in words.
EFFORTS = {
    "quick": "asks the model nothing beyond the images as they are",
    "standard": "the default",
    "full": "every check that can run, a scan for a backdoor among them",
}

#: Characters of one word.
_LONGEST = 2_000

Form = Mapping[str, Sequence[str]]


def audit_command(form: Form, folder: Path, *, dry: bool = False) -> tuple[list[str], Path | None]:
    """``snellen audit`` as a form describes it.

    Args:
        form: fields ``model``, ``data``, ``train``, ``effort``, ``budget`` and ``out``.
        folder: of the runs.
        dry: show the plan alone.

    Returns:
        The words, and the folder that is written; None for a plan.

    Raises:
        InputError: a field that is missing or cannot be.
    """
    model, data = _word(form, "model", needed="a classifier"), _word(form, "data", needed="images")
    words = ["snellen", "audit", model, data]
    words += _option(form, "train")
    effort = _word(form, "effort")
    if effort and effort not in EFFORTS:
        raise InputError(f"effort {effort!r}: expected one of {', '.join(EFFORTS)}")
    words += ["--effort", effort] if effort and effort != "standard" else []
    words += _budget(form)
    if dry:
        return [*words, "--dry-run"], None
    out = _out(form, folder, "audit")
    return [*words, "--out", str(out)], out


def treat_command(form: Form, run: RunFolder, folder: Path, *, plan: bool = False) -> tuple[list[str], Path | None]:
    """``snellen treat`` as a form describes it.

    Args:
        form: fields ``train``, ``table``, ``finding`` (any number), ``budget`` and ``out``.
        run: the audit.
        folder: of the runs, in which it is run.
        plan: show the plan alone.

    Returns:
        The words, and the folder that is written; None for a plan.

    Raises:
        InputError: a field that is missing or cannot be.
    """
    words = ["snellen", "treat", str(run.path)]
    given = _option(form, "train")
    # Of several labels an image, scores and thresholds alone are fitted: to all of these images.
    words += ["--val", *given[1:]] if given and run.several else given
    table = _word(form, "table")
    if table:
        words += reading_options(Path(table), columns_of(folder / table))
    known = {one.key for one in run.findings}
    for key in form.get("finding", ()):
        if key not in known:
            raise InputError(f"{key!r} is no finding of this run")
        words += [f"--finding={key}"] if key.startswith("-") else ["--finding", key]
    words += _budget(form)
    if plan:
        return [*words, "--plan-only"], None
    out = _out(form, folder, f"{run.path.name}-treated")
    return [*words, "--out", str(out)], out


def _word(form: Form, name: str, *, needed: str = "") -> str:
    """The one value of a field, without blanks around it.

    Raises:
        InputError: none where one is needed, one that an option would be read from, or that cannot be shown.
    """
    values = form.get(name, ())
    text = values[0].strip() if values else ""
    if needed and not text:
        raise InputError(f"name {needed}: the field {name} is empty")
    if text.startswith("-"):
        raise InputError(f"the field {name} begins with a dash, and would be read as an option: {text[:40]!r}")
    if len(text) > _LONGEST or any(not one.isprintable() for one in text):
        raise InputError(f"the field {name} is too long, or holds characters that cannot be shown")
    return text


def _option(form: Form, name: str) -> list[str]:
    text = _word(form, name)
    return [f"--{name}", text] if text else []


def _budget(form: Form) -> list[str]:
    text = _word(form, "budget")
    if not text:
        return []
    seconds_of(text)  # refuses what the command would refuse
    return ["--budget", text]


def _out(form: Form, folder: Path, otherwise: str) -> Path:
    """A new folder directly below that of the runs.

    Raises:
        InputError: a name that leads elsewhere.
    """
    name = _word(form, "out")
    if not name:
        return free_folder(folder / otherwise)
    if "/" in name or "\\" in name or name in (".", "..") or name.startswith("."):
        raise InputError(f"out {name[:60]!r}: expected the name of a new folder below {folder}, without / and \\")
    return folder / name
