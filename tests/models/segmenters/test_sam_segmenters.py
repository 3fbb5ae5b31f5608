"""SAM: what the library gives for the same picture and prompt, and an encoder that runs once."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from snellen.core.artifact import Lineage
from snellen.core.errors import InputError, MissingExtraError, ModelError, UnknownNameError
from snellen.core.preprocessing import to_image
from snellen.models import references
from snellen.models.random_folders import write_random_sam
from snellen.models.references import load_segmenter
from snellen.models.segmenters.sam_segmenters import SamSegmenter, translate
from snellen.models.weights.bundled_folders import bundled_folder, write_card
from snellen.models.weights.quiet_loading import quiet_loading

POINTS = torch.tensor([[[10.0, 20.0], [31.5, 7.0]], [[40.0, 30.0], [0.0, 0.0]]])
LABELS = torch.tensor([[1, 0], [1, 1]])
BOXES = torch.tensor([[3.0, 5.0, 30.0, 41.0], [0.0, 0.0, 49.0, 20.0]])


@pytest.fixture(scope="module")
def segmenter(sam_folder: Path) -> SamSegmenter:
    loaded = load_segmenter(f"hf:{sam_folder}")
    assert isinstance(loaded, SamSegmenter)
    return loaded


@pytest.fixture(scope="module")
def library(sam_folder: Path) -> tuple[object, object]:
    """The processor (with its PIL backend) and the model as transformers loads them."""
    with quiet_loading():
        pil = transformers.AutoImageProcessor.from_pretrained(sam_folder, backend="pil")
        return transformers.SamProcessor(pil), transformers.SamModel.from_pretrained(sam_folder).eval()


def theirs(library: tuple, picture: Tensor, **prompts: list) -> tuple[Tensor, Tensor]:
    """Logits (m, c, h, w) over the picture and qualities (m, c), by the library alone."""
    processor, model = library
    inputs = processor(images=to_image(picture), return_tensors="pt", **prompts)
    with torch.no_grad():
        output = model(**inputs)
    masks = processor.post_process_masks(
        list(output.pred_masks), inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False
    )
    return masks[0], output.iou_scores[0]


@pytest.mark.parametrize("size", [(50, 70), (90, 50), (64, 64), (45, 51), (300, 201)])
@pytest.mark.parametrize("kind", ["points", "boxes", "both"])
def test_masks_are_those_of_the_library(
    segmenter: SamSegmenter, library: tuple, noise: Callable, size: tuple[int, int], kind: str
) -> None:
    picture = noise(1, *size)
    given: dict = {}
    asked: dict = {}
    if kind != "boxes":
        given |= {"points": POINTS, "point_labels": LABELS}
        asked |= {"input_points": [POINTS.tolist()], "input_labels": [LABELS.tolist()]}
    if kind != "points":
        given |= {"boxes": BOXES}
        asked |= {"input_boxes": [BOXES.tolist()]}
    found = segmenter.segment(picture, **given)
    logits, qualities = theirs(library, picture[0], **asked)
    assert found.candidates.shape == (2, 3, *size)
    assert torch.allclose(found.candidates, logits.sigmoid(), atol=1e-6)
    assert torch.allclose(found.predicted, qualities, atol=1e-6)
    assert torch.equal(found.chosen, qualities.argmax(1))
    assert torch.equal(found.masks[1], found.candidates[1, found.chosen[1]])
    assert torch.equal(found.quality, found.predicted.amax(1))
    assert not torch.allclose(found.masks[0], found.masks[1], atol=1e-3), "the prompt moves nothing"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": {"longest_edge": 96}, "pad_size": {"height": 96, "width": 96}},
        {"size": {"longest_edge": 48}, "pad_size": {"height": 64, "width": 80}},
        {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.1], "resample": 3},
        {"do_normalize": False},
        {"rescale_factor": 1 / 127.5},
        {"do_rescale": False, "image_mean": [120, 110, 100]},
    ],
)
def test_pixels_are_those_of_the_processor(options: dict, photos: dict[str, Image.Image]) -> None:
    small = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    processor = transformers.SamImageProcessorPil(**(small | options))
    preparation = translate(processor, name="demo")
    for name, photo in photos.items():
        pixels = torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1)
        wanted = processor(images=photo.convert("RGB"), return_tensors="pt")
        ours = preparation(pixels)
        assert tuple(wanted["reshaped_input_sizes"][0].tolist()) == preparation.scaled_size(*pixels.shape[-2:]), name
        assert torch.allclose(ours, wanted["pixel_values"][0], rtol=1e-6, atol=1e-6), name


@pytest.mark.parametrize(
    "processor",
    [
        transformers.ViTImageProcessorPil(),
        transformers.SamImageProcessorPil(size={"longest_edge": 64}, do_pad=False),
        transformers.SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 32, "width": 64}),
        transformers.SamImageProcessorPil(do_resize=False, pad_size={"height": 512, "width": 512}),
    ],
)
def test_processors_that_do_something_else_are_refused(processor: object) -> None:
    with pytest.raises(InputError, match=r"demo: its .* (is not the image processor|does something else)"):
        translate(processor, name="demo")


def test_an_image_is_encoded_once(sam_folder: Path, noise: Callable) -> None:
    segmenter = load_segmenter(f"hf:{sam_folder}")
    encoded = []
    segmenter._model.vision_encoder.register_forward_hook(lambda _module, inputs, _output: encoded.append(inputs[0]))
    first, second = noise(2, 50, 70)
    many = segmenter.segment(first[None], points=torch.stack([POINTS[0], POINTS[1]] * 20))
    later = segmenter.segment(first[None], boxes=BOXES)
    assert len(encoded) == 1
    segmenter.segment(torch.stack([second, first, second]), boxes=BOXES[[0, 0, 1]])
    assert [len(pixels) for pixels in encoded] == [1, 1], "only the new picture, and once"
    assert len(many) == 40
    assert len(later) == 2
    # Prompts in one call, in several chunks, are those of calls of their own.
    alone = [segmenter.segment(first[None], points=POINTS[[row]]) for row in (0, 1)]
    for row in range(40):
        assert torch.allclose(many.candidates[row], alone[row % 2].candidates[0], atol=1e-6)


def test_an_image_is_encoded_again_when_the_weights_change(sam_folder: Path, noise: Callable) -> None:
    segmenter, picture = load_segmenter(f"hf:{sam_folder}"), noise(1, 50, 70)
    before, identity = segmenter.segment(picture, boxes=BOXES), segmenter.identity()
    with torch.no_grad():
        segmenter._model.vision_encoder.neck.conv1.weight.mul_(-1)
    assert segmenter.identity() != identity
    assert not torch.allclose(segmenter.segment(picture, boxes=BOXES).candidates, before.candidates, atol=1e-3)


def test_only_the_last_images_are_kept(sam_folder: Path, noise: Callable) -> None:
    whole = load_segmenter(f"hf:{sam_folder}")
    pictures = noise(3, 40, 40)
    small = SamSegmenter(whole._model, whole._preparation, name="s", device=torch.device("cpu"), kept=2)
    encoded = []
    small._model.vision_encoder.register_forward_hook(lambda _module, inputs, _output: encoded.append(len(inputs[0])))
    points = torch.tensor([[[5.0, 5.0]]])
    for index, expected in ((0, 1), (1, 2), (0, 2), (2, 3), (0, 3), (1, 4)):
        small.segment(pictures[[index]], points=points)
        assert sum(encoded) == expected
    # More images in a call than are kept.
    assert len(small.segment(noise(5, 40, 40), points=points.expand(5, 1, 2))) == 5


def test_a_batch_is_its_images(segmenter: SamSegmenter, noise: Callable) -> None:
    pictures = noise(10, 33, 47)
    points = torch.stack([torch.tensor([[float(3 * row), float(2 * row)]]) for row in range(10)])
    together = segmenter.segment(pictures, points=points)
    for row in range(10):
        alone = segmenter.segment(pictures[[row]], points=points[[row]])
        assert torch.allclose(together.candidates[row], alone.candidates[0], atol=1e-6)
        assert torch.allclose(together.predicted[row], alone.predicted[0], atol=1e-6)


def test_x_goes_to_the_right(segmenter: SamSegmenter, noise: Callable) -> None:
    preparation = segmenter._preparation
    places = preparation.coordinates(torch.tensor([[60.0, 10.0]]), 50, 70)
    assert torch.allclose(places, torch.tensor([[60.0 * 64 / 70, 10.0 * 46 / 50]]))
    with pytest.raises(InputError, match=r"point \(10, 60\) lies outside of an image 70 pixels wide and 50 high"):
        segmenter.segment(noise(1, 50, 70), points=torch.tensor([[[10.0, 60.0]]]))


def test_what_is_reported(segmenter: SamSegmenter, sam_folder: Path) -> None:
    assert segmenter.name == f"hf:{sam_folder.name}"
    assert segmenter.prompts == {"points", "boxes"}
    assert segmenter.device == torch.device("cpu")
    assert not any(parameter.requires_grad for parameter in segmenter._model.parameters())
    assert segmenter.identity() == load_segmenter(f"hf:{sam_folder}").identity()


def test_random_weights_are_those_of_the_seed(sam_folder: Path, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    again, other = write_random_sam(tmp_path / "a"), write_random_sam(tmp_path / "b", seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    files = {path.name for path in sam_folder.iterdir()}
    assert files == {"config.json", "model.safetensors", "processor_config.json"}
    for file in files:
        assert (sam_folder / file).read_bytes() == (again / file).read_bytes()
    assert load_segmenter(f"hf:{other}").identity() != load_segmenter(f"hf:{again}").identity()


def test_the_small_model_has_the_parts_of_the_public_ones(sam_folder: Path) -> None:
    written = json.loads((sam_folder / "config.json").read_text())
    with torch.device("meta"):
        public = transformers.SamModel(transformers.SamConfig())  # ViT-B, without its memory
    names = {re.sub(r"\d+", "N", name) for name in public.state_dict()}
    ours = load_file(sam_folder / "model.safetensors")
    tied = "prompt_encoder.shared_embedding.positional_embedding"  # one array under two names is stored once
    assert {re.sub(r"\d+", "N", name) for name in ours} | {tied} == names
    for name, value in public.state_dict().items():
        assert name not in ours or ours[name].ndim == value.ndim
    vision = written["vision_config"]
    assert vision["window_size"] > 0
    assert (vision["image_size"] // vision["patch_size"]) % vision["window_size"]
    assert 0 < len(vision["global_attn_indexes"]) < vision["num_hidden_layers"]
    assert sum(path.stat().st_size for path in sam_folder.iterdir()) < 2**20


def test_half_precision_weights_run_in_single_precision(
    sam_folder: Path, tmp_path: Path, segmenter: SamSegmenter, noise: Callable
) -> None:
    folder = shutil.copytree(sam_folder, tmp_path / "half")
    with quiet_loading():
        transformers.SamModel.from_pretrained(sam_folder).half().save_pretrained(folder)
    assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {torch.float16}
    half = load_segmenter(f"hf:{folder}")
    assert {value.dtype for value in half._model.state_dict().values()} == {torch.float32}
    picture = noise(1, 50, 70)
    ours, whole = (each.segment(picture, points=POINTS) for each in (half, segmenter))
    assert torch.allclose(ours.candidates, whole.candidates, atol=5e-3)
    assert half.identity() != segmenter.identity()


def test_bundled_folders_by_name(
    sam_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segmenter: SamSegmenter
) -> None:
    shutil.copytree(sam_folder, tmp_path / "tiny-sam")
    lineage = Lineage(recipe={}, seed=0, data="none", code_version="0")
    write_card(tmp_path / "tiny-sam", name="tiny-sam", kind="segmenter", description="random", lineage=lineage)
    monkeypatch.setattr(references, "bundled_folder", partial(bundled_folder, assets=tmp_path))
    loaded = load_segmenter("bundled:tiny-sam")
    assert loaded.name == "bundled:tiny-sam"
    assert loaded.identity() == segmenter.identity()
    with pytest.raises(UnknownNameError, match="unknown bundled model 'tiny-sum'; did you mean 'tiny-sam'"):
        load_segmenter("bundled:tiny-sum")


def test_loading_says_nothing_and_draws_nothing(sam_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state = torch.random.get_rng_state()
    load_segmenter(f"hf:{sam_folder}")
    assert torch.equal(state, torch.random.get_rng_state())
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", r"has no model\.safetensors \(weights in pickles are not read\)"),
        ("processor_config.json", r"has no preprocessor_config\.json"),
    ],
)
def test_missing_files(sam_folder: Path, tmp_path: Path, missing: str, message: str) -> None:
    folder = shutil.copytree(sam_folder, tmp_path / "sam")
    (folder / missing).rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=message):
        load_segmenter(f"hf:{folder}")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a folder on this machine\. If it is a model of the hub, download it"):
        load_segmenter("hf:facebook/sam-vit-base")


def test_folders_that_hold_something_else(sam_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sam_folder, tmp_path / "sam")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "vit"}))
    with pytest.raises(InputError, match="holds a model of type 'vit'; expected 'sam'"):
        load_segmenter(f"hf:{folder}")
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        load_segmenter(f"hf:{folder}")


def test_weights_that_do_not_fit(sam_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sam_folder, tmp_path / "sam")
    weights = load_file(folder / "model.safetensors")
    name = "mask_decoder.iou_token.weight"
    save_file({key: value for key, value in weights.items() if key != name}, folder / "model.safetensors")
    with pytest.raises(InputError, match=rf"lack 1 tensors of a SAM \({name}\)"):
        load_segmenter(f"hf:{folder}")
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="cannot be loaded as a SAM"):
        load_segmenter(f"hf:{folder}")


def test_a_processor_of_another_size(sam_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sam_folder, tmp_path / "sam")
    path = folder / "processor_config.json"
    path.write_text(path.read_text().replace('"height": 64', '"height": 72').replace('"width": 64', '"width": 72'))
    with pytest.raises(InputError, match=r"pads to \(72, 72\), but the model takes \(64, 64\)"):
        load_segmenter(f"hf:{folder}")


def test_values_that_are_not_finite(sam_folder: Path, tmp_path: Path, noise: Callable) -> None:
    folder = shutil.copytree(sam_folder, tmp_path / "sam")
    weights = load_file(folder / "model.safetensors")
    weights["mask_decoder.iou_token.weight"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not finite"):
        load_segmenter(f"hf:{folder}").segment(noise(1, 20, 20), points=torch.tensor([[[1.0, 1.0]]]))


def test_without_the_library(sam_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'snellen\[vlm\]'"):
        load_segmenter(f"hf:{sam_folder}")
