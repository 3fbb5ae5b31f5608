"""The same audit by any engine, in any number of shards and processes, in any order: the same report, to the byte."""

import json
import os
import random
import re
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from snellen.auditing.audit import audit
from snellen.auditing.checks.adversarial import Adversarial
from snellen.auditing.checks.clean import Clean
from snellen.auditing.crew import default_crew
from snellen.auditing.shard_work import ShardWork
from snellen.checks.check import CheckResult
from snellen.core.errors import InputError, RunConflictError, WorkerError
from snellen.core.progress import Silent
from snellen.data.files.arrays import load_arrays
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.runs.engines.engine import InProcess
from snellen.runs.estimate import plan as planned

CHECKS = [
    "clean",
    "calibration",
    "duplicates",
    "leakage",
    {"check": "corruption", "kinds": ["brightness", "gaussian_noise"], "severities": [2]},
    {"check": "adversarial", "steps": 2},
]
OPTIONS = {"checks": CHECKS, "batch_size": 4}


class Handed:
    """Opens the work by name as a worker does, and hands results over in another order."""

    def __init__(self, seed=None, before=lambda: None):
        self.seed, self.before, self.setups, self.numbers = seed, before, [], []

    def run(self, work, setup, jobs):
        self.before()
        self.setups.append(json.loads(json.dumps(setup)))
        results = list(InProcess().run(work, self.setups[-1], jobs))
        if self.seed is not None:
            random.Random(self.seed).shuffle(results)
        self.numbers += [number for number, _ in results]
        yield from results


class Counting(Silent):
    """Adds up progress by task."""

    def __init__(self):
        self.totals, self.sums = {}, {}

    def begin(self, task, total):
        self.totals[task] = total

    def advance(self, task, amount, note=""):
        self.sums[task] = self.sums.get(task, 0) + amount


@pytest.fixture(scope="module")
def given():
    """Classifier, images and training images, by reference."""
    images = load_images("bundled:fashion-mnist")
    return load_classifier("bundled:fashion-cnn"), images.limit(50), images.limit(20, seed=1)


@pytest.fixture(scope="module")
def whole(given, tmp_path_factory):
    """The run directory of an audit as it is by default."""
    classifier, images, train = given
    folder = tmp_path_factory.mktemp("audit") / "whole"
    audit(classifier, images, out=folder, train=train, **OPTIONS)
    return folder


@pytest.fixture(autouse=True)
def _same_folder(monkeypatch):
    """Whoever opens work goes into the folder of the images."""
    monkeypatch.chdir(Path.cwd())


def as_files(images, folder):
    """Eight of the images as files in folders of their classes, called by their places."""
    for name, index in enumerate(np.flatnonzero(images.labels > 0)[:8].tolist()):
        place = folder / images.class_names[images.labels[index]]
        place.mkdir(parents=True, exist_ok=True)
        images.read(index).save(place / f"{name}.png")


def content(folder):
    """Every file of a run by name, but for the clock readings, the shards and the plan."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("timing.json", "manifest.json") and "shards" not in path.parts
    }


def again(given, out, **options):
    classifier, images, train = given
    return audit(classifier, images, out=out, train=train, **OPTIONS, **options)


@pytest.mark.parametrize("shards", [1, 3, 7, 10_000])
def test_the_number_of_shards_changes_nothing(given, whole, tmp_path, shards):
    again(given, tmp_path / "run", shards=shards)
    assert content(tmp_path / "run") == content(whole)
    plan = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert plan["shards"] == {"audit": min(shards, 13), "train": min(shards, 5)}
    assert len(list((tmp_path / "run" / "shards").iterdir())) == min(shards, 13)


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_change_nothing_in_any_file(given, whole, tmp_path, processes):
    listener = Counting()
    report = again(given, tmp_path / "run", engine="local", processes=processes, threads=1, progress=listener)
    assert content(tmp_path / "run") == content(whole)
    assert report.to_json() == json.loads((whole / "report.json").read_text())
    assert (tmp_path / "run" / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()
    for path in (whole / "shards").rglob("*.parquet"):
        assert (tmp_path / "run" / path.relative_to(whole)).read_bytes() == path.read_bytes()
    for task in ("audit", "train images"):
        assert listener.sums[task] == pytest.approx(listener.totals[task])
    seconds = json.loads((tmp_path / "run" / "timing.json").read_text())
    assert min(seconds[name] for name in ("reading", "clean", "corruption", "adversarial", "train")) > 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_order_of_results_changes_nothing(given, whole, tmp_path, seed):
    engine = Handed(seed)
    again(given, tmp_path / "run", engine=engine, shards=7)
    assert engine.numbers != sorted(engine.numbers)
    assert sorted(engine.numbers) == list(range(12))
    assert content(tmp_path / "run") == content(whole)


def test_progress_is_whole_in_this_process_too(given, tmp_path):
    listener = Counting()
    again(given, tmp_path / "run", shards=3, progress=listener)
    resumed = Counting()
    again(given, tmp_path / "run", progress=resumed)
    for heard in (listener, resumed):
        for task in ("audit", "train images"):
            assert heard.sums[task] == pytest.approx(heard.totals[task])


def test_a_batch_size_of_one_or_many_is_within_the_stated_tolerance(given, tmp_path):
    classifier, images, _ = given
    scores = {}
    for batch_size in (1, 32):
        checks = ["clean", "label_noise"]
        audit(classifier, images, out=tmp_path / str(batch_size), checks=checks, batch_size=batch_size)
        table = pq.read_table(tmp_path / str(batch_size) / "evidence" / "clean.parquet")
        scores[batch_size] = np.array(table["scores"].to_pylist())
    assert np.abs(scores[1] - scores[32]).max() < 1e-4
    first, other = (json.loads((tmp_path / size / "report.json").read_text())["metrics"] for size in ("1", "32"))
    assert first["clean.accuracy"] == other["clean.accuracy"]


# -- a run that is taken up again --------------------------------------------------------------------------------------


def test_a_run_goes_on_under_another_engine_with_the_threads_and_shards_it_has(given, whole, tmp_path):
    class StopsError(Exception):
        pass

    class Stops(Silent):
        left = 30

        def advance(self, task, amount, note=""):
            self.left -= task == "audit"
            if not self.left:
                raise StopsError

    out = tmp_path / "run"
    with pytest.raises(StopsError):
        again(given, out, shards=7, progress=Stops())
    begun = sorted(path.name for path in (out / "shards").iterdir())
    assert 0 < len(begun) < 7
    stamps = {name: (out / "shards" / name / "extra.json").stat().st_mtime_ns for name in begun}
    engine = Handed()
    again(given, out, engine=engine)
    assert len(engine.numbers) == 12 - len(begun)
    assert content(out) == content(whole)
    assert {name: (out / "shards" / name / "extra.json").stat().st_mtime_ns for name in begun} == stamps
    assert json.loads((out / "manifest.json").read_text())["threads"] == torch.get_num_threads()
    again(given, out, engine=idle(), processes=None)
    with pytest.raises(RunConflictError, match=r"differs in: shards\)"):
        again(given, out, shards=3)
    before = torch.get_num_threads()
    with pytest.raises(RunConflictError, match=r"differs in: threads\)"):
        again(given, out, threads=before + 1)
    assert torch.get_num_threads() == before
    with pytest.raises(InputError, match="threads must be at least 1, got 0"):
        again(given, out, threads=0)


def idle():
    """An engine that must not be asked."""

    def refuse():
        raise AssertionError("there is nothing left to do")

    return Handed(before=refuse)


def test_parts_fill_one_folder_and_the_whole_command_finishes(given, whole, tmp_path):
    out = tmp_path / "run"
    report = again(given, out, shards=7, part="2/3")
    assert not report.metrics
    assert "Part 2/3 is done; 4 of 12 shards are there" in report.notes[0]
    assert not (out / "report.json").exists()
    assert sorted(path.name for path in (out / "shards").iterdir()) == ["000001", "000004"]
    assert sorted(path.name for path in (out / "train" / "shards").iterdir()) == ["000000", "000003"]
    again(given, out, part="3/3")
    engine = Handed()
    again(given, out, engine=engine)
    assert sorted(engine.numbers) == [0, 3, 6, 9]
    assert content(out) == content(whole)
    with pytest.raises(InputError, match="name it with out"):
        again(given, None, part="1/3")


# -- where nobody names an engine --------------------------------------------------------------------------------------


@pytest.fixture
def two_cores(monkeypatch):
    """A machine of two cores, on which the start of workers costs nothing."""
    monkeypatch.setattr("snellen.runs.engines.choosing.usable_cores", lambda: 2)
    monkeypatch.setattr("snellen.runs.engines.choosing.START_SECONDS", 0.0)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def engine_of(folder):
    """What a run says of who measured it."""
    return json.loads((folder / "timing.json").read_text())["engine"]


def test_progress_of_workers_shows_the_accuracy_so_far(given, tmp_path):
    classifier, images, _ = given
    notes = []

    class Notes(Silent):
        def advance(self, task, amount, note=""):
            notes.append(note)

    report = audit(classifier, images, checks=["clean"], batch_size=4, shards=4, engine=Handed(), progress=Notes())
    clean = report.metrics["clean.accuracy"]
    shown = [note for note in notes if note.startswith("a shard; provisional accuracy")]
    assert len(shown) == 4
    assert shown[-1] == f"a shard; provisional accuracy {clean.value:.1%} ({clean.n} images)"


@pytest.mark.timeout(120)
def test_two_cores_are_used_by_default_and_change_nothing(given, whole, tmp_path, two_cores):
    again(given, tmp_path / "run")
    assert content(tmp_path / "run") == content(whole)
    assert engine_of(tmp_path / "run").startswith("2 processes of this machine: they divide about")
    plan = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (plan["threads"], plan["shards"]) == (1, {"audit": 13, "train": 5})
    assert torch.get_num_threads() == 2


def work_on(classifier, images):
    """The work of an audit; nothing of it is done here, where two threads would wait for each other."""
    keep, checks = frozenset(), [Clean(), Adversarial(steps=2)]
    return ShardWork(classifier, {"audit": images}, {"audit": checks}, keep, 4, 0, 0, save_images=True)


def test_a_short_audit_stays_in_this_process_with_all_threads(given, monkeypatch, two_cores):
    classifier, images, _ = given
    assert default_crew(work_on(classifier, images)).processes == 2
    monkeypatch.setattr("snellen.runs.engines.choosing.START_SECONDS", 3.0)
    crew = default_crew(work_on(classifier, images))
    assert (crew.engine, crew.threads) == (None, 2)
    assert "s of one core, and workers take 3 s to start" in crew.why


def test_a_run_of_one_process_and_a_part_are_measured_by_one(given, two_cores):
    classifier, images, _ = given
    crew = default_crew(work_on(classifier, images), threads=2)
    assert (crew.engine, crew.threads) == (None, 2)
    assert crew.why == "this process: it may use 2 cores, with 2 threads in each process"
    assert default_crew(work_on(classifier, images), part="1/2").why == "this process: it measures one part of a run"


@pytest.mark.timeout(120)
def test_a_module_in_memory_is_measured_by_threads_that_change_nothing(given, tmp_path, monkeypatch, two_cores):
    monkeypatch.setattr("snellen.runs.engines.choosing.WORTH_LANES", 0.0)
    classifier, images, train = given
    own = load_classifier(classifier.module, classifier.class_names, preparation=classifier.preparation)
    listener, before = Counting(), [tensor.data_ptr() for tensor in own.module.state_dict().values()]
    with own.counting() as spent:
        again((own, images, train), tmp_path / "threads", progress=listener)
    assert spent().gradients > 0
    assert engine_of(tmp_path / "threads").startswith("2 threads of this process: workers load the model themselves")
    again((own, images, train), tmp_path / "one", engine="in_process", threads=1)
    assert content(tmp_path / "threads") == content(tmp_path / "one")
    assert listener.sums["audit"] == pytest.approx(listener.totals["audit"])
    assert torch.get_num_threads() == 2
    assert before == [tensor.data_ptr() for tensor in own.module.state_dict().values()]


def test_a_part_of_a_run_has_as_many_shards_on_every_machine(given, two_cores, monkeypatch):
    monkeypatch.setattr("snellen.runs.engines.choosing.WORTH_LANES", 0.0)
    classifier, images, _ = given
    own = load_classifier(classifier.module, classifier.class_names, preparation=classifier.preparation)
    crew = default_crew(work_on(own, images), part="1/2")
    assert (crew.lanes, crew.why) == (1, "this process: it measures one part of a run")


def test_a_network_that_keeps_lists_of_what_it_computed_is_audited(given, tmp_path, two_cores, monkeypatch):
    monkeypatch.setattr("snellen.runs.engines.choosing.WORTH_LANES", 0.0)
    _, images, _ = given

    class Keeping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3 * 28 * 28, 10)

        def forward(self, batch):
            self.kept = [self.layer(batch.flatten(1))]
            return self.kept[0]

    model = load_classifier(Keeping(), images.class_names, size=28)
    audit(model, images, checks=["clean", {"check": "adversarial", "steps": 2}], out=tmp_path / "run", batch_size=4)
    assert engine_of(tmp_path / "run").startswith("2 threads")


def test_a_check_that_needs_a_thread_of_its_own_keeps_the_audit_in_one(given, two_cores, monkeypatch):
    monkeypatch.setattr("snellen.runs.engines.choosing.WORTH_LANES", 0.0)
    classifier, images, _ = given
    own = load_classifier(classifier.module, classifier.class_names, preparation=classifier.preparation)
    assert default_crew(work_on(own, images)).lanes == 2
    monkeypatch.setattr(Adversarial, "concurrent", False)
    crew = default_crew(work_on(own, images))
    assert (crew.lanes, crew.threads) == (1, 2)
    monkeypatch.undo()
    monkeypatch.setattr("snellen.runs.engines.choosing.WORTH_LANES", 0.0)
    monkeypatch.setattr("snellen.runs.engines.choosing.usable_cores", lambda: 2)
    with torch.autocast("cpu"):
        assert default_crew(work_on(own, images)).lanes == 1


@pytest.mark.parametrize("failing", ["at once", "later"])
def test_workers_that_fail_are_done_without(given, whole, tmp_path, monkeypatch, two_cores, failing):
    class Fails(Handed):
        def run(self, work, setup, jobs):
            for done, result in enumerate(super().run(work, setup, jobs)):
                if done == 3 * (failing == "later"):
                    raise WorkerError("worker 1 ended before it could begin")
                yield result

    monkeypatch.setattr("snellen.runs.engines.choosing.Local", lambda _processes: Fails())
    again(given, tmp_path / "run")
    assert content(tmp_path / "run") == content(whole)
    told = "this process, after its workers had failed: worker 1 ended before it could begin"
    assert engine_of(tmp_path / "run") == told


def test_workers_that_were_requested_fail_loudly(given, tmp_path, monkeypatch):
    class Fails(Handed):
        def run(self, work, setup, jobs):
            raise WorkerError("worker 1 ended before it could begin")
            yield

    monkeypatch.setattr("snellen.runs.engines.choosing.Local", lambda _processes: Fails())
    with pytest.raises(WorkerError, match="before it could begin"):
        again(given, tmp_path / "run", processes=2)


def test_what_workers_would_not_have_is_measured_in_this_process(given, two_cores, monkeypatch):
    classifier, images, _ = given
    own = load_classifier(classifier.module, classifier.class_names, preparation=classifier.preparation)
    arrays = load_arrays(np.zeros((9, 28, 28, 3), np.uint8), images.labels[:9], class_names=images.class_names)
    hooked = load_classifier("bundled:fashion-cnn")
    hooked.module.register_forward_hook(lambda _layer, _inputs, scores: -scores)
    reasons = {
        "2 threads of this process: workers load the model themselves, and .* was handed in as an object": (
            own,
            images,
        ),
        "2 threads of this process: workers read the images themselves, and .* made of objects": (classifier, arrays),
        "this process: somebody's hooks or functions are attached": (hooked, images),
    }
    monkeypatch.setattr("snellen.runs.engines.choosing.WORTH_LANES", 0.0)
    for told, (model, data) in reasons.items():
        crew = default_crew(work_on(model, data))
        lanes = 2 if told.startswith("2") else 1
        assert (crew.engine, crew.lanes, crew.threads) == (None, lanes, 2 // lanes)
        assert re.match(told, crew.why)
    monkeypatch.setattr("snellen.runs.engines.choosing.WORTH_LANES", 10.0)
    short = default_crew(work_on(own, images))
    assert (short.lanes, short.threads, short.why[:13]) == (1, 2, "this process:")
    torch.use_deterministic_algorithms(True)
    try:
        assert "torch is set otherwise" in default_crew(work_on(classifier, images)).why
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_plan_says_where_an_audit_would_run(given, two_cores):
    classifier, images, _ = given
    estimate = planned(audit, classifier, images, **OPTIONS)
    assert any(note.startswith("runs in 2 processes of this machine") for note in estimate.notes)


# -- workers that are not what they should be --------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_missing(given, whole, tmp_path):
    class Kills(Silent):
        done = False

        def advance(self, task, amount, note=""):
            if not self.done:
                type(self).done = True
                for thread in Path("/proc/self/task").iterdir():
                    for pid in (thread / "children").read_text().split():
                        os.kill(int(pid), signal.SIGKILL)

    again(given, tmp_path / "run", engine="local", processes=1, threads=1, shards=7, progress=Kills())
    assert Kills.done
    assert content(tmp_path / "run") == content(whole)


def test_another_model_at_the_worker_is_refused(given, tmp_path):
    _, images, _ = given
    classifier = load_classifier("bundled:fashion-cnn")
    next(iter(classifier.module.parameters())).data += 1
    with pytest.raises(WorkerError, match=r"the model of a worker on .* is not that of the run: fingerprint: planned"):
        audit(classifier, images, out=tmp_path / "run", checks=["clean"], engine=Handed())
    assert not (tmp_path / "run" / "report.json").exists()


def test_other_packages_at_the_worker_are_refused(given, tmp_path, monkeypatch):
    classifier, images, _ = given
    from snellen.runs import reopening

    real, calls = reopening.describe_machine, []

    def elsewhere(model):
        """As it is for who asks first, which is this process; other for the worker."""
        calls.append(model)
        return {**real(model), "processor": "abacus"} if len(calls) > 1 else real(model)

    monkeypatch.setattr(reopening, "describe_machine", elsewhere)
    with pytest.raises(WorkerError, match=r"the machine of a worker .* processor: planned .*, here abacus"):
        audit(classifier, images, checks=["clean"], engine=Handed())


def test_other_images_at_the_worker_are_refused(given, tmp_path):
    classifier, images, _ = given
    folder = tmp_path / "images"
    as_files(images, folder)

    def change():
        images.read(30).save(next(folder.rglob("3.png")))

    with pytest.raises(WorkerError, match="some audit images are not those that the run was planned with"):
        audit(classifier, load_images(folder), out=tmp_path / "run", checks=["clean"], engine=Handed(before=change))
    assert not list((tmp_path / "run").glob("shards/*"))


def test_a_folder_by_a_relative_path_and_bad_images(given, tmp_path, monkeypatch):
    classifier, images, _ = given
    monkeypatch.chdir(tmp_path)
    as_files(images, tmp_path / "images")
    (next(tmp_path.rglob("3.png")).with_name("9.png")).write_bytes(b"no picture")
    found = load_images("images")
    monkeypatch.chdir("/")
    for name, options in {"here": {}, "there": {"engine": Handed(3)}}.items():
        monkeypatch.chdir(tmp_path)
        loaded = found if name == "there" else load_images("images")
        monkeypatch.chdir("/" if name == "there" else tmp_path)
        audit(classifier, loaded, out=tmp_path / name, checks=["clean"], batch_size=2, allow_rejected=True, **options)
    assert content(tmp_path / "here") == content(tmp_path / "there")
    assert len(json.loads((tmp_path / "there" / "rejected.json").read_text())) == 1


def test_what_was_handed_in_as_an_object_is_refused_with_what_to_do(given, tmp_path):
    classifier, images, _ = given
    own = load_classifier(classifier.module, classifier.class_names, preparation=classifier.preparation)
    pixels = np.stack([np.asarray(images.read(index)) for index in range(4)])
    arrays = load_arrays(pixels, images.labels[:4], class_names=images.class_names)
    refused = {
        'handed in as an object: load it by a reference.*engine "in_process"': (own, images, ["clean"]),
        "made of objects: load it by a reference, such as": (classifier, arrays, ["clean"]),
    }
    for told, (model, data, checks) in refused.items():
        for engine in ("local", Handed()):
            with pytest.raises(InputError, match=told):
                audit(model, data, out=tmp_path / "run", checks=checks, engine=engine)
    with classifier.edit("stem", torch.zeros_like), pytest.raises(InputError, match="cannot be hashed"):
        audit(classifier, images, checks=["clean"], engine="local")

    class Own(Clean):
        name = "own"

        def measure(self, batch):
            return None

        def conclude(self, reading):
            return CheckResult()

    with pytest.raises(InputError, match="own is not one that comes with this package"):
        audit(classifier, images, checks=["clean", Own()], engine="local")
    assert not (tmp_path / "run").exists(), "refused before anything is written"


def test_labels_that_may_not_be_read_stay_unread_in_workers(given, tmp_path):
    classifier, images, _ = given
    for name, options in {"here": {}, "there": {"engine": Handed()}}.items():
        audit(classifier, images.unlabelled(), out=tmp_path / name, checks=["clean"], **options)
    assert content(tmp_path / "here") == content(tmp_path / "there")
