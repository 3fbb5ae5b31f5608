"""The paper's experiment on a GPU: a classifier such as a ResNet-18, CIFAR-10, a tenth of the training images.

Everything comes by reference, from environment variables, and nothing is downloaded. Estimated from the numbers of
passes and not measured: 45,000 images of 32 pixels take 140 MB of memory, a network of the size of ResNet-18 and its
batches of 256 take 4 GB of a GPU. A seed retrains seven times for 182 passes (8 hours), and carries out six methods at
five rates and on five more sets for ten passes each (6 hours). A record of five seeds is three days of a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.data.references import load_images
from snellen.methods.forgetting.judging import ForgettingCase
from snellen.methods.forgetting.retraining import Retraining
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.sample import Figure
from snellen.runs.settings import named_settings
from snellen.systems.worst_case_forget_set.record import TUNING, WORST, WorstCaseForgetSet
from snellen.systems.worst_case_forget_set.search import ForgetSearch
from snellen.systems.worst_case_forget_set.studying import AS_IT_WAS, EXACT, LOWEST, Study, study_forget_set

MODEL, DATA, FOLDER = (f"SNELLEN_FORGET_{name}" for name in ("MODEL", "DATA", "FOLDER"))

#: Optional: where it runs.
DEVICE = "SNELLEN_FORGET_DEVICE"

#: Names of the methods in claims.
METHODS: Mapping[str, str] = {
    "ft": "fine_tuning",
    "ft_l1": "sparse_fine_tuning",
    "rl": "random_labels",
    "scrub": "scrub",
    "eu_1": "exact_last_layers",
    "cf_1": "catastrophic_last_layers",
}

#: README of the published code, T and K of its arguments; the step is the scale-free one.
SEARCH = ForgetSearch(upper_steps=10, epochs=10, rate=1e-3)


def full(
    seed: int,
    progress: Progress,
    *,
    search: ForgetSearch = SEARCH,
    exact: Retraining | None = None,
    tuned: int = 10,
    random_sets: int = 5,
) -> Mapping[str, Figure]:
    """Figures of the claims from one study.

    Args:
        seed: of everything random.
        progress: callback that receives progress updates.
        search: numbers of the search.
        exact: retraining; the published one by default, with crops and flips.
        tuned: passes of the approximate methods.
        random_sets: random forget sets, at least 3: rates are chosen on the first, and the last is a control.

    Raises:
        InputError: a variable is not set, or the images have no test split.
    """
    absent = [name for name in (MODEL, DATA, FOLDER) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}: a classifier that was trained by the published recipe "
            f"(182 passes of SGD), its labelled images with the splits train and test, and a folder to write to"
        )
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    case = ForgettingCase.of(
        load_classifier(os.environ[MODEL], device=device), load_images(os.environ[DATA]), progress=progress
    )
    methods = named_settings([{"method": name, "epochs": tuned} for name in METHODS.values()], "forgetting")
    study = Study(
        case=case,
        count=max(len(case.store) // 10, 1),
        level="image",
        search=search,
        exact=exact or Retraining(smallest_crop=0.6, flips=True),
        methods=methods,
        random_sets=random_sets,
        seed=seed,
    )
    return figures_of(study_forget_set(study, out=Path(os.environ[FOLDER]) / f"seed-{seed}", progress=progress))


def figures_of(found: WorstCaseForgetSet) -> dict[str, Figure]:
    """Figures of the claims by name; None where a method diverged."""
    sets = dict.fromkeys(one.forget_set for one in found.rows)
    tuning, *randoms, held_out = [name for name in sets if name.startswith("random")]
    assert tuning == TUNING
    figures: dict[str, Figure] = {
        "worst.moved": found.moved,
        "worst.overlap_with_lowest": found.shared[LOWEST],
    }
    fit = found.row(WORST, AS_IT_WAS).figures
    # Both parts of the training images, weighed by their numbers.
    if fit is not None and fit.unlearning.value is not None and fit.remaining.value is not None:
        right = (1 - fit.unlearning.value) * fit.unlearning.n + fit.remaining.value * fit.remaining.n
        figures["fit"] = right / (fit.unlearning.n + fit.remaining.n)
    for short, names in {"worst": [WORST], "random": randoms, "lowest": [LOWEST]}.items():
        rows = [found.row(name, EXACT).figures for name in names]
        shares = [one.shares() for one in rows if one is not None]
        for key, name in {"ua": "unlearning", "mia": "membership", "ra": "remaining", "ta": "test"}.items():
            figures[f"{short}.exact_{key}"] = float(np.mean([one[name] for one in shares])) if shares else None
    for short, names in {"worst": [WORST], "random": randoms, "held_out": [held_out]}.items():
        for method, name in METHODS.items():
            gaps = [found.row(one, name).gap for one in names]
            known = [gap for gap in gaps if gap is not None]
            figures[f"{short}.{method}_gap"] = float(np.mean(known)) if len(known) == len(gaps) else None
        each = [figures[f"{short}.{method}_gap"] for method in METHODS]
        measured = [gap for gap in each if isinstance(gap, float)]
        figures[f"{short}.gap"] = float(np.mean(measured)) if len(measured) == len(each) else None
    return figures
