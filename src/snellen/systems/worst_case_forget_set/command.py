"""``snellen forget worst-case-forget-set``: what a user may ask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from snellen.core.command import Argument, Option
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.core.progress import Progress
    from snellen.runs.record import RunResult
    from snellen.runs.runner import Running


def worst_case_forget_set(
    methods: list[Method],
    *,
    model: Annotated[str, Argument("The trained classifier, by reference.")],
    data: Annotated[str, Argument("Its training images, by reference, labelled.")],
    test: Annotated[
        str | None, Option("Labelled images that nothing was trained on.", default="the split test of DATA")
    ] = None,
    method: Annotated[
        list[str] | None,
        Option("Unlearning method that is judged, repeatable: fine-tuning, scrub …", metavar="NAME", default="none"),
    ] = None,
    count: Annotated[
        int | None, Option("Images, or classes, of a forget set (m).", minimum=1, default="a tenth of the images")
    ] = None,
    level: Annotated[Literal["image", "class"], Option("What is selected.")] = "image",
    preset: Annotated[
        Literal["scale-free", "published"], Option("Numbers of the search: ours, or those of the published code.")
    ] = "scale-free",
    upper_steps: Annotated[
        int | None, Option("Steps of the selection (T).", minimum=1, default="of the preset")
    ] = None,
    lower_epochs: Annotated[
        int | None, Option("Passes of the network at each of them (K).", minimum=1, default="of the preset")
    ] = None,
    lower_rate: Annotated[
        str | None, Option("What a weight moves in a step of the sign.", default="of the preset")
    ] = None,
    step: Annotated[str | None, Option("Of the selection (η_w).", default="of the preset")] = None,
    reverse: Annotated[bool, Option("Search the set that is easiest to unlearn.")] = False,
    random_sets: Annotated[int, Option("Random forget sets of equal size beside it.", minimum=1)] = 3,
    out: Path,
    device: str,
    seed: int,
    pseudonyms: Path | None,
    running: Running,
    progress: Progress | None = None,
) -> RunResult:
    """Find the training images that are hardest to unlearn, and judge unlearning methods on them (Fan et al. 2024)."""
    if pseudonyms is not None:
        raise InputError("a forget set names images by their ids and takes no pseudonyms; leave out --pseudonyms")
    from snellen.data.references import load_images
    from snellen.methods.forgetting.judging import ForgettingCase
    from snellen.methods.forgetting.retraining import Retraining, as_trained
    from snellen.models.classifiers.references import load_classifier
    from snellen.runs.settings import named_settings
    from snellen.runs.unfinished import check_free
    from snellen.systems.worst_case_forget_set.record import RECORD, WHAT
    from snellen.systems.worst_case_forget_set.search import PUBLISHED, ForgetSearch
    from snellen.systems.worst_case_forget_set.studying import Study, study_forget_set

    check_free(out, RECORD, WHAT)
    if len(methods) != 1 or not isinstance(methods[0], Retraining):
        raise InputError(f"one retraining is what all methods are compared with, and {len(methods)} were given")
    given: dict[str, object] = {
        "upper_steps": upper_steps,
        "epochs": lower_epochs,
        "rate": None if lower_rate is None else _number(lower_rate, "--lower-rate"),
        "step": None if step is None else _number(step, "--step"),
        "reverse": reverse,
    }
    base = PUBLISHED if preset == "published" else ForgetSearch()
    search = base.model_copy(update={name: value for name, value in given.items() if value is not None})
    settings = named_settings(list(method), "forgetting") if method else []
    if any(isinstance(one.method, Retraining) for one in settings):
        raise InputError("retraining is judged in any case; leave it out of --method")
    classifier = load_classifier(model, device=device)
    remedy = "--plan '{\"epochs\": 30}'"
    exact = as_trained(methods[0], classifier.recipe or {}, classifier.name, remedy)
    case = ForgettingCase.of(
        classifier, load_images(data), None if test is None else load_images(test), progress=progress
    )
    tenth = 1 if level == "class" else max(len(case.store) // 10, 1)
    study = Study(
        case=case,
        count=tenth if count is None else count,
        level=level,
        search=search,
        exact=exact,
        methods=settings,
        random_sets=random_sets,
        seed=seed,
    )
    return study_forget_set(study, out=out, progress=progress, **running)


def _number(text: str, flag: str) -> float:
    """A positive number from text.

    Raises:
        InputError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"{flag} {text!r}: expected a number above 0, such as 1e-3")
    return value
