"""The record of a plan: what ``synthesis-plan.json`` holds, and the sentence that it comes down to."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from snellen.methods.synthesis.set_quality import SetQuality
from snellen.runs.record import RunResult, Summary, Table
from snellen.systems.scaling_laws.scaling_run import ScalingRun

RECORD, CURVE = "synthesis-plan.json", "curve.png"

#: How messages call it.
WHAT = "synthesis plan"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GridRow(_Part):
    """A setting before any student was trained: its quality, and whether it was kept.

    Attributes:
        setting: of the generator.
        quality: of its images.
        promise: by which settings are ranked.
        kept: whether students were trained on it.
    """

    setting: str
    quality: SetQuality
    promise: float
    kept: bool


class Law(_Part):
    """A fitted law; ``why_not`` where there is none.

    Attributes:
        config: setting of the generator.
        test: test set.
        a: factor in loss = a · n^−k.
        k: exponent.
        low: lower end of the 95 % interval of k.
        high: upper end.
        r_squared: share of the variance that it explains, on log scale.
        used: sizes that it was fitted to.
        dropped: sizes that were left out.
        still_curved: whether what is left bends.
        k_less_real: k less that of real images, with the ends of its 95 % interval.
        why_not: why there is no law; null where there is one.
    """

    config: str
    test: str
    a: float | None = None
    k: float | None = None
    low: float | None = None
    high: float | None = None
    r_squared: float | None = None
    used: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    still_curved: bool = False
    k_less_real: tuple[float, float, float] | None = None
    why_not: str | None = None


class Equal(_Part):
    """Synthetic images that have the loss of some real ones.

    Attributes:
        config: setting of the generator.
        real: number of real images.
        synthetic: number of synthetic ones with the same loss; null where there is none.
        why_not: why there is none.
    """

    config: str
    real: int
    synthetic: float | None
    why_not: str | None = None


class ClassRow(_Part):
    """How one class scales under a setting.

    Attributes:
        config: setting of the generator.
        class_name: of the class.
        group: easy, scaling or poor.
        k: exponent of its law.
        low: lower end of the 95 % interval of k.
        high: upper end.
        last: mean loss at the largest size.
        real: mean loss with as many real images; null where none was measured.
    """

    config: str
    class_name: str
    group: str
    k: float
    low: float
    high: float
    last: float
    real: float | None


class GainRow(_Part):
    """What synthetic images change when they are added to real ones; negative is better.

    Attributes:
        config: setting of the generator.
        test: test set.
        real: number of real images.
        synthetic: number of synthetic ones added.
        change: of the loss.
        low: lower end of the 95 % interval of the change.
        high: upper end.
        verdict: helps, harms or undecided.
        effective_size: real images that would do as much; null where it is unknown.
        value: real images that one synthetic one is worth; null where it is unknown.
    """

    config: str
    test: str
    real: int
    synthetic: int
    change: float
    low: float
    high: float
    verdict: str
    effective_size: float | None = None
    value: float | None = None


class SynthesisPlan(RunResult):
    """Whether to generate, how, and how many; on images like the real ones and on shifted ones.

    Attributes:
        grid: all settings, the best first.
        scorer: what judged them, and its accuracy on the images that losses are measured on.
        laws: of real images and each kept setting, on each test set.
        equivalents: where synthetic alone equals real.
        classes: easy, scaling and poor ones.
        gains: of adding synthetic images to half of the real ones, and to all of them.
        runs: every student.
        advice: what follows.
    """

    file: ClassVar[str] = RECORD

    grid: tuple[GridRow, ...] = ()
    scorer: tuple[str, float] = ("", 0.0)
    laws: tuple[Law, ...] = ()
    equivalents: tuple[Equal, ...] = ()
    classes: tuple[ClassRow, ...] = ()
    gains: tuple[GainRow, ...] = ()
    runs: tuple[ScalingRun, ...] = ()
    advice: tuple[str, ...] = ()

    def summary(self) -> Summary:
        """The grid, the laws, the gains, and the advice."""
        grid = tuple(
            (row.setting, f"{row.quality.recognisability:.3f}", f"{row.quality.diversity:.3f}", f"{row.promise:.3f}",
             "yes" if row.kept else "") for row in self.grid
        )  # fmt: skip
        laws = tuple(
            (law.config, law.test, "–" if law.k is None else f"{law.k:.3f}",
             law.why_not or f"{law.low:.3f} – {law.high:.3f}", ", ".join(map(str, law.used))) for law in self.laws
        )  # fmt: skip
        gains = tuple(
            (row.config, row.test, str(row.real), str(row.synthetic), f"{row.change:+.4f}",
             f"{row.low:+.4f} – {row.high:+.4f}", row.verdict) for row in self.gains
        )  # fmt: skip
        return Summary(
            self.plan["data"]["name"],
            (
                Table(("setting", "recognisability", "diversity", "promise", "kept"), grid, frozenset({1, 2, 3})),
                Table(("curve", "test", "k", "95 % interval", "sizes"), laws, frozenset({2})),
                Table(
                    ("added", "test", "real", "synthetic", "change of loss", "95 % interval", "verdict"),
                    gains,
                    frozenset({2, 3, 4}),
                ),
                *self.advice,
            ),
            files=self.files,
            record=RECORD,
        )

    def _verdict(self) -> str:
        return " ".join(self.advice)


def advice(
    gains: tuple[GainRow, ...], classes: tuple[ClassRow, ...], settings: tuple[str, ...], test: str
) -> list[str]:
    """What follows from the gains of adding to all real images, for a reader who reads nothing else."""
    found = []
    for setting in settings:
        own = [row for row in gains if row.config.startswith(f"{setting} + all") and row.test == test]
        if not own:
            continue
        helping = [row for row in own if row.verdict == "helps"]
        real, most = own[0].real, max(row.synthetic for row in own)
        if helping:
            best = min(helping, key=lambda row: row.change)
            found.append(
                f"{setting}: generate. {best.synthetic} images added to your {real} real ones lower the loss by "
                f"{-best.change:.4f} nats ({-best.high:.4f} to {-best.low:.4f}); more than {most} were not measured."
            )
        elif all(row.verdict == "harms" for row in own):
            found.append(
                f"{setting}: do not generate. Up to {most} images added to your {real} real ones raise the loss."
            )
        else:
            best = min(own, key=lambda row: row.change)
            found.append(
                f"{setting}: no gain was measured with up to {most} images added to your {real} real ones; the best "
                f"change is {best.change:+.4f} nats ({best.low:+.4f} to {best.high:+.4f})."
            )
        poor = [row.class_name for row in classes if row.config == setting and row.group == "poor"]
        if poor:
            found.append(f"{setting}: more images do not help {', '.join(poor)}: take real images of these.")
    return found
