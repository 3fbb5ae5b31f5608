"""What a treatment gives: the classifier, what became of each finding, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from snellen.auditing.compare.comparison import Comparison
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, import_extra
from snellen.core.formats import TREATMENT

#: What became of a finding, on images that neither selected it nor chose the treatment.
Outcome = Literal["mended", "smaller", "unchanged", "worse", "unproven", "untreated"]


class TreatedFinding(BaseModel):
    """What became of one finding.

    Its difference is that of the quantity behind it (lost accuracy, calibration error …), after less before, with the
    paired 95 % interval: negative is better.

    Attributes:
        outcome: mended, smaller, unchanged, worse, unproven or untreated.
        second_harm: on the proving images after the treatment; null where it was not found there.
        difference: after less before; negative is better.
        low: lower end of the paired 95 % interval.
        high: upper end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(description="kind and subject of the finding")
    title: str = Field(description="as the audit gave it")
    treatment: str = Field("", description="names of what was done")
    outcome: Outcome
    reason: str = Field("", description="why nothing is proven, or nothing was done")
    first_harm: float | None = Field(None, description="on the proving images; null: not found there")
    second_harm: float | None = None
    first: float | None = Field(None, description="what the finding measures, before; lower is better")
    second: float | None = Field(None, description="the same, after")
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def sentence(self) -> str:
        """What became of it, in one sentence.

        >>> TreatedFinding(key="calibration", title="", treatment="temperature_scaling", outcome="mended",
        ...     difference=-0.12, low=-0.15, high=-0.09).sentence
        'calibration: mended by temperature_scaling (change -0.120, 95 % interval -0.150 to -0.090)'
        """
        change = ""
        if self.difference is not None:
            change = f" (change {self.difference:+.3f}"
            if self.low is not None and self.high is not None:
                change += f", 95 % interval {self.low:+.3f} to {self.high:+.3f}"
            change += ")"
        by = f" by {self.treatment}" if self.treatment and self.outcome in ("mended", "smaller") else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.key}: {self.outcome}{by}{change}{why}"


class Cost(BaseModel):
    """Accuracy on clean proving images, and what the treatment took of it: after less before, paired.

    Attributes:
        first: accuracy before.
        second: accuracy after.
        difference: after less before.
        low: lower end of the paired 95 % interval; null where there is none.
        high: upper end.
        n: images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    n: int


class TreatedModel(BaseModel):
    """The treated classifier, by name and hash.

    Attributes:
        name: of the classifier.
        identity: hash of its weights; None where it has none here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    identity: str | None


class TreatmentRecord(BaseModel):
    """What ``treatment.json`` holds, the file that is written last; see :class:`Treated`.

    Attributes:
        classifier: the treated one.
        findings: what became of each.
        cost: what clean images lost; null where it was not measured.
        tried: what was tried, in order, in words.
        notes: what a reader must know.
        treatments: methods with their parameters, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classifier: TreatedModel
    findings: tuple[TreatedFinding, ...]
    cost: Cost | None
    tried: tuple[str, ...]
    notes: tuple[str, ...]
    treatments: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the record of a finished treatment, of this version or an older one.

        Raises:
            InputError: there is none, it cannot be read, or it is of a newer version.
        """
        file = folder / TREATMENT.file
        try:
            return cls.model_validate(TREATMENT.read(json.loads(file.read_bytes()), file))
        except (OSError, ValueError) as error:
            raise InputError(f"{file} cannot be read as a {TREATMENT.content}: {error}") from error


@dataclass(frozen=True, eq=False)
class Treated:
    """The result of :func:`snellen.treat`.

    Attributes:
        classifier: the treated one; the audited one where nothing helped.
        reference: from which :func:`snellen.load_classifier` loads it; None where nothing was written.
        folder: what was written; None where nothing was kept.
        findings: what became of each.
        cost: in clean accuracy; None where nothing was delivered.
        comparison: of the audits before and after on the proving images; None as ``cost``.
        tried: candidates, what each did on the validation images.
        notes: where images come from, and what was left out.
        treatments: that were delivered, with their parameters.
    """

    classifier: Classifier
    reference: str | None
    folder: Path | None
    findings: tuple[TreatedFinding, ...]
    cost: Cost | None
    comparison: Comparison | None
    tried: tuple[str, ...]
    notes: tuple[str, ...]
    treatments: tuple[Mapping[str, Any], ...] = ()

    @property
    def module(self) -> nn.Module | None:
        """The network alone, as the audited classifier had it: a copy, frozen, in evaluation mode."""
        return self.classifier.module

    @property
    def delivered(self) -> bool:
        """Whether a treatment helped on the validation images."""
        return self.cost is not None

    @property
    def clean_words(self) -> str:
        """What the cost is of, at the beginning of a sentence."""
        return "Share of right decisions" if self.classifier.task == "multilabel" else "Clean accuracy"

    def lines(self) -> list[str]:
        """The result as text."""
        lines = [finding.sentence for finding in self.findings]
        if not self.tried:
            lines.append("Nothing is delivered: nothing can be tried against these findings.")
        elif self.cost is None:
            lines.append("Nothing is delivered: no candidate helped on the validation images within the loss allowed.")
        else:
            one = self.cost
            ends = "" if one.low is None or one.high is None else f", 95 % interval {one.low:+.4f} to {one.high:+.4f}"
            change = f"{one.first:.4f} to {one.second:.4f} ({one.difference:+.4f}{ends})"
            lines.append(f"{self.clean_words} {change} on {one.n} images")
        if self.tried:
            lines.append(f"{len(self.tried)} {'candidate was' if len(self.tried) == 1 else 'candidates were'} tried:")
        lines += [f"  {words}" for words in self.tried]
        return [*lines, *self.notes]

    def show(self) -> None:
        """Print the result."""
        print("\n".join(self.lines()))  # noqa: T201 - it is what the caller wants

    def __repr__(self) -> str:
        counts = {name: sum(one.outcome == name for one in self.findings) for name in Outcome.__args__}  # type: ignore[attr-defined]
        words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return f"Treated({self.classifier.name}: {words or 'nothing to treat'})"

    def to_json(self) -> dict[str, Any]:
        """JSON values, as ``treatment.json`` holds them."""
        record = TreatmentRecord(
            classifier=TreatedModel(name=self.classifier.name, identity=self.classifier.identity),
            findings=self.findings,
            cost=self.cost,
            tried=self.tried,
            notes=self.notes,
            treatments=tuple(dict(one) for one in self.treatments),
        )
        return TREATMENT.stamped(record.model_dump(mode="json"))

    def to_pandas(self) -> Any:  # noqa: ANN401 - of an extra
        """What became of each finding, as a data frame of pandas.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = import_extra("pandas", "pandas", "a data frame")
        return pandas.DataFrame([one.model_dump() for one in self.findings])
