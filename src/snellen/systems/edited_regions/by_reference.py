"""Editors and planners of published models, by reference: what takes the place of the small ones on a GPU.

Editors are generators of diffusers: an inpainting model sees the mask, any other generator is blended (Stable Diffusion
1 and 2, SDXL, PixArt). Regions come from a detector of phrases and a promptable segmenter (Grounding DINO and SAM), and
a model that answers questions judges the result. Pictures are padded to the size that a network takes, and never
rescaled. What models answer is data: words for prompts, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_image
from snellen.core.randomness import Randomness
from snellen.models.captioners.protocol import QuestionAnswerer
from snellen.models.detectors.protocol import Detector
from snellen.models.diffusion.editor import BlendedEditor, Editor, check_edit
from snellen.models.diffusion.editor_inpainting import InpaintingEditor, inpainting_generator
from snellen.models.diffusion.generator_adapters import model_hashes
from snellen.models.diffusion.loading import load_generator, load_unchecked
from snellen.models.diffusion.sampler import Sampler
from snellen.models.segmenters.protocol import Segmenter
from snellen.systems.edited_regions.labels import changed_pixels
from snellen.systems.edited_regions.planning import EditType, Instruction, Region

#: Words that the planner draws from where it is given none.
OBJECTS = ("a dog", "a potted plant", "a red chair", "a bicycle", "a bird", "a vase of flowers")
ATTRIBUTES = ("red", "blue", "golden", "wooden", "striped", "old")

#: The question of the judge, and the answers whose probabilities are compared.
QUESTION, YES_NO = "is there {what} in the picture?", ("yes", "no")


@dataclass(frozen=True, eq=False)
class PaddedEditor:
    """An editor of pictures of any size: the last pixels are repeated up to a multiple, and cut off afterwards.

    Args:
        editor: an editor that takes sides of a multiple.
        multiple: pixels.
        name: hash of weights and settings.
    """

    editor: Editor
    multiple: int
    name: str = ""

    def identity(self) -> str:
        """Hash of what was given: weights of the networks, sampler and guidance (sha256, hex)."""
        return self.name

    def edit(self, images: Tensor, masks: Tensor, prompts: Sequence[str] | None, seeds: Sequence[int]) -> Tensor:
        """Edit pictures; see :class:`~snellen.models.diffusion.editor.Editor`."""
        free = check_edit(images, masks, seeds)
        height, width = images.shape[2:]
        more = (0, -width % self.multiple, 0, -height % self.multiple)
        padded = functional.pad(images, more, mode="replicate")
        edited = self.editor.edit(padded, functional.pad(free.float(), more), prompts, seeds)
        return edited[:, :, :height, :width]


def reference_editor(
    reference: str, *, steps: int = 50, guidance: float = 7.5, device: str = "cpu"
) -> Callable[[], PaddedEditor]:
    """What loads an editor, for :func:`~snellen.systems.edited_regions.making.make_edits`.

    Args:
        reference: ``diffusers:FOLDER`` or ``bundled:NAME``; of an inpainting model, or of any generator of prompts.
        steps: of the sampler, DDIM.
        guidance: scale of classifier-free guidance; 1 is none.
        device: where it runs.
    """

    def load() -> PaddedEditor:
        unchecked = load_unchecked(reference, device=device)
        channels = int(unchecked.vae.config.latent_channels) if unchecked.vae is not None else 0
        editor: Editor
        if channels and unchecked.denoiser.channels == 2 * channels + 1:
            generator = inpainting_generator(unchecked)
            editor = InpaintingEditor(Sampler(generator, steps=steps), guidance_scale=guidance)
        else:
            generator = load_generator(reference, device=device)
            if generator.takes != "prompts":
                raise InputError(f"{reference} takes {generator.takes}; an editor needs a generator that takes prompts")
            editor = BlendedEditor(Sampler(generator, steps=steps), guidance_scale=guidance, paste=False)
        settings = [type(editor).__name__, steps, guidance, dict(generator.schedule), model_hashes(generator)]
        name = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
        return PaddedEditor(editor, generator.factor * generator.denoiser.size_multiple, name)

    return load


class ModelPlanner:
    """Plans the edits of one photograph by models; see :class:`~snellen.systems.edited_regions.planning.Planner`.

    Args:
        detector: finds phrases as boxes.
        segmenter: turns boxes into masks; one that takes boxes.
        phrases: what may be in the picture; without any, the answerer names what it sees.
        answerer: judges whether an edit shows what its prompt says. Without one, an edit is judged by the share of its
            region that changed.
        objects: what may be added.
        attributes: what an object may become.
        threshold: least score of a box.

    Raises:
        InputError: a segmenter that takes no boxes, or neither phrases nor an answerer.
    """

    def __init__(
        self,
        detector: Detector,
        segmenter: Segmenter,
        *,
        phrases: Sequence[str] = (),
        answerer: QuestionAnswerer | None = None,
        objects: Sequence[str] = OBJECTS,
        attributes: Sequence[str] = ATTRIBUTES,
        threshold: float = 0.3,
    ) -> None:
        if "boxes" not in segmenter.prompts:
            raise InputError(f"{segmenter.name} takes no boxes; regions come from a segmenter that does, such as a SAM")
        if not phrases and answerer is None:
            raise InputError("a planner needs phrases to look for, or a model that answers what is in the picture")
        self.detector, self.segmenter, self.answerer = detector, segmenter, answerer
        self.phrases, self.objects, self.attributes = tuple(phrases), tuple(objects), tuple(attributes)
        self.threshold = threshold

    @cached_property
    def _identity(self) -> str:
        models = [None if one is None else one.identity() for one in (self.detector, self.segmenter, self.answerer)]
        words = [self.phrases, self.objects, self.attributes, QUESTION, YES_NO, self.threshold]
        return hashlib.sha256(json.dumps([models, words]).encode()).hexdigest()

    def identity(self) -> str:
        """Hash of the models, the words and the threshold (sha256, hex)."""
        return self._identity

    def propose_regions(self, image: Tensor, rng: Randomness) -> Sequence[Region]:
        """Masks of what is found, and a free rectangle for something new."""
        phrases = self.phrases or self._named(image)
        regions: list[Region] = []
        found = self.detector.detect([image] * len(phrases), phrases, threshold=self.threshold) if phrases else []
        for phrase, boxes in zip(phrases, found, strict=True):
            if len(boxes):
                mask = self.segmenter.segment(image[None], boxes=boxes.boxes[:1]).regions[0].cpu()
                regions.append(Region(phrase, mask, ("remove", "change"), len(regions)))
        taken = torch.stack([one.mask for one in regions]).any(0) if regions else torch.zeros_like(image[0]).bool()
        free = _free_rectangle(taken, rng)
        return regions if free is None else [*regions, Region("a free place", free, ("add",), -1)]

    def _named(self, image: Tensor) -> tuple[str, ...]:
        """Nouns of the answerer; letters, digits and spaces alone, since they become prompts and file contents."""
        assert self.answerer is not None
        (answer,) = self.answerer.answer(self._prepared(image), ["what objects are in the picture?"])
        kept = "".join(sign if sign.isalnum() or sign in " ," else " " for sign in answer.replace(" and ", ","))
        return tuple(dict.fromkeys(part.strip() for part in kept.split(",") if part.strip()))[:5]

    def _prepared(self, image: Tensor) -> Tensor:
        assert self.answerer is not None
        return self.answerer.preparation(to_image(image))[None].to(self.answerer.device)

    def write_edit(self, image: Tensor, region: Region, edit: EditType, rng: Randomness) -> Instruction:
        """A prompt for the type of edit.

        Raises:
            InputError: a type of edit that the region does not have.
        """
        if edit not in region.edits:
            raise InputError(f"{region.name} can be edited by {', '.join(region.edits)}; got {edit}")
        if edit == "remove":
            return Instruction(edit, "empty background", region.mask, region)
        words = self.objects if edit == "add" else self.attributes
        word = words[int(rng.bind(1).integers("words", (), 0, len(words))[0])]
        prompt = word if edit == "add" else f"a {word} {region.name.removeprefix('a ').removeprefix('the ')}"
        return Instruction(edit, prompt, region.mask, region)

    def score_edit(self, before: Tensor, after: Tensor, instruction: Instruction, seed: int) -> float:
        """The judge's probability that the picture around the region shows what the prompt says, in [0, 1]."""
        if self.answerer is None:
            return changed_pixels(before, after, instruction.mask).inside
        removed = instruction.edit == "remove"
        what = instruction.region.name if removed else instruction.prompt
        seen = self._prepared(_around(after, instruction.mask))
        chances = self.answerer.score(seen, [QUESTION.format(what=what)], YES_NO)[0].softmax(0)
        return float(chances[1] if removed else chances[0])

    def accept(self, instruction: Instruction) -> None:
        """Nothing is kept: the next turn begins from the picture itself."""


def _around(image: Tensor, mask: Tensor) -> Tensor:
    """The part of a picture around a mask, with a quarter of its extent on each side."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    tall, wide = max(8, (bottom - top) // 4), max(8, (right - left) // 4)
    return image[:, max(0, top - tall) : bottom + tall, max(0, left - wide) : right + wide]


def _free_rectangle(taken: Tensor, rng: Randomness, tries: int = 12) -> Tensor | None:
    """A rectangle of a fifth to two fifths of the sides that touches nothing taken, bool (h, w); None without one."""
    height, width = taken.shape
    for draw in rng.bind(1).uniform("rectangle", (tries, 4))[0].tolist():
        tall, wide = (
            max(1, round(side * (0.2 + 0.2 * one))) for side, one in zip((height, width), draw[:2], strict=True)
        )
        top, left = int(draw[2] * (height - tall + 1)), int(draw[3] * (width - wide + 1))
        mask = torch.zeros_like(taken)
        mask[top : min(top + tall, height), left : min(left + wide, width)] = True
        if not bool((mask & taken).any()):
            return mask
    return None
