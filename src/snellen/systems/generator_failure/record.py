"""The record of a search for failures: what ``generator-failures.json`` holds, and what a terminal shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from snellen.metrics.intervals import wilson
from snellen.runs.record import Figure, RunResult, Summary, Table
from snellen.systems.generator_failure.normality import Normality
from snellen.systems.generator_failure.region import Region

RECORD = "generator-failures.json"

#: How messages call it, and the page.
WHAT, PAGE = "search for generator failures", "generator-failures.html"

#: Where a search looks.
Space = Literal["prompts", "latents", "token"]

#: Failure modes in words, by their number in the paper.
MODES = {
    1: "natural prompt with wrong content",
    2: "latent that distorts the image under any prompt",
    3: "latent that gives a natural but unrelated image",
    4: "token that makes any prompt show another class",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FailureCase(_Part):
    """One input on which the generator fails.

    Attributes:
        name: of its files. space: that it was found in. mode: failure mode, 1 to 4.
        label: class that is missing; of a token, the class that appears.
        prompts: of each image. added: words that the search added to the first prompt.
        failing: share of the images that fail, or, of a token, that show the class.
        first_failing: the same of the first prompt; None of other spaces.
        above: least difference of the two shares, the low end of Newcombe's interval; None of other spaces.
        probabilities: mean p_k(c) of each member.
        seen: what the quorum recognises instead, of each image; empty where it names nothing.
        perplexity: of the prompt; None of other spaces, or where the prior gives no probabilities.
        normality: of the latent; None of other spaces.
        persists: share of held-out prompts on which the latent fails; None where that was not drawn.
        norm, norms: of the token, and of the vocabulary. clean: share without the token. similarity: its change.
        confirmed: share of the images in which the judge misses the class too; of a token, sees it; None without one.
        region: around the latent, where it was grown.
        digest: of the float images, which the stored latents reproduce. files: latents, and a picture.
    """

    name: str
    space: Space
    mode: int
    label: str
    prompts: tuple[str, ...]
    added: tuple[str, ...] = ()
    failing: float
    first_failing: float | None = None
    above: float | None = None
    probabilities: tuple[float, ...] = ()
    seen: tuple[str, ...] = ()
    perplexity: float | None = None
    normality: Normality | None = None
    persists: float | None = None
    norm: float | None = None
    norms: tuple[float, float] | None = None
    clean: float | None = None
    similarity: float | None = None
    confirmed: float | None = None
    region: Region | None = None
    digest: str = ""
    files: tuple[str, ...] = ()

    @property
    def real(self) -> bool | None:
        """Whether the judge agrees in at least half of the images; None without a judge."""
        return None if self.confirmed is None else self.confirmed >= 0.5

    @property
    def words(self) -> str:
        """The case in a sentence."""
        other = next((one for one in self.seen if one), "")
        shown = f", and shows {other}" if other and self.mode != 4 else ""
        if self.mode == 1:
            first = f" ({self.first_failing:.0%} with the first prompt)" if self.first_failing is not None else ""
            return f"{self.prompts[0]!r} loses {self.label} on {self.failing:.0%} of fresh latents{first}{shown}"
        if self.mode == 2:
            return f"a latent that loses {self.label}, and {self.persists:.0%} of held-out prompts with it"
        if self.mode == 3:
            return f"a latent that loses {self.label} under {self.prompts[0]!r}{shown}"
        return (
            f"a token that makes {self.failing:.0%} of held-out prompts show {self.label} ({self.clean:.0%} without it)"
        )


class SearchRow(_Part):
    """One search, or its rival, with as many generator calls at most.

    Attributes:
        space, label, number: of the search. rival: it is random search.
        calls: that it took. invalid: it ended in numbers that are not finite.
        not_run: why nothing was searched; empty where something was. class_fails: the reason is that the first prompt
            fails by itself.
        case: what it found.
    """

    space: Space
    label: str
    number: int
    rival: bool
    calls: int
    invalid: bool
    not_run: str = ""
    class_fails: bool = False
    case: FailureCase | None = None


class SpaceFigures(_Part):
    """What came out in one space.

    Attributes:
        found: share of searches that found a failure within the calls, with Wilson's interval (SSR). random: the same
            of random search.
        confirmed: share of found cases that the judge confirms; None without a judge. random_confirmed: likewise.
        ngr: share of found latents that are not Gaussian; None of other spaces and without finds. random_ngr: likewise.
        calls: mean generator calls of a search. invalid: searches that ended in numbers that are not finite.
        not_run: searches in which there was nothing to search.
    """

    found: Figure
    random: Figure
    confirmed: Figure | None
    random_confirmed: Figure | None
    ngr: float | None
    random_ngr: float | None
    calls: float
    invalid: int
    not_run: int = 0


def share(successes: int, of: int) -> Figure:
    """A share with Wilson's interval; without trials, without a value."""
    low, high = wilson(successes, of)
    return Figure(value=successes / of if of else None, low=low, high=high, n=of)


def space_figures(rows: Sequence[SearchRow], space: str) -> SpaceFigures:
    """Figures of one space. Searches that ended invalid, and those in which nothing was searched, count in no share."""
    kept = [row for row in rows if row.space == space]
    valid = {
        rival: [row for row in kept if row.rival is rival and not row.invalid and not row.not_run]
        for rival in (False, True)
    }
    cases = {rival: [row.case for row in rows if row.case is not None] for rival, rows in valid.items()}

    def confirmed(rival: bool) -> Figure | None:
        judged = [one.real for one in cases[rival] if one.real is not None]
        return share(sum(judged), len(judged)) if judged else None

    def rate(rival: bool) -> float | None:
        tested = [one.normality.rejected for one in cases[rival] if one.normality is not None]
        return sum(tested) / len(tested) if tested else None

    own = valid[False]
    return SpaceFigures(
        found=share(len(cases[False]), len(own)),
        random=share(len(cases[True]), len(valid[True])),
        confirmed=confirmed(False),
        random_confirmed=confirmed(True),
        ngr=rate(False),
        random_ngr=rate(True),
        calls=sum(row.calls for row in own) / len(own) if own else 0.0,
        invalid=sum(row.invalid for row in kept if not row.rival),
        not_run=sum(bool(row.not_run) for row in kept if not row.rival),
    )


def reasons(rows: Sequence[SearchRow]) -> list[str]:
    """Why searches were not run, each reason once for a class and a space."""
    found = list[str]()
    groups: dict[tuple[str, str, bool], list[SearchRow]] = {}
    for row in rows:
        if row.not_run and not row.rival:
            groups.setdefault((row.space, row.label, row.class_fails), []).append(row)
    for (space, label, fails), kept in groups.items():
        what = "reported here alone" if fails else "not run, and no failure"
        found.append(f"{space}, {label}: {len(kept)} searches {what}: {kept[0].not_run}")
    return found


def ranked(rows: Sequence[SearchRow]) -> tuple[FailureCase, ...]:
    """Cases of the search, not of its rival: confirmed ones first, then by the share that fails; no cause twice."""
    cases = [row.case for row in rows if row.case is not None and not row.rival]
    order = sorted(cases, key=lambda one: (-(one.confirmed or 0.0), -one.failing, sum(one.probabilities), one.name))
    causes: dict[tuple[object, ...], FailureCase] = {}
    for one in order:
        cause = (one.space, one.label, *one.added) if one.space == "prompts" else (one.name,)
        causes.setdefault(cause, one)
    return tuple(causes.values())


class GeneratorFailures(RunResult):
    """Failures of a text-to-image model, and how often a search finds one.

    Attributes:
        spaces: figures of each.
        cases: found by the searches, most certain first.
        searches: all, with their rivals.
        notes: weaknesses of the ensemble, and what was not tested.
    """

    file: ClassVar[str] = RECORD

    spaces: dict[Space, SpaceFigures] = {}
    cases: tuple[FailureCase, ...] = ()
    searches: tuple[SearchRow, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> Summary:
        """Shares with intervals, and the first cases."""
        rows = tuple(
            (name, cell(one.found), cell(one.random), cell(one.confirmed), _number(one.ngr), f"{one.calls:.0f}")
            for name, one in self.spaces.items()
        )
        columns = ("space", "searches that found", "random search", "judge confirms", "not Gaussian", "calls")
        return Summary(
            f"failures of {self.plan['generator']}",
            (
                Table(columns, rows, frozenset({5})),
                *(f"{one.name}: {one.words}" for one in self.cases[:10]),
                *(f"note: {one}" for one in self.notes),
            ),
            files=self.files,
            record=RECORD,
        )

    def _verdict(self) -> str:
        return ", ".join(f"{name}: {cell(one.found)}" for name, one in self.spaces.items())


def cell(figure: Figure | None) -> str:
    """A share with its interval; a dash where there is none."""
    if figure is None or figure.value is None:
        return "–"
    return f"{figure.value:.2f} ({figure.low:.2f} – {figure.high:.2f}, n = {figure.n})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
