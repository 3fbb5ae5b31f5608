"""``snellen synthesize shortcuts``: what a user may ask."""

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


def shortcuts(
    methods: list[Method],
    *,
    model: Annotated[str, Argument("The classifier whose shortcuts are looked for, by reference.")],
    data: Annotated[str, Argument("Its labelled real training images, by reference, with captions or a captioner.")],
    captioner: Annotated[
        str | None, Option("Captions images without one: hf:FOLDER.", default="column caption")
    ] = None,
    language: Annotated[
        str | None, Option("Reads captions: a language model on this machine, or file:FILE.", default="fixed rules")
    ] = None,
    synonyms: Annotated[str | None, Option("file:FILE, for each class the words that also name it.")] = None,
    detector: Annotated[
        str | None, Option("Finds phrases in images: hf:FOLDER.", default="scenes are drawn anew")
    ] = None,
    segmenter: Annotated[str | None, Option("Makes masks of boxes: hf:FOLDER, grabcut.", default="the boxes")] = None,
    inpainter: Annotated[
        str | None, Option("Paints what is taken out: diffusers:FOLDER.", default="filled from the image")
    ] = None,
    instructor: Annotated[
        str | None, Option("Edits backgrounds by words: diffusers:FOLDER of InstructPix2Pix.", default="see inpainter")
    ] = None,
    most: Annotated[int, Option("Images that are captioned and edited at most, on average.", minimum=1)] = 1000,
    preset: Annotated[
        Literal["published", "small"], Option("Numbers of the tokens: the paper's, or those for bundled generators.")
    ] = "published",
    word: Annotated[
        str | None, Option("Known word of a single token that new ones begin as.", default="of the preset")
    ] = None,
    token_steps: Annotated[
        int | None, Option("Optimizer steps of each token.", minimum=1, default="of the preset")
    ] = None,
    trials: Annotated[
        int | None, Option("Tokens of each class, with other noise.", minimum=1, default="of the preset")
    ] = None,
    guidance_scale: Annotated[
        float | None, Option("Of classifier-free guidance.", default="7.5 as published, 2 of the small preset")
    ] = None,
    count: Annotated[int, Option("Generated images of each class for each trial.", minimum=1)] = 100,
    batch_size: Annotated[int, Option("Generated images at once, and what a stopped run loses.", minimum=1)] = 32,
    out: Path,
    device: str,
    seed: int,
    pseudonyms: Path | None,
    running: Running,
    progress: Progress | None = None,
) -> RunResult:
    """Find what a classifier leans on, and generate training images without it (ASPIRE, Ghosh et al. 2024)."""
    if pseudonyms is not None:
        raise InputError("shortcuts takes no pseudonyms: it writes ids of edited images; leave out --pseudonyms")
    from snellen.data.references import load_images
    from snellen.methods.synthesis.by_name import ByName
    from snellen.methods.synthesis.synthetic_set import RECORD, WHAT
    from snellen.models.classifiers.references import load_classifier
    from snellen.runs.unfinished import check_free
    from snellen.systems.language_guided_augmentation.augmenting import without_shortcuts
    from snellen.systems.language_guided_augmentation.check import Shortcuts
    from snellen.systems.language_guided_augmentation.personalising import PRESETS

    if len(methods) != 1 or not isinstance(methods[0], ByName):
        raise InputError(f"shortcuts takes one setting, and {len(methods)} were given; name one guidance scale")
    check_free(out, RECORD, WHAT)
    changed = {
        name: value for name, value in (("word", word), ("steps", token_steps), ("trials", trials)) if value is not None
    }
    # The method's own guidance is hidden, and its default is no choice of the caller's.
    given = {name: getattr(methods[0], name) for name in methods[0].model_fields_set - {"guidance_scale"}}
    given |= {} if guidance_scale is None else {"guidance_scale": guidance_scale}
    return without_shortcuts(
        load_classifier(model, device=device),
        load_images(data),
        out=out,
        method=ByName.model_validate(given),
        check=Shortcuts(
            captioner=captioner,
            language=language,
            synonyms=synonyms,
            detector=detector,
            segmenter=segmenter,
            inpainter=inpainter,
            instructor=instructor,
            most=most,
        ),
        fit=PRESETS[preset].model_copy(update=changed),
        count=count,
        batch_size=batch_size,
        seed=seed,
        device=device,
        progress=progress,
        **running,
    )
