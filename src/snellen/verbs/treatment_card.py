"""The card of a treated classifier for people: ``README.md`` beside it, with what was done and what it cost."""

from __future__ import annotations

import json

from snellen.auditing.markdown import plain, table
from snellen.core.classifier import Classifier
from snellen.verbs.treated import Treated


def treatment_card(treated: Treated, classifier: Classifier) -> str:
    """Write the card as Markdown; names are escaped, they are data.

    Args:
        treated: the result.
        classifier: as it was audited.
    """
    parts = [f"# {plain(classifier.name)}, treated", "\n".join(_found(treated))]
    if treated.cost is not None:
        one = treated.cost
        ends = "" if one.low is None or one.high is None else f" (95 % interval {one.low:+.4f} to {one.high:+.4f})"
        parts.append(
            f"{treated.clean_words} on {one.n} images: {one.first:.4f} before, {one.second:.4f} after, "
            f"{one.difference:+.4f}{ends}."
        )
    if treated.reference is not None:
        parts.append(
            "## Use\n\n```python\nimport snellen\n\n"
            f"classifier = snellen.load_classifier({json.dumps(treated.reference, ensure_ascii=False)})\n```"
        )
    parts.append("\n".join(["## How it was treated", "", *_how(treated)]))
    if treated.comparison is not None:
        parts.append(
            "`treated.html` shows what became of each finding, with pictures; `comparison.html` shows every figure "
            "before and after; `audits/before` and `audits/after` hold both."
        )
    return "\n\n".join(parts) + "\n"


def _found(treated: Treated) -> list[str]:
    rows = [
        (
            one.title,
            one.outcome,
            one.treatment,
            "" if one.difference is None else f"{one.difference:+.3f}",
            "" if one.low is None or one.high is None else f"{one.low:+.3f} to {one.high:+.3f}",
            one.reason,
        )
        for one in treated.findings
    ]
    return table(("finding", "became", "by", "change", "95 % interval", ""), rows)


def _how(treated: Treated) -> list[str]:
    lines = [
        f"Tried on a copy of the weights, and judged on the validation images ({len(treated.tried)}):",
        "",
        *(f"- {plain(words)}" for words in treated.tried),
        "",
    ]
    return [*lines, *(f"{plain(note)}" for note in treated.notes)]
