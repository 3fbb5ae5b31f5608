"""The paper's experiment on a GPU: LLaVA-1.5-7B with a low-rank adapter, on UnsafeBench and further test sets by path.

Everything comes by reference, from environment variables, and nothing is downloaded or copied; records hold figures
alone. Data are manifests with the columns path, label (safe, unsafe), category, source (real, generated), split and
dataset. Estimated, not measured: 60 GB of GPU memory in bfloat16 with batches of 8, about 16,000 conversations in two
to three hours of one H100, two hours for the six test sets with three questions and one policy; 30 GB of memory, images
are streamed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.models.captioners.llava import LlavaAnswerer
from snellen.models.references import load_question_answerer
from snellen.reproduction.sample import Figure
from snellen.systems.unsafe_content.large import LargeFit, adapted, fit_large
from snellen.systems.unsafe_content.leaks import find_leaks
from snellen.systems.unsafe_content.method import category_of, source_of, truth_of
from snellen.systems.unsafe_content.outcomes import UNCLEAR
from snellen.systems.unsafe_content.policy import default_policy
from snellen.systems.unsafe_content.safety import ByAnswers
from snellen.systems.unsafe_content.scores import ALL, BOTH, Judgements, f1_table, source_gap

DATA, MODEL = "SNELLEN_UNSAFE_DATA", "SNELLEN_UNSAFE_MODEL"

#: Optional: further test sets, NAME=MANIFEST separated by semicolons; and where it runs.
TESTS, DEVICE = "SNELLEN_UNSAFE_TESTS", "SNELLEN_UNSAFE_DEVICE"


def full(
    seed: int, progress: Progress, *, fit: LargeFit | None = None, single: bool = False, resamples: int = 1000
) -> Mapping[str, Figure]:
    """F1 of the model before and after training: pooled, of each source and of each data set; unclear answers; the gap.

    Args:
        seed: of everything random.
        progress: callback that receives progress updates.
        fit: numbers of the adapter; the published ones by default.
        single: keep single precision; else bfloat16.
        resamples: of each bootstrap.

    Raises:
        InputError: a variable is not set, images without train or test split, or a model of another kind.
    """
    absent = [name for name in (DATA, MODEL) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}: a manifest of UnsafeBench with the splits train and test, "
            f"and hf:FOLDER of LLaVA-1.5-7B"
        )
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    images, policy = load_images(os.environ[DATA]), default_policy()
    training, test = images.of_split("train"), images.of_split("test")
    tests = {"UnsafeBench": test}
    for one in filter(None, os.environ.get(TESTS, "").split(";")):
        name, _, path = one.partition("=")
        if not name or not path:
            raise InputError(f"{TESTS} holds NAME=MANIFEST; got {one!r}")
        tests[name.strip()] = load_images(path.strip())
    leaks = find_leaks(training, tests)
    model = load_question_answerer(os.environ[MODEL], device=device)
    if not isinstance(model, LlavaAnswerer):
        raise InputError(f"{os.environ[MODEL]} is no LLaVA, which the adapter belongs to")
    if not single:
        model.module.to(torch.bfloat16)
    figures: dict[str, Figure] = {f"{name}.leaked": float(len(found)) for name, found in leaks.items()}
    leaked = {name: {one.test for one in found} for name, found in leaks.items()}
    figures |= _scores("untrained", ByAnswers(model, policy), tests, leaked, seed, resamples)
    truth, categories = truth_of(training, policy), category_of(training, policy)
    rows = [
        row
        for row in range(len(training))
        if truth[row] is not None and categories[row] is not None and _readable(training, row)
    ]

    def read(chosen: Sequence[int]) -> Tensor:
        return torch.stack([model.preparation(training.read(rows[at])) for at in chosen])

    adapters = fit_large(
        model,
        read,
        [truth[row] == 1 for row in rows],
        [str(categories[row]) for row in rows],
        policy,
        fit=fit,
        rng=Randomness(seed),
        progress=progress,
    )
    with adapted(model, adapters):
        follower = ByAnswers(model, policy, follows=True)
        figures |= _scores("follower", follower, tests, leaked, seed, resamples)
    return figures


def _readable(images: ImageSet, row: int) -> bool:
    try:
        images.read(row)
    except RejectedImageError:
        return False
    return True


def _scores(
    name: str,
    judge: ByAnswers,
    tests: Mapping[str, ImageSet],
    leaked: Mapping[str, set[str]],
    seed: int,
    resamples: int,
) -> dict[str, Figure]:
    """Figures over the images of all test sets that are not in the training set, read batch by batch."""
    ids, unsafe, outcomes = list[str](), list[bool](), list[int]()
    categories, sources, datasets = list[str](), list[str](), list[str]()
    for dataset, images in tests.items():
        truth, kinds, made = truth_of(images, judge.policy), category_of(images, judge.policy), source_of(images)
        for row, one in enumerate(images.ids):
            known = truth[row] == 0 or (truth[row] == 1 and kinds[row] is not None)
            if not known or made[row] is None or one in leaked[dataset]:
                continue
            try:
                pixels = judge.preparation(images.read(row))
            except RejectedImageError:
                continue
            outcomes += judge.judge(pixels[None]).outcomes
            ids.append(f"{dataset}/{one}")
            unsafe.append(truth[row] == 1)
            categories.append(kinds[row] or "")
            sources.append(str(made[row]))
            datasets.append(dataset)
    if not ids:
        raise InputError(
            "no test image has a known truth and source; check label, category and source of the manifests"
        )
    judged = Judgements(
        tuple(ids),
        np.array(unsafe),
        np.array(outcomes, dtype=np.int64),
        tuple(categories),
        tuple(sources),
        tuple(datasets),
        seed=seed,
    )
    found: dict[str, Figure] = {f"{name}.unclear": float(np.mean(judged.outcomes == UNCLEAR))}
    for row_ in f1_table(judged, judge.claims, resamples=resamples):
        parts = [name, *(one for one in (row_.dataset, row_.category, row_.source) if one not in (ALL, BOTH))]
        found[".".join(parts) + ".f1"] = row_.f1
    found[f"{name}.gap"] = source_gap(judged, judge.claims, resamples=resamples).value
    return found
