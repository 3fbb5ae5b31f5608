"""What methods share that generate images: seeds of requests, the image set that is returned, identities of weights."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import pyarrow as pa
import torch
from torch import nn

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Provenance
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.files.arrays import ArraySource
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generate import Generated
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.generator_adapters import model_hashes
from snellen.models.diffusion.loading import load_generator


def weights_of(classifier: Classifier) -> str | None:
    """Hash of a classifier's weights alone, by which it is known under another name, form or preparation.

    The identity that a loader gives where there is no module; None where there is neither.
    """
    return classifier.identity if classifier.module is None else hash_of(classifier.module)


def hash_of(network: nn.Module) -> str:
    """Hash of the tensors of a network, independent of their names: a network within another one has the same.

    >>> one = nn.Linear(2, 3)
    >>> hash_of(one) == hash_of(nn.Sequential(nn.Identity(), one)) != hash_of(nn.Linear(2, 3))
    True
    """
    hashes = sorted(hash_tensors({"": tensor}) for tensor in network.state_dict().values())
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def seeds_of(requests: Sequence[Mapping[str, Any]], stream: str, rng: Randomness) -> list[int]:
    """The seed that each request names, or one of its own that belongs to its ``id``.

    >>> seeds_of([{"id": "a", "seed": 7}], "demo", Randomness(0))
    [7]

    Raises:
        InputError: a seed that is not a whole number.
    """
    return [
        _whole(request) if "seed" in request else derive_seed(rng.seed, stream, str(request.get("id"))) % 2**31
        for request in requests
    ]


def _whole(request: Mapping[str, Any]) -> int:
    try:
        return operator.index(request["seed"])
    except TypeError:
        raise InputError(
            f"request {request.get('id')!r}: a seed is a whole number; got {request['seed']!r}. Leave it away for one "
            f"that belongs to the id"
        ) from None


def made_set(
    made: Generated,
    requests: Sequence[Mapping[str, Any]],
    captions: Sequence[str],
    *,
    name: str,
    reported: Sequence[Mapping[str, object]] = (),
    classes: Sequence[int] = (),
    class_names: Sequence[str] = (),
    provenance: Sequence[Provenance] = (),
) -> ImageSet:
    """Generated images as a set, with the ids of their requests.

    Args:
        made: the images.
        requests: one for each image.
        captions: what each should show.
        name: of the set.
        reported: what else is known of each, as JSON in the column ``attributes``.
        classes: index of the class that each should show, −1 for none; empty where there are no classes.
        class_names: that ``classes`` index.
        provenance: instead of that of ``made``.
    """
    table: dict[str, Sequence[object]] = {
        "id": [str(request.get("id", number)) for number, request in enumerate(requests)],
        "caption": captions,
        **({"label": classes} if class_names and len(classes) else {}),
        **({"attributes": [json.dumps(row) for row in reported]} if reported else {}),
        "provenance": [origin.model_dump_json(exclude_none=True) for origin in provenance or made.provenance],
    }
    columns = {column: pa.array(values, COLUMNS[column]) for column, values in table.items()}
    names = tuple(class_names) if "label" in table else None
    return ImageSet(ArraySource(made.bytes().permute(0, 2, 3, 1).numpy()), pa.table(columns), names, name)


def identities_of(generator: Generator, prefix: str = "") -> dict[str, str]:
    """Hash of the weights of each network of a generator."""
    return {f"{prefix}{name}": found for name, found in model_hashes(generator).items()}


_where: ContextVar[tuple[str, str]] = ContextVar("where generators run", default=("cpu", "float32"))


def where() -> tuple[str, str]:
    """Where methods load their generators to, and the precision of the weights, a name of torch."""
    return _where.get()


@contextmanager
def generating_on(device: str, dtype: str = "float32") -> Iterator[None]:
    """Inside the block, methods load their generators to this device, with weights of this precision."""
    token = _where.set((device, dtype))
    try:
        yield
    finally:
        _where.reset(token)


def generator_of(reference: str, device: str | None = None, dtype: str | None = None) -> Generator:
    """A generator by reference, loaded once: a method is called for each batch of requests.

    Args:
        reference: ``diffusers:FOLDER`` or ``bundled:NAME``.
        device: where it runs; None: as :func:`generating_on` says, else the CPU.
        dtype: of its weights, a name of torch; None likewise, else ``float32``.
    """
    own_device, own_dtype = where()
    return _generator(reference, device or own_device, dtype or own_dtype)


@lru_cache(maxsize=3)
def _generator(reference: str, device: str, dtype: str) -> Generator:
    return load_generator(reference, device=device, dtype=getattr(torch, dtype))


@lru_cache(maxsize=3)
def classifier_of(reference: str, classes: str | None = None) -> Classifier:
    """A classifier by reference, loaded once; ``classes`` is a file with other names for its classes, one a line."""
    return load_classifier(reference, classes)
