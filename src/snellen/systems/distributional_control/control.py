"""A fitted control: an invertible network in front of a frozen generator. Sampling needs no control model.

ε → f → G: one pass of a small network more than the generator costs. G ∘ f is a generator itself, so that a second
control can be fitted on top (C. H. Wu et al. 2022, section 3.4, iterative control).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.artifact import Artifact, Card, Lineage, rounded
from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.latent_generators.latent_generator import LatentGenerator
from snellen.models.latent_generators.references import load_latent_generator
from snellen.models.weights.state_dict_file import load_strictly
from snellen.systems.distributional_control.invertible_network import InvertibleNetwork
from snellen.training.environment import record_environment
from snellen.version import __version__

#: What references of fitted controls begin with.
SCHEME = "control:"

#: Name of the architecture in the card.
ARCHITECTURE = "invertible_network"


@dataclass(frozen=True, eq=False)
class Control:
    """An invertible network and the generator that it belongs to.

    Attributes:
        generator: frozen.
        network: f.
        truncation: of the generator when images are sampled; the control was checked at it.
        target: what was wanted, as JSON values: classes, shares, text, weights, β.
        figures: measured when it was fitted.
        warnings: what to know before its images are used.
        fit: numbers of the fit, as JSON values.
        seed: of the fit.
    """

    generator: LatentGenerator
    network: InvertibleNetwork
    truncation: float = 1.0
    target: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    fit: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.network.dimension != self.generator.dimension:
            raise InputError(
                f"the control has {self.network.dimension} dimensions and {self.generator.name} has "
                f"{self.generator.dimension}; it belongs to another generator"
            )

    def latents(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        """Z = f(ε): (n, d), and α (n, k) of a conditional control → (n, d)."""
        with torch.no_grad():
            moved = noise.to(self.generator.device)
            return self.network(moved, None if condition is None else condition.to(moved))[0]

    def images_of(self, noise: Tensor, condition: Tensor | None = None, *, truncation: float | None = None) -> Tensor:
        """Images of given noise: ε (n, d) → (n, 3, h, w) in [0, 1] on the CPU."""
        chosen = self.truncation if truncation is None else truncation
        return self.generator.images(self.latents(noise, condition), chosen)

    def images(self, count: int, *, seed: int = 0, condition: Tensor | None = None) -> Tensor:
        """Images of the controlled distribution, (n, 3, h, w) in [0, 1] on the CPU.

        Args:
            count: n.
            seed: the same one gives the same images, and the first ones of a larger count.
            condition: α of all images, (k,), of a conditional control.
        """
        noise = Randomness(seed).bind(count).normal("control", (self.generator.dimension,))
        return self.images_of(noise, None if condition is None else condition.expand(count, -1))

    def as_generator(self, condition: Tensor | None = None, *, name: str | None = None) -> LatentGenerator:
        """G ∘ f as a generator, for a second control on top. Its callers say at which truncation; it keeps none.

        Args:
            condition: α that all images share, (k,), of a conditional control.
            name: the reference by which it is found again.
        """
        own = self.identity if condition is None else f"{self.identity}:{hash_tensors({'condition': condition})}"
        composed = _Composed(self.generator, self.network, condition)
        return LatentGenerator(
            composed,
            self.generator.dimension,
            name=name or f"{self.generator.name}, controlled",
            device=self.generator.device,
            identity=own,
        )

    @property
    def identity(self) -> str:
        """Hash of the weights of generator and network (sha256)."""
        own = hash_tensors(self.network.state_dict())
        return hashlib.sha256(f"{self.generator.identity} {own}".encode()).hexdigest()

    def save(self, folder: Path | str) -> Artifact:
        """Write weights as safetensors, and a card with target, figures and the generator's reference."""
        card = Card(
            name=Path(folder).name,
            kind="flow",
            architecture={
                "name": ARCHITECTURE,
                "dimension": self.network.dimension,
                "blocks": len(self.network.blocks),
                "hidden": self.network.hidden,
                "conditions": self.network.conditions,
                "generator": self.generator.name,
                "generator_identity": self.generator.identity,
                "truncation": self.truncation,
                "warnings": list(self.warnings),
            },
            description="An invertible network in front of a frozen generator (PromptGen, Wu et al. 2022).",
            metrics=rounded(self.figures),
            lineage=Lineage(
                recipe={"method": "distributional_control", "target": dict(self.target), "fit": dict(self.fit)},
                data=self.generator.identity or self.generator.name,
                seed=self.seed,
                code_version=__version__,
                environment=record_environment(self.generator.device),
            ),
        )
        tensors = {name: value.cpu() for name, value in self.network.state_dict().items()}
        return Artifact(tensors, card).save(Path(folder))


class _Composed(nn.Module):
    """f, then G at the truncation that the caller wants."""

    def __init__(self, generator: LatentGenerator, network: InvertibleNetwork, condition: Tensor | None) -> None:
        super().__init__()
        self.generator, self.network, self.condition = generator, network, condition

    def forward(self, latents: Tensor) -> Tensor:
        """Without truncation."""
        return self.truncated(latents, 1.0)

    def truncated(self, latents: Tensor, truncation: float) -> Tensor:
        """Truncation is that of the generator, behind f."""
        alpha = None if self.condition is None else self.condition.to(latents).expand(len(latents), -1)
        return self.generator(self.network(latents, alpha)[0], truncation)


def load_control(
    folder: Path | str,
    generator: LatentGenerator | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Control:
    """Open a fitted control again. No control model is loaded, because none is needed to sample.

    Args:
        folder: that :meth:`Control.save` wrote.
        generator: that it belongs to, where no reference leads to it; None: by the reference of the card.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: of the weights of a diffusion model.

    Raises:
        InputError: a folder with something else, or a generator with other weights.
    """
    artifact = Artifact.load(Path(folder))
    described = artifact.card.architecture
    if described.get("name") != ARCHITECTURE:
        raise InputError(
            f"{folder} holds a {artifact.card.kind}, and no control (snellen generate promptgen writes one)"
        )
    found = generator or open_generator(str(described["generator"]), device=device, dtype=dtype)
    if found.identity is None:
        raise InputError(
            f"{found.name} is a plain function without an identity, so that nobody can see whether {folder} belongs to "
            f"it; give LatentGenerator an identity, or a torch module"
        )
    if described["generator_identity"] != found.identity:
        raise InputError(
            f"{folder} was fitted to {described['generator']} with other weights; a control belongs to one generator: "
            f"fit a new one into another folder"
        )
    network = InvertibleNetwork(
        int(described["dimension"]),
        blocks=int(described["blocks"]),
        hidden=int(described["hidden"]),
        conditions=int(described["conditions"]),
    )
    load_strictly(network, artifact.tensors, source=str(Path(folder) / "weights.safetensors"))
    network.to(found.device).eval().requires_grad_(False)
    recipe = artifact.card.lineage.recipe
    return Control(
        generator=found,
        network=network,
        truncation=float(described["truncation"]),
        target=recipe["target"],
        figures=artifact.card.metrics,
        warnings=tuple(described["warnings"]),
        fit=recipe["fit"],
        seed=artifact.card.lineage.seed,
    )


def open_generator(
    reference: str, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> LatentGenerator:
    """A latent generator by reference: those of
    :func:`~snellen.models.latent_generators.references.load_latent_generator`, and ``control:FOLDER``, a generator with
    a control that was fitted before.

    Raises:
        InputError: a reference that cannot be used.
    """
    if not reference.startswith(SCHEME):
        return load_latent_generator(reference, device=device, dtype=dtype)
    folder = reference.removeprefix(SCHEME)
    if not folder:
        raise InputError(f"{reference!r} names no folder; write {SCHEME}FOLDER")
    return load_control(folder, device=device, dtype=dtype).as_generator(name=reference)
