"""A callback for the trainer of Lightning: audits after chosen epochs, or after the training.

The class is made when it is first named, because its base is Lightning's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from snellen.core.errors import InputError, MissingExtraError, import_extra
from snellen.integrations.training_audits import LOGGED, TrainingAudits, When, part_of
from snellen.runs.given import Images

#: Strategies that give each process a part of the weights.
_SHARDED = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy")


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class whose base is of another library
    if name == "AuditCallback":
        return _callback_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["AuditCallback"]


@cache
def _callback_class() -> type:
    base = _lightning().Callback

    class AuditCallback(base):  # type: ignore[misc, valid-type]
        """Audit the module after chosen epochs, or after the last.

        The module keeps its mode, gradients, device and weights, and the training its random numbers: it goes as it
        would without the callback. Of several processes the first audits and the others wait. Figures are logged by
        the trainer's loggers; after an epoch they are also in ``trainer.callback_metrics``, for ``ModelCheckpoint``
        and ``EarlyStopping``.

        Attributes:
            reports: :class:`~snellen.auditing.report.AuditReport` by epoch, counted from 1; in the first process.
        """

        def __init__(
            self,
            images: Images,
            *,
            when: When = "end",
            network: str | None = None,
            figures: Sequence[str] = LOGGED,
            out: Path | str | None = None,
            strict: bool = False,
            **options: Any,  # noqa: ANN401
        ) -> None:
            """Keep what is to be audited.

            Args:
                images: what :func:`snellen.audit` takes; read when the training begins.
                when: ``"end"``; 5: after every fifth epoch; [1, 10]: after these epochs, counted from 1.
                network: dotted name of the part that maps images to scores; None: the module itself.
                figures: patterns of the figures that are logged, with the ends of their intervals.
                out: folder for run directories, ``epoch-N``, or ``epoch-N-2`` where there is one; None: reports are
                    kept in memory alone.
                strict: an audit that cannot be made ends the training; else it is a warning.
                options: all others of :func:`snellen.audit`. ``effort`` is ``quick`` unless it or ``checks`` is given.

            Raises:
                InputError: ``when`` is no number of epochs, or no check has such a name.
            """
            super().__init__()
            self._network = network
            self._audits = TrainingAudits(images, when=when, figures=figures, out=out, strict=strict, options=options)
            self.reports = self._audits.reports

        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
            """Refuse what cannot be audited before the training begins."""
            if type(trainer.strategy).__name__ in _SHARDED:
                raise InputError(
                    f"{type(trainer.strategy).__name__} gives each process a part of the weights, which cannot be "
                    f"audited; save a whole checkpoint and audit that"
                )
            part_of(pl_module, self._network)
            if trainer.is_global_zero:
                self._audits.prepare()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
            """Audit after this epoch if that is due."""
            epoch = trainer.current_epoch + 1
            if self._audits.after(epoch, end=False):
                found = self._found(trainer, pl_module, epoch)
                # The same figures in every process, so that all of them decide alike.
                pl_module.log_dict(found, on_step=False, on_epoch=True, batch_size=1)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
            """Audit after the training if that is due."""
            if self._audits.after(trainer.current_epoch, end=True):
                found = self._found(trainer, pl_module, trainer.current_epoch)
                for logger in trainer.loggers if found else ():
                    logger.log_metrics(found, step=trainer.global_step)

        def _found(self, trainer: Any, module: Any, epoch: int) -> dict[str, float]:  # noqa: ANN401
            found: dict[str, float] = {}
            if trainer.is_global_zero:
                found = self._audits.audit(part_of(module, self._network), epoch)
            broadcast: dict[str, float] = trainer.strategy.broadcast(found)
            return broadcast

    # Processes that are spawned find it under the name that people use.
    AuditCallback.__qualname__ = "AuditCallback"
    return AuditCallback


def _lightning() -> ModuleType:
    try:
        return import_extra("lightning.pytorch", "lightning", "AuditCallback")
    except MissingExtraError:
        return import_extra("pytorch_lightning", "lightning", "AuditCallback")
