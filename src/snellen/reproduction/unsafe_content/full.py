"""The paper's experiment on a GPU: LLaVA-1.5-7B with a low-rank adapter, on UnsafeBench and further test sets by path.

Everything comes by reference, from environment variables, and nothing is downloaded or copied; records hold figures
alone. Data are manifests with the columns path, label (safe, unsafe), category, source (real, generated), split and
dataset. Estimated, not measured: 60 GB of GPU memory in bfloat16 with batches of 8, about 16,000 conversations in two
to three hours of one H100, two hours for the six test sets with three questions and one policy, one more for removed
categories and other orders; 30 GB of memory, images are streamed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.methods.scans.training_leaks import find_leaks
from snellen.metrics.detection_f1 import ALL, Judgements, f1_table, source_gap
from snellen.models.captioners.llava import LlavaAnswerer
from snellen.models.references import load_question_answerer
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.unsafe_content.labels import category_of, source_of, truth_of
from snellen.systems.unsafe_content.outcomes import IS_SAFE, IS_UNSAFE, UNCLEAR, drawn_where_unclear
from snellen.systems.unsafe_content.policy import Policy, default_policy
from snellen.systems.unsafe_content.safety import ByAnswers
from snellen.systems.unsafe_content.training import fit_large
from snellen.training.answer_fitting import ADAPTER, AnswerFit

DATA, MODEL = "SNELLEN_UNSAFE_DATA", "SNELLEN_UNSAFE_MODEL"

#: Optional: further test sets, NAME=MANIFEST separated by semicolons; and where it runs.
TESTS, DEVICE = "SNELLEN_UNSAFE_TESTS", "SNELLEN_UNSAFE_DEVICE"

#: Images that are prepared at a time.
BATCH = 32


@dataclass(eq=False)
class _Known:
    """Images of one test set that can be scored, by their rows.

    Attributes:
        images: the whole set.
        rows: those with a known truth and source that are not in the training set.
        truth: by row, 1 for unsafe.
        categories: by row; None where a safe image has none.
        sources: by row.
        outcomes: of the rows that could be read, by row.
    """

    images: ImageSet
    rows: list[int]
    truth: list[int | None]
    categories: list[str | None]
    sources: list[str | None]
    outcomes: dict[int, int] = field(default_factory=dict)


def full(
    seed: int, progress: Progress, *, fit: AnswerFit | None = None, single: bool = False, resamples: int = 1000
) -> Mapping[str, Figure]:
    """F1 of the model before and after training, and how the trained one follows the policy.

    Args:
        seed: of everything random.
        progress: callback that receives progress updates.
        fit: numbers of the adapter; the published ones by default.
        single: keep single precision; else bfloat16.
        resamples: of each bootstrap.

    Returns:
        As the small experiment has them: ``follower.real``, ``.generated``, ``.both`` and ``.gap``; ``.named``,
        ``.removed`` and ``.permuted``. The same F1 of ``untrained``; of each data set and category as
        ``NAME.DATASET.CATEGORY.SOURCE``; the share of unclear answers, and ``DATASET.leaked``.

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
    known = {name: _known(one, policy, {leak.test for leak in leaks[name]}) for name, one in tests.items()}
    if not any(one.rows for one in known.values()):
        raise InputError(
            "no test image has a known truth and source; check label, category and source of the manifests"
        )
    figures: dict[str, Figure] = {f"{name}.leaked": float(len(found)) for name, found in leaks.items()}
    figures |= _scores("untrained", ByAnswers(model, policy), known, seed, resamples)
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
    with adapters.on({ADAPTER: 1.0}):
        figures |= _scores("follower", ByAnswers(model, policy, follows=True), known, seed, resamples)
        return figures | _follows("follower", model, policy, known, seed)


def _known(images: ImageSet, policy: Policy, leaked: set[str]) -> _Known:
    truth, categories, sources = truth_of(images, policy), category_of(images, policy), source_of(images)
    rows = [
        row
        for row, one in enumerate(images.ids)
        if (truth[row] == 0 or (truth[row] == 1 and categories[row] is not None))
        and sources[row] is not None
        and one not in leaked
    ]
    return _Known(images, rows, truth, categories, sources)


def _readable(images: ImageSet, row: int) -> bool:
    try:
        images.read(row)
    except RejectedImageError:
        return False
    return True


def _judged(judge: ByAnswers, images: ImageSet, rows: Sequence[int]) -> dict[int, tuple[int, str | None]]:
    """Outcome and category of the rows that can be read."""
    found = dict[int, tuple[int, str | None]]()
    for batch in prepared_batches(images.select(list(rows)), judge.preparation, BATCH) if rows else ():
        if batch.ids:
            verdicts = judge.judge(to_unit(batch.pixels))
            answers = zip(verdicts.outcomes, verdicts.categories, strict=True)
            found |= {rows[at]: one for at, one in zip(batch.indices, answers, strict=True)}
    return found


def _scores(name: str, judge: ByAnswers, tests: Mapping[str, _Known], seed: int, resamples: int) -> dict[str, Figure]:
    """F1 over the images of all test sets, and which images were judged how."""
    for known in tests.values():
        known.outcomes = {row: one for row, (one, _) in _judged(judge, known.images, known.rows).items()}
    rows = [(dataset, known, row) for dataset, known in tests.items() for row in known.outcomes]
    ids = tuple(f"{dataset}/{known.images.ids[row]}" for dataset, known, row in rows)
    outcomes = np.array([known.outcomes[row] for _, known, row in rows], dtype=np.int64)
    judged = Judgements(
        ids=ids,
        unsafe=np.array([known.truth[row] == 1 for _, known, row in rows], dtype=np.bool_),
        decided=drawn_where_unclear(outcomes, ids, seed) == IS_UNSAFE,
        unclear=outcomes == UNCLEAR,
        categories=tuple(known.categories[row] or "" for _, known, row in rows),
        sources=tuple(str(known.sources[row]) for _, known, row in rows),
        datasets=tuple(dataset for dataset, _, _ in rows),
        seed=seed,
    )
    found: dict[str, Figure] = {f"{name}.unclear": float(judged.unclear.mean()) if len(ids) else None}
    for one in f1_table(judged, judge.claims, resamples=resamples):
        parts = [name, *(part for part in (one.dataset, one.category) if part != ALL), one.source]
        found[".".join(parts)] = one.f1
    found[f"{name}.gap"] = source_gap(judged, judge.claims, resamples=resamples).value
    return found


def _follows(
    name: str, model: LlavaAnswerer, policy: Policy, tests: Mapping[str, _Known], seed: int
) -> dict[str, Figure]:
    """Removed categories and another order, on unsafe images; as the small experiment measures them."""
    drawn = np.random.default_rng(Randomness(seed).generator("lists").initial_seed())
    named, flips, stays = list[float](), list[float](), list[float]()
    for known in tests.values():
        for category in policy.names:
            rows = [row for row in known.rows if known.truth[row] == 1 and known.categories[row] == category]
            order = policy.of(policy.names[at] for at in drawn.permutation(len(policy)))
            other = next(one for one in order.names if one != category)
            lists = (policy, policy.without(category), policy.without(other), order)
            whole, own, control, turned = (
                _judged(ByAnswers(model, one, follows=True), known.images, rows) for one in lists
            )
            named += [float(one == IS_UNSAFE) for one, _ in whole.values()]
            for row, (outcome, answer) in whole.items():
                if outcome == IS_UNSAFE:
                    flips.append(float(own[row][0] == IS_SAFE) - float(control[row][0] == IS_SAFE))
                    if answer == category:
                        stays.append(float(turned[row] == (outcome, answer)))
    return {
        f"{name}.{figure}": Sample.of(values) if values else None
        for figure, values in (("named", named), ("removed", flips), ("permuted", stays))
    }
