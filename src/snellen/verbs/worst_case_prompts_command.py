"""``snellen forget worst-case-prompts``: what a user may ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from snellen.core.command import Argument, Option
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.core.progress import Progress
    from snellen.runs.record import RunResult
    from snellen.runs.runner import Running


def prompts(
    methods: list[Method],
    *,
    model: Annotated[str, Argument("The text-to-image model, by reference: diffusers:FOLDER, bundled:NAME.")],
    table: Annotated[str, Argument("FILE.csv or FILE.json with prompt and concept, or FILE.txt with a prompt a line.")],
    judge: Annotated[
        str | None, Option("Classifier whose classes are the concepts; it judges pictures.", default="none")
    ] = None,
    count: Annotated[
        int | None, Option("Prompts of a forget set (m).", minimum=1, default="a tenth of the prompts")
    ] = None,
    preset: Annotated[
        Literal["scale-free", "published"], Option("Numbers of search and erasing: ours, or the published ones.")
    ] = "scale-free",
    loss: Annotated[
        Literal["erasing", "denoising"] | None,
        Option("What shows that a prompt is still drawn.", default="of the preset"),
    ] = None,
    upper_steps: Annotated[
        int | None, Option("Steps of the selection (T).", minimum=1, default="of the preset")
    ] = None,
    lower_steps: Annotated[
        int | None, Option("Steps of the sign at each of them.", minimum=1, default="of the preset")
    ] = None,
    lower_rate: Annotated[str | None, Option("What a weight moves in such a step.", default="of the preset")] = None,
    step: Annotated[str | None, Option("Of the selection (η_w).", default="of the preset")] = None,
    reverse: Annotated[bool, Option("Search the prompts that are easiest to erase.")] = False,
    erase_steps: Annotated[
        int | None, Option("Steps of Adam of each set that is judged.", minimum=1, default="of the preset")
    ] = None,
    erase_rate: Annotated[str | None, Option("Learning rate of these.", default="of the preset")] = None,
    retrain_steps: Annotated[
        int, Option("Steps of a denoiser that is trained on the other prompts alone; 0: none.", minimum=0)
    ] = 0,
    random_sets: Annotated[int, Option("Random sets of as many prompts beside it.", minimum=1)] = 3,
    drawn: Annotated[
        int, Option("Pictures of each prompt to search and erase with, and as many to judge with.", minimum=1)
    ] = 4,
    images: Annotated[int, Option("Pictures of each prompt that the judge sees.", minimum=1)] = 4,
    allow_remote: list[str] | None = None,
    out: Path,
    device: str,
    seed: int,
    pseudonyms: Path | None,
    running: Running,
    progress: Progress | None = None,
) -> RunResult:
    """Find the prompts that are hardest to erase from a text-to-image model, and judge an erasing (Fan et al. 2024)."""
    if pseudonyms is not None:
        raise InputError("a forget set of prompts names no images and takes no pseudonyms; leave out --pseudonyms")
    from snellen.methods.forgetting.prompt_erasing import Redrawing
    from snellen.methods.forgetting.prompt_search import PUBLISHED, PromptSearch
    from snellen.methods.generation.sample import Sample
    from snellen.models.classifiers.references import load_classifier
    from snellen.runs.unfinished import check_free
    from snellen.verbs.forgotten_prompts import RECORD, WHAT
    from snellen.verbs.worst_case_prompts import JUDGING, PUBLISHED_JUDGING, worst_case_prompts

    if len(methods) != 1 or not isinstance(methods[0], Sample):
        raise InputError(f"one setting of the sampler draws all pictures, and {len(methods)} were given; name one")
    check_free(out, RECORD, WHAT)
    search, erasing = (PUBLISHED, PUBLISHED_JUDGING) if preset == "published" else (PromptSearch(), JUDGING)
    lower = {"steps": lower_steps, "rate": _number(lower_rate, "--lower-rate")}
    judged = {"steps": erase_steps, "rate": _number(erase_rate, "--erase-rate")}
    upper = {"upper_steps": upper_steps, "step": _number(step, "--step"), "loss": loss, "reverse": reverse}
    search = search.model_copy(update={**_given(upper), "lower": search.lower.model_copy(update=_given(lower))})
    hosts = tuple(allow_remote or ())
    return worst_case_prompts(
        model,
        table,
        judge=None if judge is None else load_classifier(judge, device=device, allow_remote=hosts),
        count=count,
        search=search,
        erasing=erasing.model_copy(update=_given(judged)),
        retraining=Redrawing(steps=retrain_steps) if retrain_steps else None,
        random_sets=random_sets,
        drawn=drawn,
        images=images,
        steps=methods[0].steps,
        guidance_scale=methods[0].guidance_scale,
        out=out,
        device=device,
        seed=seed,
        progress=progress,
        **running,
    )


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _number(text: str | None, flag: str) -> float | None:
    """A positive number from text; None where nothing was given.

    Raises:
        InputError: it is none.
    """
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"{flag} {text!r}: expected a number above 0, such as 1e-3")
    return value
