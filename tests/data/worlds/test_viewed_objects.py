"""Objects of a set of views, whatever was selected from it."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa
import pytest
import torch

import snellen
from snellen.core.errors import InputError
from snellen.data.files.labels import align_labels
from snellen.data.worlds.view_set import is_view_set, viewed_objects
from tests.data.worlds.glowing_objects import glowing_set


def test_objects_keep_their_own_views_when_some_are_selected():
    whole = glowing_set(("light-a", "dark-b"), views=3)
    found = viewed_objects(align_labels(whole.select([4, 1, 3]), ("light", "dark")))
    assert [(one.object_id, one.label, one.positions) for one in found.objects] == [
        ("dark-b", 1, (0, 2)),
        ("light-a", 0, (1,)),
    ]
    assert torch.equal(found.objects[0].viewpoints, whole.source.viewpoints[[4, 3]])
    assert found.renderer is whole.source.renderer
    assert found.objects[0].credit == ""


def test_makers_are_reported_and_other_labels_are_refused():
    whole = glowing_set(("light-a",), views=2)
    told = [json.dumps({"creator": "Ann", "licence": "CC-BY-3.0"})] * 2
    thanked = replace(whole, table=whole.table.set_column(4, "attributes", pa.array(told)))
    assert whole.table.column_names[4] == "attributes"
    assert viewed_objects(thanked).objects[0].credit == "Ann, CC-BY-3.0"
    odd = replace(whole, table=whole.table.set_column(1, "label", pa.array([0, 1])))
    with pytest.raises(InputError, match="views of light-a have 2 different labels"):
        viewed_objects(odd)


def test_images_are_no_objects():
    photos = snellen.load_images("bundled:fashion-mnist").limit(2)
    assert not is_view_set(photos)
    assert is_view_set(glowing_set(("light-a",)))
    with pytest.raises(InputError, match=r"are images, and not views whose renderer is known.*optotypes:solids"):
        viewed_objects(photos)
