"""Easy, scaling and poor classes, and the oracle that shows whether the generator was the cause."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.data.files.arrays import load_arrays
from snellen.systems.scaling_laws.class_groups import class_groups, groups, with_oracle
from tests.systems.scaling_laws.scaled_runs import runs

NAMES = ("easy", "scaling", "flat", "high", "fine")
#: a and k of each class: low from the start; falling; flat and high; falling, but still high at the end; falling.
MADE = ((0.3, 0.3), (3.0, 0.6), (2.5, 0.0), (9.0, 0.3), (2.0, 0.5))
REAL = ((0.3, 0.4), (3.0, 0.6), (2.5, 0.6), (3.0, 0.5), (2.0, 0.5))


def found(made=MADE, real=REAL, noise=0.05, **options):
    return class_groups(
        runs(0.4, classes=made, noise=noise, **options),
        runs(0.4, classes=real, noise=noise, config="real", seed=1),
        NAMES,
        resamples=200,
        rng=np.random.default_rng(0),
    )


@pytest.mark.covers("14.8")
def test_classes_are_grouped_by_their_losses_at_each_size():
    curves = found()
    assert groups(curves) == {"easy": ["easy", "fine"], "scaling": ["scaling"], "poor": ["flat", "high"]}
    assert curves["flat"].k_interval.low <= 0 <= curves["flat"].k_interval.high
    assert curves["scaling"].k == pytest.approx(0.6, abs=0.05)
    assert curves["high"].last > curves["high"].real


def test_a_flat_curve_makes_a_class_poor_although_its_loss_is_not_high():
    made = ((0.02, 0.3), (0.03, 0.3), (3.0, 0.6), (0.1, 0.0), (2.0, 0.5))
    real = ((0.02, 0.4), (0.03, 0.4), (3.0, 0.6), (0.1, 0.2), (2.0, 0.5))
    curves = found(made=made, real=real)
    assert groups(curves)["poor"] == [NAMES[3]]
    assert curves[NAMES[3]].last < np.quantile([one.real for one in curves.values()], 0.75)


def test_what_would_be_poor_is_scaling_where_the_generator_draws_it():
    assert groups(found(made=REAL))["poor"] == []


def test_a_class_without_test_images_and_sets_without_a_common_size_are_refused():
    with pytest.raises(InputError, match="no size in common"):
        found(sizes=(9, 18, 36))
    with pytest.raises(InputError, match="no test images"):
        class_groups(
            [
                run.model_copy(update={"class_losses": (*run.class_losses[:-1], None)})
                for run in runs(0.4, classes=MADE)
            ],
            runs(0.4, classes=REAL, config="real"),
            NAMES,
            rng=np.random.default_rng(0),
        )


@pytest.mark.covers("14.8")
def test_an_oracle_replaces_the_images_of_poor_classes_alone():
    labels = [0, 0, 1, 1, 2, 2]
    made = load_arrays(np.full((6, 8, 8, 3), 50, dtype=np.uint8), labels, class_names=("a", "b", "c"), name="made")
    pixels = np.full((7, 8, 8, 3), 200, dtype=np.uint8)
    oracle = load_arrays(pixels, [2, 2, 2, 0, 0, 1, 1], class_names=("a", "b", "c"), name="oracle")
    oracle = oracle.select(range(7))
    table = oracle.table.set_column(0, "id", [[f"o{row}" for row in range(7)]])
    oracle = type(oracle)(oracle.source, table, oracle.class_names, "oracle")
    joined = with_oracle(made, oracle, ["c"])
    assert sorted(joined.labels.tolist()) == sorted(labels)
    for row in range(len(joined)):
        value = joined.read(row).getpixel((0, 0))[0]
        assert value == (200 if joined.labels[row] == 2 else 50)
    with pytest.raises(InputError, match="no class 'd'"):
        with_oracle(made, oracle, ["d"])
    with pytest.raises(InputError, match="has 1 images of class 'c'; 2 are replaced"):
        with_oracle(made, oracle.select([0, 3, 4, 5, 6]), ["c"])
