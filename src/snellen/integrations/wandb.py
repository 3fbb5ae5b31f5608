"""An audit, or a comparison of two, in a run of Weights & Biases: figures, findings, the report."""

from __future__ import annotations

from typing import Any

from snellen.auditing.compare.comparison import Comparison
from snellen.auditing.report import AuditReport
from snellen.core.errors import InputError, import_extra
from snellen.integrations.logged_audit import PREFIX, logged


def log_audit(
    result: AuditReport | Comparison,
    *,
    run: Any = None,  # noqa: ANN401 - a run of wandb
    step: int | None = None,
    prefix: str = PREFIX,
) -> None:
    """Log an audit or a comparison to a run of Weights & Biases.

    Figures with the ends of their 95 % intervals and the numbers of findings are logged; findings are a table; page
    and JSON record are an artifact; what identifies model and data is in the configuration. Where and when anything is
    sent is for wandb to decide: ``wandb.init(mode="offline")`` sends nothing.

    Args:
        result: of :func:`snellen.audit` or :func:`snellen.compare`.
        run: of ``wandb.init``; None: the active one.
        step: of the figures.
        prefix: of figures and table; ends in a slash.

    Raises:
        InputError: no run is active and none is given.
        MissingExtraError: wandb is not installed.
    """
    wandb = import_extra("wandb", "wandb", "log_audit")
    into = wandb.run if run is None else run
    if into is None:
        raise InputError("no run of wandb is active: call wandb.init(...) before, or give run=")
    parts = logged(result)
    rows = [list(row) for row in parts.findings]
    table = wandb.Table(columns=list(parts.head), data=rows, allow_mixed_types=True)
    numbers = {f"{prefix}{name}": value for name, value in parts.numbers.items()}
    into.config.update(parts.labels, allow_val_change=True)
    into.log({**numbers, f"{prefix}findings": table}, step=step)
    kind = "snellen-comparison" if isinstance(result, Comparison) else "snellen-audit"
    artifact = wandb.Artifact(f"{kind}-{into.id}", type=kind)
    for name, content in parts.files.items():
        with artifact.new_file(name, mode="wb") as file:
            file.write(content)
    into.log_artifact(artifact)
