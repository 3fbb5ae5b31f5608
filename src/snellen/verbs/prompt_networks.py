"""What judges sets of prompts: drawing, searching, erasing, and the losses and recognised concepts of each set.

Losses and pictures that judge are drawn anew: neither the search nor the erasing has seen them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.run import Run
from snellen.methods.forgetting.prompt_erasing import (
    TOGETHER,
    Erasing,
    Probe,
    Prompted,
    PromptLosses,
    Redrawing,
    draw,
    erased,
    retrained,
)
from snellen.methods.forgetting.prompt_search import PromptSearch, hardness, largest, search_prompts
from snellen.methods.generation.teachers import as_prepared
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.sampler import Sampler
from snellen.runs.measuring import Put
from snellen.runs.shard import Shard
from snellen.verbs.forgotten_prompts import AS_IT_WAS, ERASED, PROMPTS, RETRAINED, WEIGHTS
from snellen.verbs.prompt_table import PromptTable

#: What progress calls it.
TASK = "judging sets of prompts"

#: Names of the searched set, and of the prompts that the same loss ranks first without any search.
WORST, EASIEST, UNSEARCHED = "worst-case", "easiest", "without search"

#: Drawn latents, in the folder of the run.
DRAWN = "drawn.safetensors"


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that is decided before anything is drawn.

    Attributes:
        generator: as it is. table: prompts with concepts. judge: sees concepts in pictures; None: there is none.
        count: m prompts. search: numbers. erasing: of every set that is judged. retraining: None: it is not run.
        random_sets: beside the searched one. drawn: pictures of each prompt that are searched with, and as many that
            judge. images: pictures of each prompt that the judge sees. sampler: of all pictures.
        guidance_scale: of these. seed: of everything random.
    """

    generator: Generator
    table: PromptTable
    judge: Classifier | None
    count: int
    search: PromptSearch
    erasing: Erasing
    retraining: Redrawing | None
    random_sets: int
    drawn: int
    images: int
    sampler: Sampler
    guidance_scale: float
    seed: int

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets that are judged, the searched one first."""
        searched = EASIEST if self.search.reverse else WORST
        return (searched, UNSEARCHED, *(f"random {number}" for number in range(1, self.random_sets + 1)))

    @cached_property
    def prompted(self) -> Prompted:
        """The prompts, encoded."""
        return Prompted.of(self.generator, self.table.prompts)

    def rng(self, *names: str | int) -> Randomness:
        """Randomness of one purpose."""
        return Randomness(self.seed).child("prompts", *names)


@dataclass(frozen=True, eq=False)
class Networks:
    """What measures: item 0 draws, item 1 searches, every other one judges a set. Later items read earlier ones."""

    study: Study
    run: Run

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Draw, search, or judge a set; see :class:`~snellen.runs.measuring.Work`."""
        (item,) = items
        if item == 0:
            shard = self.drew(progress)
        elif item == 1:
            shard = self.searched(put, progress)
        else:
            shard = self.judged(self.study.sets[item - 2], progress)
        progress.advance(TASK, 1)
        return shard

    def drew(self, progress: Progress) -> Shard:
        """Draw pictures of each prompt: some to search and erase with, as many to judge with."""
        study = self.study
        made = {
            name: draw(
                study.prompted, study.drawn, study.sampler, study.guidance_scale, study.rng("draw", name), progress
            ).contiguous()
            for name in ("search", "judge")
        }
        save_file(made, self.run.folder / DRAWN)
        return Shard()

    @cached_property
    def drawn(self) -> Mapping[str, Tensor]:
        """Drawn latents by purpose, (n, l, c, h, w)."""
        return load_file(self.run.folder / DRAWN)

    @cached_property
    def probe(self) -> Probe:
        """Noisy pictures that judge."""
        study = self.study
        return Probe.of(study.prompted, self.drawn["judge"], study.erasing.negative_guidance, study.rng("judge"))

    @cached_property
    def before(self) -> PromptLosses:
        """Losses of the generator as it was."""
        return self.probe.losses(self.study.generator.denoiser.network)

    def searched(self, put: Put, progress: Progress) -> Shard:
        """Search, and write the set and the weights of all steps."""
        study = self.study
        found = search_prompts(
            study.prompted,
            self.drawn["search"],
            study.count,
            search=study.search,
            rng=study.rng("search"),
            progress=progress,
        )
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("prompt", "concept"))
        writer.writerows((study.table.prompts[row], study.table.concepts[row] or "") for row in found.chosen.tolist())
        put(PROMPTS, text.getvalue().encode())
        put(WEIGHTS, save({"weights": torch.from_numpy(found.weights)}))
        # What the loss ranks first without a search: on the drawn pictures of the search, as the search sees them.
        plain = Probe.of(
            study.prompted, self.drawn["search"], study.search.lower.negative_guidance, study.rng("search", "probe")
        ).losses(study.generator.denoiser.network)
        first = largest(hardness(plain, study.search), study.count)
        figures = {"moved": found.moved, "losses": list(found.losses)}
        return Shard(extra={"chosen": found.chosen.tolist(), "unsearched": first.tolist(), **figures})

    def rows_of(self, name: str) -> list[int]:
        """Prompts of a set, ascending."""
        held = self.run.shard_extra(1)
        if name in (WORST, EASIEST, UNSEARCHED):
            found: list[int] = held["unsearched" if name == UNSEARCHED else "chosen"]
            return found
        drawn = torch.randperm(len(self.study.table), generator=self.study.rng(name).generator("set"))
        return sorted(drawn[: self.study.count].tolist())

    def judged(self, name: str, progress: Progress) -> Shard:
        """Erase a set, and judge the generator before and after, and the retrained one."""
        study, rows = self.study, self.rows_of(name)
        weights = np.isin(np.arange(len(study.table)), rows).astype(np.float64)
        others = [row for row in range(len(study.table)) if row not in rows]
        order = torch.randperm(len(others), generator=study.rng(name).generator("others")).tolist()
        shown = sorted(others[place] for place in order[: study.count])
        pool, networks = self.drawn["search"], dict[str, nn.Module]()
        networks[AS_IT_WAS] = study.generator.denoiser.network
        networks[ERASED] = erased(study.prompted, pool, weights, study.erasing, study.rng("erase"), progress)
        if study.retraining is not None:
            networks[RETRAINED] = retrained(
                study.prompted, pool, rows, study.retraining, study.rng("retrain"), progress
            )
        found = {}
        for network, made in networks.items():
            losses = self.before if network == AS_IT_WAS else self.probe.losses(made)
            generator = study.generator.with_denoiser(made)
            found[network] = {
                "erasing": losses.erasing.tolist(),
                "denoising": losses.denoising.tolist(),
                "seen": self.seen(generator, rows),
                "others_seen": self.seen(generator, shown),
            }
        return Shard(extra={"rows": rows, "networks": found})

    def seen(self, generator: Generator, rows: Sequence[int]) -> list[list[bool]] | None:
        """Whether the judge sees the concept in each picture of each prompt that names one; None without a judge."""
        study, judge = self.study, self.study.judge
        named = [(row, concept) for row in rows if (concept := study.table.concepts[row]) is not None]
        if judge is None:
            return None
        if not named:
            return []
        each = study.images
        prompts = [study.table.prompts[row] for row, _ in named for _ in range(each)]
        seeds = [
            seed
            for row, _ in named
            for seed in torch.randint(2**31, (each,), generator=study.rng("pictures", row).generator("seeds")).tolist()
        ]
        sampler = Sampler(generator, study.sampler.steps)
        made = generate(
            sampler, seeds, prompts=prompts, guidance_scale=study.guidance_scale, batch_size=TOGETHER
        ).images
        with torch.no_grad():
            parts = [judge(as_prepared(judge, part)).argmax(1).cpu() for part in made.split(64)]
        wanted = torch.tensor([judge.class_names.index(concept) for _, concept in named for _ in range(each)])
        right: list[list[bool]] = (torch.cat(parts) == wanted).view(-1, each).tolist()
        return right
