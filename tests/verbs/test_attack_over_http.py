"""Attacks on a classifier on a server: by queries alone, recorded, and gone on with."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import snellen
from snellen.core.errors import ModelError, UnsupportedError
from snellen.core.images import ImageSet
from snellen.methods.attacks.hop_skip_jump import HopSkipJump
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.square import Square
from snellen.models.classifiers.references import load_classifier
from snellen.models.remote.sent_log import SENT
from tests.models.classifiers.served.inference_server import InferenceServer, inference_server, linear, refusal

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

ATTACK = Square(epsilon=0.1, queries=4)


@pytest.fixture
def server() -> Iterator[InferenceServer]:
    with inference_server() as running:
        running.description["parameters"] = {"class_names": ["0", "1", "2"]}
        yield running


@pytest.fixture
def images() -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 6, 3), dtype=np.uint8)
    labels = linear(pixels.transpose(0, 3, 1, 2) / np.float32(255)).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    return snellen.load_images((pixels, labels))


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / SENT).read_text().splitlines()]


def test_queries_are_those_that_were_sent(server: InferenceServer, images: ImageSet, tmp_path: Path) -> None:
    classifier = load_classifier(server.reference)
    with classifier.counting() as spent:
        snellen.attack(classifier, images, ATTACK, out=tmp_path / "out", batch_size=3)
    assert sum(one["images"] for one in lines(tmp_path / "out")) == spent().queries > 6
    record = json.loads((tmp_path / "out" / "attack.json").read_text())
    assert any("scores come from a server" in note for note in record["plan"]["model"]["notes"])
    before = lines(tmp_path / "out")
    snellen.attack(load_classifier(server.reference), images, ATTACK, out=tmp_path / "out", batch_size=3)
    assert lines(tmp_path / "out") == before, "what is complete is not sent again"


def test_what_needs_gradients_is_refused(server: InferenceServer, images: ImageSet) -> None:
    with pytest.raises((UnsupportedError, snellen.core.errors.InputError), match="gradients"):
        snellen.attack(load_classifier(server.reference), images, PGD())


def test_decisions_alone_are_enough_for_some(server: InferenceServer, images: ImageSet, tmp_path: Path) -> None:
    server.network = lambda batch: linear(batch).argmax(1)
    server.description["outputs"][0] |= {"datatype": "INT64"}
    classifier = load_classifier(server.reference)
    attack = HopSkipJump(budget=150, iterations=2)
    attacked = snellen.attack(classifier, images, attack, out=tmp_path / "out", batch_size=6)
    assert attacked.settings["hop_skip_jump"].success_rate.n == 5
    assert len(lines(tmp_path / "out")) > 10


@pytest.mark.parametrize("after", [0, 1, 9])
def test_a_server_that_stays_away(server: InferenceServer, images: ImageSet, tmp_path: Path, after: int) -> None:
    """Whatever came of it, the record stays; the same call goes on, or starts anew, and ends with the same bytes."""
    reference = f"{server.reference}?retries=0"
    snellen.attack(load_classifier(reference), images, ATTACK, out=tmp_path / "whole", batch_size=3)
    classifier, real, before = load_classifier(reference), server.post, len(server.requested)
    server.post = lambda received: (  # type: ignore[method-assign]
        refusal(503, "gone") if len(server.requested) > before + after else real(received)
    )
    with pytest.raises(ModelError, match="gone"):
        snellen.attack(classifier, images, ATTACK, out=tmp_path / "out", batch_size=3)
    server.post = real  # type: ignore[method-assign]
    stopped = lines(tmp_path / "out")
    assert [one["status"] for one in stopped] == [200] * after + [503]
    assert not (tmp_path / "out" / "attack.json").exists()
    if after == 0:
        assert [path.name for path in (tmp_path / "out").iterdir()] == [SENT]
    snellen.attack(load_classifier(reference), images, ATTACK, out=tmp_path / "out", batch_size=3)
    assert lines(tmp_path / "out")[: len(stopped)] == stopped
    for name in ("attack.json", "evidence.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
