"""ONNX files with gradients and layers, beside the modules that they were exported from and ONNX Runtime."""

import hashlib
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.methods.explanations.grad_cam import grad_cam
from snellen.models.classifiers.onnx_graph import networks
from snellen.models.classifiers.onnx_graph.layers import rebatched
from snellen.models.classifiers.onnx_graph.reading import Node, layer_names
from snellen.models.classifiers.onnx_graph.running import InBatches
from snellen.models.classifiers.references import load_classifier
from tests.models.conftest import BIAS, WEIGHT

NAMES = ["a", "b", "c", "d"]
Write = Callable[..., Path]


class Attention(nn.Module):
    """Two heads of four channels each, (n, t, 8) → (n, t, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, tokens: Tensor, *_: Tensor) -> tuple[Tensor]:
        n, t, _width = tokens.shape
        query, key, value = self.mixed(tokens).reshape(n, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        return (self.out(attended.transpose(1, 2).reshape(n, t, 8)),)


class Network(nn.Module):
    """What exports are made of: a residual block, two ways of normalising, attention over tokens, pooling."""

    def __init__(self, tokens_first: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.block = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.norm = nn.LayerNorm(8)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2) if tokens_first else Attention()
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 4)
        self.tokens_first = tokens_first

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        maps = self.pool(torch.relu(maps + self.block(maps)))
        tokens = torch.cat([self.token.expand(images.shape[0], -1, -1), maps.flatten(2).transpose(1, 2)], 1)
        tokens = self.norm(tokens)
        if self.tokens_first:
            tokens = tokens.transpose(0, 1)
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        tokens = tokens.transpose(0, 1) if self.tokens_first else tokens
        return self.head((tokens + self.mlp(tokens)).mean(1))


def export(module: nn.Module, path: Path, *, dynamo: bool, opset: int, batch: int | None = None) -> Path:
    """Write an ONNX file; a batch fixes its size."""
    free: dict[str, Any] = {}
    if batch is None:
        free = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if dynamo else {"dynamic_axes": {"images": {0: "n"}}}
    images = torch.rand(batch or 2, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            module.eval(),
            (images,),
            path,
            dynamo=dynamo,
            opset_version=opset,
            input_names=["images"],
            external_data=False,
            verbose=False,
            **free,
        )
    return path


def gradients(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    scores = network(images)
    return torch.autograd.grad((scores * torch.tensor([1.0, -2.0, 3.0, 0.5])).sum(), images)[0]


def assert_alike(classifier: Classifier, module: nn.Module, count: int = 5) -> None:
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = module(images).detach()
    assert torch.allclose(classifier(images), expected, atol=1e-4 * float(expected.abs().max()))
    ours, theirs = gradients(classifier, images), gradients(module, images)
    assert float(theirs.abs().max()) > 0
    assert float((ours - theirs).abs().max()) < 1e-3 * float(theirs.abs().max())


def graph_of(tail: list[onnx.NodeProto], output: str, path: Path, constants: dict[str, Tensor]) -> None:
    """Put nodes behind the scores of a written graph."""
    model = onnx.load(path)
    model.graph.node.extend(tail)
    model.graph.initializer.extend(numpy_helper.from_array(one.numpy(), name) for name, one in constants.items())
    model.graph.output[0].name = output
    onnx.save(model, path)


def test_gradients_are_those_of_the_formula(tmp_path: Path, write_graph: Write) -> None:
    classifier = load_classifier(f"onnx:{write_graph(tmp_path / 'net.onnx')}", NAMES)
    images = torch.rand(2, 3, 8, 6, requires_grad=True)
    found = torch.autograd.grad(classifier(images)[:, 1].sum(), images)[0]
    expected = torch.from_numpy(WEIGHT[:, 1] / 48).view(1, 3, 1, 1).expand_as(found)
    assert torch.allclose(found, expected, atol=1e-7)
    assert (classifier.differentiable, classifier.spent.gradients) == (True, 2)


@pytest.mark.parametrize(("dynamo", "opset"), [(False, 14), (False, 20), (True, 23)])
def test_exports_of_both_exporters_are_the_module(tmp_path: Path, dynamo: bool, opset: int) -> None:
    module = Network()
    classifier = load_classifier(f"onnx:{export(module, tmp_path / 'net.onnx', dynamo=dynamo, opset=opset)}", NAMES)
    assert classifier.module is not None
    assert_alike(classifier, module)
    assert classifier.notes[0].startswith("torch runs the graph, with gradients and layers")
    layers = dict(classifier.module.named_modules())
    assert isinstance(layers["block"], nn.Conv2d)
    assert torch.equal(layers["block"].weight, module.block.weight)
    assert isinstance(layers["head"], nn.Linear)
    # The features before the last linear layer, and a layer inside, in the passes that methods make.
    images = torch.rand(3, 3, 8, 8)
    features = classifier.features(images)
    assert torch.allclose(features @ module.head.weight.T + module.head.bias, module(images), atol=1e-5)
    inside: list[Tensor] = []
    handle = module.block.register_forward_hook(lambda _layer, _inputs, output: inside.append(output))
    module(images)
    handle.remove()
    assert torch.allclose(classifier.features(images, "block"), inside[0], atol=1e-5)
    with classifier.edit("block", torch.zeros_like):
        assert not torch.allclose(classifier(images), module(images), atol=1e-3)


def test_grad_cam_finds_the_last_map(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )
    file = export(module, tmp_path / "net.onnx", dynamo=False, opset=17)
    images, targets = torch.rand(2, 3, 8, 8), torch.tensor([0, 3])
    ours, theirs = (
        grad_cam(one, images, targets).maps
        for one in (load_classifier(f"onnx:{file}", NAMES), load_classifier(module, NAMES))
    )
    assert float(theirs.abs().max()) > 0
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(("batch", "tokens_first"), [(1, False), (2, False), (1, True)])
def test_a_fixed_batch_size_is_left_behind(tmp_path: Path, batch: int, tokens_first: bool) -> None:
    module = Network(tokens_first)
    file = export(module, tmp_path / "net.onnx", dynamo=False, opset=17, batch=batch)
    classifier = load_classifier(f"onnx:{file}", NAMES)
    assert "in batches of any size" in classifier.notes[0]
    assert classifier.module is not None
    assert_alike(classifier, module, 5)
    assert len(classifier.features(torch.rand(3, 3, 8, 8), "norm")) == 3


def test_a_batch_size_that_cannot_be_left_behind(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx", shape=(2, 3, 8, 6))
    zeros = {"zeros": torch.zeros(2, 4)}
    graph_of([helper.make_node("Add", ["scores", "zeros"], ["sum"])], "sum", path, zeros)
    classifier = load_classifier(f"onnx:{path}", NAMES)
    assert (classifier.differentiable, classifier.module) == (True, None)
    assert "in batches of 2, and so without layers" in classifier.notes[0]
    images = torch.rand(5, 3, 8, 6, requires_grad=True)
    found = torch.autograd.grad(classifier(images)[:, 0].sum(), images)[0]
    assert torch.allclose(found, torch.from_numpy(WEIGHT[:, 0] / 48).view(1, 3, 1, 1).expand_as(found), atol=1e-7)


def test_probabilities_and_one_channel_keep_gradients(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx", shape=("n", 1, 8, 6), then=["Softmax"])
    classifier = load_classifier(f"onnx:{path}", NAMES)
    images = torch.rand(2, 3, 8, 6, requires_grad=True)
    found = torch.autograd.grad(classifier(images)[:, 2].sum(), images)[0]
    assert classifier.output == "log-probabilities"
    assert float(found.abs().max()) > 0
    assert torch.equal(found[:, 0], found[:, 1])  # the mean of the channels has one gradient for all three


def test_an_operator_that_is_not_built_is_named(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx", then=["Hardmax"])
    classifier = load_classifier(f"onnx:{path}", NAMES)
    assert not classifier.differentiable
    assert classifier.notes[0] == (
        "onnxruntime runs the model, without gradients and layers: torch cannot run operator Hardmax"
    )
    assert not classifier(torch.rand(1, 3, 8, 6, requires_grad=True)).requires_grad
    with pytest.raises(UnsupportedError, match=r"operator Hardmax \(run_by=torch\)"):
        load_classifier(f"onnx:{path}", NAMES, model_args={"run_by": "torch"})


def test_a_quantised_graph_is_named(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    tail = [
        helper.make_node("QuantizeLinear", ["scores", "step", "zero"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["rounded"]),
    ]
    graph_of(tail, "rounded", path, {"step": torch.tensor(0.05), "zero": torch.tensor(0, dtype=torch.int8)})
    classifier = load_classifier(f"onnx:{path}", NAMES)
    assert not classifier.differentiable
    assert "the quantised operators DequantizeLinear, QuantizeLinear, whose gradients are zero" in classifier.notes[0]


def test_other_scores_keep_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    right = networks.OPERATORS["ReduceMean"]
    monkeypatch.setitem(networks.OPERATORS, "ReduceMean", lambda call: 1.001 * right(call))
    classifier = load_classifier(f"onnx:{path}", NAMES)
    assert not classifier.differentiable
    assert "scores differ from those of onnxruntime by 0.00" in classifier.notes[0]
    monkeypatch.setitem(networks.OPERATORS, "ReduceMean", lambda call: float("nan") * right(call))
    assert not load_classifier(f"onnx:{path}", NAMES).differentiable
    monkeypatch.setitem(networks.OPERATORS, "ReduceMean", lambda call: (1 + 1e-6) * right(call))
    assert load_classifier(f"onnx:{path}", NAMES).differentiable


def test_who_runs_it_can_be_said(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    classifier = load_classifier(f"onnx:{path}", NAMES, model_args={"run_by": "onnxruntime"})
    assert (classifier.differentiable, classifier.module) == (False, None)
    assert "as requested" in classifier.notes[0]
    assert load_classifier(f"onnx:{path}", NAMES, model_args={"run_by": "torch"}).differentiable
    with pytest.raises(InputError, match="run_by=torch or run_by=onnxruntime; got"):
        load_classifier(f"onnx:{path}", NAMES, model_args={"run_by": "tensorrt"})
    with pytest.raises(InputError, match="takes one argument"):
        load_classifier(f"onnx:{path}", NAMES, model_args={"num_classes": 4})


def test_torch_needs_no_cuda_of_onnxruntime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_graph: Write
) -> None:
    from snellen.models.classifiers import onnx_models

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    loaded = onnx_models.load(str(write_graph(tmp_path / "net.onnx")), torch.device("cuda"))
    assert isinstance(loaded.network, nn.Module)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("labels", [False, True])
def test_run_by_torch_is_kept_on_every_device(tmp_path: Path, write_graph: Write, device: str, labels: bool) -> None:
    from snellen.models.classifiers import onnx_models

    tail = [helper.make_node("ArgMax", ["scores"], ["label"], axis=1)]
    output = ("label", onnx.TensorProto.INT64)
    given = {"tail": tail, "output": output} if labels else {"then": ["Hardmax"]}
    path = write_graph(tmp_path / "net.onnx", **given)
    message = "an output of labels has no gradients" if labels else "operator Hardmax"
    with pytest.raises(UnsupportedError, match=rf"{message} \(run_by=torch\)"):
        onnx_models.load(str(path), torch.device(device), {"run_by": "torch"})


def test_labels_are_reported_on_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_graph: Write) -> None:
    from snellen.models.classifiers import onnx_models

    opened: list[str] = []
    right = onnx_models.open_session

    def on_the_cpu(runtime: object, path: Path, device: torch.device) -> object:
        opened.append(device.type)
        return right(runtime, path, torch.device("cpu"))

    monkeypatch.setattr(onnx_models, "open_session", on_the_cpu)
    tail = [helper.make_node("ArgMax", ["scores"], ["label"], axis=1)]
    path = write_graph(tmp_path / "net.onnx", tail=tail, output=("label", onnx.TensorProto.INT64))
    loaded = onnx_models.load(str(path), torch.device("cuda"))
    assert opened == ["cpu", "cuda"]
    assert loaded.notes[-1] == "onnxruntime runs the model: an output of labels has no gradients"


def test_a_module_in_batches_follows_its_images() -> None:
    module = InBatches(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), 2)
    there = module(torch.zeros(3, 3, 2, 2, device="meta"))
    assert (there.device.type, there.shape) == ("meta", (3, 2))


def test_without_onnx_the_runtime_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_graph: Write) -> None:
    from snellen.core.errors import import_extra
    from snellen.models.classifiers.onnx_graph import reading

    monkeypatch.setattr(reading, "import_extra", lambda _name, extra, why: import_extra("no_such_module", extra, why))
    classifier = load_classifier(f"onnx:{write_graph(tmp_path / 'net.onnx')}", NAMES)
    assert not classifier.differentiable
    assert "snellen[onnx]" in classifier.notes[0]


def test_external_weights_are_read(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    whole = load_classifier(f"onnx:{path}", NAMES)
    outside = tmp_path / "outside.onnx"
    onnx.save_model(onnx.load(path), outside, save_as_external_data=True, location="weights.bin", size_threshold=0)
    apart = load_classifier(f"onnx:{outside}", NAMES)
    images = torch.rand(2, 3, 8, 6)
    assert apart.differentiable
    assert torch.equal(apart(images), whole(images))


def test_a_session_knows_its_file(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    of_file, of_bytes = (
        onnxruntime.InferenceSession(one, providers=["CPUExecutionProvider"]) for one in (str(path), path.read_bytes())
    )
    for session in (of_file, of_bytes):
        classifier = load_classifier(session, NAMES)
        assert classifier.differentiable
        assert classifier.notes[0].startswith("torch runs the graph")
    # Another model in the place of the file gives other scores; a file that is gone gives none.
    write_graph(path, bias=BIAS + 1)
    assert not load_classifier(of_file, NAMES).differentiable
    path.unlink()
    gone = load_classifier(of_file, NAMES)
    assert not gone.differentiable
    assert "whose file is not known" in gone.notes[0]


def test_sessions_of_other_graphs_have_other_fingerprints(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    swapped = tmp_path / "swapped.onnx"
    for file, order in ((swapped, [1, 0, 3, 2]), (path, [0, 1, 2, 3])):  # numbers that are no weights of the module
        onnx.save(onnx.load(path), file)
        tail = [helper.make_node("Gather", ["scores", "order"], ["chosen"], axis=1)]
        graph_of(tail, "chosen", file, {"order": torch.tensor(order)})
    of_file = load_classifier(f"onnx:{path}", NAMES)
    images = torch.rand(2, 3, 8, 6)
    for read in (str, Path.read_bytes):
        first, again, other = (
            load_classifier(onnxruntime.InferenceSession(read(one), providers=["CPUExecutionProvider"]), NAMES)
            for one in (path, path, swapped)
        )
        assert not torch.allclose(first(images), other(images))
        assert first.fingerprint() == again.fingerprint() != other.fingerprint()
        assert (first.identity, first.identity == other.identity) == (of_file.identity, False)


def test_the_identity_of_a_session_is_certain(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx", then=["Hardmax"])
    of_file, of_bytes = (
        onnxruntime.InferenceSession(one, providers=["CPUExecutionProvider"]) for one in (str(path), path.read_bytes())
    )
    by_bytes = load_classifier(of_bytes, NAMES)
    assert not by_bytes.differentiable
    assert by_bytes.identity == hashlib.sha256(path.read_bytes()).hexdigest()
    # The runtime has read the file, which may be another by now.
    assert load_classifier(of_file, NAMES).fingerprint() is None


@pytest.mark.parametrize("external", [False, True])
def test_sessions_with_weights_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_graph: Write, external: bool
) -> None:
    whole = load_classifier(f"onnx:{write_graph(tmp_path / 'net.onnx')}", NAMES)
    path = tmp_path / "outside.onnx"
    model = onnx.load(tmp_path / "net.onnx")
    onnx.save_model(model, path, save_as_external_data=external, location="weights.bin", size_threshold=0)
    monkeypatch.chdir(tmp_path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    classifier = load_classifier(session, NAMES)
    images = torch.rand(2, 3, 8, 6)
    assert torch.allclose(classifier(images), whole(images), atol=1e-6)
    assert (classifier.identity is None, classifier.differentiable) == (external, not external)


def test_a_session_of_the_format_of_the_runtime(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "net.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    content = (tmp_path / "net.ort").read_bytes()
    classifier = load_classifier(onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]), NAMES)
    assert (classifier.differentiable, classifier.fingerprint()) == (False, None)
    images = torch.rand(2, 3, 8, 6)
    assert torch.allclose(classifier(images), load_classifier(f"onnx:{path}", NAMES)(images), atol=1e-6)


def test_names_in_a_file_do_not_hide_parts_of_the_module(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    model = onnx.load(path)
    names = ["forward.weight", "__class__", "feature_layer..training"]
    for node, name in zip(model.graph.node, names, strict=False):
        entry = node.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.name_scopes", repr(["", name, "call"])
    model.graph.node[-1].metadata_props[0].value = "__import__('os').abort()"
    onnx.save(model, path)
    classifier = load_classifier(f"onnx:{path}", NAMES)
    assert classifier.differentiable
    assert "forward_.weight" in classifier.layers


def test_names_of_layers() -> None:
    nodes = [
        Node("Conv", (), (), {}, "block.conv"),
        Node("Add", (), (), {}, "block"),
        Node("Add", (), (), {}, "block"),
        Node("com.microsoft.Gelu", (), (), {}, ""),
    ]
    assert layer_names(nodes) == ["block.conv", "block.add", "block.add_1", "com_microsoft_gelu"]


@pytest.mark.parametrize(
    ("taken", "given", "now", "expected"),
    [
        ((2, 3, 4), (2, 12), (5, 3, 4), (5, 12)),
        ((1, 8, 8, 3), (4, 16, 3), (3, 8, 8, 3), (12, 16, 3)),
        ((17, 1, 2, 8), (17, 16), (17, 4, 2, 8), (68, 16)),
        ((17, 1, 48), (17, 1, 3, 16), (17, 4, 48), (17, 4, 3, 16)),
        ((3, 4), (3, 4), (3, 4), (3, 4)),
    ],
)
def test_shapes_for_another_batch(
    taken: tuple[int, ...], given: tuple[int, ...], now: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert rebatched(taken, given, now) == expected
