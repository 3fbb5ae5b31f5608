"""What a scan named is left out of training, and nothing else."""

import hashlib

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.data.files.arrays import load_arrays
from snellen.runs.record import EVIDENCE
from snellen.runs.scan_suspects import without_named


@pytest.fixture
def images():
    pixels = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    return load_arrays(pixels, np.array([0, 1, 0, 1, 0]), class_names=("no", "yes"))


def scanned(folder, ids, reasons, views=None):
    import pyarrow as pa

    extra = {} if views is None else {"view": pa.array(views, pa.string())}
    folder.mkdir()
    Evidence.of(ids, setting="training_set", model="m", reason=reasons, extra=extra).write(folder / EVIDENCE)
    return folder


def test_suspects_of_the_training_view_alone_are_left_out(images, tmp_path):
    ids, reasons = images.ids, [None, "suspect", None, "no label", "suspect"]
    folder = scanned(tmp_path / "one", ids, reasons)
    kept, left_out = without_named(images, folder)
    content = hashlib.sha256((folder / EVIDENCE).read_bytes()).hexdigest()
    assert left_out.record() == {"scan": "one", "evidence": content, "images": 2}
    assert kept.ids == [ids[0], ids[2], ids[3]]
    assert kept.name.endswith("without 2 suspects")
    assert np.asarray(kept.read(1)).flat[0] == 2, "the images go with their ids"
    views = ["training", "training", "training", "training", "generated"]
    kept, left_out = without_named(images, scanned(tmp_path / "two", ids, reasons, views))
    assert (kept.ids, left_out.images) == ([ids[row] for row in (0, 2, 3, 4)], 1)
    assert without_named(images, scanned(tmp_path / "none", ids, [None] * 5))[0].ids == ids


def test_other_images_no_scan_and_an_empty_rest_are_refused(images, tmp_path):
    with pytest.raises(InputError, match=r"no evidence of a scan .*give the folder that 'snellen scan"):
        without_named(images, tmp_path)
    (tmp_path / EVIDENCE).write_text("text")
    with pytest.raises(InputError, match="no evidence of a scan"):
        without_named(images, tmp_path)
    with pytest.raises(InputError, match=r"names 'other', and .* has no such image"):
        without_named(images, scanned(tmp_path / "other", [images.ids[0], "other"], [None, "suspect"]))
    with pytest.raises(InputError, match="holds a scan of other images"):
        without_named(images, scanned(tmp_path / "another set", ["other"], [None]))
    with pytest.raises(InputError, match="names all 5 images"):
        without_named(images, scanned(tmp_path / "all", images.ids, ["suspect"] * 5))
