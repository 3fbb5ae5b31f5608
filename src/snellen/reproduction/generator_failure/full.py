"""The paper's experiment on a GPU: Stable Diffusion with DDIM-50, ImageNet classifiers, classes of a list.

Everything comes by reference, from environment variables, and nothing is downloaded. Estimated from the numbers of
calls and not measured: 12 GB of GPU memory for Stable Diffusion 1.5 in fp32 with 4 images at once and one step on the
tape; a call of 50 steps with guidance takes about 3 seconds. 100 classes with one search in each of two spaces, and
random search beside it, are at most 100,000 calls: 84 hours; most searches stop early. Images are written case by case.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.generator_failure.language_prior import load_prior
from snellen.systems.generator_failure.searching import find_failures
from snellen.systems.generator_failure.space_searches import SearchNumbers

#: References, in order: the generator; classifiers with commas; those trained against attacks; a prior; a judge.
GENERATOR, CLASSIFIERS, ROBUST, PRIOR, JUDGE, CLASSES, FOLDER = (
    f"SNELLEN_GENERATOR_FAILURE_{name}"
    for name in ("GENERATOR", "CLASSIFIERS", "ROBUST", "PRIOR", "JUDGE", "CLASSES", "FOLDER")
)


def full(seed: int, progress: Progress, *, numbers: SearchNumbers | None = None) -> Mapping[str, Figure]:
    """Share of searches that found a failure, and of finds that the judge confirms, beside random search.

    Prompts and latents are searched. No gap is planted in a generator of others, so claims about gaps are not measured.

    Args:
        seed: of everything random.
        progress: callback that receives progress updates.
        numbers: how much; 50 steps and one search of each class by default.

    Raises:
        InputError: a variable is not set, or the file of classes cannot be read.
    """
    wanted = (GENERATOR, CLASSIFIERS, ROBUST, PRIOR, JUDGE, CLASSES, FOLDER)
    absent = [name for name in wanted if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}: diffusers:FOLDER of Stable Diffusion, classifiers of "
            f"ImageNet with commas, one trained against attacks, a language prior such as hf:FOLDER, a judge, a file "
            f"of class names, one a line, and a folder to write to"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        names = [
            one.strip() for one in Path(os.environ[CLASSES]).read_text(encoding="utf-8").splitlines() if one.strip()
        ]
    except OSError as error:
        raise InputError(f"class names cannot be read from {os.environ[CLASSES]}: {error}") from error
    members = [load_classifier(one, device=device) for one in os.environ[CLASSIFIERS].split(",")]
    robust = [load_classifier(one, device=device) for one in os.environ[ROBUST].split(",")]
    made = find_failures(
        os.environ[GENERATOR],
        [*members, *robust],
        names,
        out=Path(os.environ[FOLDER]) / f"seed-{seed}",
        spaces=("prompts", "latents"),
        prior=load_prior(os.environ[PRIOR], device=device),
        judge=load_classifier(os.environ[JUDGE], device=device),
        robust=[one.name for one in robust],
        numbers=numbers or SearchNumbers(searches=1, together=4),
        device=device,
        seed=seed,
        progress=progress,
    )
    figures: dict[str, Figure] = {}
    for space, name in (("prompts", "prompts.gradient"), ("latents", "latents.residual")):
        rows = [row for row in made.searches if row.space == space and not row.invalid and not row.not_run]
        for rival, key in ((False, name), (True, f"{name.split('.')[0]}.random")):
            found = [row.case is not None for row in rows if row.rival is rival]
            figures[f"{key}.found"] = Sample.of(found) if found else None
            judged = [row.case.real for row in rows if row.rival is rival and row.case is not None]
            confirmed = [float(one) for one in judged if one is not None]
            figures[f"{key}.judged"] = Sample.of(confirmed) if confirmed else None
    return figures
