"""What is done to the images: methods and severities, and how folders and files are called after them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from snellen.core.errors import InputError
from snellen.core.method import Attack, Certifier, Editing, Explainer, Method, Scanner, Shift, build
from snellen.data.privacy.nameless import nameless_record
from snellen.data.privacy.pseudonyms import Pseudonyms
from snellen.runs.safe_names import folder_names

#: The severity of every shift ends here.
MAX_SEVERITY = 5.0

#: How messages speak of the methods of an area.
_VERBS = {
    "shifts": "shift by",
    "attacks": "attack with",
    "certificates": "certify with",
    "explanations": "explain by",
    "forgetting": "forget by",
    "scans": "scan with",
    "synthesis": "generate a data set with",
}
_NOUNS = {
    "shifts": "a shift",
    "attacks": "an attack",
    "certificates": "a certificate",
    "explanations": "an explanation",
    "forgetting": "an unlearning method",
    "scans": "a scan",
    "synthesis": "a way to condition a data set",
}
_WHOLES = {
    "shifts": "a data set",
    "attacks": "a run",
    "certificates": "a run",
    "explanations": "a run",
    "forgetting": "a run",
    "scans": "a run",
    "synthesis": "a data set",
}
_EXAMPLES = {
    "shifts": "Corruption(kind='fog')",
    "attacks": "PGD(epsilon=0.03)",
    "certificates": "Smoothing(sigma=0.25)",
    "explanations": "PartitionShap(evaluations=500)",
    "synthesis": "ByName(guidance_scale=2)",
    "forgetting": "FineTuning(epochs=5)",
    "scans": "Perturbation(denoiser='artifact:denoiser')",
}


@dataclass(frozen=True)
class Setting:
    """One method with its name in this data set, which is also the name of its folder or archive.

    Attributes:
        name: of the setting.
        method: with its parameters.
        record: what is written of it: its name and parameters, as they are unless something else is given.
    """

    name: str
    method: Method
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.record:
            object.__setattr__(self, "record", self.method.record())

    @property
    def shift(self) -> Shift:
        """The method by the verb of its area ``shifts``."""
        return cast(Shift, self.method)

    @property
    def edits(self) -> bool:
        """Whether the method is of the form of ``shifts`` that edits objects, and needs their places."""
        return isinstance(self.method, Editing)

    @property
    def editing(self) -> Editing:
        """The method by the verb of its area ``shifts`` that edits objects."""
        return cast(Editing, self.method)

    @property
    def borrows(self) -> bool:
        """Whether an edit puts the background of another image behind the object."""
        return bool(getattr(self.method, "borrows", False))

    @property
    def removal(self) -> tuple[str, float]:
        """How an edit takes objects out of their backgrounds: fill, and the width of the ring."""
        return getattr(self.method, "fill", "moved"), getattr(self.method, "ring", 0.0)

    @property
    def attack(self) -> Attack:
        """The method by the verb of its area ``attacks``."""
        return cast(Attack, self.method)

    @property
    def explainer(self) -> Explainer:
        """The method by the verb of its area ``explanations`` that explains images."""
        return cast(Explainer, self.method)

    @property
    def certifier(self) -> Certifier:
        """The method by the verb of its area ``certificates``."""
        return cast(Certifier, self.method)

    @property
    def scanner(self) -> Scanner:
        """The method by the verb of its area ``scans``."""
        return cast(Scanner, self.method)


#: How a call names methods: an object, a name, a record ``{"method": name, **parameters}``, or several of them.
Methods: TypeAlias = "Method | str | Mapping[str, Any] | Sequence[Method | str | Mapping[str, Any]]"


def named_settings(method: Methods, area: str = "shifts", *, names: Pseudonyms | None = None) -> list[Setting]:
    """Name methods, and check what can be checked without images.

    A setting is called after the field ``kind`` where the method has one, else after the method, and where that names
    two, after the parameters in which they differ.

    Args:
        method: one or more, as objects, names or records.
        area: that they must be of: ``shifts``, ``attacks``, ``certificates`` or ``explanations``.
        names: pseudonyms for files and folders among the parameters.

    Raises:
        InputError: no method, one of another area, one that occurs twice, or one that cannot run on any images.
    """
    if not isinstance(method, Method | str | Mapping | Sequence):
        _not_a_method(method, area)
    given = [method] if isinstance(method, Method | str | Mapping) else list(method)
    if not given:
        raise InputError(f"no method to {_VERBS[area]}; give one or more, such as {_EXAMPLES[area]}")
    methods = [
        build(area, one) if isinstance(one, Method | str | Mapping) else _not_a_method(one, area) for one in given
    ]
    for one in methods:
        lacking = one.missing()
        if lacking is not None:
            raise InputError(f"{one.name} {lacking}")
    records = [one.record() if names is None else nameless_record(one.record(), names) for one in methods]
    texts = [_base(record) for record in records]
    for base in {text for text in texts if texts.count(text) > 1}:
        rows = [row for row, record in enumerate(records) if _base(record) == base]
        differing = [key for key in records[rows[0]] if len({_text(records[row].get(key)) for row in rows}) > 1]
        for row in rows:
            texts[row] = "+".join([base, *(f"{key}={_text(records[row].get(key))}" for key in differing)])
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise InputError(f"{twice} is given twice; {_WHOLES[area]} holds each setting once")
    folders = folder_names(texts)
    named = zip(texts, methods, records, strict=True)
    return [Setting(folders[text], one, record) for text, one, record in named]


def settings_record(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """Settings as JSON values, from which :func:`settings_again` makes the same."""
    return [{"name": one.name, "method": one.method.record(), "record": one.record} for one in settings]


def settings_again(area: str, recorded: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """The settings that :func:`settings_record` wrote down."""
    return [Setting(one["name"], build(area, one["method"]), one["record"]) for one in recorded]


def checked_severities(severities: Sequence[float]) -> tuple[float, ...]:
    """Severities as given, in their order.

    Raises:
        InputError: none, one twice, or one outside of [0, 5].
    """
    checked = tuple(float(severity) for severity in severities)
    if not checked:
        raise InputError("no severities; give one or more in [0, 5], such as (1, 2, 3, 4, 5)")
    for severity in checked:
        if not 0 <= severity <= MAX_SEVERITY:
            raise InputError(f"a severity lies in [0, {MAX_SEVERITY:g}], got {severity!r}")
        if checked.count(severity) > 1:
            raise InputError(f"severity {severity_name(severity)} is given twice")
    return checked


def severity_name(severity: float) -> str:
    """A severity as text, without loss.

    >>> severity_name(3.0), severity_name(2.5)
    ('3', '2.5')
    """
    return str(int(severity)) if severity == int(severity) else repr(severity)


def _base(record: Mapping[str, Any]) -> str:
    kind = record.get("kind")
    return kind if isinstance(kind, str) and kind else str(record["method"])


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _not_a_method(value: object, area: str) -> Method:
    raise InputError(f"{_NOUNS[area]} is a method such as {_EXAMPLES[area]}; got {value!r}")
