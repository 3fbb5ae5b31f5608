"""What a loader found: a model and everything that its files say about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from snellen.core.classifier import Normalization, Task
from snellen.core.preparation import Preparation
from snellen.models.classifiers.output_kind import OutputKind

#: What a loader may have to assume.
Field = Literal["class_names", "preparation", "normalization"]

Network = nn.Module | Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedModel:
    """A model before it becomes a classifier: overrides, class names and a probe of its outputs are still to come.

    Attributes:
        network: normalised images (n, 3, h, w) → outputs (n, k) or labels (n,).
        name: shown in reports and messages.
        preparation: the model's own resize and crop; None when its files do not tell, and it cannot be guessed.
        normalization: per-channel mean and std, or None for images in [0, 1].
        task: what the outputs decide.
        output: what the outputs are; None when only looking at some can tell.
        class_names: names of the outputs, when the model brings them.
        outputs: number of outputs, when it is known without running the model.
        identity: hash of the weights, when the loader has it; else it is computed from the parameters.
        feature_layer: the pooled layer before the last linear layer, when that is certain.
        recipe: what trained it, where its files tell.
        history: figures of each epoch of its training, where its files tell.
        bag_decision: how a bag is decided from its images, where its files tell.
        notes: what the loader changed or found remarkable.
        assumed: what the loader assumed, by field: told only where the caller does not give that field.
        sent_to: the host that images are sent to; None where the model runs in this process.
        advice: how a user supplies what is missing; the end of an error message.
    """

    network: Network
    name: str
    preparation: Preparation | None
    normalization: Normalization | None = None
    task: Task = "single"
    output: OutputKind | None = None
    class_names: tuple[str, ...] | None = None
    outputs: int | None = None
    identity: str | None = None
    feature_layer: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, float], ...] = ()
    bag_decision: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    assumed: Mapping[Field, str] = field(default_factory=dict)
    sent_to: str | None = None
    advice: str = "pass preparation=Preparation(...) to load_classifier()"
