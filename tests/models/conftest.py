"""Photographs of several shapes and modes, and small ONNX graphs whose outputs are known."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from skimage import data

WEIGHT = np.array([[4.0, 1.0, -1.0, 0.5], [-2.0, 3.0, 1.0, 0.0], [0.5, -1.0, 2.0, 1.0]], dtype=np.float32)
BIAS = np.array([0.1, -0.2, 0.3, 0.0], dtype=np.float32)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks of this size gain nothing from threads, which on a busy machine mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def photos() -> dict[str, Image.Image]:
    cat, coffee, face = (Image.fromarray(picture()) for picture in (data.chelsea, data.coffee, data.astronaut))
    alpha = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (150, 1)))
    translucent = coffee.resize((200, 150)).convert("RGBA")
    translucent.putalpha(alpha)
    return {
        "landscape": cat,  # 451 x 300
        "portrait": face.crop((100, 0, 399, 512)),  # 299 x 512
        "panorama": coffee.crop((0, 100, 600, 231)),  # 600 x 131
        "tiny": cat.crop((100, 100, 107, 105)),  # 7 x 5
        "odd": coffee.crop((11, 7, 264, 244)),  # 253 x 237
        "grey": Image.fromarray(data.camera()),  # mode L
        "palette": cat.quantize(64),  # mode P
        "rgba": translucent,  # mode RGBA
    }


@pytest.fixture(scope="session")
def expected_logits() -> Callable[..., torch.Tensor]:
    """What the graphs of :func:`write_graph` compute: mean of each channel, then a linear layer."""

    def logits(images: torch.Tensor, channels: int = 3) -> torch.Tensor:
        means = images.mean((2, 3)) if channels == 3 else images.mean((1, 2, 3))[:, None]
        return means @ torch.from_numpy(WEIGHT[:channels]) + torch.from_numpy(BIAS)

    return logits


@pytest.fixture(scope="session")
def write_graph() -> Callable[..., Path]:
    """Writes a graph to a path."""
    return _write


def _write(
    path: Path,
    *,
    shape: Sequence[int | str] = ("n", 3, 8, 6),
    kind: int = TensorProto.FLOAT,
    then: Sequence[str] = (),
    tail: Sequence[onnx.NodeProto] = (),
    output: tuple[str, int] | None = None,
    extra_outputs: Sequence[str] = (),
    bias: np.ndarray = BIAS,
) -> Path:
    """Mean over the pixels, a linear layer to four scores, and further operators by name."""
    channels = shape[1] if isinstance(shape[1], int) else 3
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["pooled"], axes=[2, 3]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Gemm", ["means", "weight", "bias"], ["scores"]),
    ]
    name = "scores"
    for operator in then:
        nodes.append(helper.make_node(operator, [name], [f"{name}_{operator}"]))
        name = f"{name}_{operator}"
    nodes += tail
    out_name, out_kind = output or (name, kind)
    outputs = [helper.make_tensor_value_info(out_name, out_kind, None)]
    outputs += [helper.make_tensor_value_info(extra, kind, None) for extra in extra_outputs]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("images", kind, shape)],
        outputs,
        [
            numpy_helper.from_array(WEIGHT[:channels].astype(dtype), "weight"),
            numpy_helper.from_array(bias.astype(dtype), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
