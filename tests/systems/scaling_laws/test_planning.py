"""The plan: guidance as an axis, nested sizes, one recipe, an independent scorer, shifted sets, two towers."""

import itertools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

import snellen
from snellen.core.errors import InputError
from snellen.data.class_balance import held_out, largest_balanced
from snellen.data.files.splits import as_split
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.set_quality import check_independent, promise, set_quality
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.sampler import Sampler
from snellen.models.dual_encoders.zero_shot import class_vectors
from snellen.systems.scaling_laws.design import REAL, cells_of, nested_sizes
from snellen.systems.scaling_laws.planning import Data, Students, plan_synthesis
from snellen.systems.scaling_laws.synthesis_plan import SynthesisPlan
from snellen.training.batches import ImageStore
from snellen.training.students import (
    StudentPlan,
    as_classifier,
    check_real,
    measured,
    mixed,
    store_of,
    train_student,
)
from tests.verbs.stopping import Stopping, contents

TINY = StudentPlan(amount=2, batch_size=8, side=16)
SHAPES = ("square", "star")


def shapes(count=24, split="train"):
    world = WORLD.model_copy(update={"shapes": SHAPES, "count": count, "size": 16})
    images = world.images(split=split)
    return replace(images, name=f"shapes {split}")


def planned(out, **options):
    settings = [ByName(steps=1, guidance_scale=scale) for scale in (1, 2)]
    given = {"probe": 2, "count": 4, "seeds": 2, "students": TINY}
    return plan_synthesis(settings, shapes(), out=out, **{**given, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan") / "plan"
    return planned(folder, shifted=[shapes(30, "val")]), folder


@pytest.mark.covers("14.1")
def test_guidance_is_an_axis_of_the_grid(whole):
    plan, _ = whole
    assert {row.setting for row in plan.grid} == {"by_name+guidance_scale=1.0", "by_name+guidance_scale=2.0"}
    assert sum(row.kept for row in plan.grid) == 1
    best = max(plan.grid, key=lambda row: row.promise)
    assert best.kept
    assert plan.grid[0] == best


@pytest.mark.covers("14.1")
def test_a_guidance_of_one_amplifies_nothing_and_another_follows_the_rule():
    generator = snellen.load_generator("bundled:scene-diffusion")
    sampler, seeds, prompts = Sampler(generator, steps=1), [1, 2], ["a star", "a ring"]

    def made(scale, condition=None):
        return generate(sampler, seeds, prompts=prompts, condition=condition, guidance_scale=scale)

    plain = made(1.0)
    assert plain.calls == 1, "no second prediction is paid for"
    nothing = made(1.0, generator.null(2))
    # One step of DDIM is linear in the prediction, and so is everything before the decoder.
    latents = []
    for scale, condition in ((1.0, None), (1.0, generator.null(2)), (3.0, None)):
        started = sampler.start(snellen.models.diffusion.sampler.seeded(seeds))
        wanted = generator.encode_prompts(prompts) if condition is None else condition
        terms = []
        if scale != 1:
            terms = [snellen.models.diffusion.guidance.classifier_free(scale, generator.null(2))]
        latents.append(sampler.run(started, wanted, guidance=terms).latents)
    conditional, unconditional, guided = latents
    assert torch.allclose(guided, unconditional + 3 * (conditional - unconditional), atol=1e-4)
    assert not torch.allclose(plain.images, nothing.images)


@pytest.mark.covers("14.2")
def test_students_of_a_size_see_all_images_of_every_smaller_one_and_as_many_of_each_class(whole):
    _, folder = whole
    made = snellen.load_images(folder.with_name("plan-images") / "manifest.csv")
    real = shapes(40)
    students = Students(
        cells=(),
        plan=TINY,
        real=store_of(real, TINY),
        made={"one": store_of(made, TINY)},
        orders={None: real, "one": made},
        tests={},
        seed=0,
        unbalanced=False,
        scorer=None,
    )
    for setting, sizes in ((None, nested_sizes(8)), ("one", nested_sizes(4))):
        stores = [
            students.examples(cell)
            for size in sizes
            for cell in cells_of(["one"], 8, 4, 2)
            if cell.seed == 0 and cell.setting == setting and (cell.real, cell.made) in ((size, 0), (0, size))
        ]
        assert len(stores) == len(sizes)
        for size, store in zip(sizes, stores, strict=True):
            assert torch.bincount(store.targets).tolist() == [size, size]
            assert len(set(store.ids)) == len(store)
        for small, large in itertools.pairwise(stores):
            assert set(small.ids) < set(large.ids)


@pytest.mark.covers("14.3")
@pytest.mark.parametrize("schedule", ["updates", "epochs"])
def test_the_schedule_is_the_same_for_every_size_and_kind(schedule):
    plan = StudentPlan(schedule=schedule, amount=6, batch_size=4)

    def store(count, kind):
        pixels = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
        return mixed(None, ImageStore.of_tensors(pixels, torch.arange(count) % 2), None) if kind else (
            ImageStore.of_tensors(pixels, torch.arange(count) % 2)
        )  # fmt: skip

    for kind in (False, True):
        steps = []
        for count in (4, 8, 20):
            examples, training = plan.examples(store(count, kind)), plan.training(0, count)
            steps.append(len(examples.ids) // training.batch_size * training.epochs)
            seen = examples.read(torch.arange(len(examples.ids)))[1]
            assert abs(int((seen == 0).sum()) - int((seen == 1).sum())) <= 1, "every example comes equally often"
        assert steps == ([6, 6, 6] if schedule == "updates" else [6, 12, 30])
    record = plan.model_dump()
    assert (record["schedule"], record["amount"]) == (schedule, 6)


@pytest.mark.covers("14.3")
def test_equal_images_and_seeds_give_the_same_student_and_other_seeds_another_one():
    store = store_of(shapes(), TINY)
    test = store_of(shapes(20, "val"), TINY)
    first, again, other = (measured(train_student(store, TINY, 2, seed), test).losses for seed in (0, 0, 1))
    assert (first == again).all()
    assert not (first == other).all()


@pytest.mark.covers("14.3", "14.9")
def test_the_same_students_are_measured_on_all_tests(whole):
    plan, _ = whole
    tests = {"in distribution", "shapes val"}
    by_test = {name: [run for run in plan.runs if run.test == name] for name in tests}
    assert {run.test for run in plan.runs} == tests
    keys = [[(run.config, run.size, run.seed) for run in runs] for runs in by_test.values()]
    assert keys[0] == keys[1]
    assert {row.test for row in plan.gains} == {law.test for law in plan.laws} == tests
    assert {law.config for law in plan.laws} == {REAL, plan.grid[0].setting}


@pytest.mark.covers("14.6")
def test_the_scorer_is_trained_on_real_images_and_is_no_student():
    network = train_student(store_of(shapes(), TINY), TINY, 2, 0)
    student = as_classifier(network, TINY, SHAPES, "student")
    with pytest.raises(InputError, match="has the weights of the student"):
        check_independent(as_classifier(network, TINY, SHAPES, "scorer"), student)
    scorer = as_classifier(train_student(store_of(shapes(), TINY), TINY, 2, 0, "scorer"), TINY, SHAPES, "scorer")
    check_independent(scorer, student)
    table = shapes().table.append_column("synthetic", pa.array(["0"] * 23 + ["1"]))
    with pytest.raises(InputError, match="1 of shapes train were generated"):
        check_real(replace(shapes(), table=table), "training")
    with pytest.raises(InputError, match="is of real images"):
        Data.of(replace(shapes(), table=table), shapes(30, "val"), {}, 0)


def test_every_student_is_compared_with_the_scorer(monkeypatch, tmp_path):
    network = train_student(store_of(shapes(), TINY), TINY, 2, 0)
    monkeypatch.setattr("snellen.systems.scaling_laws.planning.train_student", lambda *_: network)
    with pytest.raises(InputError, match="has the weights of the student"):
        planned(tmp_path / "plan")


def test_quality_is_matched_by_the_names_of_classes():
    images = shapes()

    class Oracle(torch.nn.Module):
        def forward(self, pixels):
            return self.scores[: len(pixels)]

    oracle = Oracle()
    oracle.scores = torch.nn.functional.one_hot(1 - torch.tensor(images.labels), 2).float()
    turned = snellen.Classifier(oracle, class_names=SHAPES[::-1], preparation=TINY.preparation)
    found = set_quality(images, turned)
    assert found.recognisability == 1
    assert promise(found, found) == 1
    with pytest.raises(InputError, match="does not know the class 'star'"):
        set_quality(images, snellen.Classifier(oracle, class_names=("square", "ring"), preparation=TINY.preparation))


@pytest.mark.covers("14.11")
def test_a_zero_shot_classifier_averages_normalised_embeddings_and_normalises_the_mean():
    class Tower:
        name = "tower"

        def encode_texts(self, texts, **_):
            rows = {"one": [3.0, 0.0], "two": [0.0, 0.5]}
            return torch.tensor([rows[text] for text in texts])

    mean = class_vectors(Tower(), {"both": ("one", "two")})
    assert torch.allclose(mean, torch.full((1, 2), 0.5**0.5), atol=1e-6), "lengths of the embeddings play no part"


def test_a_killed_plan_resumes_and_ends_with_the_same_bytes(tmp_path, whole):
    _, folder = whole
    with pytest.raises(KeyboardInterrupt):
        planned(tmp_path / "plan", shifted=[shapes(30, "val")], progress=Stopping(3, "training students"))
    assert not (tmp_path / "plan" / "synthesis-plan.json").exists()
    planned(tmp_path / "plan", shifted=[shapes(30, "val")])
    assert contents(tmp_path / "plan") == contents(folder)


def test_the_images_that_were_scored_are_those_that_students_train_on(whole):
    plan, folder = whole
    scored = snellen.load_images(folder.with_name("plan-probe") / f"{plan.grid[0].setting}.csv")
    made = snellen.load_images(folder.with_name("plan-images") / "manifest.csv")
    for row, key in enumerate(scored.ids):
        place = made.ids.index(key.rpartition("/")[2])
        assert scored.content_hash(row) == made.content_hash(place), "not generated twice"


def test_a_plan_says_how_long_it_takes_before_anything_is_generated(tmp_path):
    heard = []

    class Listener:
        def begin(self, task, total):
            heard.append(task)

        def advance(self, task, amount, note=""):
            heard.append(note)
            if task == "generating":
                raise KeyboardInterrupt

        def finish(self, task):
            pass

    with pytest.raises(KeyboardInterrupt):
        planned(tmp_path / "plan", progress=Listener())
    note = next(one for one in heard if "take about" in one)
    assert note.startswith("12 images and 26 students take about ")
    assert heard.index(note) < heard.index("generating")


def test_a_dry_run_generates_nothing(tmp_path):
    settings = [ByName(steps=1)]
    estimate = snellen.plan(plan_synthesis, settings, shapes(), out=tmp_path / "plan", count=4, seeds=2, students=TINY)
    assert estimate.items == estimate.shards == 2 * (4 + 3 * 3)
    assert estimate.seconds > 0.1
    assert list(tmp_path.iterdir()) == []


def test_a_plan_says_what_follows(whole):
    plan, folder = whole
    assert plan.advice
    assert plan.grid[0].setting in plan.advice[0]
    assert isinstance(plan, SynthesisPlan)
    shown = plan.summary()
    assert len(shown.parts) == 3 + len(plan.advice)
    assert (folder / "curve.png").is_file()
    assert all(row.real in (4, 8, 10, 16, 18, 20) for row in plan.gains)


def test_images_that_measure_are_held_out_of_each_class():
    images = shapes(40)
    fitted, test = held_out(images, 5, 0)
    assert set(fitted.ids).isdisjoint(test.ids)
    assert len(fitted) + len(test) == 40
    assert (np.bincount(test.labels) == np.maximum(1, np.bincount(images.labels) // 5)).all()
    assert largest_balanced(fitted, unbalanced=False) == np.bincount(fitted.labels).min()
    assert largest_balanced(fitted, unbalanced=True) == np.bincount(fitted.labels).max()
    joined = Data.of(shapes(), shapes(30, "val"), {}, 0)
    assert len(joined.real) == 24, "nothing is held out where images to measure on are given"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 3}, "three sizes, and 3 synthetic images of each class give 2"),
        ({"seeds": 1}, "at least 2 seeds; got 1"),
        ({"keep": 0}, "at least 1 setting is kept"),
        ({"budget": "5m"}, "neither a budget nor a part"),
        ({"engine": "local"}, "made by one process only"),
        ({"shifted": [as_split(shapes(4, "val"), "val")] * 2}, "different names"),
        ({"validation": WORLD.model_copy(update={"count": 9}).images(split="val")}, "has other classes"),
    ],
)
def test_plans_that_cannot_be(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        planned(tmp_path / "plan", **options)
    assert list(tmp_path.iterdir()) == [], "nothing is generated first"
