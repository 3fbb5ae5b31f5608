"""Several models under several attacks: figures as of the attack, differences on the same images."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

import snellen
from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_mean, clustered_share
from snellen.verbs.evaluation import PairedDifference

NAMES = ["a", "b", "c"]
ATTACKS = ["fgsm", {"method": "pgd", "steps": 3, "epsilon": 0.05}]


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))


@pytest.fixture(scope="module")
def pixels():
    return torch.randint(0, 256, (40, 3, 8, 8), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


@pytest.fixture(scope="module")
def labels(pixels):
    # What the first model says, but for a few: it is right in most images.
    with torch.no_grad():
        right = network(0)(pixels.float() / 255).argmax(1)
    right[::9] = (right[::9] + 1) % 3
    return right


@pytest.fixture(scope="module")
def evaluated(pixels, labels, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated") / "run"
    found = snellen.evaluate(
        [network(0), network(1)], ATTACKS, pixels, labels=labels, class_names=NAMES, seeds=(0, 3), out=out
    )
    return found, out


def row(found, model, attack, seed):
    (one,) = [x for x in found.accuracies if (x.model, x.attack, x.seed) == (model, attack, seed)]
    return one


def test_the_figures_are_those_of_the_attack(evaluated, pixels, labels):
    found, _ = evaluated
    assert [one.model for one in found.accuracies][::12] == ["Sequential", "Sequential (2)"]
    alone = snellen.attack(network(0), pixels, ATTACKS, labels=labels, class_names=NAMES, seed=3)
    for attack, figures in alone.settings.items():
        one = row(found, "Sequential", attack, "3")
        assert (one.accuracy, one.low, one.high, one.n) == (
            figures.robust_accuracy.value, figures.robust_accuracy.low, figures.robust_accuracy.high, 40,
        )  # fmt: skip
    assert row(found, "Sequential", "clean", "3").accuracy == alone.clean_accuracy.value == 35 / 40


def test_several_seeds_and_attacks_are_the_worst_of_each(evaluated):
    found, out = evaluated
    robust = np.ones(40, dtype=bool)
    for seed in (0, 3):
        record = snellen.Evidence.read(out / "Sequential" / f"seed-{seed}" / "evidence.parquet").table.to_pylist()
        for attack in ("fgsm", "pgd"):
            robust &= [one["success"] is False for one in record if one["setting"] == attack]
    one = row(found, "Sequential", "all", "all")
    assert one.accuracy == robust.mean()
    assert (one.low, one.high) == tuple(clustered_share(robust))
    assert one.accuracy <= min(row(found, "Sequential", name, "all").accuracy for name in ("fgsm", "pgd"))


def test_differences_are_paired_and_tested(evaluated):
    found, out = evaluated
    assert [one.attack for one in found.differences] == ["clean", "fgsm", "pgd", "all"]
    clean = next(one for one in found.differences if one.attack == "clean")
    right = []
    for place in ("Sequential", "Sequential (2)"):
        folder = next(path for path in out.iterdir() if path.is_dir() and (path.name == place) == (place[-1] == "l"))
        record = snellen.Evidence.read(folder / "seed-0" / "evidence.parquet").table.to_pylist()
        right.append(np.array([one["right"] for one in record if one["setting"] == "clean"]))
    first, second = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    assert clean.difference == (first - second) / 40
    assert clean.p_value == pytest.approx(binomtest(first, first + second).pvalue)
    assert clean.low < clean.difference < clean.high
    assert all(one.p_value <= one.adjusted_p_value <= 1 for one in found.differences)


def test_images_of_one_unit_count_once(labels, pixels):
    images = snellen.load_images(pixels, labels, class_names=NAMES)
    units = pa.array([f"patient {row // 8}" for row in range(40)])
    grouped = replace(images, table=images.table.append_column("unit_id", units))
    models = [network(0), network(1)]
    found, alone = (snellen.evaluate(models, "fgsm", held, class_names=NAMES) for held in (grouped, images))
    assert [one.accuracy for one in found.accuracies] == [one.accuracy for one in alone.accuracies]
    assert found.differences[0].difference == alone.differences[0].difference
    with torch.no_grad():
        right = [(model(pixels.float() / 255).argmax(1) == labels).double().numpy() for model in models]
    codes = np.arange(40) // 8
    change = clustered_mean(right[0] - right[1], codes, pseudo_units=1.0)
    assert found.differences[0].p_value == pytest.approx(2 * change.p_value())
    assert found.differences[0].p_value > alone.differences[0].p_value
    assert (found.accuracies[0].low, found.accuracies[0].high) == tuple(clustered_share(right[0] == 1, codes))


def test_the_same_call_goes_on_and_writes_the_same(evaluated, pixels, labels):
    found, out = evaluated
    before = {path.name: path.read_bytes() for path in out.glob("*.csv")}
    assert sorted(before) == ["accuracies.csv", "differences.csv"]
    (out / "differences.csv").unlink()
    evidence = sorted(out.glob("*/*/evidence.parquet"))
    times = [path.stat().st_mtime_ns for path in evidence]
    assert len(times) == 4
    resumed = snellen.evaluate(
        [network(0), network(1)], ATTACKS, pixels, labels=labels, class_names=NAMES, seeds=(0, 3), out=out
    )
    assert resumed == found
    assert {path.name: path.read_bytes() for path in out.glob("*.csv")} == before
    assert [path.stat().st_mtime_ns for path in evidence] == times, "what is finished is not measured again"


def test_what_is_shown(evaluated):
    found, _ = evaluated
    text = repr(found)
    assert text.splitlines()[1].split() == ["model", "clean", "fgsm", "pgd", "all"]
    assert "Sequential − Sequential (2)" in text
    table = found.to_latex()
    assert table.count("\\\\\n") == 3
    assert "Sequential & 87.5 [" in table
    frame = found.to_pandas("differences")
    assert list(frame.columns) == list(PairedDifference.__dataclass_fields__)
    assert len(found.to_pandas()) == 24


def test_what_cannot_be_compared_is_refused(pixels, labels):
    with pytest.raises(InputError, match="seeds that all differ"):
        snellen.evaluate([network(0)], ATTACKS, pixels, labels=labels, class_names=NAMES, seeds=(1, 1))
    with pytest.raises(InputError, match="leave budget out"):
        snellen.evaluate([network(0)], ATTACKS, pixels, labels=labels, class_names=NAMES, budget="1s")
    with pytest.raises(InputError, match=r"models are a list or a mapping; got the text 'bundled:x'"):
        snellen.evaluate("bundled:x", ATTACKS, pixels, labels=labels)


def test_attacks_keep_their_order_where_results_are_read_back(pixels, labels, tmp_path):
    call = {"labels": labels[:8], "class_names": NAMES, "out": tmp_path / "run"}
    backwards = [{"method": "pgd", "steps": 1}, "fgsm"]
    made = snellen.evaluate([network(0)], backwards, pixels[:8], **call)
    files = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.csv")}
    again = snellen.evaluate([network(0)], backwards, pixels[:8], **call)
    assert [one.attack for one in again.accuracies] == [one.attack for one in made.accuracies]
    assert files
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.csv")}


def test_a_table_of_drawn_images_says_how_many(pixels, labels):
    found = snellen.evaluate([network(0)], "fgsm", pixels, labels=labels, class_names=NAMES, limit=6)
    assert found.data.endswith("6 of 40 drawn")


def test_an_argument_that_no_verb_knows_is_named(pixels, labels):
    with pytest.raises(TypeError, match=r"unexpected argument 'classes'.*class_names"):
        snellen.attack(network(0), pixels, "fgsm", labels=labels, classes=NAMES)
