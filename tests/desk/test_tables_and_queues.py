"""Filters, queues, and the exported table."""

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import snellen
from snellen.core.errors import InputError
from snellen.desk import queues
from snellen.desk.export import decided_table, reference_of, shell_line, treat_words
from snellen.desk.image_table import ImageTable, Query
from snellen.desk.queues import ids_of, queue_of
from snellen.desk.run_folder import finding_id
from tests.desk.made_runs import CLASSES


@pytest.fixture
def table(first):
    return ImageTable(first.path)


def test_each_filter_keeps_what_it_says(table):
    labels, predictions, sure = table.labels, table.predictions, table.confidence
    for query, kept in [
        (Query(label=1), labels == 1),
        (Query(prediction=2), predictions == 2),
        (Query(outcome="wrong"), labels != predictions),
        (Query(outcome="right"), labels == predictions),
        (Query(low=0.3, high=0.8), (sure >= 0.3) & (sure <= 0.8)),
        (Query(group="site 1"), np.arange(len(table)) % 2 == 1),
        (Query(setting="corruption/fog.3", under="wrong"), labels != predictions),
        (Query(setting="corruption/fog.3"), np.ones(len(table), bool)),
        (Query(label=1, outcome="wrong"), (labels == 1) & (predictions != 1)),
    ]:
        assert kept.sum() > 0
        assert table.rows(query).tolist() == np.flatnonzero(kept).tolist(), query
    found = table.rows(Query(text="Ü.PNG"))
    assert [table.ids[row].as_py() for row in found] == [one for one in table.ids.to_pylist() if "ü.png" in one]
    assert table.rows(Query(group="nowhere")).tolist() == []


def test_an_image_without_a_label_is_neither_right_nor_wrong(first):
    file = first.path / "evidence" / "clean.parquet"
    table = pq.read_table(file)
    place, labels = table.column_names.index("label"), table["label"].to_pylist()
    column = pa.array([None, None, *labels[2:]], table["label"].type)
    pq.write_table(table.set_column(place, "label", column), file)
    found = ImageTable(first.path)
    judged = [row for outcome in ("right", "wrong") for row in found.rows(Query(outcome=outcome)).tolist()]
    assert sorted(judged) == list(range(2, len(found)))


def test_images_of_a_setting_are_found_by_name_where_they_stand_in_another_order(table, first):
    file = first.path / "evidence" / "corruption.parquet"
    query = Query(setting="corruption/fog.3", under="wrong")
    before = ImageTable(first.path).rows(query).tolist()
    rows = pq.read_table(file)
    pq.write_table(rows.take(list(range(len(rows)))[::-1]), file)
    assert 0 < len(before) < len(table)
    assert table.rows(query).tolist() == before


def test_orders_and_members(table):
    up = table.rows(Query(sort="confidence"))
    assert (np.diff(table.confidence[up]) >= 0).all()
    assert table.rows(Query(sort="-confidence")).tolist() == up[::-1].tolist()
    assert (np.diff(table.values("brightness")[table.rows(Query(sort="brightness"))]) >= 0).all()
    names = [table.ids[row].as_py() for row in table.rows(Query(sort="-id"))]
    assert names == sorted(names, reverse=True)
    members = [table.ids[3].as_py(), table.ids[5].as_py(), "not there"]
    assert table.rows(Query(), members).tolist() == [3, 5]
    assert table.positions(members) == {members[0]: 3, members[1]: 5}


@pytest.mark.parametrize("query", [Query(sort="../x"), Query(setting="corruption/no"), Query(setting="../clean/x")])
def test_columns_that_are_not_there_are_errors(table, query):
    with pytest.raises(InputError):
        table.rows(query)


def test_queues_hold_the_images_of_their_findings(first, table):
    queues = {one.kind: queue_of(first, one, table) for one in first.findings}
    ids = table.ids.to_pylist()
    assert ids_of(queues["label_noise"]) == ids[:7]
    assert queues["label_noise"].items[0].suggested == CLASSES[1]
    assert [one.images for one in queues["duplicate"].items] == [(ids[0], ids[1]), (ids[2], ids[3]), (ids[4], ids[5])]
    assert ids_of(queues["slice"]) == ids[3:8]
    wrong = {one for one, label, guess in zip(ids, table.labels, table.predictions, strict=True) if label == 0 != guess}
    assert set(ids_of(queues["worst_class"])) == wrong
    assert len(queues["background_shortcut"].items) == 1
    assert queues["calibration"].items == ()


def test_a_queue_reads_no_more_names_than_it_holds_and_names_each_item_once(first, table, monkeypatch):
    worst = next(one for one in first.findings if one.kind == "worst_class")
    whole = queue_of(first, worst, table).items
    assert len(whole) > 3
    read, real = [], table.ids_at
    monkeypatch.setattr(table, "ids_at", lambda rows: [read.append(len(rows)), real(rows)][1])
    monkeypatch.setattr(queues, "MOST", 3)
    items = queue_of(first, worst, table).items
    assert (items, read) == (whole[:3], [3]), "of a million rows a class may have hundreds of thousands of mistakes"
    assert items[0].key is items[0].key, "a decision looks for its item among all"


def test_lists_that_are_damaged_leave_the_examples(first, table):
    (first.path / "lists" / "label_noise.json").write_text('[{"id": 3}, null, {"id": "a"}')
    assert queue_of(first, first.findings[0], table).items == ()
    (first.path / "lists" / "label_noise.json").write_text('[{"id": 3}, null, {"id": "a"}]')
    assert queue_of(first, first.findings[0], table).items == ()


def test_the_table_changes_what_was_agreed_and_nothing_else(desk, first, place):
    images = snellen.load_images(place.parent / "pictures")
    noise, copies = (desk.queue(first, one) for one in first.findings[:2])
    decisions, items = desk.decisions, noise.items

    def add(queue, item, *given):
        decisions.add(first.key, finding_id(queue.finding), item.key, *given)

    names = images.class_names
    add(noise, items[0], "Ada", "relabel", names[2])
    add(noise, items[1], "Ada", "drop")
    add(noise, items[2], "Ada", "relabel", names[1])
    add(noise, items[2], "Ben", "relabel", names[2])
    add(noise, items[3], "Ada", "keep")
    add(noise, items[4], "Ada", "unsure")
    add(copies, copies.items[2], "Ada", "same")
    table = decided_table(images, desk.reviewed(first))
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(table.csv()))}
    given = dict(zip(images.ids, (names[label] for label in images.known_labels), strict=True))
    ids = list(images.ids)
    changed = {ids[0]: names[2], ids[1]: "", ids[5]: ""}
    assert {one: row["label"] for one, row in rows.items()} == {**given, **changed}
    assert (table.changed, table.dropped, table.disputed) == (int(given[ids[0]] != names[2]), 2, 1)
    assert rows[ids[0]]["reviewers"] == "Ada"


def test_the_table_is_read_back_by_the_options_that_are_printed(desk, first, place):
    queue = desk.queue(first, first.findings[0])
    folder = place.parent / "pictures"
    images = snellen.load_images(folder)
    desk.decisions.add(first.key, finding_id(queue.finding), queue.items[0].key, "Ada", "drop")
    desk.decisions.add(first.key, finding_id(queue.finding), queue.items[1].key, "Ada", "relabel", "2")
    file = place / "decided.csv"
    file.write_text(decided_table(images, desk.reviewed(first)).csv())
    read = snellen.load_images(folder, table=file, columns={"image": "id", "label": "label"})
    before, after = images.known_labels.tolist(), read.known_labels.tolist()
    assert after[0] == -1
    assert after[1] == 2
    assert after[2:] == before[2:]
    assert reference_of(first).data == str(folder)


def test_two_queues_that_contradict_each_other_change_nothing(desk, first, place):
    images = snellen.load_images(place.parent / "pictures")
    noise, part = (desk.queue(first, first.findings[place]) for place in (0, 2))
    shared = set(ids_of(noise)) & set(ids_of(part))
    for queue, label in ((noise, "1"), (part, "2")):
        item = next(one for one in queue.items if one.images[0] in shared)
        desk.decisions.add(first.key, finding_id(queue.finding), item.key, "Ada", "relabel", label)
    table = decided_table(images, desk.reviewed(first))
    assert (table.changed, table.disputed) == (0, 1)


def test_printed_words_survive_a_shell(first, tmp_path):
    import shlex

    words = treat_words(first, "my 'pictures'; $(x)", tmp_path / "a b.csv", ("id", "label", "group"), tmp_path / "out")
    assert shlex.split(shell_line(words)) == words
    assert "--finding=label_noise" in words
    assert words[-4:-2] == ["--column", "group=group"]


def test_who_keeps_a_label_in_one_queue_contradicts_another_label_in_a_second(desk, first, place):
    images = snellen.load_images(place.parent / "pictures")
    noise, copies, part = (desk.queue(first, first.findings[number]) for number in range(3))
    shared = set(ids_of(noise)) & set(ids_of(part))
    for queue, given in ((noise, ("relabel", "2")), (part, ("keep",))):
        item = next(one for one in queue.items if one.images[0] in shared)
        desk.decisions.add(first.key, finding_id(queue.finding), item.key, "Ada", *given)
    table = decided_table(images, desk.reviewed(first))
    assert (table.changed, table.dropped, table.disputed) == (0, 0, 1)
    # A copy is left out although its label is right.
    pair, label = copies.items[0], noise.items[1]
    assert pair.images[1] == label.images[0]
    desk.decisions.add(first.key, finding_id(copies.finding), pair.key, "Ada", "same")
    desk.decisions.add(first.key, finding_id(noise.finding), label.key, "Ada", "keep")
    assert decided_table(images, desk.reviewed(first)).dropped == 1


def test_who_differ_about_a_label_leave_it_to_no_other_queue(desk, first, place):
    images = snellen.load_images(place.parent / "pictures")
    noise, copies, part = (desk.queue(first, first.findings[number]) for number in range(3))
    shared = sorted(set(ids_of(noise)) & set(ids_of(part)))[0]

    def add(queue, reviewer, *given):
        item = next(one for one in queue.items if one.images[-1] == shared)
        desk.decisions.add(first.key, finding_id(queue.finding), item.key, reviewer, *given)

    add(noise, "Ada", "relabel", "2")
    add(noise, "Ben", "relabel", "1")
    add(part, "Ada", "relabel", "2")
    table = decided_table(images, desk.reviewed(first))
    assert (table.changed, table.dropped, table.disputed) == (0, 0, 2)
    add(copies, "Ada", "same")
    table = decided_table(images, desk.reviewed(first))
    assert (table.changed, table.dropped, table.disputed) == (0, 1, 1), "a copy is left out, whatever its label"
    (row,) = (one for one in table.rows if one["id"] == shared)
    assert (row["label"], row["decided"]) == ("", "same")


def test_a_copy_with_another_label_is_left_out(desk, first, place):
    images = snellen.load_images(place.parent / "pictures")
    noise, copies = (desk.queue(first, first.findings[number]) for number in range(2))
    pair = copies.items[0]
    item = next(one for one in noise.items if one.images[0] == pair.images[1])
    desk.decisions.add(first.key, finding_id(noise.finding), item.key, "Ada", "relabel", "2")
    desk.decisions.add(first.key, finding_id(copies.finding), pair.key, "Ada", "same")
    table = decided_table(images, desk.reviewed(first))
    assert (table.changed, table.dropped, table.disputed) == (0, 1, 0)


def test_evidence_that_is_damaged_is_an_error_in_words(table, first):
    setting = table.settings[0]
    file = first.path / "evidence" / "corruption.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:4] + b"\xff" * (len(content) // 3) + content[4 + len(content) // 3 :])
    with pytest.raises(InputError, match="cannot be read"):
        table.rows(Query(setting=setting, under="wrong"))
    clean = first.path / "evidence" / "clean.parquet"
    pq.write_table(pa.table({"example_id": [1, 2], "label": [0, 1]}), clean)
    with pytest.raises(InputError, match="holds no texts"):
        ImageTable(first.path)


def test_images_that_a_limit_left_out_have_a_row_with_their_label(desk, first, place):
    whole = snellen.load_images(place.parent / "pictures")
    table = decided_table(whole.limit(10, seed=0), desk.reviewed(first), whole)
    assert [row["id"] for row in table.rows] == list(whole.ids)
    assert [row["label"] for row in table.rows] == [whole.class_names[label] for label in whole.known_labels]
    assert (table.beyond, table.changed, table.dropped) == (len(whole) - 10, 0, 0)


@pytest.mark.parametrize("where", ["images", "classifier"])
@pytest.mark.parametrize("evil", ["--allow-remote=evil.example", "a\x1b[2Jb"])
def test_references_of_a_run_are_no_options_of_a_printed_line(first, where, evil):
    file = first.path / "inputs.json"
    found = json.loads(file.read_bytes())
    (found["images"]["reference"] if where == "images" else found["classifier"])["ref"] = evil
    file.write_text(json.dumps(found))
    reference = reference_of(first)
    assert (reference.data, reference.model) == ("", "")
    assert "command line" in reference.obstacle


def test_what_is_not_known_stays_unknown_in_every_chunk(tmp_path):
    """Numbers are read past NumPy's own conversion, which loads pandas."""
    (tmp_path / "evidence").mkdir()
    rows = 40_000
    labels = [None if place % 3 == 0 else place % 7 for place in range(rows)]
    sure = [None if place % 5 == 0 else place / rows for place in range(rows)]
    names = [f"image {place}" for place in range(rows)]
    table = pa.table({"example_id": names, "label": pa.array(labels, pa.int64()), "value": sure})
    pq.write_table(table, tmp_path / "evidence" / "clean.parquet", row_group_size=9_000)
    found = ImageTable(tmp_path)
    assert found.labels.tolist() == [-1 if one is None else one for one in labels]
    assert np.isnan(found.confidence).tolist() == [one is None for one in sure]
    assert found.ids_at([3, 17_000]) == ["image 3", "image 17000"], "without all others"
    assert found.rows(Query(label=3)).tolist() == [place for place, one in enumerate(labels) if one == 3]
    assert found.ids_at([39_999, 0]) == ["image 39999", "image 0"]
    assert found.positions(["image 12345"]) == {"image 12345": 12345}
    assert found.predictions.tolist() == [-1] * rows
