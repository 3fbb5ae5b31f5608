"""Find the worst-case forget set, and judge unlearning methods on it beside random sets, against exact retraining.

Every method has one learning rate for all sets: the one whose mean gap to retraining is the smallest on the first
random set. Each network is a shard, so that a stopped call loses one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Unpack

import numpy as np
import torch
from safetensors.torch import save

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import Run, canonical_json, write_atomically
from snellen.core.run_plan import describe_data, describe_machine, describe_model
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetter
from snellen.methods.forgetting.judging import ForgettingCase, Judgement, falls_short, random_rows, timed_forgetting
from snellen.methods.forgetting.retraining import Retraining
from snellen.metrics.unlearning import set_overlap
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.runs.measuring import Put
from snellen.runs.runner import Call, Running, carried_out
from snellen.runs.settings import Setting
from snellen.runs.shard import Shard
from snellen.systems.worst_case_forget_set.baselines import Rows, class_histogram, trivial_sets
from snellen.systems.worst_case_forget_set.record import (
    EASIEST,
    IDS,
    TUNING,
    WEIGHTS,
    WHAT,
    WORST,
    JudgedRow,
    Tried,
    WorstCaseForgetSet,
    kept,
)
from snellen.systems.worst_case_forget_set.search import ForgetSearch, ForgetSelection, search_forget_set

#: What progress calls it.
TASK = "forgetting"

#: Learning rates that are tried, as multiples of the method's own.
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)

#: The classifier itself, and exact retraining, among methods.
AS_IT_WAS, EXACT, LOWEST = "as it was", "retraining", "lowest loss"


@dataclass(frozen=True)
class Cell:
    """One network: what is forgotten, how, and at which multiple of the method's rate; None: the chosen one."""

    forget_set: str
    method: str
    factor: float | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that is decided before anything is trained.

    Attributes:
        case: classifier and images.
        count: images, or classes, of a forget set.
        level: what w has an entry for.
        search: numbers of the search.
        exact: retraining.
        methods: approximate ones.
        random_sets: how many.
        seed: of everything random.
    """

    case: ForgettingCase
    count: int
    level: Literal["image", "class"]
    search: ForgetSearch
    exact: Retraining
    methods: Sequence[Setting]
    random_sets: int
    seed: int

    @property
    def searched(self) -> str:
        """Name of the searched set."""
        return EASIEST if self.search.reverse else WORST

    @cached_property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets that methods are judged on, the searched one first."""
        return (self.searched, *(f"random {number}" for number in range(1, self.random_sets + 1)))

    @cached_property
    def present(self) -> Rows:
        """Classes with training images, ascending: what a set of classes is chosen from."""
        return np.unique(self.case.store.targets.numpy()).astype(np.int64)

    @property
    def groups(self) -> Rows | None:
        """Place of the class of each image among those with images; None where images are selected."""
        if self.level == "image":
            return None
        return np.searchsorted(self.present, self.case.store.targets.numpy()).astype(np.int64)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Networks in the order in which they are made: exact ones, rates on the first random set, all others."""
        baseline = () if self.level == "class" or self.search.reverse else (LOWEST,)
        exact = [Cell(name, EXACT) for name in (*self.sets, *baseline)]
        tuned = [Cell(TUNING, one.name, factor) for one in self.methods for factor in factors_of(one)]
        rest = [Cell(name, one.name) for one in self.methods for name in self.sets if name != TUNING]
        return (*exact, *tuned, *rest)

    def method(self, name: str, factor: float = 1.0) -> Forgetter:
        """A method at a multiple of its rate."""
        found = next(one.method for one in self.methods if one.name == name)
        assert isinstance(found, Forgetter)
        rate = getattr(found, "learning_rate", None)
        return found if rate is None else found.model_copy(update={"learning_rate": rate * factor})

    def rows_of(self, name: str, selection: ForgetSelection | None) -> torch.Tensor:
        """Images of a forget set: the searched one, a random one of as many images or classes, or a trivial one."""
        if name == self.searched and selection is not None:
            return torch.from_numpy(selection.rows)
        if name == LOWEST:
            return torch.from_numpy(trivial_sets(self.case.network(), self.case.store, self.count)[LOWEST])
        rng = Randomness(self.seed).child(name)
        if self.level == "image":
            return random_rows(self.count, len(self.case.store), rng)
        classes = torch.from_numpy(self.present)[random_rows(self.count, len(self.present), rng)]
        return torch.isin(self.case.store.targets, classes).nonzero().flatten()


def factors_of(setting: Setting) -> tuple[float, ...]:
    """Multiples of the rate of a method that are tried; 1 alone where it has none."""
    return FACTORS if hasattr(setting.method, "learning_rate") else (1.0,)


@dataclass(frozen=True, eq=False)
class Networks:
    """What measures: item 0 is the search, every other one a cell. Later cells read what earlier ones found."""

    study: Study
    run: Run

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Search, or make and judge a network; see :class:`~snellen.runs.measuring.Work`."""
        (item,) = items
        if item == 0:
            return self.searched(put, progress)
        cell, study = self.study.cells[item - 1], self.study
        split = ForgetSplit(study.case.store, study.rows_of(cell.forget_set, self.selection()))
        network, rng = study.case.network(), Randomness(study.seed).child(cell.method)
        rate, extra = None, {}
        method: Forgetter = study.exact
        if cell.method == EXACT:
            extra = {AS_IT_WAS: kept(study.case.judge(network, split, seed=study.seed))}
        else:
            factor = chosen_factor(study, self.run, cell.method) if cell.factor is None else cell.factor
            method = study.method(cell.method, factor)
            rate = getattr(method, "learning_rate", None)
        seconds = dict[str, float]()
        try:
            made, taken = timed_forgetting(method, network, split, rng=rng, progress=Silent())
            found, reason = kept(study.case.judge(made, split, seed=study.seed)), None
            seconds = {cell.method: taken}
        except ModelError as error:  # a rate that is too high is a result, and no fault
            if cell.method == EXACT:
                raise ModelError(
                    f"retraining without {cell.forget_set} diverged, and nothing can be compared with it; lower the "
                    f"learning rate of --plan: {error}"
                ) from error
            found, reason = None, str(error)
        progress.advance(TASK, 1)
        return Shard(extra={**extra, "figures": found, "reason": reason, "rate": rate}, seconds=seconds)

    def searched(self, put: Put, progress: Progress) -> Shard:
        """Search, and write the set and the weights of all steps."""
        study = self.study
        found = search_forget_set(
            study.case.network(),
            study.case.store,
            study.count,
            search=study.search,
            rng=Randomness(study.seed).child("search"),
            groups=study.groups,
            progress=progress,
        )
        put(IDS, "".join(f"{study.case.store.ids[row]}\n" for row in found.rows.tolist()).encode())
        put(WEIGHTS, save({"weights": torch.from_numpy(found.weights)}))
        progress.advance(TASK, 1)
        chosen = study.present[found.chosen] if study.level == "class" else found.chosen
        found_rows = {"rows": found.rows.tolist(), "chosen": chosen.tolist()}
        figures = {"overlap": found.overlap, "moved": found.moved, "losses": list(found.losses)}
        return Shard(extra={**found_rows, **figures})

    def selection(self) -> ForgetSelection:
        """What the search found."""
        return selection_of(self.run)


def selection_of(run: Run) -> ForgetSelection:
    """The selection that the first shard holds, without the weights of its steps."""
    held = run.shard_extra(0)
    rows, chosen = (np.array(held[name], dtype=np.int64) for name in ("rows", "chosen"))
    return ForgetSelection(np.empty((0, 0)), chosen, rows, held["overlap"], held["moved"], tuple(held["losses"]))


def judged(study: Study, run: Run, cell: Cell) -> tuple[Judgement | None, str | None, float | None]:
    """Figures of a network that was made, or why there are none, and its rate."""
    held = run.shard_extra(1 + study.cells.index(cell))
    found = None if held["figures"] is None else Judgement.model_validate(held["figures"])
    return found, held["reason"], held["rate"]


def exact_of(study: Study, run: Run, forget_set: str) -> Judgement:
    """Figures of retraining without a set; a retraining that diverges ends the study."""
    found = judged(study, run, Cell(forget_set, EXACT))[0]
    assert found is not None
    return found


def chosen_factor(study: Study, run: Run, method: str) -> float:
    """The multiple of the rate with the smallest gap on the first random set; the smallest where all diverged."""
    setting = next(one for one in study.methods if one.name == method)
    exact, gaps = exact_of(study, run, TUNING), {}
    for factor in factors_of(setting):
        found = judged(study, run, Cell(TUNING, method, factor))[0]
        gaps[factor] = float("inf") if found is None else found.gap(exact)
    return min(gaps, key=lambda factor: (gaps[factor], factor))


def study_forget_set(
    study: Study, *, out: Path | str, progress: Progress | None = None, **running: Unpack[Running]
) -> WorstCaseForgetSet:
    """Search the forget set, and judge methods on it and on random sets.

    ``out`` gets ``forget-set.txt`` with the ids of the set, ``selection.safetensors`` with the weights of all steps,
    ``timing.json`` with seconds of each method without any judging, and ``forget-set.json``, last.

    Raises:
        InputError: a count out of range, a budget or parts.
        ModelError: exact retraining diverges.
        UnwritableError, RunConflictError: see :func:`snellen.scan`.
    """
    total = len(study.present) if study.level == "class" else len(study.case.store)
    if not 0 < study.count < total:
        what = "classes with training images" if study.level == "class" else "training images"
        raise InputError(
            f"a forget set holds at least 1 and at most {total - 1} of {total} {what}; got {study.count}: change "
            f"--count"
        )
    if running.get("budget") is not None or running.get("part") is not None:
        raise InputError("a search takes neither a budget nor a part: later networks need what earlier ones showed")
    listener, case = progress or Silent(), study.case

    def call(_: int) -> Call[WorstCaseForgetSet]:
        return Call(
            what=WHAT,
            result=WorstCaseForgetSet,
            plan=lambda: {
                "kind": "forget set",
                "model": describe_model(case.classifier),
                "data": describe_data(case.images, listener),
                "test": case.test.fingerprint(),
                "count": study.count,
                "level": study.level,
                "search": study.search.model_dump(mode="json"),
                "exact": study.exact.record(),
                "methods": [{"setting": one.name, **one.record} for one in study.methods],
                "factors": FACTORS,
                "random_sets": study.random_sets,
                "seed": study.seed,
                **describe_machine(case.classifier),
            },
            work=lambda run: Networks(study, run),
            shards=[range(item, item + 1) for item in range(1 + len(study.cells))],
            task=TASK,
            conclude=lambda run, folder: concluded(study, run, folder),
            classifiers=(case.classifier,),
            fits=True,
            rejected=lambda _: (),
            name=case.images.name,
        )

    with carried_out(call, 1 + len(study.cells), out, listener, running) as carried:
        carried.measure()
    return carried.result


def concluded(study: Study, run: Run, folder: Path) -> WorstCaseForgetSet:
    """Rows of all networks, gaps to retraining, and what to doubt."""
    selection, case = selection_of(run), study.case
    rows, short = list[JudgedRow](), list[str]()
    tried = list[Tried]()
    for cell in study.cells:
        found, reason, rate = judged(study, run, cell)
        exact = exact_of(study, run, cell.forget_set)
        gap = None if found is None or cell.method == EXACT else found.gap(exact)
        if cell.factor is not None and rate is not None:
            tried.append(Tried(method=cell.method, rate=rate, gap=gap))
        if cell.factor is not None and cell.factor != chosen_factor(study, run, cell.method):
            continue
        if cell.method == EXACT:
            before = Judgement.model_validate(run.shard_extra(1 + study.cells.index(cell))[AS_IT_WAS])
            gap_before = before.gap(exact)
            short += falls_short(before, exact, f"the set {cell.forget_set}")
            rows.append(JudgedRow(forget_set=cell.forget_set, method=AS_IT_WAS, figures=before, gap=gap_before))
        made = JudgedRow(
            forget_set=cell.forget_set, method=cell.method, rate=rate, figures=found, gap=gap, reason=reason
        )
        rows.append(made)
    order = [AS_IT_WAS, EXACT, *(one.name for one in study.methods)]
    rows.sort(key=lambda row: order.index(row.method))
    split = ForgetSplit(case.store, torch.from_numpy(selection.rows))
    write_atomically(folder / "timing.json", canonical_json(_seconds(study, run)))
    return WorstCaseForgetSet(
        plan=dict(run.plan),
        files=(IDS, WEIGHTS, "timing.json"),
        folder=folder,
        count=len(selection.rows),
        overlap=selection.overlap,
        moved=selection.moved,
        losses=selection.losses,
        classes=dict(class_histogram(selection.rows, case.store.targets, case.classifier.class_names)),
        shared=_shared(case.network(), study, selection.rows),
        rows=tuple(rows),
        tried=tuple(tried),
        notes=(*case.notes, *short, *_doubts(split, case, selection), *_optimistic(study)),
    )


def _seconds(study: Study, run: Run) -> dict[str, float]:
    """Seconds of each network, without judging: clock readings, which nothing is compared with."""
    found = {}
    for number, cell in enumerate(study.cells, start=1):
        if (taken := run.shard_timing(number).get(cell.method)) is not None:
            found[f"{cell.method}, {cell.forget_set}" + ("" if cell.factor is None else f", × {cell.factor:g}")] = taken
    return found


def _shared(network: PreparedNetwork, study: Study, rows: Rows) -> dict[str, float]:
    trivial = trivial_sets(network, study.case.store, len(rows))
    return {name: set_overlap(rows.tolist(), one.tolist()) for name, one in trivial.items()}


def _optimistic(study: Study) -> tuple[str, ...]:
    """Say that there is no fair random set beside the one on which rates were chosen."""
    if study.random_sets > 1 or all(len(factors_of(one)) == 1 for one in study.methods):
        return ()
    return (
        f"Rates were chosen on {TUNING}, the only random set, so that gaps on it are too small; give more with "
        f"--random-sets.",
    )


def _doubts(split: ForgetSplit, case: ForgettingCase, selection: ForgetSelection) -> list[str]:
    found = [] if selection.doubt is None else [selection.doubt]
    if lost := split.lost_classes(case.classifier.class_names):
        found.append(f"No image of {', '.join(lost)} remains: a network that is retrained never decides for it.")
    return found
