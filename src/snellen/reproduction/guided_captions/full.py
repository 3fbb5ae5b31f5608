"""The paper's experiment on a GPU: MS-COCO by the Karpathy splits, a captioner of its size, CLIP ViT-B/32 as judge.

Everything comes by reference, from environment variables, and nothing is downloaded. The image encoder stays as it is,
so all trainings and settings of a seed read the same states; each seed encodes every image anew. States lie in files
that are mapped into memory, 600 KB an image for 197 states of 768 numbers, 70 GB for the 118,287 images to train on,
and memory does not grow with them. Estimated from numbers of
steps and not measured: two trainings of 20,000 steps of 128 captions, 6 hours each, and 30 minutes for each of 15
settings on 5,000 test images; 24 GB of a GPU.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.language.causal import load_causal_language_model
from snellen.models.references import load_captioner, load_two_tower
from snellen.reproduction.guided_captions.curves import Materials, curve_figures
from snellen.reproduction.guided_captions.judging import Judge
from snellen.reproduction.sample import Figure
from snellen.systems.guided_captions.caption_tuning import published_plan
from snellen.training.plan import TrainingPlan

COCO, SPLITS, CAPTIONER, TOWERS, LANGUAGE, PROMPT, FOLDER = (
    f"SNELLEN_CAPTIONS_{name}"
    for name in ("COCO", "KARPATHY", "CAPTIONER", "TOWERS", "LANGUAGE_MODEL", "PROMPT", "FOLDER")
)

#: Optional: sets of synonyms for METEOR, one a line, words parted by spaces; and where it runs.
SYNONYMS, DEVICE = "SNELLEN_CAPTIONS_SYNONYMS", "SNELLEN_CAPTIONS_DEVICE"

#: References of an image; some have more, and the first count.
REFERENCES = 5

#: Images that are read and encoded together.
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class Part:
    """Images of MS-COCO with their captions.

    Args:
        files: of the images.
        captions: :data:`REFERENCES` of each.
    """

    files: Sequence[Path]
    captions: Sequence[Sequence[str]]


def full(
    seed: int, progress: Progress, *, plan: TrainingPlan | None = None, max_tokens: int = 64
) -> Mapping[str, Figure]:
    """The curves of :func:`~snellen.reproduction.guided_captions.curves.curve_figures` on MS-COCO, as ``coco.…``.

    Args:
        seed: of the fine-tunings.
        progress: callback that receives progress updates.
        plan: of both fine-tunings, in place of the published one.
        max_tokens: most tokens of a caption.

    Raises:
        InputError: a variable is not set, or what it names does not fit.
    """
    absent = [name for name in (COCO, SPLITS, CAPTIONER, TOWERS, LANGUAGE, PROMPT, FOLDER) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}. {COCO} names the folder of MS-COCO with train2014 and "
            f"val2014, and {SPLITS} the file dataset_coco.json of the Karpathy splits. {CAPTIONER} names a "
            f"captioner with "
            f"cross-attention (hf:FOLDER), and {TOWERS} CLIP ViT-B/32 (hf:FOLDER). {LANGUAGE} names a causal language "
            f"model with the captioner's tokens (hf:FOLDER), and {PROMPT} a file of ten descriptive captions, "
            f"one a line. "
            f"{FOLDER} names a folder with room for the states of the images"
        )
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    train, test = karpathy(Path(os.environ[SPLITS]), Path(os.environ[COCO]))
    captioner = load_captioner(os.environ[CAPTIONER], device=device)
    if not isinstance(captioner, CrossAttentionCaptioner):
        raise InputError(f"{os.environ[CAPTIONER]} has no decoder with cross-attention to leave the image out of")
    towers = load_two_tower(os.environ[TOWERS], device=device)
    folder = Path(os.environ[FOLDER])
    folder.mkdir(parents=True, exist_ok=True)
    materials = Materials(
        captioner=captioner,
        states=mapped_states(captioner, train.files, folder / "train.states", progress),
        captions=train.captions,
        shown=mapped_states(captioner, test.files, folder / "test.states", progress),
        judge=Judge(towers, image_vectors(towers, test.files), test.captions, _lines(os.environ.get(SYNONYMS))),
        plan=(plan or published_plan(len(train.files))).model_copy(update={"seed": seed}),
        max_tokens=max_tokens,
        prompted=load_causal_language_model(os.environ[LANGUAGE], device=device),
        prompts={"style": [" ".join(line) for line in _lines(os.environ[PROMPT])]},
    )
    figures = curve_figures(materials, progress)
    return {f"coco.{name}": figure for name, figure in figures.items()}


def karpathy(path: Path, images: Path) -> tuple[Part, Part]:
    """Images to train on (train, restval and val, as in the paper) and to test on.

    Raises:
        InputError: no such file, an image without five captions, or a split without images.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["images"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not dataset_coco.json of the Karpathy splits: {error!r}") from error
    parts: dict[bool, list[Mapping[str, Any]]] = {True: [], False: []}
    for one in listed:
        parts[one.get("split") == "test"].append(one)
    found = []
    for is_test in (False, True):
        short = [one["filename"] for one in parts[is_test] if len(one["sentences"]) < REFERENCES]
        if short or not parts[is_test]:
            raise InputError(
                f"{path}: {len(parts[is_test])} images {'to test' if is_test else 'to train'} on, {len(short)} of them "
                f"with fewer than {REFERENCES} captions ({', '.join(short[:3])}); expected the Karpathy splits"
            )
        found.append(
            Part(
                [images / one.get("filepath", "") / one["filename"] for one in parts[is_test]],
                [[told["raw"].strip() for told in one["sentences"][:REFERENCES]] for one in parts[is_test]],
            )
        )
    return found[0], found[1]


def mapped_states(captioner: CrossAttentionCaptioner, files: Sequence[Path], path: Path, progress: Progress) -> Tensor:
    """States of images (n, s, w), in a file that is mapped into memory; written anew by each call."""
    shape = (len(files), *captioner.state_shape)
    states = torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=torch.float32).view(shape)
    progress.begin("encode images", len(files))
    for rows in torch.arange(len(files)).split(_TOGETHER):
        with torch.no_grad():
            pixels = _pixels(captioner.preparation, [files[row] for row in rows.tolist()])
            states[rows[0] : rows[-1] + 1] = captioner.encode(pixels).float().cpu()
        progress.advance("encode images", len(rows))
    progress.finish("encode images")
    return states


def image_vectors(towers: TwoTower, files: Sequence[Path]) -> Tensor:
    """Vectors of images by the judge, of length one (n, d)."""
    with torch.no_grad():
        parts = [files[start : start + _TOGETHER] for start in range(0, len(files), _TOGETHER)]
        return torch.cat([towers.encode_images(_pixels(towers.preparation, part)).cpu() for part in parts])


def _pixels(preparation: Preprocessing, files: Sequence[Path]) -> Tensor:
    pixels = []
    for path in files:
        try:
            with Image.open(path) as opened:
                pixels.append(preparation.pixels(opened.convert("RGB")))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error}") from error
    return to_unit(torch.stack(pixels))


def _lines(path: str | None) -> list[list[str]]:
    """Words of each line that has any."""
    if not path:
        return []
    return [line.split() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
