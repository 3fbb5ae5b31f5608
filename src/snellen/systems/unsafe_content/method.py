"""The scan: unsafe images by category of a policy; and, where the truth is known, how good the classifier is.

Qu et al., "UnsafeBench", CCS 2025, arXiv 2405.03486. Verdicts come from a classifier by reference, F1 and its gap
between photographs and generated images from :mod:`snellen.metrics.detection_f1`, robust accuracy from
:mod:`snellen.methods.attacks.robust_accuracy`. An image that cannot be judged is named, and never counted as safe. No
image is copied into the record; blurred pictures are written on request.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.outcomes import Scanned, Shown
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.data.files.transparency import hidden_content
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.methods.attacks.robust_accuracy import correct_rows, measure_robustness
from snellen.methods.scans.training_leaks import find_leaks
from snellen.metrics.detection_f1 import ALL, BOTH, GENERATED, REAL, Judgements, f1_table, source_gap
from snellen.systems.unsafe_content.labels import category_of, source_of, truth_of
from snellen.systems.unsafe_content.outcomes import IS_UNSAFE, UNCLEAR, drawn_where_unclear
from snellen.systems.unsafe_content.policy import Policy, default_policy, read_policy
from snellen.systems.unsafe_content.safety import FORMS as FORMS_OF_CLASSIFIERS
from snellen.systems.unsafe_content.safety import ByScores, SafetyClassifier, load_safety_classifier

#: What progress calls it.
TASK = "judging images"

ASSUMPTIONS = (
    "a verdict is the classifier's opinion under this policy; let people decide before anybody is accused",
    "images judged safe are not proven to be safe",
)

#: Side of the coarse grid that a blurred picture is made of.
_BLUR = 6


@dataclass(eq=False)
class _Judged:
    """What was found so far, in the order of the images."""

    rows: list[int] = field(default_factory=list)
    outcomes: list[int] = field(default_factory=list)
    categories: list[str | None] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)


class UnsafeContent(Method):
    """Judge images by the categories of a policy; score the classifier where labels say what is unsafe.

    >>> UnsafeContent(classifier="towers:bundled:scene-clip").record()["attacked"]
    0
    """

    name: ClassVar[str] = "unsafe_content"
    finds: ClassVar[tuple[str, ...]] = ()

    classifier: str | None = Field(
        None,
        description="what judges: policy:FILE, towers:REF, answers:REF, follows:REF, or a classifier's reference; by "
        "default the model before the images",
    )
    policy: str | None = Field(None, description="TOML file of categories; by default the eleven of UnsafeBench")
    claims: tuple[str, ...] = Field(
        (),
        description="categories that the classifier claims, or the name of a published one (q16, multi-headed, "
        "sd-filter, nsfw-detector, nudenet); by default all",
    )
    device: str = Field("cpu", description="where the classifier of --classifier runs, such as cuda")
    training: str | None = Field(
        None,
        description="training images of the classifier; test images that are among them, or nearly, are not scored",
    )
    attacked: int = Field(0, ge=0, description="correctly judged images of each source that are attacked, at most")
    epsilon: float = Field(
        2 / 255, gt=0, le=1, description="size of noise and attacks, L-infinity, in [0, 1] pixel units"
    )
    steps: int = Field(100, ge=1, description="of PGD and DeepFool")
    resamples: int = Field(1000, ge=100, description="of each bootstrap")
    batch_size: int = Field(32, ge=1, description="images in one pass")
    blurred: int = Field(0, ge=0, description="images judged unsafe that are written, heavily blurred, at most")

    def chosen_policy(self) -> Policy:
        """The policy that is judged by."""
        return default_policy() if self.policy is None else read_policy(self.policy)

    def judge_of(self, model: Classifier | None = None) -> SafetyClassifier:
        """What judges.

        Raises:
            InputError: none is named, or it cannot be used.
        """
        named = self.claims[0] if len(self.claims) == 1 and self.claims[0] == self.claims[0].lower() else None
        policy = self.chosen_policy()
        claims = None if not self.claims else named if named and named not in policy.names else self.claims
        if self.classifier is not None:
            if self.classifier.startswith("policy:"):  # small, and often trained again to the same file
                return load_safety_classifier(self.classifier, policy, claims=claims, device=self.device)
            return _loaded(self.classifier, policy, claims, self.device)
        if model is None:
            raise InputError(f"{self.name} needs a classifier: --classifier with {FORMS_OF_CLASSIFIERS}")
        return ByScores(model, policy, claims)

    def load(self) -> None:
        """Load policy and classifier, so that an unusable one raises before the scan."""
        self.chosen_policy()
        if self.classifier is not None:
            self.judge_of()
        if self.training is not None:
            load_images(self.training)

    def reference_hashes(self) -> dict[str, str]:
        """Hashes of classifier, policy and training images, which distinguish another scan from this one."""
        found = {"policy": hashlib.sha256(self.chosen_policy().text.encode()).hexdigest()}
        if self.classifier is not None:
            found["classifier"] = self.judge_of().identity()
        if self.training is not None:
            found["training"] = load_images(self.training).fingerprint()
        return found

    def scan(
        self,
        images: ImageSet,
        *,
        classifier: Classifier | None = None,
        rng: Randomness,
        progress: Progress | None = None,
    ) -> Scanned:
        """Judge images.

        Returns:
            A row for each image: prediction 1 is unsafe, its value the margin of the scores, the column ``category``
            what is violated. An unclear answer is a row of status "failed". The statistic is the share of judged images
            that are unsafe. With labels: F1 by category and source, the gap, and robust accuracy.

        Raises:
            InputError: no classifier, or one that cannot be used.
        """
        judge = self.judge_of(classifier)
        if self.attacked:  # what would fail after the last image fails before the first
            self._can_attack(images, judge)
        judged = self._judged(images, judge, progress or Silent())
        evidence = self._rows(images, judged, judge)
        figures: dict[str, float | None] = {
            "images": float(len(judged.rows)),
            "unsafe": float(judged.outcomes.count(IS_UNSAFE)),
            "unclear": float(judged.outcomes.count(UNCLEAR)),
            "not judged": float(len(judged.rejected)),
        }
        counts = Counter(one for one in judged.categories if one is not None)
        figures |= {f"unsafe, {name}": float(counts[name]) for name in judge.claims if counts[name]}
        if not judged.rows:
            return Scanned(evidence, None, "no image could be judged, which does not mean that any is safe", figures)
        scored = self._scored(images, judged, judge, rng)
        return Scanned(
            evidence=evidence,
            statistic=judged.outcomes.count(IS_UNSAFE) / len(judged.rows),
            verdict=_verdict(judged, counts),
            figures=figures | scored,
            pictures=self._shown(images, judged, judge),
        )

    def _can_attack(self, images: ImageSet, judge: SafetyClassifier) -> None:
        if judge.classifier is None or not judge.classifier.differentiable or judge.classifier.output != "logits":
            raise InputError(f"{judge.name} has no logits with gradients to attack; leave attacked at 0")
        if all(one is None for one in truth_of(images, self.chosen_policy())):
            raise InputError(
                f"robust accuracy needs labels that say safe or unsafe, and {images.name} has none; name them so in a "
                f"manifest, or leave attacked at 0"
            )

    def _judged(self, images: ImageSet, judge: SafetyClassifier, listener: Progress) -> _Judged:
        found, ids = _Judged(), images.ids
        listener.begin(TASK, len(images))
        hidden = {row: why for row in range(len(images)) if (why := hidden_content(images, row)) is not None}
        found.rejected += [(ids[row], why) for row, why in hidden.items()]
        kept = [row for row in range(len(images)) if row not in hidden]
        listener.advance(TASK, len(hidden))
        for batch in prepared_batches(images.select(kept), judge.preparation, self.batch_size) if kept else ():
            found.rejected += batch.rejected
            listener.advance(TASK, len(batch.ids) + len(batch.rejected))
            if not batch.ids:
                continue
            verdicts = judge.judge(to_unit(batch.pixels))
            found.rows += [kept[at] for at in batch.indices]
            found.outcomes += verdicts.outcomes
            found.categories += verdicts.categories
            found.margins += (verdicts.logits[:, 1] - verdicts.logits[:, 0]).double().tolist()
        listener.finish(TASK)
        return found

    def _rows(self, images: ImageSet, judged: _Judged, judge: SafetyClassifier) -> Evidence:
        ids, units, truth = images.ids, images.column("unit_id"), truth_of(images, self.chosen_policy())
        unclear = [one == UNCLEAR for one in judged.outcomes]
        rows = Evidence.of(
            [ids[row] for row in judged.rows],
            setting=self.name,
            model=judge.name,
            unit_ids=[None if units[row] is None else str(units[row]) for row in judged.rows],
            label=[truth[row] for row in judged.rows],
            prediction=[None if odd else one for one, odd in zip(judged.outcomes, unclear, strict=True)],
            value=[None if odd else one for one, odd in zip(judged.margins, unclear, strict=True)],
            status=["failed" if odd else "ok" for odd in unclear],
            reason=["unclear answer" if odd else None for odd in unclear],
            extra={"category": pa.array(judged.categories, pa.string())},
            assumptions=(
                *ASSUMPTIONS,
                f"{judge.name} claims: {', '.join(judge.claims)}; other categories are not judged",
            ),
        )
        lost = Evidence.of(
            [key for key, _ in judged.rejected],
            setting=self.name,
            model=judge.name,
            status="rejected",
            reason=[why for _, why in judged.rejected],
            extra={"category": pa.array([None] * len(judged.rejected), pa.string())},
        )
        return Evidence.merge([rows, lost]) if judged.rejected else rows

    def _scored(
        self, images: ImageSet, judged: _Judged, judge: SafetyClassifier, rng: Randomness
    ) -> dict[str, float | None]:
        """Figures that need the truth; none where labels do not say what is unsafe."""
        policy = self.chosen_policy()
        truth, categories = truth_of(images, policy), category_of(images, policy)
        sources, datasets = source_of(images), images.column("dataset")
        found, leaked = dict[str, float | None](), set[str]()
        if self.training is not None:
            leaks = find_leaks(load_images(self.training), {"test": images})["test"]
            leaked = {one.test for one in leaks}
            found["also among the training images"] = float(len(leaked))
        ids, units = images.ids, images.units
        reasons = [
            _why_not(ids[row] in leaked, truth[row], categories[row], sources[row], judge.claims) for row in judged.rows
        ]
        found |= {f"not scored: {why}": float(count) for why, count in Counter(filter(None, reasons)).items()}
        kept = [at for at, why in enumerate(reasons) if why is None]
        found["scored"] = float(len(kept))
        if not kept:
            return found
        rows = [judged.rows[at] for at in kept]
        outcomes = np.array([judged.outcomes[at] for at in kept], dtype=np.int64)
        known = Judgements(
            ids=tuple(ids[row] for row in rows),
            unsafe=np.array([truth[row] == 1 for row in rows]),
            decided=drawn_where_unclear(outcomes, [ids[row] for row in rows], rng.seed) == IS_UNSAFE,
            unclear=outcomes == UNCLEAR,
            categories=tuple(categories[row] or "" for row in rows),
            sources=tuple(str(sources[row]) for row in rows),
            datasets=tuple(str(datasets[row] or images.name) for row in rows),
            units=tuple(units[row] for row in rows),
            seed=rng.seed,
        )
        for one in f1_table(known, judge.claims, resamples=self.resamples):
            name = ", ".join(part for part in (one.dataset, one.category, one.source) if part not in (ALL, BOTH))
            name = f", {name}" if name else ""
            counts = {"scored": one.images, "scored, unsafe": one.unsafe, "scored, unclear": one.unclear}
            found |= {f"{what}{name}": float(count) for what, count in counts.items()}
            name = f"F1{name}"
            found[name] = one.f1
            if one.interval is not None:
                found |= {f"{name}.low": one.interval.low, f"{name}.high": one.interval.high}
        gap = source_gap(known, judge.claims, resamples=self.resamples)
        if gap.value is not None:
            found["F1, real less generated"] = gap.value
            if gap.interval is not None:
                found["F1, real less generated.low"] = gap.interval.low
                found["F1, real less generated.high"] = gap.interval.high
        return found | self._attacked(images, rows, known, judge, rng)

    def _attacked(
        self, images: ImageSet, rows: Sequence[int], known: Judgements, judge: SafetyClassifier, rng: Randomness
    ) -> dict[str, float | None]:
        if not self.attacked or judge.classifier is None:
            return {}
        found = dict[str, float | None]()
        right = (known.decided == known.unsafe) & ~known.unclear
        for source in (REAL, GENERATED):
            at = np.flatnonzero(right & (np.array(known.sources) == source))
            if not len(at):
                found[f"attacked, {source}"] = 0.0
                continue
            # Drawn by number before any is read, so that no more than these are in memory.
            at = at[correct_rows(torch.ones(len(at), dtype=torch.bool), self.attacked, rng.seed).numpy()]
            chosen = images.select([rows[one] for one in at.tolist()])
            parts = [batch.pixels for batch in prepared_batches(chosen, judge.preparation, self.batch_size)]
            measured = measure_robustness(
                judge.classifier,
                to_unit(torch.cat(parts)),
                torch.from_numpy(known.unsafe[at].astype(np.int64)),
                [known.ids[one] for one in at.tolist()],
                count=self.attacked,
                seed=rng.seed,
                epsilon=self.epsilon,
                steps=self.steps,
                batch_size=self.batch_size,
            )
            found[f"attacked, {source}"] = float(len(measured.rows))
            for attack in measured.stands:
                found[f"robust accuracy, {attack}, {source}"] = measured.accuracy(attack)
        return found

    def _shown(self, images: ImageSet, judged: _Judged, judge: SafetyClassifier) -> list[Shown]:
        order = sorted(
            (at for at, one in enumerate(judged.outcomes) if one == IS_UNSAFE), key=lambda at: -judged.margins[at]
        )
        return [
            Shown(
                name=images.ids[judged.rows[at]],
                text=f"{images.ids[judged.rows[at]]}: {judged.categories[at] or 'unsafe'}",
                pictures={"blurred": blurred(to_unit(judge.preparation.pixels(images.read(judged.rows[at]))))},
            )
            for at in order[: self.blurred]
        ]


@lru_cache(maxsize=1)
def _loaded(
    reference: str, policy: Policy, claims: str | tuple[str, ...] | None, device: str
) -> SafetyClassifier:  # a check, the hashes and the scan need one in turn, and large weights are read once
    return load_safety_classifier(reference, policy, claims=claims, device=device)


def blurred(picture: Tensor) -> Tensor:
    """A picture of 6 × 6 colours, from which nobody sees what it shows: (3, h, w) → (3, h, w)."""
    coarse = F.adaptive_avg_pool2d(picture[None], _BLUR)
    return F.interpolate(coarse, size=picture.shape[1:], mode="bilinear")[0].clamp(0, 1)


def _why_not(
    leaked: bool, truth: int | None, category: str | None, source: str | None, claims: Sequence[str]
) -> str | None:
    """Why an image has no part in the scores; None where it has."""
    if leaked:
        return "also among the training images"
    if truth is None:
        return "no label that says safe or unsafe"
    if source is None:
        return "a source other than real or generated"
    if category is None:
        return "unsafe in no category of the policy" if truth else None
    return None if category in claims else "a category that is not claimed"


def _verdict(judged: _Judged, counts: Counter[str]) -> str:
    unsafe, unclear = judged.outcomes.count(IS_UNSAFE), judged.outcomes.count(UNCLEAR)
    kinds = f" ({', '.join(f'{name}: {count}' for name, count in counts.most_common())})" if counts else ""
    parts = [f"{unsafe} of {len(judged.rows)} images are judged unsafe{kinds}"]
    if unclear:
        parts.append(f"{unclear} answers are unclear, which is not safe")
    if judged.rejected:
        parts.append(f"{len(judged.rejected)} images could not be judged and are not counted as safe")
    return "; ".join(parts)
