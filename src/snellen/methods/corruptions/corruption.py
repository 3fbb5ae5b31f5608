"""Common and medical corruptions at a continuous severity.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019,
arXiv 1903.12261 (ImageNet-C, CIFAR-10-C); Di Salvo, Doerrich and Ledig, "MedMNIST-C: Comprehensive benchmark and
improved classifier robustness by simulating realistic image corruptions", 2024, arXiv 2406.17536.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import BenchmarkName, benchmark
from snellen.methods.corruptions.operators import Strength
from snellen.methods.corruptions.textures import load_textures


class Corruption(Method):
    """One kind of corruption of a benchmark.

    >>> import torch
    >>> images = torch.rand(2, 3, 32, 32)
    >>> blur = Corruption(kind="defocus_blur")
    >>> torch.equal(blur.shift(images, 0.0), images), torch.equal(blur.shift(images, 2.5), images)
    (True, False)
    >>> Corruption(benchmark="bloodmnist", kind="bubble").strength(3, torch.zeros(1, 3, 224, 224)).published
    True
    """

    name: ClassVar[str] = "corruption"
    finds: ClassVar[tuple[str, ...]] = ("corruption",)

    benchmark: BenchmarkName = Field(
        "imagenet-c", description="whose kinds and strengths: imagenet-c, or a data set of MedMNIST-C"
    )
    kind: str = Field(
        "gaussian_noise",
        description="what is done to the images; every benchmark has its own kinds",
        json_schema_extra={"x-snellen-left-out": "all that the benchmark's figures are means of"},
    )
    strict: bool = Field(
        False, description="published settings in the order of their mean change, where the published order is another"
    )
    parity: bool = Field(
        False,
        description="as published to the last step: values cut to bytes, noise that colours grey images too, and "
        "faults of the published code repeated",
    )
    textures: str | None = Field(
        None,
        description="folder of images to use for frost or stains in place of the built-in ones; the published ones are "
        "known by the sha256 of their files",
    )

    @model_validator(mode="after")
    def _known_kind(self) -> Corruption:
        try:
            benchmark(self.benchmark).operator(self.kind)
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    @classmethod
    def when_left_out(cls, given: Mapping[str, object]) -> Mapping[str, Sequence[object]]:
        """What a command stands for that names no kind: all kinds that the benchmark's figures are means of.

        >>> Corruption.when_left_out({"benchmark": "octmnist"})["kind"][:2]
        ('pixelate', 'jpeg_compression')
        """
        name = given.get("benchmark", cls.model_fields["benchmark"].default)
        return {} if "kind" in given else {"kind": benchmark(str(name)).main}

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: textures that cannot be read."""
        try:
            if self.textures is not None:
                load_textures(self.textures)
        except InputError as error:
            return f"cannot use its {error}"
        return super().missing(classifier, images)

    def shift(self, images: Tensor, severity: float, *, rng: Randomness | None = None) -> Tensor:
        """Corrupt prepared images (n, 3, h, w) in [0, 1]; severity in [0, 5], 0 returns the images unchanged.

        See :func:`snellen.methods.corruptions.apply.corrupt` for randomness and grey images.
        """
        return corrupt(
            images,
            benchmark(self.benchmark),
            self.kind,
            severity,
            (rng or Randomness(0)).bind(len(images)),
            strict=self.strict,
            parity=self.parity,
            textures=None if self.textures is None else load_textures(self.textures),
        )

    def strength(self, severity: float, images: Tensor) -> Strength:
        """The operator's parameters at this severity for images of this size, and whether they are published ones.

        See :meth:`snellen.methods.corruptions.benchmarks.Benchmark.strength` for what counts as published.
        """
        return benchmark(self.benchmark).strength(
            self.kind,
            severity,
            images.shape[2],
            images.shape[3],
            strict=self.strict,
            parity=self.parity,
            textures=self.textures,
        )
