"""``snellen optotypes``: show and write worlds in which everything is known."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from snellen.cli.filled_folder import free_folder, show_how_to_resume
from snellen.cli.method_commands import method_commands
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.text import harmless
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.core.images import ImageSet
    from snellen.core.method import Defect, Method, World


class SplitOption(StrEnum):
    """Which images."""

    train = "train"
    val = "val"
    test = "test"


#: Images that could not be read and are named.
_NAMED = 5


def show(
    methods: list[Method],
    out: Annotated[Path | None, typer.Option(help="PNG file.", show_default="optotypes-KIND.png")] = None,
    shown: Annotated[int, typer.Option(min=1, max=400, help="Images to draw.")] = 24,
    columns: Annotated[int, typer.Option(min=1, max=40, help="Images in a row.")] = 6,
    captions: Annotated[bool, typer.Option("--with-captions", help="Write captions below, not classes.")] = False,
    split: Annotated[SplitOption, typer.Option(help="Which images.")] = SplitOption.test,
    plant: Annotated[
        list[str] | None,
        typer.Option(metavar="DEFECT", help='Defect to plant, repeatable: a name, or {"method": NAME, ...} as JSON.'),
    ] = None,
) -> None:
    """Draw a few images of a procedural world into one picture."""
    world = _only(methods)
    path = out or Path(f"optotypes-{methods[0].name}.png")
    with loading("drawing images"):
        from snellen.runs.image_sheet import image_sheet
        from snellen.verbs.contact_sheet import choose_examples

        images = _planted(world.images(split=split.value), plant or [], _seed(world))
        chosen = choose_examples(images, range(len(images)), shown)
        sheet = image_sheet(images, chosen, columns=columns, captions=captions)
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, "PNG")
    typer.echo(f"Written: {harmless(str(path))} ({len(chosen)} of {len(images)} images of {harmless(images.name)})")


def write(
    methods: list[Method],
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command resumes where it stopped.", show_default="snellen-optotypes-N"),
    ] = None,
    split: Annotated[
        list[SplitOption] | None, typer.Option(help="Which images, repeatable.", show_default="all")
    ] = None,
    plant: Annotated[
        list[str] | None,
        typer.Option(metavar="DEFECT", help='Defect to plant, repeatable: a name, or {"method": NAME, ...} as JSON.'),
    ] = None,
) -> None:
    """Write a procedural world as PNG files, masks and manifest.csv."""
    world, folder = _only(methods), out or free_folder("snellen-optotypes")
    with loading("drawing images"):
        from snellen.data.files.joining import join
        from snellen.verbs.write_images import write_images

        splits = list(dict.fromkeys(split or SplitOption))
        parts = [
            _planted(world.images(split=one.value), plant or [], _seed(world), beside_others=len(splits) > 1)
            for one in splits
        ]
        images = parts[0] if len(parts) == 1 else join(parts, name=parts[0].name)
    with show_how_to_resume(folder, out), TerminalProgress() as progress:
        written = write_images(images, folder, progress=progress)
    masks = f" and {written.masks} masks" if written.masks else ""
    for example_id, reason in list(written.rejected.items())[:_NAMED]:
        typer.echo(f"left out: {harmless(example_id)}: {harmless(reason)}", err=True)
    if len(written.rejected) > _NAMED:
        typer.echo(f"… {len(written.rejected)} left out in all", err=True)
    typer.echo(f"Written: {harmless(str(written.manifest))} ({written.images} images{masks})")


def _only(methods: list[Method]) -> World:
    if len(methods) > 1:
        raise InputError("draw one world at a time: give each parameter once")
    return cast("World", methods[0])


def _seed(world: World) -> int:
    """The world's seed, which decides where defects are planted too; 0 for a world without one."""
    return int(getattr(world, "seed", 0))


def _planted(images: ImageSet, defects: list[str], seed: int, *, beside_others: bool = False) -> ImageSet:
    """The images with defects planted, in this order; test images beside others stay as they are unless the defect says
    otherwise.
    """
    from snellen.core.method import build
    from snellen.core.randomness import Randomness

    for text in defects:
        written = _from_json(text) if text.lstrip().startswith("{") else text
        defect = build("defects", written)
        if beside_others and images.split == "test" and not getattr(defect, "touch_test", True):
            continue
        images = cast("Defect", defect).plant(images, rng=Randomness(seed))
    return images


def _from_json(text: str) -> Any:  # noqa: ANN401 - JSON of any kind, which the method checks
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(
            f"--plant {text!r} is not JSON ({error}); write a name, or an object with its method"
        ) from error


optotypes = typer.Typer(help="Write and show procedural images whose ground truth is known.", no_args_is_help=True)
optotypes.add_typer(method_commands("worlds", show), name="show")
optotypes.add_typer(method_commands("worlds", write), name="write")
