"""A folder of adapters of a generator, fitted one after the other to real images: what is finished is kept.

A stopped call resumes with the next adapter. Adapters of another fitting are refused, and never mixed with these.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError, RunConflictError
from snellen.core.preprocessing import to_unit
from snellen.core.run import write_atomically
from snellen.methods.synthesis.manifest_rows import Source
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.generator_adapters import (
    CARD,
    SHARED,
    AdapterCard,
    FittedAdapter,
    GeneratorAdapters,
    class_folder,
    model_hashes,
    write_card,
)
from snellen.training.environment import record_environment
from snellen.version import __version__

#: What lies in the folder of one adapter once it is finished.
_DONE = "adapter.json"

#: Name of an adapter, its classes, its new folder → the adapter, written into the folder.
FitOne = Callable[[str, Sequence[str], Path], FittedAdapter]


def planned_card(
    generator: Generator,
    labels: Mapping[str, Sequence[str]],
    prompts: Mapping[str, tuple[str, ...]],
    fit: Mapping[str, object],
    seed: int,
) -> AdapterCard:
    """The card of adapters that are to be fitted, without the adapters.

    Args:
        generator: that they belong to.
        labels: the classes of each adapter, by its name.
        prompts: that each class is fitted with.
        fit: numbers of the fitting, and what identifies its images.
        seed: of everything random.
    """
    return AdapterCard(
        generator=generator.name,
        models=model_hashes(generator),
        classes={label: name for name, own in labels.items() for label in own},
        prompts=dict(prompts),
        adapters={},
        fit=dict(fit),
        seed=seed,
        code_version=__version__,
        environment=record_environment(generator.device),
    )


def finished_folder(folder: Path, base: AdapterCard) -> GeneratorAdapters | None:
    """The adapters of a folder in which all were fitted; None where some are missing.

    Raises:
        RunConflictError: the folder holds adapters of another fitting.
    """
    if not (folder / CARD).exists():
        return None
    held = GeneratorAdapters.load(folder)
    _same(held.card, base, folder)
    return held


def fit_each(folder: Path, base: AdapterCard, labels: Mapping[str, Sequence[str]], fit: FitOne) -> GeneratorAdapters:
    """Fit each adapter that the folder lacks, and write the card.

    Raises:
        RunConflictError: the folder holds an adapter of another fitting.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, FittedAdapter] = {}
    for name, own in labels.items():
        target = folder / (SHARED if name == SHARED and len(labels) == 1 else class_folder(name))
        finished = _finished(target, base)
        if finished is None:
            shutil.rmtree(target, ignore_errors=True)
            finished = fit(name, own, target)
            one = base.model_copy(update={"adapters": {name: finished}})
            write_atomically(target / _DONE, f"{one.model_dump_json(indent=2)}\n".encode())
        found[name] = finished
    return write_card(folder, base.model_copy(update={"adapters": found}))


def _finished(target: Path, base: AdapterCard) -> FittedAdapter | None:
    """The adapter in a folder that a stopped call finished; None without one."""
    if not (target / _DONE).is_file():
        return None
    card = AdapterCard.model_validate_json((target / _DONE).read_text(encoding="utf-8"))
    _same(card, base, target)
    return next(iter(card.adapters.values()))


def _same(card: AdapterCard, wanted: AdapterCard, folder: Path) -> None:
    """Refuse adapters of another fitting."""
    keys = {"models", "classes", "prompts", "fit", "seed"}
    was, now = (one.model_dump(include=keys, mode="json") for one in (card, wanted))
    was, now = ({**one.pop("fit"), **one} for one in (was, now))
    differs = [
        f"{key} (there {_shown(was.get(key))}, now {_shown(now.get(key))})"
        for key in dict.fromkeys([*now, *was])
        if was.get(key) != now.get(key)
    ]
    if differs:
        raise RunConflictError(
            f"{folder} holds adapters that were fitted with other settings: {'; '.join(differs)}. Give those settings "
            f"again to use what is there, or name another folder, or remove this one"
        )


def _shown(value: object) -> str:
    """A setting in a message, of bounded length."""
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def read_all(source: Source, what: str = "image") -> tuple[list[Tensor], list[str], list[str]]:
    """All images that can be read, float (3, h, w) in [0, 1], and their classes; of the others, ids with reasons.

    Args:
        source: with images.
        what: messages call one.

    Raises:
        InputError: none of a class can be read.
    """
    assert source.images is not None
    images, classes, reasons = list[Tensor](), list[str](), dict[str, str]()
    left_out = list[str]()
    for row, label in enumerate(source.images.labels.tolist()):
        try:
            pixels = source.images.read(row)
        except RejectedImageError as error:
            reasons[source.classes[label]] = str(error)
            left_out.append(f"{source.images.ids[row]} ({error})")
            continue
        images.append(to_unit(torch.from_numpy(np.array(pixels)).permute(2, 0, 1)))
        classes.append(source.classes[label])
    lost = next((name for name in source.classes if name not in classes), None)
    if lost is not None:
        raise InputError(f"no {what} of class {lost!r} can be read: {reasons.get(lost, 'there is none')}")
    return images, classes, left_out
