"""Audit the healthy classifiers of the ward: what they are accused of, and what stress costs them.

    python scripts/ward/examine.py [--folder build/ward] [--only NAME ...]
        [--losses [STRESS] | --again | --shortcuts] [--merge]

Each classifier that is trained is audited with the default checks on 1,000 images of its own, one file of
docs/measured/ward a classifier; those that are there are not audited again. Half a minute to two minutes of one core
for each. ``--losses`` measures what damage costs alone, on the same images, one file of docs/measured/ward/losses a
classifier: a quarter of that. ``--losses sized`` does so with the strengths of an audit's default, for the kinds
whose strengths are not those of ImageNet-C, and writes to docs/measured/ward/losses/sized; ``--losses nuisance`` runs
the check of that name, of scenes alone. ``--again`` audits 4,000 other images with the checks whose findings may well
be true of a healthy classifier, one file of docs/measured/ward/again a classifier: what is found there, too, was no
false accusation. ``--shortcuts`` runs the check of that name, which no effort includes, one file of
docs/measured/ward/shortcuts a classifier. ``--merge`` only reads all of it and writes what is made of them:
docs/measured/ward.json (``write_tables.py statistics`` puts it into docs/trust.md) and the table of usual losses of
the package.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from healthy import FOLDER, Healthy, ward

import snellen
from snellen.auditing.subject import without_copies
from snellen.checks.usual_losses import colours_of
from snellen.core.run import canonical_json, write_atomically
from snellen.methods.corruptions.benchmarks import IMAGENET_C, SIZED, benchmark, same_strengths
from snellen.methods.corruptions.domains import EVERYTHING
from snellen.methods.corruptions.nrtk_kinds import NRTK_KINDS

ROOT = Path(__file__).parents[2]
FILES = ROOT / "docs" / "measured" / "ward"
LOSSES, AGAIN, SHORTCUTS = FILES / "losses", FILES / "again", FILES / "shortcuts"
MERGED = ROOT / "docs" / "measured" / "ward.json"
USUAL = ROOT / "src" / "snellen" / "checks" / "usual_losses.json"

#: Images that a finding is looked for on again, and the checks for which that is done.
FRESH, LOOKED_AT_AGAIN = 4_000, ("clean", "calibration", "slices")

#: The check of stress beside damage whose strengths no training of the ward had. Sizes and directions of objects are no
#: such stress: these classifiers learned medium and large ones that stand upright.
NUISANCE = "nuisance"

#: Classifiers of a kind of images below which nothing is called usual.
ENOUGH = 8


def lost_to_nuisances(one: Healthy, folder: Path) -> dict[str, object]:
    """What each nuisance costs one classifier, on average over the strengths."""
    images = one.audited_images()
    report = snellen.audit(snellen.load_classifier(folder / one.name), images, checks=["clean", NUISANCE])
    lost = [name for name in report.metrics if name.startswith(f"{NUISANCE}.") and name.endswith(".lost")]
    return {
        "name": one.name,
        "side": one.world.side,
        "colours": colours_of(images),
        "accuracy": report.metrics["clean.accuracy"].value,
        "losses": {name.split(".")[1]: report.metrics[name].value for name in lost},
        "benchmark": NUISANCE,
    }


def losing(one: Healthy, folder: Path, strengths: str = IMAGENET_C) -> dict[str, object]:
    """What each kind of damage costs one classifier, on average over the severities.

    Of another benchmark than ImageNet-C, only the kinds whose strengths differ from its are measured.
    """
    images = one.audited_images()
    check: dict[str, object] = {"check": "corruption", "benchmark": strengths}
    if strengths != IMAGENET_C:
        known = same_strengths(strengths, one.world.side) & set(benchmark(IMAGENET_C).main)
        kinds = [kind for kind in benchmark(strengths).main if kind not in known and kind not in NRTK_KINDS]
        check |= {"domain": EVERYTHING, "kinds": kinds}
    report = snellen.audit(snellen.load_classifier(folder / one.name), images, checks=["clean", check])
    losses: dict[str, list[float]] = {}
    clean = report.metrics["clean.accuracy"].value
    for name, figure in report.metrics.items():
        parts = name.split(".")
        if parts[0] == "corruption" and len(parts) == 4:
            losses.setdefault(parts[1], []).append(clean - figure.value)
    return {
        "name": one.name,
        "side": one.world.side,
        "colours": colours_of(images),
        "accuracy": clean,
        "losses": {kind: float(np.mean(values)) for kind, values in losses.items()},
        **({} if strengths == IMAGENET_C else {"benchmark": strengths}),
    }


def examined(one: Healthy, folder: Path) -> dict[str, object]:
    """What an audit says of one classifier."""
    report = snellen.audit(snellen.load_classifier(folder / one.name), one.audited_images())
    return {
        "name": one.name,
        "world": one.world.name,
        "side": one.world.side,
        "accuracy": report.metrics["clean.accuracy"].value,
        "hypotheses": report.tested.hypotheses,
        "findings": [
            {"kind": f.kind, "subject": f.subject, "harm": f.harm, "level": f.level, "p_value": f.p_value}
            for f in report.findings
        ],
        "checks": {check.name: check.status for check in report.checks},
    }


def found_again(one: Healthy, folder: Path) -> dict[str, object]:
    """What other images show of one classifier."""
    classifier = snellen.load_classifier(folder / one.name)
    images, _ = without_copies(
        replace(one, seed=one.seed + 100).audited_images(FRESH), [one.audited_images()], classifier.preparation
    )
    report = snellen.audit(classifier, images, checks=list(LOOKED_AT_AGAIN))
    findings = [{"kind": f.kind, "subject": f.subject, "harm": f.harm} for f in report.findings]
    return {"name": one.name, "images": len(images), "findings": findings}


def leaning(one: Healthy, folder: Path) -> dict[str, object]:
    """Which phrases the check ``shortcuts`` accuses one classifier of."""
    report = snellen.audit(
        snellen.load_classifier(folder / one.name), one.audited_images(), checks=["clean", "shortcuts"]
    )
    panels = [panel for panel in report.panels if panel.check == "shortcuts"]
    return {
        "name": one.name,
        "world": one.world.name,
        "status": {check.name: check.status for check in report.checks}.get("shortcuts"),
        "hypotheses": report.tested.hypotheses,
        "findings": [
            {"subject": f.subject, "harm": f.harm, "level": f.level, "p_value": f.p_value}
            for f in report.findings
            if f.kind == "shortcut"
        ],
        "rows": [dict(zip(panel.head, row, strict=True)) for panel in panels for row in panel.rows],
    }


def merged() -> None:
    """All that was examined, in one file, and the usual losses."""
    found, losing, again = (
        [json.loads(file.read_bytes()) for file in sorted(place.glob(names))]
        for place, names in ((FILES, "*.json"), (LOSSES, "**/*.json"), (AGAIN, "*.json"))
    )
    write_atomically(MERGED, canonical_json({"classifiers": found, "again": again}))
    kinds = defaultdict(list)
    for one in losing:
        kinds[one.get("benchmark", IMAGENET_C), one["colours"], one["side"]].append(one["losses"])
    rows = [
        {
            **({} if strengths == IMAGENET_C else {"benchmark": strengths}),
            "colours": colours,
            "side": side,
            "classifiers": len(losses),
            "losses": {
                kind: [round(float(q), 4) for q in np.quantile([one[kind] for one in losses], (0.1, 0.9)).clip(0)]
                for kind in losses[0]
            },
        }
        for (strengths, colours, side), losses in sorted(kinds.items())
        if len(losses) >= ENOUGH
    ]
    write_atomically(USUAL, canonical_json({"measured": "scripts/ward/examine.py", "rows": rows}))


def main() -> None:
    """Audit what was not audited, and merge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the artifacts lie")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help="names of classifiers")
    parser.add_argument(
        "--losses",
        nargs="?",
        const=IMAGENET_C,
        choices=(IMAGENET_C, SIZED, NUISANCE),
        help="measure the losses under damage alone, with the strengths of a benchmark, or those of nuisances",
    )
    parser.add_argument("--again", action="store_true", help="look for findings on other images")
    parser.add_argument("--shortcuts", action="store_true", help="run the check of shortcuts in words alone")
    parser.add_argument("--merge", action="store_true", help="only merge")
    options = parser.parse_args()
    torch.set_num_threads(1)
    place, measure = FILES, examined
    if options.losses:
        place = LOSSES if options.losses == IMAGENET_C else LOSSES / options.losses
        measure = lost_to_nuisances if options.losses == NUISANCE else partial(losing, strengths=options.losses)
    elif options.again:
        place, measure = AGAIN, found_again
    elif options.shortcuts:
        place, measure = SHORTCUTS, leaning
    place.mkdir(parents=True, exist_ok=True)
    for one in ward(options.only):
        if (options.shortcuts or options.losses == NUISANCE) and not one.world.reference.startswith("optotypes:"):
            continue  # photos of garments have no captions and no records
        target = place / f"{one.name}.json"
        if not options.merge and not target.exists() and (options.folder / one.name / "card.json").exists():
            write_atomically(target, canonical_json(measure(one, options.folder)))
            print(one.name, flush=True)
    merged()


if __name__ == "__main__":
    main()
