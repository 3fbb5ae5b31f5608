"""How a classifier was trained, where its artifact tells: curves over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snellen.checks.panels import Line, Panel, Point


def training_curves(history: Sequence[Mapping[str, float]], *, check: str) -> list[Panel]:
    """Panels of losses, of shares such as accuracies and areas, and of what else was told; none without two epochs.

    They are apart because they have scales of their own: a share lies between 0 and 1 in every epoch.

    Args:
        history: a row for each epoch: ``epoch``, ``train.loss``, ``tune.NAME``; names of losses end in "loss".
        check: name of the check that shows them.

    >>> rows = [{"epoch": n, "step": n, "train.loss": 1 / n, "tune.accuracy": 0.5} for n in (1, 2)]
    >>> [panel.title for panel in training_curves(rows, check="clean")]
    ['Loss during training', 'Shares during training']
    """
    if len(history) < 2:
        return []
    names = [name for name in history[-1] if name.startswith(("train.", "tune."))]
    losses = [name for name in names if name.endswith("loss")]
    others = [name for name in names if name not in losses]
    shares = [name for name in others if all(0 <= point.y <= 1 for point in _points(history, name))]
    panels = []
    for title, chosen, unit in (
        ("Loss during training", losses, "mean loss"),
        ("Shares during training", shares, "share or area"),
        ("Other figures during training", [name for name in others if name not in shares], "figure"),
    ):
        if chosen:
            panels.append(
                Panel(
                    check=check,
                    title=title,
                    about="From the card of the artifact: train is what was fitted, tune chose the epoch. Losses of "
                    "training are of augmented images, and so are no measure of accuracy.",
                    x_label="epoch",
                    y_label=unit,
                    lines=tuple(Line(name=name, points=_points(history, name)) for name in chosen),
                )
            )
    return panels


def _points(history: Sequence[Mapping[str, float]], name: str) -> tuple[Point, ...]:
    return tuple(Point(x=row["epoch"], y=row[name]) for row in history if name in row)
