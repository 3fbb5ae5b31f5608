"""Experts: one frozen network with N small sets of tensors, one for each range of noise.

H. Go et al., *Towards Practical Plug-and-Play Diffusion Models*, CVPR 2023, arXiv 2212.05973, section 4.2, with the
low-rank changes of Hu et al. 2022. A weight W becomes W + (alpha / r) B A. A Linear layer has A (r, in) and B (out, r),
a k × k convolution A (r k, in k) and B (out k, r k), whose product (out k, in k) is read as (out, in, k, k). B begins
at zero, so that an untrained expert is its teacher. The network is held once, for any number of experts.

Section 4.1: the T timesteps are split into N ranges of equal length, each with an expert of its own. Ranges are half
open, so that every timestep belongs to one expert: expert n covers ⌊nT/N⌋ to ⌊(n + 1)T/N⌋, the upper end left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.low_rank import LowRank, layer_generator, start_weights
from snellen.systems.plug_and_play_guidance.adapted_layers import adapted_layers, free_parameters, own_statistics


@dataclass(frozen=True)
class NoiseRanges:
    """N half-open ranges of T timesteps; 0 is next to the image, T − 1 next to pure noise.

    >>> ranges = NoiseRanges(5, 1000)
    >>> ranges.bounds(1), ranges.expert_of(torch.tensor([199, 200, 999])).tolist()
    ((200, 400), [0, 1, 4])

    Args:
        experts: N.
        timesteps: T, of the training schedule.

    Raises:
        InputError: N below 1 or above T.
    """

    experts: int
    timesteps: int

    def __post_init__(self) -> None:
        if not 1 <= self.experts <= self.timesteps:
            raise InputError(
                f"there are 1 to {self.timesteps} experts for a schedule of {self.timesteps} timesteps, so that each "
                f"has at least one; got {self.experts}"
            )

    def bounds(self, expert: int) -> tuple[int, int]:
        """The first timestep of an expert, and the first one behind it."""
        if not 0 <= expert < self.experts:
            raise InputError(f"experts are numbered 0 to {self.experts - 1}; got {expert}")
        return expert * self.timesteps // self.experts, (expert + 1) * self.timesteps // self.experts

    def expert_of(self, timesteps: Tensor) -> Tensor:
        """The expert of each timestep, int64 like ``timesteps`` (n,), which may lie between two whole ones.

        Raises:
            InputError: timesteps outside [0, T).
        """
        if len(timesteps) and not 0 <= float(timesteps.min()) <= float(timesteps.max()) < self.timesteps:
            raise InputError(f"timesteps lie in [0, {self.timesteps}); got {timesteps.tolist()[:8]}")
        starts = [self.bounds(expert)[0] for expert in range(1, self.experts)]
        edges = torch.tensor(starts, dtype=torch.float64, device=timesteps.device)
        return torch.bucketize(timesteps.double(), edges, right=True)

    def routed(self, answer: Callable[[int, Tensor], Tensor], images: Tensor, timesteps: Tensor) -> Tensor:
        """Answers for images (n, ...) at timesteps (n,), each by the expert of its own.

        Items are grouped by expert: an answer does not depend on what else is in the batch.

        Args:
            answer: (expert, images (m, ...)) → answers (m, ...).
            images: (n, ...).
            timesteps: (n,), in [0, T).

        Raises:
            InputError: another number of timesteps than of images, or timesteps outside [0, T).
        """
        if timesteps.shape != images.shape[:1]:
            raise InputError(f"{len(images)} images came with timesteps {tuple(timesteps.shape)}; give one for each")
        experts = self.expert_of(timesteps).to(images.device)
        present = experts.unique().tolist()
        if len(present) == 1:
            return answer(present[0], images)
        rows = [(experts == expert).nonzero().flatten() for expert in present]
        answers = torch.cat([answer(expert, images[chosen]) for expert, chosen in zip(present, rows, strict=True)])
        return answers[torch.cat(rows).argsort()]

    def draw(self, expert: int, rng: Randomness, *, like: Tensor) -> Tensor:
        """A timestep for each example, evenly from the range of an expert: int64 (n,)."""
        return rng.integers("timestep", (), *self.bounds(expert), like=like)


DOWN, UP = "lora_A", "lora_B"


def factor_shapes(weight: Tensor, rank: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes of A and B for a weight (out, in) or (out, in, k, k).

    >>> factor_shapes(torch.empty(8, 4), 2), factor_shapes(torch.empty(8, 4, 3, 3), 2)
    (((2, 4), (8, 2)), ((6, 12), (24, 6)))
    """
    outputs, inputs = weight.shape[:2]
    side = 1 if weight.ndim == 2 else _side(weight)
    return (rank * side, inputs * side), (outputs * side, rank * side)


def low_rank_change(down: Tensor, up: Tensor, weight: Tensor, scaling: float) -> Tensor:
    """(alpha / r) B A, in the shape of a weight; the same in training, in evaluation and where it is merged."""
    return scaling * (up @ down).view_as(weight)


class LowRankWeight(nn.Module):
    """A parametrisation of a weight: W + (alpha / r) B A.

    Args:
        weight: W, (out, in) or (out, in, k, k).
        settings: rank, alpha and start.
        generator: draws A.
    """

    def __init__(self, weight: Tensor, settings: LowRank, generator: torch.Generator) -> None:
        super().__init__()
        shape_down, shape_up = factor_shapes(weight, settings.rank)
        self.scaling = settings.alpha / settings.rank
        self.lora_A = nn.Parameter(start_weights(shape_down, settings, generator).to(weight))
        self.lora_B = nn.Parameter(weight.new_zeros(shape_up))

    def forward(self, weight: Tensor) -> Tensor:
        """W → W + (alpha / r) B A."""
        return weight + low_rank_change(self.lora_A, self.lora_B, weight, self.scaling)


def student_of(teacher: nn.Module, settings: LowRank, rng: Randomness, *, name: str) -> nn.Module:
    """A copy of a teacher in which only what an expert has for itself requires gradients.

    Args:
        teacher: stays as it is.
        settings: rank, alpha and start.
        rng: draws the factors A.
        name: of the expert, part of the randomness.

    Raises:
        InputError: a teacher without layers that can be adapted.
    """
    student = copy.deepcopy(teacher).requires_grad_(False)
    free = free_parameters(student)
    for layer, module in adapted_layers(student).items():
        change = LowRankWeight(module.weight, settings, layer_generator(rng, name, layer))
        parametrize.register_parametrization(module, "weight", change)
    for parameter in free:
        student.get_parameter(parameter).requires_grad_(True)
    for layer in adapted_layers(student):
        for part in (DOWN, UP):
            student.get_parameter(_inside(layer, part)).requires_grad_(True)
    return student


def own_tensors(student: nn.Module) -> dict[str, Tensor]:
    """What an expert has for itself, by the teacher's names: ``LAYER.lora_A``, ``LAYER.lora_B``, biases, BatchNorm."""
    known = student.state_dict()
    adapted = [name for name, module in student.named_modules() if _is_adapted(module)]
    factors = {f"{layer}.{part}": known[_inside(layer, part)] for layer in adapted for part in (DOWN, UP)}
    kept = {name: known[name] for name in (*free_parameters(student), *own_statistics(student)) if name in known}
    return {name: tensor.detach().clone() for name, tensor in {**factors, **kept}.items()}


def start_from(student: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a student what another expert has learned, in place: what :func:`own_tensors` gave."""
    known = student.state_dict()
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        known[_inside(layer, part) if part in (DOWN, UP) else name].copy_(tensor)


@dataclass(frozen=True, eq=False)
class LowRankExperts:
    """One network and N small sets of tensors; scores each image by the expert of its timestep.

    Args:
        network: the teacher, images (n, 3, h, w) → scores or maps (n, ...); put into evaluation mode and frozen.
        ranges: which expert answers when.
        tensors: what each expert has for itself, see :func:`own_tensors`.
        settings: rank and alpha.

    Raises:
        InputError: another number of sets than of ranges, or tensors that do not fit the network.
    """

    network: nn.Module
    ranges: NoiseRanges
    tensors: tuple[Mapping[str, Tensor], ...]
    settings: LowRank
    _held: dict[int, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)
        if len(self.tensors) != self.ranges.experts:
            raise InputError(
                f"there are {self.ranges.experts} ranges of noise and tensors of {len(self.tensors)} experts; each "
                f"range needs its own"
            )
        wanted = expected_shapes(self.network, self.settings.rank)
        for expert, own in enumerate(self.tensors):
            found = {name: tuple(tensor.shape) for name, tensor in own.items()}
            wrong = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
            if wrong:
                raise InputError(
                    f"expert {expert} does not fit the {type(self.network).__name__} at rank {self.settings.rank}: "
                    f"{len(wrong)} tensors, {wrong[0]} first: expected {wanted.get(wrong[0], 'none')}, got "
                    f"{found.get(wrong[0], 'none')}"
                )

    def __call__(self, images: Tensor, timesteps: Tensor) -> Tensor:
        """Scores of noisy images (n, 3, h, w) at timesteps (n,), each by its expert; differentiable in the images."""
        return self.ranges.routed(self.answer, images, timesteps)

    def answer(self, expert: int, images: Tensor) -> Tensor:
        """One expert's scores of images (n, 3, h, w)."""
        if expert not in self._held:
            # Consecutive steps of a sampler ask the same expert: one merged set is held, never N.
            self._held.clear()
            self._held[expert] = self.merged(expert)
        answers: Tensor = functional_call(self.network, self._held[expert], (images,))
        return answers

    @torch.inference_mode(False)  # else what a look without gradients merged could not be guided by afterwards
    @torch.no_grad()
    def merged(self, expert: int) -> dict[str, Tensor]:
        """The tensors in which an expert differs from its teacher, with the changes added to the weights."""
        own, scaling = self.tensors[expert], self.settings.alpha / self.settings.rank
        weights = {
            f"{layer}.weight": module.weight
            + low_rank_change(own[f"{layer}.{DOWN}"], own[f"{layer}.{UP}"], module.weight, scaling)
            for layer, module in adapted_layers(self.network).items()
        }
        return weights | {name: tensor for name, tensor in own.items() if not name.endswith((DOWN, UP))}

    @property
    def parameters(self) -> int:
        """Trained parameters of one expert: factors, biases, and weights of BatchNorm."""
        statistics = set(own_statistics(self.network))
        return sum(tensor.numel() for name, tensor in self.tensors[0].items() if name not in statistics)

    @property
    def share(self) -> float:
        """Trained parameters of one expert over those of the teacher."""
        return self.parameters / sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def bytes(self) -> tuple[int, int]:
        """Bytes of the shared network, and of all small sets together."""
        small = sum(tensor.nbytes for own in self.tensors for tensor in own.values())
        return sum(tensor.nbytes for tensor in self.network.state_dict().values()), small


def expected_shapes(network: nn.Module, rank: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that an expert of a network has for itself."""
    found: dict[str, tuple[int, ...]] = {}
    for layer, module in adapted_layers(network).items():
        found[f"{layer}.{DOWN}"], found[f"{layer}.{UP}"] = factor_shapes(module.weight, rank)
    known = network.state_dict()
    return found | {
        name: tuple(known[name].shape)
        for name in (*free_parameters(network), *own_statistics(network))
        if name in known
    }


def _inside(layer: str, part: str) -> str:
    """Where torch keeps a factor of a parametrised weight."""
    return f"{layer}.parametrizations.weight.0.{part}"


def _is_adapted(module: nn.Module) -> bool:
    return parametrize.is_parametrized(module, "weight")


def _side(weight: Tensor) -> int:
    height, width = weight.shape[2:]
    if height != width:
        raise InputError(f"low-rank changes of convolutions need square kernels; got {height}x{width}")
    return int(height)
