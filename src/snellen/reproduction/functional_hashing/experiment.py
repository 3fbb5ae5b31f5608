"""System 23: how many candidates of a search compute what an earlier one computes, and what the cache saves.

Cells are trained for real on the digits of scikit-learn; losses and programs show equalities that no canonical form
sees. Searches of one space share the evaluations: the same structure is trained once and charged, with the seconds that
it took, to every search that has to train it. So arms differ by their cache alone. Seconds are those of the processor,
which a busy machine changes little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import process_time
from typing import Any

import numpy as np
import torch

from snellen.core.errors import ModelError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.core.system import Scale
from snellen.data.references import load_images
from snellen.reproduction.functional_hashing.full import full_figures, speed_up
from snellen.reproduction.functional_hashing.table_space import KeptSpace
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.functional_hashing.cell_space import CellSettings, CellSpace
from snellen.systems.functional_hashing.cells import Cell
from snellen.systems.functional_hashing.formulas import parse
from snellen.systems.functional_hashing.function_cache import FunctionCache
from snellen.systems.functional_hashing.functional_hash import functional_key
from snellen.systems.functional_hashing.loss_space import LossSpace
from snellen.systems.functional_hashing.programs import ProgramSpace
from snellen.systems.functional_hashing.programs import parse as parse_program
from snellen.systems.functional_hashing.searching import PROBE_SEED, Proposer, Search, Trial
from snellen.systems.functional_hashing.space import Space
from snellen.training.batches import ImageStore
from snellen.training.evaluation import accuracy

#: Strategies that are compared.
STRATEGIES = ("random", "evolution")

#: Mantissa bits of the ablation, and images of a probe.
BITS, PROBES = (4, 8, 16, 24, 52), (1, 4, 32)

#: Noise on the validation score, and what is done about it: settings of the cache.
DEVIATIONS = (0.0, 0.02, 0.05)
REMEDIES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "averaged": {"max_num_evals": 4},
    "forgetting": {"remove_probability": 0.1},
    "forgetting_often": {"remove_probability": 0.5},
}


#: Cost of a hash in the simulated searches, in evaluations.
HASH_SHARE = 0.05

#: Slopes or predictions that differ by less are one number.
EQUAL = 1e-9


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        train, val: digits.
        cells: candidates of a search of cells; trained for ``epochs``.
        others: candidates of a search of losses, and of programs.
        ablated: cells of the ablations, each probed under every setting.
        repeats: simulated searches of each noise and remedy, of ``charged`` evaluations.
        population, tournament: of evolution.
        epochs: of a cell.
        again: hits that are trained again, as they were drawn.
    """

    train: int = 600
    val: int = 500
    cells: int = 400
    others: int = 400
    ablated: int = 120
    repeats: int = 30
    charged: int = 150
    population: int = 40
    tournament: int = 8
    epochs: int = 2
    again: int = 20


SMALL = Size()
SMOKE = Size(
    train=64,
    val=40,
    cells=6,
    others=12,
    ablated=3,
    repeats=1,
    charged=8,
    population=4,
    tournament=2,
    epochs=1,
    again=2,
)


def functional_hashing(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 23.

    Returns:
        Of each space and strategy: ``hits`` of each candidate by text, structure and function, ``alive`` hits of those
        with outputs that are not constant, the share of ``dead`` ones, ``collisions`` among hits, and the share of hits
        on candidates that failed. Of cells: charged ``seconds`` of each arm, ``speed_up`` to the best candidate,
        ``saved`` to the end, the same on a stream without repeats, the share of hashing, and how far the fitness of
        hits is from that of the cells as they were drawn. Ablations of bits and probe; ``true`` score of the final pick
        under noise for each remedy.
    """
    if scale == "full":
        return full_figures(seed, progress)
    return Experiment(SMOKE if scale == "smoke" else SMALL, seed, progress).figures()


functional_hashing.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with six candidates of a search and 64 images",),
    "small": (
        "cells of 8 channels in two stacks, trained on 600 digits of 8 pixels for two epochs, for the NASBench-101 "
        "table of CIFAR-10",
        "formulas of y and p for a linear classifier, and programs of at most 13 instructions for linear regression, "
        "for the AutoML-Zero searches",
        "400 candidates of a search for 5 million simulated seconds",
        "a loss space with noise added for the noise of NASBench-101",
    ),
}


@dataclass
class Experiment:
    """One seed: of the split of the digits, of trainings, and of all searches."""

    size: Size
    seed: int
    progress: Progress
    found: dict[str, Figure] = field(default_factory=dict)

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        cells, losses, programs = self.spaces()
        self.progress.begin("functional hashing", 5)
        self.searched("cells", cells, self.size.cells)
        self.distinct(cells)
        self.drawn_again(cells)
        self.progress.advance("functional hashing", 1, "cells searched")
        for name, space in (("losses", losses), ("programs", programs)):
            self.searched(name, space, self.size.others)
            self.progress.advance("functional hashing", 1, f"{name} searched")
        self.ablations(cells, losses)
        self.progress.advance("functional hashing", 1, "ablations done")
        self.noise(losses)
        self.progress.finish("functional hashing")
        return self.found

    def spaces(self) -> tuple[KeptSpace[Any], KeptSpace[Any], KeptSpace[Any]]:
        """Cells and losses on the digits, programs on a linear task; evaluations are kept."""
        store = ImageStore.of_images(
            load_images("known:digits"), Preprocessing(size=(8, 8), resize="shorter", resize_to=(8, 8))
        )
        order = torch.randperm(len(store), generator=torch.Generator().manual_seed(derive_seed(self.seed, "digits")))
        rows = order[: self.size.train], order[self.size.train :][: self.size.val]
        train, val = (ImageStore.of_tensors(*store.read(part)) for part in rows)
        vectors = [(one.images[:, 0].flatten(1).double() / 255, one.targets) for one in (train, val)]
        rng = np.random.default_rng(derive_seed(self.seed, "regression"))
        inputs, weights = rng.normal(size=(300, 4)), rng.normal(size=4)
        targets = inputs @ weights
        programs = ProgramSpace((inputs[:200], targets[:200]), (inputs[200:], targets[200:]))
        cells = CellSpace(train, val, 10, CellSettings(epochs=self.size.epochs), self.seed)
        losses = LossSpace(vectors[0], vectors[1], 10)
        return (
            KeptSpace(cells, clock=process_time),
            KeptSpace(losses, clock=process_time),
            KeptSpace(programs, clock=process_time),
        )

    # -- searches -------------------------------------------------------------------------------------------------

    def search(self, space: Space[Any], strategy: str, keys: str, count: int, **cache: Any) -> list[Trial]:  # noqa: ANN401
        """One search; searches of one seed and strategy draw from the same stream."""
        proposer = Proposer(space, strategy, self.size.population, self.size.tournament, self.seed)  # type: ignore[arg-type]
        cached = FunctionCache(seed=self.seed, **cache)
        search = Search(space, proposer, keys, cached, clock=process_time)  # type: ignore[arg-type]
        return list(search.run(count))

    def searched(self, name: str, space: KeptSpace[Any], count: int) -> None:
        """Random search and evolution without a cache, and with both kinds of keys."""
        for strategy in STRATEGIES:
            arms = {keys: self.search(space, strategy, keys, count) for keys in ("none", "structural", "functional")}
            stem = f"{name}.{strategy}"
            self.found[f"{stem}.textual.hits"] = Sample.of(_repeated([str(one.candidate) for one in arms["none"]]))
            for keys in ("structural", "functional"):
                self.found[f"{stem}.{keys}.hits"] = Sample.of([one.kind == "full hit" for one in arms[keys]])
                if name != "cells":
                    alive = [one for one in arms[keys] if not dead(space.space, one.candidate)]
                    hits = [one.kind == "full hit" for one in alive]
                    self.found[f"{stem}.{keys}.alive"] = Sample.of(hits) if hits else None
                    self.found[f"{stem}.{keys}.dead"] = 1 - len(alive) / count
            found = [one for one in arms["functional"] if one.kind == "full hit"]
            self.found[f"{stem}.functional.collisions"] = self._collisions(found, space)
            self.found[f"{stem}.functional.failed_hits"] = (
                float(np.mean([bool(one.problem) for one in found])) if found else None
            )
            best = max(one.valid for one in arms["none"])
            for keys, trials in arms.items():
                self.found[f"{stem}.{keys}.best"] = max(one.valid for one in trials)
                self.found[f"{stem}.{keys}.seconds"] = sum(one.seconds for one in trials)
            whole = sum(one.seconds for one in arms["none"])
            for keys in ("structural", "functional"):
                self.found[f"{stem}.{keys}.speed_up"] = speed_up(arms["none"], arms[keys], best)
                self.found[f"{stem}.{keys}.saved"] = 1 - sum(one.seconds for one in arms[keys]) / whole
            hashing = sum(one.hash_seconds for one in arms["functional"])
            trained = [one.evaluation.seconds for one in arms["none"] if one.evaluation is not None]
            self.found[f"{stem}.hash_share"] = hashing / count / float(np.mean(trained))

    def _collisions(self, hits: Sequence[Trial], space: KeptSpace[Any]) -> float | None:
        """Share of the full hits whose own evaluation, without a cache, is another one; the worst where it fails."""
        own = [_fitness(space, _read(space.space, one.candidate)) != one.valid for one in hits]
        return float(np.mean(own)) if own else None

    def drawn_again(self, cells: KeptSpace[Any]) -> None:
        """Hits of the random search are trained with their vertices as drawn, and not in the canonical order.

        Evaluations that are kept are those of the canonical cell, which a hit shares by definition; these are not.
        """
        inner: CellSpace = cells.space  # type: ignore[assignment]
        trials = self.search(cells, "random", "functional", self.size.cells)
        hits = [one for one in trials if one.kind == "full hit" and not one.problem]
        apart = []
        for one in hits[: self.size.again]:
            _, network = inner.trained(Cell.decode(one.candidate), 0, self.size.epochs, as_drawn=True)
            apart.append(abs(float(accuracy(network, inner.val)["accuracy"]) - one.valid))
        self.found["cells.random.functional.apart"] = float(np.mean(apart)) if apart else None
        self.found["cells.random.spread"] = float(np.std([one.valid for one in trials]))

    def distinct(self, space: KeptSpace[Any]) -> None:
        """The control: candidates of the random search that are no repeats. A cache can only cost time here."""
        trials, seen, fresh = self.search(space, "random", "functional", self.size.cells), set[str](), []
        for one in trials:
            if one.structure not in seen:
                fresh.append(one)
            seen.add(one.structure)
        trained = sum(space.kept[one.structure].seconds for one in fresh)
        self.found["cells.distinct.hits"] = Sample.of([one.kind == "full hit" for one in fresh])
        spent = sum(one.seconds for one in fresh)
        self.found["cells.distinct.saved"] = 1 - spent / trained

    # -- ablations ------------------------------------------------------------------------------------------------

    def ablations(self, cells: KeptSpace[Any], losses: KeptSpace[Any]) -> None:
        """Mantissa bits and the size of the probe: equal keys of unequal candidates, unequal keys of equal ones."""
        graphs = drawn(cells, self.size.ablated, self.seed)
        inner: CellSpace = cells.space  # type: ignore[assignment]
        probes = [[cells.probe(one, PROBE_SEED) for one in (cell, _turned(cell, self.seed))] for cell in graphs]
        fitness = [_fitness(cells, one) for one in graphs]
        formulas = drawn(losses, self.size.others, self.seed)
        slopes = [losses.probe(one, PROBE_SEED) for one in formulas]
        scores = [_fitness(losses, one) for one in formulas]
        for bits in BITS:
            pairs = [[functional_key(outputs, bits) for outputs in pair] for pair in probes]
            self.found[f"bits_{bits}.false_misses"] = Sample.of([one != other for one, other in pairs])
            names = [cells.structure(one) for one in graphs]
            self.found[f"bits_{bits}.cells.shared"] = _shared([one for one, _ in pairs], names)
            means = [functional_key(_means(outputs), bits) for outputs, _ in probes]
            self.found[f"bits_{bits}.means.collisions"] = _shared(means, fitness)
            self.found[f"bits_{bits}.collisions"] = _shared([functional_key(one, bits) for one in slopes], scores)
        for images in PROBES:
            settings = inner.settings.model_copy(update={"probe_images": images})
            small = replace(inner, settings=settings)
            keys = [functional_key(small.probe(one, PROBE_SEED)) for one in graphs]
            self.found[f"probe_{images}.cells.shared"] = _shared(keys, [cells.structure(one) for one in graphs])

    # -- noise ----------------------------------------------------------------------------------------------------

    def noise(self, losses: KeptSpace[Any]) -> None:
        """The true score of what a search picks: under noise, for each remedy, at an equal number of evaluations."""
        for deviation in DEVIATIONS:
            for remedy, cache in REMEDIES.items():
                true = []
                for repeat in range(self.size.repeats):
                    seed = derive_seed(self.seed, "noise", repeat) % 2**31
                    noisy = KeptSpace(losses.space, deviation, seed, losses.kept, 1.0)
                    proposer = Proposer(noisy, "evolution", self.size.population, self.size.tournament, seed)
                    cached = FunctionCache(seed=seed, **cache)
                    search = Search(noisy, proposer, "functional", cached, hash_seconds=HASH_SHARE)
                    last: dict[int | None, Trial] = {one.key: one for one in search.run(budget=self.size.charged)}
                    picked = max(last.values(), key=lambda one: one.valid)
                    true.append(_fitness(losses, parse(picked.candidate)))
                self.found[f"noise_{deviation:g}.{remedy}.true"] = Sample.of(true)


def dead(space: Space[Any], text: str) -> bool:
    """Whether the outputs of a formula or a program are constant on the probe, or not finite: it learns nothing.

    Args:
        space: of losses, whose outputs are slopes, or of programs, whose outputs are targets less predictions.
        text: of the candidate.
    """
    outputs = np.array(space.probe(_read(space, text), PROBE_SEED))
    if not np.isfinite(outputs).all():
        return True
    if isinstance(space, ProgramSpace):
        outputs = space.probe_targets(PROBE_SEED) - outputs
    return bool(np.ptp(outputs) < EQUAL)


def _read(space: Space[Any], text: str) -> Any:  # noqa: ANN401 - a candidate of any space
    """The candidate that was written in a trial."""
    if isinstance(space, CellSpace):
        return Cell.decode(text)
    return parse(text) if isinstance(space, LossSpace) else parse_program(text)


def drawn(space: Space[Any], count: int, seed: int) -> list[Any]:
    """The first candidates that random search draws."""
    proposer = Proposer(space, "random", seed=seed)
    return [proposer.propose() for _ in range(count)]


def _means(outputs: Sequence[float]) -> list[float]:
    """Two figures of a probe, as the official key of NASBench-101 hashes accuracies: of each half, the mean."""
    half = (len(outputs) + 1) // 2
    return [float(np.mean(part)) for part in (outputs[:half], outputs[half:]) if len(part)]


def _fitness(space: KeptSpace[Any], candidate: Any) -> float:  # noqa: ANN401 - of any space
    """Fitness without noise; the worst where weights are not finite."""
    try:
        return space.true(candidate).valid
    except ModelError:
        return space.worst


def _turned(cell: Any, seed: int) -> Any:  # noqa: ANN401 - a cell
    """The same cell with its vertices in another order, where one keeps every edge upward."""
    size = len(cell.matrix)
    rng = np.random.default_rng(derive_seed(seed, "order", cell.encode()))
    for _ in range(200):
        order = [0, *(rng.permutation(size - 2) + 1).tolist(), size - 1]
        place = {vertex: position for position, vertex in enumerate(order)}
        edges = [(one, two) for one in range(size) for two in range(size) if cell.matrix[one][two]]
        if order != sorted(order) and all(place[one] < place[two] for one, two in edges):
            return cell.permuted(order)
    return cell


def _repeated(texts: Sequence[str]) -> list[bool]:
    """Whether each text came before."""
    return [text in texts[:place] for place, text in enumerate(texts)]


def _shared(keys: Sequence[int], values: Sequence[object]) -> Sample:
    """Of each candidate: whether the first one with its key has another value."""
    first: dict[int, object] = {}
    return Sample.of([first.setdefault(key, value) != value for key, value in zip(keys, values, strict=True)])
