"""Classifiers on a server: what is asked, what is sent, what comes out, and what tells one model from another."""

import json

import numpy as np
import pytest
import torch

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, ModelError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.references import load_classifier
from snellen.models.remote.sent_log import sent_log
from tests.models.classifiers.served.inference_server import (
    InferenceServer,
    Scripted,
    inference_server,
    linear,
    refusal,
)
from tests.models.classifiers.served.loaded import IMAGES, load

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

# -- what a server tells -----------------------------------------------------------------------------------------------


def test_a_classifier_and_its_scores(server: InferenceServer) -> None:
    classifier = load(server)
    assert classifier.class_names == ("cat", "dog", "bird")
    assert classifier.name == server.reference
    assert classifier.sent_to == "127.0.0.1"
    assert not classifier.differentiable
    assert classifier.preparation == Preprocessing(size=(4, 6), resize="shorter", resize_to=(4, 6))
    assert torch.equal(classifier(IMAGES), torch.from_numpy(linear(IMAGES.numpy())))
    assert classifier.spent.queries == 5
    assert classifier(IMAGES.clone().requires_grad_()).grad_fn is None


def test_what_is_queried_and_what_is_sent(server: InferenceServer) -> None:
    load(server)(IMAGES)
    gets = [one.path for one in server.received if one.method == "GET"]
    assert gets == ["/v2/models/pets", "/v2"], "the description is asked for once"
    asked = server.requested[-1]
    assert asked.path == "/v2/models/pets/infer", "settings are not part of the address"
    assert asked.content["outputs"] == [{"name": "scores"}]
    entry = asked.content["inputs"][0]
    assert (entry["name"], entry["datatype"], entry["shape"]) == ("images", "FP32", [5, 3, 4, 6])
    assert np.array_equal(np.array(entry["data"], dtype=np.float32).reshape(5, 3, 4, 6), IMAGES.numpy())


def test_a_version_is_requested(server: InferenceServer) -> None:
    classifier = load_classifier(f"{server.reference}/versions/1")
    assert classifier.name.endswith("/v2/models/pets/versions/1")
    assert {one.path for one in server.received} == {
        "/v2/models/pets/versions/1",
        "/v2",
        "/v2/models/pets/versions/1/infer",
    }


def test_batches(server: InferenceServer) -> None:
    classifier = load(server, "batch=2")
    before = len(server.requested)
    assert torch.allclose(classifier(IMAGES), torch.from_numpy(linear(IMAGES.numpy())), rtol=1e-6)
    assert [one.content["inputs"][0]["shape"][0] for one in server.requested[before:]] == [2, 2, 1]


def test_a_model_that_insists_on_a_batch_gets_it(server: InferenceServer) -> None:
    server.description["inputs"][0]["shape"] = [2, 3, 4, 6]
    classifier = load(server)
    before = len(server.requested)
    with sent_log() as log:
        assert torch.equal(classifier(IMAGES), torch.from_numpy(linear(IMAGES.numpy())))
    assert [one.content["inputs"][0]["shape"][0] for one in server.requested[before:]] == [2, 2, 2]
    assert [json.loads(line)["images"] for line in log.lines] == [2, 2, 1], "what fills up is no image"


def test_numbers_as_bytes_where_the_server_can(server: InferenceServer) -> None:
    server.extensions = ["classification", "binary_tensor_data"]
    classifier = load(server)
    assert torch.equal(classifier(IMAGES), torch.from_numpy(linear(IMAGES.numpy())))
    asked = server.requested[-1]
    assert "data" not in asked.content["inputs"][0]
    assert asked.body.endswith(IMAGES.numpy().tobytes())
    assert torch.equal(load(server, "binary=false")(IMAGES), classifier(IMAGES))
    assert "data" in server.requested[-2].content["inputs"][0]


def test_numbers_as_bytes_because_the_user_says_so(server: InferenceServer) -> None:
    assert torch.equal(load(server, "binary=true")(IMAGES), torch.from_numpy(linear(IMAGES.numpy())))
    assert "/v2" not in {one.path for one in server.received}


@pytest.mark.parametrize("binary", ["true", "false"])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "UINT8"])
@pytest.mark.parametrize("order", ["nchw", "nhwc"])
def test_types_and_orders(order: str, datatype: str, binary: str) -> None:
    scale = 255 if datatype == "UINT8" else 1
    axes = (0, 1, 2, 3) if order == "nchw" else (0, 3, 1, 2)
    with inference_server(network=lambda images: linear(images.transpose(axes) / scale)) as server:
        shape = [-1, 3, 4, 6] if order == "nchw" else [-1, 4, 6, 3]
        server.description["inputs"][0] |= {"datatype": datatype, "shape": shape}
        classifier = load(server, f"binary={binary}")
        pixels = (IMAGES * 255).round() / 255
        assert classifier.preparation.size == (4, 6)
        assert torch.allclose(classifier(pixels), torch.from_numpy(linear(pixels.numpy())), atol=1e-5)
        told = [note for note in classifier.notes if "rounded to 8 bits" in note]
        assert bool(told) == (datatype == "UINT8")
        entry = server.requested[-1].content["inputs"][0]
        assert entry["datatype"] == datatype
        if datatype == "UINT8" and binary == "false":
            assert all(isinstance(number, int) for number in entry["data"])


def test_bytes_are_rounded_and_not_cut_off(server: InferenceServer) -> None:
    server.description["inputs"][0]["datatype"] = "UINT8"
    load(server)(torch.full((1, 3, 4, 6), 0.999))
    assert set(server.requested[-1].content["inputs"][0]["data"]) == {255}


def test_one_channel(server: InferenceServer) -> None:
    server.description["inputs"][0]["shape"] = [-1, 1, 4, 6]
    server.network = lambda images: linear(np.repeat(images, 3, axis=1))
    classifier = load(server)
    assert any("the mean of the three is sent" in note for note in classifier.notes)
    grey = IMAGES.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.allclose(classifier(IMAGES), torch.from_numpy(linear(grey.numpy())), atol=1e-6)


def test_the_parameters_may_describe_the_model(server: InferenceServer) -> None:
    record = {
        "class_names": ["a", "b", "c"],
        "preparation": {"size": [4, 6], "resize": "exact", "resize_to": [4, 6]},
        "normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "output": "logits",
    }
    for written in (record, json.dumps(record)):
        server.description["parameters"] = {"snellen": written}
        classifier = load(server)
        assert classifier.class_names == ("a", "b", "c")
        assert classifier.preparation.resize == "exact"
        assert classifier.normalization == Normalization((0.5,) * 3, (0.25,) * 3)
        expected = torch.from_numpy(linear(((IMAGES - 0.5) / 0.25).numpy()))
        assert torch.equal(classifier(IMAGES), expected)
        assert not any("assumed" in note for note in classifier.notes)


def test_what_nobody_tells_is_assumed_and_said(server: InferenceServer) -> None:
    classifier = load(server)
    assert any("preparation assumed: shorter edge to 4 pixels" in note for note in classifier.notes)
    assert any("assumed to be RGB in [0, 1] without normalisation" in note for note in classifier.notes)
    settings = load(server, "mean=0.5&std=0.1,0.2,0.4&resize=exact&resize_to=4,6&interpolation=bicubic")
    assert settings.normalization == Normalization((0.5,) * 3, (0.1, 0.2, 0.4))
    assert settings.preparation == Preprocessing(size=(4, 6), resize="exact", resize_to=(4, 6), interpolation="bicubic")
    assert not any("assumed" in note for note in settings.notes)
    given = load(server, class_names=["x", "y", "z"], normalization=Normalization((0.5,) * 3, (0.5,) * 3))
    assert given.class_names == ("x", "y", "z")
    assert not any("RGB" in note for note in given.notes)


def test_a_size_that_the_shape_does_not_tell(server: InferenceServer) -> None:
    server.description["inputs"][0]["shape"] = [-1, 3, -1, -1]
    with pytest.raises(InputError, match=r"its input size is dynamic; say it: \?size=224"):
        load(server)
    assert load(server, "size=4,6").preparation.size == (4, 6)
    assert load(server, "size=8").preparation.size == (8, 8)
    assert load(server, preparation=Preprocessing(size=(4, 4))).identity is None


def test_labels_alone(server: InferenceServer) -> None:
    server.network = lambda images: linear(images).argmax(1)
    server.description["outputs"][0] |= {"datatype": "INT64"}
    classifier = load(server)
    assert classifier.output == "labels"
    assert torch.equal(classifier(IMAGES).argmax(1), torch.from_numpy(linear(IMAGES.numpy()).argmax(1)))


def test_several_outputs(server: InferenceServer) -> None:
    scores = server.description["outputs"][0]
    server.description["outputs"] = [scores, {"name": "embedding", "datatype": "FP32", "shape": [-1, 8]}]
    assert any("2 outputs; the first, 'scores', is used" in note for note in load(server).notes)
    assert not any("outputs" in note for note in load(server, "output=scores").notes)
    with pytest.raises(InputError, match="has no output 'none'; it has scores, embedding"):
        load(server, "output=none")


def test_several_inputs(server: InferenceServer) -> None:
    server.description["inputs"].append({"name": "mask", "datatype": "FP32", "shape": [-1, 1]})
    with pytest.raises(InputError, match=r"has 2 inputs \(images, mask\); name the one for images: \?input=NAME"):
        load(server)
    assert len(load(server, "input=images").class_names) == 3


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"datatype": "BYTES"}, "takes BYTES; images are sent as FP32, FP64, UINT8"),
        ({"shape": [-1, 224]}, r"has the shape \[-1, 224\]; expected four axes"),
        ({"shape": [3, 4, 6]}, "expected four axes"),
        ({"shape": [-1, 3, 224, 3]}, r"does not show which axis holds the 1 or 3 channels; say it: \?layout=nchw"),
        ({"shape": [-1, -1, -1, -1]}, r"does not show which axis"),
        ({"shape": [-1, 4, 224, 224]}, r"does not show which axis"),
        ({"shape": [1025, 3, 4, 6]}, "takes 1025 images at once, .*; at most 1024 images"),
        ({"shape": [10**9, 3, -1, -1]}, "takes 1000000000 images at once"),
        ({"shape": [1024, 3, 512, 512]}, "takes 1024 images at once, .* 268435456 numbers"),
        ({"shape": [-1, 3, 100000, 100000]}, "takes 100000x100000 pixels; at most 8192 a side"),
    ],
)
def test_inputs_that_are_no_images(server: InferenceServer, entry: dict, message: str) -> None:
    server.description["inputs"][0] |= entry
    with pytest.raises(InputError, match=message):
        load(server)
    assert not server.requested


def test_an_order_that_the_user_says(server: InferenceServer) -> None:
    server.description["inputs"][0]["shape"] = [-1, -1, -1, -1]
    assert load(server, "layout=nchw&size=4,6").preparation.size == (4, 6)
    server.description["inputs"][0]["shape"] = [-1, 3, 4, 4]
    with pytest.raises(InputError, match="4 channels as nhwc"):
        load(server, "layout=nhwc")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("size=5", r"size is \(5, 5\), but the model takes \(4, 6\)"),
        ("resize=none&resize_to=4", "resize and resize_to go together"),
        ("std=0", "std.0: expected more than 0"),
        ("batch=0", "batch: expected more than 0"),
        ("timeout=0", "timeout: expected more than 0"),
        ("timeout=inf", "timeout: expected a finite number"),
        ("timeout=1e300", "timeout: expected at most 86400"),
        ("connect=1e300", "connect: expected at most 86400"),
        ("rate=1e-300", "rate: .*one request a day is the lowest"),
        ("mean=nan", "mean.0: expected a finite number"),
        ("std=inf", "std.0: expected a finite number"),
        ("size=200000", "size.0: expected at most 8192"),
        ("resize=exact&resize_to=200000", "resize_to.0: expected at most 8192"),
        ("rate=-1", "rate: expected at least 0"),
        ("layout=chwn", "layout: expected 'nchw' or 'nhwc'"),
        ("timout=3", "unknown setting of a server 'timout'; did you mean 'timeout'"),
        ("batch", r"write settings as \?name=value"),
        ("batch=1&batch=2", r"each once; got 'batch=2'"),
    ],
)
def test_settings_that_are_refused(server: InferenceServer, settings: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(server, settings)
    assert not server.requested


def test_bytes_have_no_normalisation(server: InferenceServer) -> None:
    server.description["inputs"][0]["datatype"] = "UINT8"
    with pytest.raises(InputError, match="takes bytes and normalises them itself"):
        load(server, "mean=0.5")
    with pytest.raises((InputError, ModelError), match="takes bytes and normalises them itself"):
        load(server, normalization=Normalization((0.5,) * 3, (0.1,) * 3))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no JSON object"),
        (b"<html>Welcome</html>", "no JSON object.*Welcome"),
        (b"[1, 2]", "no JSON object"),
        (b"[" * 100_000, "no JSON object"),
        (b'{"name": "\\ud800", "inputs": [], "outputs": []}', "no JSON object"),
        (b'{"name": "\xed\xa0\x80", "inputs": [], "outputs": []}', "no JSON object"),
        (b'{"name": "pets"}', "inputs: is missing"),
        (b'{"name": "pets", "inputs": [{"name": "a"}], "outputs": []}', "inputs.0.datatype: is missing"),
        (
            b'{"name": "pets", "inputs": [{"name": "a", "datatype": "FP32", "shape": ["x"]}], "outputs": []}',
            "inputs.0.shape.0",
        ),
    ],
)
def test_descriptions_that_are_none(server: InferenceServer, body: bytes, message: str) -> None:
    server.described = [Scripted(body)]
    with pytest.raises(ModelError, match=rf"describes no model \({message}") as caught:
        load(server)
    assert len(str(caught.value)) < 1000


def test_parameters_of_another_form(server: InferenceServer) -> None:
    server.description["parameters"] = {"snellen": '{"class_name": ["a"]}'}
    with pytest.raises(InputError, match="describe the model in another form"):
        load(server)
    wide = {"size": [4, 6], "resize": "exact", "resize_to": [10**6, 10**6]}
    server.description["parameters"] = {"snellen": {"preparation": wide}}
    with pytest.raises(InputError, match="more than 8192 pixels a side"):
        load(server)
    server.description["parameters"] = {"snellen": {"preparation": {"size": [9, 9]}}}
    with pytest.raises(InputError, match=r"describes images of \(9, 9\), but takes \(4, 6\)"):
        load(server)
    server.description["parameters"] = {"class_names": '["a", "b", "\\ud800"]'}
    with pytest.raises(InputError, match="describe the model in another form"):
        load(server)
    server.description["parameters"] = None
    with pytest.raises(InputError, match="does not name its 3 outputs"):
        load(server)


def test_a_model_that_is_not_there(server: InferenceServer) -> None:
    with pytest.raises(InputError, match="knows no model 'cats', or no such interface"):
        load_classifier(f"{server.host}/v2/models/cats")


@pytest.mark.parametrize("status", [404, 405, 500, 302])
def test_a_server_need_not_describe_itself(server: InferenceServer, status: int) -> None:
    described = Scripted(json.dumps(server.description).encode())
    server.get = lambda path: refusal(status) if path == "/v2" else described  # type: ignore[method-assign]
    assert torch.equal(load(server)(IMAGES), torch.from_numpy(linear(IMAGES.numpy())))
    assert "data" in server.requested[-1].content["inputs"][0]


# -- what tells one model from another ---------------------------------------------------------------------------------


def test_the_same_model_is_the_same_wherever_it_is_served(server: InferenceServer, other: InferenceServer) -> None:
    one, two = load(server), load(other, "batch=2&rate=100000")
    assert one.identity is not None
    assert (one.identity, one.fingerprint()) == (two.identity, two.fingerprint())
    assert any("its identity is that of name, version, description and the scores" in note for note in one.notes)


@pytest.mark.parametrize(
    "change",
    [
        lambda server: setattr(server, "network", lambda images: linear(images) * np.float32(1.0001)),
        lambda server: setattr(server, "version", "2"),
        lambda server: server.description.update(platform="another"),
    ],
)
def test_another_model_is_another(server: InferenceServer, change: object) -> None:
    before = load(server).identity
    change(server)  # type: ignore[operator]
    assert load(server).identity not in (before, None)


def test_a_model_that_gives_other_scores_each_time_has_no_identity(server: InferenceServer) -> None:
    rng = np.random.default_rng(0)
    server.network = lambda images: linear(images) + rng.normal(size=(len(images), 3)).astype(np.float32)
    classifier = load(server)
    assert (classifier.identity, classifier.fingerprint()) == (None, None)
    assert any("gives other scores for the same images" in note for note in classifier.notes)


def test_another_version_in_between_is_an_error(server: InferenceServer) -> None:
    classifier = load(server)
    server.version = "2"
    with pytest.raises(
        ModelError, match=r"answers with version '2' of the model, and before with '1'; name the version"
    ):
        classifier(IMAGES)


def test_a_server_that_was_away_must_come_back_with_the_same_model(server: InferenceServer, waits: list[float]) -> None:
    classifier = load(server)
    expected = classifier(IMAGES)
    server.script = [refusal(503)]
    before = len(server.requested)
    assert torch.equal(classifier(IMAGES), expected)
    assert len(server.requested) == before + 3, "refused, answered, and asked whether it is the same"
    assert torch.equal(classifier(IMAGES), expected)
    assert len(server.requested) == before + 4
    server.script, server.network = [refusal(503)], lambda images: linear(images)[:, ::-1]
    for _ in range(2):
        with pytest.raises(ModelError, match="was away, and another model came back"):
            classifier(IMAGES)
    server.network = linear
    assert torch.equal(classifier(IMAGES), expected)
