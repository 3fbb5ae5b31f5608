"""Reviews of audits of several labels an image: each decision is about one label."""

import csv
import io

import pytest

import snellen
from snellen.auditing.audit import audit
from snellen.core.finding import Finding
from snellen.desk.desk import Desk
from snellen.desk.export import decided_table
from snellen.desk.queues import queue_of
from snellen.desk.workplace import finding_id
from tests.auditing.several_labels import NAMES, classifier, image_set
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


def test_a_finding_about_no_label_offers_no_relabelling(desk):
    (run,) = desk.workplace.runs()
    whole = Finding(kind="duplicate", subject="near", harm=0.1, title="Copies")
    assert queue_of(run, whole, None).classes(run) == ()
