"""Tables of forget sets beside the claims, from docs/measured/forget-sets and the seeds of the record."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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

#: Rows of gaps: the mean that claim 24.b is about, and no method at all.
SIX, NOTHING = "mean of the first six", "nothing: the network as it was"

Files = Sequence[dict[str, Any]]


#: Forget sets of the record, as the page calls them.
SETS = {
    "worst": "worst-case",
    "lowest": "lowest loss of the trained network",
    "moderate": "moderate coreset",
    "random": "random",
    "easiest": "easiest (`--reverse`)",
}


def exact_table(root: Path) -> str:
    """A row for each forget set: figures of exact retraining without it, means over the seeds of the record."""
    seeds = _recorded(root)

    def mean(name: str) -> float:
        return float(np.mean([mean_of(one[name]) for one in seeds]))

    rows = [
        [name, f"{mean(f'{of}.exact_ua'):.1%}", f"{mean(f'{of}.exact_mia'):.1%}", f"{mean(f'{of}.exact_loss'):.3f}",
         f"{mean(f'digits.{of}.exact_ua'):.1%}", f"{mean(f'digits.{of}.exact_mia'):.1%}"]
        for of, name in SETS.items()
    ]  # fmt: skip
    head = ["forget set", "UA", "MIA", "loss of the forget images", "UA, digits", "MIA, digits"]
    return markdown_table(head, rows)


def gaps_table(root: Path) -> str:
    """A row for each method: gap to retraining on the worst-case set, on random ones, and their difference."""
    seeds = _recorded(root)
    rows = [
        _gap_row(name, [(mean_of(one[f"worst.{short}_gap"]), mean_of(one[f"random.{short}_gap"])) for one in seeds])
        for short, name in RECORDED.items()
    ]
    files = _files(root, "methods")
    for name in files[0]["gaps"]:
        pairs = [(one["gaps"][name]["worst"], one["gaps"][name]["random"]) for one in files]
        rows.append(_gap_row(name.replace("_", "-"), pairs))
    means = [(mean_of(one["worst.gap"]), mean_of(one["random.gap"])) for one in seeds]
    rows += [_gap_row(SIX, means), _gap_row(NOTHING, _as_it_was(files))]
    return markdown_table(["method", "seeds", "worst-case", "random", "difference (95 %)"], rows)


def digits_table(root: Path) -> str:
    """The same on digits."""
    files, rows = _files(root, "digits"), []
    for name in files[0]["gaps"]:
        pairs = [(one["gaps"][name]["worst"], one["gaps"][name]["random"]) for one in files]
        rows.append(_gap_row(RECORDED.get(name, name.replace("_", "-")), pairs))
    means = [
        [float(np.mean([one["gaps"][name][of] for name in RECORDED])) for of in ("worst", "random")] for one in files
    ]
    rows += [_gap_row(SIX, means), _gap_row(NOTHING, _as_it_was(files))]
    return markdown_table(["method", "seeds", "worst-case", "random", "difference (95 %)"], rows)


def rates_table(root: Path) -> str:
    """Gaps of random labels at each rate: of the seeds of the record that chose it, and of others that tried each."""
    seeds, files, rows = _recorded(root), _files(root, "rates"), []
    rates = {mean_of(one["rl.rate"]) for one in seeds} | {rate for one in files for rate in one["rates"]}
    for rate in sorted(filter(None, rates)):
        chose = [one for one in seeds if mean_of(one["rl.rate"]) == rate]
        kinds = {
            "chosen by seeds of the record": [
                [mean_of(one[f"{of}.rl_gap"]) for of in ("worst", "random")] for one in chose
            ],
            "set, for other seeds": [
                [one["gaps"][of][one["rates"].index(rate)] for of in ("worst", "random")] for one in files
            ],
        }
        for how, pairs in kinds.items():
            if pairs:
                worst, random = (100 * np.array(one, dtype=np.float64) for one in zip(*pairs, strict=True))
                more = worst - random
                shown = f"{more.mean():+.1f} ({more.min():+.1f} to {more.max():+.1f})"
                rows.append([f"{rate:g}", how, str(len(pairs)), f"{worst.mean():.1f}", f"{random.mean():.1f}", shown])
    head = ["rate", "how", "seeds", "worst-case", "random", "difference (least to most)"]
    return markdown_table(head, rows, ["---", "---", *["---:"] * 4])


def _as_it_was(files: Files) -> list[list[float]]:
    """Gaps of the network that forgot nothing, on the worst-case set and on a random one."""
    return [
        [
            float(
                np.mean([abs(one["as_it_was"][of][key] - one["exact"][of][key]) for key in ("ua", "mia", "ra", "ta")])
            )
            for of in ("worst", "random")
        ]
        for one in files
    ]


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
    """What the sets of two networks of the same images share; pairs of seeds."""
    files, rows = _files(root, "repeats"), []
    kinds = {"": files, ", digits": [one["repeated"] for one in _files(root, "digits")]}
    for images, each in kinds.items():
        for key, name in (("worst", "worst-case"), ("lowest", "lowest loss of the network")):
            shared = [set_overlap(one[key], other[key]) for one, other in combinations(each, 2)]
            rows.append([f"{name}{images}", f"{np.mean(shared):.1%}", f"{min(shared):.1%} to {max(shared):.1%}"])
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


def _recorded(root: Path) -> list[Mapping[str, Any]]:
    """Figures of each seed of the record."""
    return [seed.measured() for seed in read_seeds(root / "results", "worst_case_forget_set")]


def _files(root: Path, part: str) -> Files:
    folder = root / "docs" / "measured" / "forget-sets"
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("seed-*.json"))]
    return [one for one in found if one["part"] == part]


TABLES: Tables = {
    "docs/systems/worst_case_forget_set.md": {
        "exact": exact_table,
        "gaps": gaps_table,
        "digits": digits_table,
        "rates": rates_table,
        "relearned": relearned_table,
        "overlap": overlap_table,
        "classes": classes_table,
        "prompts": prompts_table,
    }
}
