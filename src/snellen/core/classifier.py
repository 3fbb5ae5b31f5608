"""The frozen model under examination."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from snellen.core.budget import Spent
from snellen.core.errors import InputError, ModelError, UnsupportedError, unknown_name
from snellen.core.in_float64 import in_float64
from snellen.core.label_decisions import OneLabel, checked_thresholds, decided
from snellen.core.label_decisions import Output as Output
from snellen.core.layer_hooks import EditHook, find_layer, is_edited
from snellen.core.preprocessing import Normalization as Normalization
from snellen.core.preprocessing import Preprocessing
from snellen.core.shared_copy import queried_by, shared_copy

Task = Literal["single", "multilabel", "ordinal", "segment", "score"]

#: Twins of a classifier count for it in several threads. No part of a counter: classifiers are copied and pickled.
_COUNTING = Lock()


@dataclass
class _Counter:
    queries: int = 0
    gradients: int = 0
    whole: _Counter | None = None  # of the classifier that this one is a twin of

    def add(self, queries: int = 0, gradients: int = 0) -> None:
        with _COUNTING:
            self.queries += queries
            self.gradients += gradients
        if self.whole is not None:
            self.whole.add(queries, gradients)


class Classifier:
    """A model, its preprocessing, its classes, and its capabilities.

    ``prepare`` does the model's own resize and crop and gives float (3, h, w) in [0, 1]; calling the classifier
    normalises a batch of prepared images and runs the model. Attacks, corruptions and certificates work on prepared
    images, so ``epsilon`` and distances are in [0, 1] pixel units for every normalisation.

    A ``torch.nn.Module`` given here is put into evaluation mode and its parameters stop requiring gradients, in place.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    >>> classifier = Classifier(model, class_names=["cat", "dog"], preparation=Preprocessing(size=(4, 4)))
    >>> classifier(torch.rand(5, 3, 4, 4)).shape
    torch.Size([5, 2])
    >>> classifier.spent
    Spent(queries=5, gradients=0, generator_calls=0, tokens=0, seconds=0.0)

    Args:
        model: images (n, 3, h, w) → scores (n, k); a module, or any callable.
        class_names: one name for each of the k outputs.
        preparation: the model's own resize and crop.
        normalization: per-channel mean and std, applied to prepared images inside :meth:`__call__`.
        task: single (one class of k), multilabel, ordinal, segment or score.
        output: what the scores are. ``labels``: the model only gives classes; scores are then one-hot (n, k).
        differentiable: whether gradients with respect to the images exist; by default true for modules only.
        name: shown in reports.
        identity: hash of the weights; computed from the parameters when not given, None for plain callables.
        notes: what the loader assumed or changed; shown in reports.
        feature_layer: name of the layer whose output :meth:`features` gives by default.
        recipe: what trained it, as the lineage of its artifact records it; empty when unknown.
        history: figures of each epoch of its training, as its card records them; empty when unknown.
        bag_decision: how a bag is decided from its images, as its card records it: ``pooling`` and ``threshold``.
        sent_to: the host that images are sent to for their scores; None where the model runs in this process.
        device: where the model runs.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Tensor],
        *,
        class_names: Sequence[str],
        preparation: Preprocessing | None = None,
        normalization: Normalization | None = None,
        task: Task = "single",
        output: Output = "logits",
        differentiable: bool | None = None,
        name: str = "classifier",
        identity: str | None = None,
        notes: Sequence[str] = (),
        feature_layer: str | None = None,
        recipe: Mapping[str, Any] | None = None,
        history: Sequence[Mapping[str, float]] = (),
        bag_decision: Mapping[str, Any] | None = None,
        sent_to: str | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.module = model if isinstance(model, nn.Module) else None
        if self.module is not None:
            self.module.eval().requires_grad_(False).to(device)
        self._model = model
        self.class_names = tuple(class_names)
        if not self.class_names:
            raise InputError("a classifier needs at least one class name, got none")
        self.preparation = preparation or Preprocessing()
        self.task, self.output = task, output
        self.differentiable = (self.module is not None) if differentiable is None else differentiable
        self.name, self.notes, self.feature_layer = name, tuple(notes), feature_layer
        self.recipe: Mapping[str, Any] = dict(recipe or {})
        self.history = tuple(dict(row) for row in history)
        self.bag_decision: Mapping[str, Any] = dict(bag_decision or {})
        self.sent_to = sent_to
        self.device = torch.device(device)
        self.thresholds: tuple[float, ...] | None = None  # of several labels, see with_thresholds; None: 0.5 each
        self.reference: Mapping[str, Any] | None = None  # what load_classifier made it of, where that is a text
        self.recorded = False  # whether it knows its answers for some images alone, and decides no others
        self._identity = identity
        self._counter = _Counter()
        self._stands_for: Classifier | None = None
        self.normalization = normalization or Normalization()
        self._normalization: tuple[Tensor, Tensor] | None = None
        if normalization is not None and normalization != Normalization():
            mean, std = (torch.tensor(v, dtype=torch.float32, device=device).view(-1, 1, 1) for v in normalization)
            self._normalization = (mean, std)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.preparation.size)) if self.preparation.size else "any size"
        kind = "differentiable" if self.differentiable else "no gradients"
        return f"Classifier({self.name!r}, {len(self.class_names)} classes, {size}, {self.task}, {self.output}, {kind})"

    @property
    def preprocessing(self) -> str:
        """What is done to an image before the model sees it, in words.

        >>> Classifier(nn.Flatten(), class_names=["a", "b"], preparation=Preprocessing(size=(8, 8))).preprocessing
        'cut or padded to 8x8 pixels; values in [0, 1], not normalised'
        """
        if self._normalization is None:
            return f"{self.preparation.words}; values in [0, 1], not normalised"
        mean, std = (", ".join(f"{value:.3g}" for value in values) for values in self.normalization)
        return f"{self.preparation.words}; normalised by mean ({mean}) and std ({std})"

    # -- running -------------------------------------------------------------------------------------------------

    def prepare(self, image: Image.Image) -> Tensor:
        """Do the model's own resize and crop: image → float32 (3, h, w) in [0, 1]."""
        return self.preparation(image)

    def normalise(self, images: Tensor) -> Tensor:
        """Apply the model's own mean and std: (n, 3, h, w) → (n, 3, h, w)."""
        if self._normalization is None:
            return images
        mean, std = self._normalization
        return (images - mean) / std

    def __call__(self, images: Tensor) -> Tensor:
        """Run the model on prepared images: float (n, 3, h, w) in [0, 1] → scores (n, k).

        Raises:
            InputError: wrong shape or type, or values outside [0, 1] (a sign of images normalised twice).
            ModelError: scores of a wrong shape.
        """
        self._check_images(images)
        self._counter.add(queries=len(images))
        normalised = self.normalise(images)
        if normalised.requires_grad:
            # A copy that only this call sees, so that the hook counts each backward pass through it exactly once.
            normalised = normalised.view_as(normalised)
            normalised.register_hook(self.count_gradients)  # type: ignore[no-untyped-call]
        scores = self._model(normalised)
        if not isinstance(scores, Tensor) or scores.ndim < 2 or len(scores) != len(images):
            shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ModelError(f"{self.name} returned {shape} for {len(images)} images; expected scores (n, k)")
        if scores.shape[1] != len(self.class_names):
            raise ModelError(
                f"{self.name} gives {scores.shape[1]} scores per image, but {len(self.class_names)} class names are "
                f"known; pass the right list with --classes FILE (one name a line) or class_names=[...]"
            )
        return scores

    def predict(self, scores: Tensor) -> Tensor:
        """Turn scores into decisions: (n, k) → classes (n,); for ``multilabel``, 0/1 (n, k)."""
        if self.task == "multilabel":
            return decided(scores, self.output, self.thresholds)
        return scores.argmax(1)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Turn scores into probabilities: (n, k) → (n, k), computed in float64 (see :func:`in_float64`)."""
        if self.output == "labels":
            raise UnsupportedError(f"{self.name} gives labels only, no probabilities")
        wide = in_float64(scores)
        if self.task == "multilabel":
            return wide.sigmoid() if self.output == "logits" else wide.exp()
        return wide.softmax(1)

    def twin(self) -> Classifier:
        """The same classifier for another thread: weights are shared, and what its modules keep beside them is not.

        Raises:
            UnsupportedError: the model is no torch module. ModelError: it cannot be copied.
        """
        return self.with_module(shared_copy(self._inner(), self.name))

    def with_module(self, module: nn.Module) -> Classifier:
        """The same classifier with another module in place of its own, which computes the same.

        What it spends counts for this one as well, but not the other way round; its fingerprint is that of this one.
        """
        other = copy.copy(self)
        other._stands_for = self
        other.module = other._model = module
        other._counter = _Counter(whole=self._counter)
        return other

    def with_thresholds(self, thresholds: Mapping[str, float]) -> Classifier:
        """The same classifier of several labels an image, which gives some labels above other probabilities.

        Its fingerprint is that of this one: these thresholds stand in the settings of an audit.

        Raises:
            UnknownNameError: a label that is none of its own.
            InputError: a threshold outside (0, 1), or the model gives decisions only.
        """
        for name in thresholds:
            if name not in self.class_names:
                raise unknown_name("label", name, self.class_names)
        other = self._alike()
        own = self.thresholds or (0.5,) * len(self.class_names)
        chosen = [thresholds.get(name, at) for name, at in zip(self.class_names, own, strict=True)]
        other.thresholds = checked_thresholds(chosen, self.class_names, self.output)
        return other

    def of_label(self, place: int) -> Classifier:
        """One label of several as a classifier of two classes: without it, with it. What it spends counts here too.

        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> several = Classifier(model, class_names=["cat", "dog", "owl"], task="multilabel")
        >>> several.of_label(1).class_names, several.of_label(1)(torch.zeros(2, 3, 2, 2)).shape
        (('no dog', 'dog'), torch.Size([2, 2]))
        """
        name, at = self.class_names[place], 0.5 if self.thresholds is None else self.thresholds[place]
        one = OneLabel(self._model, place, self.output, at)
        if self.module is None:
            other = self._alike()
            other._model = one.forward
        else:
            other = self.with_module(one)
        other.class_names, other.task, other.thresholds = (f"no {name}", name), "single", None
        other.output = "labels" if self.output == "labels" else "logits"
        other.feature_layer = self.feature_layer and f"model.{self.feature_layer}"
        return other

    def _alike(self) -> Classifier:
        other = copy.copy(self)
        other._stands_for, other._counter = self._stands_for or self, _Counter(whole=self._counter)
        return other

    # -- looking inside ------------------------------------------------------------------------------------------

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that :meth:`features` and :meth:`edit` accept."""
        return tuple(name for name, _ in self._inner().named_modules() if name)

    def features(self, images: Tensor, layer: str | None = None) -> Tensor:
        """Output of a layer for prepared images: (n, 3, h, w) → (n, ...). Differentiable; counts as a query.

        Raises:
            UnsupportedError: the model has no layers (ONNX, callable).
            UnknownNameError: no such layer; the message lists near names.
        """
        return self.scores_and_features(images, layer)[1]

    def scores_and_features(self, images: Tensor, layer: str | None = None) -> tuple[Tensor, Tensor]:
        """Scores (n, k) and the output of a layer (n, ...) in one pass; errors as those of :meth:`features`."""
        caught: list[Tensor] = []

        def catch(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                caught.append(output.clone())  # a copy, which no later layer changes in place

        handle = self._layer(layer).register_forward_hook(catch)
        try:
            scores = self(images)
        finally:
            handle.remove()
        if not caught:
            raise UnsupportedError(f"layer {layer or self.feature_layer!r} of {self.name} does not output one tensor")
        return scores, caught[-1]

    @contextmanager
    def edit(self, layer: str, change: Callable[[Tensor], Tensor]) -> Iterator[Classifier]:
        """Replace a layer's output by ``change(output)`` inside a ``with`` block; undone on leaving, also by an error.

        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        >>> classifier = Classifier(model, class_names=["a", "b"])
        >>> with classifier.edit("1", torch.zeros_like):
        ...     float(classifier(torch.rand(1, 3, 2, 2)).abs().sum())
        0.0
        """
        handle = self._layer(layer).register_forward_hook(EditHook(lambda _layer, _inputs, output: change(output)))
        try:
            yield self
        finally:
            handle.remove()

    def _inner(self) -> nn.Module:
        if self.module is None:
            raise UnsupportedError(f"{self.name} is not a torch module: its layers cannot be read or edited")
        return self.module

    def _layer(self, layer: str | None) -> nn.Module:
        name = layer or self.feature_layer
        if name is None:
            raise InputError(f"name a layer of {self.name}: one of {', '.join(self.layers[:20])}")
        return find_layer(self._inner(), name, self.name)

    # -- accounts ------------------------------------------------------------------------------------------------

    @property
    def spent(self) -> Spent:
        """Images sent through the model and through its backward pass since it was loaded."""
        return Spent(queries=self._counter.queries, gradients=self._counter.gradients)

    @contextmanager
    def counting(self) -> Iterator[Callable[[], Spent]]:
        """Count what a ``with`` block spends: the yielded function returns it at any time."""
        queries, gradients = self._counter.queries, self._counter.gradients
        yield lambda: Spent(queries=self._counter.queries - queries, gradients=self._counter.gradients - gradients)

    def count_gradients(self, gradient: Tensor) -> None:
        """Count a gradient (n, ...) that was taken of n examples: a hook for tensors inside the model."""
        self._counter.add(gradients=len(gradient))

    @property
    def identity(self) -> str | None:
        """Hash of the weights (sha256), or None when the model cannot be hashed."""
        if self._stands_for is not None:
            return self._stands_for.identity
        if self._identity is None and self.module is not None:
            if queried_by(self.module):
                return None
            self._identity = hash_tensors(self.module.state_dict())
        return self._identity

    def fingerprint(self) -> str | None:
        """Hash of everything that can change a score, as it is now: weights, architecture, preparation, normalisation.

        None when that is unknown: a plain callable without an identity, or inside :meth:`edit`. The code of a module's
        ``forward`` and its plain attributes are not seen.
        """
        if is_edited(self.module) if self.module is not None else self._identity is None:
            return None
        if self._stands_for is not None:
            return self._stands_for.fingerprint()
        scale = [tensor.flatten().tolist() for tensor in self._normalization or ()]
        described = [self.identity, self.preparation.model_dump_json(), str(scale), self.task, self.output]
        described += [str(self.thresholds)] if self.thresholds else []
        if self.module is not None:
            # Hashed anew at each call: weights may have changed since the last one.
            tensors = {**self.module.state_dict(), **dict(self.module.named_buffers())}
            described += [hash_tensors(tensors), repr(self.module)]
            described += [one.fingerprint() for one in queried_by(self.module)]
            if None in described[1:]:
                return None
        return hashlib.sha256(repr(described).encode()).hexdigest()

    def _check_images(self, images: Tensor) -> None:
        is_tensor = isinstance(images, Tensor)
        if not is_tensor or images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            came = f"{images.dtype} {tuple(images.shape)}" if is_tensor else f"a {type(images).__name__}, not a tensor"
            raise InputError(
                f"{self.name} takes prepared images: float (n, 3, h, w) in [0, 1]; got {came}. "
                f"Use classifier.prepare(image), one image at a time, and torch.stack"
            )
        if not len(images):
            raise InputError(f"{self.name} got an empty batch")
        low, high = (float(v) for v in torch.aminmax(images.detach()))
        # Written so that NaN fails too.
        if not (low >= -1e-6 and high <= 1 + 1e-6):
            raise InputError(
                f"{self.name} takes images in [0, 1], got values from {low:.4g} to {high:.4g}. Normalisation happens "
                f"inside the classifier: pass prepared images, not normalised ones"
            )


def hash_tensors(tensors: dict[str, Tensor]) -> str:
    """Hash named tensors, independent of device and storage order: sha256, hex."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
