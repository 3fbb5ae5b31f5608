"""The paper's experiment with real models, on the owner's own concept and images.

Everything comes by reference, from environment variables, and nothing is downloaded. Estimated from calls, not
measured: with a vision and language model of 7 billion parameters on a server, 16 GB of GPU memory, 600 images of 8
calls each take about an hour; embedding 1,000,000 images with CLIP ViT-L/14 takes 3 hours of a GPU. Vectors (3 GB)
lie on the disk and are read piece by piece; images are read batch by batch. Memory: 4 GB beside the models.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.reproduction.sample import Figure
from snellen.systems.language_model_annotation.agreement import Agreement
from snellen.systems.language_model_annotation.collaboration import Schedule
from snellen.systems.language_model_annotation.labelling import label
from snellen.systems.language_model_annotation.student import StudentFit

NAMES = ("CONCEPT", "POOL", "LABELS", "LANGUAGE", "CAPTIONER", "ANSWERS", "TOWERS", "FOLDER")
CONCEPT, POOL, LABELS, LANGUAGE, CAPTIONER, ANSWERS, TOWERS, FOLDER = (f"SNELLEN_LABEL_{name}" for name in NAMES)

#: Optional: hosts that may be reached, separated by commas; and where models of this machine run.
HOSTS, DEVICE = "SNELLEN_LABEL_HOSTS", "SNELLEN_LABEL_DEVICE"


def full(
    seed: int, progress: Progress, *, schedule: Schedule | None = None, student: StudentFit | None = None
) -> Mapping[str, Figure]:
    """Agreement of teacher, student and baselines with the owner, and what it cost.

    Args:
        seed: of everything random.
        progress: callback that receives progress updates.
        schedule: numbers of images, queries and rounds.
        student: numbers of its training.

    Raises:
        InputError: a variable is not set.
    """
    given = {name: os.environ.get(name) for name in (f"SNELLEN_LABEL_{name}" for name in NAMES)}
    absent = [name for name, value in given.items() if not value]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}: a file with name and description of a concept, a pool of "
            f"images, a table of the owner's labels (id, label), a language model, a captioner, a model that answers "
            f"questions, two towers, and a folder to write to"
        )
    made = label(
        os.environ[CONCEPT],
        os.environ[POOL],
        language=os.environ[LANGUAGE],
        captioner=os.environ[CAPTIONER],
        answers=os.environ[ANSWERS],
        towers=os.environ[TOWERS],
        out=Path(os.environ[FOLDER]) / f"seed-{seed}",
        labels=Path(os.environ[LABELS]),
        schedule=schedule or Schedule(),
        student=student or StudentFit(),
        allow_remote=[host for host in os.environ.get(HOSTS, "").split(",") if host],
        device=os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu"),
        seed=seed,
        progress=progress,
    )
    figures: dict[str, Figure] = {
        f"{one.who}.{name}": figure.value for one in made.agreement for name, figure in one.figures.items()
    }
    figures |= {f"cost.{name}": float(value) for name, value in made.cost["labels"]}
    figures |= {"labels": float(sum(made.counts.values())), "undecided": float(made.counts["undecided"])}
    return {**figures, **_of_gates(made.agreement)}


def _of_gates(measured: Sequence[Agreement]) -> dict[str, Figure]:
    """What gates of both scales name: the teacher's F1 above calling every image one; no 2,000 labels are there."""
    teacher = next((one for one in measured if one.who == "teacher"), None)
    found = None if teacher is None else teacher.figures["f1"].value
    if teacher is None or found is None:
        return {"teacher_gain": None, "agile_2000.f1": None}
    prior = 2 * teacher.positives / (teacher.positives + teacher.labels)
    return {"teacher_gain": found - prior, "agile_2000.f1": None}
