"""What gradient-free guidance tells of its decisions: each step of each image, and figures of all images together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from snellen.systems.gradient_free_guidance.confusion import Decision
from snellen.systems.gradient_free_guidance.gradient_free import Deciding


def told_of(deciding: Deciding, class_names: Sequence[str]) -> list[dict[str, object]]:
    """JSON values for each image of a batch that was made.

    Returns:
        For each: ``guided``, of each step in which w > 1 its number, the class that was guided away from, w and the
        confusion u; ``mean scale`` over the steps in which the classifier had a say; and ``unread``, the number of
        answers that were not finite, where there are any.
    """
    rows: list[dict[str, object]] = []
    for row in range(len(deciding.classes)):
        guided: list[object] = []
        scales = []
        for step, decision in sorted(deciding.log.items()):
            scale = float(decision.scale[row])
            scales.append(scale)
            if scale > 1:
                away = class_names[int(decision.reference[row])]
                guided.append([step, away, round(scale, 4), round(float(decision.confusion[row]), 4)])
        unread = sum(bool(answer.broken[row]) for answer in _answers(deciding))
        mean = round(sum(scales) / len(scales), 6) if scales else 1.0
        rows.append({"guided": guided, "mean scale": mean, **({"unread": unread} if unread else {})})
    return rows


def _answers(deciding: Deciding) -> list[Decision]:
    """Decisions that were followed, each once, for how many steps it may have stood."""
    return list(dict.fromkeys(deciding.log.values()))


@dataclass
class Tally:
    """What a method made since it was built. Two methods are equal whatever they made: nothing here is compared.

    Attributes:
        images: number of images.
        decisions: steps of images in which the classifier had a say.
        guided: those with w > 1.
        scale: sum of w over them all.
        unread: answers that were not finite; each may stand for several steps.
        classified: images that the classifier was shown.
        decoded: of these, those that a decoder had to make of latents.
        judged: images that the judge was shown.
        right: of these, those in which it sees the requested class.
    """

    images: int = field(default=0, compare=False)
    decisions: int = field(default=0, compare=False)
    guided: int = field(default=0, compare=False)
    scale: float = field(default=0.0, compare=False)
    unread: int = field(default=0, compare=False)
    classified: int = field(default=0, compare=False)
    decoded: int = field(default=0, compare=False)
    judged: int = field(default=0, compare=False)
    right: int = field(default=0, compare=False)

    def add(self, deciding: Deciding, *, decodes: bool) -> None:
        """Count a batch that was made."""
        self.images += len(deciding.classes)
        self.classified += deciding.classified
        self.decoded += deciding.classified if decodes else 0
        for decision in deciding.log.values():
            self.decisions += len(decision.scale)
            self.guided += int((decision.scale > 1).sum())
            self.scale += float(decision.scale.sum())
        self.unread += sum(int(answer.broken.sum()) for answer in _answers(deciding))

    def lines(self, guide: str, judge: str | None) -> tuple[str, ...]:
        """The figures in words; nothing where no image was made."""
        if not self.images:
            return ()
        mean, share = self.scale / max(self.decisions, 1), self.guided / max(self.decisions, 1)
        decoded = f", {self.decoded:,} of them decoded for it" if self.decoded else ""
        lines = [
            f"of the {self.images:,} images made now, mean w {mean:.3f}; guided in {share:.1%} of their steps; {guide} "
            f"was shown {self.classified:,} estimates{decoded}"
        ]
        if self.unread:
            lines.append(f"{self.unread:,} answers of {guide} were not finite: these steps were not guided")
        if self.judged:
            lines.append(f"{judge} sees the requested class in {self.right:,} of {self.judged:,} images")
        return tuple(lines)
