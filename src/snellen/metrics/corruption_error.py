"""Errors under corruption, in units of a reference model's errors.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019,
arXiv 1903.12261, section 4. With the error E of a model at severity s of corruption c, and that of a reference model R:

    CE_c = Σ_s E_{s,c} / Σ_s E^R_{s,c}                                     (mean over c: mCE)
    relative CE_c = Σ_s (E_{s,c} − E_clean) / Σ_s (E^R_{s,c} − E^R_clean)  (mean over c: relative mCE)

Di Salvo, Doerrich and Ledig, "MedMNIST-C", arXiv 2406.17536, take one minus balanced accuracy as the error, and call
the two figures BE and rBE.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike

from snellen.core import package
from snellen.core.errors import InputError, unknown_name

#: Mean degradations up to this are rounding: errors are shares of images, which differ by far more or not at all.
_ROUNDING = 1e-12
#: How far a stored mean may be from the mean of the stored severities: published means have six digits.
_MEAN_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Reference:
    """Errors of a model that others are measured by.

    >>> reference = Reference.measured("baseline", 0.1, {"fog": [0.2, 0.4], "snow": [0.3, 0.5]})
    >>> reference.severities, reference.at_severities("snow")
    (2, (0.3, 0.5))

    Attributes:
        name: which model on which data; every figure that is made with it carries this name.
        clean_error: error without corruption, in [0, 1].
        mean_errors: kind of corruption → error averaged over the severities, in [0, 1].
        severities: how many severities that is.
        errors_by_severity: kind → error at each severity, for all kinds or for none (where only means are known).
        extra: kinds that the benchmark keeps for development; they do not count in its means.
        source: where the figures are from.
        conditions: what the figures depend on, by name (benchmark, severities, data …); empty where nothing is known.

    Raises:
        InputError: errors that are not shares, or means and severities that contradict each other.
    """

    name: str
    clean_error: float
    mean_errors: Mapping[str, float]
    severities: int = 5
    errors_by_severity: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    source: str = ""
    conditions: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.severities < 1 or not self.mean_errors:
            raise InputError(f"the reference {self.name!r} needs errors of at least one corruption and severity")
        _share(self.clean_error, f"clean error of {self.name!r}")
        for kind, mean in self.mean_errors.items():
            _share(mean, f"error of {self.name!r} under {kind}")
        if self.errors_by_severity and self.errors_by_severity.keys() != self.mean_errors.keys():
            raise InputError(f"the reference {self.name!r} has other kinds with a mean than with errors by severity")
        for kind, errors in self.errors_by_severity.items():
            values = _errors(errors, f"errors of {self.name!r} under {kind}")
            if len(values) != self.severities or abs(fmean(values) - self.mean_errors[kind]) > _MEAN_TOLERANCE:
                raise InputError(
                    f"errors of {self.name!r} under {kind} must be {self.severities} of mean "
                    f"{self.mean_errors[kind]}, got {list(values)}"
                )
        unknown = sorted(set(self.extra) - self.mean_errors.keys())
        if unknown:
            raise InputError(f"extra kinds of {self.name!r} without errors: {', '.join(unknown)}")

    @classmethod
    def measured(cls, name: str, clean: float, errors: Mapping[str, ArrayLike], *, source: str = "") -> Reference:
        """Make a reference of a model that was measured here.

        Args:
            name: which model on which data.
            clean: error without corruption, in [0, 1].
            errors: kind of corruption → error at each severity, in [0, 1]; equally many for all kinds.
            source: how it was measured.

        Raises:
            InputError: errors that are not shares, or unequal numbers of severities.
        """
        by_severity = {kind: _errors(values, f"errors of {name!r} under {kind}") for kind, values in errors.items()}
        counts = {kind: len(values) for kind, values in by_severity.items()}
        if len(set(counts.values())) > 1:
            raise InputError(f"every kind must be measured at the same severities, got {counts} of them")
        return cls(
            name=name,
            clean_error=clean,
            mean_errors={kind: fmean(values) for kind, values in by_severity.items()},
            severities=max(counts.values(), default=0),
            errors_by_severity=by_severity,
            source=source,
        )

    def at_severities(self, kind: str) -> tuple[float, ...]:
        """Error at each severity; the mean at each where only that is known, which has the same sum."""
        return self.errors_by_severity.get(kind) or (self.mean_errors[kind],) * self.severities


def corruption_error(errors: ArrayLike, reference_errors: ArrayLike) -> float | None:
    """Corruption error, CE (BE of MedMNIST-C): the sum of the errors over that of the reference. 1 is the reference.

    >>> corruption_error([0.25, 0.5], [0.5, 1.0])
    0.5

    Args:
        errors: error at each severity, in [0, 1].
        reference_errors: those of the reference, at the same severities.

    Returns:
        The ratio; None when the reference makes no error.

    Raises:
        InputError: errors that are not shares, or not equally many.
    """
    ours, theirs = _paired(errors, reference_errors)
    return math.fsum(ours) / whole if (whole := math.fsum(theirs)) > 0 else None


def relative_corruption_error(
    errors: ArrayLike, clean: float, reference_errors: ArrayLike, reference_clean: float, *, parity: bool = False
) -> float | None:
    """Relative corruption error (rBE of MedMNIST-C): how much the error rises, over how much the reference's does.

    Equal to (mean error − clean error) / (mean error − clean error of the reference). Where the reference is not worse
    under the corruption than without it, its rise is no unit: the ratio would explode or flip its sign, so that a
    larger rise would look better. Small positive rises remain, and give large ratios.

    >>> relative_corruption_error([0.2, 0.4], 0.1, [0.4, 0.6], 0.3)
    1.0
    >>> relative_corruption_error([0.2, 0.4], 0.1, [0.2, 0.3], 0.3) is None  # the reference gets better
    True

    Args:
        errors: error at each severity, in [0, 1].
        clean: error without corruption, in [0, 1].
        reference_errors: those of the reference, at the same severities.
        reference_clean: error of the reference without corruption.
        parity: as in the published evaluation code, divide by a negative rise too.

    Returns:
        The ratio, negative where the model gets better; None when the reference does not get worse.

    Raises:
        InputError: errors that are not shares, or not equally many.
    """
    ours, theirs = _paired(errors, reference_errors)
    _share(clean, "clean error")
    _share(reference_clean, "clean error of the reference")
    rise = math.fsum(error - reference_clean for error in theirs)
    if (abs(rise) if parity else rise) <= _ROUNDING * len(theirs):
        return None
    return math.fsum(error - clean for error in ours) / rise


@dataclass(frozen=True)
class NormalisedErrors:
    """Errors by corruption in units of a reference, and their means.

    Attributes:
        reference: name of the reference that was used.
        clean_error: error of the model without corruption, not normalised.
        corruption_errors: kind → CE; None where undefined.
        relative_corruption_errors: kind → relative CE; None where undefined.
        undefined: kind → why it has no CE.
        relative_undefined: kind → why it has no relative CE.
        extra: measured kinds that do not count in the means (see :class:`Reference`).
        unmeasured: kinds of the benchmark that were not measured. With any, the means are not the benchmark's.
    """

    reference: str
    clean_error: float
    corruption_errors: Mapping[str, float | None]
    relative_corruption_errors: Mapping[str, float | None]
    undefined: Mapping[str, str]
    relative_undefined: Mapping[str, str]
    extra: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()

    @property
    def mean_corruption_error(self) -> float | None:
        """The mCE: mean of the defined CE of kinds that are not extra; None without any."""
        return _mean(self._counting(self.corruption_errors))

    @property
    def counted(self) -> int:
        """Over how many kinds the mCE goes."""
        return len(self._counting(self.corruption_errors))

    @property
    def relative_mean_corruption_error(self) -> float | None:
        """The relative mCE: mean of the defined relative CE of kinds that are not extra; None without any."""
        return _mean(self._counting(self.relative_corruption_errors))

    @property
    def relative_counted(self) -> int:
        """Over how many kinds the relative mCE goes."""
        return len(self._counting(self.relative_corruption_errors))

    def _counting(self, values: Mapping[str, float | None]) -> list[float]:
        return [value for kind, value in values.items() if value is not None and kind not in self.extra]


def normalise(
    errors: Mapping[str, ArrayLike], clean: float, reference: Reference, *, parity: bool = False
) -> NormalisedErrors:
    """Measure a model's errors by those of a reference.

    >>> reference = Reference("baseline", 0.1, {"fog": 0.4, "snow": 0.05}, severities=2)
    >>> figures = normalise({"fog": [0.1, 0.3], "snow": [0.1, 0.1]}, 0.0, reference)
    >>> figures.corruption_errors, figures.mean_corruption_error
    ({'fog': 0.5, 'snow': 2.0}, 1.25)
    >>> round(figures.relative_mean_corruption_error, 4), figures.relative_counted, list(figures.relative_undefined)
    (0.6667, 1, ['snow'])

    Args:
        errors: kind of corruption → error at each severity, in [0, 1], at the severities of the reference.
        clean: error without corruption, in [0, 1]; a model without errors is welcome.
        reference: what to measure by.
        parity: as in the published evaluation code, keep relative errors whose sign is flipped because the reference
            gets better (see :func:`relative_corruption_error`).

    Raises:
        InputError: no errors, errors that are not shares, another number of severities than the reference has, or kinds
            that it does not have.
    """
    if not errors:
        raise InputError("errors of at least one corruption are needed")
    missing = sorted(set(errors) - reference.mean_errors.keys())
    if missing:
        raise InputError(
            f"the reference {reference.name!r} has no errors under {', '.join(missing)}; it has "
            f"{', '.join(sorted(reference.mean_errors))}"
        )
    ratios: dict[str, float | None] = {}
    relative: dict[str, float | None] = {}
    for kind, values in errors.items():
        ours = _errors(values, f"errors under {kind}")
        if len(ours) != reference.severities:
            raise InputError(
                f"the reference {reference.name!r} has {reference.severities} severities, got {len(ours)} errors "
                f"under {kind}"
            )
        theirs = reference.at_severities(kind)
        ratios[kind] = corruption_error(ours, theirs)
        relative[kind] = relative_corruption_error(ours, clean, theirs, reference.clean_error, parity=parity)
    return NormalisedErrors(
        reference=reference.name,
        clean_error=clean,
        corruption_errors=ratios,
        relative_corruption_errors=relative,
        undefined={
            kind: f"{reference.name} makes no error under {kind}" for kind, value in ratios.items() if value is None
        },
        relative_undefined={
            kind: f"{reference.name} is not worse under {kind} (error {reference.mean_errors[kind]:.4f}) than without "
            f"({reference.clean_error:.4f})"
            for kind, value in relative.items()
            if value is None
        },
        extra=tuple(kind for kind in errors if kind in reference.extra),
        unmeasured=tuple(kind for kind in reference.mean_errors if kind not in errors and kind not in reference.extra),
    )


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def _paired(errors: ArrayLike, reference_errors: ArrayLike) -> tuple[tuple[float, ...], tuple[float, ...]]:
    ours, theirs = _errors(errors, "errors"), _errors(reference_errors, "errors of the reference")
    if len(ours) != len(theirs):
        raise InputError(f"{len(ours)} errors, but {len(theirs)} of the reference; both need the same severities")
    return ours, theirs


def _errors(values: ArrayLike, what: str) -> tuple[float, ...]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise InputError(f"{what} must be one for each severity, got shape {numbers.shape}")
    return tuple(_share(value, what) for value in numbers.tolist())


def _share(value: float, what: str) -> float:
    # Written so that NaN fails too.
    if not 0 <= value <= 1:
        raise InputError(f"{what} must lie in [0, 1] (a share, not percent), got {value}")
    return value


_FILE = tomllib.loads(package.text("metrics/references.toml"))


def stored_reference_names() -> tuple[str, ...]:
    """Names of all stored references, sorted."""
    return tuple(sorted(_FILE["references"]))


def stored_reference(name: str) -> Reference:
    """The published errors of a reference model, by name (``MODEL/BENCHMARK``).

    Those of ``alexnet/imagenet-c`` are one minus accuracy; those of AlexNet on the MedMNIST sets one minus balanced
    accuracy (see :func:`snellen.metrics.classification.balanced_accuracy`).

    >>> reference = stored_reference("alexnet/imagenet-c")
    >>> reference.clean_error, reference.mean_errors["fog"], reference.severities
    (0.4348, 0.819324, 5)

    Raises:
        UnknownNameError: no such reference; the message lists the nearest names.
    """
    if name not in _FILE["references"]:
        raise unknown_name("reference", name, stored_reference_names())
    row = _FILE["references"][name]
    return Reference(
        name=name,
        clean_error=row["clean_error"],
        mean_errors=dict(row["mean_errors"]),
        severities=row["severities"],
        extra=tuple(row.get("extra", ())),
        source=_FILE["sources"][row["source"]],
        conditions={"benchmark": name.partition("/")[2], "severities": [1, 2, 3, 4, 5]},
    )
