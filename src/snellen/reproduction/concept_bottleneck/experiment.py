"""System 1, MedCBM: do decisions by named concepts keep their accuracy when a shortcut of the training turns round.

On drawn scenes that are read like pictures of patients, with the embedded text–image model, which was fitted to scenes
without any shortcut. No two-tower model that comes with this package was fitted to a real set.
"""

from __future__ import annotations

from collections.abc import Mapping

from snellen.core.progress import Progress
from snellen.core.system import Scale
from snellen.models.references import load_two_tower
from snellen.reproduction.concept_bottleneck.arms import Arms
from snellen.reproduction.concept_bottleneck.materials import scene_material
from snellen.reproduction.concept_bottleneck.scales import full_material
from snellen.reproduction.concept_bottleneck.scenes_with_findings import Sizes
from snellen.reproduction.sample import Figure
from snellen.training.plan import TrainingPlan

TOWER = "bundled:scene-clip"

#: Of the confounder: probability of the class's own ground.
STRENGTH = 0.95

SIZES = Sizes(train=2000, val=400, test=1000)
#: Enough for every stage, and for no figure.
FEWEST = Sizes(train=24, val=12, test=12)

#: A network from the start, and a fine-tuned tower, which wants a lower rate.
NETWORK_PLAN = TrainingPlan(epochs=20, batch_size=64, learning_rate=2e-3)
TUNED_PLAN = TrainingPlan(epochs=8, batch_size=64, learning_rate=3e-4, warmup_steps=20)
SMOKE_PLAN = TrainingPlan(epochs=1, batch_size=32)

#: Of X-rays at full scale.
FULL_TUNED_PLAN = TrainingPlan(epochs=10, batch_size=32, learning_rate=1e-5, warmup_steps=100)

#: Concepts that a head may use, in the sweep.
FEW = (3, 6, 9, 13)

#: Random words, twice as many as the model's vectors have numbers.
MANY = 128


def concept_bottleneck(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 1.

    Returns:
        ``ARM.FIGURE`` with the figures id, ood, gap, average and worst of the arms cbm (concepts as answers), cosine
        (the paper's scores), patch_max and patch_mean, probe, network, fine_tuned, random and shuffled (with
        ``_cosine``), leak, residual, sparse_k and learned_k, many_words; areas under the curve of concepts; accuracies
        after corrections. ``id`` and ``worst`` have a value for each image, except in the arms that are means over
        draws of words. ``both.`` stands before those of a second finding, ``strict.`` before those of a shortcut
        without exception.
    """
    if scale == "full":
        material = full_material(seed, progress)
        arms = Arms(material, network_plan=NETWORK_PLAN, tuned_plan=FULL_TUNED_PLAN, progress=progress)
        return _all(arms, few=[one for one in (4, 16, 64) if one < len(material.concepts)], many=2 * MANY)
    tower = load_two_tower(TOWER)
    if scale == "smoke":
        material = scene_material(tower, "two_of_three", FEWEST, seed, strength=STRENGTH, progress=progress)
        arms = Arms(material, network_plan=SMOKE_PLAN, tuned_plan=SMOKE_PLAN, progress=progress, draws=1)
        return {**_all(arms, few=(2,), many=8), "concepts": float(len(material.concepts))}

    def arms_of(finding: str, strength: float) -> Arms:
        material = scene_material(tower, finding, SIZES, seed, strength=strength, progress=progress)  # type: ignore[arg-type]
        return Arms(material, network_plan=NETWORK_PLAN, tuned_plan=TUNED_PLAN, progress=progress)

    figures = _all(arms_of("two_of_three", STRENGTH), few=FEW, many=MANY)
    for name, arms in {"both": arms_of("both", STRENGTH), "strict": arms_of("two_of_three", 1.0)}.items():
        figures |= {f"{name}.{figure}": value for figure, value in arms.main().items()}
    return figures


concept_bottleneck.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("a handful of drawn scenes and the embedded text-image model",),
    "small": (
        "drawn scenes of 32 pixels for X-rays: a finding made of signs that are named, the ground for the hospital; "
        "2,000 to train on, 400 to choose by, 1,000 as in training and 1,000 reversed to test",
        "the embedded text-image model of scenes, fitted to such scenes without any shortcut, for BioViL",
        "a written list of 17 concepts, as alternatives by question, for those of GPT-4; the ground stands in it too, "
        "and the filter drops it",
        "a CNN of 48 thousand weights from the start, and the image tower fine-tuned, for ViT-B, Swin-B and ConvNeXt-B",
    ),
}


def _all(arms: Arms, *, few: tuple[int, ...] | list[int], many: int) -> dict[str, Figure]:
    return {
        **arms.main(),
        **arms.black_boxes(),
        **arms.few(few),
        **arms.many_words(many),
        **arms.quality(),
        **arms.corrections(),
    }
