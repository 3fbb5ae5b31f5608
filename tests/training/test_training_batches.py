from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.training import ImageStore
from snellen.training.batches import cut_steps, epoch_order, load_batch

PREPARATION = Preprocessing(size=(4, 4), resize="exact", resize_to=(4, 4))


class Squares:
    """One-coloured images of growing brightness and size; the one at position 2 is broken."""

    def read(self, index: int) -> Image.Image:
        if index == 2:
            raise RejectedImageError("truncated file")
        return Image.new("RGB", (5 + index, 5), (10 * index,) * 3)

    def content_hash(self, index: int) -> str:
        return hashlib.sha256(bytes([index])).hexdigest()


def make_set(labels: list[int | None] | None, **columns: list[object]) -> ImageSet:
    table: dict[str, object] = {"id": ["a", "b", "c", "d"], **columns}
    if labels is not None:
        table["label"] = pa.array(labels, type=pa.int64())
    return ImageSet(Squares(), pa.table(table), class_names=("x", "y"))


def test_images_are_decoded_once_and_what_cannot_be_used_is_named() -> None:
    store = ImageStore.of_images(make_set([0, None, 1, 1]), PREPARATION, weights=torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert store.ids == ("a", "d")
    assert store.targets.tolist() == [0, 1]
    assert store.weights.tolist() == [1.0, 4.0]
    assert store.images.dtype == torch.uint8
    assert store.images[:, 0, 0, 0].tolist() == [0, 30]
    assert store.rejected == {"b": "no label", "c": "truncated file"}


def test_without_labels_targets_are_minus_one_and_given_targets_follow_their_images() -> None:
    assert ImageStore.of_images(make_set(None), PREPARATION).targets.tolist() == [-1, -1, -1]
    assert ImageStore.of_images(make_set([0, 1, 0, 1]).unlabelled(), PREPARATION).targets.tolist() == [-1, -1, -1]
    soft = torch.eye(4)
    assert torch.equal(ImageStore.of_images(make_set(None), PREPARATION, targets=soft).targets, soft[[0, 1, 3]])


@pytest.mark.parametrize("how", ["column", "typed"])
def test_a_test_split_is_refused(how: str) -> None:
    splits = ["train", "train", "test", "test"]
    images = make_set([0, 1, 0, 1], split=splits)
    with pytest.raises(InputError, match="test images"):
        ImageStore.of_images(images if how == "column" else images.of_split("test"), PREPARATION)
    assert ImageStore.of_images(images.of_split("train"), PREPARATION).split == "train"


def test_images_of_different_sizes_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"image 'b' is .* give the preparation a size"):
        ImageStore.of_images(make_set([0, 1, 0, 1]), Preprocessing())


def test_a_set_without_any_usable_image_is_refused() -> None:
    with pytest.raises(InputError, match=r"none of the 1 images .*c \(truncated file\)"):
        ImageStore.of_images(make_set([0, 1, 0, 1]).select([2]), PREPARATION)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ids": ["a"]}, "2 images came with 1 ids"),
        ({"ids": ["a", "a"]}, "unique"),
        ({"weights": torch.tensor([1.0, -1.0])}, "at least 0"),
        ({"weights": torch.tensor([1.0, float("nan")])}, "finite"),
        ({"weights": torch.zeros(2)}, "nothing is left"),
    ],
)
def test_bad_stores_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageStore.of_tensors(torch.zeros(2, 3, 2, 2), torch.zeros(2), **options)


def test_an_empty_store_is_refused() -> None:
    with pytest.raises(InputError, match="at least one example"):
        ImageStore.of_tensors(torch.zeros(0, 3, 2, 2), torch.zeros(0))


def test_an_epoch_is_a_permutation_of_the_weighted_examples_and_each_has_its_own() -> None:
    weights = torch.ones(20)
    weights[[3, 8]] = 0
    store = ImageStore.of_tensors(torch.zeros(20, 3, 2, 2), torch.zeros(20), weights=weights)
    orders = [epoch_order(store, seed=0, epoch=epoch).tolist() for epoch in (1, 2, 1)]
    assert sorted(orders[0]) == [i for i in range(20) if i not in (3, 8)]
    assert orders[0] == orders[2] != orders[1]
    assert epoch_order(store, seed=1, epoch=1).tolist() != orders[0]


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [[3, 3], [3, 1]]), (True, [[3, 3], [3]])])
def test_steps_cover_an_epoch(drop_last: bool, sizes: list[list[int]]) -> None:
    steps = cut_steps(torch.arange(10), batch_size=3, accumulate=2, drop_last=drop_last)
    assert [[len(batch) for batch in step] for step in steps] == sizes
    assert torch.cat([batch for step in steps for batch in step]).tolist() == list(range(9 if drop_last else 10))


def test_bytes_become_unit_floats_and_floats_stay() -> None:
    pixels = torch.full((2, 3, 2, 2), 255, dtype=torch.uint8)
    positions, device = torch.tensor([1]), torch.device("cpu")
    batch = load_batch(ImageStore.of_tensors(pixels, torch.arange(2)), positions, Randomness(0), device)
    assert batch.images.dtype == torch.float32
    assert batch.images.unique().tolist() == [1.0]
    assert batch.targets.tolist() == batch.positions.tolist() == [1]
    assert batch.rng.ids == ("1",)
    latents = torch.full((2, 4, 2, 2), -3.0)
    assert (
        load_batch(ImageStore.of_tensors(latents, torch.arange(2)), positions, Randomness(0), device).images.min() == -3
    )


def test_fingerprint_depends_on_all_that_is_read() -> None:
    images, targets = torch.zeros(2, 3, 2, 2), torch.arange(2)
    stores = [
        ImageStore.of_tensors(images, targets),
        ImageStore.of_tensors(images + 1, targets),
        ImageStore.of_tensors(images, targets + 1),
        ImageStore.of_tensors(images, targets, ids=["a", "b"]),
        ImageStore.of_tensors(images, targets, weights=torch.tensor([1.0, 2.0])),
    ]
    assert len({store.fingerprint() for store in stores}) == len(stores)
    assert stores[0].fingerprint() == ImageStore.of_tensors(images.clone(), targets).fingerprint()
