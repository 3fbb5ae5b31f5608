"""Pictures of images, and accuracy while a run runs."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from snellen.core.errors import InputError
from snellen.desk.pictures import LARGE, SMALL, Pictures
from snellen.desk.workplace import Workplace
from snellen.metrics.clustered import clustered_share
from snellen.metrics.intervals import wilson
from tests.desk.made_runs import Caller, write_images, write_run


def opened(content):
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


@pytest.fixture
def photos(tmp_path):
    """A run of images larger than a small picture, and its ids."""
    names = write_images(tmp_path / "pictures", 3, side=400)
    write_run(tmp_path / "runs" / "one", names, images=tmp_path / "pictures")
    return tmp_path / "runs", names


def changed(runs, **plan):
    """The run with other words in its plan."""
    file = runs / "one" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **plan}))
    return Workplace(runs).runs()[0]


def test_a_small_picture_is_kept_and_made_anew_where_it_is_damaged(photos, tmp_path):
    runs, names = photos
    (run,) = Workplace(runs).runs()
    pictures = Pictures(tmp_path / "store")
    content = pictures.small(run, names[0])
    assert opened(content).size == (SMALL, SMALL)
    assert opened(pictures.large(run, names[0])).size == (400, 400)
    assert LARGE > 400
    (kept,) = (one for one in pictures.folder.rglob("*") if one.is_file())
    assert kept.read_bytes() == content
    kept.write_bytes(content[:-20])
    assert pictures.small(run, names[0]) == content
    assert kept.read_bytes() == content
    other = opened(content).rotate(90)
    stream = io.BytesIO()
    other.save(stream, "WEBP")
    kept.write_bytes(stream.getvalue())
    assert pictures.small(run, names[0]) == stream.getvalue(), "the kept one is sent"


def test_nothing_is_written_down_of_an_audit_without_images(photos, tmp_path):
    runs, names = photos
    run = changed(runs, save_images=False)
    pictures = Pictures(tmp_path / "store")
    assert opened(pictures.small(run, names[0])).size == (SMALL, SMALL)
    assert not pictures.folder.exists()


def test_no_image_is_shown_of_an_audit_with_pseudonyms(photos, tmp_path):
    runs, names = photos
    run = changed(runs, pseudonyms="a key")
    pictures = Pictures(tmp_path / "store")
    assert "pseudonyms" in pictures.why_not(run)
    for make in (pictures.small, pictures.large):
        with pytest.raises(InputError, match="pseudonyms"):
            make(run, names[0])
    assert not pictures.folder.exists()


def test_accuracy_so_far_counts_units_as_the_report_does(desk, place):
    rng = np.random.default_rng(0)
    right, labels = np.repeat(rng.random(40) < 0.7, 10), np.zeros(400, dtype=np.int64)
    units = np.repeat(np.arange(40), 10)
    table = {"unit_id": [f"patient {one}" for one in units], "label": labels, "prediction": np.where(right, 0, 1)}
    file = place / "begun" / "shards" / "000000" / "clean.parquet"
    run = next(one for one in desk.workplace.runs() if one.name == "begun")
    pq.write_table(pa.table(table), file)
    (place / "begun" / "shards" / "000001").mkdir()
    unlabelled = {name: list(column[:5]) for name, column in table.items()} | {"label": [-1] * 5}
    pq.write_table(pa.table(unlabelled), place / "begun" / "shards" / "000001" / "clean.parquet")
    (place / "begun" / "shards" / "000002").mkdir()
    (place / "begun" / "shards" / "000002" / "clean.parquet").write_bytes(b"PAR1")
    found = Caller(desk).get(f"/runs/{run.id}/state").json()
    assert (found["done"], found["total"], found["images"]) == (3, 4, 400)
    assert found["accuracy"] == pytest.approx(right.mean())
    assert (found["low"], found["high"]) == pytest.approx(tuple(clustered_share(right, units)))
    assert found["low"] < wilson(int(right.sum()), 400).low - 0.05, "images of one patient are no independent ones"
