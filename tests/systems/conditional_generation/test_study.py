"""The study: one recipe for all students, controls at equal updates, shifted sets with part of the classes."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

import snellen
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.methods.synthesis.by_image import ByImage
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import Source
from snellen.metrics.effective_robustness import MEAN
from snellen.systems.conditional_generation import study
from snellen.systems.conditional_generation.arms import (
    FIRST_OF_POOL,
    LONGER,
    MATCHED,
    MIXED,
    POOL,
    REAL,
    SHARES,
    Arm,
    arms_of,
    share_of_each,
)
from snellen.systems.conditional_generation.reading import IN_DISTRIBUTION, Reading, generated_name
from snellen.systems.conditional_generation.record import AccuracyRow, RobustnessRow, advice
from snellen.systems.conditional_generation.study import PUBLISHED, Data, Students, study_robustness
from snellen.training import students as training
from snellen.training.students import StudentPlan, store_of

SHAPES = ("square", "star", "heart")
TINY = StudentPlan(schedule="epochs", amount=2, batch_size=8, side=16)


def shapes(count=18, split="train", names=SHAPES, called="shapes", **changed):
    world = WORLD.model_copy(update={"shapes": names, "count": count, "size": 16, **changed})
    return replace(world.images(split=split), name=called)


def shifted():
    return [
        shapes(12, "test", called="brick", backgrounds=("brick",)),
        shapes(12, "val", ("star", "heart"), called="part", backgrounds=("sand",), seed=3),
    ]


def studied(out, method=None, **options):
    given = {"students": TINY, "seeds": 2, "pool": 1, "augmentations": (), "validation": shapes(12, "val")}
    return study_robustness(method or ByName(steps=1), shapes(), shifted(), out=out, **{**given, **options})


class Constant(nn.Module):
    """Always the same class."""

    def __init__(self, column, count=4):
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(count).index_fill(0, torch.tensor([column]), 5.0))

    def forward(self, images):
        return self.scores.expand(len(images), -1) + 0 * images.mean()


def constant(column, names):
    return snellen.load_classifier(
        Constant(column, len(names)),
        list(names),
        preparation=Preprocessing(size=(16, 16)),
        name=f"always {names[column]}",
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "study"
    models = [constant(2, ("square", "heart", "moon", "star")), constant(3, ("square", "heart", "moon", "star"))]
    return studied(folder, models=models), folder


def test_the_record_holds_every_kind_of_student_on_every_test_set(whole):
    found, folder = whole
    record = json.loads((folder / "robustness-study.json").read_text())
    assert record["schema_version"] == 1
    kinds = [REAL, LONGER, "by_name", f"by_name{MIXED}", f"by_name{MATCHED}"]
    given = ["model always moon", "model always star"]
    tests = [IN_DISTRIBUTION, "brick", "part", generated_name("by_name")]
    assert [(row.arm, row.test) for row in found.accuracies] == [
        (one, test) for one in [*kinds, *given] for test in tests
    ]
    assert [(row.arm, row.shift) for row in found.robustness] == [
        (one, shift) for one in [*kinds, *given] for shift in ("brick", "part", MEAN)
    ]
    assert [row.students for row in found.accuracies if row.test == "brick"] == [2] * 5 + [1] * 2
    assert {line.shift: line.models for line in found.lines} == {"brick": 4, "part": 4}
    assert {row.arm for row in found.drops} == {REAL, LONGER, *given}
    assert len(found.advice) == 1
    assert found.advice[0].startswith("by_name: ")
    assert len(found.files) == 2
    assert all((folder / name).stat().st_size > 1000 for name in found.files)


@pytest.mark.covers("6.4")
def test_a_model_is_queried_for_the_shared_classes_alone(whole):
    found, _ = whole
    by = {(row.arm, row.test): row.accuracy for row in found.accuracies}
    own = shifted()[1]
    stars = float((own.labels == own.class_names.index("star")).mean())
    assert by["model always star", "part"] == pytest.approx(stars)
    assert by["model always moon", "part"] > 0, "its own favourite is no answer: the next best of the shared ones is"


@pytest.mark.covers("6.4")
def test_students_decide_between_the_shared_classes_alone(monkeypatch):
    data = Data.of(shapes(), shapes(12, "val"), shifted(), {}, 0)
    liked = {"square": 5.0, "star": 3.0, "heart": 1.0}

    class Liking(nn.Module):
        def forward(self, images):
            return torch.tensor([liked[name] for name in data.real.class_names]).expand(len(images), -1)

    monkeypatch.setattr(study, "train_student", lambda *_, **__: Liking())
    students = Students((), (), TINY, data, store_of(data.real, TINY), {}, data.tests, False, 0)
    right = students.student(Arm(REAL, 1.0, None, "kept epochs", None, 0))
    for images, favourite in ((shifted()[0], "square"), (shifted()[1], "star")):
        wanted = images.labels == images.class_names.index(favourite)
        assert right[images.name].tolist() == wanted.tolist()
        assert wanted.any()


def test_generated_images_have_the_classes_of_the_validation_images_they_stand_for(monkeypatch):
    """Which may be fewer than those of the real images, in another order."""
    own = shifted()[1]  # a part of the classes
    data = Data.of(shapes(), own, shifted()[:1], {}, 0)
    students = Students(
        (), (), TINY, data, store_of(data.real, TINY), {}, {**data.tests, "generated: by_name": own}, False, 0
    )

    class Stars(nn.Module):
        def forward(self, images):
            return torch.tensor([float(name == "star") for name in data.real.class_names]).expand(len(images), -1)

    monkeypatch.setattr(study, "train_student", lambda *_, **__: Stars())
    right = students.student(Arm(REAL, 1.0, None, "kept epochs", None, 0))
    assert right["generated: by_name"].tolist() == (own.labels == own.class_names.index("star")).tolist()
    assert own.class_names != data.real.class_names


@pytest.mark.covers("6.1")
@pytest.mark.covers("6.9")
def test_twins_are_of_training_images_and_the_stress_set_of_validation_images(whole):
    _, folder = whole
    twins = snellen.load_images(folder.with_name("study-twins") / "manifest.csv")
    stress = snellen.load_images(folder.with_name("study-stress") / "manifest.csv")
    real, validation = shapes(), shapes(12, "val")
    assert sorted(twins.ids) == sorted(real.ids)
    assert sorted(stress.ids) == sorted(validation.ids)
    assert set(stress.column("split")) == {"val"}
    assert np.bincount(twins.labels).sum() == len(real)


def updates_of(arm, monkeypatch, plan=TINY):
    """Plan, updates and examples of the training of one student."""
    seen = []

    def train(network, examples, *, plan, objective, transform):
        batches = math.ceil(len(examples.ids) / plan.batch_size)
        seen.append((plan, plan.epochs * batches, {key.split("#")[0] for key in examples.ids}, transform))
        return type("Trained", (), {"weights": network.state_dict()})

    monkeypatch.setattr(training, "train", train)
    real = shapes(32)
    made = replace(shapes(32, seed=5), name="made")
    data = Data(real, {IN_DISTRIBUTION: real}, {IN_DISTRIBUTION: ((0,), (1,), (2,))})
    stores = (store_of(real, plan), {"one": store_of(made, plan)})
    Students((), (), plan, data, *stores, {IN_DISTRIBUTION: real}, False, 0).student(arm)
    return seen[0]


@pytest.mark.covers("6.3")
def test_all_students_share_one_recipe_and_its_epochs_and_controls_share_updates(monkeypatch):
    arms = {arm.name: arm for arm in arms_of(["one"]) if arm.seed == 0}
    found = {name: updates_of(arm, monkeypatch) for name, arm in arms.items()}
    numbers = {name: updates for name, (_, updates, _, _) in found.items()}
    once = 2 * 4  # two epochs of 32 images in batches of 8
    assert numbers == {
        REAL: once,
        LONGER: 2 * once,
        "real, augmix": once,
        "real, rand-augment": once,
        "one": once,
        f"one{MIXED}": 2 * once,
        f"one{MATCHED}": once,
    }
    left_out = {"epochs", "seed"}
    assert len({plan.model_dump_json(exclude=left_out) for plan, *_ in found.values()}) == 1, "one recipe"
    assert found[REAL][0].epochs == found["one"][0].epochs == found[f"one{MIXED}"][0].epochs == 2
    kinds = {name: {key.split("/")[0] for key in ids} for name, (_, _, ids, _) in found.items()}
    assert kinds[f"one{MATCHED}"] == kinds[f"one{MIXED}"] == {"real", "synthetic"}
    assert kinds["one"] == {"synthetic"}
    assert kinds[REAL] == kinds[LONGER] == {"real"}
    assert [name for name, (*_, transform) in found.items() if transform] == ["real, augmix", "real, rand-augment"]


@pytest.mark.covers("6.5")
def test_standard_models_are_trained_on_nested_shares_of_real_images_and_are_no_students():
    arms = arms_of(["one"], seeds=3, pool=2)
    pool = [arm for arm in arms if arm.name == POOL]
    assert sorted(arm.share for arm in pool) == sorted([*SHARES, *SHARES])
    assert len({arm.seed for arm in pool}) == 8
    assert min(arm.seed for arm in pool) == FIRST_OF_POOL > max(arm.seed for arm in arms if arm.name != POOL)
    assert all(arm.setting is None and arm.updates == "of real" for arm in pool)
    images = shapes(60)
    parts = [set(share_of_each(images, share, 0)) for share in SHARES]
    assert [len(one) for one in parts] == pytest.approx([60, 30, 15, 7.5], abs=2)
    assert parts[3] < parts[2] < parts[1] < parts[0]


@pytest.mark.covers("6.10")
def test_mirrored_scores_are_added_for_all_and_images_condition_a_twin_as_well(monkeypatch, tmp_path):
    seen, own = [], study.measured

    def spied(network, test, *, groups, mirrored):
        seen.append(mirrored)
        return own(network, test, groups=groups, mirrored=mirrored)

    class Left(nn.Module):
        calls = 0

        def forward(self, images):
            Left.calls += 1
            return images[:, 0, 0, :3]

    monkeypatch.setattr(study, "measured", spied)
    model = snellen.load_classifier(Left(), list(SHAPES), preparation=Preprocessing(size=(16, 16)))
    before = Left.calls
    method = ByImage(steps=2, strength=0.5, named=False)
    found = studied(tmp_path / "study", method, models=[model], mirrored=True)
    assert seen == [True] * ((5 * 2 + 4) * 4), "students and standard models, on four test sets"
    assert Left.calls - before == 4 * 2
    assert found.plan["mirrored"] is True
    assert found.plan["settings"][0]["strength"] == 0.5
    assert {row.arm for row in found.accuracies} >= {"by_image", f"by_image{MATCHED}"}


@pytest.mark.covers("6.11")
def test_two_generators_are_compared_with_the_same_prompts_noise_and_numbers(monkeypatch):
    monkeypatch.setattr(ByName, "takes_prompts", lambda self: True)  # the folder of the other one need not be there
    source = Source.of_images(shapes())
    shown = []
    for generator in ("bundled:scene-diffusion", "diffusers:finetuned"):
        method = ByName(generator=generator, templates=("a {}", "a red {}", "a {} on grass"))
        shown.append([(row.id, row.label, row.prompt, row.seed) for row in method.rows(source, None, 0)])
    assert shown[0] == shown[1]
    assert len(shown[0]) == len(source.images)
    assert len({prompt for _, _, prompt, _ in shown[0]}) > 3


def test_a_killed_study_goes_on_and_ends_with_the_same_bytes(whole, tmp_path, monkeypatch):
    _, folder = whole
    own, calls = Students.student, []

    def dying(self, arm):
        calls.append(arm)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return own(self, arm)

    models = [constant(2, ("square", "heart", "moon", "star")), constant(3, ("square", "heart", "moon", "star"))]
    monkeypatch.setattr(Students, "student", dying)
    with pytest.raises(KeyboardInterrupt):
        studied(tmp_path / "study", models=models)
    studied(tmp_path / "study", models=models)
    assert len(calls) == 5 + 10, "four of fourteen students were there"
    for name in ("robustness-study.json",):
        assert (tmp_path / "study" / name).read_bytes() == (folder / name).read_bytes()


def test_the_published_recipe_is_that_of_the_repository():
    plan = PUBLISHED.training(0, 130_000)
    assert (plan.optimizer, plan.momentum, plan.weight_decay, plan.learning_rate) == ("sgd", 0.9, 5e-5, 0.5)
    assert (plan.epochs, plan.batch_size, plan.schedule) == (56, 128, "linear")
    assert plan.warmup_steps == pytest.approx(2 * math.ceil(130_000 / 128), abs=1)
    assert (PUBLISHED.label_smoothing, PUBLISHED.side, PUBLISHED.crops) == (0.1, 160, True)
    tiny = PUBLISHED.model_copy(update={"amount": 1, "side": 32, "batch_size": 8, "architecture": "timm:resnetblur18"})
    network = training.train_student(store_of(shapes(16), tiny), tiny, 3, 0)
    assert sum(type(one).__name__ == "BlurPool2d" for one in network.modules()) > 0


def rows(tau, change):
    robustness = (
        RobustnessRow(arm="one + real, equal updates", shift=MEAN, accuracy=0.5, rho=tau, tau=tau, extrapolated=False),
    )
    accuracies = (
        AccuracyRow(arm="one + real, equal updates", test=IN_DISTRIBUTION, students=2, accuracy=0.9, change=change),
    )
    return advice(("one",), robustness, accuracies, MATCHED)[0]


@pytest.mark.parametrize(
    ("tau", "change", "begins", "trade"),
    [
        ((0.1, 0.05, 0.15), (0.0, -0.01, 0.01), "one: add the generated images", False),
        ((0.1, 0.05, 0.15), (-0.03, -0.05, -0.01), "one: add the generated images", True),
        ((-0.1, -0.2, -0.05), (0.0, -0.01, 0.01), "one: leave the generated images out", False),
        ((0.1, -0.05, 0.25), (0.0, -0.01, 0.01), "one: no gain under shift was measured", False),
    ],
)
def test_the_advice_follows_the_intervals(tau, change, begins, trade):
    found = rows(tau, change)
    assert found.startswith(begins)
    assert ("That is a trade" in found) is trade


def test_a_drop_is_accuracy_on_real_less_accuracy_on_generated_images():
    made = generated_name("one")
    right = {IN_DISTRIBUTION: np.arange(40) < 36, "brick": np.arange(40) < 20, made: np.arange(20) < 12}
    standard = [
        {
            IN_DISTRIBUTION: np.arange(40) < round(40 * share),
            "brick": np.arange(40) < round(24 * share),
            made: np.ones(20, bool),
        }
        for share in (0.5, 0.7, 0.9)
    ]
    found = Reading({REAL: [right, right], POOL: standard}, ["one"], 0)
    drop = found.drops()[0]
    assert drop.drop == pytest.approx(0.9 - 0.6)
    assert drop.low < drop.drop < drop.high
    assert found.accuracies()[0].accuracy == pytest.approx(0.9)
    assert found.shifts == ("brick",)


def test_a_study_whose_standard_models_are_all_alike_says_so_and_keeps_the_rest():
    alike = {IN_DISTRIBUTION: np.arange(40) < 20, "brick": np.arange(40) < 10, "sand": np.arange(20) < 10}
    better = {**alike, "brick": np.arange(40) < 30}
    found = Reading({REAL: [alike, alike], "one": [better, better], POOL: [alike] * 4}, ["one"], 0)
    assert "all equally good" in found.line_row("brick").why_not
    rows = {(row.arm, row.shift): row for row in found.robustness()}
    assert rows["one", "brick"].rho is None
    assert rows["one", "brick"].tau[0] == pytest.approx(0.5)
    assert rows["one", MEAN].tau[0] == pytest.approx(20 / 60)
    assert rows[REAL, "sand"].tau is None
    assert found.picture("brick").width > 100


def test_images_that_are_trained_on_measure_nothing():
    with pytest.raises(InputError, match=r"\d+ of \d+ images of .* are training images"):
        Data.of(shapes(), shapes(12, "val"), [replace(shapes(), name="again")], {}, 0)


def test_what_a_study_cannot_be_made_of(tmp_path):
    one = shapes(12, "val", called="brick")
    with pytest.raises(InputError, match="at least one shifted test set"):
        study_robustness(ByName(), shapes(), [], out=tmp_path / "out")
    with pytest.raises(InputError, match="need different names"):
        study_robustness(ByName(), shapes(), [one, one], out=tmp_path / "out")
    with pytest.raises(InputError, match="class 'ring' of the test set would be 'ring' of the model"):
        study_robustness(ByName(), shapes(), [shapes(12, "val", ("ring", "star"))], out=tmp_path / "out")
    with pytest.raises(InputError, match="goes by epochs"):
        study_robustness(ByName(), shapes(), [one], out=tmp_path / "out", students=StudentPlan())
    with pytest.raises(InputError, match="neither a budget nor a part"):
        study_robustness(ByName(), shapes(), [one], out=tmp_path / "out", budget="1m")
    with pytest.raises(InputError, match="at least 2 seeds"):
        study_robustness(ByName(), shapes(), [one], out=tmp_path / "out", seeds=1)
    flagged = shapes()
    flagged = replace(flagged, table=flagged.table.append_column("synthetic", pa.array(["1"] * len(flagged))))
    with pytest.raises(InputError, match="training is of real images, and"):
        study_robustness(ByName(), flagged, [one], out=tmp_path / "out")
    assert Arm(REAL, 1.0, None, "kept epochs", None, 0).transform is None
