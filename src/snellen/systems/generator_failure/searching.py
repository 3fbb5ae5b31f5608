"""Find failures of a text-to-image model: the call, its record, and cases drawn again from their latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, get_args

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress, Silent
from snellen.core.run import Run, write_atomically
from snellen.core.run_plan import describe_machine
from snellen.methods.generation.made_images import identities_of, weights_of
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.learned_tokens import knowing
from snellen.models.diffusion.loading import load_generator
from snellen.models.dual_encoders.towers import TwoTower
from snellen.runs.runner import Call, Running, carried_out
from snellen.runs.unfinished import check_free
from snellen.systems.generator_failure.discriminator import Discriminator, Judge, independent_judge
from snellen.systems.generator_failure.drawing import Drawing
from snellen.systems.generator_failure.language_prior import LanguagePrior, perplexity, words_of
from snellen.systems.generator_failure.page import render
from snellen.systems.generator_failure.prompt_search import PromptSearcher
from snellen.systems.generator_failure.record import (
    PAGE,
    RECORD,
    WHAT,
    GeneratorFailures,
    SearchRow,
    Space,
    ranked,
    reasons,
    space_figures,
)
from snellen.systems.generator_failure.space_searches import TASK, Searching, SearchNumbers, digest
from snellen.systems.generator_failure.token_search import TOKEN


def find_failures(
    generator: str | Generator,
    classifiers: Sequence[Classifier],
    classes: Sequence[str],
    *,
    out: Path | str,
    spaces: Sequence[Space] = ("prompts",),
    templates: Sequence[str] = ("a photo of a {}",),
    prior: LanguagePrior | None = None,
    synonyms: Mapping[str, Sequence[str]] | None = None,
    judge: Classifier | Judge | None = None,
    towers: TwoTower | None = None,
    robust: Sequence[str] = (),
    threshold: float | Sequence[float] = 0.1,
    quorum: int | None = None,
    numbers: SearchNumbers | None = None,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> GeneratorFailures:
    """Search a text-to-image model for likely inputs on which it draws the wrong content.

    ``out`` gets ``generator-failures.html``, ``cases/`` with the latents and a picture of every case, and the record
    ``generator-failures.json``, last. A call that was interrupted resumes with the class in which it stopped.

    Args:
        generator: by reference, ``diffusers:FOLDER`` or ``bundled:NAME``, or itself; it takes prompts.
        classifiers: that decide together whether a class is missing.
        classes: names of classes, as prompts spell them and all classifiers know them.
        out: a new or empty folder, or one in which the same call was interrupted.
        spaces: ``prompts``, ``latents``, ``token``.
        templates: first prompts, with ``{}`` for the class.
        prior: proposes words of prompts; needed for the space ``prompts``.
        synonyms: for each class, further words that name other classes.
        judge: another classifier, or images (n, 3, h, w) and a class → whether each shows it, bool (n,).
        towers: text–image model, for the change of similarity by a token.
        robust: names of classifiers that were trained against adversarial images.
        threshold: probability below which a classifier misses the class.
        quorum: so many classifiers must miss it; None: all.
        numbers: how much, and how.
        device: where the generator runs.
        seed: of everything random.
        progress: callback that receives progress updates.
        running: see :class:`~snellen.runs.runner.Running`; neither a budget nor a part.

    Raises:
        InputError: a class that a classifier does not know, a prior that proposes nothing, a prompt that is too long, a
            generator that takes no prompts or is not deterministic, or a judge that took part.
        UnwritableError, RunConflictError: see :func:`snellen.synthesize`.
    """
    folder, listener = Path(out), progress or Silent()
    check_free(folder, RECORD, WHAT)
    if running.get("budget") is not None or running.get("part") is not None:
        raise InputError(
            "a search for failures takes neither a budget nor a part: --calls and --searches decide its size"
        )
    wanted = tuple(dict.fromkeys(spaces))
    unknown = [one for one in wanted if one not in get_args(Space)]
    if unknown or not wanted:
        raise InputError(f"spaces are {', '.join(get_args(Space))}; got {', '.join(unknown) or 'none'}")
    if not templates or any("{}" not in one for one in templates):
        raise InputError(f"each template has {{}} for the class; got {', '.join(map(repr, templates)) or 'none'}")
    if "prompts" in wanted and prior is None:
        raise InputError(
            "the space prompts needs a language prior; name one with --prior (captions, file:, hf:, http:)"
        )
    if "token" in wanted and (len(classes) - 1) * len(templates) < 2:
        raise InputError("a token is searched with prompts of other classes and measured on others: name three classes")
    amounts = numbers or SearchNumbers()
    if "token" in wanted:
        others = (len(classes) - 1) * len(templates)
        amounts.token.check_calls(min(others // 2, amounts.token.held_out))
    discriminator = Discriminator(classifiers, classes, threshold=threshold, quorum=quorum, robust=robust)
    own = load_generator(generator, device=device) if isinstance(generator, str) else generator
    drawing = Drawing(own, steps=amounts.steps, guidance_scale=amounts.guidance_scale, together=amounts.together)
    prompts = [one.replace("{}", label) for one in templates for label in classes]
    drawing.condition(prompts)  # one that is too long is refused before anything is drawn
    judged = independent_judge(judge, discriminator) if isinstance(judge, Classifier) else judge
    banned = synonyms or {}
    if "prompts" in wanted and prior is not None:
        for label in classes:  # a prompt that the prior cannot read is refused before anything is drawn
            for one in templates:
                PromptSearcher(
                    drawing, discriminator, prior, label, one, amounts.prompts, frozenset(banned.get(label, ()))
                )
    items: list[tuple[Space, str]] = [(space, label) for space in wanted for label in classes]
    work = Searching(drawing, discriminator, judged, prior, towers, items, tuple(templates), banned, amounts, seed)

    def plan() -> dict[str, Any]:
        drawing.check_deterministic(prompts[0])
        return {
            "kind": WHAT,
            "generator": own.name,
            "weights": identities_of(own),
            "discriminator": discriminator.describe(),
            "judge": None if judge is None else _judge_name(judge),
            "prior": None if prior is None else prior.name,
            "towers": None if towers is None else [towers.name, towers.identity()],
            "classes": list(classes),
            "spaces": list(wanted),
            "templates": list(templates),
            "synonyms": {name: sorted(words) for name, words in banned.items()},
            "numbers": amounts.model_dump(mode="json"),
            "seed": seed,
            **describe_machine(classifiers[0]),
        }

    def call(_: int) -> Call[GeneratorFailures]:
        return Call(
            what=WHAT,
            result=GeneratorFailures,
            plan=plan,
            work=lambda _: work,
            shards=[range(item, item + 1) for item in range(len(items))],
            task=TASK,
            conclude=lambda run, where: _conclude(run, where, work, discriminator.notes, judged is not None),
            images=None,
            seen=lambda _: range(0),
            fits=True,
            forecast=work.seconds,
            costs=lambda: (f"{work.most_calls():,} generator calls at most, half of them for random search",),
            rejected=lambda _: (),
            name=own.name,
        )

    with carried_out(call, len(items), folder, listener, running) as carried:
        carried.measure()
    return carried.result


def _conclude(run: Run, folder: Path, work: Searching, notes: Sequence[str], judged: bool) -> GeneratorFailures:
    """Figures of all spaces, ranked cases, and the page."""
    rows = [
        SearchRow.model_validate(one) for item in range(len(work.items)) for one in run.shard_extra(item)["searches"]
    ]
    found = [*notes]
    if not judged:
        found.append(
            "no judge: cases are confirmed by the classifiers that guided the search alone (--judge, --review)"
        )
    found += reasons(rows)
    if work.prior is not None and any(space == "prompts" for space, _ in work.items):
        prompt = words_of(work.templates[0].replace("{}", work.items[0][1]))
        if perplexity(work.prior, prompt) is None:
            found.append(
                f"naturalness was not limited: {work.prior.name} gives no probabilities, so prompts have no perplexity"
            )
    spaces = tuple(dict.fromkeys(space for space, _ in work.items))
    cases = ranked(rows)
    made = GeneratorFailures(
        plan=dict(run.plan),
        files=(PAGE, *(file for one in cases for file in one.files)),
        folder=folder,
        spaces={space: space_figures(rows, space) for space in spaces},
        cases=cases,
        searches=tuple(rows),
        notes=tuple(found),
    )
    write_atomically(folder / PAGE, render(made, folder).encode())
    return made


def reproduce(made: GeneratorFailures, name: str, generator: str | Generator, *, folder: Path | None = None) -> Tensor:
    """Draw the images of a case again from its stored latents: (n, 3, H, W), the same bit for bit on the same machine.

    Args:
        made: the record.
        name: of the case.
        generator: by reference, or itself.
        folder: of the record, where it does not know it.

    Raises:
        InputError: no such case, or files that cannot be read.
        ModelError: other images, on another machine or of another model.
    """
    case = next((one for one in made.cases if one.name == name), None)
    where = folder or made.folder
    if case is None or where is None:
        raise InputError(
            f"there is no case {name!r}; the record has {', '.join(one.name for one in made.cases) or 'none'}"
        )
    own = load_generator(generator) if isinstance(generator, str) else generator
    numbers = SearchNumbers.model_validate(made.plan["numbers"])
    drawing = Drawing(own, steps=numbers.steps, guidance_scale=numbers.guidance_scale, together=numbers.together)
    try:
        held = load_file(where / case.files[0])
    except (OSError, SafetensorError) as error:
        raise InputError(f"{where / case.files[0]} cannot be read as latents (safetensors): {error}") from error
    latents = held["latents"].to(own.device)
    if "token" in held:
        with knowing(own, {TOKEN: held["token"]}):
            images = drawing.draw(latents, drawing.condition(case.prompts))
    else:
        images = drawing.draw(latents, drawing.condition(case.prompts))
    if digest(images) != case.digest:
        raise ModelError(
            f"{name}: {own.name} draws other images here than in the search: another machine, or other weights"
        )
    return images


def _judge_name(judge: Classifier | Judge) -> object:
    if isinstance(judge, Classifier):
        return [judge.name, weights_of(judge)]
    return getattr(judge, "__qualname__", type(judge).__name__)
