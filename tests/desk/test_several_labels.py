"""Reviews of audits of several labels an image: each decision is about one label."""

import csv
import html
import io
import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import snellen
from snellen.auditing.audit import audit
from snellen.cli.app import app
from snellen.core.finding import Finding
from snellen.desk.commands import treat_command
from snellen.desk.desk import Desk
from snellen.desk.export import decided_table
from snellen.desk.queues import queue_of
from snellen.desk.run_folder import finding_id
from tests.auditing.several_labels import NAMES, SIDE, classifier, image_set, network
from tests.desk.made_runs import Caller


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    audit(classifier(), image_set(), checks=["labels", "label_noise", "slices"], out=folder / "run")
    return folder


@pytest.fixture
def desk(place, tmp_path):
    made = Desk(place, tmp_path / "store")
    yield made
    made.close()


def test_a_queue_of_a_label_offers_it_and_its_opposite(desk):
    (run,) = desk.workplace.runs()
    assert run.several
    worst = next(one for one in run.findings if one.kind == "worst_class")
    queue = desk.queue(run, worst)
    assert queue.label == worst.facts["label"] == "mass"
    assert queue.classes(run) == ("mass", "no mass")
    images = image_set()
    sets = dict(zip(images.ids, images.label_sets.tolist(), strict=True))
    assert queue.items, "the images with the label that the model does not find"
    assert all(sets[item.images[0]][NAMES.index("mass")] == 1 for item in queue.items)
    assert {(item.given, item.suggested) for item in queue.items} == {("mass", "no mass")}
    assert len(queue.items) == worst.facts["missed"]


def test_suspects_of_one_label_are_not_those_of_another(desk):
    (run,) = desk.workplace.runs()
    noise = Finding(
        kind="label_noise", subject="mass", harm=0.1, title="mass: labels look wrong", facts={"label": "mass"}
    )
    items = queue_of(run, noise, desk.table(run)).items
    assert items
    assert {item.given for item in items} <= {"mass", "no mass"}
    other = noise.model_copy(update={"facts": {"label": "edema"}})
    assert all(one.given.endswith("edema") for one in queue_of(run, other, desk.table(run)).items)


def test_decisions_are_kept_for_the_label_and_the_table_leaves_the_others(desk, tmp_path):
    (run,) = desk.workplace.runs()
    worst = next(one for one in run.findings if one.kind == "worst_class")
    queue, caller = desk.queue(run, worst), Caller(desk)
    address = f"/runs/{run.id}/review/{finding_id(worst)}"
    page = caller.get(address).text
    assert "<option>no mass</option>" in page
    assert "<option>edema</option>" not in page
    first, second, third = queue.items[:3]

    def decide(item, **given):
        return caller.post(f"{address}/decide", {"item": item.key, "reviewer": "Ada", **given}).status

    assert decide(first, verdict="relabel", label="no mass") == 200
    assert decide(second, verdict="keep") == 200
    assert decide(third, verdict="drop") == 200
    assert decide(first, verdict="relabel", label="edema") == 400, "another label is another question"
    images = image_set()
    table = decided_table(images, desk.reviewed(run))
    assert (table.changed, table.dropped, table.disputed) == (1, 1, 0)
    file = tmp_path / "decided.csv"
    file.write_text(table.csv())
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(table.csv()))}
    assert rows[first.images[0]]["decided"] == "mass: relabel"
    assert rows[third.images[0]]["labels"] == ""
    before = dict(zip(images.ids, images.label_sets.tolist(), strict=True))
    for name, row in rows.items():
        expected = {one for one, bit in zip(NAMES, before[name], strict=True) if bit > 0}
        expected -= {"mass"} if name == first.images[0] else set()
        if name != third.images[0]:
            assert {one for one in row["labels"].split("|") if one != "none"} == expected
    # What is read back are the labels of the table.
    arrays = tmp_path / "images.csv"
    lines = ["path"]
    for place in range(len(images)):
        images[place].image.save(tmp_path / f"{images.ids[place]}.png")
        lines.append(f"{images.ids[place]}.png")
    arrays.write_text("\n".join(lines))
    text = file.read_text().splitlines()
    file.write_text("\n".join([text[0], *(line.replace(",", ".png,", 1) for line in text[1:])]))
    read = snellen.load_images(arrays, table=file, columns={"image": "id", "labels": "labels"})
    after = dict(zip((one.removesuffix(".png") for one in read.ids), read.label_sets.tolist(), strict=True))
    order = [read.class_names.index(name) for name in NAMES]
    assert [after[first.images[0]][place] for place in order] == [
        bit if name != "mass" else 0 for name, bit in zip(NAMES, before[first.images[0]], strict=True)
    ]
    assert set(after[third.images[0]]) == {-1}, "nothing is known of a dropped image"


def test_a_finding_of_a_label_is_treated_with_validation_images(desk):
    (run,) = desk.workplace.runs()
    worst = next(one for one in run.findings if one.kind == "worst_class")
    assert worst in run.treatable
    form = {"train": ["new.csv"], "finding": [worst.key]}
    words, _ = treat_command(form, run, desk.workplace.place, plan=True)
    assert words == ["snellen", "treat", str(run.path), "--val", "new.csv", "--finding", worst.key, "--plan-only"]


def test_a_finding_about_no_label_offers_no_relabelling(desk):
    (run,) = desk.workplace.runs()
    whole = Finding(kind="duplicate", subject="near", harm=0.1, title="Copies")
    assert queue_of(run, whole, None).classes(run) == ()


def test_what_names_do_not_say_is_said_by_numbers(desk):
    """That one label of an image is unknown, that no image has a label, names that no table holds."""
    (run,) = desk.workplace.runs()
    images, reviewed = image_set(), desk.reviewed(run)
    sets = images.label_sets
    assert {row["labels"] for row in decided_table(images, reviewed).rows} >= {"none", "effusion|edema"}

    def table(labels, names=NAMES):
        column = images.table.column_names.index("labels")
        changed = images.table.set_column(
            column,
            images.table.schema.field(column),
            pa.chunked_array([labels.tolist()], images.table.schema.field(column).type),
        )
        return [
            json.loads(row["labels"])
            for row in decided_table(replace(images, table=changed, class_names=names), []).rows
        ]

    one_unknown, no_mass = sets.copy(), sets.copy()
    one_unknown[3, 1] = -1
    no_mass[:, 2] = 0
    assert table(one_unknown) == one_unknown.tolist(), "the labels that are known stay"
    assert table(no_mass) == no_mass.tolist()
    assert table(sets, ("a|b", "edema", "mass")) == sets.tolist()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """An audit whose classifier and images were loaded from files, with what the file of the model does not say."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import helper, numpy_helper

    folder = tmp_path_factory.mktemp("several labels")
    layers = network(30)
    tensors = {
        f"{name}{place}": getattr(layers[place], name).detach().numpy()
        for place in (2, 4)
        for name in ("weight", "bias")
    }
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("AveragePool", ["images"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", ["pooled"], ["flat"]),
            node("Gemm", ["flat", "weight2", "bias2"], ["first"], transB=1),
            node("Relu", ["first"], ["hidden"]),
            node("Gemm", ["hidden", "weight4", "bias4"], ["out"], transB=1),
        ],
        "g",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "c.onnx")
    images = image_set(120)
    with (folder / "chests.csv").open("w") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "labels"])
        for place, bits in enumerate(images.label_sets.tolist()):
            images[place].image.save(folder / f"{place}.png")
            rows.writerow([f"{place}.png", "|".join(n for n, bit in zip(NAMES, bits, strict=True) if bit) or "none"])
    model = snellen.load_classifier(f"onnx:{folder / 'c.onnx'}", NAMES, task="multi_label", size=SIDE, output="logits")
    data = snellen.load_images(folder / "chests.csv")
    assert data.class_names != NAMES, "names are in another order in the table"
    for name, limit in (("whole", None), ("part", 100)):
        audit(model, data, checks=["labels", {"check": "duplicates", "examples": 3}], limit=limit, out=folder / name)
    return folder


@pytest.mark.parametrize("name", ["whole", "part"])
def test_the_printed_line_audits_them_again_with_the_decided_labels(loaded, tmp_path, name):
    desk = Desk(loaded / name, tmp_path / "store")
    run = next(one for one in desk.workplace.runs() if one.path.name == name)
    worst = next(one for one in run.findings if one.kind == "worst_class")
    queue, caller = desk.queue(run, worst), Caller(desk)
    given = {"item": queue.items[0].key, "reviewer": "Ada", "verdict": "relabel", "label": f"no {queue.label}"}
    assert caller.post(f"/runs/{run.id}/review/{finding_id(worst)}/decide", given).status == 200
    shown = caller.post(f"/runs/{run.id}/decided/write", {}).text
    assert "as they were audited before" in shown
    (line,) = re.findall(r'<code class="command">(.*?)</code>', shown)
    words = shlex.split(html.unescape(line))
    assert ("--limit" in words) == (name == "part")
    found = CliRunner().invoke(app, words[1:])
    assert found.exit_code == 0, found.output
    before, after = (json.loads((folder / "manifest.json").read_bytes()) for folder in (run.path, Path(words[-1])))
    assert before["checks"] == after["checks"]
    assert before["model"] == after["model"]
    assert before["contents"] == after["contents"], "the same images"
    assert before["data"]["fingerprint"] != after["data"]["fingerprint"], "under other labels"
    old, new = (snellen.open_report(folder).metrics for folder in (run.path, words[-1]))
    assert old.keys() == new.keys()
    assert sum(old[one].value != new[one].value for one in old if one.startswith("labels.")) > 0
    desk.close()


@pytest.mark.parametrize("damaged", [False, True])
def test_images_that_could_not_be_measured_have_no_known_label(desk, place, tmp_path, damaged):
    """Nothing stands in their rows; a list of labels of another length is damaged, and its queue has the examples."""
    (run,) = desk.workplace.runs()
    worst = next(one for one in run.findings if one.kind == "worst_class")
    (first, *others) = desk.queue(run, worst).items
    shutil.copytree(place / "run", tmp_path / "copy")
    file = tmp_path / "copy" / "evidence" / "clean.parquet"
    table = pq.read_table(file)
    row = table["example_id"].to_pylist().index(first.images[0])
    for name in ("label_sets", "decision_sets"):
        at, rows = table.column_names.index(name), table[name].to_pylist()
        rows[row] = None
        column = pa.array([[1]] * len(rows)) if damaged else pa.array(rows, table[name].type)
        table = table.set_column(at, name, column)
    pq.write_table(table, file)
    copied = Desk(tmp_path / "copy")
    (run,) = copied.workplace.runs()
    queue = copied.queue(run, worst)
    if damaged:
        assert {item.images[0] for item in queue.items} == {one.example_id for one in worst.examples}
    else:
        assert queue.items == tuple(others)
    copied.close()
