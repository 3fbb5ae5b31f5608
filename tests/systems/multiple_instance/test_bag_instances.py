"""Instances in bags from images and their features; bags for the training loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet
from snellen.models.encoders.feature_store import FeaturesRecord, FrozenFeatures
from snellen.systems.multiple_instance.bag_instances import BagInstances
from snellen.systems.multiple_instance.bag_store import BagStore


def images(**columns: list[Any]) -> ImageSet:
    given = {"id": list("abcdef"), "bag_id": list("ststsu"), "bag_label": [1, 0, 1, 0, 1, 0], **columns}
    table = pa.table({name: pa.array(values, COLUMNS[name]) for name, values in given.items()})
    return ImageSet(None, table, ("negative", "positive"), "tiles", split="train")  # type: ignore[arg-type]


def features(**rejected: str) -> FrozenFeatures:
    record = FeaturesRecord(
        plan={"encoder": "e", "encoder_identity": "i"}, dim=2, ids=tuple("abcdef"), rejected=dict(rejected)
    )
    return FrozenFeatures.of(torch.arange(12.0).view(6, 2), record)


def test_instances_know_their_bags_and_rejected_ones_are_left_out() -> None:
    found = BagInstances.of(images(), features(c="broken"))
    assert found.ids == ("a", "b", "d", "e", "f")
    assert found.bag_ids == ("s", "t", "u")
    assert found.of_bag.tolist() == [0, 1, 1, 0, 2]
    assert found.instance_labels.tolist() == [1, 0, 0, 1, 0]
    assert [rows.tolist() for rows in found.members] == [[0, 3], [1, 2], [4]]
    assert found.inputs[:, 0].tolist() == [0.0, 2.0, 6.0, 8.0, 10.0]
    assert (found.split, dict(found.rejected)) == ("train", {"c": "broken"})


def test_a_bag_without_a_usable_image_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"bag 'u' of tiles has no usable image \(f: damaged\)"):
        BagInstances.of(images(), features(f="damaged"))


@pytest.mark.covers("36.10")
def test_labels_of_images_are_not_looked_at() -> None:
    hidden = images(label=[0, 0, 1, 0, 1, 0]).unlabelled()
    assert BagInstances.of(hidden, features()).fingerprint() == BagInstances.of(images(), features()).fingerprint()


def test_what_defines_a_training_is_in_the_fingerprint() -> None:
    prints = {
        BagInstances.of(one, features()).fingerprint()
        for one in (images(), images(bag_label=[0, 1, 0, 1, 0, 0]), images(bag_id=list("ssttuu"), bag_label=[1] * 6))
    }
    assert len(prints) == 3


def test_bags_are_padded_and_say_where_they_end() -> None:
    store = BagStore(BagInstances.of(images(), features()))
    padded, labels = store.read(torch.tensor([2, 0]))
    assert (store.ids, labels.tolist()) == (("s", "t", "u"), [0, 1])
    assert padded[:, :, -1].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert padded[0, :, 0].tolist() == [10.0, 0.0, 0.0]
    assert padded[1, :, 0].tolist() == [0.0, 4.0, 8.0]


def test_standardising_takes_the_figures_of_others() -> None:
    found = BagInstances.of(images(), features()).standardised(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0]))
    np.testing.assert_allclose(found.inputs[:2].numpy(), [[-0.5, 1.0], [0.5, 3.0]])
