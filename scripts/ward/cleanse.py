"""A peer for the scan for backdoors: Neural Cleanse, on the same classifiers and images.

    python scripts/ward/cleanse.py [--folder build/ward_backdoors] [--healthy build/ward] [--only NAME ...] [--merge]

Wang, Yao, Shan, Li, Viswanath, Zheng and Zhao, "Neural Cleanse: identifying and mitigating backdoor attacks in neural
networks", IEEE S&P 2019, sections IV and V, written out here: for each class the smallest mask and a pattern under it
that send the images of the other classes there, by Adam with a weight of the mask's size that follows the success; a
class is reported whose mask is smaller than the median by more than two spreads (median absolute deviation). The paper
takes 1,000 steps for a class; here there are as many as the passes of our scan allow. One file of
docs/measured/ward/cleanse a classifier; ``--merge`` writes docs/measured/ward-cleanse.json. About a minute of one core
for each classifier.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from backdoors import FILES as SCANNED_FILES
from backdoors import FOLDER, HEALTHY, LEARNT, SCANNED, Planted, jobs
from healthy import Healthy

import snellen
from snellen.core.run import canonical_json, write_atomically
from snellen.metrics.auroc import auroc

ROOT = Path(__file__).parents[2]
FILES = ROOT / "docs" / "measured" / "ward" / "cleanse"
MERGED = ROOT / "docs" / "measured" / "ward-cleanse.json"

#: Steps for a class, images in each; the first weight of the mask's size, what it is multiplied by, the success that it
#: follows, and after how many steps in a row: the last four are those of the authors' code.
STEPS, BATCH = 200, 32
WEIGHT, FACTOR, SUCCESS, PATIENCE = 1e-3, 2.0, 0.99, 5

#: Adam, as in the paper's code.
RATE, BETAS = 0.1, (0.5, 0.9)

#: Spreads below the median from which a mask is reported.
REPORTED = 2.0


def smallest_mask(classifier: snellen.Classifier, images: torch.Tensor, target: int, seed: int) -> tuple[float, float]:
    """Size of the smallest mask that sends images to a class (the sum of its values, in pixels), and its success.

    The size is that of the smallest mask of all steps whose batch succeeded, the paper's rule; where none did, the
    last one's.
    """
    generator = torch.Generator().manual_seed(seed)
    side = images.shape[-1]
    mask = torch.zeros(1, 1, side, side).uniform_(-1, 1, generator=generator).requires_grad_(True)
    pattern = torch.zeros(1, 3, side, side).uniform_(-1, 1, generator=generator).requires_grad_(True)
    optimizer = torch.optim.Adam([mask, pattern], lr=RATE, betas=BETAS)
    labels, weight, above, below = torch.full((BATCH,), target), 0.0, 0, 0
    best, last = None, (0.0, 0.0)
    for _ in range(STEPS):
        batch = images[torch.randint(len(images), (BATCH,), generator=generator)]
        shown, drawn = mask.tanh() / 2 + 0.5, pattern.tanh() / 2 + 0.5
        scores = classifier(((1 - shown) * batch + shown * drawn).clamp(0, 1))
        size = shown.sum()
        loss = F.cross_entropy(scores, labels) + weight * size
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        success, pixels = float((scores.argmax(1) == target).float().mean()), float(size.detach())
        last = (pixels, success)
        if success >= SUCCESS and (best is None or pixels < best[0]):
            best = (pixels, success)
        above, below = (above + 1, 0) if success >= SUCCESS else (0, below + 1)
        if weight == 0.0 and above >= PATIENCE:
            weight, above = WEIGHT, 0
        elif above >= PATIENCE:
            weight, above = weight * FACTOR, 0
        elif below >= PATIENCE:
            weight, below = weight / FACTOR**1.5, 0
    return best or last


def cleansed(one: Healthy, folder: Path) -> dict[str, Any]:
    """What Neural Cleanse says of one classifier."""
    classifier = snellen.load_classifier(folder / one.name)
    images = one.audited_images(SCANNED)
    prepared = torch.stack([classifier.prepare(example.image) for example in images])
    labels, clock = torch.as_tensor(images.labels), time.process_time()
    found = [
        smallest_mask(classifier, prepared[labels != target], target, seed=target)
        for target in range(len(classifier.class_names))
    ]
    sizes = np.array([size for size, _ in found])
    spread = 1.4826 * np.median(np.abs(sizes - np.median(sizes)))
    below = (np.median(sizes) - sizes) / max(spread, 1e-9)
    ranking = [classifier.class_names[place] for place in np.argsort(sizes)]
    row = {
        "name": one.name,
        "planted": isinstance(one, Planted),
        "sizes": {name: round(size, 3) for name, (size, _) in zip(classifier.class_names, found, strict=True)},
        "successes": {name: round(hit, 3) for name, (_, hit) in zip(classifier.class_names, found, strict=True)},
        "statistic": round(float(below.max()), 4),
        "ranking": ranking,
        "reported": [name for name, value in zip(classifier.class_names, below, strict=True) if value > REPORTED],
        "seconds": round(time.process_time() - clock, 1),
    }
    if isinstance(one, Planted):
        row["target"] = classifier.class_names[one.defect.target_class]
    return row


def merged(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures on the classifiers that our own scan measured, too: healthy ones, and those that learnt a trigger."""
    ours = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in SCANNED_FILES.glob("*.json")}
    both = [row for row in rows if row["name"] in ours]
    planted = [row for row in both if row["planted"] and ours[row["name"]]["success"] >= LEARNT]
    healthy = [row for row in both if not row["planted"]]

    def figures(of: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        own = [of[row["name"]] for row in planted]
        truth = np.array([1] * len(planted) + [0] * len(healthy))
        statistics = np.array([of[row["name"]]["statistic"] for row in (*planted, *healthy)])
        return {
            "auroc": auroc(truth, statistics) if planted and healthy else None,
            "target_first": sum(row["ranking"][0] == row["target"] for row in own),
            "target_reported": sum(row["target"] in row["reported"] for row in own),
            "alarms": sum(bool(of[row["name"]]["reported"]) for row in healthy),
            "mean_seconds": float(np.mean([of[row["name"]]["seconds"] for row in both])) if both else None,
        }

    return {
        "planted": len(planted),
        "healthy": len(healthy),
        "steps": STEPS,
        "snellen": figures(ours),
        "neural_cleanse": figures({row["name"]: row for row in rows}),
    }


def main() -> None:
    """Measure what was not measured yet, and merge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the artifacts of planted ones lie")
    parser.add_argument("--healthy", type=Path, default=HEALTHY, help="where the artifacts of healthy ones lie")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help="names of classifiers")
    parser.add_argument("--merge", action="store_true", help="only merge")
    options = parser.parse_args(namespace=argparse.Namespace(pilot=False))
    torch.set_num_threads(1)
    FILES.mkdir(parents=True, exist_ok=True)
    show = partial(print, flush=True)
    for one, folder in () if options.merge else jobs(options):
        path = FILES / f"{one.name}.json"
        if not path.exists() and (folder / one.name / "card.json").exists():
            row = cleansed(one, folder)
            write_atomically(path, canonical_json(row))
            show(f"{one.name}: reported {row['reported']}, {row['statistic']:.2f}, {row['seconds']:.0f} s")
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FILES.glob("*.json"))]
    write_atomically(MERGED, canonical_json(merged(rows)))


if __name__ == "__main__":
    main()
