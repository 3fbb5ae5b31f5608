"""System 1 at full scale: confounded X-rays and their text–image model by path."""

from __future__ import annotations

import os

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.data.references import load_images
from snellen.models.language.references import load_language_model
from snellen.models.references import load_two_tower
from snellen.reproduction.concept_bottleneck.materials import Material, encoded
from snellen.systems.concept_bottleneck.concept_source import Concepts, read_concepts

#: A manifest with the columns label, group (the confounder) and split (train, val, test), and one of test images whose
#: confounder is reversed; the text–image model; the concepts; words for the confounder, with commas between them.
XRAYS, REVERSED, TOWER = "SNELLEN_XRAYS", "SNELLEN_XRAYS_REVERSED", "SNELLEN_XRAY_TOWER"
CONCEPTS, CONFOUNDERS = "SNELLEN_XRAY_CONCEPTS", "SNELLEN_XRAY_CONFOUNDERS"


def full_material(seed: int, progress: Progress) -> Material:
    """Confounded X-rays by path.

    Raises:
        InputError: a variable is not set, or what it names cannot be used.
    """
    absent = [name for name in (XRAYS, REVERSED, TOWER, CONCEPTS, CONFOUNDERS) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}: {XRAYS} is a manifest with label, group and split (train, "
            f"val, test), {REVERSED} one of test images whose group is reversed, {TOWER} the text–image model "
            f"(hf:FOLDER), {CONCEPTS} a file of concepts by question, {CONFOUNDERS} words that none may hold"
        )
    images = load_images(os.environ[XRAYS])
    reversed_images = load_images(os.environ[REVERSED])
    names = images.class_names
    if names is None or reversed_images.class_names != names:
        raise InputError(f"{XRAYS} and {REVERSED} need labels of the same classes; got {names} and "
                         f"{reversed_images.class_names}")  # fmt: skip
    tower = load_two_tower(os.environ[TOWER])
    source = load_language_model(f"file:{os.environ[CONCEPTS]}")

    def said(confounders: tuple[str, ...]) -> Concepts:
        return read_concepts(source, names, confounders=confounders, modality="chest X-ray")

    words = tuple(word.strip() for word in os.environ[CONFOUNDERS].split(",") if word.strip())
    kept = said(words)
    if not kept.questions:
        raise InputError(f"{CONCEPTS} needs lists by question, so that concepts can be scored as answers")
    train, val, test = (
        encoded(images.of_split(split), tower, kept, progress=progress) for split in ("train", "val", "test")
    )
    return Material(
        tower=tower,
        class_count=len(names),
        concepts=kept,
        leaked=said(()),
        train=train,
        val=val,
        test=test,
        reversed=encoded(reversed_images, tower, kept, progress=progress),
        seed=seed,
    )
