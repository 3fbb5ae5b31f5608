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
        str | None, Option("Images like DATA that measure.", default="the split val, or a fifth of each class")
    ] = None,
    model: Annotated[
        list[str] | None, Option("Classifier of your own that is measured beside the students; repeatable.")
    ] = None,
    published: Annotated[
        bool, Option("Take the published recipe: a ResNet-18, 160 pixels, 56 epochs of SGD; needs a GPU.")
    ] = False,
    architecture: Annotated[
        str | None, Option("Of the students: fashion_cnn or timm:NAME.", default="fashion_cnn, or as published")
    ] = None,
    side: Annotated[
        int | None,
        Option("Height and width of the students' images, pixels.", minimum=8, default="32, or as published"),
    ] = None,
    epochs: Annotated[
        int | None, Option("Passes of each student over its images.", minimum=1, default="20, or as published")
    ] = None,
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
    if pseudonyms is not None:
        raise InputError("a robustness study takes no pseudonyms; leave out --pseudonyms")
    from snellen.data.references import load_images
    from snellen.methods.generation.made_images import generating_on
    from snellen.models.classifiers.references import load_classifier
    from snellen.runs.unfinished import check_free
    from snellen.systems.conditional_generation.record import RECORD, WHAT
    from snellen.systems.conditional_generation.study import PUBLISHED, RECIPE, study_robustness

    # What can be refused without the images is refused before they are read.
    check_free(out, RECORD, WHAT)
    given = {"architecture": architecture, "side": side, "amount": epochs}
    recipe = (PUBLISHED if published else RECIPE).model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    with generating_on(device):
        return study_robustness(
            methods,
            load_images(data),
            [load_images(one) for one in shifted],
            out=out,
            validation=None if validation is None else load_images(validation),
            models=[load_classifier(one, device=device) for one in model or ()],
            students=recipe,
            augmentations=("augmix", "rand-augment") if augmentations else (),
            seeds=seeds,
            pool=pool,
            mirrored=flips,
            seed=seed,
            progress=progress,
            **running,
        )
