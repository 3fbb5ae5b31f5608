"""Answers of a server: scores in every form of the protocol, and everything that is no answer."""

import json
import math

import numpy as np
import pytest
import torch

from snellen.core.errors import ModelError
from tests.models.classifiers.served.inference_server import InferenceServer, Scripted, linear
from tests.models.classifiers.served.loaded import IMAGES, load

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def answer(**output: object) -> dict:
    whole = {"name": "scores", "datatype": "FP32", "shape": [5, 3], "data": [0.5] * 15}
    return {"outputs": [{**whole, **output}]}


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (answer(shape=[4, 3], data=[0.5] * 12), r"'scores' has the shape \[4, 3\] for 5 images"),
        (answer(shape=[15]), r"'scores' has the shape \[15\] for 5 images"),
        (answer(shape=[], data=[0.5]), r"'scores' has the shape \[\] for 5 images"),
        (answer(data=[0.5] * 14), r"14 numbers for the shape \[5, 3\]"),
        (answer(data=None), "no numbers for the shape"),
        (answer(data="0.5"), "no numbers"),
        (answer(data=[0.5] * 14 + [None]), "'None' where a number is expected"),
        (answer(data=[0.5] * 14 + ["0.5"]), "'0.5' where a number is expected"),
        (answer(data=[0.5] * 14 + [True]), "'True' where a number is expected"),
        (answer(data=[0.5] * 14 + [10**400]), "numbers that are too large for FP32"),
        (answer(shape=[5, "3"]), "the shape"),
        (answer(shape=[5, -3]), "the shape"),
        (answer(shape=None), "the shape 'None'"),
        (answer(shape=[5] + [1] * 40), "the shape"),
        (answer(shape=[5, 2**70]), "15 numbers for the shape"),
        (answer(datatype="BYTES"), "the type 'BYTES'; expected one of FP16, FP32"),
        (answer(name="other"), "no output 'scores', but 'other'"),
        (answer(parameters={"binary_data_size": 60}), r"0 bytes for FP32 of the shape \[5, 3\]"),
        ({}, "no list of outputs"),
        ({"outputs": {"scores": 1}}, "no list of outputs"),
        ({"outputs": ["scores"]}, "no list of outputs"),
    ],
)
def test_answers_of_another_form(server: InferenceServer, told: dict, message: str) -> None:
    classifier = load(server)
    server.script = [Scripted(json.dumps(told).encode())]
    with pytest.raises(ModelError, match=f"answers with something else than scores: {message}") as caught:
        classifier(IMAGES)
    assert len(str(caught.value)) < 1000
    assert not server.script


@pytest.mark.parametrize(
    "body", [b"", b"<html>Welcome</html>", b"{", b"\xff\xfe", b"[" * 100_000, b"5", b'{"outputs": ' + b"9" * 5000]
)
def test_answers_that_are_no_json(server: InferenceServer, body: bytes) -> None:
    classifier = load(server)
    server.script = [Scripted(body)]
    with pytest.raises(ModelError, match="no JSON object came"):
        classifier(IMAGES)


@pytest.mark.parametrize("length", ["-1", "0", "99999999", "x", "²"])
def test_lengths_that_are_none(server: InferenceServer, length: str) -> None:
    classifier = load(server)
    header = {"Inference-Header-Content-Length": length.encode("utf-8").decode("latin-1")}
    server.script = [Scripted(json.dumps(answer()).encode(), headers=header)]
    with pytest.raises(ModelError, match="inference-header-content-length is"):
        classifier(IMAGES)


def test_numbers_in_lists_of_lists_and_behind_other_outputs(server: InferenceServer) -> None:
    classifier = load(server)
    nested = answer(data=[[1, 2.5, 3]] * 5)
    server.script = [Scripted(json.dumps(nested).encode())]
    assert torch.equal(classifier(IMAGES), torch.tensor([[1, 2.5, 3]] * 5))
    first = {"name": "other", "datatype": "INT64", "shape": [5], "parameters": {"binary_data_size": 40}}
    second = {"name": "scores", "datatype": "FP32", "shape": [5, 3], "parameters": {"binary_data_size": 60}}
    head, numbers = json.dumps({"outputs": [first, second]}).encode(), np.arange(15, dtype=np.float32)
    lengths = {"Inference-Header-Content-Length": str(len(head))}
    server.script = [Scripted(head + bytes(40) + numbers.tobytes(), headers=lengths)]
    assert classifier(IMAGES).flatten().tolist() == list(range(15))


def test_scores_that_are_not_finite(server: InferenceServer) -> None:
    """At loading an error; later it is for the audit to reject that image by name."""
    classifier = load(server)
    server.script = [Scripted(json.dumps(answer(data=[math.nan] * 3 + [0.5] * 12)).encode())]
    assert classifier(IMAGES).isfinite().all(1).tolist() == [False, True, True, True, True]
    server.network = lambda images: linear(images) * np.float32("nan")
    with pytest.raises(ModelError, match="gives NaN outputs"):
        load(server)


def test_another_number_of_scores_than_classes(server: InferenceServer) -> None:
    classifier = load(server)
    server.network = lambda images: linear(images)[:, :2]
    with pytest.raises(ModelError, match="gives 2 scores per image, but 3 class names are known"):
        classifier(IMAGES)
