"""One batch of images under one or more attacks: clean decisions, then rows of evidence for each attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.outcomes import NOT_FINITE, PIXELS, Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.eight_bits import rounded_success
from snellen.methods.attacks.goal import Goal
from snellen.runs.settings import Setting

#: Name of the evidence of unchanged images.
CLEAN = "clean"

#: Reasons of images that are not attacked.
WRONG, NO_LABEL, OF_TARGET = "wrong from the start", "no label", "is of the target class"

#: Why an image was set aside whose clean scores cannot be used.
UNUSABLE = "the model's scores are not finite (NaN or infinity)"

#: Column with the float32 values of an adversarial image, in shards alone.
IMAGE = "image"


@dataclass(frozen=True, eq=False)
class AttackBatch:
    """Usable images with what is known of them.

    Attributes:
        ids: their ids.
        unit_ids: name of each one's independent unit, or None.
        images: prepared, (n, 3, h, w) in [0, 1], on the classifier's device.
        labels: int64 (n,), or (n, k); −1 where unknown.
        scores: of the clean images, (n, k), finite.
        rng: bound to these images.
    """

    ids: tuple[str, ...]
    unit_ids: tuple[str | None, ...]
    images: Tensor
    labels: Tensor
    scores: Tensor
    rng: Randomness

    def known(self) -> Tensor:
        """Which images have a label: bool (n,)."""
        return (self.labels >= 0).reshape(len(self.labels), -1).all(1)


@dataclass
class _Rows:
    """Columns of the evidence of one attack, filled image by image."""

    status: list[str]
    reason: list[str | None]
    columns: dict[str, list[object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = {name: [None] * len(self.status) for name in _COLUMNS}


#: What the evidence of an attack says beside the columns that all evidence has. Sizes of the change are those of
#: adversarial images, or of what was added at the layer ``place``; ``changed_values`` counts its values.
_COLUMNS: Mapping[str, pa.DataType] = {
    "success": pa.bool_(),
    "success_8_bits": pa.bool_(),
    "queries": pa.int64(),
    "gradients": pa.int64(),
    "zero_gradient": pa.bool_(),
    "found_by": pa.string(),
    "linf": pa.float64(),
    "l2": pa.float64(),
    "changed_values": pa.int64(),
    "place": pa.string(),
}


def usable_batch(
    classifier: Classifier,
    ids: Sequence[str],
    unit_ids: Sequence[object],
    images: Tensor,
    labels: Tensor,
    rng: Randomness,
) -> tuple[AttackBatch | None, list[dict[str, str]]]:
    """Score clean images once; those whose scores are not finite are set aside by name, None when none is left."""
    with torch.no_grad():
        scores = classifier(images)
    finite = scores.isfinite().flatten(1).all(1)
    lost = [{"id": ids[row], "reason": UNUSABLE} for row in (~finite).nonzero().flatten().tolist()]
    kept = finite.nonzero().flatten()
    if not len(kept):
        return None, lost
    chosen = kept.tolist()
    names = tuple(ids[row] for row in chosen)
    units = tuple(None if unit_ids[row] is None else str(unit_ids[row]) for row in chosen)
    return AttackBatch(names, units, images[kept], labels[kept], scores[kept], rng.for_examples(names)), lost


def clean_rows(batch: AttackBatch, classifier: Classifier, goal: Goal) -> Evidence:
    """One row for each image as it is, setting "clean"; the column ``right`` is null without a label."""
    right = goal.right(classifier, batch.scores, batch.labels).tolist()
    known = batch.known().tolist()
    scored = classifier.output != "labels"
    confidence = classifier.probabilities(batch.scores).amax(1).tolist() if scored else None
    return Evidence.of(
        batch.ids,
        setting=CLEAN,
        model=classifier.name,
        unit_ids=batch.unit_ids,
        label=_classes(batch.labels, goal, known),
        prediction=_classes(classifier.predict(batch.scores), goal),
        value=confidence,
        extra={"right": pa.array([r if k else None for r, k in zip(right, known, strict=True)], pa.bool_())},
    )


@dataclass(frozen=True, eq=False)
class Tried:
    """Images of a batch that one attack is made on: those that are right and, under a target, of another class.

    Attributes:
        positions: in the batch, int64 (m,).
        images: (m, 3, h, w).
        labels: that the attack is handed, (m,) or (m, k).
        rng: bound to these images.
        further: arguments of the attack, such as the images that a search by decisions alone begins with.
        status: of every image of the batch, as it is without the attack.
        reason: why an image is not tried.
    """

    positions: Tensor
    images: Tensor
    labels: Tensor
    rng: Randomness
    further: Mapping[str, Tensor]
    status: list[str]
    reason: list[str | None]


def tried_images(
    batch: AttackBatch, classifier: Classifier, goal: Goal, setting: Setting, start: Tensor | None
) -> Tried:
    """Which images an attack is made on, and why not on the others.

    Args:
        batch: n images.
        classifier: the model under attack.
        goal: what counts as success.
        setting: the attack and its name.
        start: adversarial image (3, h, w) that a search by decisions alone begins with.
    """
    status, reason = ["ok"] * len(batch.ids), list[str | None]([None] * len(batch.ids))
    known, right = batch.known(), goal.right(classifier, batch.scores, batch.labels)
    tried = known & right
    for row in (~right).nonzero().flatten().tolist():
        reason[row] = WRONG
    if goal.target is not None:
        for row in (known & (batch.labels == goal.target)).nonzero().flatten().tolist():
            status[row], reason[row] = "skipped", OF_TARGET
        tried &= batch.labels != goal.target
    for row in (~known).nonzero().flatten().tolist():
        status[row], reason[row] = "skipped", NO_LABEL
    positions = tried.nonzero().flatten()
    images = batch.images[positions]
    # A start of another size than these images is left out: the attack tries noise instead.
    fits = start is not None and start.shape == images.shape[1:]
    further = {"starts": start.expand_as(images).contiguous()} if start is not None and fits else {}
    return Tried(
        positions,
        images,
        goal.references(batch.labels[positions]),
        batch.rng[positions],
        further,
        status,
        reason,
    )


def attacked_rows(
    batch: AttackBatch,
    classifier: Classifier,
    goal: Goal,
    setting: Setting,
    tried: Tried,
    attacked: Attacked | None,
    *,
    keep: bool,
) -> Evidence:
    """One row for each image under one attack.

    ``value`` is the distance of the adversarial image in the attack's own norm, null where none was found;
    ``prediction`` is null where the search was lost to scores that are not finite.

    Args:
        batch: n images.
        classifier: the model under attack.
        goal: what counts as success.
        setting: the attack and its name.
        tried: the images that it was made on.
        attacked: what it found for them; None where it could search for none.
        keep: also keep the adversarial images, column :data:`IMAGE`.
    """
    rows = _Rows(tried.status, tried.reason)
    predictions = _classes(classifier.predict(batch.scores), goal)
    values: list[float | None] = [None] * len(batch.ids)
    pictures: list[bytes | None] = [None] * len(batch.ids)
    if attacked is None:
        for row in tried.positions.tolist():
            rows.status[row], rows.reason[row], predictions[row] = "failed", NOT_FINITE, None
    else:
        originals = tried.images if attacked.place == PIXELS else None
        saved = rounded_success(classifier, attacked, tried.labels, criterion=goal.criterion, originals=originals)
        _fill(rows, predictions, values, attacked, saved, classifier, goal, tried.positions, tried.images)
        if keep and attacked.place == PIXELS:
            for at, row in enumerate(tried.positions.tolist()):
                if attacked.status[at] == "found":
                    pictures[row] = attacked.images[at].detach().cpu().float().numpy().tobytes()
    extra = {name: pa.array(rows.columns[name], kind) for name, kind in _COLUMNS.items()}
    if keep:
        extra[IMAGE] = pa.array(pictures, pa.large_binary())
    return Evidence.of(
        batch.ids,
        setting=setting.name,
        model=classifier.name,
        unit_ids=batch.unit_ids,
        label=_classes(batch.labels, goal, batch.known().tolist()),
        prediction=predictions,
        value=values,
        status=rows.status,
        reason=rows.reason,
        extra=extra,
        spent=None if attacked is None else attacked.spent,
        control="the same images unchanged (setting 'clean')",
        assumptions=[
            f"{setting.name}: not found means not found within its budget; a stronger attack may find more",
            *(f"{setting.name}: {fact}" for fact in (attacked.facts if attacked is not None else ())),
        ],
    )


def _fill(
    rows: _Rows,
    predictions: list[int | None],
    values: list[float | None],
    attacked: Attacked,
    saved: Tensor,
    classifier: Classifier,
    goal: Goal,
    positions: Tensor,
    clean: Tensor,
) -> None:
    """Write what an attack found into the rows at these positions."""
    change = (attacked.images - clean if attacked.changes is None else attacked.changes).double().flatten(1)
    sizes = {"linf": change.abs().amax(1), "l2": change.norm(dim=1), "changed_values": (change != 0).sum(1)}
    decided = _classes(classifier.predict(attacked.scores), goal)
    columns: dict[str, list[object]] = {
        "success": attacked.success.tolist(),
        # There are no images that could be rounded where a layer was changed.
        "success_8_bits": saved.tolist() if attacked.place == PIXELS else [None] * len(positions),
        "queries": attacked.queries.tolist(),
        "gradients": attacked.gradients.tolist(),
        "zero_gradient": attacked.zero_gradient.tolist(),
        "place": [attacked.place] * len(positions),
        "found_by": [name or None for name in attacked.found_by] or [None] * len(positions),
        **{name: size.tolist() for name, size in sizes.items()},
    }
    for at, (row, status, reason) in enumerate(zip(positions.tolist(), attacked.status, attacked.reasons, strict=True)):
        for name, column in columns.items():
            if status == "found" or name not in sizes:
                rows.columns[name][row] = column[at]
        rows.reason[row] = reason
        if status == "found":
            values[row], predictions[row] = float(attacked.distance[at]), decided[at]
        elif status == "already":  # the model draws at random, and this time the image was wrong as it is
            rows.columns["success"][row] = rows.columns["success_8_bits"][row] = None
            predictions[row] = decided[at]
        elif status == "not finite":
            rows.status[row], predictions[row] = "failed", None
            rows.columns["success"][row] = rows.columns["success_8_bits"][row] = None


def _classes(decisions: Tensor, goal: Goal, known: Sequence[bool] | None = None) -> list[int | None]:
    """One class for each image; null where there are several, or none is known."""
    if goal.multilabel:
        return [None] * len(decisions)
    return [
        None if known is not None and not k else c
        for c, k in zip(decisions.tolist(), known or [True] * len(decisions), strict=True)
    ]
