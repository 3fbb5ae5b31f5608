"""A frozen encoder from a reference: any classifier, the image side of a text–image model, or a backbone."""

from __future__ import annotations

import hashlib
from pathlib import Path

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.models.classifiers.references import SCHEMES, load_classifier
from snellen.models.dual_encoders.hugging_face_towers import MODELS as TWO_TOWER_TYPES
from snellen.models.encoders import hugging_face_encoders
from snellen.models.encoders.frozen_encoder import FrozenEncoder, before_the_head
from snellen.models.encoders.hugging_face_encoders import load_sam_encoder
from snellen.models.references import load_two_tower
from snellen.models.weights.bundled_folders import bundled_folders, read_card
from snellen.models.weights.devices import resolve_device
from snellen.models.weights.hugging_face_folder import check_folder, import_transformers, load_config

_FORMS = (
    "bundled:NAME, artifact:FOLDER, timm:NAME[@FILE.safetensors], torchvision:NAME[@FILE.safetensors], hf:FOLDER (a "
    "classifier, a backbone such as DINO, or CLIP), openclip:FOLDER or openclip:NAME@FILE.safetensors"
)

#: Where the folder of a model states its architecture.
_CONFIGURATIONS = {"hf": "config.json", "openclip": "open_clip_config.json"}


def load_encoder(ref: str | Path | Classifier, *, layer: str | None = None, device: str = "cpu") -> FrozenEncoder:
    """Load an image encoder, with its own preparation and normalisation, from wherever a model lives.

    - A classifier gives the vectors that its last linear layer takes.
    - A text–image model (``bundled:scene-clip``, ``openclip:…``, ``hf:`` of CLIP or SigLIP) gives the raw vectors of
      its image side.
    - A SAM (``bundled:scene-sam``, or ``hf:``) gives the mean over places of the map that its decoder of masks reads.
    - A backbone of transformers (``hf:`` of DINO, DINOv2, DINOv3, ResNet …) gives its class token or its pooled map.

    >>> load_encoder("bundled:fashion-cnn")
    FrozenEncoder('bundled:fashion-cnn', 28x28, 256 numbers, input of head)

    Args:
        ref: the reference, or a loaded classifier.
        layer: for classifiers: the layer whose output is meant, instead of the vectors before the decision; maps are
            averaged over places.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; a loaded classifier stays where it is.

    Raises:
        InputError: a reference that cannot be used, a model without a fixed size of images, or a layer where none can
            be named.
        UnsupportedError: a classifier without such a layer.
        MissingExtraError: the library of the model is not installed.
        ModelError: a model that does not give one finite vector for an image.
    """
    if isinstance(ref, Classifier):
        return _of_classifier(ref, layer, ref.name)
    name = str(ref)
    scheme, colon, rest = name.partition(":")
    if not colon or not rest or scheme not in (*SCHEMES, "openclip"):
        raise InputError(f"{name!r} is no reference of an image encoder; expected one of: {_FORMS}")
    paired = scheme == "bundled" and rest in bundled_folders()
    if paired and read_card(bundled_folders()[rest]).kind == "segmenter":
        scheme, rest, paired = "hf", str(bundled_folders()[rest]), False
    config = _config(Path(rest), name) if scheme == "hf" else None
    if config is not None and config.model_type == "sam":
        _no_layer(layer, name)
        configuration = _configuration(scheme, rest)
        return load_sam_encoder(Path(rest), resolve_device(device), name=name, configuration=configuration)
    if config is not None and config.model_type not in TWO_TOWER_TYPES and not _classifies(config):
        _no_layer(layer, name)
        at = resolve_device(device)
        return hugging_face_encoders.load(Path(rest), config, at, name=name, configuration=_configuration(scheme, rest))
    if scheme == "openclip" or paired or (config is not None and config.model_type in TWO_TOWER_TYPES):
        _no_layer(layer, name)
        towers = load_two_tower(name, device=device)
        return FrozenEncoder(
            name=name,
            network=towers.image_tower,
            preparation=towers.preparation,
            normalization=towers.normalization,
            layer="image vector",
            configuration=_configuration(scheme, rest),
            device=towers.device,
        )
    return _of_classifier(load_classifier(name, device=device), layer, name, _configuration(scheme, rest))


def _of_classifier(classifier: Classifier, layer: str | None, name: str, configuration: str = "") -> FrozenEncoder:
    network, where = before_the_head(classifier, layer)
    return FrozenEncoder(
        name=name,
        network=network,
        preparation=classifier.preparation,
        normalization=classifier.normalization,
        layer=where,
        configuration=configuration,
        device=classifier.device,
    )


def _configuration(scheme: str, rest: str) -> str:
    """What no tensor shows, such as activations and numbers of heads: hash of a folder's file, or an architecture."""
    file = _CONFIGURATIONS.get(scheme)
    if file is not None and (Path(rest) / file).is_file():
        return hashlib.sha256((Path(rest) / file).read_bytes()).hexdigest()
    return rest.partition("@")[0] if scheme in ("openclip", "timm", "torchvision") else ""


def _config(folder: Path, name: str):
    check_folder(folder)
    return load_config(import_transformers(name), folder)


def _classifies(config: object) -> bool:
    names = getattr(config, "architectures", None) or []
    return any(str(name).endswith("ForImageClassification") for name in names)


def _no_layer(layer: str | None, name: str) -> None:
    if layer is not None:
        raise InputError(f"{name}: a layer can be named for classifiers only, got {layer!r}")
