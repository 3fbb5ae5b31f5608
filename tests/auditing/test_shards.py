"""How an audit is cut into shards, and what travels between who asks and who measures."""

import json
import sys
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch

from snellen.auditing.plan import shard_count, stretch
from snellen.auditing.shard_work import Provisional
from snellen.core.budget import Spent
from snellen.core.errors import InputError, MissingExtraError, UnknownNameError
from snellen.core.evidence import Evidence
from snellen.runs.engines.choosing import choose_engine, recorded
from snellen.runs.engines.engine import InProcess
from snellen.runs.engines.local import Local
from snellen.runs.measuring import Job, read_part
from snellen.runs.shard import Shard


@pytest.mark.parametrize("images", [1, 5, 64, 65, 1000])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("asked", [None, 1, 3, 7, 10_000])
def test_shards_are_whole_batches_of_the_whole_set_in_its_order(images, batch_size, asked):
    shards = shard_count(images, batch_size, asked)
    batches = -(-images // batch_size)
    assert shards == (-(-batches // 8) if asked is None else min(asked, batches))
    parts = [stretch(shard, shards, images, batch_size) for shard in range(shards)]
    assert [place for part in parts for place in part] == list(range(images))
    assert all(part.start % batch_size == 0 and len(part) for part in parts)
    sizes = [-(-len(part) // batch_size) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_parts():
    assert read_part("1/1") == (1, 1)
    assert read_part(" 12/20 ") == (12, 20)
    for wrong in ("0/3", "4/3", "1/0", "1", "1/2/3", "a/b", "-1/3", "1.0/3", "", "１/３x"):
        with pytest.raises(InputError, match="a part is I/N"):
            read_part(wrong)
    with pytest.raises(InputError, match="at least 1 shard"):
        shard_count(10, 2, 0)


def test_a_job_arrives_as_it_was_sent():
    for sent in (Job("train", range(3, 9), range(3, 9), "hash"), Job("", range(1))):
        assert Job.from_bytes(sent.to_bytes()) == sent


def test_a_result_arrives_as_it_was_sent():
    odd = pa.array([[1.5, float("nan")], [-0.0, float("inf")]], pa.list_(pa.float32()))
    first = Evidence.of(
        ["a", "b"], setting="clean", model="m", value=[0.1, None], extra={"scores": odd}, spent=Spent(queries=2),
        assumptions=["one", "two"], control="chance: 0.5",
    )  # fmt: skip
    first = Evidence.merge([first, Evidence(first.table, blobs={"x" * 64: b"\0picture", "y" * 64: b""})])
    extra = {"rejected": [{"id": "c", "reason": "lies „so“"}]}
    files = {"a/ü.png": b"\x89PNG", "empty": b""}
    sent = Shard({"clean": first, "nothing": Evidence.merge([])}, extra, {"reading": 0.1 + 0.2}, files, ["line\n"])
    result = Shard.from_bytes(sent.to_bytes())
    assert list(result.evidence) == ["clean", "nothing"]
    assert (result.extra, result.seconds, result.files, result.sent) == (extra, sent.seconds, files, ["line\n"])
    for name, evidence in sent.evidence.items():
        came = result.evidence[name]
        assert came.table.schema.equals(evidence.table.schema)
        assert came.table.to_pydict().keys() == evidence.table.to_pydict().keys()
        assert repr(came.table.to_pydict()) == repr(evidence.table.to_pydict())
        if len(evidence):  # Parquet files show how a table is cut
            assert [c.num_chunks for c in came.table.columns] == [c.num_chunks for c in evidence.table.columns]
        assert (came.spent, came.assumptions, came.control, came.blobs) == (
            evidence.spent, evidence.assumptions, evidence.control, dict(evidence.blobs),
        )  # fmt: skip


# -- choosing an engine ------------------------------------------------------------------------------------------------


def test_engines_by_name(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 12)
    monkeypatch.setattr("snellen.runs.engines.choosing._cores", lambda: 6)
    assert (choose_engine("in_process").engine, choose_engine("in_process").threads) == (None, 12)
    local = choose_engine("local")
    assert isinstance(local.engine, Local)
    assert local.threads == 2, "twelve threads among six processes, one for each core"
    assert choose_engine("local", processes=5).threads == 2
    assert choose_engine("local", processes=50).threads == 1
    assert choose_engine("local", processes=2, threads=3).threads == 3
    mine = InProcess()
    assert choose_engine(mine).engine is mine


def test_threads_of_ray(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr("torch.get_num_threads", lambda: 12)
    assert choose_engine("ray", processes=3).threads == 4
    assert choose_engine("ray", address="head:6379").threads == 1


def test_without_ray_it_is_said_what_to_install_before_anything_begins(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("snellen.runs.engines.ray_cluster.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'snellen\[ray\]'"):
        choose_engine("ray")


@pytest.mark.parametrize(
    ("engine", "options", "told"),
    [
        ("in_process", {"processes": 2}, "one process"),
        ("in_process", {"address": "head:6379"}, "address .* Ray"),
        ("local", {"address": "head:6379"}, "address .* Ray"),
        ("local", {"processes": 0}, "processes must be at least 1, got 0"),
        ("local", {"threads": 0}, "threads must be at least 1, got 0"),
        ("ray", {"address": "local"}, "HOST:PORT or auto, got 'local'"),
        ("ray", {"address": " "}, "HOST:PORT"),
        (InProcess(), {"processes": 2}, "knows its own"),
        (InProcess(), {"threads": 0}, "threads must be at least 1, got 0"),
    ],
)
def test_options_that_do_not_belong_together(engine, options, told):
    with pytest.raises(InputError, match=told):
        choose_engine(engine, **options)


def test_an_unknown_engine():
    with pytest.raises(UnknownNameError, match="unknown engine 'locl'; did you mean 'local'"):
        choose_engine("locl")


def test_what_a_run_recorded(tmp_path):
    assert recorded(tmp_path) == (None, {})
    for broken in ("", "[]", '{"threads": 2}', '{"threads": "x", "shards": {}}', '{"threads": 1, "shards": 3}'):
        (tmp_path / "manifest.json").write_text(broken)
        assert recorded(tmp_path) == (None, {})
    (tmp_path / "manifest.json").write_text(json.dumps({"threads": 2, "shards": {"audit": 5}}))
    assert recorded(tmp_path) == (2, {"audit": 5})


def test_the_accuracy_so_far_is_that_of_labelled_images():
    classifier = SimpleNamespace(predict=lambda scores: scores.argmax(1), task="single")
    so_far = Provisional()
    for labels in ([0, 1, -1], [1, -1, -1]):
        so_far.count(SimpleNamespace(classifier=classifier, labels=torch.tensor(labels), scores=torch.eye(3)))
    assert (so_far.right, so_far.seen) == (2, 3)
    assert Provisional().after("clean") == "clean"
