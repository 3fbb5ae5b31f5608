"""The student: a prompted text–image model learns, from strong views, the labels that the teacher gave plain views.

Imam et al., NoLA (arXiv 2411.19346), step 3: hard labels without a threshold, label smoothing, AdamW at a constant
rate. The epoch is chosen without labels: the last one, or the one that agrees most with the teacher on the plain views.
The published code chooses by accuracy on labelled images.

Strong views have the numbers of its code. Images keep their size.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from snellen.core.progress import Progress
from snellen.training.batches import Examples, ImageStore
from snellen.training.evaluation import score_examples
from snellen.training.loop import Trained, train
from snellen.training.objectives import cross_entropy, on_scores
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import (
    BatchTransform,
    colour_jitter,
    in_sequence,
    random_blur,
    random_flips,
    random_perspectives,
    random_resized_crops,
)


class StrongView(BaseModel):
    """Random resized crop, flip, jitter of colours, perspective, jitter again, blur: in this order.

    >>> len(StrongView(flips=False).steps())
    5
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    smallest_crop: float = Field(0.2, gt=0, le=1, description="least share of an image that a crop shows")
    flips: bool = Field(True, description="mirror half of the images; not for text, laterality and the like")
    brightness: float = Field(0.4, ge=0, le=1, description="of the jitter: factors are in 1 ± this")
    contrast: float = Field(0.4, ge=0, le=1, description="as brightness")
    saturation: float = Field(0.4, ge=0, le=1, description="as brightness")
    hue: float = Field(0.1, ge=0, le=0.5, description="of the jitter: turns of the colour circle, ± this")
    jitter_share: float = Field(0.8, ge=0, le=1, description="of the images that are jittered, each of two times")
    distortion: float = Field(0.2, ge=0, lt=1, description="how far corners move, in half heights and widths")
    perspective_share: float = Field(0.5, ge=0, le=1, description="of the images that are seen from aside")
    blur: tuple[float, float] = Field(
        (0.1, 2.0), description="least and largest standard deviation of the blur, pixels; of images of 224 pixels"
    )

    def steps(self) -> tuple[BatchTransform, ...]:
        """The changes, in order."""
        jitter = colour_jitter(self.brightness, self.contrast, self.saturation, self.hue, share=self.jitter_share)
        return (
            random_resized_crops(self.smallest_crop),
            *([random_flips] if self.flips else []),
            jitter,
            random_perspectives(self.distortion, share=self.perspective_share),
            jitter,
            random_blur(*self.blur),
        )

    def transform(self) -> BatchTransform:
        """All of them, each with its own randomness."""
        return in_sequence(*self.steps())


#: last: the last epoch; agreement: the first of the epochs that agree most with the teacher.
Selection = Literal["last", "agreement"]

#: Of the paper's code; 512 images of 224 pixels want about 20 GB: ``accumulate`` cuts them into smaller passes.
TUNING_PLAN = TrainingPlan(
    epochs=50, batch_size=512, learning_rate=0.004, weight_decay=0.01, schedule="constant", select="agreement"
)

LABEL_SMOOTHING = 0.1


def agreement(model: nn.Module, examples: Examples) -> Mapping[str, float]:
    """Share of images whose class by the student is the teacher's, both on the plain view."""
    scores, labels = score_examples(model, examples)
    return {"agreement": float((scores.argmax(1) == labels).double().mean())}


def tune_network(
    network: nn.Module,
    examples: ImageStore,
    *,
    plan: TrainingPlan = TUNING_PLAN,
    view: StrongView | None = None,
    label_smoothing: float = LABEL_SMOOTHING,
    selection: Selection = "last",
    checkpoint: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train what requires gradients in a copy of ``network``.

    Args:
        network: images (n, 3, h, w) in [0, 1] → logits (n, k).
        examples: plain views as bytes, with the teacher's labels as targets.
        plan: all numbers.
        view: what is done to images before the student sees them; the paper's if left out.
        label_smoothing: share of the target spread over all classes (ε).
        selection: how the epoch is chosen.
        checkpoint: file to save to, and to go on from.
        recipe: what else defines this training, for the checkpoint.
        progress: callback that receives progress updates.

    Raises:
        InputError: nothing to train.
        ModelError: a loss that is not finite.
    """
    return train(
        network,
        examples,
        plan=plan.model_copy(update={"select": "agreement", "select_highest": True}),
        objective=on_scores(partial(cross_entropy, label_smoothing=label_smoothing)),
        transform=(view or StrongView()).transform(),
        val=examples if selection == "agreement" else None,
        evaluate=agreement,
        checkpoint=checkpoint,
        recipe=recipe,
        progress=progress,
    )
