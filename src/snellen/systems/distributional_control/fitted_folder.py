"""The folder of a control: fitted where it is missing, and refused where it was fitted to something else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.generation.made_images import where
from snellen.models.references import load_two_tower
from snellen.systems.distributional_control.control import Control, load_control, open_generator
from snellen.systems.distributional_control.controlling import SAMPLES, Wanted, fit_wanted, ordered_shares
from snellen.systems.distributional_control.energies import VIEWS
from snellen.systems.distributional_control.fitting import PRESETS
from snellen.systems.distributional_control.guides import guide_of

if TYPE_CHECKING:
    from snellen.systems.distributional_control.method import DistributionalControl

#: What ``shares`` says for equal ones.
UNIFORM = "uniform"


def shares_from(text: str) -> Mapping[str, float] | str:
    """``uniform``, or ``NAME=0.3,NAME=0.7`` as a mapping.

    >>> shares_from("red=0.25, blue=0.75"), shares_from("uniform")
    ({'red': 0.25, 'blue': 0.75}, 'uniform')

    Raises:
        InputError: something else.
    """
    if text.strip() == UNIFORM:
        return UNIFORM
    found = {}
    for part in text.split(","):
        name, mark, number = part.rpartition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            mark = ""
        if not mark or not name.strip():
            raise InputError(f"shares are {UNIFORM!r} or NAME=0.3,NAME=0.7; got {text!r}")
    return found


def ready(method: DistributionalControl, progress: Progress | None = None) -> Control:
    """The control, which is fitted first where its folder is missing.

    Raises:
        InputError: a folder with something else, or with a control of another generator or target.
    """
    card = Path(method.control) / "card.json"
    if not card.is_file():
        if Path(method.control).exists():
            raise InputError(f"{method.control} is there and holds no control; name another folder, or remove it")
        _fitted(method, progress)
    return _opened(method, card.read_bytes(), *where())


@lru_cache(maxsize=2)
def _opened(method: DistributionalControl, card: bytes, device: str, dtype: str) -> Control:
    """As :func:`ready`; what the folder holds is part of the key, since it may change between two calls."""
    found = load_control(method.control, open_generator(method.generator, device=device, dtype=getattr(torch, dtype)))
    differs = [
        f"{name} {found.target.get(name)!r}, not {value!r}"
        for name, value in _target(method).items()
        if name != "guide" and found.target.get(name) != value
    ]
    guide = guide_of(method)
    if guide is not None and "guide" in found.target and found.target["guide"] != (guide.identity or guide.name):
        differs.append(
            f"the guide {found.target.get('guide_name')} ({', '.join(found.target['guide_classes'])}), not "
            f"{guide.name} ({', '.join(guide.class_names)}), or other texts or weights of it"
        )
    differs += [
        f"{name} {found.target[name]}, not {given}"
        for name, given, default in (("samples", method.samples, SAMPLES), ("views", method.views, VIEWS))
        if given != default and name in found.target and found.target[name] != given
    ]
    numbers = method.fit or (PRESETS[method.preset] if method.preset != "small" else None)
    if numbers is not None and dict(found.fit) != numbers.model_dump(mode="json"):
        wanted = numbers.model_dump(mode="json")
        other = [
            f"{name} {found.fit.get(name)}, not {value}"
            for name, value in wanted.items()
            if found.fit.get(name) != value
        ]
        differs.append(f"a fit with {', '.join(other)}")
    if found.truncation != method.truncation:
        differs.append(f"truncation {found.truncation}, not {method.truncation}")
    if differs:
        raise InputError(
            f"{method.control} was fitted with {'; '.join(differs)}: name another folder for a new control"
        )
    return found


def _target(method: DistributionalControl) -> dict[str, Any]:
    """What the options want of a control, as its card holds it; what is left out may be anything."""
    guide = guide_of(method)
    found: dict[str, Any] = {}
    if guide is not None and (method.shares or method.classes):
        found["guide"] = guide.identity or guide.name
    if method.text:
        found["text_guide"] = load_two_tower(method.tower, device=where()[0]).identity()
    if method.shares and guide is not None:
        shares = shares_from(method.shares)
        found["shares"] = dict(zip(guide.class_names, ordered_shares(shares, guide), strict=True))  # type: ignore[arg-type]
    if method.classes:
        found["classes"] = dict.fromkeys(method.classes, 1.0)
    if method.text:
        found["text"] = method.text
    if method.weight is not None and (method.shares or method.classes):
        found["weight"] = method.weight
    return found | ({} if not method.text or method.text_weight is None else {"text_weight": method.text_weight})


def _fitted(method: DistributionalControl, progress: Progress | None) -> None:
    """Fit a control, and write its folder. Always with seed 0, so that images of any seed can use it."""
    device, dtype = where()
    guide, target = guide_of(method), _target(method)
    wanted = Wanted(
        classifier=guide,
        classes=target.get("classes"),
        shares=tuple(target.get("shares", {}).values()),
        text=method.text or None,
        tower=load_two_tower(method.tower, device=device) if method.text else None,
        weight=method.weight,
        text_weight=method.text_weight,
        views=method.views,
    )
    found = fit_wanted(
        open_generator(method.generator, device=device, dtype=getattr(torch, dtype)),
        wanted,
        preset=method.preset,
        fit=method.fit,
        truncation=method.truncation,
        samples=method.samples,
        rng=Randomness(0).child("distributional control"),
        progress=progress,
    )
    folder = Path(method.control)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        found.save(Path(beside) / folder.name)
        (Path(beside) / folder.name).rename(folder)  # a folder that is there holds all of it
