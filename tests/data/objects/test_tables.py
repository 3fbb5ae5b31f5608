"""Tables of pandas, polars and pyarrow, and manifests with other column names."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snellen.core.errors import InputError, RejectedImageError, UnknownNameError
from snellen.data.references import load_images, load_images_again

MEANING = {"image": "file", "label": "dx", "unit": "patient"}


def rows(photos):
    files = [f"{'cat' if row % 2 == 0 else 'dog'}/{row}.png" for row in range(6)]
    return {
        "file": [str(photos / file) for file in files],
        "dx": ["cat", "dog"] * 3,
        "patient": [1, 1, 2, 2, 3, 3],
        "age": [30.5, None, 20.0, 21.0, 22.0, 23.0],
    }


def tables(photos):
    made = {"pandas": pd.DataFrame(rows(photos)), "pyarrow": pa.table(rows(photos))}
    try:
        import polars

        made["polars"] = polars.DataFrame(rows(photos))
    except ImportError:
        pass
    return made


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "polars"])
def test_a_table_with_a_column_mapping(photos, pixels, kind):
    made = tables(photos)
    if kind not in made:
        pytest.skip(f"{kind} is not installed")
    images = load_images(made[kind], columns=MEANING)
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [0, 1] * 3
    assert images.column("unit_id") == ["1", "1", "2", "2", "3", "3"]
    assert images.column("age") == [30.5, None, 20.0, 21.0, 22.0, 23.0]
    assert all(np.array_equal(np.asarray(images.read(row)), pixels[row]) for row in range(6))


def test_columns_that_are_called_as_ours_need_no_mapping_and_pictures_may_lie_in_them(pixels):
    table = pd.DataFrame({"image": list(pixels), "label": [1.0, None, 0.0, 1.0, 1.0, 0.0], "group": list("aabbcc")})
    images = load_images(table, class_names=["no", "yes"])
    assert images.labels.tolist() == [1, -1, 0, 1, 1, 0]
    assert images.column("group") == list("aabbcc")
    assert np.array_equal(np.asarray(images.read(5)), pixels[5])


def test_a_table_that_names_no_images_says_what_it_has(photos):
    with pytest.raises(InputError, match=r"no column 'path' or 'image'.*it has: file, dx, patient, age"):
        load_images(pd.DataFrame(rows(photos)))
    with pytest.raises(UnknownNameError, match="column of the table 'files'; did you mean 'file'"):
        load_images(pd.DataFrame(rows(photos)), columns={"image": "files"})
    with pytest.raises(UnknownNameError, match="meaning of a column 'labl'; did you mean 'label'"):
        load_images(pd.DataFrame(rows(photos)), columns={"labl": "dx"})
    with pytest.raises(InputError, match="'dx' is named twice"):
        load_images(pd.DataFrame(rows(photos)), columns={"image": "file", "label": "dx", "group": "dx"})


def test_a_file_that_is_not_there_is_rejected_by_name(photos):
    table = pd.DataFrame(rows(photos))
    table.loc[2, "file"] = "nowhere.png"
    images = load_images(table, columns=MEANING)
    with pytest.raises(RejectedImageError, match="cannot be read: No such file"):
        images.read(2)
    assert images.ids[2] == "nowhere.png"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_manifest_with_other_column_names(photos, pixels, suffix):
    table = pd.DataFrame(rows(photos)).assign(file=lambda t: [path.split("photos/")[1] for path in t["file"]])
    table["label"] = "something else"
    place = photos / f"list.{suffix}"
    table.to_csv(place, index=False) if suffix == "csv" else pq.write_table(pa.table(table.to_dict("list")), place)
    images = load_images(place, columns=MEANING)
    assert (images.class_names, images.labels.tolist()) == (("cat", "dog"), [0, 1] * 3)
    assert np.array_equal(np.asarray(images.read(3)), pixels[3])
    again = load_images_again(images.reference)
    assert again.fingerprint() == images.fingerprint()
    with pytest.raises(InputError, match=r"no column 'path'.*--column image="):
        load_images(place)
    with pytest.raises(InputError, match="columns say what those of a table mean"):
        load_images(photos, columns=MEANING)
