"""Load a classifier that a server runs: request its description once, and identify it by a few noise images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, ModelError, import_extra
from snellen.core.preprocessing import Preprocessing
from snellen.core.refused_values import refused_values
from snellen.core.run import canonical_json
from snellen.models.classifiers.assembly import Field, LoadedModel, probe_images
from snellen.models.classifiers.model_record import ModelRecord, read_preparation
from snellen.models.classifiers.served.inference_client import InferenceClient
from snellen.models.classifiers.served.served_network import ImageLayout, ServedNetwork, read_layout
from snellen.models.classifiers.served.server_reference import LARGEST_SIDE, ServedModel, read_reference
from snellen.models.classifiers.served.tensor_messages import ModelMetadata, announces_binary, choose, read_metadata
from snellen.models.remote.connection import read_key

#: The environment variable that a server's key is taken from.
KEY_VARIABLE = "SNELLEN_CLASSIFIER_KEY"


def load_http(rest: str, device: torch.device) -> LoadedModel:
    """Load ``http://HOST:PORT/v2/models/NAME[/versions/V]?setting=value&…``.

    Settings are those of :class:`~snellen.models.classifiers.served.server_reference.ServerSettings`; they are not
    sent. The server's description holds input, output and, in ``parameters``, perhaps class names and preparation
    (:meth:`~snellen.models.classifiers.served.tensor_messages.ModelMetadata.record`). What neither gives is assumed,
    and the assumption stands in ``notes``: RGB in [0, 1] without normalisation (bytes, where the input is ``UINT8``);
    the shorter edge scaled (bilinear) to the input size and the centre cut out.

    The weights cannot be hashed. The identity is a hash of name, version, description and the scores of four noise
    images, and none where the server answers twice with other scores.

    Raises:
        InputError: another machine that is not allowed, no such model, or one of another kind.
        ModelError: the server cannot be reached, or answers with something else.
        MissingExtraError: the client is not installed.
    """
    return _load(f"http:{rest}")


def load_https(rest: str, device: torch.device) -> LoadedModel:
    """As :func:`load_http`, over an encrypted connection."""
    return _load(f"https:{rest}")


def _load(reference: str) -> LoadedModel:
    model = read_reference(reference)
    where, settings = model.server.url, model.settings
    key = read_key(KEY_VARIABLE, model.server)
    client = InferenceClient(import_extra("httpx2", "http", where), model, key)
    metadata = read_metadata(client.get(where).body, model)
    record = metadata.record(where)
    entry, output = (
        choose(metadata.inputs, settings.input, "input", where),
        choose(metadata.outputs, settings.output, "output", where),
    )
    layout = read_layout(entry, settings.layout, where)
    binary = _takes_bytes(client, model) if settings.binary is None else settings.binary
    network = ServedNetwork(client, model, layout, entry=entry.name, output=output.name, binary=binary)
    assumed: dict[Field, str] = {}
    preparation = _preparation(model, record, layout, assumed)
    normalization = _normalization(model, record, layout, assumed)
    identity, reason = _identity(network, metadata, preparation)
    notes = [f"the scores come from a server, whose weights cannot be hashed; {reason}"]
    if settings.output is None and len(metadata.outputs) > 1:
        notes.append(f"the model has {len(metadata.outputs)} outputs; the first, {output.name!r}, is used")
    if layout.channels == 1:
        notes.append("the model takes one channel: the mean of the three is sent")
    if layout.datatype == "UINT8":
        notes.append("the model takes bytes: images are rounded to 8 bits, changed ones too")
    return LoadedModel(
        network=network,
        name=where,
        preparation=preparation,
        normalization=normalization,
        task=record.task or "single",
        output=record.output,
        class_names=record.class_names,
        identity=identity,
        notes=tuple(notes),
        assumed=assumed,
        sent_to=model.server.host,
        advice="its input size is dynamic; say it: ?size=224, or pass preparation=Preprocessing(...)",
    )


def _takes_bytes(client: InferenceClient, model: ServedModel) -> bool:
    """Whether the server says that numbers may travel as bytes; many have no description of themselves."""
    try:
        return announces_binary(client.get(model.base).body)
    except (InputError, ModelError):
        return False


def _preparation(
    model: ServedModel, record: ModelRecord, layout: ImageLayout, assumed: dict[Field, str]
) -> Preprocessing | None:
    settings, where = model.settings, model.server.url
    written: Mapping[str, Any] = settings.model_dump(
        include={"resize", "resize_to", "interpolation"}, exclude_none=True
    )
    size = layout.size or settings.size
    if settings.size is not None and layout.size not in (None, settings.size):
        raise InputError(f"{where}: size is {settings.size}, but the model takes {layout.size} (height, width)")
    if record.preparation is not None and not written and settings.size is None:
        found = read_preparation(record.preparation, source=where)
        if found.size is None or (layout.size is not None and found.size != layout.size):
            raise InputError(f"{where}: it describes images of {found.size}, but takes {layout.size} (height, width)")
        if max(*found.size, *(found.resize_to or ())) > LARGEST_SIDE:
            raise InputError(f"{where}: it wants images of more than {LARGEST_SIDE} pixels a side")
        return found
    if size is None:
        return None
    if not written:
        assumed["preparation"] = f"preparation assumed: shorter edge to {min(size)} pixels (bilinear), centre crop"
    if written.get("resize") != "none":
        written = {"resize": "shorter", "resize_to": size, **written}
    try:
        return Preprocessing.model_validate({"size": size, **written})
    except ValidationError as error:
        raise InputError(f"{where}: {refused_values(error)}") from error


def _normalization(
    model: ServedModel, record: ModelRecord, layout: ImageLayout, assumed: dict[Field, str]
) -> Normalization | None:
    settings = model.settings
    if settings.mean is not None or settings.std is not None:
        found = Normalization(settings.mean or (0.0,) * 3, settings.std or (1.0,) * 3)
    elif record.normalization is not None:
        found = Normalization(record.normalization.mean, record.normalization.std)
    else:
        if layout.datatype != "UINT8" and not record.model_fields_set - {"class_names"}:
            assumed["normalization"] = "input assumed to be RGB in [0, 1] without normalisation"
        return None
    if layout.datatype == "UINT8":
        raise InputError(f"{model.server.url} takes bytes and normalises them itself; leave mean and std out")
    return found


def _identity(
    network: ServedNetwork, metadata: ModelMetadata, preparation: Preprocessing | None
) -> tuple[str | None, str]:
    """Hash of what can be seen of a model from outside, and notes about it."""
    if preparation is None or preparation.size is None:
        return None, "without an input size it has no identity, and no run of it is taken up again"
    images = probe_images(preparation.size)
    seen, again = (_bytes(network.outputs(images)) for _ in range(2))
    if seen != again:
        return None, "it gives other scores for the same images, so that no run of it is taken up again"

    def check_same() -> None:
        if _bytes(network.outputs(images)) != seen:
            raise ModelError(
                f"{network.where} was away, and another model came back: it scores the same images otherwise"
            )

    network.check_same = check_same
    described = metadata.model_dump(mode="json", exclude={"parameters"})
    hashed = hashlib.sha256(canonical_json({"model": described, "version": network.version})).hexdigest()
    identity = hashlib.sha256(f"{hashed} {seen}".encode()).hexdigest()
    return identity, "its identity is that of name, version, description and the scores of four noise images"


def _bytes(outputs: Tensor) -> str:
    array = np.ascontiguousarray(outputs.numpy())
    return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).hexdigest()
