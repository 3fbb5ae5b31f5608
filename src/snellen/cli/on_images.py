"""What attack, explain, certify and scan have in common: a model, images, methods, and a folder that is filled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from snellen.cli.filled_folder import carry_out, free_folder
from snellen.cli.privacy_options import AllowRemoteOption, PseudonymsOption
from snellen.cli.progress import loading
from snellen.cli.run_options import (
    ClassesOption,
    DeviceOption,
    MeanOption,
    ModelArgsOption,
    ModelOptions,
    ReadingOptions,
    SeedOption,
    SizeOption,
    StdOption,
    model_options,
    read_images,
)
from snellen.core.index import Target

if TYPE_CHECKING:
    from snellen.core.classifier import Classifier
    from snellen.core.images import ImageSet
    from snellen.core.method import Method
    from snellen.runs.settings import Setting


class ModelChoice(TypedDict):
    """Which model runs on how many of the images, and under which names."""

    limit: int | None
    classes: Path | None
    device: str
    built: ModelOptions
    seed: int
    pseudonyms: Path | None


def model_choice(
    limit: Annotated[int | None, typer.Option(min=1, help="Take at most so many images, drawn at random.")] = None,
    classes: ClassesOption = None,
    device: DeviceOption = "cpu",
    model_args: ModelArgsOption = None,
    size: SizeOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    seed: SeedOption = 0,
    allow_remote: AllowRemoteOption = None,  # allowed by its callback, in all that the command does
    pseudonyms: PseudonymsOption = None,
) -> ModelChoice:
    """The options of a command that runs a model, as values by name."""
    built = model_options(model_args, size, mean, std)
    return {
        "limit": limit, "classes": classes, "device": device, "built": built, "seed": seed, "pseudonyms": pseudonyms
    }  # fmt: skip


def carry_out_on_images(
    verb: str,
    area: str,
    record: str,
    methods: Sequence[Method],
    model: str | None,
    data: str,
    *,
    out: Path | None,
    reading: ReadingOptions,
    model_choice: ModelChoice,
    as_json: bool,
    dry_run: bool,
    refuse: Callable[[Setting], None] = lambda setting: None,
    announce: Callable[[Classifier, ImageSet, Sequence[Setting]], None] | None = None,
    **options: Any,  # noqa: ANN401 - what the verb takes
) -> None:
    """Load model and images, and carry a verb out on them.

    Args:
        verb: "module:function" of the verb, whose module is imported when it is needed.
        area: of its methods.
        record: module that holds RECORD and WHAT, name and kind of what the verb writes.
        methods: that are used.
        model: reference of the classifier; None where the methods need none.
        data: reference of the images.
        out: folder that was named; None: a free one is chosen.
        reading: how the images are read.
        model_choice: which model, how many images.
        as_json: print the record.
        dry_run: print what it would cost, and do nothing.
        refuse: raises an error for a method that cannot be used, before anything is read.
        announce: is called with everything loaded, before the verb begins.
        options: of the verb.
    """
    function = Target(target=verb)
    folder = out or free_folder(f"snellen-{verb.rpartition(':')[2]}")
    methods = [placed_method(method, model_choice["device"]) for method in methods]
    with loading("reading images and model") as spinner:
        from snellen.models.classifiers.references import load_classifier
        from snellen.runs.settings import named_settings
        from snellen.runs.unfinished import check_free

        # What can be refused without model and images is refused before they are read.
        settings = named_settings(methods, area)
        for setting in settings:
            refuse(setting)
        kind, what = (Target(target=f"{record}:{name}").load() for name in ("RECORD", "WHAT"))
        check_free(folder, kind, what)
        images = read_images(data, reading, spinner)
        classifier = None
        if model is not None:
            classifier = load_classifier(
                model, model_choice["classes"], device=model_choice["device"], **model_choice["built"]
            )
    if announce is not None and classifier is not None:
        announce(classifier, images, settings)
    carry_out(
        function.load(),
        classifier,
        images,
        methods,
        folder=folder,
        given=out,
        as_json=as_json,
        dry_run=dry_run,
        limit=model_choice["limit"],
        seed=model_choice["seed"],
        pseudonyms=model_choice["pseudonyms"],
        **options,
    )


def placed_method(method: Method, device: str) -> Method:
    """A method that loads models itself runs them on the device of the command, unless it names its own."""
    fields = type(method).model_fields
    if "device" not in fields or "device" in method.model_fields_set or device == fields["device"].default:
        return method
    return method.model_copy(update={"device": device})
