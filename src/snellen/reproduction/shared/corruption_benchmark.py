"""A classifier's errors under every corruption of a benchmark, by the benchmark's own protocol.

ImageNet-C (arXiv 1903.12261) counts errors; MedMNIST-C (arXiv 2406.17536) takes one minus balanced accuracy, by the
task of the set, and its authors report the area under the ROC curve beside it. Both divide by the errors of a reference
model: :func:`snellen.metrics.corruption_error.normalise`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels
from snellen.data.files.medmnist import load_npz
from snellen.data.loading import prepared_batches
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import Benchmark, ProtocolTask, benchmark
from snellen.methods.corruptions.operators import SEVERITIES
from snellen.methods.corruptions.textures import load_textures
from snellen.metrics.auroc import auroc, macro_auroc, multilabel_auroc
from snellen.metrics.classification import balanced_accuracy
from snellen.metrics.corruption_error import NormalisedErrors, Reference, normalise, stored_reference

CLEAN = "clean"
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class CorruptionErrors:
    """What was measured.

    Attributes:
        benchmark: name of the benchmark.
        model: name of the classifier.
        data: name of the clean images.
        balanced: whether an error is one minus balanced accuracy (else one minus accuracy).
        images: how many images count.
        rejected: id and reason of each image that does not.
        clean_error: error without corruption, in [0, 1].
        errors: kind → error at each severity.
        clean_auroc: area under the ROC curve without corruption; NaN for a classifier that gives labels only.
        aurocs: kind → area at each severity.
        published: whether every setting is exactly a published one, for this size; unknown for stored images.
        seen_in_training: kinds that augmented the training of the classifier, as the lineage of its artifact says.
    """

    benchmark: str
    model: str
    data: str
    balanced: bool
    images: int
    rejected: Mapping[str, str] = field(repr=False)
    clean_error: float
    errors: Mapping[str, tuple[float, ...]]
    clean_auroc: float
    aurocs: Mapping[str, tuple[float, ...]]
    published: bool
    seen_in_training: tuple[str, ...] = ()

    def reference(self) -> Reference:
        """These errors as the reference that other models are measured by."""
        name, source = f"{self.model} on {self.data}", f"measured here, {self.images} images"
        return Reference.measured(name, self.clean_error, self.errors, source=source)

    def normalise(self, reference: Reference | str) -> NormalisedErrors:
        """In units of a reference: one that was measured, or a stored one by name ("alexnet/bloodmnist")."""
        found = stored_reference(reference) if isinstance(reference, str) else reference
        return normalise(self.errors, self.clean_error, found)

    def family_errors(self) -> dict[str, float]:
        """Mean error by family of corruptions, over the kinds that were measured."""
        families = benchmark(self.benchmark).families
        measured = {name: [kind for kind in kinds if kind in self.errors] for name, kinds in families.items()}
        return {
            name: float(np.mean([self.errors[kind] for kind in kinds])) for name, kinds in measured.items() if kinds
        }


def corruption_benchmark(
    classifier: Classifier,
    images: ImageSet,
    *,
    benchmark_name: str = "imagenet-c",
    kinds: Sequence[str] | None = None,
    threshold: float | Sequence[float] = 0.5,
    stored: Path | str | None = None,
    parity: bool = False,
    textures: str | None = None,
    batch_size: int = 64,
    workers: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> CorruptionErrors:
    """Measure a classifier at all five severities of every kind.

    Args:
        classifier: the model; single-label, ordinal or multi-label.
        images: clean test images with labels.
        benchmark_name: one of :data:`snellen.methods.corruptions.benchmarks.BENCHMARKS`.
        kinds: some of the benchmark's kinds; None: those that its figures are means of.
        threshold: probability above which the positive class, or each label, is decided (binary and multi-label tasks).
        stored: folder of stored corrupted images, KIND.npz with ``test_images`` and ``test_labels`` stacked
            severity-major (index = severity · N + i), as MedMNIST-C publishes them and ``snellen shift`` writes them.
            None: corruptions are made here, from the clean images.
        parity: see :func:`snellen.methods.corruptions.apply.corrupt`.
        textures: folder of frost or stain textures in place of the built-in ones.
        batch_size: images in one pass.
        workers: threads that read images ahead.
        seed: of the corruptions' randomness.
        progress: callback that receives progress updates.

    Raises:
        InputError: unlabelled images, a task that the benchmark does not have, or stored images that do not fit.
        UnknownNameError: no such benchmark or kind.
    """
    chosen = benchmark(benchmark_name)
    names = tuple(kinds) if kinds is not None else chosen.main
    for kind in names:
        chosen.operator(kind)
    if not images.has_labels:
        raise InputError(f"a corruption benchmark needs labels, and {images.name} has none")
    given, images = images, align_labels(images, classifier.class_names)
    task = _task(chosen, classifier)
    balanced = chosen.task is not None or task == "multi-label"
    measure = _Scorer(classifier, task, batch_size, workers, progress or Silent())
    loaded = None if textures is None else load_textures(textures)

    def settings(batch: Tensor, rng: Randomness) -> Iterator[tuple[str, Tensor]]:
        yield CLEAN, batch
        for kind in () if stored is not None else names:
            remembering = rng.child(kind).remembering()
            for severity in SEVERITIES:
                corrupted = corrupt(batch, chosen, kind, severity, remembering, parity=parity, textures=loaded)
                yield f"{kind}.{severity}", corrupted

    passes = 1 if stored is not None else 1 + len(names) * len(SEVERITIES)
    scored = measure(images, settings, passes, Randomness(seed))
    truth = _truth(images, scored.positions, task)
    if stored is not None:
        if scored.rejected:
            raise InputError(f"stored corruptions need every clean image; unusable is {_first(scored.rejected)}")
        for kind in names:
            path = Path(stored) / f"{kind}.npz"
            corrupted = load_npz(path, split="test", class_names=given.class_names, name=str(path))
            scored.scores.update(_stored(measure, align_labels(corrupted, classifier.class_names), kind, truth))

    def error(setting: str) -> float:
        scores = scored.scores[setting]
        if balanced:
            return 1 - balanced_accuracy(truth, scores, task=task, threshold=threshold)
        return 1 - float(np.mean(scores.argmax(1) == truth))

    area = _area_of(task) if classifier.output != "labels" else (lambda *_: float("nan"))
    return CorruptionErrors(
        benchmark=benchmark_name,
        model=classifier.name,
        data=images.name,
        balanced=balanced,
        images=len(truth),
        rejected=scored.rejected,
        clean_error=error(CLEAN),
        errors={kind: tuple(error(f"{kind}.{s}") for s in SEVERITIES) for kind in names},
        clean_auroc=area(truth, scored.scores[CLEAN]),
        aurocs={kind: tuple(area(truth, scored.scores[f"{kind}.{s}"]) for s in SEVERITIES) for kind in names},
        published=stored is None
        and all(
            chosen.strength(kind, s, *scored.sides, parity=parity, textures=textures).published
            for kind in names
            for s in SEVERITIES
        ),
        seen_in_training=tuple(kind for kind in names if kind in classifier.recipe.get("kinds", ())),
    )


@dataclass(frozen=True, eq=False)
class _Scored:
    scores: dict[str, Scores]
    positions: list[int]
    rejected: dict[str, str]
    sides: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Scorer:
    """Probabilities (n, k) of prepared images under several settings, in the order of the set."""

    classifier: Classifier
    task: ProtocolTask
    batch_size: int
    workers: int
    progress: Progress

    def __call__(
        self,
        images: ImageSet,
        settings: Callable[[Tensor, Randomness], Iterator[tuple[str, Tensor]]],
        passes: int,
        rng: Randomness,
    ) -> _Scored:
        parts: dict[str, list[Scores]] = {}
        positions: list[int] = []
        rejected: dict[str, str] = {}
        sides = (0, 0)
        self.progress.begin(images.name, passes * len(images))
        labelled = _labelled(images, self.task)
        for loaded in prepared_batches(images, self.classifier.preparation, self.batch_size, workers=self.workers):
            rejected.update(loaded.rejected)
            kept = [row for row, position in enumerate(loaded.indices) if labelled[position]]
            rejected.update({loaded.ids[row]: "no label" for row in set(range(len(loaded.ids))) - set(kept)})
            if not kept:
                continue
            batch = to_unit(loaded.pixels[kept]).to(self.classifier.device)
            sides = (batch.shape[2], batch.shape[3])
            positions += [loaded.indices[row] for row in kept]
            bound = rng.for_examples([loaded.ids[row] for row in kept])
            for setting, shifted in settings(batch, bound):
                parts.setdefault(setting, []).append(self._probabilities(shifted))
                self.progress.advance(images.name, len(loaded.indices), setting)
        self.progress.finish(images.name)
        if not positions:
            raise InputError(f"none of the {len(images)} images of {images.name} could be used: {_first(rejected)}")
        return _Scored({name: np.concatenate(part) for name, part in parts.items()}, positions, rejected, sides)

    def _probabilities(self, images: Tensor) -> NDArray[np.float64]:
        with torch.no_grad():
            scores = self.classifier(images)
        if not bool(torch.isfinite(scores).all()):
            raise InputError(f"{self.classifier.name} gives scores that are not finite; an audit tells on which images")
        if self.classifier.output == "labels":
            decided = self.classifier.predict(scores)
            several = self.task == "multi-label"
            return (decided if several else F.one_hot(decided, scores.shape[1])).double().cpu().numpy()
        return self.classifier.probabilities(scores).cpu().numpy()


def _task(chosen: Benchmark, classifier: Classifier) -> ProtocolTask:
    of_model: dict[str, ProtocolTask] = {"multilabel": "multi-label", "ordinal": "ordinal-regression"}
    found = of_model.get(classifier.task, "multi-class")
    if classifier.task not in {"single", "ordinal", "multilabel"}:
        raise InputError(f"a corruption benchmark measures classifiers, and {classifier.name} is {classifier.task}")
    if chosen.task is not None and (chosen.task == "multi-label") != (found == "multi-label"):
        raise InputError(f"{chosen.name} is a {chosen.task} task, and {classifier.name} is {classifier.task}")
    # Another data set under this set's corruptions: its own classes, decided by the largest probability.
    return chosen.task if chosen.task and chosen.labels in {None, len(classifier.class_names)} else found


def _area_of(task: ProtocolTask) -> Callable[[NDArray[np.int64], NDArray[np.float64]], float]:
    if task == "multi-label":
        return lambda truth, scores: multilabel_auroc(truth, scores).value
    if task == "binary-class":
        return lambda truth, scores: auroc(truth, scores[:, -1])
    return lambda truth, scores: macro_auroc(truth, scores).value


def _labelled(images: ImageSet, task: ProtocolTask) -> NDArray[np.bool_]:
    """Which images have what the task decides: a label, or labels."""
    if task == "multi-label":
        return np.array([value is not None for value in images.column("labels")], dtype=bool)
    return images.labels >= 0


def _truth(images: ImageSet, positions: Sequence[int], task: ProtocolTask) -> NDArray[np.int64]:
    if task == "multi-label":
        rows = images.column("labels")
        return np.array([rows[position] for position in positions], dtype=np.int64)
    return images.labels[np.asarray(positions, dtype=np.int64)]


def _stored(measure: _Scorer, corrupted: ImageSet, kind: str, truth: NDArray[np.int64]) -> dict[str, Scores]:
    """Scores of the stored images of one kind, severity by severity; ``truth`` are the labels of the clean ones."""
    what, count, levels = corrupted.name, len(truth), len(SEVERITIES)
    if len(corrupted) != levels * count:
        raise InputError(f"{what} holds {len(corrupted)} images; expected {levels} severities of {count} clean images")
    rows = range(len(corrupted)) if _labelled(corrupted, measure.task).all() else ()
    if not np.array_equal(_truth(corrupted, rows, measure.task), np.concatenate([truth] * levels)):
        raise InputError(f"{what}: the labels are not those of the clean images repeated for each severity")
    scored = measure(corrupted, lambda batch, _: iter([(CLEAN, batch)]), 1, Randomness(0))
    if scored.rejected:
        raise InputError(f"{what}: images that cannot be used: {_first(scored.rejected)}")
    by_severity = scored.scores[CLEAN].reshape(levels, count, -1)
    return {f"{kind}.{severity}": by_severity[row] for row, severity in enumerate(SEVERITIES)}


def _first(rejected: Mapping[str, str]) -> str:
    name, reason = next(iter(rejected.items()), ("", "it is empty"))
    return f"{name}: {reason}"
