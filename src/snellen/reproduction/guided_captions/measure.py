"""Why METEOR and ROUGE-L do not fall under guidance (39.d, 39.e): docs/measured/caption-references.

    python scripts/measure.py guided_captions --set seed=3000

Hypothesis: what guidance adds is in the references more often than in MS-COCO. Shape, colour and texture are each named
in a quarter of them, so one of five names each for three images in four, and both measures take the best reference.
Here the same captions are judged against one reference at a time, and against five that never name the three. Expected,
before any seed: against five as they are METEOR rises from scale 1 to 2, as in the record. Against single ones both
measures fall, and against five without the three both fall, on each seed. A seed is a file and takes three minutes of a
core; one that is there is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snellen.core.progress import Progress
from snellen.metrics.caption_measures import meteor_scores, rouge_l
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.references import load_captioner
from snellen.reproduction.guided_captions.curves import curve_of
from snellen.reproduction.guided_captions.experiment import SMALL_PLAN, SMALL_SIZES
from snellen.reproduction.guided_captions.vague_world import LEFT_OUT, REFERENCES, captioned, references, synonyms
from snellen.reproduction.shared.documents import Measurements, is_measured, measured_path, write_measured
from snellen.systems.guided_captions.caption_rules import ClassifierFree
from snellen.systems.guided_captions.caption_tuning import encoded, tune_captioner

#: Without guidance, and with as much as the claims are about.
SCALES = (1.0, 2.0)

#: What the references never name in one of the ways.
DISTINGUISHING = ("shape", "colour", "texture")

#: Most tokens of a caption, as in the record.
MOST_TOKENS = 39


def measure_references(root: Path, progress: Progress, *, seed: int = 3000) -> None:
    """METEOR and ROUGE-L of captions at both scales, against three kinds of references."""
    path = measured_path(root, f"caption-references/{seed}")
    if is_measured(path):
        return
    captioner = load_captioner("bundled:scene-captioner")
    assert isinstance(captioner, CrossAttentionCaptioner)
    train, test = (
        captioned("train", SMALL_SIZES[0], seed=seed),
        captioned("test", SMALL_SIZES[1], seed=seed),
    )
    plan = SMALL_PLAN.model_copy(update={"seed": seed})
    tuned, _ = tune_captioner(captioner, encoded(captioner, train.images), train.vague, plan=plan, progress=progress)
    captions = curve_of(tuned, encoded(tuned, test.images), SCALES, ClassifierFree, MOST_TOKENS)
    coarse = references(test.scenes, seed=seed, left_out=LEFT_OUT | dict.fromkeys(DISTINGUISHING, 1.0))
    write_measured(path, {"seed": seed, **judged(captions, test.vague, coarse)})


def judged(
    captions: dict[float, list[str]], vague: Sequence[Sequence[str]], coarse: Sequence[Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Each measure at each scale.

    Args:
        captions: of all test images at each scale.
        vague: :data:`REFERENCES` references of each, as the record has them.
        coarse: references that never name what distinguishes.

    Returns:
        ``five``, ``single``: the mean over one reference at a time, and ``coarse``; in each ``MEASURE SCALE``.
    """
    singles = [[[row[number]] for row in vague] for number in range(REFERENCES)]
    return {
        "five": _mean(captions, [vague]),
        "single": _mean(captions, singles),
        "coarse": _mean(captions, [coarse]),
    }


def _mean(captions: dict[float, list[str]], known: Sequence[Sequence[Sequence[str]]]) -> dict[str, float]:
    """Means over sets of references."""
    found: dict[str, float] = {}
    for scale, made in captions.items():
        meteors = [sum(meteor_scores(made, one, synonyms())) / len(made) for one in known]
        found[f"meteor {scale:g}"] = sum(meteors) / len(known)
        found[f"rouge_l {scale:g}"] = sum(rouge_l(made, one) for one in known) / len(known)
    return found


MEASUREMENTS: Measurements = {"references": measure_references}
