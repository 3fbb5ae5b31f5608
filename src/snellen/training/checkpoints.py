"""A training that can stop anywhere: one safetensors file, written atomically, from which it resumes to the bit.

Tensors (model, average, best weights, optimizer) are the file's content; everything else is JSON in its header, so the
two cannot disagree. No generator state is kept, because all randomness follows from (seed, epoch, batch).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from snellen.core.errors import InputError, RunConflictError
from snellen.core.run import canonical_json, write_atomically


@dataclass
class TrainingState:
    """How far a training is, apart from tensors.

    Args:
        step: optimizer steps done.
        epoch: epochs completed.
        loss_sum: weighted sum of the losses in the running epoch.
        weight_sum: sum of the weights in the running epoch.
        history: one row for each completed epoch.
        best_epoch: epoch whose weights are the best so far, from 1; 0 before the first.
    """

    step: int = 0
    epoch: int = 0
    loss_sum: float = 0.0
    weight_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A training at one optimizer step.

    Args:
        identity: what the training is (plan, data, initial weights …), as JSON values; a resumed one must agree.
        state: how far it is.
        tensors: tensors by part ("model", "average", "best") and name.
        optimizer: state of each parameter, by its number and name.
        scaler: state of the gradient scaler of fp16; empty otherwise.
    """

    identity: Mapping[str, Any]
    state: TrainingState
    tensors: Mapping[str, Mapping[str, Tensor]]
    optimizer: Mapping[int, Mapping[str, Any]]
    scaler: Mapping[str, Any]

    def write(self, path: Path) -> None:
        """Write the file; after a crash, it is either the previous checkpoint or this one."""
        tensors = {f"{part}/{name}": t for part, named in self.tensors.items() for name, t in named.items()}
        values: dict[str, dict[str, Any]] = {}
        for number, entries in self.optimizer.items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{number}/{name}"] = value
                else:
                    values.setdefault(str(number), {})[name] = value
        header = {
            "identity": self.identity,
            "state": asdict(self.state),
            "optimizer": values,
            "scaler": self.scaler,
        }
        # Tied weights share memory, which safetensors refuses: each name gets a copy.
        content = save(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
            metadata={"training": canonical_json(header).decode()},
        )
        write_atomically(path, content)

    @classmethod
    def read(cls, path: Path, identity: Mapping[str, Any]) -> Checkpoint:
        """Read a file, and make sure that it belongs to the training that reads it.

        Raises:
            InputError: not a checkpoint, or damaged.
            RunConflictError: another training; the message names what differs.
        """
        tensors: dict[str, dict[str, Tensor]] = {}
        optimizer: dict[int, dict[str, Any]] = {}
        try:
            with safe_open(path, framework="pt") as stream:
                header = json.loads((stream.metadata() or {})["training"])
                for key in stream.keys():  # noqa: SIM118 - not a mapping
                    part, name = key.split("/", 1)
                    if part == "optimizer":
                        number, name = name.split("/", 1)
                        optimizer.setdefault(int(number), {})[name] = stream.get_tensor(key)
                    else:
                        tensors.setdefault(part, {})[name] = stream.get_tensor(key)
            recorded, state = header["identity"], TrainingState(**header["state"])
            for number, values in header["optimizer"].items():
                optimizer.setdefault(int(number), {}).update(values)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not a readable checkpoint ({error!r}); delete it to start anew") from error
        expected = json.loads(canonical_json(identity))
        if recorded != expected:
            raise RunConflictError(
                f"{path} is the checkpoint of another training, which differs in: "
                f"{', '.join(differences(recorded, expected))}; choose another file, or delete it to start anew"
            )
        return cls(identity, state, tensors, optimizer, header["scaler"])


def differences(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of what two records do not agree in.

    >>> differences({"plan": {"seed": 0, "epochs": 3}, "data": "a"}, {"plan": {"seed": 1, "epochs": 3}, "data": "a"})
    ['plan.seed']
    """
    found = []
    for name in sorted({*first, *second}):
        one, other = first.get(name), second.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differences(one, other, f"{prefix}{name}.")
        elif one != other:
            found.append(f"{prefix}{name}")
    return found


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[int, Mapping[str, Any]]) -> None:
    """Give an optimizer its state back; its groups and rates follow from the plan.

    Tensors take the memory layout of their parameter, so that resumed arithmetic runs through the same kernels.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def laid_out(number: int, value: object) -> object:
        if isinstance(value, Tensor) and value.shape == parameters[number].shape and value.ndim:
            return torch.empty_like(parameters[number], dtype=value.dtype).copy_(value)
        return value

    state = {n: {name: laid_out(n, value) for name, value in entries.items()} for n, entries in saved.items()}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
