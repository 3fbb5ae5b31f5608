"""What the claims on forget sets leave open, a file for each seed in docs/measured/forget-sets.

    python scripts/measure.py worst_case_forget_set --part methods --set seed=2001

``methods`` takes images, networks and sets of the record (seeds 2001 to 2004; 2000 was its pilot): gaps of the methods
that the record does not have, and what fine-tuning with other images brings back. ``repeats`` keeps images and draws
networks anew (seeds 3000 to 3004): what the sets of two seeds share, and which class is hardest to forget. ``prompts``
searches prompts of the embedded generator (seeds 4001 to 4004). ``digits`` has gaps of every method on digits, and what
the sets of two networks share (seeds from 5001). ``rates`` forgets by random labels at several rates, on Fashion-MNIST
(seeds from 6001). A seed takes between half a minute and three of a core, and is a file; one that is there is left
alone. On another processor than that of the record, networks end a little differently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snellen.core.classifier import Classifier
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.run import write_atomically
from snellen.data.references import load_images
from snellen.data.worlds.planting.label_noise import RandomLabelNoise
from snellen.methods.forgetting.boundary import BoundaryExpanding, BoundaryShrink
from snellen.methods.forgetting.dampening import SelectiveDampening
from snellen.methods.forgetting.fine_tuning import FineTuning
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetter, Forgetting, fit_network
from snellen.methods.forgetting.gradient_ascent import GradientAscent
from snellen.methods.forgetting.judging import ForgettingCase, Judgement, random_rows
from snellen.methods.forgetting.prompt_erasing import Erasing
from snellen.methods.forgetting.prompt_search import PromptSearch
from snellen.methods.forgetting.relearning import Relearning, relearning_images
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.reproduction.sample import mean_of
from snellen.reproduction.seed_file import read_seeds
from snellen.reproduction.shared.documents import Measurements, is_measured, measured_path
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.reproduction.worst_case_forget_set.experiment import METHODS, SMALL, Experiment, as_unsplit, on_digits
from snellen.systems.worst_case_forget_set.baselines import trivial_sets
from snellen.systems.worst_case_forget_set.search import losses_of, search_forget_set
from snellen.training.acceleration import seeded
from snellen.verbs.worst_case_prompts import worst_case_prompts

#: Methods that the record does not have, at each value that is tried on the first random set.
FURTHER: Mapping[str, Sequence[Forgetter]] = {
    "gradient_ascent": [GradientAscent(batch_size=64, learning_rate=rate) for rate in (1e-5, 1e-4, 3e-4, 1e-3, 3e-3)],
    "boundary_shrink": [BoundaryShrink(batch_size=64, learning_rate=rate) for rate in (1e-5, 1e-4, 1e-3, 3e-3, 1e-2)],
    "boundary_expanding": [
        BoundaryExpanding(batch_size=64, learning_rate=rate) for rate in (1e-5, 1e-4, 1e-3, 3e-3, 1e-2)
    ],
    "selective_dampening": [SelectiveDampening(selection=share) for share in (2.0, 5.0, 10.0, 30.0, 100.0)],
}

#: Methods of the record that are fine-tuned after forgetting, by their names there.
RELEARNED = {"fine_tuning": "ft", "random_labels": "rl", "scrub": "scrub"}

#: Passes of that fine-tuning, and images of other classes for it.
PASSES, UNRELATED = 3, "known:digits"

#: Images of ``repeats``: those of this seed of the record.
DIVIDED_BY = 2000

#: Forgets a class, to compare all of them.
OF_CLASSES = FineTuning(epochs=5, batch_size=64, learning_rate=0.03)

#: Methods of the record at every rate that is tried there, and the further ones.
ALL: Mapping[str, Sequence[Forgetter]] = {
    **{
        name: [method.model_copy(update={"learning_rate": rate, "epochs": SMALL.tuned}) for rate in SMALL.rates]
        for name, method in METHODS.items()
    },
    **FURTHER,
}

#: Of random labels: the two rates that seeds of the record chose, and the next one.
RATES = (1e-3, 3e-3, 1e-2)

#: Six shapes in three colours; three of these prompts are erased.
PROMPTS = [
    {"prompt": f"a {colour} {shape}", "concept": shape}
    for colour in ("red", "blue", "green")
    for shape in ("star", "ring", "heart", "cross", "square", "triangle")
]


class Repeated(Experiment):
    """The images and labels of one seed of the record, and a network of another seed."""

    def trained(self) -> ForgettingCase:
        """As in the record, but for the division and the labels."""
        division = Randomness(DIVIDED_BY).child("worst-case forget set")
        images = load_images(self.size.data)
        order = torch.randperm(len(images), generator=division.generator("division")).numpy()
        train, test = (
            as_unsplit(images.select(order[start : start + count]))
            for start, count in ((0, self.size.train), (self.size.train, self.size.test))
        )
        train = RandomLabelNoise(rate=self.size.noise).plant(train, rng=division)
        names = images.class_names or ()
        with seeded(self.rng.generator("initial weights").initial_seed(), torch.device("cpu")):
            untrained = Classifier(narrow_network(len(names)), class_names=names, name="narrow")
        case = ForgettingCase.of(untrained, train, test)
        call = Forgetting(self.rng.child("original"))
        network = fit_network(case.network(), case.store, self.exact.plan, call, recipe={})
        return ForgettingCase.of(Classifier(network.network.eval(), class_names=names, name="narrow"), train, test)


def measure_methods(root: Path, progress: Progress, *, seed: int = 2001) -> None:
    """Further methods, and fine-tuning after forgetting, on the sets of a seed of the record."""
    if is_measured(path := _path(root, seed)):
        return
    seeds = read_seeds(root / "results", "worst_case_forget_set")
    recorded = {name: mean_of(one) for name, one in next(one for one in seeds if one.seed == seed).measured().items()}
    experiment = Experiment(SMALL, seed, progress)
    case = experiment.case
    sets = _sets(experiment)
    chosen = {name: sets[name] for name in ("tuning", "worst", "random")}
    exact = {name: _forgotten(experiment, experiment.exact, rows, "exact") for name, rows in chosen.items()}
    gaps = {name: _gaps(experiment, name, tried, chosen, exact) for name, tried in FURTHER.items()}
    relearned: dict[str, Any] = {}
    unrelated = as_unsplit(load_images(UNRELATED))
    for one in ("worst", "random"):
        split = ForgetSplit(experiment.case.store, chosen[one])
        networks = {"retraining": exact[one][0]}
        for name, short in RELEARNED.items():
            rate = recorded[f"{short}.rate"]
            method = METHODS[short].model_copy(update={"learning_rate": rate, "epochs": SMALL.tuned})
            networks[name] = _forgotten(experiment, method, chosen[one], short)[0]
        others, classes = relearning_images(
            unrelated, case.classifier.class_names, case.classifier.preparation, case.images.select(split.rows.numpy())
        )
        by = {
            "remaining": Relearning(split.remaining, PASSES),
            "unrelated": Relearning(others, PASSES, classes),
        }
        relearned[one] = {name: _courses(experiment, network, split, by) for name, network in networks.items()}
    before = {name: _shares(case.judge(experiment.network, _split(experiment, rows))) for name, rows in chosen.items()}
    _write(path, {
        "part": "methods", "seed": seed, "as_it_was": before,
        "exact": {name: _shares(found) for name, (_, found) in exact.items()},
        "recorded_ua": recorded["worst.exact_ua"], "gaps": gaps, "relearned": relearned,
    })  # fmt: skip


def measure_repeats(root: Path, progress: Progress, *, seed: int = 3000) -> None:
    """Sets of another network of the same images, and each class forgotten in turn."""
    if is_measured(path := _path(root, seed)):
        return
    experiment = Repeated(SMALL, seed, progress)
    case, network, rng, count = experiment.case, experiment.network, experiment.rng, experiment.count
    store = case.store
    search = partial(search_forget_set, network, store, rng=rng.child("search"), progress=progress)
    targets = store.targets.numpy()
    found = search(1, search=SMALL.search, groups=targets)
    easiest = search(1, search=SMALL.search.model_copy(update={"reverse": True}), groups=targets)
    losses = losses_of(network, store)
    classes = []
    for label in range(len(case.classifier.class_names)):
        split = ForgetSplit(store, torch.from_numpy(np.flatnonzero(targets == label)))
        made = OF_CLASSES.forget(network, split, rng=rng.child("class", label))
        judged = _shares(case.judge(made, split))
        loss = float(losses_of(made, split.forgotten).mean())
        classes.append({**judged, "loss": loss, "before": float(losses[targets == label].mean())})
    _write(path, {
        "part": "repeats", "seed": seed, "images": len(store),
        "worst": search(count, search=SMALL.search).rows.tolist(),
        "lowest": trivial_sets(network, store, count)["lowest loss"].tolist(),
        "class": int(found.chosen[0]), "easiest_class": int(easiest.chosen[0]), "moved": found.moved,
        "names": list(case.classifier.class_names), "classes": classes,
    })  # fmt: skip


def measure_prompts(root: Path, progress: Progress, *, seed: int = 4001) -> None:
    """The prompts that are hardest to erase, beside random ones and those that no search was needed for."""
    if is_measured(path := _path(root, seed)):
        return
    found = worst_case_prompts(
        "bundled:scene-diffusion",
        PROMPTS,
        judge="bundled:scene-cnn",
        count=3,
        search=PromptSearch(upper_steps=5, lower=Erasing(steps=20, batch_size=8)),
        erasing=Erasing(steps=60, rate=1e-3, optimizer="adam", batch_size=8),
        random_sets=2,
        drawn=2,
        images=4,
        steps=10,
        seed=seed,
        progress=progress,
    )
    rows = [
        {
            "set": row.forget_set, "network": row.network, "erasing": row.erasing, "left": row.left,
            "seen": None if row.recognised is None else row.recognised.value,
            "others_seen": None if row.others_recognised is None else row.others_recognised.value,
        }
        for row in found.rows
    ]  # fmt: skip
    chosen = [one.prompt for one in found.chosen]
    _write(path, {"part": "prompts", "seed": seed, "chosen": chosen, "moved": found.moved, "rows": rows})


def measure_digits(root: Path, progress: Progress, *, seed: int = 5001) -> None:
    """Gaps of every method on digits, and the sets of another network of the digits of one division."""
    if is_measured(path := _path(root, seed)):
        return
    size = on_digits(SMALL)
    experiment = Experiment(size, seed, progress)
    case, chosen = experiment.case, _sets(experiment)
    exact = {name: _forgotten(experiment, experiment.exact, rows, "exact") for name, rows in chosen.items()}
    gaps = {name: _gaps(experiment, name, tried, chosen, exact) for name, tried in ALL.items()}
    before = {name: _shares(case.judge(experiment.network, _split(experiment, rows))) for name, rows in chosen.items()}
    again = _sets(Repeated(size, seed, progress))
    _write(path, {
        "part": "digits", "seed": seed, "images": len(case.store), "as_it_was": before,
        "exact": {name: _shares(found) for name, (_, found) in exact.items()}, "gaps": gaps,
        "repeated": {name: again[name].tolist() for name in ("worst", "lowest")},
    })  # fmt: skip


def measure_rates(root: Path, progress: Progress, *, seed: int = 6001) -> None:
    """Random labels at each of :data:`RATES`, whichever a random set would choose."""
    if is_measured(path := _path(root, seed)):
        return
    experiment = Experiment(SMALL, seed, progress)
    sets = _sets(experiment)
    chosen = {name: sets[name] for name in ("worst", "random")}
    exact = {name: _forgotten(experiment, experiment.exact, rows, "exact")[1] for name, rows in chosen.items()}
    tried = [METHODS["rl"].model_copy(update={"learning_rate": rate, "epochs": SMALL.tuned}) for rate in RATES]
    _write(path, {
        "part": "rates", "seed": seed, "rates": list(RATES),
        "exact": {name: _shares(one) for name, one in exact.items()},
        "gaps": {
            name: [experiment.gap(one, rows, exact[name], "rl") for one in tried] for name, rows in chosen.items()
        },
    })  # fmt: skip


def _sets(experiment: Experiment) -> dict[str, torch.Tensor]:
    """Two random sets, the searched one and that of lowest loss; values are chosen on ``tuning``."""
    store, rng, count = experiment.case.store, experiment.rng, experiment.count
    random = [random_rows(count, len(store), rng.child("set", number)) for number in range(2)]
    searched = search_forget_set(
        experiment.network,
        store,
        count,
        search=experiment.size.search,
        rng=rng.child("search"),
        progress=experiment.progress,
    )
    lowest = trivial_sets(experiment.network, store, count)["lowest loss"]
    return {
        "tuning": random[0],
        "worst": torch.from_numpy(searched.rows),
        "random": random[1],
        "lowest": torch.from_numpy(lowest),
    }


def _path(root: Path, seed: int) -> Path:
    return measured_path(root, f"forget-sets/seed-{seed}")


def _write(path: Path, found: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())


def _split(experiment: Experiment, rows: torch.Tensor) -> ForgetSplit:
    return ForgetSplit(experiment.case.store, rows)


def _forgotten(
    experiment: Experiment, method: Forgetter, rows: torch.Tensor, stream: str
) -> tuple[PreparedNetwork, Judgement]:
    """A network that forgot, with the randomness of the record, and its figures."""
    split = _split(experiment, rows)
    made = method.forget(experiment.network, split, rng=experiment.rng.child(stream))
    return made, experiment.case.judge(made, split)


def _gaps(
    experiment: Experiment,
    name: str,
    tried: Sequence[Forgetter],
    sets: Mapping[str, torch.Tensor],
    exact: Mapping[str, tuple[PreparedNetwork, Judgement]],
) -> dict[str, Any]:
    """Gaps of a method at the value whose gap on the first random set is the smallest; None where it diverges."""

    def gap(method: Forgetter, one: str) -> float | None:
        return experiment.gap(method, sets[one], exact[one][1], name)

    found = [gap(method, "tuning") for method in tried]
    best = int(np.argmin([float("inf") if one is None else one for one in found]))
    return {"tried": found, "chosen": best, **{one: gap(tried[best], one) for one in sets if one != "tuning"}}


def _courses(
    experiment: Experiment, network: PreparedNetwork, split: ForgetSplit, by: Mapping[str, Relearning]
) -> dict[str, list[dict[str, float]]]:
    """Figures before and behind each pass of fine-tuning, by its images."""
    judge, rng = partial(experiment.case.judge, split=split), experiment.rng.child("relearning")
    return {
        name: [_shares(one) for one in (judge(network), *relearning.curve(network, judge, rng))]
        for name, relearning in by.items()
    }


def _shares(judgement: Judgement) -> dict[str, float]:
    names = {"unlearning": "ua", "membership": "mia", "remaining": "ra", "test": "ta"}
    found = {short: judgement.shares()[name] for name, short in names.items()}
    return {**found, "separation": float(judgement.separation.value or 0)}


MEASUREMENTS: Measurements = {
    "methods": measure_methods,
    "repeats": measure_repeats,
    "prompts": measure_prompts,
    "digits": measure_digits,
    "rates": measure_rates,
}
