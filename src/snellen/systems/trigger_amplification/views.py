"""Two views of one training set, its own images and those that a generator trained on it draws, and a probe of both.

Poison that a generator learned appears in its images under the poisoned label, often in a larger share than in the
training set, so it can be found there too. The probe is Fisher's discriminant between the suspects of a class and its
other images, in the features of the classifier; it decides in either view which images bear the pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.methods.generation.made_images import made_set
from snellen.methods.scans.training_set import Inspected
from snellen.metrics.intervals import wilson
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.sampler import Sampler

#: Share of the mean variance that is added to each direction of the probe.
RIDGE = 0.05


def generated_view(
    generator: Generator,
    class_names: Sequence[str],
    *,
    count: int,
    steps: int,
    guidance: float,
    prompt: str,
    rng: Randomness,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> ImageSet:
    """As many generated images of each class, labelled with the class that was requested.

    Args:
        generator: of classes, or of prompts.
        class_names: of the training set.
        count: images of each class.
        steps: of DDIM.
        guidance: w of eps_u + w (eps_c − eps_u); 1 is none.
        prompt: for a generator of prompts, with ``{class_name}``.
        rng: of the seeds.
        batch_size: images at a time.
        progress: callback that receives progress updates.

    Raises:
        InputError: a generator of something else, one that lacks a class, or steps that its schedule does not have.
    """
    own = _classes_of(generator, class_names)
    labels = [label for label in range(len(class_names)) for _ in range(count)]
    seeds = [
        derive_seed(rng.seed, *rng.path, "generated", label, at % count) % 2**31 for at, label in enumerate(labels)
    ]
    sampler = Sampler(generator, steps=steps)
    prompts = [prompt.replace("{class_name}", class_names[label]) for label in labels]
    if generator.takes == "prompts":
        made = generate(
            sampler, seeds, prompts=prompts, guidance_scale=guidance, batch_size=batch_size, progress=progress
        )
    else:
        wanted = [own[label] for label in labels]
        made = generate(
            sampler, seeds, classes=wanted, guidance_scale=guidance, batch_size=batch_size, progress=progress
        )
    requests = [{"id": f"generated/{class_names[label]}/{at % count:04d}"} for at, label in enumerate(labels)]
    return made_set(
        made, requests, prompts, name=f"images of {generator.name}", classes=labels, class_names=tuple(class_names)
    )  # fmt: skip


def check_generator(generator: Generator, class_names: Sequence[str], *, steps: int) -> None:
    """Refuse a generator that cannot draw these classes in so many steps.

    Raises:
        InputError: a generator of something else, one that lacks a class, or steps that its schedule does not have.
    """
    _classes_of(generator, class_names)
    Sampler(generator, steps=steps)


def _classes_of(generator: Generator, class_names: Sequence[str]) -> list[int]:
    """Index in the generator of each class; by name, or by place where the generator has no names. None for prompts."""
    if generator.takes == "prompts":
        return []
    if generator.takes != "classes":
        raise InputError(f"{generator.name} takes {generator.takes}; expected a generator of classes or of prompts")
    if generator.class_names is None:
        if generator.classes != len(class_names):
            raise InputError(
                f"{generator.name} has {generator.classes} classes without names, and the images have "
                f"{len(class_names)}; they must be the same classes in the same order"
            )
        return list(range(len(class_names)))
    place = {name: number for number, name in enumerate(generator.class_names)}
    absent = [name for name in class_names if name not in place]
    if absent:
        raise InputError(f"{generator.name} has no class {absent[0]!r}; it has {', '.join(generator.class_names[:10])}")
    return [place[name] for name in class_names]


@dataclass(frozen=True, eq=False)
class Probe:
    """A direction in features and a threshold: x bears the pattern if x · direction > threshold."""

    direction: NDArray[np.float64]
    threshold: float

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which images (n, d) bear the pattern: bool (n,)."""
        found: NDArray[np.bool_] = np.asarray(features, dtype=np.float64) @ self.direction > self.threshold
        return found


def fit_probe(features: NDArray[np.floating], suspects: NDArray[np.bool_]) -> Probe:
    """Fisher's discriminant with a ridge, its threshold half-way between the two means.

    >>> features = np.array([[0.0, 1.0], [0.2, 0.0], [5.0, 1.0], [5.2, 0.0]])
    >>> probe = fit_probe(features, np.array([False, False, True, True]))
    >>> probe(np.array([[4.0, 0.5], [1.0, 0.5]])).tolist()
    [True, False]

    Raises:
        InputError: no suspects, or nothing but suspects.
    """
    values = np.asarray(features, dtype=np.float64)
    if not suspects.any() or suspects.all():
        raise InputError("a probe needs images with and without the pattern")
    high, low = values[suspects].mean(0), values[~suspects].mean(0)
    inside = np.where(suspects[:, None], values - high, values - low)
    scatter = inside.T @ inside / len(values)
    scatter += RIDGE * max(float(np.trace(scatter)) / len(scatter), 1e-12) * np.eye(len(scatter))
    direction = np.linalg.solve(scatter, high - low)
    return Probe(direction, float((high + low) @ direction / 2))


@dataclass(frozen=True, eq=False)
class SuspectClass:
    """A class that stands out in at least one view.

    Attributes:
        label: of the class.
        seen_in: "training images", "generated images" or both.
        training, generated: what the probe decides about the images of the class in each view, bool; empty where no
            generated image could be used.
        training_rows, generated_rows: their positions in the view.
        elsewhere: share of the generated images of *other* classes that the probe names: the control; None where there
            are none.
    """

    label: int
    seen_in: str
    training: NDArray[np.bool_]
    generated: NDArray[np.bool_]
    training_rows: NDArray[np.int64]
    generated_rows: NDArray[np.int64]
    elsewhere: float | None

    @property
    def drawn(self) -> float | None:
        """Share of the generated images of the class that the probe names; None where none could be used."""
        return float(self.generated.mean()) if len(self.generated) else None

    def figures(self, name: str) -> dict[str, float | None]:
        """Shares with their 95 % intervals, and the amplification; None where a share is missing, or the divisor 0."""
        trained, made = float(self.training.mean()), self.drawn
        low, high = (None, None) if made is None else wilson(int(self.generated.sum()), len(self.generated))
        return {
            f"{name}: share among training images": trained,
            f"{name}: share among generated images": made,
            f"{name}: share among generated images.low": low,
            f"{name}: share among generated images.high": high,
            f"{name}: amplification": made / trained if trained and made is not None else None,
            f"{name}: share among generated images of other classes": self.elsewhere,
        }


def suspect_class(
    label: int, training: Inspected, generated: Inspected, *, in_training: bool, in_generated: bool
) -> SuspectClass:
    """Fit the probe in the view that reports the class, the training images first, and apply it to both."""
    source = training if in_training else generated
    seen = source.classes[label]
    probe = fit_probe(source.features[seen.rows], seen.suspects)
    rows = [np.flatnonzero(view.labels == label) for view in (training, generated)]
    others = np.flatnonzero(generated.labels != label)
    views = [name for name, hit in (("training images", in_training), ("generated images", in_generated)) if hit]
    return SuspectClass(
        label=label,
        seen_in=" and ".join(views),
        training=_decided(probe, training, rows[0]),
        generated=_decided(probe, generated, rows[1]),
        training_rows=rows[0],
        generated_rows=rows[1],
        elsewhere=float(_decided(probe, generated, others).mean()) if len(others) else None,
    )


def _decided(probe: Probe, view: Inspected, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """A view without usable images has no features of the probe's length."""
    return probe(view.features[rows]) if len(rows) else np.zeros(0, dtype=np.bool_)


def without_suspects(images: ImageSet, evidence: Evidence) -> ImageSet:
    """The training images that a scan did not name, to train on or to pass to ``snellen.treat``.

    Args:
        images: that were scanned.
        evidence: of ``trigger_amplification``, ``training_set``, ``strip`` or ``cognitive_distillation``.

    Raises:
        InputError: evidence of other images, or nothing would stay.
    """
    table = evidence.table
    views = table["view"].to_pylist() if "view" in table.column_names else ["training"] * len(table)
    rows = zip(table["example_id"].to_pylist(), table["reason"].to_pylist(), views, strict=True)
    named = {key for key, reason, view in rows if reason == "suspect" and view == "training"}
    kept = [row for row, key in enumerate(images.ids) if key not in named]
    if len(images) - len(kept) != len(named):
        raise InputError(f"the evidence names images that {images.name} does not have; give the images of the scan")
    if not kept:
        raise InputError(f"the evidence names all {len(images)} images of {images.name}; nothing would stay")
    return images.select(kept, name=f"{images.name} without {len(named)} suspects")
