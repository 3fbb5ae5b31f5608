"""The corruption benchmarks: which kinds each has, and how strong they are.

``imagenet-c`` is Hendrycks and Dietterich 2019 (arXiv 1903.12261), with the tables of CIFAR-10-C for images below 96
pixels. The twelve sets of MedMNIST v2, from ``pathmnist`` to ``organsmnist``, are MedMNIST-C (Di Salvo, Doerrich and
Ledig 2024, arXiv 2406.17536): each set has the kinds and strengths of its imaging modality.

``sized`` is no published benchmark but the default of an audit: the kinds of ImageNet-C and some more, with blurs and
losses of resolution that act on images of any size. ``sized-xray`` and its like are the same for a medical modality,
from the kinds and strengths of MedMNIST-C.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

from snellen.core import package
from snellen.core.errors import unknown_name
from snellen.methods.corruptions.frost import LARGE_SIDE, SMALL_BELOW, SMALL_SIDE
from snellen.methods.corruptions.nrtk_kinds import NRTK_KINDS
from snellen.methods.corruptions.operators import OPERATORS, SEVERITIES, Operator, Strength, Table, strength
from snellen.methods.corruptions.textures import texture_hashes

ProtocolTask = Literal["multi-class", "binary-class", "multi-label", "ordinal-regression"]

BenchmarkName = Literal[
    "imagenet-c",
    "pathmnist",
    "bloodmnist",
    "dermamnist",
    "retinamnist",
    "tissuemnist",
    "octmnist",
    "breastmnist",
    "chestmnist",
    "pneumoniamnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
    "sized",
    "sized-pathology",
    "sized-blood",
    "sized-dermatoscopy",
    "sized-fundus",
    "sized-tissue",
    "sized-oct",
    "sized-ultrasound",
    "sized-xray",
    "sized-ct",
]

IMAGENET_C: BenchmarkName = "imagenet-c"
SIZED: BenchmarkName = "sized"
#: Strengths of our own, for images of any size.
OWN: tuple[BenchmarkName, ...] = tuple(name for name in get_args(BenchmarkName) if name.startswith(SIZED))
#: The published ones.
BENCHMARKS: tuple[BenchmarkName, ...] = tuple(name for name in get_args(BenchmarkName) if name not in OWN)
MEDMNIST_C = tuple(name for name in BENCHMARKS if name != IMAGENET_C)

#: Operators of MedMNIST-C's kinds, where the names differ.
_MEDICAL_OPERATORS = {
    "gaussian_blur": "kernel_blur",
    "brightness_up": "enhance_brightness",
    "brightness_down": "enhance_brightness",
    "contrast_up": "enhance_contrast",
    "contrast_down": "enhance_contrast",
    "saturate": "add_saturation",
    "gamma_corr_up": "gamma",
    "gamma_corr_down": "gamma",
}


@dataclass(frozen=True)
class Benchmark:
    """Kinds of corruption and their strengths.

    Attributes:
        name: one of :data:`BENCHMARKS` or :data:`OWN`.
        operators: operator of each kind, in the benchmark's order.
        large: table of each kind for 224-pixel images.
        small: the same for 32-pixel images; empty where the benchmark has none.
        families: kinds by family, all kinds once.
        main: the kinds that the benchmark's figures are means of, and that a training takes where none is named.
        rgb: whether images are coloured; False: corrupted in RGB, then turned to grey as published; None: both.
        balanced: whether its errors weigh every class alike.
        task: task of the labels, None where any is meant.
        labels: number of classes or labels, None where any is meant.
    """

    name: str
    operators: Mapping[str, Operator]
    large: Mapping[str, Table]
    small: Mapping[str, Table]
    families: Mapping[str, tuple[str, ...]]
    main: tuple[str, ...]
    rgb: bool | None = None
    balanced: bool = False
    task: ProtocolTask | None = None
    labels: int | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds, in the benchmark's order."""
        return tuple(self.operators)

    def operator(self, kind: str) -> Operator:
        """The operator of a kind.

        Raises:
            UnknownNameError: the benchmark has no such kind.
        """
        if kind not in self.operators:
            unknown = unknown_name(f"corruption of {self.name}", kind, self.kinds)
            if self.name not in OWN and kind in benchmark(SIZED).operators:
                raise type(unknown)(
                    f"{unknown}. {kind} is one of our own kinds, which audits measure: benchmark={SIZED!r}"
                )
            raise unknown
        return self.operators[kind]

    def table(self, kind: str, side: int) -> Table:
        """The table of a kind for images whose shorter side is ``side``."""
        self.operator(kind)
        return self.small[kind] if kind in self.small and side < SMALL_BELOW else self.large[kind]

    def strength(
        self,
        kind: str,
        severity: float,
        height: int,
        width: int,
        *,
        strict: bool = False,
        parity: bool = False,
        textures: str | bool | None = None,
    ) -> Strength:
        """Parameters of a kind at a severity in [0, 5], for images of this size.

        They count as published when they are the numbers of a published setting, for images of the size that it was
        published for (square), and the operator does with them what the published one does: not where the published
        code has a fault that is mended here (``parity`` repeats it), not with letters of our own, and not with other
        textures than the published ones. It says nothing of what comes after the operator: without ``parity`` values
        are not cut to bytes, and grey photos get one draw of noise.

        Args:
            kind: one of the benchmark's.
            severity: in [0, 5].
            height: of the images, pixels.
            width: of the images, pixels.
            strict: see :func:`snellen.methods.corruptions.operators.strength`.
            parity: whether faults of the published code are repeated.
            textures: folder of the user's textures. They are the published ones when its files are, by their sha256
                (:mod:`snellen.methods.corruptions.textures`). True: textures that cannot be read, which are not.

        >>> found = benchmark("imagenet-c").strength("gaussian_noise", 3, 224, 224)
        >>> dict(found.values), found.published
        ({'deviation': 0.18}, True)
        """
        side, operator = min(height, width), self.operator(kind)
        found = strength(self.table(kind, side), operator, severity, side, strict=strict)
        same = (parity or not operator.mended) and (not operator.textures or _published(operator, textures))
        published = self.name in BENCHMARKS and found.published and height == width and same
        return replace(found, published=published)

    def family(self, kind: str) -> str:
        """The family of a kind."""
        return next(name for name, kinds in self.families.items() if kind in kinds)

    def of_subject(self, subject: str, measured: Sequence[str]) -> tuple[str, ...]:
        """The kinds that a finding is about: a kind itself, or of a family those that were measured.

        >>> benchmark("sized").of_subject("blur", ["gaussian_blur", "fog", "motion_blur"])
        ('gaussian_blur', 'motion_blur')
        """
        if subject in self.families and subject not in self.operators:
            return tuple(kind for kind in measured if kind in self.families[subject])
        return (subject,)

    def without_family(self, family: str) -> tuple[str, ...]:
        """All kinds but those of one family: what to train on when that family is held out for testing.

        Raises:
            UnknownNameError: no such family in this benchmark.
        """
        if family not in self.families:
            raise unknown_name(f"family of {self.name}", family, self.families)
        return tuple(kind for kind in self.kinds if kind not in self.families[family])


def kinds_by_benchmark() -> dict[str, tuple[str, ...]]:
    """All kinds of every benchmark.

    >>> "fog" in kinds_by_benchmark()["imagenet-c"]
    True
    """
    return {name: benchmark(name).kinds for name in (*BENCHMARKS, *OWN)}


@cache
def benchmark(name: str) -> Benchmark:
    """A benchmark by name.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in (*BENCHMARKS, *OWN):
        raise unknown_name("corruption benchmark", name, (*BENCHMARKS, *OWN))
    if name in OWN:
        return _sized(name)
    return _imagenet_c() if name == IMAGENET_C else _medmnist_c(name)


def same_strengths(name: str, side: int, other: str = IMAGENET_C, other_side: int | None = None) -> frozenset[str]:
    """Kinds of a benchmark whose strengths are those of another, for images of that shorter side.

    >>> sorted({"fog", "gaussian_blur"} & same_strengths("sized", 28))
    ['fog']

    Args:
        name: of the benchmark.
        side: shorter side of the images, pixels.
        other: the benchmark that it is compared with.
        other_side: shorter side of the images there, where it is another: tables change with it.
    """
    chosen, theirs = benchmark(name), benchmark(other)
    there = side if other_side is None else other_side
    return frozenset(
        kind
        for kind in chosen.kinds
        if kind in theirs.operators
        and chosen.operators[kind] is theirs.operators[kind]
        and chosen.table(kind, side) == theirs.table(kind, there)
    )


def _published(operator: Operator, textures: str | bool | None) -> bool:
    """Whether a folder holds exactly the published textures."""
    return isinstance(textures, str) and texture_hashes(textures) == operator.textures


def _imagenet_c() -> Benchmark:
    content = _read("imagenet_c.toml")
    families = {name: tuple(kinds) for name, kinds in content["families"].items()}
    kinds = [kind for family in families.values() for kind in family]
    return Benchmark(
        name=IMAGENET_C,
        operators={kind: OPERATORS[kind] for kind in kinds},
        large={kind: _table(content["large"][kind], LARGE_SIDE) for kind in kinds},
        small={kind: _table(content["small"][kind], SMALL_SIDE) for kind in kinds},
        families=families,
        main=tuple(kind for kind in kinds if kind not in families["extra"]),
    )


def _medmnist_c(name: str) -> Benchmark:
    content = _read("medmnist_c.toml")
    tables, about = content[name], content["datasets"][name]
    families = {
        family: tuple(kind for kind in tables if kind in kinds) for family, kinds in content["families"].items()
    }
    return Benchmark(
        name=name,
        operators={kind: OPERATORS[_MEDICAL_OPERATORS.get(kind, kind)] for kind in tables},
        large={kind: _table(table, LARGE_SIDE) for kind, table in tables.items()},
        small={},
        families={family: kinds for family, kinds in families.items() if kinds},
        main=tuple(tables),
        rgb=about["rgb"],
        balanced=True,
        task=about["task"],
        labels=about["labels"],
    )


def medical_sets() -> dict[str, tuple[str, ...]]:
    """Names of the sets of MedMNIST by the modality of our own.

    >>> medical_sets()["xray"]
    ('chestmnist', 'pneumoniamnist')
    """
    modalities = {name: about["modality"] for name, about in _read("medmnist_c.toml")["datasets"].items()}
    return {
        short: tuple(name for name, modality in modalities.items() if modality == modalities[whose])
        for short, whose in _read("sized.toml")["medical"].items()
    }


#: Operators of our own kinds, where the names differ.
_OWN_OPERATORS = {"darkness": "enhance_brightness"}

#: Blurs whose lengths grow with the root of the side in every table of our own.
_ROOT = ("gaussian_blur", "defocus_blur")

#: What every medical modality has beside the kinds of its set.
_ADDED = ("gaussian_blur", "low_resolution")


def _sized(name: str) -> Benchmark:
    content, published = _read("sized.toml"), _imagenet_c()
    own = {kind: OPERATORS[_OWN_OPERATORS.get(kind, kind)] for kind in content["large"]}
    large = {kind: _table(table, LARGE_SIDE) for kind, table in content["large"].items()}
    small = {kind: _table(table, SMALL_SIDE) for kind, table in content["small"].items()}
    found = Benchmark(
        name=name,
        operators={**published.operators, **own},
        large={**published.large, **large},
        small={**{kind: table for kind, table in published.small.items() if kind not in large}, **small},
        families={},
        main=(),
    )
    if name != SIZED:
        medical = _medmnist_c(content["medical"][name.removeprefix(f"{SIZED}-")])
        tables = {kind: replace(table, root=True) if kind in _ROOT else table for kind, table in medical.large.items()}
        found = replace(
            medical,
            name=name,
            operators={
                **medical.operators,
                **{k: one for k, one in found.operators.items() if k not in medical.operators},
            },
            large={**found.large, **tables},
            small={kind: table for kind, table in found.small.items() if kind not in tables},
        )
        main = {*medical.main, *_ADDED}
    else:
        # Those of NRTK need another package, so that no mean and no training takes them unnamed.
        main = found.operators.keys() - NRTK_KINDS.keys()
    families = {
        family: present
        for family, kinds in content["families"].items()
        if (present := tuple(kind for kind in kinds if kind in found.operators))
    }
    return replace(
        found, families=families, main=tuple(kind for kinds in families.values() for kind in kinds if kind in main)
    )


def _table(content: Mapping[str, Any], side: int) -> Table:
    numbers = dict(content)
    root = numbers.pop("growth", "") == "root"
    special = {name: numbers.pop(name) for name in ("augmentation_start", "augmentation_end") if name in numbers}
    strict, jumps = tuple(numbers.pop("strict", SEVERITIES)), tuple(numbers.pop("jumps", ()))
    columns = {name: tuple(float(value) for value in values) for name, values in numbers.items()}
    return Table(side, columns, strict=strict, jumps=jumps, root=root, **special)


@cache
def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(package.text(f"methods/corruptions/{name}"))
