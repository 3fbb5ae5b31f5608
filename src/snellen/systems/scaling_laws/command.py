"""``snellen synthesize plan``: what a user may ask, and what a terminal shows of the result."""

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


def plan(
    methods: list[Method],
    *,
    data: Annotated[str, Argument("Your labelled real images, by reference: a folder of class folders, a manifest.")],
    validation: Annotated[
        str | None, Option("Images that losses are measured on.", default="the split val, or a fifth of each class")
    ] = None,
    shifted: Annotated[
        list[str] | None, Option("Images of another distribution, on which the same students are measured; repeatable.")
    ] = None,
    scorer: Annotated[
        str | None,
        Option("Classifier of real images that judges generated ones.", default="one that is trained on your images"),
    ] = None,
    architecture: Annotated[str, Option("Of the students: fashion_cnn or timm:NAME.")] = "fashion_cnn",
    side: Annotated[int, Option("Height and width of the students' images, pixels.", minimum=8)] = 32,
    schedule: Annotated[
        Literal["updates", "epochs"], Option("What is the same for sets of every size; the exponents depend on it.")
    ] = "updates",
    amount: Annotated[int, Option("So many updates, or epochs, of each student.", minimum=1)] = 300,
    real_share: Annotated[
        str | None,
        Option("Share of the real images of a mixture in the loss, in [0, 1].", default="every image counts the same"),
    ] = None,
    probe: Annotated[int, Option("Images of each class of every setting that are scored first.", minimum=2)] = 20,
    keep: Annotated[int, Option("Settings that are kept for students, the most promising first.", minimum=1)] = 1,
    count: Annotated[int, Option("Generated images of each class at the largest size.", minimum=4)] = 100,
    seeds: Annotated[int, Option("Students of each point.", minimum=2)] = 5,
    unbalanced: Annotated[bool, Option("Allow classes with fewer images than a size.")] = False,
    out: Path,
    device: str,
    seed: int,
    pseudonyms: Path | None,
    running: Running,
    progress: Progress | None = None,
) -> RunResult:
    """Whether generated images would help your classifier, which, and how many (scaling laws, Fan et al. 2024)."""
    if device != "cpu" or pseudonyms is not None:
        raise InputError(
            "a synthesis plan runs on the cpu and takes no pseudonyms; leave out --device and --pseudonyms"
        )
    from snellen.data.references import load_images
    from snellen.models.classifiers.references import load_classifier
    from snellen.runs.unfinished import check_free
    from snellen.systems.scaling_laws.planning import plan_synthesis
    from snellen.systems.scaling_laws.synthesis_plan import RECORD, WHAT
    from snellen.training.students import StudentPlan

    # What can be refused without the images is refused before they are read.
    check_free(out, RECORD, WHAT)
    recipe = StudentPlan(
        architecture=architecture, side=side, schedule=schedule, amount=amount, real_share=_share(real_share)
    )
    return plan_synthesis(
        methods,
        load_images(data),
        out=out,
        validation=None if validation is None else load_images(validation),
        shifted=[load_images(one) for one in shifted or ()],
        scorer=None if scorer is None else load_classifier(scorer),
        students=recipe,
        probe=probe,
        keep=keep,
        count=count,
        seeds=seeds,
        unbalanced=unbalanced,
        seed=seed,
        progress=progress,
        **running,
    )


def _share(text: str | None) -> float | None:
    """A share from text.

    Raises:
        InputError: not a number in [0, 1].
    """
    try:
        value = None if text is None else float(text)
    except ValueError:
        value = -1.0
    if value is not None and not 0 <= value <= 1:
        raise InputError(f"--real-share {text!r}: expected a number in [0, 1], such as 0.8")
    return value
