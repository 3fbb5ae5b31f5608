"""Requests for scores: the numbers of the images, exactly, as JSON and as bytes."""

import json

import numpy as np
import pytest

from snellen.models.classifiers.served.tensor_messages import JSON_LENGTH, write_request

RNG = np.random.default_rng(0)
IMAGES = {
    "levels": (RNG.integers(0, 256, (2, 3, 20, 30)) / 255).astype(np.float32),
    "normalised": ((RNG.integers(0, 256, (2, 3, 20, 30)) / 255 - 0.485) / 0.229).astype(np.float32),
    "any": RNG.normal(size=(2, 3, 4, 5)).astype(np.float32),
    "wide": RNG.normal(size=(1, 3, 4, 5)),
    "bytes": RNG.integers(0, 256, (2, 20, 30, 3), dtype=np.uint8),
    "constant": np.zeros((1, 3, 4, 5), dtype=np.float32),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_every_number_arrives_as_it_is(kind: str) -> None:
    images = IMAGES[kind]
    body, headers = write_request(images, entry='i"n', datatype="FP32", output="out", binary=False)
    told = json.loads(body)
    assert headers == {"content-type": "application/json"}
    assert told["outputs"] == [{"name": "out"}]
    (entry,) = told["inputs"]
    assert (entry["name"], entry["shape"], entry["datatype"]) == ('i"n', list(images.shape), "FP32")
    assert entry["data"] == images.reshape(-1).tolist()
    assert np.array_equal(np.array(entry["data"], dtype=images.dtype).reshape(images.shape), images)
    body, headers = write_request(images, entry="in", datatype="FP32", output="out", binary=True)
    length = int(headers[JSON_LENGTH])
    assert body[length:] == images.tobytes()
    assert json.loads(body[:length])["inputs"][0]["parameters"] == {"binary_data_size": images.nbytes}
