"""Audits of a model while it is trained: after which epochs, without a trace in the training, and what is logged."""

from __future__ import annotations

import random
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from numbers import Integral
from operator import index
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from snellen.auditing.audit import audit
from snellen.auditing.checks import resolve_checks
from snellen.auditing.effort import chosen_checks
from snellen.auditing.report import AuditReport
from snellen.core.errors import InputError, SnellenError
from snellen.data.factors import columns_beside
from snellen.integrations.logged_audit import PREFIX, numbers_of
from snellen.integrations.new_folder import new_folder
from snellen.runs.given import Images, Model, given_companion, given_images

#: After which epochs: after every so many, after those named (counted from 1), or after the last alone.
When = int | Collection[int] | Literal["end"]

#: Figures that are logged unless others are named; all of them are in the reports.
LOGGED = (
    "clean.accuracy",
    "clean.balanced_accuracy",
    "labels.macro_auroc",
    "segmentation.miou",
    "discrimination.auroc",
    "calibration.ece",
    "corruption.error",
)


class TrainingAudits:
    """What the callbacks of all training libraries share.

    Attributes:
        reports: by epoch, counted from 1.
    """

    def __init__(
        self,
        images: Images,
        *,
        when: When,
        figures: Sequence[str],
        out: Path | str | None,
        strict: bool,
        options: dict[str, Any],
    ) -> None:
        """See the callbacks.

        Raises:
            InputError: ``when`` is no number of epochs, or no check has such a name.
            TypeError: an option is none of :func:`snellen.audit`.
        """
        self._images, self._when, self._figures = images, _checked(when), tuple(figures)
        self._out = None if out is None else Path(out)
        self._strict = strict
        self._options = dict(options) if {"effort", "checks"} & set(options) else {"effort": "quick", **options}
        # What is misspelled is refused now, and not after a training of days.
        signature(audit).bind(None, images, out=out, **options)
        resolve_checks(chosen_checks(self._options.get("checks"), self._options.get("effort")))
        self.reports: dict[int, AuditReport] = {}
        self._tried: set[int] = set()
        self._read = False

    def prepare(self) -> None:
        """Begin a training: read the images, so that wrong ones are refused before it and not after it."""
        self._tried.clear()  # another training counts its epochs anew
        if not self._read:
            with undisturbed():
                self._read_images()
            self._read = True

    def after(self, epoch: int, *, end: bool) -> bool:
        """Whether an audit is due after an epoch, counted from 1, or after the training, and was not tried yet."""
        if isinstance(self._when, str):
            due = end
        else:
            due = not end and (epoch % self._when == 0 if isinstance(self._when, int) else epoch in self._when)
        return due and epoch not in self._tried

    def audit(self, model: Model, epoch: int) -> dict[str, float]:
        """Audit, keep the report, and give what is to be logged; nothing where the audit failed and may.

        The state of random numbers, modes, gradients and devices are as before.
        """
        self._tried.add(epoch)
        try:
            # What an earlier training left in the folder stays: its weights were others.
            out = None if self._out is None else new_folder(self._out, f"epoch-{epoch}")
            with undisturbed(), torch.enable_grad():
                report = audit(model, self._images, out=out, **self._options)
        except Exception as error:
            if self._strict:
                raise
            # A full disk, too, must not cost a training of days.
            kind = "" if isinstance(error, SnellenError) else f"{type(error).__name__}: "
            warnings.warn(f"no audit after epoch {epoch}: {kind}{error}", RuntimeWarning, stacklevel=2)
            return {}
        self.reports[epoch] = report
        return {f"{PREFIX}{name}": value for name, value in numbers_of(report, self._figures).items()}

    def _read_images(self) -> None:
        """Read the audited images and those beside them once, and drop the options that say how."""
        how = {name: self._options.get(name) for name in ("labels", "columns", "groups")}
        images = given_images(self._images, **how, class_names=self._options.get("class_names"))
        beside = columns_beside(images, how["columns"], how["groups"])
        for name in ("train", "val"):
            if self._options.get(name) is not None:
                self._options[name] = given_companion(self._options[name], beside)
        self._images = images
        self._options = {name: value for name, value in self._options.items() if name not in how}


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the states of all random numbers, and the number of threads, as they were."""
    python, arrays, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def part_of(module: nn.Module, network: str | None) -> nn.Module:
    """The module, or the part of it that classifies, by its dotted name.

    Raises:
        InputError: there is no such part.
    """
    if network is None:
        return module
    try:
        return module.get_submodule(network)
    except AttributeError as error:
        names = [name for name, _ in module.named_children()]
        raise InputError(f"{type(module).__name__} has no part {network!r}; it has {', '.join(names)}") from error


def _checked(when: When) -> Literal["end"] | int | frozenset[int]:
    if isinstance(when, str) and when == "end":
        return "end"
    try:
        epochs = [index(when)] if isinstance(when, int | Integral) else [index(one) for one in when]
    except TypeError:
        epochs = []
    if not epochs or min(epochs) < 1:
        raise InputError(f"when is 'end', a number of epochs from 1, or epochs counted from 1; got {when!r}")
    return epochs[0] if isinstance(when, Integral) else frozenset(epochs)
