"""A callback for the trainer of transformers: audits after chosen epochs, or after the training.

The class is made when it is first named, because its base is that of transformers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from snellen.core.errors import InputError, import_extra
from snellen.integrations.training_audits import LOGGED, TrainingAudits, When
from snellen.runs.given import Images

#: The trainer shows names that begin so as figures of an evaluation.
_EVALUATION = "eval_"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class whose base is of another library
    if name == "AuditCallback":
        return _callback_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["AuditCallback"]


@cache
def _callback_class() -> type:
    base = import_extra("transformers", "vlm", "AuditCallback").TrainerCallback

    class AuditCallback(base):  # type: ignore[misc, valid-type]
        """Audit the trainer's model after chosen epochs, or after the last.

        The model keeps its mode, gradients, device and weights, and the training its random numbers: it goes as it
        would without the callback. Of several processes the first audits. Figures are logged by ``trainer.log``, so
        that they reach its trackers and ``trainer.state.log_history``. After the training, the model is the one that
        ``load_best_model_at_end`` chose.

        Attributes:
            reports: :class:`~snellen.auditing.report.AuditReport` by epoch, counted from 1; in the first process.
        """

        def __init__(
            self,
            trainer: Any,  # noqa: ANN401
            images: Images,
            *,
            processor: Any = None,  # noqa: ANN401
            when: When = "end",
            figures: Sequence[str] = LOGGED,
            out: Path | str | None = None,
            strict: bool = False,
            **options: Any,  # noqa: ANN401
        ) -> None:
            """Keep what is to be audited; ``trainer.add_callback(AuditCallback(trainer, images))`` adds it.

            Args:
                trainer: which logs the figures.
                images: what :func:`snellen.audit` takes; read when the training begins.
                processor: image processor of the model; None: ``trainer.processing_class``.
                when: ``"end"``; 5: after every fifth epoch; [1, 10]: after these epochs, counted from 1.
                figures: patterns of the figures that are logged, with the ends of their intervals.
                out: folder for run directories, ``epoch-N``, or ``epoch-N-2`` where there is one; None: reports are
                    kept in memory alone.
                strict: an audit that cannot be made ends the training; else it is a warning.
                options: all others of :func:`snellen.audit`. ``effort`` is ``quick`` unless it or ``checks`` is given.

            Raises:
                InputError: ``when`` is no number of epochs, no check has such a name, or there is no image processor.
            """
            self._trainer = trainer
            self._processor = getattr(trainer, "processing_class", None) if processor is None else processor
            if self._processor is None:
                raise InputError(
                    "it is not known how images are prepared for the model: give the trainer its image processor, "
                    "Trainer(processing_class=processor), or AuditCallback(trainer, images, processor=processor)"
                )
            self._audits = TrainingAudits(images, when=when, figures=figures, out=out, strict=strict, options=options)
            self.reports = self._audits.reports

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401
            """Read the images, and stand first: trackers end their runs when the training ends."""
            listed = self._trainer.callback_handler.callbacks
            listed.insert(0, listed.pop(listed.index(self)))
            for name, on in (("FSDP", "is_fsdp_enabled"), ("DeepSpeed", "is_deepspeed_enabled")):
                if getattr(self._trainer, on, False):
                    raise InputError(
                        f"{name} gives each process a part of the weights, which cannot be audited; save a whole "
                        "checkpoint and audit that"
                    )
            if state.is_world_process_zero:
                self._audits.prepare()

        def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401
            """Audit after this epoch if that is due."""
            epoch = math.floor(state.epoch + 1e-6)
            if epoch >= 1 and self._audits.after(epoch, end=False):
                self._audit(state, given["model"], epoch)

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401
            """Audit after the training if that is due."""
            epoch = math.ceil(state.epoch or 0)
            if self._audits.after(epoch, end=True):
                self._audit(state, given["model"], epoch)

        def _audit(self, state: Any, model: Any, epoch: int) -> None:  # noqa: ANN401
            if state.is_world_process_zero:
                found = self._audits.audit((model, self._processor), epoch)
                self._trainer.log({f"{_EVALUATION}{name}": value for name, value in found.items()})

    AuditCallback.__qualname__ = "AuditCallback"
    return AuditCallback
