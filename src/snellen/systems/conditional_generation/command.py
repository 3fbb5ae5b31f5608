"""``snellen synthesize robustness``: what a user may ask, and what a terminal shows of the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from snellen.core.command import Argument, Option
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.core.progress import Progress
    from snellen.runs.record import RunResult
    from snellen.runs.runner import Running


def robustness(
    methods: list[Method],
    *,
    data: Annotated[str, Argument("Your labelled real images, by reference: a folder of class folders, a manifest.")],
    shifted: Annotated[
        list[str], Option("Test images of another distribution, of the same classes or a part of them; repeatable.")
    ],
    validation: Annotated[
        str | None, Option("Images like DATA that measure.", default="the split tune, or a fifth of each class")
    ] = None,
    model: Annotated[
        list[str] | None, Option("Classifier of your own that is measured beside the students; repeatable.")
    ] = None,
    published: Annotated[
        bool, Option("Take the published recipe: a ResNet-18, 160 pixels, 56 epochs of SGD; needs a GPU.")
    ] = False,
    architecture: Annotated[str, Option("Of the students: fashion_cnn or timm:NAME.")] = "fashion_cnn",
    side: Annotated[int, Option("Height and width of the students' images, pixels.", minimum=8)] = 32,
    epochs: Annotated[int, Option("Passes of each student over its images.", minimum=1)] = 20,
    seeds: Annotated[int, Option("Students of each kind.", minimum=2)] = 5,
    pool: Annotated[int, Option("Standard models for each of four shares of DATA.", minimum=1)] = 2,
    augmentations: Annotated[bool, Option("Also train under AugMix and RandAugment, to compare.")] = True,
    flips: Annotated[bool, Option("Add the scores of each test image mirrored, for all models.")] = False,
    out: Path,
    device: str,
    seed: int,
    pseudonyms: Path | None,
    running: Running,
    progress: Progress | None = None,
) -> RunResult:
    """What generated training images do to accuracy and robustness under shift (Bansal and Grover 2023)."""
    if device != "cpu" or pseudonyms is not None:
        raise InputError(
            "a robustness study runs where torch is and takes no pseudonyms; leave out --device and --pseudonyms"
        )
    from snellen.data.references import load_images
    from snellen.models.classifiers.references import load_classifier
    from snellen.runs.unfinished import check_free
    from snellen.systems.conditional_generation.record import RECORD, WHAT
    from snellen.systems.conditional_generation.study import PUBLISHED, RECIPE, study_robustness

    # What can be refused without the images is refused before they are read.
    check_free(out, RECORD, WHAT)
    own = RECIPE.model_copy(update={"architecture": architecture, "side": side, "amount": epochs})
    return study_robustness(
        methods,
        load_images(data),
        [load_images(one) for one in shifted],
        out=out,
        validation=None if validation is None else load_images(validation),
        models=[load_classifier(one) for one in model or ()],
        students=PUBLISHED if published else own,
        augmentations=("augmix", "rand-augment") if augmentations else (),
        seeds=seeds,
        pool=pool,
        mirrored=flips,
        seed=seed,
        progress=progress,
        **running,
    )
