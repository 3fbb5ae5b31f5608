"""Streamed images train the same network as images in memory; parts read what they were made of."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.arrays import load_arrays
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.training import students
from snellen.training.batches import ImageStore
from snellen.training.parts import Chosen, StreamedImages, Together
from snellen.training.students import (
    StudentPlan,
    StudentResult,
    measured,
    mixed,
    part,
    seconds_of_students,
    store_of,
    train_student,
)

TINY = StudentPlan(amount=3, batch_size=8, side=16)


def shapes():
    return WORLD.model_copy(update={"shapes": ("square", "star"), "count": 20, "size": 16}).images(split="train")


def store(values, targets):
    pixels = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    return ImageStore.of_tensors(pixels, torch.tensor(targets), ids=[f"n{value}" for value in values])


def test_images_that_are_streamed_train_the_same_student(monkeypatch):
    images = shapes()
    kept = store_of(images, TINY)
    monkeypatch.setattr(students, "MOST_BYTES", 0)
    streamed = store_of(images, TINY)
    assert isinstance(kept, ImageStore)
    assert isinstance(streamed, StreamedImages)
    losses = []
    for whole in (kept, streamed):
        chosen = part(whole, images.ids[3:15])
        losses.append(measured(train_student(mixed(chosen, chosen, 0.5), TINY, 2, 0), whole).losses)
    assert (losses[0] == losses[1]).all()


def test_parts_read_what_they_were_made_of():
    first, second = store([1, 2, 3], [0, 1, 2]), store([7, 8], [1, 0])
    chosen = Chosen(first, torch.tensor([2, 0]))
    assert (chosen.ids, chosen.targets.tolist()) == (("n3", "n1"), [2, 0])
    both = Together({"real": chosen, "made": second}, torch.tensor([1.0, 1.0, 2.0, 2.0]))
    images, targets = both.read(torch.tensor([3, 0, 2, 1]))
    assert images[:, 0, 0, 0].tolist() == [8, 3, 7, 1]
    assert targets.tolist() == [0, 2, 1, 0]
    assert both.ids == ("real/n3", "real/n1", "made/n7", "made/n8")
    turned = Chosen(second, torch.arange(2), torch.tensor([5, 6]))
    assert turned.read(torch.tensor([1, 0]))[1].tolist() == [6, 5]
    prints = {one.fingerprint() for one in (first, chosen, second, turned, both)}
    assert len(prints) == 5
    with pytest.raises(InputError, match="at least one example"):
        part(first, ["unknown"])


def test_streamed_images_that_cannot_be_used_are_named():
    pixels = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="image '000001' has no label"):
        StreamedImages(load_arrays(pixels, [0, -1], class_names=("a", "b")), TINY.preparation)

    class Broken:
        def read(self, index):
            raise RejectedImageError("truncated file")

    images = replace(load_arrays(pixels, [0, 1], class_names=("a", "b")), source=Broken())
    with pytest.raises(InputError, match="image '000001' cannot be trained on: truncated file"):
        StreamedImages(images, TINY.preparation).read(torch.tensor([1]))


@pytest.mark.parametrize(("schedule", "updates"), [("updates", 2 * 10), ("epochs", (1 + 3) * 10)])
def test_the_time_of_students_is_that_of_their_updates_and_of_the_test(monkeypatch, schedule, updates):
    clock = [0.0]

    def train(store, plan, classes, seed):
        clock[0] += 1.0 + 0.5 * plan.amount

    def test(network, store):
        clock[0] += 0.1 * len(store)
        return StudentResult(np.ones(2), np.ones(2, dtype=bool), np.zeros(2, dtype=np.int64))

    monkeypatch.setattr(students, "train_student", train)
    monkeypatch.setattr(students, "measured", test)
    monkeypatch.setattr(students.time, "perf_counter", lambda: clock[0])
    plan = TINY.model_copy(update={"schedule": schedule, "amount": 10})
    found = seconds_of_students(store([1, 2], [0, 1]), plan, 2, sizes=[8, 24], tested=30)
    assert found == pytest.approx(0.5 * updates + 2 * (1.0 + 30 * 0.1))
