"""``torchvision:NAME[@FILE]``: an architecture of torchvision, with its weights' own transform."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, import_extra, unknown_name
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.assembly import Field, LoadedModel
from snellen.models.classifiers.checkpoint_description import described_beside, with_description
from snellen.models.classifiers.model_options import built_for, plain_arguments, published_arguments, resized
from snellen.models.remote.permission import host_of, may_reach
from snellen.models.weights.checkpoint_file import read_checkpoint
from snellen.models.weights.quiet_loading import cached_by_torch, no_weights, quiet_loading
from snellen.models.weights.state_dict_file import load_strictly

#: Classes whose ``avgpool`` output is what their last linear layer takes.
_POOLED = ("EfficientNet", "RegNet", "ResNet")

#: Classes of every published classifier of torchvision.
_CLASSES = 1000


def load(rest: str, device: torch.device, arguments: Mapping[str, object] | None = None) -> LoadedModel:
    """Load ``NAME`` (or ``NAME.WEIGHTS``: ``resnet50.IMAGENET1K_V1``) with weights of a file, or torchvision's own.

    Without ``WEIGHTS``, preparation and class names are those of the default weights of the architecture.

    Args:
        rest: ``NAME`` or ``NAME@FILE``.
        device: where the classifier runs.
        arguments: of ``torchvision.models.get_model``, such as ``num_classes``; they win over those of the description
            beside the file.

    Raises:
        InputError: unknown name, a file that does not fit, or weights that are neither cached nor on a host that may be
            reached.
    """
    name, _, file = rest.partition("@")
    architecture, _, member = name.partition(".")
    with quiet_loading():
        torchvision = import_extra("torchvision", "models", f"torchvision:{name}")
        weights = _weights(torchvision, architecture, member)
        if file:
            stated = {**(described_beside(Path(file)).arguments or {}), **(arguments or {})}
            given = plain_arguments(stated, f"torchvision:{name}")
        else:
            given = published_arguments(arguments, f"torchvision:{name}")
        tensors, found = read_checkpoint(Path(file)) if file else (_published(weights, name), ())
        head = classifier_weight(tensors)
        counted = {"num_classes": _CLASSES if head is None else int(head.shape[0])}
        network, outputs = _build(torchvision, architecture, tensors, {**counted, **given})
        load_strictly(network, tensors, source=Path(file).name if file else f"torchvision:{name}")
        preparation, normalization = preparation_of(weights, name=name)
    if (size := built_for(given, "image_size")) is not None:
        preparation = resized(preparation, size)
    categories = tuple(str(category) for category in weights.meta.get("categories", ()))
    names = categories if len(categories) == outputs else None
    assumed: dict[Field, str] = {"preparation": f"preparation assumed to be that of torchvision's {weights}"}
    if names:
        assumed["class_names"] = f"class names assumed to be those of torchvision's {weights}"
    loaded = LoadedModel(
        network=network,
        name=f"torchvision:{name}@{Path(file).name}" if file else f"torchvision:{name}",
        preparation=preparation,
        normalization=normalization,
        output="logits",
        class_names=names,
        outputs=outputs,
        feature_layer="avgpool" if type(network).__name__ in _POOLED else None,
        notes=found,
        assumed=assumed if file else {},
    )
    return with_description(loaded, Path(file)) if file else loaded


def classifier_weight(tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Weight of the last layer, whose first axis is the number of classes; None when no known name is there.

    >>> names = {"classifier.1.weight": torch.ones(8, 4), "classifier.4.weight": torch.ones(3, 8)}
    >>> classifier_weight(names).shape
    torch.Size([3, 8])
    """
    numbered = [name for name in tensors if re.fullmatch(r"classifier\.\d+\.weight", name)]
    last = sorted(numbered, key=lambda name: int(name.split(".")[1]), reverse=True)
    candidates = ("fc.weight", "heads.head.weight", "head.weight", "classifier.weight", *last)
    return next((tensors[name] for name in candidates if name in tensors and tensors[name].ndim >= 2), None)


def _weights(torchvision: ModuleType, architecture: str, member: str) -> Any:  # noqa: ANN401 - WeightsEnum, an extra
    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        raise unknown_name("torchvision classifier", architecture, known)
    choices = torchvision.models.get_model_weights(architecture)
    if not member:
        return choices.DEFAULT
    if member not in choices.__members__:
        raise unknown_name(f"weights of torchvision:{architecture}", member, choices.__members__)
    return choices[member]


def _published(weights: Any, name: str) -> dict[str, Tensor]:  # noqa: ANN401 - WeightsEnum, an extra
    """Torchvision's own weights from its cache, or downloaded into it."""
    host = host_of(weights.url)
    allowed = may_reach(host)
    if not allowed and not cached_by_torch(weights.url):
        raise no_weights(f"torchvision:{name}", host, allowed=False)
    try:
        tensors: dict[str, Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, weights_only=True, map_location="cpu"
        )
    except Exception as error:
        raise no_weights(f"torchvision:{name}", host, allowed=allowed, error=error) from error
    # DenseNet's published files name the layers inside a block as an early version of torchvision did ("norm.1").
    for key in [key for key in tensors if re.fullmatch(r".*denselayer\d+\.(norm|relu|conv)\.[12]\..*", key)]:
        tensors[re.sub(r"\.(norm|relu|conv)\.([12])\.", r".\1\2.", key)] = tensors.pop(key)
    return tensors


def _build(
    torchvision: ModuleType, architecture: str, tensors: Mapping[str, Tensor], arguments: Mapping[str, Any]
) -> tuple[nn.Module, int]:
    """The network with initial weights, and its number of outputs."""
    options: dict[str, Any] = {}
    if architecture in ("googlenet", "inception_v3"):
        # As the published weights were trained: inputs rescaled inside, auxiliary heads only if the file has them.
        has_heads = any(key.startswith(("aux1.", "AuxLogits.")) for key in tensors)
        options = {"transform_input": True, "aux_logits": has_heads, "init_weights": False}
    try:
        network: nn.Module = torchvision.models.get_model(architecture, weights=None, **{**options, **arguments})
    except Exception as error:
        raise InputError(
            f"torchvision:{architecture} cannot be built with {dict(arguments)} (--model-args): {error}"
        ) from error
    return network, int(arguments["num_classes"])


def preparation_of(weights: Any, *, name: str) -> tuple[Preprocessing, Normalization]:  # noqa: ANN401 - WeightsEnum
    """Translate ``weights.transforms()``: shorter edge to ``resize_size``, centre crop, mean and std."""
    transform = weights.transforms()
    if type(transform).__name__ != "ImageClassification":
        raise InputError(f"torchvision:{name} has the transform {type(transform).__name__}, which is not known here")
    crop, resize = transform.crop_size[0], transform.resize_size[0]
    preparation = Preprocessing(
        size=(crop, crop),
        resize="shorter",
        resize_to=(resize, resize),
        interpolation=transform.interpolation.value,
    )
    return preparation, Normalization(tuple(transform.mean), tuple(transform.std))
