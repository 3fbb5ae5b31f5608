"""Images that the classifier gets right → phrases, edits, flips, ranking, selected edits: stages 2 to 4 of ASPIRE.

The check of an audit does this on audited images, a treatment and ``snellen synthesize shortcuts`` on training images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scene import Scene
from snellen.methods.edits.masked_object import Fill
from snellen.methods.edits.painting import filling_painter, inpainting_painter, instructed_background
from snellen.models.captioners.protocol import Captioner
from snellen.models.diffusion.editor_inpainting import InpaintingEditor, load_inpainting_generator
from snellen.models.diffusion.editor_instructed import load_instructed_editor
from snellen.models.diffusion.sampler import Sampler
from snellen.models.references import load_detector, load_segmenter
from snellen.systems.language_guided_augmentation.discovery import Discovery, EditRow, captions_of
from snellen.systems.language_guided_augmentation.edits import DetectedEditor
from snellen.systems.language_guided_augmentation.flips import Lean
from snellen.systems.language_guided_augmentation.phrases import (
    CaptionParser,
    ImagePhrases,
    image_phrases,
    with_alternatives,
)


@dataclass(frozen=True, eq=False)
class Examined:
    """What was found about images that the classifier gets right.

    Attributes:
        records: phrases of each image, in the order of the images.
        rows: every edit, made or not.
        leans: merged phrases of each class, what it leans on most first.
        chosen: edits that stand for the shortcuts.
        discovery: makes an edit again.
    """

    records: Sequence[ImagePhrases]
    rows: Sequence[EditRow]
    leans: Mapping[int, Sequence[Lean]]
    chosen: Sequence[EditRow]
    discovery: Discovery

    @property
    def tested(self) -> list[Lean]:
        """Phrases of enough images."""
        return [one for of in self.leans.values() for one in of if one.supported]

    def provenance(self, names: Sequence[str]) -> list[dict[str, object]]:
        """Every edit with its provenance, in the order of the ranking."""
        kept = {id(row) for row in self.chosen}
        return [
            {**row.provenance(names), "merged": one.phrase, "rank": rank, "selected": id(row) in kept}
            for of in self.leans.values()
            for rank, one in enumerate(of, 1)
            for row in one.rows
        ]


def records_of(
    images: ImageSet,
    rows: Sequence[int],
    names: Sequence[tuple[str, ...]],
    *,
    parser: CaptionParser,
    captioner: Captioner | None,
    rng: Randomness,
) -> list[ImagePhrases]:
    """Phrases of images, with an alternative for each background.

    Args:
        images: the set.
        rows: positions in it.
        names: names of the class of each of these images, its own first.
        parser: reads captions.
        captioner: of images without a caption.
        rng: of alternatives.
    """
    captions = captions_of(images, rows, captioner)
    found = [
        image_phrases(images.ids[row], caption, own, parser)
        for row, caption, own in zip(rows, captions, names, strict=True)
    ]
    return with_alternatives(found, rng)


def shows_scenes(images: ImageSet) -> bool:
    """Whether the first image with attributes is a scene that can be drawn anew."""
    record = next((one for one in images.column("attributes") if one is not None), None)
    try:
        return record is not None and bool(Scene.from_json(str(record)))
    except InputError:
        return False


#: Steps of an inpainting model, and of one that follows instructions: its library's own.
INPAINTING_STEPS, INSTRUCTED_STEPS = 30, 100


@lru_cache(maxsize=1)
def load_editor(
    detector: str,
    segmenter: str | None,
    inpainter: str | None,
    instructor: str | None,
    steps: int | None,
    fill: Fill,
    threshold: float,
    dilate: int,
    device: str,
) -> DetectedEditor:
    """The editor of these references; its models are loaded once.

    Raises:
        InputError: a reference that cannot be used, or a segmenter that takes no boxes.
    """
    by_box = None if segmenter is None else load_segmenter(segmenter, device=device)
    if by_box is not None and "boxes" not in by_box.prompts:
        raise InputError(f"{by_box.name} takes no boxes; use a segmenter that does (hf:FOLDER of a SAM, grabcut)")
    paint = filling_painter(fill)
    if inpainter is not None:
        sampler = Sampler(load_inpainting_generator(inpainter, device=device), steps=steps or INPAINTING_STEPS)
        paint = inpainting_painter(InpaintingEditor(sampler, paste=True))
    instruct = None
    if instructor is not None:
        instruct = instructed_background(
            load_instructed_editor(instructor, device=device, steps=steps or INSTRUCTED_STEPS)
        )
    return DetectedEditor(
        load_detector(detector, device=device), by_box, paint, inpainter is not None, instruct, threshold, dilate
    )
