"""``snellen.evaluate``: several models under several attacks, on the same images and seeds, as one paired table.

Each model and seed is one call of :func:`snellen.attack`, with all attacks; what they found is put side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.interruption import noted_interruption
from snellen.core.method import ViewAttack
from snellen.core.progress import Progress
from snellen.data.references import Array
from snellen.runs.estimate import Estimate, Planned, together
from snellen.runs.given import Images, Model, given_classifier, given_images
from snellen.runs.runner import Running
from snellen.runs.safe_names import folder_names
from snellen.runs.settings import Methods, named_settings
from snellen.verbs.attack import attack
from snellen.verbs.attacked_set import AttackedSet
from snellen.verbs.evaluation import Evaluation, evaluation_of


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
def evaluate(
    models: Sequence[Model] | Mapping[str, Model],
    attacks: Methods,
    images: Images,
    *,
    labels: Array | Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    out: Path | str | None = None,
    limit: int | None = None,
    batch_size: int = 64,
    workers: int = 0,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> Evaluation:
    """Robust accuracies of models under attacks, and differences between models on the same images.

    An image counts as robust under several seeds, or several attacks, if it is robust under each: that is the claim
    that attacks test. Images that were wrong from the start are not robust.

    >>> import snellen
    >>> images = snellen.load_images("bundled:fashion-mnist").limit(20)
    >>> found = evaluate(["bundled:fashion-cnn"], ["fgsm"], images)
    >>> [one.attack for one in found.accuracies], found.differences
    (['clean', 'fgsm'], ())

    Args:
        models: classifiers, or what :func:`snellen.load_classifier` takes; or such by the names that the table gives
            them. Models of one name are numbered.
        attacks: one or more methods of the area ``attacks``, as :func:`snellen.attack` takes them.
        images: as :func:`snellen.attack` takes them; labels are matched to each model's classes by name.
        labels: of images that are an array or tensor.
        class_names: in the order of the outputs, where a model does not name them and the images name others.
        seeds: of everything random; each attack is run once under each.
        out: a folder: ``MODEL/seed-N`` holds what :func:`snellen.attack` writes, ``accuracies.csv`` and
            ``differences.csv`` the tables. The same call resumes where it was interrupted. None: nothing is kept.
        limit: at most so many images, drawn at random, the same for every model and seed.
        batch_size: images in one pass.
        workers: threads that read images ahead; changes no result.
        progress: callback that receives progress updates.
        running: engine, processes: see :class:`~snellen.runs.runner.Running`; neither ``part`` nor ``budget``, with
            which models would see different images.

    Raises:
        InputError: no models, seeds or attacks, a seed that occurs twice, attacks on the camera, or what
            :func:`snellen.attack` refuses.
    """
    if not models or not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"give at least one model, and seeds that all differ; got {len(models)} models, seeds {seeds}")
    if (left := [name for name in ("part", "budget") if running.get(name) is not None]) != []:
        raise InputError(f"every model must see the same images: leave {' and '.join(left)} out, and use limit")
    # Refuses what is no attack before a model is loaded.
    if any(isinstance(setting.method, ViewAttack) for setting in named_settings(attacks, "attacks")):
        raise InputError("attacks on the camera judge views of objects; use snellen.attack for each model")
    held = given_images(images, labels)
    shown = held if limit is None else held.limit(limit)
    named = _named(models, [given_classifier(model, shown, class_names) for model in _values(models)])
    folders = folder_names(named)
    found: dict[str, dict[int, AttackedSet]] = {name: {} for name in named}
    costs: list[Estimate] = []
    with noted_interruption(None if out is None else Path(out)):
        for name, classifier in named.items():
            for seed in seeds:
                place = None if out is None else Path(out) / folders[name] / f"seed-{seed}"
                try:
                    attacked = attack(
                        classifier,
                        shown,
                        attacks,
                        out=place,
                        batch_size=batch_size,
                        workers=workers,
                        seed=seed,
                        save_images=False,
                        progress=progress,
                        **running,
                    )
                except Planned as planned:
                    costs.append(planned.estimate)
                    continue
                assert isinstance(attacked, AttackedSet)  # those on the camera are refused above
                found[name][seed] = attacked
    if costs:
        raise Planned(together(costs, "evaluation", None if out is None else Path(out)))
    drawn = "" if len(shown) == len(held) else f", {len(shown):,} of {len(held):,} drawn"
    evaluation = evaluation_of(found, data=f"{shown.name}{drawn}")
    if out is not None:
        evaluation.write(Path(out))
    return evaluation


def _values(models: Sequence[Model] | Mapping[str, Model]) -> list[Model]:
    if isinstance(models, str):
        raise InputError(f"models are a list or a mapping; got the text {models!r}: write [{models!r}]")
    return list(models.values()) if isinstance(models, Mapping) else list(models)


def _named(models: Sequence[Model] | Mapping[str, Model], classifiers: Sequence[Classifier]) -> dict[str, Classifier]:
    """Classifiers by names that all differ."""
    if isinstance(models, Mapping):
        return dict(zip(map(str, models), classifiers, strict=True))
    named: dict[str, Classifier] = {}
    for classifier in classifiers:
        name, number = classifier.name, 1
        while name in named:
            number += 1
            name = f"{classifier.name} ({number})"
        named[name] = classifier
    return named
