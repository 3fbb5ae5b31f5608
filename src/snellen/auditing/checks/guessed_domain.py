"""Guess the domain of images: by the name of a set of MedMNIST, by the names of classes, else from a few of the images.

A guess decides which kinds of damage are measured, how strong they are in medical images, and which findings come
first. The report shows it, and how to change it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet
from snellen.methods.corruptions.benchmarks import medical_sets
from snellen.methods.corruptions.domains import table

#: Classes of so large a share with a word of a domain decide for it.
NAMED = 1 / 3

#: Images that are examined, and the share of them that must agree.
EXAMINED, AGREEING = 32, 0.6

#: A border is plain where its values differ by less than this standard deviation; grey levels of 255.
PLAIN = 12.0

#: Paper is brighter than the first, ink darker than the second; a page has so much of either, and so little colour.
PAPER, INK, MOST_INK, LEAST_INK, LEAST_PAPER, MOST_COLOUR = 200, 110, 0.35, 0.005, 0.5, 12.0


@dataclass(frozen=True)
class Guess:
    """A domain, and why it was guessed."""

    domain: str
    why: str


def guess_domain(images: ImageSet, class_names: Sequence[str]) -> Guess:
    """The domain of an image set.

    Args:
        images: a few of them are read, where names do not decide.
        class_names: of the classifier.
    """
    return _by_name(images.name, class_names) or _by_pixels(images)


def _by_name(name: str, class_names: Sequence[str]) -> Guess | None:
    for modality, sets in medical_sets().items():
        if any(one in name.lower() for one in sets):
            return Guess(f"medical:{modality}", f"the data are called {name}")
    counts = {
        domain: [one for one in class_names if words & _words(one)]
        for domain, words in ((domain, set(words)) for domain, words in table()["words"].items())
    }
    domain, named = max(counts.items(), key=lambda pair: len(pair[1]))
    if not class_names or len(named) < NAMED * len(class_names):
        return None
    shown = ", ".join(named[:3])
    return Guess(domain, f"{len(named)} of {len(class_names)} classes have names such as {shown}")


def _words(name: str) -> set[str]:
    lower = name.lower()
    return {*re.findall(r"[a-z0-9-]+", lower), *re.split(r"[^a-z0-9]+", lower), re.sub(r"[^a-z0-9]", "", lower)}


def _by_pixels(images: ImageSet) -> Guess:
    pages = plain = seen = 0
    for row in np.unique(np.linspace(0, len(images) - 1, EXAMINED).astype(int)).tolist():
        try:
            pixels = np.asarray(images.read(row), dtype=np.float64)
        except RejectedImageError:
            continue
        pixels = pixels[..., :3] if pixels.ndim == 3 else pixels[..., None]
        seen += 1
        pages += is_page(pixels)
        plain += has_plain_border(pixels)
    if seen and pages >= AGREEING * seen:
        return Guess("documents", f"{pages} of {seen} images are dark on bright paper")
    if seen and plain >= AGREEING * seen:
        return Guess("products", f"{plain} of {seen} images have a plain border around the object")
    return Guess("photos", "neither names of classes nor images look like another domain")


def is_page(pixels: NDArray[np.float64]) -> bool:
    """Whether an image is mostly bright paper with some dark ink and hardly a colour: (h, w, 1 or 3) in [0, 255]."""
    grey = pixels.mean(-1)
    paper, ink = float((grey > PAPER).mean()), float((grey < INK).mean())
    between = 1 - paper - ink
    colour = float(np.ptp(pixels, axis=-1).mean())
    return paper > LEAST_PAPER and LEAST_INK < ink < MOST_INK and between < MOST_INK and colour < MOST_COLOUR


def has_plain_border(pixels: NDArray[np.float64]) -> bool:
    """Whether the outermost pixels hardly differ, and the rest does: (h, w, 1 or 3) in [0, 255]."""
    grey = pixels.mean(-1)
    rim = max(min(grey.shape) // 28, 1)
    inner = np.zeros(grey.shape, dtype=bool)
    inner[rim:-rim, rim:-rim] = True
    if not inner.any():
        return False
    # Most of the rim: an object may touch it, as trousers do.
    border = grey[~inner]
    middle = float(np.median(border))
    return float((np.abs(border - middle) < PLAIN).mean()) > 0.75 and float(grey[inner].std()) > PLAIN
