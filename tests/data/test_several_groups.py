"""Several groups of each image: from columns, arrays, tables and data sets; bands of numbers; what is refused."""

import csv
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

import snellen
from snellen.core.errors import InputError
from snellen.core.factors import decoded
from snellen.data.factors import columns_beside
from snellen.data.privacy.nameless import without_names
from snellen.data.privacy.pseudonyms import KEY_BYTES, Pseudonyms

N = 40
SITE = ["A", "B"] * (N // 2)
AGE = [20 + row for row in range(N)]
PIXELS, LABELS = np.arange(N * 192, dtype=np.uint8).reshape(N, 8, 8, 3), np.arange(N) % 2


def factors(images):
    return decoded(images.column("group_factors"))


def manifest(tmp_path, **columns):
    columns = {"hospital": SITE, "age": AGE, **columns}
    for row in range(N):
        Image.fromarray(PIXELS[row]).save(tmp_path / f"{row:02d}.png")
    with (tmp_path / "m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", *columns])
        for row in range(N):
            writer.writerow([f"{row:02d}.png", LABELS[row], *(values[row] for values in columns.values())])
    return tmp_path / "m.csv"


def test_columns_of_a_manifest_become_factors_and_the_first_is_the_group(tmp_path):
    images = snellen.load_images(manifest(tmp_path), columns={"group": ["hospital", "age:30,50"]})
    assert factors(images)["hospital"] == tuple(SITE)
    assert images.column("group") == SITE
    bands = factors(images)["age"]
    assert [bands[row] for row in (9, 10, 29, 30)] == ["under 30", *["30 to under 50"] * 2, "50 or more"]
    chosen = images.select([3, 1])
    assert factors(chosen)["age"] == ("under 30", "under 30")


def test_one_column_is_what_it_always_was(tmp_path):
    path = manifest(tmp_path)
    for columns in ({"group": "hospital"}, {"group": ["hospital"]}):
        images = snellen.load_images(path, columns=columns)
        assert images.column("group") == SITE
        assert "group_factors" not in images.table.column_names
    banded = snellen.load_images(path, columns={"group": "age:40"})
    assert set(banded.column("group")) == {"under 40", "40 or more"}
    assert "group_factors" not in banded.table.column_names


def test_values_in_memory_a_table_and_fields_of_items_say_the_same(tmp_path):
    values = {"hospital": SITE, "age:30,50": np.array(AGE)}
    expected = factors(snellen.load_images((PIXELS, LABELS), groups=values))
    items = [
        {"image": PIXELS[row], "label": int(LABELS[row]), "hospital": SITE[row], "age": AGE[row]} for row in range(N)
    ]
    table = pa.table({"path": [f"{row:02d}.png" for row in range(N)], "hospital": SITE, "age": AGE})
    names = ["hospital", "age:30,50"]
    for images in (
        snellen.load_images((PIXELS, LABELS), groups=pd.DataFrame(values)),
        snellen.load_images(items, columns={"group": names}),
        snellen.load_images(table, groups=names),
        snellen.load_images(snellen.load_images(manifest(tmp_path)), groups=names),
    ):
        assert factors(images) == expected


def test_numbers_without_edges_are_cut_at_quarters_and_a_note_says_so():
    images = snellen.load_images((PIXELS, LABELS), groups={"hospital": SITE, "age": [float(age // 2) for age in AGE]})
    assert len(set(factors(images)["age"])) == 4
    assert "bands by quarters (age:" in images.notes[0]


def test_numbers_that_differ_late_such_as_dates_and_codes_stay_apart():
    day = [year + place // 2 for year in (20210101, 20211201) for place in range(N // 2)]
    images = snellen.load_images((PIXELS, LABELS), groups={"hospital": SITE, "day": day})
    assert len(set(factors(images)["day"])) >= 3
    codes = [1000123.0, 1000124.0] * (N // 2)
    images = snellen.load_images((PIXELS, LABELS), groups={"day:20210103,20210110": day, "code": codes})
    assert factors(images)["day"][3:5] == ("under 20210103", "20210103 to under 20210110")
    assert set(factors(images)["code"]) == {"1000123", "1000124"}
    assert columns_beside(images, {"group": ["day", "code"]}) == {"group": ["day:20210103,20210110", "code"]}


def test_missing_values_are_no_group():
    ages = [None, float("nan"), "", *AGE[3:]]
    images = snellen.load_images((PIXELS, LABELS), groups={"hospital": SITE, "age:40": ages})
    assert factors(images)["age"][:3] == (None, None, None)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"hospital": SITE[1:]}, "39 values for 40 images; give one for each"),
        ({"age:60,40": AGE}, "ascending numbers"),
        ({"age:40": ["old"] * N}, "bands are of numbers, and image 1 has 'old'"),
        ({"hospital": SITE, "id": [f"p{row}" for row in range(N)]}, "names images or patients"),
        ({"hospital": SITE, "id": list(range(100, 100 + N))}, "names images or patients"),
        ({"hospital": [None] * N}, "no value for any image"),
        ({"hospital": 5}, "group 'hospital' is int; expected a list of values, one for each image"),
        ({"hospital": "A" * N}, "group 'hospital' is str; expected a list of values"),
        ({"hospital": np.zeros((N, 2))}, "several values for an image"),
        ({}, "groups are none"),
        ([SITE, AGE], "values by name"),
        (["hospital"], "unknown column"),
        ([], "none is among them"),
    ],
)
def test_what_is_no_group_is_refused_with_what_to_do(groups, message):
    with pytest.raises(InputError, match=message):
        snellen.load_images((PIXELS, LABELS), groups=groups)


def test_a_column_that_is_not_there_and_groups_that_come_twice(tmp_path):
    path = manifest(tmp_path)
    with pytest.raises(InputError, match="'hospitl'; did you mean 'hospital'"):
        snellen.load_images(path, columns={"group": ["hospitl", "age:40"]})
    with pytest.raises(InputError, match="groups come twice"):
        snellen.load_images(path, columns={"group": "hospital"}, groups=["age:40"])
    with pytest.raises(InputError, match="columns: unit is the name of a column, group and labels may be lists"):
        snellen.load_images(path, columns={"unit": ["hospital", "age"]})


def test_pseudonyms_hide_the_values_and_keep_bands_and_names_of_factors():
    images = snellen.load_images(
        (PIXELS, LABELS), groups={"hospital": ["St Mary", "Jane Doe Clinic"] * 20, "age:40": AGE}
    )
    hidden = without_names(images, Pseudonyms(bytes(KEY_BYTES)))
    text = json.dumps(hidden.column("group_factors") + hidden.column("group"))
    assert "Mary" not in text
    assert "Doe" not in text
    assert set(factors(hidden)) == {"hospital", "age"}
    assert set(factors(hidden)["age"]) == {"under 40", "40 or more"}
    assert len(set(factors(hidden)["hospital"])) == 2


def written(tmp_path, values):
    return manifest(tmp_path, group_factors=[json.dumps(value) for value in values])


def test_a_manifest_with_factors_alone_has_the_first_as_its_group(tmp_path):
    path = written(tmp_path, [{"site": one, "age": row} for row, one in enumerate(SITE)])
    images = snellen.load_images(path)
    assert images.column("group") == SITE
    assert set(factors(images)) == {"site", "age"}
    one = snellen.load_images(images, groups={"scanner": SITE[::-1]})
    assert "group_factors" not in one.table.column_names, "the groups of this call take the place of others"
    assert one.column("group") == SITE[::-1]


@pytest.mark.parametrize("value", [{"site": {"a": 1}}, {"site": ["a"]}, [1]])
def test_a_manifest_with_factors_that_are_no_values_is_refused(tmp_path, value):
    with pytest.raises(InputError, match=r"line 2.*group_factors cannot be used: expected a"):
        snellen.load_images(written(tmp_path, [value] * N))


def test_a_value_that_reads_like_a_band_is_hidden_where_it_holds_no_numbers():
    images = snellen.load_images((PIXELS, LABELS), groups={"ward": ["under Smith", "Doe or more"] * 20, "age:40": AGE})
    hidden = without_names(images, Pseudonyms(bytes(KEY_BYTES)))
    assert not {"under Smith", "Doe or more"} & set(factors(hidden)["ward"])


@pytest.mark.parametrize("named", [None, [], [1, 2], ["hospital", None], 3, {"hospital": 1}])
@pytest.mark.parametrize("meaning", ["group", "labels"])
def test_what_is_no_name_of_a_column_is_refused_in_words(tmp_path, meaning, named):
    with pytest.raises(InputError, match=f"columns: {meaning} is the name of a column"):
        snellen.load_images(manifest(tmp_path), columns={meaning: named})
    with pytest.raises(InputError, match="columns: split is the name of a column"):
        snellen.load_images(manifest(tmp_path), columns={"split": ["hospital", "age"]})


def test_names_that_python_would_read_as_numbers_stay_names():
    wards = [f"{floor}_{room}" for floor in (1, 2) for room in range(8)] * 4
    images = snellen.load_images((PIXELS[[0] * 64], LABELS[[0] * 64]), groups={"ward": wards, "site": SITE[:2] * 32})
    assert factors(images)["ward"] == tuple(wards)
    assert not images.notes


def test_a_column_that_holds_names_of_bands_is_read_of_training_images_too(tmp_path):
    columns = {"group": ["hospital", "band"]}
    path = manifest(tmp_path, band=["under 40", "40 or more", "", "under 40"] * (N // 4))
    audited = snellen.load_images(path, columns=columns)
    beside = snellen.load_images(path, columns=columns_beside(audited, columns))
    assert factors(beside) == factors(audited)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("finding", "columns are named by what they mean.*got 'finding'"),
        ({"label": ["a", "b"]}, r"label is the name of a column.*got \['a', 'b'\]"),
        ({"labels": []}, r"labels is the name of a column.*got \[\]"),
    ],
)
def test_columns_that_name_none_are_refused(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        snellen.load_images(manifest(tmp_path), columns=columns)
