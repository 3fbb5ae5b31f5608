"""Treat the classifiers with planted defects: what is found, what becomes of it, and what plain fine-tuning does.

    python scripts/ward/treated.py [--folder build/ward_treated] [--only NAME ...] [--seeds 3] [--again] [--alone]
    python scripts/ward/treated.py --complete | --merge

Every case is trained, audited and treated by one call of ``snellen.treat``. Beside it stand plain fine-tuning of the
audited classifier, on the same images and for as many steps, and, with the first seed, a training from scratch that
does what the treatment does; all of them are judged on the same images, which took no part in anything. One file of
docs/measured/ward/treated a case; those that are there are not measured again, but with ``--again`` where treatments
have changed since. ``--alone`` measures the treatment without the other two, which ``--complete`` adds later, where its
folder is still there. ``--merge`` only writes what is made of them: docs/measured/treated.json, and which treatments
reports advise. One to five minutes of one core for each case.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ill import ILL_PLAN, Ill, Sets, Sizes, class_of, ward
from pooled import pooled

import snellen
from snellen.auditing.compare.difference import RESAMPLES
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.report import AuditReport
from snellen.checks.treatments import ladder
from snellen.core.classifier import Classifier
from snellen.core.method import build
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.run import canonical_json, write_atomically
from snellen.data.worlds.planting.trigger_planting import PlantTrigger
from snellen.data.worlds.planting.truth import true_labels
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.models.classifiers.artifact_models import untrained
from snellen.models.classifiers.trainable import PreparedNetwork, trainable, trained_classifier
from snellen.training.acceleration import seeded
from snellen.training.fine_tuning import Term, TuningPlan, fine_tune, typical_weight
from snellen.verbs import treatment_measures
from snellen.verbs.treatment_case import Case
from snellen.verbs.treatment_proof import Proof, proven

ROOT = Path(__file__).parents[2]
FOLDER = Path("build") / "ward_treated"
FILES = ROOT / "docs" / "measured" / "ward" / "treated"
MERGED = ROOT / "docs" / "measured" / "treated.json"

BESIDE = ROOT / "src" / "snellen" / "checks" / "measured_treatments.json"

#: Which treatments were measured. 1: a quarter of the images damaged, half of the objects turned, none mirrored or
#: moved, and longer at last. 2: two of three damaged, turned, or mirrored and moved; longer right after, and faster.
#: 3: damaged at the severities of the audit, the strong ones more often and at last in smaller batches; turned, resized
#: and recoloured in a longer balanced tuning.
CODE = 3

#: Treatments that each code changed: what was measured of them before says nothing about them now.
CHANGED = {2: ("balanced_tuning", "corruption_tuning", "object_tuning"), 3: ("balanced_tuning", "corruption_tuning")}

#: Share of the training images that backdoors are treated with besides.
FEW = 0.05

#: Share of a label that is spread over all classes, in a training from scratch against overconfidence.
SMOOTHED = 0.1


def measured(one: Ill, folder: Path, sizes: Sizes, beside: Sequence[str]) -> dict[str, object]:
    """What was measured of one case, and ``beside`` it: "plain" fine-tuning, training from "scratch"."""
    sets, seconds = one.sets(sizes), dict[str, float]()
    place = folder / f"{one.name}-runs"
    with _timed(seconds, "train"):
        artifact = one.trained(folder, sets)
    classifier = one.brought(artifact)
    with _timed(seconds, "audit"):
        report = snellen.audit(
            classifier, sets.audited, checks=list(one.defect.checks), out=place / "audit", seed=one.seed
        )
    wanted = one.findings(classifier.class_names)
    keys = [finding.key for finding in report.findings if finding.kind in wanted or finding.key in wanted]
    record: dict[str, object] = {
        "name": one.name,
        "defect": one.defect.name,
        "world": one.defect.world.name,
        "network": one.network,
        "seed": one.seed,
        "form": one.form,
        "sizes": vars(sizes),
        "code": CODE,
        "accuracy": report.metrics["clean.accuracy"].value,
        "wanted": wanted,
        "findings": [{"key": f.key, "harm": f.harm, "level": f.level} for f in report.findings],
        "found": keys,
        "seconds": seconds,
    }
    if keys:
        record |= _treated(one, report, sets, keys, place, seconds, beside)
    return record


def _treated(
    one: Ill,
    report: AuditReport,
    sets: Sets,
    keys: Sequence[str],
    place: Path,
    seconds: dict[str, float],
    beside: Sequence[str],
) -> dict[str, object]:
    """The treatment, and what stands beside it."""
    out = place / "treated"
    # A treatment that was stopped in an earlier call counts its seconds from here on.
    shutil.rmtree(out, ignore_errors=True)
    with _timed(seconds, "treat"):
        made = snellen.treat(report, sets.train, val=sets.val, findings=list(keys), out=out, seed=one.seed)
    case = Case.of(report, sets.train, val=sets.val, findings=list(keys), seed=one.seed)
    record: dict[str, object] = {
        "outcomes": [finding.model_dump(mode="json") for finding in made.findings],
        "cost": None if made.cost is None else made.cost.model_dump(mode="json"),
        "tried": list(made.tried),
        "delivered": made.delivered,
        "written": made.reference is not None,
    }
    if not case.plan.treated:
        return record
    if one.defect.name == "backdoor":
        before = _sent(one, sets, case.patient.classifier)
        record["true_trigger"] = {"before": before, "treated": _sent(one, sets, made.classifier)}
        few = round(FEW * len(sets.train))
        with _timed(seconds, "treat with few images"):
            few_made = snellen.treat(
                report, sets.train, val=sets.val, findings=list(keys), train_limit=few, seed=one.seed
            )
        record["with_few_images"] = {
            "images": few,
            "outcomes": [finding.model_dump(mode="json") for finding in few_made.findings],
            "cost": None if few_made.cost is None else few_made.cost.model_dump(mode="json"),
            "true_trigger": _sent(one, sets, few_made.classifier),
        }
    return record | _others(one, case, made.treatments, place, seconds, beside)


def _others(
    one: Ill,
    case: Case,
    treatments: Sequence[Mapping[str, Any]],
    place: Path,
    seconds: dict[str, float],
    beside: Sequence[str],
) -> dict[str, object]:
    """What stands beside the treatment, by name."""
    found = dict[str, object]()
    for name in beside:
        with _timed(seconds, name):
            network = _plain(one, case, treatments) if name == "plain" else _from_scratch(one, case)
        other = trained_classifier(case.patient.classifier, network, name)
        proof = _judged(case, other, name, place, one.seed)
        found[name] = _record(case, proof, place / "treated" / "audits" / "after")
    return found


def completed(
    one: Ill, folder: Path, sizes: Sizes, record: Mapping[str, Any], beside: Sequence[str]
) -> dict[str, object]:
    """A case that was measured alone, with what stands beside it; its treatment still lies in ``folder``."""
    missing = [name for name in beside if name not in record]
    if not missing or not record.get("delivered"):
        return dict(record)
    sets, place, seconds = one.sets(sizes), folder / f"{one.name}-runs", dict(record["seconds"])
    made = json.loads((place / "treated" / "treatment.json").read_text(encoding="utf-8"))
    classifier = one.brought(one.trained(folder, sets))
    report = snellen.audit(classifier, sets.audited, checks=list(one.defect.checks), out=place / "audit", seed=one.seed)
    case = Case.of(report, sets.train, val=sets.val, findings=list(record["found"]), seed=one.seed)
    return {**record, **_others(one, case, made["treatments"], place, seconds, missing), "seconds": seconds}


def _sent(one: Ill, sets: Sets, classifier: Classifier) -> float:
    """Share of the audited images of other classes that the planted trigger sends to its class."""
    assert sets.audited.class_names is not None
    target = class_of(one.seed, len(sets.audited.class_names))
    others = sets.audited.select(np.flatnonzero(sets.audited.labels != target))
    stamped = PlantTrigger(target_class=target, rate=0.1).stamped(others, rng=Randomness(one.seed))
    prepared = torch.stack([classifier.prepare(image.image) for image in stamped])
    with torch.inference_mode():
        decided = torch.cat([classifier.predict(classifier(part)) for part in prepared.split(64)])
    return float((decided == target).double().mean())


def _plain(one: Ill, case: Case, treatments: Sequence[Mapping[str, Any]]) -> PreparedNetwork:
    """The audited network, trained on for as many steps as the treatment took, and with nothing added."""
    images = len(case.patient.training)
    return fine_tune(
        trainable(case.patient.classifier),
        case.patient.training,
        [],
        plan=max(_plans_of(treatments), key=lambda plan: plan.passes(images), default=TuningPlan()),
        rng=Randomness(one.seed).child("plain"),
    )


def _plans_of(treatments: Sequence[Mapping[str, Any]]) -> list[TuningPlan]:
    """Numbers of the fine-tunings that were delivered."""
    made = [build("treatments", dict(one)) for one in treatments]
    return [one.plan for one in made if isinstance(one, FineTuning)]


def _from_scratch(one: Ill, case: Case) -> PreparedNetwork:
    """Random weights, trained as the classifier was, on the images of the treatment and with what it adds."""
    with seeded(derive_seed(one.seed, one.name), torch.device("cpu")):
        network = trainable(_untrained(one, case.patient.classifier))
    first, rng = one.defect.plan, Randomness(one.seed).child("scratch")
    terms = [_term(name, case.patient, rng.child(name)) for name in one.defect.matching] or [_smoothed(case.patient)]
    if one.transform is not None:
        terms.append(Term(transforms=(one.transform,)))
    plan = TuningPlan(
        epochs=min(first.epochs, ILL_PLAN.epochs),
        batch_size=first.batch_size,
        rate=first.learning_rate / typical_weight(network),
        weight_decay=first.weight_decay,
    )
    return fine_tune(network, case.patient.training, terms, plan=plan, rng=rng)


def _untrained(one: Ill, classifier: Classifier) -> Classifier:
    return snellen.load_classifier(
        untrained(dict(one.architecture(len(classifier.class_names)))),
        classifier.class_names,
        preparation=classifier.preparation,
        name="untrained",
    )


def _term(name: str, patient: Patient, rng: Randomness) -> Term:
    made = build("treatments", name)
    assert isinstance(made, FineTuning)
    return made.term(patient, rng=rng)


def _smoothed(patient: Patient) -> Term:
    classes = len(patient.classifier.class_names)
    targets = torch.nn.functional.one_hot(patient.training.targets, classes).float()
    return Term(targets=(1 - SMOOTHED) * targets + SMOOTHED / classes)


def _judged(case: Case, other: Classifier, name: str, place: Path, seed: int) -> Proof:
    """Another classifier on the images that prove the treatment."""
    folder = place / name
    shutil.rmtree(folder, ignore_errors=True)
    for audit in ("selected", "before"):  # the same audits as those of the treatment: they are taken up
        if (place / "treated" / "audits" / audit).exists():
            shutil.copytree(place / "treated" / "audits" / audit, folder / "audits" / audit)
    names = {finding.key: name for finding in case.plan.treated}
    return proven(
        case.patient.classifier,
        other,
        case.plan.treated,
        names,
        case.proving,
        case.subject.companions,
        case.checks,
        folder,
        seed=seed,
    )


def _truly_right(case: Case, record: RunRecord) -> float:
    """Accuracy by the true labels, which stand beside those that were planted."""
    proving = case.proving.proving
    truth = dict(zip(proving.ids, true_labels(proving).tolist(), strict=True))
    pairs = zip(record.images.ids, record.images.predictions.tolist(), strict=True)
    return float(np.mean([truth[key] == predicted for key, predicted in pairs]))


def _record(case: Case, proof: Proof, treated: Path) -> dict[str, Any]:
    """What became of the findings, what it cost, and how much better the treated classifier is (negative: better)."""
    clean = next(one for one in proof.comparison.figures if one.name == "clean.accuracy")
    beside = {}
    if treated.exists():
        found = treatment_measures.measured(
            proof.after, RunRecord.read(treated), case.plan.treated, resamples=RESAMPLES
        )
        beside = {key: {"difference": one.value, "low": one.low, "high": one.high} for key, one in found.items()}
    return {
        "outcomes": [one.model_dump(mode="json") for one in proof.outcomes],
        "cost": {name: getattr(clean, name) for name in ("first", "second", "difference", "low", "high", "n")},
        "truly_right": {
            "before": _truly_right(case, proof.before),
            "after": _truly_right(case, proof.after),
            "treated": _truly_right(case, RunRecord.read(treated)) if treated.exists() else None,
        },
        "treated_beside_it": beside,
    }


class _timed:  # noqa: N801 - reads as a statement
    """Seconds of a block, under a name."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.started = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] = round(time.process_time() - self.started, 1)


def _code(file: Path) -> int:
    """Of a case that was measured."""
    found: int = json.loads(file.read_text(encoding="utf-8")).get("code", 1)
    return found


def merged(files: Path) -> None:
    """All cases in one file, and the table of the package of what is no better than plain fine-tuning."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(files.glob("*.json"))]
    rows = pooled(found)
    write_atomically(MERGED, canonical_json({"cases": found, "pooled": rows}))
    known = [row for row in rows if all(row["code"] >= code for code in CHANGED if row["treatment"] in CHANGED[code])]
    write_atomically(BESIDE, canonical_json({"measured": "scripts/ward/treated.py", "rows": known}))


def main() -> None:
    """Measure what was not measured, and merge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where weights and runs lie")
    parser.add_argument("--files", type=Path, default=FILES, help="where a file for each case is written")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help="names of cases or defects")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="fewer images, to try it out")
    parser.add_argument("--again", action="store_true", help="measure anew what an earlier code measured")
    parser.add_argument("--alone", action="store_true", help="without plain fine-tuning and training from scratch")
    parser.add_argument(
        "--complete",
        action="store_true",
        help="only measure these beside cases whose treatment still lies in the folder",
    )
    parser.add_argument("--merge", action="store_true", help="only merge")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.files.mkdir(parents=True, exist_ok=True)
    sizes = Sizes(1000, 400, 800) if options.small else Sizes()
    for one in ward(options.only, options.seeds):
        target = options.files / f"{one.name}.json"
        if (
            options.merge
            or (options.complete and not target.exists())
            or (target.exists() and not options.complete and not (options.again and _code(target) < CODE))
            or (one.defect.name == "backdoor" and not ladder("backdoor"))
        ):
            continue
        try:
            beside = () if options.alone else ("plain",) if options.small or one.seed else ("plain", "scratch")
            if options.complete:
                record = json.loads(target.read_text(encoding="utf-8"))
                found = completed(one, options.folder, sizes, record, beside)
            else:
                found = measured(one, options.folder, sizes, beside)
        except Exception:  # the others are measured all the same, and the next call tries this one again
            traceback.print_exc()
            continue
        write_atomically(target, canonical_json(found))
        print(one.name, flush=True)
    if options.merge:
        merged(options.files)


if __name__ == "__main__":
    main()
