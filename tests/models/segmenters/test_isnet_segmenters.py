"""IS-Net: a small ONNX graph whose maps are known, behind the published pre- and postprocessing."""

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from snellen.core.errors import InputError, MissingExtraError, ModelError
from snellen.models.references import load_segmenter

WEIGHT = np.array([0.5, -1.0, 2.0], dtype=np.float32)


def write_map(
    path: Path,
    shape: Sequence[int | str] = ("n", 3, 32, 32),
    *,
    side_outputs: int = 0,
    operator: str = "Sigmoid",
    squeeze: bool = False,
) -> Path:
    """A weighted sum of the channels, then an operator: a map of the size of the input."""
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["sum"]),
        helper.make_node(operator, ["sum"], ["map"]),
        *[helper.make_node("Neg", ["sum"], [f"side{index}"]) for index in range(side_outputs)],
    ]
    first = ["map"]
    constants = [numpy_helper.from_array(WEIGHT.reshape(1, 3, 1, 1), "weight")]
    if squeeze:
        nodes.append(helper.make_node("Squeeze", ["map", "one"], ["flat"]))
        constants.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "one"))
        first = ["flat"]
    outputs = [*first, *(f"side{index}" for index in range(side_outputs))]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def published(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """The authors' steps for one picture (3, h, w), written down once more."""
    resized = F.interpolate((picture * 255).round()[None], size, mode="bilinear").type(torch.uint8)
    fed = resized / 255.0 - 0.5
    result = torch.sigmoid((fed * torch.from_numpy(WEIGHT).view(1, 3, 1, 1)).sum(1, keepdim=True))
    result = F.interpolate(result, picture.shape[-2:], mode="bilinear")[0, 0]
    return (result - result.min()) / (result.max() - result.min())


@pytest.mark.parametrize("shape", [("n", 3, 32, 32), (1, 3, 32, 32), (2, 3, 24, 40)])
@pytest.mark.parametrize("side_outputs", [0, 5])
def test_masks_are_those_of_the_published_steps(
    tmp_path: Path, noise: Callable, shape: Sequence[int | str], side_outputs: int
) -> None:
    segmenter = load_segmenter(f"isnet:{write_map(tmp_path / 'isnet.onnx', shape, side_outputs=side_outputs)}")
    pictures = noise(3, 50, 70)
    found = segmenter.segment(pictures)
    assert found.candidates.shape == (3, 1, 50, 70)
    for picture, mask in zip(pictures, found.masks, strict=True):
        assert torch.allclose(mask, published(picture, (int(shape[2]), int(shape[3]))), atol=1e-5)
        assert (float(mask.min()), float(mask.max())) == (0.0, 1.0)
    assert bool(found.quality.isnan().all())
    assert found.regions.dtype == torch.bool
    assert 0 < float(found.regions.float().mean()) < 1


def test_a_model_that_tells_no_size_takes_the_published_one(tmp_path: Path, noise: Callable) -> None:
    segmenter = load_segmenter(f"isnet:{write_map(tmp_path / 'isnet.onnx', ('n', 3, 'h', 'w'), squeeze=True)}")
    picture = noise(1, 30, 40)
    assert torch.allclose(segmenter.segment(picture).masks[0], published(picture[0], (1024, 1024)), atol=1e-5)


def test_what_is_reported(tmp_path: Path) -> None:
    path = write_map(tmp_path / "isnet.onnx")
    segmenter = load_segmenter(f"isnet:{path}")
    assert (segmenter.name, segmenter.prompts) == ("isnet:isnet.onnx", frozenset())
    assert segmenter.device == torch.device("cpu")
    assert segmenter.identity() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_constant_map_is_an_empty_mask(tmp_path: Path) -> None:
    found = load_segmenter(f"isnet:{write_map(tmp_path / 'isnet.onnx')}").segment(torch.full((2, 3, 20, 20), 0.4))
    assert not bool(found.regions.any())
    assert bool((found.masks == 0).all())


@pytest.mark.parametrize("prompts", [{"points": torch.zeros(1, 1, 2)}, {"boxes": torch.tensor([[0.0, 0.0, 5.0, 5.0]])}])
def test_prompts_are_refused(tmp_path: Path, noise: Callable, prompts: dict[str, Tensor]) -> None:
    segmenter = load_segmenter(f"isnet:{write_map(tmp_path / 'isnet.onnx')}")
    with pytest.raises(InputError, match=r"does not take (points|boxes); it takes no prompts: it finds the salient"):
        segmenter.segment(noise(1, 20, 20), **prompts)


def test_maps_that_are_not_finite(tmp_path: Path) -> None:
    segmenter = load_segmenter(f"isnet:{write_map(tmp_path / 'isnet.onnx', operator='Log')}")
    with pytest.raises(ModelError, match="not finite"):
        segmenter.segment(torch.zeros(1, 3, 20, 20))


def test_other_models_are_refused(tmp_path: Path, write_graph: Callable[..., Path], noise: Callable) -> None:
    classifier = write_graph(tmp_path / "classifier.onnx", shape=("n", 3, 16, 16))
    with pytest.raises((InputError, ModelError), match=r"expected (one map for each image|maps \(n, 1, h, w\))"):
        load_segmenter(f"isnet:{classifier}").segment(noise(1, 20, 20))
    (tmp_path / "isnet.pth").write_bytes(b"\x80\x02")
    with pytest.raises(InputError, match=r"is a pickle of torch, which is not read; export it once"):
        load_segmenter(f"isnet:{tmp_path / 'isnet.pth'}")
    with pytest.raises(InputError, match="no ONNX file at"):
        load_segmenter(f"isnet:{tmp_path / 'none.onnx'}")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(InputError, match="is not an ONNX model"):
        load_segmenter(f"isnet:{tmp_path / 'text.onnx'}")


def test_without_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_map(tmp_path / "isnet.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'snellen\[onnx\]'"):
        load_segmenter(f"isnet:{path}")
