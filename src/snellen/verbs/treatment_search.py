"""Which treatments are tried, one candidate after the other, and how much of them the time allows."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import torch

from snellen.core.preprocessing import to_unit
from snellen.methods.treatments.treatment import FineTuning, Patient, Treatment
from snellen.models.classifiers.trainable import copied, has_weights
from snellen.verbs.treatment_plan import Prescription
from snellen.verbs.treatment_trials import Trial

#: Most candidates that treat all findings together; a plan of few kinds has fewer.
MOST = 8

#: Share of the findings' quantity that must have fallen on the validation images where anything is delivered.
LEAST_GAIN = 0.05

#: How much more than a plain fine-tuning, and than all treatments before it, one costs that is dear; and the share of a
#: finding that another candidate took away where a dear one is not tried: it takes long for the little that is left.
DEAR, MOSTLY = 2, 0.75

#: Share of the time that is left which a training may take at most.
SHARE = 0.5

#: Passes that a plain fine-tuning counts as where treatments are put in order; others are more or less beside it.
PLAIN_PASSES = FineTuning.passes

#: Images of the training step that is timed, and how often it is.
TIMED_ON, TIMES = 8, 2

#: What is proposed, and what came of it; None: it was not tried.
Proposals = Generator[tuple[Treatment, ...], Trial | None, None]


def proposals(prescriptions: Sequence[Prescription], max_loss: float) -> Proposals:
    """What is tried next, given what came of all that was tried before.

    First candidates treat all findings together; a kind that is not mended climbs to its next treatment. Where each of
    them loses too much, the kinds are treated one by one, the cheapest first: what one adds stays where the accuracy
    allows it. So a treatment that costs nothing is not lost with one that costs too much.

    Args:
        prescriptions: with a ladder each.
        max_loss: of clean accuracy.
    """
    tried = list[Trial]()
    rungs: Mapping[str, int] | None = {one.kind: 0 for one in prescriptions}
    keys = {finding.key for one in prescriptions for finding in one.findings}
    findings = [finding for one in prescriptions for finding in one.findings]
    while rungs is not None and len(tried) < MOST:
        trial = yield next_treatments(prescriptions, rungs)
        if trial is None:
            break
        tried.append(trial)
        if keys <= trial.mended and trial.cost <= max_loss:
            return
        rungs = climbed(prescriptions, rungs, trial, max_loss, tried)
    if len(prescriptions) == 1 or any(one.cost <= max_loss and one.gain(findings) >= LEAST_GAIN for one in tried):
        return
    kept, known = tuple[Treatment, ...](), {_names(one.treatments) for one in tried}
    for one in sorted(prescriptions, key=lambda one: _best(one, tried).passes):
        together = tuple({each.name: each for each in (*kept, _best(one, tried))}.values())
        if _names(together) in known:
            continue
        known.add(_names(together))
        trial = yield together
        if trial is not None and trial.cost <= max_loss and trial.gain(one.findings) >= LEAST_GAIN:
            kept = together


def next_treatments(prescriptions: Sequence[Prescription], rungs: Mapping[str, int]) -> tuple[Treatment, ...]:
    """The treatments on the given rungs of the ladders, each once; of one with two plans, the longer."""
    chosen = [one.ladder[rungs[one.kind]] for one in prescriptions if one.ladder]
    found = dict[str, Treatment]()
    for one in chosen:
        if one.name not in found or one.words != one.name:
            found[one.name] = one
    return tuple(found.values())


def climbed(
    prescriptions: Sequence[Prescription],
    rungs: Mapping[str, int],
    trial: Trial,
    max_loss: float,
    tried: Sequence[Trial] = (),
) -> dict[str, int] | None:
    """The rungs of the next trial, which comes after ``tried``; None where nothing else is left to try.

    A kind takes its next treatment where one of its findings is not mended. Where all are, and the accuracy lost is too
    much, the kind with the costliest treatment takes its next one.
    """
    higher = dict(rungs)
    open_kinds = [
        one
        for one in prescriptions
        if rungs[one.kind] + 1 < len(one.ladder) and not _too_dear(one, rungs[one.kind] + 1, tried, max_loss)
    ]
    unmended = [one for one in open_kinds if any(finding.key not in trial.mended for finding in one.findings)]
    if not unmended and trial.cost > max_loss:
        unmended = sorted(open_kinds, key=lambda one: one.ladder[rungs[one.kind]].passes)[-1:]
    for one in unmended:
        higher[one.kind] += 1
    return higher if unmended else None


def _too_dear(prescription: Prescription, rung: int, tried: Sequence[Trial], max_loss: float) -> bool:
    """Whether a rung costs much more than those before it, for the little that the best candidate left."""
    if prescription.named:
        return False
    cost, before = prescription.ladder[rung].passes, max(one.passes for one in prescription.ladder[:rung])
    if cost < DEAR * max(PLAIN_PASSES, before):
        return False
    return any(one.cost <= max_loss and one.gain(prescription.findings) >= MOSTLY for one in tried)


def _best(prescription: Prescription, tried: Sequence[Trial]) -> Treatment:
    """The treatment of a kind in the candidate that left least of its findings; the cheapest where none was tried."""
    best = max(tried, key=lambda one: one.gain(prescription.findings), default=None)
    names = set() if best is None else {one.name for one in best.treatments}
    return next((one for one in prescription.ladder if one.name in names), prescription.ladder[0])


def _names(treatments: Sequence[Treatment]) -> frozenset[str]:
    return frozenset(one.words for one in treatments)


@dataclass(frozen=True)
class Pace:
    """How long trainings and checks take here, to keep within a budget.

    Attributes:
        judging: seconds that the checks take on the validation images.
        proving: seconds that they take on the images that prove, before and after.
        training: seconds of training on one image once.
        images: that are trained on.
    """

    judging: float
    proving: float
    training: float
    images: int

    def seconds(self, treatments: Sequence[Treatment]) -> float:
        """Of carrying these out together and judging the candidate, about."""
        tunings = [one for one in treatments if isinstance(one, FineTuning)]
        passes = sum(one.passes for one in treatments if not isinstance(one, FineTuning))
        if tunings:
            extra = sum(one.passes / PLAIN_PASSES - 1 for one in tunings)
            passes += max(one.plan.passes(self.images) for one in tunings) * max(1 + extra, 1)
        return passes * self.images * self.training + self.judging

    def passes(self, treatments: Sequence[Treatment], left: float, *, first: bool, kinds: int = 0) -> int | None:
        """Passes over the training images that there is time for; 0: as many as these treatments take; None: none.

        Args:
            treatments: that are proposed.
            left: seconds until everything should be over, the proof as well.
            first: whether nothing was tried: it is tried then, with one pass if need be.
            kinds: of findings that may have to be treated one by one: a training leaves the time to judge that.
        """
        free = left - self.proving
        plain = [one for one in treatments if not isinstance(one, FineTuning)]
        if len(plain) == len(treatments):
            return 0 if first or self.seconds(treatments) <= free else None
        longest = max(one.plan.passes(self.images) for one in treatments if isinstance(one, FineTuning))
        fixed = self.seconds(plain)
        a_pass = (self.seconds(treatments) - fixed) / longest
        most = int((SHARE * (free - kinds * self.judging) - fixed) // a_pass) if a_pass > 0 else longest
        if most >= longest:
            return 0
        return max(most, 1) if most >= 1 or first else None

    @classmethod
    def measured(cls, patient: Patient, judging: float, proving: float) -> Pace:
        """Time a training step of the classifier; see above for the seconds."""
        images = 0 if patient.train is None else len(patient.train)
        network = copied(patient.classifier).eval()
        if not images or not has_weights(network):
            return cls(judging, proving, 0.0, images)
        shown = to_unit(patient.training.images[:TIMED_ON]).to(patient.classifier.device)
        seconds = []
        for _ in range(TIMES):
            started = time.perf_counter()
            network(shown).logsumexp(1).sum().backward()
            if shown.is_cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        return cls(judging, proving, min(seconds) / len(shown), images)


def limited(treatments: Sequence[Treatment], passes: int, images: int) -> tuple[Treatment, ...]:
    """The same treatments, whose fine-tunings take at most so many passes over so many training images; 0: no limit."""
    if not passes:
        return tuple(treatments)
    return tuple(
        one.model_copy(update={"plan": one.plan.model_copy(update={"epochs": passes})})
        if isinstance(one, FineTuning) and one.plan.passes(images) > passes
        else one
        for one in treatments
    )
