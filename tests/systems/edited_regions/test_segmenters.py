"""Networks, their training on unscaled crops, windows at the native size, and distortions of bytes."""

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from snellen.core.errors import InputError, MissingExtraError
from snellen.core.randomness import Randomness, derive_seed
from snellen.systems.edited_regions.camera import bayer, photographed
from snellen.systems.edited_regions.detecting import found_regions, places, window_logits
from snellen.systems.edited_regions.detector import label_maps_of
from snellen.systems.edited_regions.distortions import Distortion, error_levels, residual_levels, residual_score
from snellen.systems.edited_regions.fitting import (
    LabelledImages,
    cropped,
    fit_segmenter,
    inverse_frequencies,
    new_network,
    objective_of,
    pixel_losses,
)
from snellen.systems.edited_regions.labels import IGNORED
from snellen.systems.edited_regions.networks import ARCHITECTURES, RegionNetwork, _bilinear
from snellen.systems.edited_regions.recipe import augmentation_of, figures_of
from snellen.systems.edited_regions.small_editors import DECODERS, LEVELS, EditorNetwork, fit_editor
from snellen.systems.edited_regions.whole_image import POOLINGS, WholeImageNetwork, fit_whole_image
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch
from snellen.training.plan import TrainingPlan
from tests.systems.edited_regions.parts import small_editor

TINY_SEGFORMER = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 8, 16, 16],
    "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 16,
}


def network(architecture="small", editors=3):
    torch.manual_seed(0)
    return RegionNetwork(architecture, editors, width=4, segformer=TINY_SEGFORMER)


def checkerboard(side=24, count=2):
    down, right = torch.arange(side)[:, None], torch.arange(side)[None]
    return ((down + right) % 2 * 255).to(torch.uint8).expand(count, 3, side, side).clone()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_network_gives_logits_at_the_size_of_its_images(architecture):
    made = network(architecture).eval()
    labels, edited = made(torch.rand(1, 3, 45, 38))
    assert labels.shape == (1, 4, 45, 38)
    assert edited.shape == (1, 45, 38)
    assert labels.isfinite().all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_network_takes_its_least_side_and_refuses_smaller_crops(architecture):
    made = network(architecture).eval()
    side = made.least_side
    assert made(torch.rand(1, 3, side, side))[0].shape == (1, 4, side, side)
    images = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    examples = LabelledImages(images, torch.zeros(2, side, side, dtype=torch.uint8), ("a", "b"))
    with pytest.raises(InputError, match=rf"{architecture} needs crops of {side} pixels at least; got {side - 1}"):
        fit_segmenter(made, examples, plan=TrainingPlan(epochs=1), crop=side - 1)


def test_a_network_that_normalises_over_a_batch_sees_no_batch_of_one():
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 16, 16), generator=rng, dtype=torch.uint8)
    labels = torch.zeros(3, 16, 16, dtype=torch.uint8)
    labels[:, :8] = 1
    examples, made = LabelledImages(images, labels, ("a", "b", "c")), network("deeplabv3")
    trained = fit_segmenter(made, examples, plan=TrainingPlan(epochs=1, batch_size=2))
    assert all(one.isfinite().all() for one in trained.weights.values() if one.is_floating_point())
    with pytest.raises(InputError, match="needs two at least; got 3 images in batches of 1"):
        fit_segmenter(made, examples, plan=TrainingPlan(epochs=1, batch_size=1))
    with pytest.raises(InputError, match="got 1 images"):
        fit_segmenter(made, examples.select(torch.tensor([0])), plan=TrainingPlan(epochs=1))


@pytest.mark.parametrize("architecture", ["fcn8s", "deeplabv3"])
def test_without_torchvision_the_extra_is_named(architecture, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtraError, match=r"snellen\[models\]"):
        RegionNetwork(architecture, 1)


def test_published_classes_are_those_of_the_libraries():
    import torchvision
    import transformers

    assert isinstance(network("segformer").body.network, transformers.SegformerForSemanticSegmentation)
    assert isinstance(network("deeplabv3").body.network, torchvision.models.segmentation.DeepLabV3)
    widths = [layer.out_channels for layer in network("fcn8s").body.modules() if isinstance(layer, nn.Conv2d)]
    assert widths[:13] == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512], "VGG16"


def test_a_transposed_convolution_begins_as_bilinear_enlargement():
    given = torch.rand(1, 2, 6, 6)
    made = _bilinear(2, 2)(given)
    wanted = functional.interpolate(given, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(made[:, :, 2:-2, 2:-2], wanted[:, :, 2:-2, 2:-2])


def test_an_unknown_architecture_is_refused():
    with pytest.raises(InputError, match="expected one of small, fcn8s"):
        RegionNetwork("unet", 3)


@pytest.mark.covers("22.6")
def test_training_pixels_are_those_of_the_file(tmp_path):
    from snellen.data.references import load_images
    from snellen.systems.edited_regions.labels import write_labels

    board = checkerboard(24, 1)[0]
    Image.fromarray(board.permute(1, 2, 0).numpy()).save(tmp_path / "board.png")
    write_labels(tmp_path / "labels.png", (board[0] > 0).numpy().astype(np.uint8), 1)
    (tmp_path / "m.csv").write_text("path,id,split,edits\nboard.png,a,train,labels.png\n")
    loaded, rejected = label_maps_of(load_images(tmp_path / "m.csv"), 1)
    assert not rejected
    assert torch.equal(loaded.images[0], board)
    assert torch.equal(loaded.labels[0], (board[0] > 0).to(torch.uint8))

    seen = []

    class Seeing(nn.Module):
        def forward(self, images):
            seen.append(images)
            return torch.zeros(len(images), 2, *images.shape[2:]), torch.zeros(len(images), *images.shape[2:])

    images = loaded.images.float() / 255
    batch = Batch(images, loaded.labels, torch.ones(1), torch.zeros(1).long(), Randomness(0).for_examples(["a"]))
    objective_of(None, crop=9)(Seeing(), batch)
    (crop,) = seen
    assert crop.shape == (1, 3, 9, 9)
    assert set(crop.unique().tolist()) == {0.0, 1.0}, "no value between black and white: nothing was resampled"
    assert (crop[:, :, :, 1:] != crop[:, :, :, :-1]).all()
    assert (crop[:, :, 1:] != crop[:, :, :-1]).all()


@pytest.mark.covers("22.6")
def test_a_crop_is_a_part_of_image_and_labels_alike():
    images, labels = torch.rand(2, 3, 20, 30), torch.randint(0, 3, (2, 20, 30))
    pair = torch.cat([images, labels[:, None].float()], 1)
    for seed in range(8):
        part, wanted = cropped(images, labels, 8, torch.Generator().manual_seed(seed))
        both = torch.cat([part, wanted[:, None].float()], 1)
        candidates = [pair, pair.flip(-1)]
        assert any(
            torch.equal(both, one[:, :, top : top + 8, left : left + 8])
            for one in candidates
            for top in range(13)
            for left in range(23)
        )
    whole, _ = cropped(images, labels, 512, torch.Generator().manual_seed(0), flip=False)
    assert torch.equal(whole, images)


def test_the_loss_is_cross_entropy_over_judged_pixels():
    logits, edited = torch.randn(1, 3, 4, 4), torch.randn(1, 4, 4)
    labels = torch.randint(0, 3, (1, 4, 4))
    labels[0, 0] = IGNORED
    weights = torch.tensor([1.0, 2.0, 0.5])
    found = pixel_losses(logits, edited, labels, weights, binary_share=0.25)
    chances, total, two = logits.softmax(1), 0.0, 0.0
    for row in range(1, 4):
        for column in range(4):
            label = int(labels[0, row, column])
            total -= float(weights[label] * chances[0, label, row, column].log())
            chance = float(edited[0, row, column].sigmoid())
            two -= float(np.log(chance if label else 1 - chance))
    assert float(found) == pytest.approx((0.75 * total + 0.25 * two) / 12, rel=1e-5)


def test_weights_are_inverse_frequencies_of_the_labels_that_occur():
    labels = torch.tensor([[0] * 6 + [1] * 2 + [255]], dtype=torch.uint8)
    weights = inverse_frequencies(labels, 3)
    assert weights.tolist() == pytest.approx([8 / 12, 8 / 4, 0.0])
    half = inverse_frequencies(labels, 3, 0.5)
    assert half.tolist() == pytest.approx([(8 / 12) ** 0.5, 2**0.5, 0.0])


@pytest.fixture(scope="module")
def traced():
    """Noise with squares of two smooth colours: what a segmenter learns at once."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 3, 24, 24), generator=rng, dtype=torch.uint8)
    labels = torch.zeros(16, 24, 24, dtype=torch.uint8)
    for at in range(16):
        if at % 4:
            top, left, kind = at % 8, (3 * at) % 11, 1 + at % 2
            images[at, :, top : top + 10, left : left + 10] = 90 + 70 * (kind - 1)
            labels[at, top : top + 10, left : left + 10] = kind
    examples = LabelledImages(images, labels, tuple(map(str, range(16))))
    untrained = new_network("small", 2, seed=0, width=8)
    before = {name: one.clone() for name, one in untrained.state_dict().items()}
    plan = TrainingPlan(epochs=80, batch_size=8, learning_rate=1e-2)
    trained = fit_segmenter(untrained, examples, plan=plan, crop=20, balance=0.5)
    assert all(torch.equal(one, before[name]) for name, one in untrained.state_dict().items())
    untrained.load_state_dict(dict(trained.weights))
    return untrained, examples


@pytest.mark.covers("22.8")
def test_both_heads_are_trained_and_reported(traced):
    learned, examples = traced
    found = found_regions(learned, examples.images)
    figures = figures_of(found, examples, 2)
    assert figures["iou"] > 0.8
    assert figures["binary_head.iou"] > 0.8
    assert figures["attribution"] > 0.9
    assert figures["image.auroc"] > 0.9
    assert any((one.labels > 0).sum() != (one.binary > 0.5).sum() for one in found), "two heads, two results"


@pytest.mark.covers("22.8")
def test_each_head_has_parameters_that_only_its_own_loss_moves(traced):
    learned, _ = traced
    images, labels = torch.rand(1, 3, 12, 12), torch.randint(0, 3, (1, 12, 12))
    last = learned.body.last.weight
    for share, moved in ((0.0, [True, True, True, False]), (1.0, [False, False, False, True])):
        logits, edited = learned.requires_grad_(True)(images)
        (gradient,) = torch.autograd.grad(pixel_losses(logits, edited, labels, binary_share=share).sum(), last)
        assert (gradient.flatten(1).abs().sum(1) > 0).tolist() == moved


def test_a_training_without_edits_is_refused():
    clean = LabelledImages(
        torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.zeros(2, 16, 16, dtype=torch.uint8), ("a", "b")
    )
    with pytest.raises(InputError, match="no edited pixel"):
        fit_segmenter(network(), clean, plan=TrainingPlan(epochs=1))


def test_windows_cover_every_pixel_and_logits_are_their_mean():
    class Place(nn.Module):
        def forward(self, images):
            # A logit that knows its place in the window, so that windows disagree.
            ramp = torch.arange(images.shape[3]).float().expand(len(images), images.shape[2], images.shape[3])
            return torch.stack([ramp, images[:, 0]], 1), images[:, 1]

    images = torch.rand(1, 3, 5, 10)
    labels, edited = window_logits(Place(), images, window=4, stride=3)
    torch.testing.assert_close(labels[:, 1], images[:, 0])
    torch.testing.assert_close(edited, images[:, 1])
    assert labels[0, 0, 0].tolist() == [0, 1, 2, 1.5, 1, 2, 1.5, 1, 2, 3]
    assert places(100, 32, 24)[-1] == 68
    with pytest.raises(InputError, match="so that none is left out"):
        places(10, 4, 5)


def test_a_network_keeps_its_own_mode_and_size_changes_nothing():
    made = network().train()
    found_regions(made, checkerboard())
    assert made.training
    whole = found_regions(made, checkerboard(20, 1), window=64)[0]
    assert whole.labels.shape == (20, 20)


@pytest.mark.covers("22.9")
@pytest.mark.parametrize("quality", [95, 70, 50])
def test_jpeg_is_that_of_the_library_on_bytes(quality):
    images = torch.randint(0, 256, (2, 3, 21, 18), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    found = Distortion.read(f"jpeg:{quality}").images(images, Randomness(0))
    for image, distorted in zip(images, found, strict=True):
        stream = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=quality)
        wanted = np.asarray(Image.open(io.BytesIO(stream.getvalue())))
        assert (distorted.permute(1, 2, 0).numpy() == wanted).all()
    assert found.dtype == torch.uint8


@pytest.mark.covers("22.9")
def test_training_distorts_before_the_network_normalises():
    given = augmentation_of(["jpeg:50"])
    images = checkerboard(16, 2).float() / 255
    drawn = [given(images, torch.Generator().manual_seed(seed)) for seed in range(6)]
    assert any(torch.equal(one, images) for one in drawn), "at times nothing is done"
    changed = [one for one in drawn if not torch.equal(one, images)]
    assert changed
    bytes_ = images.mul(255).round().to(torch.uint8)
    assert torch.equal(changed[0], Distortion.read("jpeg:50").images(bytes_, Randomness(0)) / 255), "of the bytes"
    for one in changed:
        assert torch.equal((one * 255).round() / 255, one), "bytes"
        assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert augmentation_of([]) is None


@pytest.mark.covers("22.3")
def test_only_a_lasting_resize_changes_labels_and_by_the_nearest_pixel():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 7
    images = checkerboard(40, 1)
    assert Distortion.read("jpeg:70").labels(labels) is labels
    assert Distortion.read("resize:0.5").images(images, Randomness(0)).shape == images.shape
    small = Distortion.read("scale:0.75")
    assert small.images(images, Randomness(0)).shape == (1, 3, 30, 30)
    assert small.labels(labels).shape == (30, 30)
    assert set(np.unique(small.labels(labels))) == {0, 7}


@pytest.mark.parametrize(
    "text", ["jpeg:0", "jpeg:101", "resize:0", "resize:1.5", "blur:3", "jpeg", "noise:-1", "jpeg:70:1"]
)
def test_distortions_that_cannot_be_are_refused(text):
    with pytest.raises(InputError, match=text):
        Distortion.read(text)


def test_error_levels_are_low_where_nothing_is_to_lose():
    image = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image[:, 8:24, 8:24] = 128
    levels = error_levels(image)
    assert levels.shape == (32, 32)
    assert levels[14:18, 14:18].max() < 0.2 * levels[:4, :4].min()


def test_residual_levels_are_low_where_a_part_is_smooth():
    image = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    noise = residual_score(image)
    image[:, 8:24, 8:24] = torch.arange(16, dtype=torch.uint8) * 4  # a ramp: four neighbours explain it wholly
    levels = residual_levels(image)
    assert levels.shape == (32, 32)
    assert levels[13:19, 13:19].max() < 1e-6
    assert residual_score(image) > noise


@pytest.mark.covers("22.10")
def test_the_whole_image_network_is_trained_for_the_stated_steps(monkeypatch):
    seen, before = [], WholeImageNetwork.forward

    def counted(self, images):
        if self.training:
            seen.append(len(images))
        return before(self, images)

    monkeypatch.setattr(WholeImageNetwork, "forward", counted)
    images = torch.randint(0, 256, (10, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = torch.zeros(10, 16, 16, dtype=torch.uint8)
    labels[:5, 4:8, 4:8] = 1
    examples = LabelledImages(images, labels, tuple(map(str, range(10))))
    for pooling in POOLINGS:
        seen.clear()
        plan = TrainingPlan(epochs=3, batch_size=4)
        made = fit_whole_image(examples, plan=plan, width=4, pooling=pooling)
        assert seen == [4, 4, 2] * 3
        assert made.last.in_features == {"both": 24, "mean": 12}[pooling]
        with seeded(derive_seed(plan.seed, "whole image"), torch.device("cpu")):
            first = WholeImageNetwork(width=4, pooling=pooling)
        assert not torch.equal(made.last.weight, first.last.weight)


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_editor_writes_all_pixels_through_its_own_decoder(decoder):
    editor = small_editor(decoder)
    images = torch.rand(2, 3, 30, 26)
    masks = torch.zeros(2, 1, 30, 26)
    masks[:, :, 8:20, 8:20] = 1
    made = editor.edit(images, masks, ["a striped red star", "a grass background"], [1, 2])
    assert made.shape == images.shape
    assert bool((made[:, :, :6] != images[:, :, :6]).any()), "outside of the mask, too"
    alone = editor.edit(images[1:], masks[1:], ["a grass background"], [2])
    torch.testing.assert_close(made[1:], alone)
    with pytest.raises(InputError, match="one prompt for each of 2"):
        editor.edit(images, masks, ["a red star"], [1, 2])
    with pytest.raises(InputError, match="no single object"):
        editor.edit(images, masks, ["a red star and a blue ring", "a red star"], [1, 2])


def test_decoders_differ_and_a_quantised_code_has_few_levels():
    kinds = {
        name: sorted({type(layer).__name__ for layer in EditorNetwork(name).decoder.modules()}) for name in DECODERS
    }
    assert "ConvTranspose2d" in kinds["transposed3"]
    assert "ConvTranspose2d" in kinds["transposed4"]
    assert "PixelShuffle" in kinds["shuffle"]
    assert "Upsample" in kinds["nearest"]
    code = EditorNetwork("quantised").encoder(torch.randn(2, 3, 16, 16))
    assert len(code.detach().mul(1e4).round().unique()) <= LEVELS


def test_an_editor_learns_to_write_images():
    ramp = torch.linspace(0, 255, 16).to(torch.uint8)
    images = torch.stack([ramp.expand(3, 16, 16), ramp[:, None].expand(3, 16, 16)] * 8)
    images[8:] = 255 - images[8:]
    plan = TrainingPlan(epochs=30, batch_size=8, learning_rate=1e-2)
    learned = fit_editor("nearest", images, plan=plan, width=8)
    assert float((learned(images / 255) - images / 255).abs().mean()) < 0.06
    assert not learned.training
    with pytest.raises(InputError, match="sides of 4 k"):
        fit_editor("nearest", images[:, :, :15], plan=plan)


def test_a_camera_leaves_correlated_noise():
    flat = torch.full((1, 3, 64, 64), 0.5)
    shown = photographed(flat, Randomness(0).for_examples(["a"]))
    noise = (shown - shown.mean((2, 3), keepdim=True))[0]
    assert 0.005 < float(noise.std()) < 0.05
    red = noise[0]
    assert float((red[:, 1:] * red[:, :-1]).mean() / red.square().mean()) > 0.3, "neighbours share a filter"
    assert bayer(4, 6).sum(0).eq(1).all()
    assert torch.equal(photographed(flat, Randomness(0).for_examples(["a"])), shown)
    assert not torch.equal(photographed(flat, Randomness(0).for_examples(["b"])), shown)
