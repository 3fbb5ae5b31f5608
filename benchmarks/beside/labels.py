"""Suspect labels beside cleanlab: the same probabilities and planted errors, rule by rule and score by score."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Set
from pathlib import Path
from typing import get_args

import numpy as np
from beside.contest import Contest, Peer
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from label_errors import PEER_RULES, fashion, planted

from snellen.metrics.inspection.label_errors import Quality, label_errors, label_quality

PEERS = {"cleanlab": "cleanlab.filter"}

#: Images, by repeating the bundled ones, and the share of wrong labels.
IMAGES, SHARE = 20_000, 0.1


def contests(available: Set[str]) -> Iterator[Contest]:
    """One for each rule, and one for each score."""
    if not available:
        return
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    truth, probabilities = fashion()
    rng = np.random.default_rng(0)
    rows = np.resize(rng.permutation(len(truth)), IMAGES)
    given = planted(truth[rows], SHARE, rng)
    # A little noise, so that repeated images do not tie.
    noisy = probabilities[rows] * rng.uniform(0.98, 1.02, (IMAGES, probabilities.shape[1]))
    shown = noisy / noisy.sum(1, keepdims=True)
    for rule, peer_rule in PEER_RULES.items():
        yield Contest(
            f"suspect labels by {rule.replace('_', ' ')}, {IMAGES:,} images",
            lambda rule=rule: np.isin(np.arange(IMAGES), label_errors(shown, given, rule=rule).suspects),
            {
                "cleanlab": Peer(
                    "cleanlab", lambda by=peer_rule: find_label_issues(given, shown, filter_by=by, n_jobs=1)
                )
            },
            same_suspects,
        )
    for score in get_args(Quality):
        yield Contest(
            f"label quality by {score.replace('_', ' ')}, {IMAGES:,} images",
            lambda by=score: label_quality(shown, given, by=by),
            {"cleanlab": Peer("cleanlab", lambda by=score: get_label_quality_scores(given, shown, method=by))},
            same_ranks,
        )


def same_suspects(mine: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> tuple[bool, str]:
    """Equal up to 1 % of them: ours rounds estimated counts down, and takes ties at the cut together."""
    differing = int((mine ^ theirs).sum())
    return differing <= 0.01 * int(
        theirs.sum()
    ), f"{int(mine.sum())} suspects, theirs {int(theirs.sum())}, {differing} differ"


def same_ranks(mine: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[bool, str]:
    """The same order."""
    correlation = float(np.corrcoef(mine.argsort().argsort(), theirs.argsort().argsort())[0, 1])
    return correlation > 0.9999, f"rank correlation {correlation:.4f}"
