"""What full scale erases, and from which prompts: a table of references, and the files of prompts that it names."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError

GENERATOR, TASKS, EVERYDAY, FOLDER = (f"SNELLEN_ITD_{name}" for name in ("GENERATOR", "TASKS", "EVERYDAY", "FOLDER"))

#: What is erased, and the features that are chosen for one of its prompts, as published.
SELECTED = {"persons": 128, "styles": 256, "explicit": 128}

#: What they must hold.
NEEDED = (
    f"{GENERATOR} is diffusers:FOLDER of Stable Diffusion 1.4. {TASKS} is a TOML file with a table for each of "
    f"{', '.join(SELECTED)}. {EVERYDAY} holds other prompts, such as those of COCO. {FOLDER} keeps autoencoders. "
    f"A table has fit (prompts to fit to) and keep (prompts that show no target), as FILE.txt or images with captions. "
    f"It has targets, tested and kept, each a FILE.tsv with a class and a prompt in each line. It has judge, a "
    f"classifier of these classes. It may have attacked, prompts that an attack found, as tested"
)


class Task(BaseModel):
    """What is erased, all by reference.

    Attributes:
        fit: prompts that the autoencoder is fitted to; tasks with the same ones share it.
        keep: prompts that show no target, for the choice of features.
        targets: prompts that show one, for the features and the threshold.
        tested: other prompts that show one.
        kept: other prompts that show none, each with the class that its image should have.
        judge: classifier of these classes.
        attacked: prompts that an attack found against the eraser, each with the class that it is after.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fit: str
    keep: str
    targets: str
    tested: str
    kept: str
    judge: str
    attacked: str | None = Field(None)


def read_tasks(path: Path) -> dict[str, Task]:
    """The tasks by name, in their order.

    Raises:
        InputError: the table cannot be read, or lacks something.
    """
    try:
        found = TypeAdapter(dict[str, Task]).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        why = error if first is None else f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InputError(f"{TASKS}={path} cannot be used: {why}. {NEEDED}") from error
    if found.keys() != SELECTED.keys():
        raise InputError(f"{TASKS}={path} has the tables {', '.join(found)}; expected {', '.join(SELECTED)}")
    return {name: found[name] for name in SELECTED}


def tables(task: Task) -> dict[str, str]:
    """Files of classes and prompts, by what they are for."""
    files = {"targets": task.targets, "tested": task.tested, "kept": task.kept}
    return files if task.attacked is None else {**files, "attacked": task.attacked}


def read_pairs(path: Path, judge: Classifier) -> list[tuple[str, str]]:
    """Class and prompt of each line.

    Raises:
        InputError: the file cannot be read, or a line without a class of the judge and a prompt.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: prompts cannot be read: {error}") from error
    found = [(concept.strip(), prompt.strip()) for concept, _, prompt in (line.partition("\t") for line in lines)]
    wrong = [concept for concept, prompt in found if not prompt or concept not in judge.class_names]
    if wrong or not found:
        raise InputError(
            f"{path} has {len(found)} lines, {len(wrong)} of them without a class of {judge.name}, a tab and a prompt "
            f"({', '.join(wrong[:3]) or 'none'}); its classes are {', '.join(judge.class_names[:5])} …"
        )
    return found
