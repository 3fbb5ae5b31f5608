"""Tables of forget sets beside the claims, from docs/measured/forget-sets and the seeds of the record."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from snellen.metrics.unlearning import set_overlap
from snellen.reproduction.sample import mean_of
from snellen.reproduction.seed_file import read_seeds
from snellen.reproduction.shared.documents import Tables, markdown_table, mean_words

#: Methods of the record, by their names there.
RECORDED = {
    "ft": "fine-tuning",
    "ft_l1": "sparse-fine-tuning",
    "rl": "random-labels",
    "scrub": "scrub",
    "eu_1": "exact-last-layers",
    "cf_1": "catastrophic-last-layers",
}

Files = Sequence[dict[str, Any]]


def gaps_table(root: Path) -> str:
    """A row for each method: gap to retraining on the worst-case set, on random ones, and their difference."""
    seeds = [seed.measured() for seed in read_seeds(root / "results", "worst_case_forget_set")]
    rows = [
        _gap_row(name, [(mean_of(one[f"worst.{short}_gap"]), mean_of(one[f"random.{short}_gap"])) for one in seeds])
        for short, name in RECORDED.items()
    ]
    files = _files(root, "methods")
    for name in files[0]["gaps"]:
        pairs = [(one["gaps"][name]["worst"], one["gaps"][name]["random"]) for one in files]
        rows.append(_gap_row(name.replace("_", "-"), pairs))
    as_it_was = [
        [np.mean([abs(one["as_it_was"][of][name] - one["exact"][of][name]) for name in ("ua", "mia", "ra", "ta")])
         for of in ("worst", "random")]
        for one in files
    ]  # fmt: skip
    rows.append(_gap_row("nothing: the network as it was", as_it_was))
    return markdown_table(["method", "seeds", "worst-case", "random", "difference (95 %)"], rows)


def _gap_row(name: str, pairs: Sequence[Sequence[float | None]]) -> list[str]:
    """Of seeds in which the method did not diverge."""
    known = [pair for pair in pairs if None not in pair]
    worst, random = (100 * np.array(one, dtype=np.float64) for one in zip(*known, strict=True))
    return [name, str(len(known)), f"{worst.mean():.1f}", f"{random.mean():.1f}", mean_words(worst - random, "{:+.1f}")]


def relearned_table(root: Path) -> str:
    """A row for each set, images and network: forget images that are wrong before and after, and beside retraining."""
    files, rows = _files(root, "methods"), []
    for of in ("worst", "random"):
        for images, name in (("remaining", "remaining images"), ("unrelated", "digits")):
            courses = {
                network: np.array([[point["ua"] for point in one["relearned"][of][network][images]] for one in files])
                for network in files[0]["relearned"][of]
            }
            exact = courses["retraining"]
            for network, course in courses.items():
                change = (course[:, -1] - course[:, 0]) - (exact[:, -1] - exact[:, 0])
                beside = "" if network == "retraining" else mean_words(100 * change, "{:+.1f}")
                steps = [f"{100 * one:.1f}" for one in course.mean(0)]
                place = f"{'worst-case' if of == 'worst' else 'random'}, {name}"
                rows.append([place, network.replace("_", "-"), *steps, beside])
    passes = len(exact[0]) - 1
    head = ["forget set, fine-tuned with", "network", *(f"after {number}" for number in range(passes + 1))]
    return markdown_table([*head, "change beside retraining (95 %)"], rows, ["---", "---", *["---:"] * (passes + 2)])


def overlap_table(root: Path) -> str:
    """Two rows: what the sets of two networks of the same images share; pairs of seeds."""
    files, rows = _files(root, "repeats"), []
    for key, name in (("worst", "worst-case"), ("lowest", "lowest loss of the network")):
        shared = [set_overlap(one[key], other[key]) for one, other in combinations(files, 2)]
        rows.append([name, f"{np.mean(shared):.1%}", f"{min(shared):.1%} to {max(shared):.1%}"])
    expected = len(files[0]["worst"]) / files[0]["images"]
    rows.append(["random sets, expected", f"{expected:.1%}", ""])
    return markdown_table(["forget set", "shared by two seeds, mean", "least and most"], rows)


def classes_table(root: Path) -> str:
    """A row for each seed: the class that the search took, and its loss among all ten after fine-tuning without it."""
    files, rows = _files(root, "repeats"), []
    for one in files:
        losses = np.array([of["loss"] for of in one["classes"]])
        before = np.array([of["before"] for of in one["classes"]])
        searched, plain, easiest = one["class"], int(before.argmin()), one["easiest_class"]
        ranks = losses.argsort().argsort() + 1
        cells = [f"{one['names'][place]}: {losses[place]:.2f} ({ranks[place]})" for place in (searched, plain, easiest)]
        rows.append([str(one["seed"]), *cells, f"{losses.mean():.2f}"])
    head = ["seed", "searched", "lowest loss before, no search", "reversed search", "mean of all ten"]
    return markdown_table(head, rows)


def prompts_table(root: Path) -> str:
    """A row for each kind of set: losses and recognised concepts over the seeds, beside random sets."""
    files, rows = _files(root, "prompts"), []
    kinds: dict[str, Callable[[str], bool]] = {
        "worst-case": lambda name: name == "worst-case",
        "without search": lambda name: name == "without search",
        "random": lambda name: name.startswith("random"),
    }

    def of(kind: str, network: str, key: str) -> np.ndarray:
        return np.array([
            np.mean([row[key] for row in one["rows"] if row["network"] == network and kinds[kind](row["set"])])
            for one in files
        ])  # fmt: skip

    for kind in kinds:
        beside = (
            ""
            if kind == "random"
            else mean_words(100 * (of(kind, "erased", "left") - of("random", "erased", "left")), "{:+.1f}")
        )
        cells = [f"{of(kind, network, 'erasing').mean():.4f}" for network in ("as it was", "erased")]
        cells += [f"{of(kind, 'erased', 'left').mean():.1%}", beside]
        cells += [f"{of(kind, network, 'seen').mean():.1%}" for network in ("as it was", "erased")]
        rows.append([kind, *cells])
    head = ["forget set", "erasing loss before", "after", "left", "left, beside random (points, 95 %)"]
    return markdown_table([*head, "concept seen before", "after"], rows)


def _files(root: Path, part: str) -> Files:
    folder = root / "docs" / "measured" / "forget-sets"
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("seed-*.json"))]
    return [one for one in found if one["part"] == part]


TABLES: Tables = {
    "docs/systems/worst_case_forget_set.md": {
        "gaps": gaps_table,
        "relearned": relearned_table,
        "overlap": overlap_table,
        "classes": classes_table,
        "prompts": prompts_table,
    }
}
