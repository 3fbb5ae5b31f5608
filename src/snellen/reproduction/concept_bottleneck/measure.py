"""How the ground reaches plain cosines (1.9): docs/measured/cosine-causes.json.

    python scripts/measure.py concept_bottleneck

Hypothesis: phrases and grounds share directions of the model, so that seventeen cosines together show the ground. The
ground's direction is the difference of the mean vectors of training images on sand and on grass, within each class. Its
part is taken out of the phrases' vectors, and the head is fitted again on the seeds of the record (``without ground``).
If that is the cause, the worst group is then more than ten points above the probe as recorded. A direction taken out
that lies at random among the phrases' (``without another``) leaves it where it was. ``centred`` takes the mean over the
answers of its question from each cosine: what the answers of a question share, without the softmax. ``probe without
ground`` is the probe on vectors without the same direction: what is left of the gap when both are spared the ground. A
seed takes half a minute.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.progress import Progress
from snellen.models.references import load_two_tower
from snellen.reproduction.concept_bottleneck.arms import Arms, Numbers
from snellen.reproduction.concept_bottleneck.experiment import NETWORK_PLAN, SIZES, STRENGTH, TOWER, TUNED_PLAN
from snellen.reproduction.concept_bottleneck.materials import Part, scene_material
from snellen.reproduction.concept_bottleneck.scenes_with_findings import GROUNDS
from snellen.reproduction.shared.documents import Measurements, measured_path, write_measured
from snellen.systems.concept_bottleneck.concept_scores import concept_vectors
from snellen.systems.concept_bottleneck.linear_head import choose_linear_head

SEEDS = tuple(range(1000, 1010))


def measure_cosines(root: Path, progress: Progress) -> None:
    """Accuracy of each way in the worst group, and how well its numbers show the ground."""
    tower, each = load_two_tower(TOWER), []
    progress.begin("seeds", len(SEEDS))
    for seed in SEEDS:
        material = scene_material(tower, "two_of_three", SIZES, seed, strength=STRENGTH)
        arms = Arms(material, network_plan=NETWORK_PLAN, tuned_plan=TUNED_PLAN, progress=progress)
        each.append({"seed": seed, **{name: _figures(arms, way) for name, way in ways(arms).items()}})
        progress.advance("seeds", 1)
    progress.finish("seeds")
    write_measured(measured_path(root, "cosine-causes"), each)


def ways(arms: Arms) -> dict[str, Numbers]:
    """What each way gives a head."""
    of = arms.material
    phrases = concept_vectors(of.tower, of.concepts.phrases).cpu()
    other = torch.randn(len(phrases), generator=arms.rng.generator("another direction")) @ phrases
    centring, ground = _centring(of.concepts.questions), ground_direction(of.train)
    return {
        "probe": lambda part: part.vectors,
        "probe without ground": lambda part: without(part.vectors, ground),
        "cosines": arms.cosines(of.concepts.phrases),
        "without ground": _cosines(without(phrases, ground)),
        "without another": _cosines(without(phrases, other)),
        "centred": _cosines(centring @ phrases),
    }


def ground_direction(part: Part) -> Tensor:
    """Mean over the classes of the difference of mean vectors on the two grounds, (d,)."""
    on_sand = torch.tensor([group == GROUNDS[1] for group in part.groups])
    parts = [part.labels == label for label in part.labels.unique()]
    found = [part.vectors[rows & on_sand].mean(0) - part.vectors[rows & ~on_sand].mean(0) for rows in parts]
    return torch.stack(found).mean(0)


def without(vectors: Tensor, direction: Tensor) -> Tensor:
    """Vectors (n, d) less their part along a direction (d,).

    >>> without(torch.tensor([[3.0, 4.0]]), torch.tensor([0.0, 2.0]))
    tensor([[3., 0.]])
    """
    unit = F.normalize(direction, dim=0)
    return vectors - (vectors @ unit)[:, None] * unit


def _cosines(directions: Tensor) -> Numbers:
    return lambda part: part.vectors @ directions.T


def _centring(questions: tuple[str, ...]) -> Tensor:
    """The matrix (N, N) that takes the mean over the concepts of its question from each."""
    same = torch.tensor([[float(one == other) for other in questions] for one in questions])
    return torch.eye(len(questions)) - same / same.sum(1, keepdim=True)


def _figures(arms: Arms, numbers: Numbers) -> dict[str, float]:
    """Of the class: worst group. Of the ground, which a head of the same kind is fitted to: accuracy."""
    of = arms.material
    grounds = [torch.tensor([GROUNDS.index(group) for group in part.groups]) for part in (of.train, of.val, of.test)]
    head = choose_linear_head(numbers(of.train), grounds[0], numbers(of.val), grounds[1], len(GROUNDS)).head
    right = head.logits(numbers(of.test)).argmax(1) == grounds[2]
    return {"worst": arms.fitted(numbers).shift.worst, "ground": _balanced(right, of.test.labels, grounds[2])}


def _balanced(right: Tensor, labels: Tensor, grounds: Tensor) -> float:
    """Mean accuracy over the four groups of class and ground: the class alone says nothing of it."""
    groups = 2 * labels + grounds
    return float(torch.stack([right[groups == one].double().mean() for one in groups.unique()]).mean())


MEASUREMENTS: Measurements = {"cosines": measure_cosines}
