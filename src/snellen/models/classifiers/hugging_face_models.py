"""``hf:FOLDER``: an image classifier of the transformers library, from a folder on this machine.

The resize and crop are translated from the folder's image processor (its PIL backend, which does not depend on the
version of torchvision) and then *checked*: three images go through both, and a processor that does anything else
(flipped channels, several crops) is refused instead of being approximated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from snellen.core.classifier import Normalization, Task
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing, Resize, to_image
from snellen.core.randomness import Randomness
from snellen.models.classifiers.assembly import LoadedModel
from snellen.models.weights.hugging_face_folder import (
    check_folder,
    import_transformers,
    load_image_processor,
    load_network,
)

#: Widths and heights of the images on which the translated preparation is compared with the processor.
_CHECKED = ((97, 61), (61, 143), (300, 301))

#: Layers whose output is what the last linear layer takes, by the ``model_type`` of the configuration.
_POOLED = {"regnet": "model.regnet.pooler", "resnet": "model.resnet.pooler"}


class Logits(nn.Module):
    """A transformers classifier that returns the logits alone; its layers are named ``model.…``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) → logits (n, k)."""
        logits: Tensor = self.model(pixel_values=images).logits
        return logits


def load(rest: str, device: torch.device) -> LoadedModel:
    """Load a folder as ``save_pretrained`` writes it: config.json, model.safetensors, preprocessor_config.json.

    Nothing is downloaded, no code of the folder is run, and no pickle is read.

    Raises:
        InputError: a hub id, missing files, weights that do not fit, or a processor that cannot be translated.
    """
    folder = Path(rest)
    check_folder(folder)
    transformers = import_transformers(f"hf:{rest}")
    model = load_network(transformers.AutoModelForImageClassification, folder, what="an image classifier")
    preparation, normalization = translate(load_image_processor(transformers, folder), name=folder.name)
    loaded = described(model, Logits(model), name=f"hf:{folder.name}", folder=folder)
    return replace(loaded, preparation=preparation, normalization=normalization)


def described(model: Any, network: nn.Module, *, name: str, folder: Path) -> LoadedModel:  # noqa: ANN401 - of an extra
    """A classifier of transformers with its task and class names; its preparation is not in it.

    Raises:
        InputError: a regression model.
    """
    config = model.config
    names = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    placeholders = all(one == f"LABEL_{index}" for index, one in enumerate(names))
    return LoadedModel(
        network=network,
        name=name,
        preparation=None,
        task=_task(config, folder),
        output="logits",
        class_names=names,
        outputs=len(names),
        feature_layer=_POOLED.get(config.model_type),
        assumed={"class_names": "the model has placeholder class names (LABEL_0, …)"} if placeholders else {},
    )


def translate(processor: Any, *, name: str) -> tuple[Preprocessing, Normalization]:  # noqa: ANN401 - of an extra
    """Translate an image processor into a preparation and a normalisation, and check them against it.

    ``rescale_factor`` r, mean m and std s act on bytes b as (r b − m) / s; in [0, 1] units x = b / 255 that is
    (x − m / 255 r) / (s / 255 r).

    Raises:
        InputError: a processor that does something else than resize, centre crop, rescale and normalise.
    """
    resize, resize_to, size = _geometry(processor, name)
    factor = 255.0 * (processor.rescale_factor if processor.do_rescale else 1.0)
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    normalization = Normalization(tuple(value / factor for value in mean), tuple(value / factor for value in std))
    preparation = Preprocessing.model_validate(
        {
            "crop_start": "floor",
            "size": size,
            "resize": resize,
            "resize_to": resize_to,
            "interpolation": Image.Resampling(int(processor.resample)).name.lower(),
        }
    )

    def theirs(image: Image.Image) -> Tensor:
        made: Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
        return made

    # Processors that resize by torchvision round otherwise than Pillow, by up to two bytes at an edge.
    loose = 0.0 if "Pil" in type(processor).__name__ else 2.0
    if not same_pixels(theirs, preparation, normalization, loose):
        raise _not_understood(processor, name)
    return preparation, normalization


def _geometry(processor: Any, name: str) -> tuple[Resize, tuple[int, int] | None, tuple[int, int] | None]:  # noqa: ANN401
    """Mode and target of the resize, and size of the result, from the processor's settings."""
    resize: Resize = "none"
    target = size = None
    if processor.do_resize:
        wanted = processor.size
        if wanted.height and wanted.width:
            resize, target = "exact", (wanted.height, wanted.width)
        elif wanted.shortest_edge and not wanted.longest_edge:
            share = getattr(processor, "crop_pct", None)
            edge = wanted.shortest_edge
            resize, target = "shorter", (edge, edge)
            # ConvNeXT: below 384 the shorter edge goes to edge / crop_pct and a crop follows; from 384 on, all is kept.
            if share and edge < 384:
                target, size = (int(edge / share),) * 2, (edge, edge)
            elif share:
                resize, size = "exact", (edge, edge)
        else:
            raise _not_understood(processor, name)
    if getattr(processor, "do_center_crop", False):
        size = (processor.crop_size.height, processor.crop_size.width)
    return resize, target, size or (target if resize == "exact" else None)


def same_pixels(
    theirs: Callable[[Image.Image], Tensor],
    preparation: Preprocessing,
    normalization: Normalization,
    loose: float = 0.0,
) -> bool:
    """Whether another library prepares and normalises images of three shapes to the same (3, h, w) as ours.

    ``loose`` is the difference that is allowed before normalisation, bytes.
    """
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in normalization)
    for index, (width, height) in enumerate(_CHECKED):
        noise = Randomness(0).for_examples([str(index)]).uniform("processor", (3, height, width))
        image = to_image(noise[0])
        expected, ours = theirs(image), (preparation(image) - mean) / std
        tolerance = 1e-5 * max(1.0, float(ours.abs().max())) + loose / 255 / min(normalization.std)
        if ours.shape != expected.shape or float((ours - expected).abs().max()) > tolerance:
            return False
    return True


def _not_understood(processor: object, name: str) -> InputError:
    return InputError(
        f"hf:{name}: its {type(processor).__name__} does more than resize, centre crop, rescale and normalise, which "
        f"is not translated here; load the model in Python and pass it with preparation=Preprocessing(...)"
    )


def _task(config: Any, folder: Path) -> Task:  # noqa: ANN401 - PreTrainedConfig, of an extra
    if config.problem_type == "regression":
        raise InputError(f"{folder} is a regression model (problem_type), not a classifier")
    return "multilabel" if config.problem_type == "multi_label_classification" else "single"
