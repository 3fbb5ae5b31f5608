"""Audits of a classifier on a server: the same figures as here, a record of what was sent, and servers that go away."""

import hashlib
import importlib.util
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import snellen
from snellen.auditing.report import AuditReport
from snellen.auditing.shard_work import ShardWork
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, RunConflictError
from snellen.core.images import ImageSet
from snellen.models.classifiers.references import load_classifier
from snellen.models.remote.permission import permitted, permitting
from snellen.models.remote.sent_log import SENT
from snellen.runs.engines.engine import InProcess
from snellen.runs.measuring import Job
from snellen.runs.reopening import open_work
from tests.models.classifiers.served.inference_server import (
    InferenceServer,
    Scripted,
    inference_server,
    linear,
    refusal,
)

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "serve_classifier.py"
CHECKS = ["clean", {"check": "corruption", "severities": [2], "kinds": ["gaussian_noise"]}]


@pytest.fixture
def server() -> Iterator[InferenceServer]:
    with inference_server() as running:
        running.description["parameters"] = {"class_names": ["0", "1", "2"]}
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 4, 6, 3), dtype=np.uint8)
    labels = np.arange(16, dtype=np.uint8)[:, None] % 3
    np.savez(tmp_path / "photos.npz", test_images=pixels, test_labels=labels)
    return tmp_path / "photos.npz"


def images(photos: Path) -> ImageSet:
    return snellen.load_images(photos)


def served(server: InferenceServer, settings: str = "retries=1&backoff=0") -> Classifier:
    return load_classifier(f"{server.reference}?{settings}")


def audit(classifier: Classifier, photos: Path, out: Path, **options: object) -> AuditReport:
    return snellen.audit(classifier, images(photos), out=out, checks=CHECKS, batch_size=1, **options)  # type: ignore[arg-type]


def sent(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / SENT).read_text().splitlines()]


def test_an_audit_over_http_is_the_audit_of_the_same_model_here(tmp_path: Path) -> None:
    """With the server of the docs. The model here is a callable too: a server has no gradients, and no layers."""
    spec = importlib.util.spec_from_file_location("serve_classifier", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    local, checks = load_classifier("bundled:fashion-cnn"), [*CHECKS, "calibration", "adversarial", "data_quality"]
    running = example.server(local, 0)
    running.RequestHandlerClass.log_message = lambda *_arguments: None
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        remote = load_classifier(f"http://127.0.0.1:{running.server_port}/v2/models/served?batch=64")
        here = Classifier(
            lambda batch: local(batch),
            class_names=local.class_names,
            preparation=local.preparation,
            output=local.output,
            name=remote.name,
            identity=remote.identity,
            notes=remote.notes,
        )
        chosen = snellen.load_images("bundled:fashion-mnist").limit(40)
        batch = torch.stack([local.prepare(example.image) for example in chosen])
        assert torch.equal(remote(batch), local(batch))
        for classifier, folder in ((remote, "there"), (here, "here")):
            snellen.audit(classifier, chosen, out=tmp_path / folder, checks=checks, seed=3)
    finally:
        running.shutdown()
        thread.join()
        running.server_close()
    there, local_report = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("there", "here"))
    (note,) = set(there["notes"]) - set(local_report["notes"])
    assert note.startswith("40 images were sent to 127.0.0.1, prepared as the model takes them")
    there["notes"].remove(note)
    assert there == local_report
    for path in sorted((tmp_path / "here" / "evidence").iterdir()):
        assert path.read_bytes() == (tmp_path / "there" / "evidence" / path.name).read_bytes(), path.name
    assert note.split(",")[0] in (tmp_path / "there" / "report.html").read_text()
    assert not (tmp_path / "here" / SENT).exists()


def test_the_record_names_every_image_by_its_hash(server: InferenceServer, photos: Path, tmp_path: Path) -> None:
    classifier = served(server)
    before = len(server.requested)
    report = audit(classifier, photos, tmp_path / "run")
    lines = sent(tmp_path / "run")
    assert [one["bytes"] for one in lines] == [len(one.body) for one in server.requested[before:]]
    told = {hash_ for one in lines for hash_ in one["sha256"]}
    for example in images(photos):
        prepared = classifier.prepare(example.image).numpy()
        assert hashlib.sha256(prepared.tobytes()).hexdigest() in told
    assert any(note.startswith("16 images were sent to 127.0.0.1") for note in report.notes)
    assert "photos" not in (tmp_path / "run" / SENT).read_text()


def test_a_server_that_comes_back_is_survived(server: InferenceServer, photos: Path, tmp_path: Path) -> None:
    audit(served(server), photos, tmp_path / "whole")
    classifier = served(server)
    real, count = server.post, iter(range(10_000))
    server.post = lambda received: refusal(503) if next(count) % 7 == 3 else real(received)  # type: ignore[method-assign]
    audit(classifier, photos, tmp_path / "shaken")
    whole, shaken = (tmp_path / name / "report.json" for name in ("whole", "shaken"))
    assert whole.read_bytes() == shaken.read_bytes()
    assert {one["status"] for one in sent(tmp_path / "shaken")} == {200, 503}


def test_a_server_that_stays_away_stops_a_run_that_goes_on_later(
    server: InferenceServer, photos: Path, tmp_path: Path
) -> None:
    audit(served(server), photos, tmp_path / "whole")
    classifier = served(server)
    real, before = server.post, len(server.requested)
    server.post = lambda received: (  # type: ignore[method-assign]
        refusal(503, "gone") if len(server.requested) > before + 18 else real(received)
    )
    with pytest.raises(ModelError, match=r"does not recover \(2 attempts\): .*gone"):
        audit(classifier, photos, tmp_path / "run")
    assert list((tmp_path / "run" / "shards").iterdir())
    assert not (tmp_path / "run" / "report.json").exists()
    stopped = sent(tmp_path / "run")
    assert [one["status"] for one in stopped[-2:]] == [503, 503]
    server.post = real  # type: ignore[method-assign]
    audit(served(server), photos, tmp_path / "run")
    assert (tmp_path / "run" / "report.json").read_bytes() == (tmp_path / "whole" / "report.json").read_bytes()
    assert sent(tmp_path / "run")[: len(stopped)] == stopped
    assert len(sent(tmp_path / "run")) - len(stopped) < len(sent(tmp_path / "whole")), "what was done is not sent again"


def test_another_model_at_the_same_address_is_another_run(
    server: InferenceServer, photos: Path, tmp_path: Path
) -> None:
    audit(served(server), photos, tmp_path / "run")
    server.network = lambda batch: linear(batch)[:, ::-1]
    with pytest.raises(RunConflictError, match="differs in: model"):
        audit(served(server), photos, tmp_path / "run")


def test_a_model_that_answers_otherwise_each_time_is_not_taken_up(
    server: InferenceServer, photos: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    server.network = lambda batch: linear(batch) + rng.normal(size=(len(batch), 3)).astype(np.float32)
    audit(served(server), photos, tmp_path / "run")
    with pytest.raises(InputError, match="cannot be hashed"):
        audit(served(server), photos, tmp_path / "run")


def test_an_image_without_finite_scores_is_rejected_by_name(
    server: InferenceServer, photos: Path, tmp_path: Path
) -> None:
    odd = classifier_input(images(photos), 7, served(server))

    def network(batch: np.ndarray) -> np.ndarray:
        scores = linear(batch)
        scores[(batch == odd).all((1, 2, 3))] = np.nan
        return scores

    server.network = network
    report = audit(served(server), photos, tmp_path / "run", allow_rejected=True)
    rejected = json.loads((tmp_path / "run" / "rejected.json").read_text())
    assert [row["id"] for row in rejected] == [images(photos).ids[7]]
    assert report.data["used"] == 15
    assert any(note.startswith("16 images were sent") for note in report.notes)


def classifier_input(chosen: ImageSet, place: int, classifier: Classifier) -> np.ndarray:
    return classifier.prepare(chosen[place].image).numpy()


def test_an_answer_that_is_none_stops_the_run(server: InferenceServer, photos: Path, tmp_path: Path) -> None:
    classifier = served(server)
    server.script = [Scripted(b"<html>Sign in</html>")]
    with pytest.raises(ModelError, match="no JSON object came, but '<html>Sign in"):
        audit(classifier, photos, tmp_path / "run")
    audit(classifier, photos, tmp_path / "run")


def test_workers_hand_on_what_they_sent(server: InferenceServer, photos: Path, tmp_path: Path) -> None:
    audit(served(server), photos, tmp_path / "here")
    audit(served(server), photos, tmp_path / "worked", engine=InProcess())
    audit(served(server), photos, tmp_path / "elsewhere", engine="local", processes=1)
    expected = [one["sha256"] for one in sent(tmp_path / "here")]
    for name in ("worked", "elsewhere"):
        assert (tmp_path / name / "report.json").read_bytes() == (tmp_path / "here" / "report.json").read_bytes()
        assert [one["sha256"] for one in sent(tmp_path / name)] == expected, name


def test_workers_may_reach_what_the_run_may_and_no_more(
    server: InferenceServer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, chosen = served(server), images(photos)
    with permitting(["a.example"]):
        setup = ShardWork(classifier, {"audit": chosen}, {"audit": ()}, (), 2, 0, 0, True).reopening().setup()
    seen: list[object] = []
    network = ShardWork.measure
    monkeypatch.setattr(ShardWork, "measure", lambda *args: seen.append(permitted()) or network(*args))
    work = open_work(json.loads(json.dumps(setup)))
    work(Job("audit", range(2)).to_bytes())
    assert seen == [("a.example",)]
    assert permitted() == ()
