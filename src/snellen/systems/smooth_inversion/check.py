"""A hidden trigger: a change, recovered from one image, that sends images of other classes to one class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr
from torch import Tensor

from snellen.checks.check import Batch, Check, CheckFigure, CheckInput, CheckResult, Companion, Kept
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Panel
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, SnellenError
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.methods.attacks.perturbation.magnified import magnified
from snellen.models.classifiers.prepared_images import read_prepared
from snellen.systems.smooth_inversion.class_scan import ClassScan, Recovered
from snellen.systems.smooth_inversion.copies import TUNED_ON
from snellen.systems.smooth_inversion.image_roles import FEW, draw_images, images_needed, units_of
from snellen.systems.smooth_inversion.kept_changes import KEPT, KeptChange, own_first, read_changes, try_changes
from snellen.systems.smooth_inversion.method import CONFIRMING, CONTRAST, COPIES, USUAL, Backdoor
from snellen.systems.smooth_inversion.scan_report import ScanReport
from snellen.systems.smooth_inversion.scanning import QUICK_SOURCES, QUICK_STEPS
from snellen.systems.smooth_inversion.training_images import LIST, TrainingSuspects, advice, listed, training_suspects
from snellen.systems.smooth_inversion.transfer import Transfer, decisions
from snellen.systems.smooth_inversion.tried_changes import TriedChange, strongest_changes


class BackdoorCheck(Check):
    """Search towards every class for a change of one image that carries over, and test what the leading ones do.

    A class is reported when it stands out, further images confirm it, and its change sends more of the images that
    neither found nor chose it than ``tolerated``, by an exact test. With clean models a class is compared with the same
    class of these, else with the other classes. How rare such an outlier is among clean models is a matter of their
    number, and stated as a fact: ten can show 1/11 at best. It runs only when named, after everything else was
    measured.

    Where training images are given, those of a class that stands out are searched for a second cluster: the images that
    may have planted the backdoor become ``lists/backdoor_training.json``.

    Without ``search`` only the changes of an earlier run are tried, which takes a moment: whether what was found is
    still there, by the same test. Another trigger is then not looked for.
    """

    name: ClassVar[str] = "backdoor"
    summary: ClassVar[str] = "a change of one image that sends other classes' images to one class (when asked for)"
    needs: ClassVar[frozenset[Need]] = frozenset({"layers", "gradients", "scores"})
    by_default: ClassVar[bool] = False
    reads: ClassVar[frozenset[Kept]] = frozenset({"features"})

    images: int = Field(400, ge=24, description="images that are searched on and that judge, drawn at random")
    epsilon: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="largest l2 length of the change; by default chosen from the model"
    )
    usual: float = Field(USUAL, gt=0, lt=0.5, description="share of other images that the middle class is reached from")
    sources: int = Field(4, ge=1, description="images that a change is searched on, for each class")
    confirming: int = Field(CONFIRMING, ge=0, description="further images that a class that stands out is searched on")
    steps: int = Field(40, ge=1, description="steps of the search towards every class")
    refined_steps: int = Field(60, ge=1, description="steps towards the leading classes")
    clean: tuple[str, ...] = Field((), description="references of clean models of the same classes, two or more")
    contrast: float = Field(
        CONTRAST, gt=0, description="log odds above the middle class, and above copies, from which a class stands out"
    )
    copies: int = Field(
        COPIES, ge=0, description="copies of the model to compare with, where there are no clean models"
    )
    outlier: float = Field(3.5, gt=0, description="spreads above clean models from which a class stands out")
    tolerated: float = Field(0.3, gt=0, lt=1, description="share of other images up to which nothing is reported")
    earlier: str | None = Field(
        None, description="run directory of an earlier audit: its changes are tried here too, for snellen compare"
    )
    search: bool = Field(True, description="whether to search; without, only the changes of earlier are tried")
    examples: int = Field(6, ge=0, description="pictures")

    _found: dict[str, Tensor] = PrivateAttr(default_factory=dict)

    def scan(self) -> Backdoor:
        """The method that is run."""
        return Backdoor(
            images=self.images,
            epsilon=self.epsilon,
            usual=self.usual,
            sources=self.sources,
            confirming=self.confirming,
            contrast=self.contrast,
            copies=self.copies,
            steps=self.steps,
            refined_steps=self.refined_steps,
            clean=self.clean,
            outlier=self.outlier,
            tolerated=self.tolerated,
        )

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why it cannot run: no module of torch that can run under noise, above all."""
        if not self.search:
            return None if classifier.task in self.tasks else f"handles one class an image, and not {classifier.task}"
        return super().missing(classifier, images, companions) or self.scan().missing(classifier)

    def resolved(self, classifier: Classifier) -> BackdoorCheck:
        """As it is; an earlier audit that keeps no changes is refused now, and not after hours.

        Raises:
            InputError: the earlier audit keeps no changes; or neither a search nor an earlier audit is named.
        """
        if not self.search and self.earlier is None:
            raise InputError(
                f"the check {self.name} has nothing to try: without a search (search false) it tries the changes of an "
                f"earlier audit, so name its run directory with {self.name}.earlier"
            )
        if self.earlier is not None:
            read_changes(self.earlier)
        return self

    def cost(self) -> float:
        """The search is of the model and not of each image: shared by ``images`` of ten classes, as if no more came."""
        plan = self.scan().plan()
        if not self.search:
            return 2.0 * plan.refined
        copies = sum(plan.screening.samples if sigma else 1 for sigma in plan.screened)
        screening = 10 * plan.sources * plan.screening.steps * copies
        again = sum(plan.refinement.samples if sigma else 1 for sigma in plan.sigmas)
        refinement = plan.refined * plan.sources * plan.refinement.steps * again
        confirming = plan.confirming * plan.refinement.steps * plan.refinement.samples
        lengths = 0 if plan.usual is None else 4 * 10 * QUICK_SOURCES * QUICK_STEPS * copies
        tuned = 0 if self.clean else plan.copies * (TUNED_ON + plan.refined * plan.sources * self.steps * copies)
        judging = (10 * len(plan.screened) + plan.refined * len(plan.sigmas)) * plan.sources * self.images / 2
        return (
            (1 + len(self.clean))
            * (3 * (screening + refinement + confirming + lengths + tuned) + judging)
            / self.images
        )

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Scan, and test the leading classes."""
        assert reading.audited is not None, "a backdoor is searched for with the images themselves"
        if not self.search:
            return self._tried_again(reading, reading.audited)
        scan, classifier = self.scan(), reading.classifier
        rows = self._drawn(reading)
        needed = images_needed(self.sources + min(self.confirming, FEW), len(reading.names))
        if len(rows) < needed:
            return CheckResult(
                notes=[f"Backdoor: needs {needed} images or more, of units of their own, and {len(rows)} are usable."]
            )
        places = {one: row for row, one in enumerate(reading.audited.ids)}
        chosen = reading.audited.select(np.array([places[reading.images.ids[row]] for row in rows]))
        pixels, _, ids, _ = read_prepared(chosen, classifier)
        known = dict(zip(reading.images.ids, reading.images.labels.tolist(), strict=True))
        labels = torch.tensor([known[one] for one in ids])
        rng = reading.rng.child(self.name)
        null = scan.null(classifier, chosen, rng=rng)
        try:
            units = units_of(chosen)
            found = scan.search(
                classifier, pixels, labels, ids=ids, units=[units[key] for key in ids], rng=rng, null=null
            )
        except SnellenError as error:
            return CheckResult(notes=[f"Backdoor: {error}"])
        report = scan.report(found, classifier, null)
        reported = {one.target for one in report.reported}
        suspects = {}
        if reported and "train" in reading.companions:
            suspects = training_suspects(reading.companions["train"], sorted(reported), rng=rng)
        listing = listed(suspects, reading.names)
        own = [
            KeptChange(
                reading.names[one.target],
                one.change.cpu(),
                tuple(ids[row] for row in found.measured_on.tolist()),
                stands_out=one.target in reported,
            )
            for one in found.recovered
        ]
        changes = own_first(own, [] if self.earlier is None else read_changes(self.earlier))
        tried, untried = try_changes(changes, classifier, reading.audited, known)
        best = found.recovered[0]
        low, high = best.effect.interval()
        metrics = {
            f"{self.name}.recovered_success": CheckFigure(
                value=best.effect.rate, low=low, high=high, n=best.effect.counted
            )
        }
        return CheckResult(
            metrics=metrics,
            hypotheses=[
                self._hypothesis(one, one.target in reported, report, suspects.get(one.target), pixels, ids)
                for one in found.recovered
            ],
            panels=[self._table(found, reading)],
            lists={KEPT: tried} | ({LIST: listing} if listing else {}),
            arrays={KEPT: {one.key: one.change.numpy() for one in changes}},
            notes=[
                f"Backdoor: {report.verdict()}.",
                *(f"Backdoor: {a}." for a in (*report.assumptions(), *untried)),
                *(f"Backdoor: {one.note(reading.names[target])}." for target, one in suspects.items()),
            ],
        )

    def _tried_again(self, reading: CheckInput, audited: ImageSet) -> CheckResult:
        """Only try the changes of the earlier audit."""
        assert self.earlier is not None, "an audit refuses the check without a search and without an earlier audit"
        changes, images = read_changes(self.earlier), reading.images
        known = dict(zip(images.ids, images.labels.tolist(), strict=True))
        rows, untried = try_changes(changes, reading.classifier, audited, known)
        strongest = strongest_changes(changes, rows)
        decided = np.where(images.labels >= 0, images.labels, images.predictions)
        words = (
            f"nothing was searched for: {len(changes)} changes of {self.earlier} were tried, and another trigger "
            f"would not be seen"
        )
        return CheckResult(
            hypotheses=[
                self._still_there(one, float((decided != reading.names.index(one.change.target)).mean()), reading)
                for one in strongest
            ],
            lists={KEPT: rows},
            arrays={KEPT: {one.key: one.change.numpy() for one in changes}},
            notes=[f"Backdoor: {note}." for note in (words, *untried)],
        )

    def _still_there(self, one: TriedChange, share: float, reading: CheckInput) -> Hypothesis:
        """That a change of an earlier audit sends no more than is tolerated."""
        name, effect, p_value = one.change.target, one.effect, one.p_value(self.tolerated)
        self._found[name] = one.change.change

        def finding(bound: float) -> Finding:
            return _finding(
                name,
                one.change.change,
                effect,
                p_value=p_value,
                bound=bound,
                title=f"A change of an earlier audit still sends {effect.rate:.1%} of {effect.counted} images to "
                f"{name}",
                examples=self._moved(one),
            )

        return Hypothesis(p_value, lambda confidence: one.harm(confidence, share), finding)

    def _moved(self, one: TriedChange) -> tuple[FindingExample, ...]:
        """Images that the change alone sends to its class; none where all were taken for it without the change."""
        shown = list(one.moved.items())[: self.examples]
        beside = f"; the change itself, {magnified(one.change.change)[1]:.3g} times"
        return tuple(
            FindingExample(example_id=key, caption=f"{before} becomes {one.change.target}{'' if place else beside}")
            for place, (key, before) in enumerate(shown)
        )

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The change itself beside the first image, and the others with it."""
        change = self._found.get(finding.subject)
        if change is None:
            return None
        change = change.to(batch.images.device)
        changed = (batch.images + change).clamp(0, 1)
        changed[0] = magnified(change)[0]
        return changed

    def _drawn(self, reading: CheckInput) -> NDArray[np.int64]:
        """Usable images, at most ``images``, one of each unit first, in an order that follows from the seed."""
        seed = reading.rng.child(self.name).generator("order").initial_seed()
        return draw_images(reading.images.unit_ids, most=self.images, seed=seed)

    def _hypothesis(
        self,
        one: Recovered,
        stands_out: bool,
        report: ScanReport,
        suspects: TrainingSuspects | None,
        pixels: Tensor,
        ids: tuple[str, ...],
    ) -> Hypothesis:
        found, effect, name = report.found, one.effect, report.classifier.class_names[one.target]
        # A class that does not stand out is not reported for any effect of its change; that costs power alone.
        p_value = effect.p_value(self.tolerated) if stands_out else 1.0
        self._found[name] = one.change
        share = effect.counted / max(len(found.measured_on), 1)

        def harm(confidence: float) -> float:
            return share * effect.harm(confidence)

        def finding(bound: float) -> Finding:
            facts: dict[str, float | int | str] = {
                "sigma": one.sigma,
                "score": found.score(one.target),
                "epsilon": found.strength.epsilon,
                "z_among_classes": float(found.z[found.targets.index(one.target)]),
                "clean_models": 0 if report.null is None else len(report.null),
            }
            if one.copied:
                facts |= {"copies": len(one.copied), "rate_in_copies": max(one.copied)}
            if one.confirmation is not None:
                facts |= {"confirming_images": one.confirmation.tried, "confirmed_by": one.confirmation.carried}
            if report.rank_p_value is not None:
                facts["p_value_among_clean_models"] = report.rank_p_value
            if suspects is not None:
                facts |= {"training_images": suspects.images, "training_suspects": len(suspects.ids)}
            return _finding(
                name,
                one.change,
                effect,
                p_value=p_value,
                bound=bound,
                title=f"A change recovered from one image sends {effect.rate:.1%} of {effect.counted} others to {name}",
                facts=facts,
                examples=self._examples(one, found, report.classifier, pixels, ids),
                suspects=suspects,
            )

        return Hypothesis(p_value, harm, finding)

    def _examples(
        self, one: Recovered, found: ClassScan, classifier: Classifier, pixels: Tensor, ids: tuple[str, ...]
    ) -> tuple[FindingExample, ...]:
        factor = magnified(one.change)[1]
        first = FindingExample(
            example_id=ids[one.source], caption=f"recovered from this image; the change itself, {factor:.3g} times"
        )
        rows = found.measured_on.tolist()
        both = decisions(classifier, pixels[rows], torch.stack([torch.zeros_like(one.change), one.change]))
        moved = [row for row, before, after in zip(rows, *both.tolist(), strict=True) if before != after == one.target]
        names = classifier.class_names
        before = dict(zip(rows, both[0].tolist(), strict=True))
        others = [
            FindingExample(example_id=ids[row], caption=f"{names[before[row]]} becomes {names[one.target]}")
            for row in moved[: max(self.examples - 1, 0)]
        ]
        return (first, *others)[: self.examples]

    def _table(self, found: ClassScan, reading: CheckInput) -> Panel:
        best = {one.target: one for one in found.recovered}
        rows = []
        for target in found.ranking:
            place = found.targets.index(target)
            effect = best[target].effect.rate if target in best else None
            rows.append(
                (
                    reading.names[target],
                    round(float(found.rates[place]), 3),
                    round(float(found.scores[place]), 2),
                    "" if effect is None else round(effect, 3),
                )
            )
        how = (
            "how many log odds that lies above the middle class"
            if found.excess is None
            else "how many spreads that lies above the same class of clean models"
        )
        return Panel(
            check=self.name,
            title="Classes that a change of one image reaches",
            about=f"Share of other images that a short search sends to each class, {how}, and what a longer search "
            "does for the leading ones.",
            head=("class", "share sent", "score", "share sent, longer search"),
            rows=tuple(rows),
        )


def _finding(
    name: str,
    change: Tensor,
    effect: Transfer,
    *,
    p_value: float,
    bound: float,
    title: str,
    examples: Sequence[FindingExample],
    facts: Mapping[str, float | int | str] | None = None,
    suspects: TrainingSuspects | None = None,
) -> Finding:
    """What a change towards a class does, of this audit or of an earlier one."""
    return Finding(
        kind="backdoor",
        subject=name,
        harm=bound,
        p_value=p_value,
        title=title,
        facts={
            "images": effect.counted,
            "sent": effect.sent,
            "sent_without_the_change": effect.already,
            "length_l2": float(change.norm()),
            **(facts or {}),
        },
        examples=tuple(examples),
        treatments=(advice(suspects),),
    )
