"""Curves over the epochs, from the card of an artifact."""

from __future__ import annotations

from snellen.auditing.checks.clean import training_curves

ROWS = [
    {
        "epoch": number,
        "step": 10 * number,
        "train.loss": 1 / number,
        "val.loss": 2 / number,
        "val.accuracy": 0.4 + number / 10,
    }
    for number in (1, 2, 3)
]


def test_losses_and_figures_are_apart() -> None:
    losses, shares = training_curves(ROWS, check="clean")
    assert [line.name for line in losses.lines] == ["train.loss", "val.loss"]
    assert [(point.x, point.y) for point in losses.lines[0].points] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert [line.name for line in shares.lines] == ["val.accuracy"]
    assert (losses.x_label, losses.check) == ("epoch", "clean")


def test_what_is_beyond_a_share_has_a_scale_of_its_own() -> None:
    rows = [row | {"val.bag_loss": 3.0, "val.bag_auroc.mean": 0.9, "val.bags": row["epoch"]} for row in ROWS]
    losses, shares, others = training_curves(rows, check="clean")
    assert [line.name for line in losses.lines] == ["train.loss", "val.loss", "val.bag_loss"]
    assert [line.name for line in shares.lines] == ["val.accuracy", "val.bag_auroc.mean"]
    assert [line.name for line in others.lines] == ["val.bags"]
    assert len({panel.title for panel in (losses, shares, others)}) == 3


def test_one_epoch_or_none_is_no_curve() -> None:
    assert training_curves([], check="clean") == []
    assert training_curves(ROWS[:1], check="clean") == []


def test_without_a_val_split_there_are_losses_alone() -> None:
    (losses,) = training_curves([{"epoch": n, "step": n, "train.loss": 1.0} for n in (1, 2)], check="clean")
    assert [line.name for line in losses.lines] == ["train.loss"]
