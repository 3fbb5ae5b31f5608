"""Adapters for the shots of a data set, and a training set generated with them: the first two steps of DataDream.

Adapters lie in ``OUT-adapters``, the generated set in ``OUT``. A stopped call keeps the adapters that are finished.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

import torch

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.rehearsal import rehearsing
from snellen.data.references import load_images
from snellen.methods.generation.made_images import generating_on, generator_of
from snellen.methods.synthesis.adapter_fitting import finished_folder, fit_each, planned_card, read_all
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import Source
from snellen.methods.synthesis.nearness import spread_of, thumbnails
from snellen.methods.synthesis.synthesizing import synthesize_into
from snellen.methods.synthesis.synthetic_set import RECORD, WHAT, SyntheticSet
from snellen.models.diffusion.fitting import cropped_latents
from snellen.models.diffusion.generator_adapters import SHARED, FittedAdapter, GeneratorAdapters
from snellen.runs.estimate import Estimate, Planned
from snellen.runs.runner import Running
from snellen.runs.settings import Setting
from snellen.runs.unfinished import check_free
from snellen.systems.few_shot_adaptation.adapting import AdapterFit, Shots, fit_adapter
from snellen.systems.few_shot_adaptation.shots import FewerShotsWarning, few_shots


def few_shot(
    data: str | Path | ImageSet,
    *,
    out: Path | str,
    method: ByName | None = None,
    shots: int = 16,
    count: int = 500,
    fit: AdapterFit | None = None,
    batch_size: int = 32,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> SyntheticSet:
    """Fit adapters to a few shots of each class, and generate a data set with them.

    Args:
        data: labelled real images, or a reference of some; shots are taken from their training images alone.
        out: new folder of the set; adapters go into the folder ``OUT-adapters`` beside it.
        method: generator, prompts, guidance and steps, the same for adapting and generating.
        shots: K, of each class.
        count: generated images of each class.
        fit: numbers of the fitting; the published ones by default.
        batch_size: images that are generated at once.
        seed: of shots, fitting and generation.
        device: where it runs: ``cpu``, ``cuda`` or ``mps``.
        progress: callback that receives progress updates.
        running: see :class:`~snellen.runs.runner.Running`; of the generation.

    Raises:
        InputError: images that cannot be adapted to, a generator without prompts, or a folder that holds something
            else.
        RunConflictError: the folder of adapters holds those of another fitting.
    """
    folder, numbers, listener = Path(out), fit or AdapterFit(), progress or Silent()
    asked = method or ByName()
    if asked.adapter is not None:
        raise InputError(f"few-shot fits adapters of its own; leave out the adapter {asked.adapter}")
    if count < 1:
        raise InputError(f"at least 1 image of each class is generated; got {count}")
    check_free(folder, RECORD, WHAT)
    if isinstance(data, str) and data.startswith("classes:"):
        raise InputError(f"few-shot adapts to real images, and {data!r} only names classes; give labelled images")
    source = few_shots(load_images(data) if isinstance(data, str | Path) else data, shots, seed)
    if rehearsing():
        raise Planned(_estimate(source, numbers, folder, count, batch_size))
    adapters = folder.with_name(f"{folder.name}-adapters")
    fit_adapters(asked, source, adapters, fit=numbers, seed=seed, device=device, progress=listener)
    setting = Setting(asked.name, asked.model_copy(update={"adapter": adapters}))
    with generating_on(device):
        return synthesize_into(
            [setting], source, folder, count=count, batch_size=batch_size, seed=seed, progress=listener, **running
        )


def fit_adapters(
    method: ByName,
    source: Source,
    folder: Path,
    *,
    fit: AdapterFit,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> GeneratorAdapters:
    """Fit one adapter for each class, or one for all, and write them; what is finished in the folder is kept.

    Args:
        method: generator, prompts and guidance of the images to come.
        source: classes and shots.
        folder: for the adapters.
        fit: numbers.
        seed: of everything random.
        device: where it runs.
        progress: callback that receives progress updates.

    Raises:
        InputError: a generator without prompts, or shots that cannot be read.
        RunConflictError: the folder holds adapters of another fitting.
    """
    assert source.images is not None
    listener, generator = progress or Silent(), generator_of(method.generator, device)
    if generator.takes != "prompts":
        raise InputError(f"few-shot adapts a generator by prompts, and {generator.name} takes {generator.takes}")
    prompts = {
        name: tuple(filter(None, (method.filled(one, name) for one in method.templates))) for name in source.classes
    }
    planned = {
        **fit.model_dump(mode="json"),
        "guidance_scale": method.guidance_scale,
        "shots": source.images.fingerprint(),
    }
    labels = {name: [name] for name in source.classes} if fit.variant == "class" else {SHARED: list(source.classes)}
    base = planned_card(generator, labels, prompts, planned, seed)
    held = finished_folder(folder, base)
    if held is not None:
        return held
    images, classes = _read(source)
    small = thumbnails(torch.cat([_square(image) for image in images])).to("cpu")
    spread = spread_of(small) if len(small) > 1 else None

    def one(name: str, own: Sequence[str], target: Path) -> FittedAdapter:
        rows = [row for row, label in enumerate(classes) if label in own]
        rng = Randomness(seed).child("few-shot", name)
        given = Shots(
            cropped_latents(generator, [images[row] for row in rows], fit.crops, rng),
            [prompts[classes[row]] for row in rows],
            small,
            spread,
        )
        return fit_adapter(
            generator,
            given,
            target,
            fit=fit,
            guidance_scale=method.guidance_scale,
            rng=rng,
            progress=listener,
            what="adapting to all classes" if fit.variant == "set" else f"adapting to {name!r}",
        )

    return fit_each(folder, base, labels, one)


def _read(source: Source) -> tuple[list[torch.Tensor], list[str]]:
    """All shots that can be read, float (3, h, w) in [0, 1], and their classes; others are left out with a warning.

    Raises:
        InputError: none of a class can be read.
    """
    images, classes, left_out = read_all(source, "shot")
    if left_out:
        more = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        of = len(images) + len(left_out)
        warnings.warn(
            f"{len(left_out)} of {of} shots cannot be read and are left out: {left_out[0]}{more}",
            FewerShotsWarning,
            stacklevel=3,
        )
    return images, classes


def _square(image: torch.Tensor) -> torch.Tensor:
    """The middle of an image, as large as it can be: (1, 3, s, s)."""
    side = min(image.shape[1:])
    top, left = ((free - side) // 2 for free in image.shape[1:])
    return torch.nn.functional.interpolate(image[None, :, top : top + side, left : left + side], (64, 64), mode="area")


def _estimate(source: Source, fit: AdapterFit, folder: Path, count: int, batch_size: int) -> Estimate:
    """What is known without a measurement."""
    assert source.images is not None
    counts: Mapping[int, int] = {
        label: source.images.labels.tolist().count(label) for label in range(len(source.classes))
    }
    parts = list(counts.values()) if fit.variant == "class" else [len(source.images)]
    images = count * len(source.classes)
    return Estimate(
        what=WHAT,
        folder=folder,
        items=images,
        shards=-(-images // batch_size),
        notes=(
            f"first {len(parts)} adapters are fitted, in {sum(fit.steps(one) for one in parts):,} steps of "
            f"{fit.batch_size} shots",
        ),
    )
