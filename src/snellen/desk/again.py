"""The command that audits the same images again: with the checks, their settings and all else that the audit had."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snellen.core.errors import InputError
from snellen.core.index import checks
from snellen.core.run import write_atomically
from snellen.desk.run_folder import RunFolder

#: What a command line calls a task of a classifier.
_TASKS = {"multilabel": "multi_label"}

#: Images in one pass, where nothing else is given.
_BATCH = 64


class CannotSayError(InputError):
    """Something of an audit that no command line says."""


def audit_options(run: RunFolder, named: Path) -> list[str]:
    """Options of ``snellen audit`` that make the audit of a run what it was: of the model, its companions and checks.

    What may be reached on other machines is never among them: a person grants that anew.

    Args:
        run: finished audit.
        named: file that is written with the names of the classes, where the model was given them.

    Raises:
        CannotSayError: a part of it that no command line says.
    """
    try:
        options = [*_model_options(run.inputs["classifier"], named), *_companions(run)]
        options += _checks(run.plan.get("checks"), _skipped(run))
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:  # of a damaged run
        raise CannotSayError("what it says of its model, images and checks cannot be read") from error
    for name, flag, usual in (("seed", "--seed", 0), ("batch_size", "--batch-size", _BATCH)):
        value = run.plan.get(name, usual)
        options += [] if value == usual else [flag, _whole(value)]
    options += ["--no-images"] if run.plan.get("save_images") is False else []
    if any(not one.isprintable() for one in options):
        raise CannotSayError("its settings hold characters that cannot be shown")
    return options


def _model_options(classifier: Mapping[str, Any], named: Path) -> Iterator[str]:
    if classifier.get("preparation") is not None:
        raise CannotSayError("its model was given a preparation in Python")
    if (task := classifier.get("task")) is not None:
        yield from ("--task", _word(_TASKS.get(task, task)))
    if (output := classifier.get("output")) is not None:
        yield from ("--output", _word(output))
    if (device := classifier.get("device")) not in (None, "cpu"):
        yield from ("--device", _word(device))
    if (size := classifier.get("size")) is not None:
        yield from ("--size", "x".join(_whole(side) for side in size))
    if (normalization := classifier.get("normalization")) is not None:
        for flag, values in zip(("--mean", "--std"), normalization, strict=True):
            yield f"{flag}={','.join(repr(float(one)) for one in values)}"
    if (arguments := classifier.get("model_args")) is not None:
        yield from ("--model-args", json.dumps(arguments))
    if (names := classifier.get("class_names")) is not None:
        lines = [str(one) for one in names]
        if any(not one.strip() or one.splitlines() != [one] for one in lines):
            raise CannotSayError("names of its classes do not fit into lines of a file")
        write_atomically(named, "".join(f"{one}\n" for one in lines).encode("utf-8", "backslashreplace"))
        yield from ("--classes", str(named))


def _companions(run: RunFolder) -> Iterator[str]:
    from snellen.desk.export import absolute

    known = run.inputs.get("companions") or {}
    for name in run.plan.get("companions") or {}:
        reference = known.get(name, {}).get("reference") if name in ("train", "val") else None
        if reference is None or set(reference) - {"ref", "folder"}:
            raise CannotSayError(f"its {name} images were handed in as objects, or with columns of their own")
        yield from (f"--{name}", _word(absolute(str(reference["ref"]), str(reference["folder"]))))


def _skipped(run: RunFolder) -> frozenset[str]:
    """Checks that lacked a setting: requested by name, they would be refused. What else was skipped may run now."""
    return frozenset(str(one["name"]) for one in run.report.get("checks", ()) if one.get("setting") is not None)


def _checks(records: object, skipped: Collection[str]) -> Iterator[str]:
    """Names of the checks but the skipped ones, and each setting that is not the usual one."""
    from snellen.auditing.checks import CHECKS

    found = [one for one in records if isinstance(one, dict)] if isinstance(records, Sequence) else []
    found = [one for one in found if one.get("check") not in skipped]
    names = [str(one.get("check")) for one in found]
    if not names:
        return
    if unknown := [name for name in names if name not in checks()]:
        raise CannotSayError(f"its checks {', '.join(unknown)[:80]} are not installed here")
    yield from ("--checks", ",".join(names))
    for record in found:
        usual = CHECKS[str(record["check"])]().record()
        for field, value in record.items():
            if field != "check" and value != usual.get(field):
                yield from ("--set", f"{record['check']}.{field}={json.dumps(value, ensure_ascii=False)}")


def _word(value: object) -> str:
    if not isinstance(value, str) or value.startswith("-"):
        raise CannotSayError("its references cannot be written on a command line")
    return value


def _whole(value: object) -> str:
    if not isinstance(value, int) or value < 0:
        raise CannotSayError("a number in its plan is none")
    return str(value)
