"""Every verb: engines, parts, plans, budgets, halved batches and pseudonyms change no byte."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import snellen
from snellen.core.budget import Spent
from snellen.core.errors import InputError, ModelError, RunConflictError, WorkerError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.methods.generation.sample import Sample
from snellen.models.remote.sent_log import SENT
from snellen.models.weights.bundled_folders import bundled_folder
from snellen.runs import measuring
from snellen.runs.engines.engine import InProcess
from snellen.runs.estimate import Choice, Cost, choose, try_out
from snellen.runs.shard import Shard
from snellen.systems.plug_and_play_guidance.method import PlugAndPlayGuidance
from tests.auditing.kept_files import mentions
from tests.models.classifiers.served.inference_server import inference_server, linear, refusal
from tests.verbs.every_verb import IMAGES, MODEL, VERBS
from tests.verbs.stopping import Stopping, contents
from tests.verbs.whole_calls import whole_call

#: Tests of servers talk to one of this machine.
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


OVER_IMAGES = [name for name, verb in VERBS.items() if verb.over_images]


@pytest.mark.parametrize("name", VERBS)
def test_workers_give_the_same_bytes(tmp_path, name):
    """An engine object makes the work anew, from JSON values and bytes alone, as a process elsewhere does."""
    VERBS[name](out=tmp_path / "out", engine=InProcess())
    assert contents(tmp_path / "out") == whole_call(name).files


def test_processes_of_this_machine_give_the_same_bytes(tmp_path):
    for folder, options in (("here", {}), ("there", {"engine": "local", "processes": 2})):
        VERBS["attack"](out=tmp_path / folder, threads=1, **options)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


@pytest.mark.parametrize("name", VERBS)
def test_parts_share_a_folder_and_the_rest_concludes(tmp_path, name):
    verb, out = VERBS[name], tmp_path / "out"
    second = verb(out=out, part="2/2")
    assert "shards are there. The same call without a part" in second.note
    assert second.to_json().keys() == {"plan", "note"}
    assert not list(out.glob("*.json")), "no record yet"
    verb(out=out, part="1/2")
    verb(out=out)
    assert contents(out) == whole_call(name).files
    if name not in ("shift", "archive", "generate", "synthesize"):  # which write files in any case
        with pytest.raises(InputError, match="name it with out"):
            verb(part="1/2")


@pytest.mark.parametrize("name", VERBS)
def test_a_plan_says_what_it_costs_and_writes_nothing(tmp_path, name):
    verb = VERBS[name]
    planned = snellen.plan(verb.function, *verb.arguments(), **verb.options, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert planned.items == verb.items
    assert planned.shards >= 1
    assert planned.done == 0
    assert planned.seconds > 0
    assert planned.memory > 10 * 2**20
    assert planned.requests == 0
    assert (planned.queries is None) == (not verb.asks)
    if verb.asks:
        assert planned.queries >= verb.items
    assert str(planned).startswith(planned.what)


def test_passes_of_a_plan_are_those_that_are_made():
    classifier, images = snellen.load_classifier(MODEL), snellen.load_images(IMAGES).limit(64)
    planned = snellen.plan(snellen.explain, classifier, images, "grad_cam")
    with classifier.counting() as spent:
        snellen.explain(classifier, images, "grad_cam")
    assert planned.queries == pytest.approx(spent().queries, rel=0.1)
    assert planned.gradients == pytest.approx(spent().gradients, rel=0.1)


def test_a_plan_of_a_finished_folder(tmp_path):
    verb = VERBS["attack"]
    verb(out=tmp_path / "out")
    planned = snellen.plan(verb.function, *verb.arguments(), **verb.options, out=tmp_path / "out")
    assert planned.done == planned.shards
    assert "nothing is left" in str(planned)
    model, images, _ = verb.arguments()
    with pytest.raises(RunConflictError, match="another attack"):
        snellen.plan(snellen.attack, model, images, "fgsm", **verb.options, out=tmp_path / "out")


def test_a_plan_makes_no_file_of_pseudonyms(tmp_path):
    verb, names = VERBS["attack"], tmp_path / "names.json"
    snellen.plan(verb.function, *verb.arguments(), **verb.options, out=tmp_path / "out", pseudonyms=names)
    model, images, _ = verb.arguments()
    snellen.plan(snellen.audit, model, images, checks=["clean"], out=tmp_path / "audit", pseudonyms=names)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_fits_nothing(tmp_path):
    guided = PlugAndPlayGuidance(
        classifier="bundled:scene-cnn", generator="bundled:scene-diffusion", experts=str(tmp_path / "experts")
    )
    planned = snellen.plan(snellen.generate, guided, "classes:star?count=2", out=tmp_path / "out")
    assert planned.seconds is None
    assert "fits something before its first item" in str(planned)
    assert list(tmp_path.iterdir()) == []


# -- servers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server():
    with inference_server() as running:
        running.description["parameters"] = {"class_names": ["0", "1", "2"]}
        yield running


def served(server):
    return snellen.load_classifier(server.reference)


def pictures(count=6):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 4, 6, 3), dtype=np.uint8)
    labels = linear(pixels.transpose(0, 3, 1, 2) / np.float32(255)).argmax(1)
    return snellen.load_images((pixels, labels), class_names=["0", "1", "2"])


def sent_lines(folder):
    return (folder / SENT).read_text().count("\n") if (folder / SENT).exists() else 0


def test_a_plan_sends_nothing_to_a_server_with_a_budget_or_without(server, tmp_path):
    model, images = served(server), pictures()
    before = len(server.requested)
    for options in ({}, {"budget": "20s"}):
        planned = snellen.plan(snellen.attack, model, images, "square", out=tmp_path / "out", **options)
        assert planned.seconds is None
        assert "nothing is sent to" in str(planned)
        planned = snellen.plan(snellen.audit, model, images, checks=["clean"], **options)
        assert planned.requests == 1
    assert len(server.requested) == before
    assert not (tmp_path / "out").exists()


def test_requests_of_a_budgets_trial_are_recorded_too(server, tmp_path):
    model, images = served(server), pictures(3)
    before = len(server.requested)
    method = {"method": "square", "queries": 5}
    snellen.attack(model, images, method, budget="60s", out=tmp_path / "out")
    assert sent_lines(tmp_path / "out") == len(server.requested) - before
    before = len(server.requested)
    with pytest.raises(InputError, match="too small"):
        snellen.attack(model, images, method, budget=0.001, out=tmp_path / "small")
    assert sent_lines(tmp_path / "small") == len(server.requested) - before > 0


def test_what_is_no_verb_cannot_be_planned():
    with pytest.raises(InputError, match="no verb"):
        snellen.plan(len, "abc")


@pytest.mark.parametrize("name", VERBS)
def test_a_budget_is_resolved_once_and_recorded(tmp_path, name):
    verb = VERBS[name]
    made = verb(out=tmp_path / "out", budget="2h")
    assert made.plan["budget"]["items"] == made.plan["budget"]["of"]
    assert made.plan["budget"]["seconds"] == 7200
    before = contents(tmp_path / "out")
    verb(out=tmp_path / "out", budget="2h")
    assert contents(tmp_path / "out") == before
    with pytest.raises(RunConflictError, match="budget"):
        verb(out=tmp_path / "out")
    with pytest.raises(InputError, match="too small"):
        verb(out=tmp_path / "small", budget=0.001)
    assert not (tmp_path / "small").exists()
    with pytest.raises(InputError, match="parts run side by side"):
        verb(out=tmp_path / "both", budget="2h", part="1/2")


def test_a_budget_takes_as_many_as_fit():
    cost = Cost(once=2.0, each=0.5)
    assert choose(100, 1000, cost, spent=8).items == 160
    assert choose(100, 50, cost, spent=8).items == 50
    assert choose(100, 1000, cost, spent=8, processes=2).items == 320
    with pytest.raises(InputError, match="too small"):
        choose(10, 1000, cost, spent=8)


def test_a_trial_tells_what_comes_once_from_what_comes_with_every_item(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("snellen.runs.estimate.time.perf_counter", lambda: clock[0])

    class Work:
        def measure(self, of, items, put, progress):
            clock[0] += 3.0 + 0.25 * len(items)
            spent = Spent(queries=100 + 7 * len(items))
            return Shard({"a": Evidence.of(["x"], setting="a", model="m", spent=spent)})

    trial = try_out(lambda count: (Work(), [range(count)]), 1000, (), 60.0)
    assert (trial.seconds.once, trial.seconds.each) == (pytest.approx(3.0), pytest.approx(0.25))
    assert (trial.queries.once, trial.queries.each) == (pytest.approx(100), pytest.approx(7))


def test_a_call_that_a_budget_made_smaller_goes_on_and_is_that_of_so_many_images(tmp_path, monkeypatch):
    verb = VERBS["attack"]
    choice = Choice(seconds=300.0, items=4, of=verb.items, estimated=1.0)
    monkeypatch.setattr("snellen.runs.runner.choose", lambda *_: choice)
    with pytest.raises(KeyboardInterrupt):
        verb(out=tmp_path / "out", budget="5m", progress=Stopping(3, "attacking"))
    monkeypatch.setattr("snellen.runs.runner.choose", lambda *_: pytest.fail("it was chosen already"))
    made = verb(out=tmp_path / "out", budget="5m")
    assert made.plan["budget"]["items"] == 4
    assert made.evidence.table == verb(limit=4).evidence.table


def test_requests_of_work_that_fails_elsewhere_are_recorded_too(server, tmp_path):
    images = snellen.load_images(as_files(pictures(30), tmp_path / "images"))
    model, real, before = snellen.load_classifier(f"{server.reference}?retries=0"), server.post, len(server.requested)
    server.post = lambda received: refusal(503, "gone") if len(server.requested) > before + 8 else real(received)
    with pytest.raises(ModelError, match="gone"):
        snellen.attack(model, images, {"method": "square", "queries": 9}, out=tmp_path / "out", engine=InProcess())
    # The worker loads the model again, which sends the noise that loading sends, and no images of the run.
    assert sent_lines(tmp_path / "out") == len(server.requested) - 2 * before > 4


def garments(count):
    """Images whose classes can be folders: 'T-shirt/top' cannot."""
    images = snellen.load_images(IMAGES)
    return images.select(np.flatnonzero(images.labels > 0)[:count])


def as_files(images, folder):
    for number, one in enumerate(images):
        place = folder / images.class_names[one.label]
        place.mkdir(parents=True, exist_ok=True)
        one.image.save(place / f"{number}.png")
    return folder


def test_one_part_may_run_twice_at_once(tmp_path):
    verb = VERBS["shift"]
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(verb, out=tmp_path / "out", part="1/1") for _ in range(2)]
        assert {run.result().note.partition(";")[0] for run in runs} == {"Part 1/1 is done"}
    verb(out=tmp_path / "out")
    verb(out=tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", ["attack", "certify", "explain", "shift"])
def test_where_memory_is_short_batches_are_halved_and_the_evidence_is_the_same(tmp_path, monkeypatch, name):
    """A work that cannot hold two items fails as torch does, and is asked for one after the other."""
    whole = whole_call(name).files  # made before anything is halved
    limit, halved = [1], []
    real = measuring.measure

    def short(pieces, work, *rest, **options):
        def loaded():
            own = work()

            class Short:
                def measure(self, of, items, put, progress):
                    if len(items) > limit[0]:
                        halved.append(items)
                        raise torch.OutOfMemoryError("CUDA out of memory")
                    return own.measure(of, items, put, progress)

            return Short()

        return real(pieces, loaded, *rest, **options)

    monkeypatch.setattr("snellen.runs.runner.measure", short)
    made = VERBS[name](out=tmp_path / "out")
    assert halved
    found = contents(tmp_path / "out")
    assert found.keys() == whole.keys()
    if name in ("certify", "shift"):
        assert found == whole
    else:  # the processor gives other last digits for one image than for two
        monkeypatch.setattr("snellen.runs.runner.measure", real)
        usual = VERBS[name]()
        for column in ("example_id", "setting", "status", "prediction"):
            assert made.evidence.table[column] == usual.evidence.table[column]
        for mine, theirs in zip(made.evidence.table["value"], usual.evidence.table["value"], strict=True):
            assert mine.as_py() == pytest.approx(theirs.as_py(), abs=1e-5)
        monkeypatch.setattr("snellen.runs.runner.measure", short)
    limit[0] = 0
    with pytest.raises(torch.OutOfMemoryError):
        VERBS[name](out=tmp_path / "never")


def test_rejected_images_come_in_the_order_of_the_set_however_they_were_measured(tmp_path):
    """Of a batch those that cannot be read are known first, and those without finite scores after them."""
    images = snellen.load_images(as_files(garments(6), tmp_path / "images"))
    lost, broken = images.ids[1], images.ids[3]
    (tmp_path / "images" / broken).write_bytes(b"no picture")
    usual = snellen.load_classifier(MODEL)
    bad = usual.prepare(images.read(1))

    def scores(batch):
        found = usual(batch)
        found[(batch - bad).abs().amax((1, 2, 3)) == 0] = torch.nan
        return found

    model = snellen.Classifier(scores, class_names=usual.class_names, preparation=usual.preparation)
    for size in (6, 1):
        made = snellen.attack(model, images, {"method": "square", "queries": 2}, batch_size=size, allow_rejected=True)
        assert [one.id for one in made.rejected] == [lost, broken], size


def test_images_that_changed_are_refused_by_the_workers_of_every_verb(tmp_path):
    folder = as_files(garments(4), tmp_path / "images")
    images = snellen.load_images(folder)

    class Late(InProcess):
        def run(self, work, setup, jobs):
            snellen.load_images(IMAGES).read(9).save(folder / images.ids[2])
            return super().run(work, setup, jobs)

    with pytest.raises(WorkerError, match="are not those that the run was planned with"):
        snellen.attack(snellen.load_classifier(MODEL), images, "fgsm", engine=Late())


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", "C:/x", "a\\b"])
def test_a_worker_writes_nothing_outside_the_folder(tmp_path, path):
    with pytest.raises(InputError, match="no path inside the folder"):
        measuring.Files(tmp_path / "out").put(path, b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")])
def test_other_words_for_the_same_shortage(error):
    class Work:
        def measure(self, of, items, put, progress):
            if len(items) > 1:
                raise error
            return Shard(extra={"rows": list(items)})

    found = measuring.measure_items(Work(), "", range(3, 8), lambda *_: None, None)
    assert found.extra["rows"] == [3, 4, 5, 6, 7]


def test_other_errors_are_no_shortage():
    class Work:
        def measure(self, of, items, put, progress):
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        measuring.measure_items(Work(), "", range(8), lambda *_: None, None)


def test_objects_cannot_be_handed_to_workers(tmp_path):
    images = snellen.load_images(IMAGES).limit(2)
    module = snellen.load_classifier(MODEL).module
    own = snellen.load_classifier(module, images.class_names, preparation=snellen.Preprocessing(size=(28, 28)))
    with pytest.raises(InputError, match="workers load the model themselves"):
        snellen.attack(own, images, "fgsm", engine=InProcess())
    held = ImageSet(images.source, images.table, images.class_names, rows=images.rows)
    with pytest.raises(InputError, match="workers read the images themselves"):
        snellen.attack(snellen.load_classifier(MODEL), held, "fgsm", engine=InProcess())


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OVER_IMAGES)
def test_pseudonyms_go_with_workers_and_parts(tmp_path, name):
    verb, names = VERBS[name], tmp_path / "names.json"
    verb(out=tmp_path / "here", pseudonyms=names)
    verb(out=tmp_path / "there", pseudonyms=names, engine=InProcess())
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    known = json.loads(names.read_text())["names"].values()
    ids = set(snellen.load_images(IMAGES).ids) & set(known)
    assert ids, "ids of images stand in the owner's file"


def test_models_that_make_images_are_not_named(tmp_path):
    """Neither in the record nor in the provenance of the images, in this process or in a worker."""
    folder = tmp_path / "Rosengarten" / "diffusion of Dr. Doe"
    shutil.copytree(Path(bundled_folder("scene-diffusion")), folder)
    method = Sample(generator=f"diffusers:{folder}", steps=2)
    names = tmp_path / "names.json"
    for place, options in (("here", {}), ("there", {"engine": InProcess()})):
        out = tmp_path / "out" / place
        snellen.generate(method, ["a red star", "a blue ring"], out=out, pseudonyms=names, **options)
        assert mentions(out, ("Rosengarten", "Doe")) == {}
    assert contents(tmp_path / "out" / "here") == contents(tmp_path / "out" / "there")
    snellen.generate(method, ["a red star"], out=tmp_path / "plain")
    assert mentions(tmp_path / "plain", ("Rosengarten", "Doe")), "what the test relies on"


def test_requests_under_pseudonyms(tmp_path):
    made = VERBS["generate"](out=tmp_path / "out", pseudonyms=tmp_path / "names.json")
    assert "pseudonyms" in made.plan
    written = b"".join(contents(tmp_path / "out").values())
    assert b"star-0001" not in written
    assert {"star-0001", "ring-0002"} <= set(json.loads((tmp_path / "names.json").read_text())["names"].values())
