"""``timm:NAME[@FILE]``: an architecture of timm, with its own evaluation transform."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import get_args

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, import_extra, unknown_name
from snellen.core.preprocessing import Interpolation, Preprocessing
from snellen.models.classifiers.assembly import LoadedModel
from snellen.models.classifiers.checkpoint_description import described_beside, with_description
from snellen.models.classifiers.model_options import built_for, plain_arguments, published_arguments, resized
from snellen.models.remote.permission import host_of, may_reach
from snellen.models.weights.checkpoint_file import read_checkpoint
from snellen.models.weights.quiet_loading import cached_by_torch, hub_host, no_weights, quiet_loading
from snellen.models.weights.state_dict_file import load_strictly


def load(rest: str, device: torch.device, arguments: Mapping[str, object] | None = None) -> LoadedModel:
    """Load ``NAME`` (with or without a tag: ``resnet50.a1_in1k``) with weights of a file, or with timm's own.

    Args:
        rest: ``NAME`` or ``NAME@FILE``.
        device: where the classifier runs.
        arguments: of ``timm.create_model``, such as ``num_classes`` or ``img_size``; they win over those of the
            description beside the file.

    Raises:
        InputError: unknown name, a file that does not fit, or weights that are neither cached nor on a host that may be
            reached.
    """
    name, _, file = rest.partition("@")
    with quiet_loading():
        timm = import_extra("timm", "models", f"timm:{name}")
        check_name(timm, name)
        host = None if file else _host_with_weights(timm, name)
    with quiet_loading(offline=host is None or not may_reach(host)):
        if file:
            stated = {**(described_beside(Path(file)).arguments or {}), **(arguments or {})}
            given = plain_arguments(stated, f"timm:{name}")
            network, found = _with_file(timm, name, Path(file), given)
        else:
            given = published_arguments(arguments, f"timm:{name}")
            network, found = _pretrained(timm, name, host, given), ()
        config: Mapping[str, object] = timm.data.resolve_model_data_config(network)
    outputs = getattr(network, "num_classes", 0)
    if not outputs:
        raise InputError(
            f"timm:{name} has no classifier (num_classes is 0); give a file that has one, timm:{name}@FILE"
        )
    preparation, normalization = preparation_of(config, name=name)
    if (size := built_for(given, "img_size")) is not None:
        preparation = resized(preparation, size)
    names = _class_names(timm, network)
    assumed = f"class names assumed to be those of ImageNet-1k, for which timm configures {name}"
    loaded = LoadedModel(
        network=network,
        name=f"timm:{name}@{Path(file).name}" if file else f"timm:{name}",
        preparation=preparation,
        normalization=normalization,
        output="logits",
        class_names=names,
        outputs=outputs,
        feature_layer=pooled_layer(network),
        notes=found,
        assumed={"class_names": assumed} if names and file else {},
    )
    return with_description(loaded, Path(file)) if file else loaded


def described(network: nn.Module, name: str) -> LoadedModel:
    """A model of timm that the user made: its own preparation, and class names where its configuration holds them.

    Raises:
        InputError: a preparation that is not known here.
    """
    timm = import_extra("timm", "models", name)
    config: Mapping[str, object] = timm.data.resolve_model_data_config(network)
    preparation, normalization = preparation_of(config, name=name)
    return LoadedModel(
        network=network,
        name=name,
        preparation=preparation,
        normalization=normalization,
        output="logits",
        class_names=_class_names(timm, network),
        outputs=getattr(network, "num_classes", None),
        feature_layer=pooled_layer(network),
    )


def build_untrained(*, model: str, class_count: int) -> nn.Module:
    """One of timm's architectures with initial weights, for ``class_count`` classes.

    Raises:
        UnknownNameError: timm has no such model.
    """
    with quiet_loading():
        timm = import_extra("timm", "models", f"timm:{model}")
        check_name(timm, model)
        network: nn.Module = timm.create_model(model, pretrained=False, num_classes=class_count)
    return network


def check_name(timm: ModuleType, name: str) -> None:
    """Refuse a name, or a tag, that timm does not have; the message lists near ones."""
    architecture, _, tag = name.partition(".")
    if architecture not in (known := timm.list_models()) and not timm.is_model(architecture):
        raise unknown_name("timm model", architecture, known)
    tagged = timm.models.get_arch_pretrained_cfgs(architecture)
    if tag and name not in tagged:
        raise unknown_name(f"weights of timm:{architecture}", name, tagged)


def preparation_of(config: Mapping[str, object], *, name: str) -> tuple[Preprocessing, Normalization]:
    """Translate timm's data configuration: what ``timm.data.create_transform(**config)`` does, bit for bit.

    ``center`` scales the shorter edge to size / crop_pct, ``squash`` ignores the aspect, ``border`` scales the longer
    edge and pads with the mean colour; a centre crop follows.

    >>> config = {"input_size": (3, 224, 224), "crop_pct": 0.95, "crop_mode": "center", "interpolation": "bicubic",
    ...           "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    >>> preparation_of(config, name="demo")[0].resize_to
    (235, 235)

    Raises:
        InputError: images that are not RGB, or an interpolation or crop mode that is not known here.
    """
    channels, height, width = _numbers(config["input_size"])
    mean, std = _numbers(config["mean"]), _numbers(config["std"])
    crop_share = float(str(config["crop_pct"]))
    interpolation, mode = str(config["interpolation"]), str(config.get("crop_mode") or "center")
    resize = {"center": "shorter", "squash": "exact", "border": "longer"}.get(mode)
    if channels != 3 or len(mean) != 3 or interpolation not in get_args(Interpolation) or resize is None:
        raise InputError(
            f"timm:{name} wants {channels:g} channels, {interpolation} interpolation and crop mode {mode!r}; expected "
            f"3 channels, one of {', '.join(get_args(Interpolation))}, and center, squash or border"
        )
    preparation = Preprocessing.model_validate(
        {
            "size": (int(height), int(width)),
            "resize": resize,
            "resize_to": (math.floor(height / crop_share), math.floor(width / crop_share)),
            "interpolation": interpolation,
            "fill": tuple(round(255 * value) for value in mean) if mode == "border" else (0, 0, 0),
        }
    )
    return preparation, Normalization(mean, std)


def pooled_layer(network: nn.Module) -> str | None:
    """Name of the global pooling before the last linear layer (at most a norm or dropout between), or None."""
    classifier = network.get_classifier() if hasattr(network, "get_classifier") else None  # type: ignore[operator]
    if not isinstance(classifier, nn.Linear) or classifier.in_features != getattr(network, "num_features", None):
        return None
    modules = dict(network.named_modules())
    candidates = [name for name in ("global_pool", "head.global_pool") if name in modules]
    pools = [name for name in candidates if type(modules[name]).__name__ == "SelectAdaptivePool2d"]
    return pools[0] if len(pools) == 1 else None


def imagenet_class_names(timm: ModuleType) -> tuple[str, ...]:
    """Names of the 1000 classes of ImageNet-1k, in order; synonyms are separated by commas."""
    info = timm.data.ImageNetInfo()
    return tuple(info.index_to_description(index) for index in range(1000))


def _numbers(values: object) -> tuple[float, ...]:
    assert isinstance(values, tuple | list)
    return tuple(values)


def _with_file(
    timm: ModuleType, name: str, path: Path, arguments: Mapping[str, object]
) -> tuple[nn.Module, tuple[str, ...]]:
    tensors, notes = read_checkpoint(path)
    network = _created(timm, name, {**_classes_in(timm, name, tensors), **arguments}, pretrained=False)
    load_strictly(network, tensors, source=path.name)
    return network, notes


def _created(timm: ModuleType, name: str, arguments: Mapping[str, object], *, pretrained: bool) -> nn.Module:
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, **arguments)
    except Exception as error:
        # Of timm's own weights, other errors say that they cannot be fetched.
        if not arguments or (pretrained and not isinstance(error, TypeError | AssertionError)):
            raise
        raise InputError(f"timm:{name} cannot be built with {dict(arguments)} (--model-args): {error}") from error
    return network


def _classes_in(timm: ModuleType, name: str, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """``num_classes`` as the file's classifier has it, where that differs from timm's default."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.classifier:
        return {}
    key = config.classifier if isinstance(config.classifier, str) else config.classifier[0]
    weight = tensors.get(f"{key}.weight")
    if weight is None or weight.ndim < 2 or weight.shape[0] == config.num_classes:
        return {}
    return {"num_classes": int(weight.shape[0])}


def _host_with_weights(timm: ModuleType, name: str) -> str | None:
    """The host that timm would contact for its own weights; None where there is none, or where it is not needed.

    Raises:
        InputError: an address that may not be reached, whose file is not in the cache.
    """
    config = timm.get_pretrained_cfg(name)
    if getattr(config, "hf_hub_id", None):
        return hub_host()
    url = getattr(config, "url", None)
    url = url[0] if isinstance(url, list | tuple) else url
    host = host_of(url) if url else None
    if url and host and not may_reach(host) and not cached_by_torch(url):
        raise no_weights(f"timm:{name}", host, allowed=False)
    return host


def _pretrained(timm: ModuleType, name: str, host: str | None, arguments: Mapping[str, object]) -> nn.Module:
    try:
        network = _created(timm, name, arguments, pretrained=True)
    except InputError:
        raise
    except Exception as error:
        raise no_weights(f"timm:{name}", host, allowed=host is None or may_reach(host), error=error) from error
    return network


def _class_names(timm: ModuleType, network: nn.Module) -> tuple[str, ...] | None:
    """Names that came with the weights, else those of ImageNet-1k where the configuration shows that it is meant."""
    config, outputs = getattr(network, "pretrained_cfg", {}), getattr(network, "num_classes", 0)
    own = config.get("label_names")
    if isinstance(own, list | tuple) and len(own) == outputs:
        return tuple(map(str, own))
    return imagenet_class_names(timm) if outputs == 1000 and "in1k" in str(config.get("tag")) else None
