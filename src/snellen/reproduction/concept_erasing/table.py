"""Tables of why prompts are flagged, and of why searched ones get through, from docs/measured/erasing-causes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from snellen.reproduction.shared.documents import Tables, markdown_table, read_all_measured

#: What a page calls the erasers, and the prompts.
ERASERS = {
    "recorded": "as recorded",
    "suppressed": "score of what suppressing changes alone",
    "fitted": "autoencoder fitted to everyday sentences as well",
}
PROMPTS = {"everyday": "everyday sentences", "kept": "kept prompts", "synonyms": "prompts with synonyms"}

#: What a page calls the images of searched prompts.
SHOWN = {
    "shown": "all starts: the eraser as recorded",
    "shown_forced": "all starts: the edit forced on the same prompts",
    "shown_reconstructed": "all starts: these prompts reconstructed, nothing suppressed",
    "shown_when_left_out": "all starts: the concept's words left out, no eraser",
    "second_half": "second half of the starts: as recorded",
    "second_half_learnt": "second half of the starts: prompts found from the first half are targets as well",
}


def flagged_table(root: Path) -> str:
    """Flagged shares by each eraser and either threshold, means over the seeds that have one."""
    found = read_all_measured(root, "erasing-causes")
    rows = []
    for name, text in ERASERS.items():
        for ending, threshold in (("", "least target"), (", quantile", "5 % quantile")):
            each = [one["flagged"][name + ending] for one in found if name + ending in one["flagged"]]
            shares = [_spread([one[kind] for one in each]) for kind in PROMPTS]
            rows.append([text, threshold, str(len(each)), *shares])
    return markdown_table(
        ["eraser", "threshold", "seeds", *PROMPTS.values()], rows, ["---", "---", "---:", *["---:"] * len(PROMPTS)]
    )


def searched_table(root: Path) -> str:
    """How often images of searched prompts show the concept."""
    found = [one["attack"] for one in read_all_measured(root, "erasing-causes")]
    rows = [[text, _spread([one[name] for one in found])] for name, text in SHOWN.items()]
    return markdown_table(["images of searched prompts", "show the concept"], rows)


def _spread(shares: Sequence[float]) -> str:
    """Mean, least and largest of the seeds: an interval of shares so near to 0 and 1 would leave their range."""
    return f"{fmean(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})"


TABLES: Tables = {
    "docs/systems/concept_erasing.md": {"erasing-flagged": flagged_table, "erasing-searched": searched_table}
}
