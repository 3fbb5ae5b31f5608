"""The one training loop.

What is trained (the model), on what (examples), towards what (the objective) and how (the plan) are arguments; the loop
itself only orders, steps, averages, chooses and saves. Nothing in it draws from a global generator: the order follows
from (seed, epoch), transform, objective and dropout from (seed, epoch, batch). On a CPU with a fixed number of threads
the same arguments give the same bits, interrupted or not.

It runs in one process, or in several started by ``accelerate launch`` or ``torchrun``: every process forms the same
batches and works on its part of each, and gradients are scaled so that their sum is that of one process. Tested: two
CPU processes (gloo) against one, equal to 1e-6 for a model without BatchNorm. A GPU, fp16 and more than one machine are
left to accelerate and are not part of the tests.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError, ModelError
from snellen.core.in_float64 import widest
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness, derive_seed
from snellen.training.acceleration import part_of_process, seeded, start_accelerator
from snellen.training.batches import Batch, Examples, cut_steps, epoch_order, load_batch
from snellen.training.checkpoints import Checkpoint, TrainingState, restore_optimizer
from snellen.training.evaluation import Evaluate, accuracy, beats_best
from snellen.training.objectives import Objective, check_losses, classify
from snellen.training.optimizers import average_into, build_optimizer, warmed_decay
from snellen.training.plan import TrainingPlan, learning_rate_factor
from snellen.training.transforms import BatchTransform


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training gives.

    Args:
        weights: state dict of the chosen model, on the CPU: averaged weights if the plan has an average.
        history: one row for each epoch: ``epoch`` (from 1), ``step``, ``train.loss``, and figures as ``val.NAME``.
        best_epoch: epoch that was chosen on the validation split; the last one without a validation split.
        steps: optimizer steps taken.
        data: fingerprint of the training examples.
        rejected: images that could not be used, id → reason.
    """

    weights: Mapping[str, Tensor]
    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    steps: int
    data: str
    rejected: Mapping[str, str]


def train(
    model: nn.Module,
    examples: Examples,
    *,
    plan: TrainingPlan,
    objective: Objective = classify,
    transform: BatchTransform | None = None,
    val: Examples | None = None,
    evaluate: Evaluate = accuracy,
    checkpoint: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a copy of a model; the given one stays as it is.

    Args:
        model: initial weights; parameters that do not require gradients stay frozen.
        examples: the train split.
        plan: all numbers.
        objective: (model, batch) → losses (n,). In several processes, the model is wrapped: call it, and find other
            attributes under ``model.module``.
        transform: augmentation of each batch, before the objective.
        val: the validation split; after each epoch ``evaluate`` runs on it, and ``plan.select`` chooses the best epoch.
        evaluate: figures on the validation split.
        checkpoint: file to save to, and to go on from if it exists.
        recipe: what else defines this training, as JSON values; a checkpoint of another recipe is refused.
        progress: callback that receives progress updates.

    Raises:
        InputError: test images; a model without trainable parameters; losses that are not one for each example.
        ModelError: a loss, or a figure on the validation split, is not finite.
        RunConflictError: the checkpoint belongs to another training.
        MissingExtraError: accelerate is not installed.
    """
    for given in (examples, val):
        if given is not None and given.split == "test":
            raise InputError("these are test images: nothing may be fitted to or selected on them")
    training = _Training(model, examples, plan, objective, transform, val, evaluate, checkpoint, recipe or {})
    return training.run(progress or Silent())


class _Training:
    """The moving parts of one call."""

    def __init__(
        self,
        model: nn.Module,
        examples: Examples,
        plan: TrainingPlan,
        objective: Objective,
        transform: BatchTransform | None,
        val: Examples | None,
        evaluate: Evaluate,
        checkpoint: Path | None,
        recipe: Mapping[str, Any],
    ) -> None:
        self.examples, self.plan, self.objective, self.transform = examples, plan, objective, transform
        self.val, self.evaluate, self.checkpoint = val, evaluate, checkpoint
        self.accelerator = start_accelerator(plan.mixed_precision)
        self.device = self.accelerator.device
        plain = copy.deepcopy(model)
        if plan.channels_last:
            plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(plain).eval().requires_grad_(False).to(self.device) if plan.ema_decay else None
        self.model, self.optimizer = self.accelerator.prepare(plain, build_optimizer(plain, plan))
        self.plain: nn.Module = self.accelerator.unwrap_model(self.model)
        self.trainable = [parameter for parameter in self.plain.parameters() if parameter.requires_grad]
        self.data = examples.fingerprint()
        self.identity = {
            "plan": plan.model_dump(mode="json", exclude={"checkpoint_every"}),
            "recipe": recipe,
            "train": self.data,
            "val": val.fingerprint() if val is not None else None,
            "initial weights": hash_tensors(dict(model.state_dict())),
            "processes": self.accelerator.num_processes,
        }
        self.state = TrainingState()
        self.best: dict[str, Tensor] = {}
        self.steps_per_epoch = len(self.epoch_steps(1))
        if not self.steps_per_epoch:
            raise InputError(f"drop_last leaves no batch of {plan.batch_size} among {len(examples.ids)} examples")
        self.total_steps = self.steps_per_epoch * plan.epochs

    def run(self, progress: Progress) -> Trained:
        """Train from the start, or from where the checkpoint stands, to the end."""
        self.restore()
        progress.begin("train", self.total_steps)
        progress.advance("train", self.state.step)
        for epoch in range(self.state.epoch + 1, self.plan.epochs + 1):
            done = self.state.step - self.state.epoch * self.steps_per_epoch
            for number, batches in enumerate(self.epoch_steps(epoch)[done:], start=done):
                self.step(epoch, number * self.plan.accumulate, batches)
                if self.plan.checkpoint_every and self.state.step % self.plan.checkpoint_every == 0:
                    self.save()
                mean = self.state.loss_sum / self.state.weight_sum
                progress.advance("train", 1, f"epoch {epoch}/{self.plan.epochs}, loss {mean:.4f}")
            self.close_epoch(epoch)
            self.save()
        progress.finish("train")
        return Trained(
            weights=self.best,
            history=tuple(self.state.history),
            best_epoch=self.state.best_epoch,
            steps=self.state.step,
            data=self.data,
            rejected={**self.examples.rejected, **(self.val.rejected if self.val is not None else {})},
        )

    def epoch_steps(self, epoch: int) -> list[list[Tensor]]:
        """Optimizer steps of an epoch, each a list of batches of positions."""
        order = epoch_order(self.examples, seed=self.plan.seed, epoch=epoch)
        plan = self.plan
        return cut_steps(order, batch_size=plan.batch_size, accumulate=plan.accumulate, drop_last=plan.drop_last)

    def step(self, epoch: int, number: int, batches: list[Tensor]) -> None:
        """One optimizer step on the weighted mean loss of all its batches, from the one with this number on."""
        plan, step = self.plan, self.state.step
        factor = learning_rate_factor(plan.schedule, step, total_steps=self.total_steps, warmup_steps=plan.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate * factor * group.get("rate_factor", 1.0)
        self.model.train()
        total = float(self.examples.weights[torch.cat(batches)].double().sum())
        loss_sum = torch.zeros((), dtype=widest(self.device), device=self.device)
        for offset, positions in enumerate(batches):
            last = offset == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                loss_sum += self.backward(epoch, number + offset, positions, total)
        if plan.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.trainable, plan.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.step += 1
        if self.average is not None and plan.ema_decay is not None:
            average_into(self.average, self.plain, warmed_decay(plan.ema_decay, self.state.step))
        self.state.loss_sum += float(self.accelerator.reduce(loss_sum))
        self.state.weight_sum += total

    def backward(self, epoch: int, number: int, positions: Tensor, total: float) -> Tensor:
        """Add the gradients of this process' part of a batch; returns its weighted sum of losses, float64 ()."""
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        part = part_of_process(positions, process, processes)
        # A process without examples still takes part in the exchange of gradients, with one that counts nothing.
        share = processes / total if len(part) else 0.0
        part = part if len(part) else positions[:1]
        rng = Randomness(self.plan.seed).child("training", epoch, number)
        with seeded(derive_seed(self.plan.seed, "training", epoch, number, process), self.device):
            batch = self.prepared(load_batch(self.examples, part, rng, self.device, epoch=epoch))
            losses = self.objective(self.model, batch)
            check_losses(losses, batch, where=f"epoch {epoch}, step {self.state.step + 1}")
            weighted = (losses * batch.weights.to(losses.dtype)).sum()
            self.accelerator.backward(weighted * share)
        return weighted.detach().to(widest(self.device)) * bool(share)

    def prepared(self, batch: Batch) -> Batch:
        """Augment a batch and bring it into the memory layout of the plan."""
        images, targets = batch.images, batch.targets
        if self.transform is not None:
            images, targets = self.transform(images, targets, batch.rng.child("transform"))
        if self.plan.channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return replace(batch, images=images, targets=targets)

    def close_epoch(self, epoch: int) -> None:
        """Judge the weights, write the row, keep the best."""
        state, judged = self.state, self.average if self.average is not None else self.plain
        self.agree(judged)
        if not all(_finite(parameter.detach()) for parameter in judged.parameters()):
            raise ModelError(f"epoch {epoch}, step {state.step}: the weights are not finite; lower learning_rate")
        row: dict[str, float] = {
            "epoch": epoch,
            "step": state.step,
            "train.loss": state.loss_sum / state.weight_sum,
        }
        better = True
        if self.val is not None:
            judged.eval()
            figures = self.evaluate(judged, self.val)
            row |= {f"val.{name}": float(value) for name, value in figures.items()}
            better = beats_best(row, state.history, state.best_epoch, self.plan)
        state.history.append(row)
        state.epoch, state.loss_sum, state.weight_sum = epoch, 0.0, 0.0
        if better:
            state.best_epoch = epoch
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in judged.state_dict().items()}

    def agree(self, module: nn.Module) -> None:
        """Give all processes the first one's weights: statistics of BatchNorm may differ between them."""
        if self.accelerator.num_processes > 1:
            for tensor in module.state_dict().values():
                torch.distributed.broadcast(tensor, src=0)

    def save(self) -> None:
        """Write the checkpoint, if one is wanted."""
        if self.checkpoint is None:
            return
        if self.accelerator.is_main_process:
            parts = {"model": dict(self.plain.state_dict()), "best": self.best}
            if self.average is not None:
                parts["average"] = dict(self.average.state_dict())
            scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else {}
            optimizer = self.optimizer.state_dict()["state"]
            Checkpoint(self.identity, self.state, parts, optimizer, scaler).write(self.checkpoint)
        self.accelerator.wait_for_everyone()

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        saved = Checkpoint.read(self.checkpoint, self.identity)
        self.state, self.best = saved.state, dict(saved.tensors.get("best", {}))
        self.plain.load_state_dict(saved.tensors["model"])
        if self.average is not None:
            self.average.load_state_dict(saved.tensors["average"])
        restore_optimizer(self.optimizer.optimizer, saved.optimizer)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(dict(saved.scaler))


def _finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite; extremes carry both, and are found ten times as fast as by testing each."""
    return not tensor.numel() or all(math.isfinite(float(extreme)) for extreme in torch.aminmax(tensor))
