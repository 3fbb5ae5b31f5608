"""The prompts that are hardest to erase from a text-to-image model, judged beside random ones (Fan et al. 2024).

Every set is erased by the same numbers. Losses and pictures that judge are drawn anew: neither the search nor the
erasing has seen them. Each set is a shard, so that a stopped call loses one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, unknown_name
from snellen.core.progress import Progress, Silent
from snellen.core.run import Run, write_atomically
from snellen.core.run_plan import describe_machine, describe_model
from snellen.methods.forgetting.prompt_erasing import Erasing, Redrawing
from snellen.methods.forgetting.prompt_search import MOVED, PromptSearch
from snellen.metrics.clustered import clustered_share
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.generator_adapters import model_hashes
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.runs.record import Figure
from snellen.runs.runner import Call, Running, carried_out
from snellen.verbs.forgotten_prompts import (
    AS_IT_WAS,
    ERASED,
    PAGE,
    PROMPTS,
    RETRAINED,
    WEIGHTS,
    WHAT,
    ChosenPrompt,
    ForgottenPrompts,
    PromptRow,
    render,
)
from snellen.verbs.prompt_costs import PromptCosts, forecast
from snellen.verbs.prompt_networks import TASK, Networks, Study
from snellen.verbs.prompt_table import given_prompts

#: Erasing that leaves more of the loss than this hardly erased; a judge that sees fewer concepts says little.
HARDLY_ERASED, HARDLY_SEEN = 0.9, 0.5

#: A retraining whose loss on the remaining prompts is higher by this factor did not learn them.
HARDLY_LEARNED = 1.5

#: Numbers of the erasing that judges: Adam, as published, at a rate for small networks.
JUDGING = Erasing(steps=100, rate=1e-3, optimizer="adam")

#: The published rate, for Stable Diffusion.
PUBLISHED_JUDGING = Erasing(steps=1000, rate=3e-7, optimizer="adam", batch_size=4)


def worst_case_prompts(
    generator: str | Path | Generator,
    prompts: str | Path | Sequence[str | Mapping[str, str]],
    *,
    judge: str | Classifier | None = None,
    count: int | None = None,
    search: PromptSearch | None = None,
    erasing: Erasing | None = None,
    retraining: Redrawing | None = None,
    random_sets: int = 3,
    drawn: int = 4,
    images: int = 4,
    steps: int = 25,
    guidance_scale: float = 3.0,
    out: Path | str | None = None,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> ForgottenPrompts:
    """Find the prompts that are hardest to erase, and judge an erasing of them beside random sets.

    ``out`` gets ``forget-prompts.csv``, the prompts of the set; ``selection.safetensors``, the weight of each prompt
    before and after each step; ``forget-prompts.html``; and ``forget-prompts.json``, last.

    Args:
        generator: a text-to-image model; see :func:`snellen.load_generator`.
        prompts: ``FILE.csv`` with the columns ``prompt`` and ``concept``, ``FILE.txt``, or a list.
        judge: classifier whose classes are the concepts; None: pictures are not judged.
        count: prompts of a forget set (m); None: a tenth of them, and at least one.
        search: numbers of the search.
        erasing: numbers of the erasing of each set that is judged.
        retraining: also train a denoiser from initial weights on pictures of the other prompts.
        random_sets: random sets of as many prompts.
        drawn: pictures of each prompt that the search and the erasing use, and as many that judge.
        images: pictures of each prompt that the judge sees.
        steps: of the sampler.
        guidance_scale: of all pictures.
        out: a new or empty folder, or one in which the same call was interrupted; None: nothing is kept.
        device: where it runs.
        seed: of everything random.
        progress: callback that receives progress updates.
        running: allow_rejected, threads; neither a budget nor a part.

    Raises:
        InputError: a generator that takes no prompts, prompts that cannot be used, a count out of range, or a concept
            that the judge does not know.
        ModelError: an erasing diverges; a lower rate may help.
    """
    loaded = generator if isinstance(generator, Generator) else load_generator(generator, device=device)
    seeing = load_classifier(judge, device=device) if isinstance(judge, str) else judge
    table = given_prompts(prompts)
    study = Study(
        generator=loaded,
        table=table,
        judge=seeing,
        count=max(len(table) // 10, 1) if count is None else count,
        search=search or PromptSearch(),
        erasing=erasing or JUDGING,
        retraining=retraining,
        random_sets=random_sets,
        drawn=drawn,
        images=images,
        sampler=Sampler(loaded, steps),
        guidance_scale=guidance_scale,
        seed=seed,
    )
    _check(study)
    if running.get("budget") is not None or running.get("part") is not None:
        raise InputError("a search takes neither a budget nor a part: later sets need what earlier steps found")

    def call(_: int) -> Call[ForgottenPrompts]:
        return Call(
            what=WHAT,
            result=ForgottenPrompts,
            plan=lambda: _plan(study),
            work=lambda run: Networks(study, run),
            shards=[range(item, item + 1) for item in range(2 + len(study.sets))],
            task=TASK,
            conclude=lambda run, folder: _concluded(study, run, folder),
            classifiers=() if seeing is None else (seeing,),
            forecast=lambda: forecast(study),
            costs=lambda: (str(PromptCosts.of(study)),),
            rejected=lambda _: (),
            name=table.name,
        )

    with carried_out(call, 2 + len(study.sets), out, progress or Silent(), running) as carried:
        carried.measure()
    return carried.result


def _check(study: Study) -> None:
    """Refuse what cannot be used before anything is drawn."""
    total = len(study.table)
    if not 0 < study.count < total:
        raise InputError(f"a forget set holds at least 1 and at most {total - 1} of {total} prompts; got {study.count}")
    for what, value, least in (
        ("random sets", study.random_sets, 1),
        ("drawn pictures of each prompt", study.drawn, 1),
        ("judged pictures of each prompt", study.images, 1),
    ):
        if value < least:
            raise InputError(f"{what} are counted from {least}; got {value}")
    _ = study.prompted
    if study.judge is None:
        return
    if study.judge.task != "single":
        raise InputError(
            f"the judge decides for one class of an image; {study.judge.name} is of the task {study.judge.task}"
        )
    concepts = [one for one in study.table.concepts if one is not None]
    if not concepts:
        raise InputError(f"{study.table.name} names no concept, so there is nothing to judge: add a column concept")
    if unknown := [one for one in concepts if one not in study.judge.class_names]:
        raise unknown_name(f"class of {study.judge.name}", unknown[0], study.judge.class_names)


def _plan(study: Study) -> dict[str, Any]:
    return {
        "kind": "forget set of prompts",
        "model": {"name": study.generator.name, "weights": model_hashes(study.generator)},
        "judge": None if study.judge is None else describe_model(study.judge),
        "prompts": [list(one) for one in zip(study.table.prompts, study.table.concepts, strict=True)],
        "count": study.count,
        "search": study.search.model_dump(mode="json"),
        "erasing": study.erasing.model_dump(mode="json"),
        "retraining": None if study.retraining is None else study.retraining.model_dump(mode="json"),
        "random_sets": study.random_sets,
        "drawn": study.drawn,
        "images": study.images,
        "steps": study.sampler.steps,
        "guidance_scale": study.guidance_scale,
        "seed": study.seed,
        **describe_machine(study.judge),
        "device": study.generator.device.type,
    }


def _concluded(study: Study, run: Run, folder: Path) -> ForgottenPrompts:
    """Rows of all generators, the chosen prompts, what to doubt, and the page."""
    held = run.shard_extra(1)
    rows, per_prompt = list[PromptRow](), dict[str, NDArray[np.float64]]()
    for number, name in enumerate(study.sets):
        shard = run.shard_extra(2 + number)
        own = np.isin(np.arange(len(study.table)), shard["rows"])
        before = np.array(shard["networks"][AS_IT_WAS]["erasing"])[own].mean()
        for network, found in shard["networks"].items():
            erasing, denoising = np.array(found["erasing"]), np.array(found["denoising"])
            if number == 0:
                per_prompt[network] = erasing
            rows.append(
                PromptRow(
                    forget_set=name,
                    network=network,
                    erasing=float(erasing[own].mean()),
                    left=float(erasing[own].mean() / before) if before > 0 else None,
                    denoising=float(denoising[own].mean()),
                    others_denoising=float(denoising[~own].mean()),
                    recognised=_share(found["seen"]),
                    others_recognised=_share(found["others_seen"]),
                )
            )
    chosen = tuple(
        ChosenPrompt(
            prompt=study.table.prompts[row],
            concept=study.table.concepts[row],
            before=float(per_prompt[AS_IT_WAS][row]),
            after=float(per_prompt[ERASED][row]),
        )
        for row in held["chosen"]
    )
    result = ForgottenPrompts(
        plan=dict(run.plan),
        files=(PROMPTS, WEIGHTS, PAGE),
        folder=folder,
        chosen=chosen,
        moved=held["moved"],
        losses=tuple(held["losses"]),
        rows=tuple(rows),
        notes=tuple(_doubts(rows, held["moved"])),
    )
    write_atomically(folder / PAGE, render(result).encode())
    return result


def _share(seen: list[list[bool]] | None) -> Figure | None:
    """Share of pictures with an interval over prompts; None where nothing was judged."""
    if not seen:
        return None
    right = np.array(seen)
    low, high = clustered_share(right.ravel(), np.repeat(np.arange(len(right)), right.shape[1]))
    return Figure(value=float(right.mean()), low=low, high=high, n=right.size)


def _doubts(rows: Sequence[PromptRow], moved: float) -> list[str]:
    """What a reader should not believe, in words."""
    found = []
    if moved < MOVED:
        found.append(
            f"The search hardly moved: {moved:.1%} of the weight, less than {MOVED:.0%}; raise --step, or leave out "
            f"the published preset."
        )
    for row in rows:
        if row.network == AS_IT_WAS and row.left is None:
            found.append(
                f"The generator draws the set {row.forget_set} as it draws without a prompt: there is nothing to erase."
            )
        if row.network == ERASED and row.left is not None and row.left > HARDLY_ERASED:
            found.append(
                f"Erasing left {row.left:.0%} of the erasing loss of the set {row.forget_set}: hardly anything was "
                f"erased; raise --erase-steps or --erase-rate."
            )
        seen = row.recognised
        if row.network == AS_IT_WAS and seen is not None and seen.value is not None and seen.value < HARDLY_SEEN:
            found.append(
                f"The judge sees the concept in {seen.value:.0%} of the pictures of the set {row.forget_set} before "
                f"anything is erased; what it sees after says little."
            )
        as_it_was = next(one for one in rows if (one.forget_set, one.network) == (row.forget_set, AS_IT_WAS))
        if row.network == RETRAINED and row.others_denoising > HARDLY_LEARNED * as_it_was.others_denoising:
            found.append(
                f"Retraining without the set {row.forget_set} did not learn the other prompts. Their denoising loss is "
                f"{row.others_denoising:.3f}, and {as_it_was.others_denoising:.3f} of the generator as it was. Raise "
                f"--retrain-steps and --drawn."
            )
    return found
