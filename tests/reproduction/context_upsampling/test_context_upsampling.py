"""The experiment of system 19 in seconds, its materials, and the full one on a small folder like VOC 2012."""

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.reproduction.context_upsampling import experiment, full
from snellen.reproduction.context_upsampling.experiment import (
    SMALL,
    SMOKE,
    VARIANTS,
    Experiment,
    context_upsampling,
    phase_figures,
)
from snellen.reproduction.context_upsampling.materials import CLASSES, SHAPES, segmented_scenes
from snellen.reproduction.context_upsampling.picture import spectra
from snellen.systems.context_upsampling.examining import shares_left
from snellen.systems.context_upsampling.unet import ContextUNet
from snellen.training.plan import TrainingPlan


@pytest.fixture(scope="module")
def smoke():
    return context_upsampling("smoke", 0, Silent())


@pytest.mark.covers("19.11")
def test_the_smoke_scale_gives_every_figure_of_the_claims(smoke):
    system = find_system("context_upsampling")
    named = {gate.metric for gate in system.gates}
    for claim in system.claims:
        named |= {claim.metric, *claim.controls, *([claim.baseline] if claim.baseline else [])}
    assert named <= set(smoke)
    for value in smoke.values():
        assert value is None or np.isfinite(value)
    for name in VARIANTS:
        for figure in ("clean", "fgsm_2", "pgd_2", "segpgd_2", "cospgd_2", "fgsm_8", "pgd_8", "segpgd_8", "cospgd_8"):
            assert 0 <= smoke[f"{name}.{figure}"] <= 1


@pytest.mark.covers("19.4", "19.5")
def test_variants_differ_in_upsampling_alone_and_the_control_in_its_decoder(smoke):
    assert smoke["h2.parameters"] >= smoke["lctc11.parameters"]
    for name, options in VARIANTS.items():
        assert ("decoder_kernel" in options) == (name == "h2")
        assert set(options) <= {"kind", "kernels", "small_kernel", "decoder_kernel"}
    assert VARIANTS["lctc11"]["kernels"] == (7, 11)


@pytest.mark.covers("19.4")
def test_every_network_sees_the_same_images_in_the_same_order(monkeypatch):
    seen = {}

    def watched(network, examples, plan, **options):
        seen[len(seen)] = (examples.fingerprint(), plan.model_dump(), options.get("val"))
        return made(network, examples, plan=plan, **options)

    made = experiment.train
    monkeypatch.setattr(experiment, "train", lambda network, examples, **options: watched(network, examples, **options))
    started = Experiment(SMOKE, 0, Silent())
    for name in ("transposed", "lctc11", "h2"):
        started.segmenter(name)
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][2] is None


def test_maps_are_exact_and_splits_are_apart():
    pixels, classes = segmented_scenes("train", 12, size=48, seed=0)
    assert pixels.shape == (12, 3, 48, 48)
    assert pixels.dtype == torch.uint8
    assert classes.shape == (12, 48, 48)
    assert set(classes.unique().tolist()) <= set(range(len(CLASSES)))
    shown = Scenes(
        size=48, count=12, seed=0, shapes=SHAPES, sizes=("medium", "large"), captions=False,
        backgrounds=("grey", "grass", "sand", "brick", "water"),
    ).scenes("train")  # fmt: skip
    for row, scene in enumerate(shown):
        assert set(classes[row].unique().tolist()) - {0} == {CLASSES.index(one.shape) for one in scene.objects}
    held, _ = segmented_scenes("val", 12, size=48, seed=0)
    assert not torch.equal(pixels, held)
    again, _ = segmented_scenes("train", 12, size=48, seed=1)
    assert not torch.equal(pixels, again)
    assert torch.equal(segmented_scenes("train", 4, size=48, seed=0)[0], pixels[:4])


def test_a_share_left_needs_something_to_lose():
    figures = {"a.clean": 0.8, "a.pgd_2": 0.2, "a.parameters": 5.0, "b.clean": 0.0, "b.square_8": 0.0}
    assert shares_left(figures) == {"a.pgd_2_left": 0.25, "b.square_8_left": None}


def test_kernels_whose_phases_cancel_are_counted_apart():
    """No ratio is made up for them, and none of the others is capped."""
    mixed = phase_figures(torch.tensor([1.0, 500.0, 700.0, torch.inf]))
    assert mixed == {"phase_broken": 0.25, "phase_ratio": 500.0}
    assert phase_figures(torch.tensor([torch.inf])) == {"phase_broken": 1.0, "phase_ratio": None}


def test_claims_of_attacks_compare_shares_behind_gates_of_convergence():
    """Who knows more has more to lose: attacked figures alone would follow clean ones."""
    system = find_system("context_upsampling")
    gates = {gate.id: gate for gate in system.gates}
    assert gates["converged"].metric == "transposed.clean"
    assert gates["converged"].threshold > 0.85
    assert (gates["control"].metric, gates["control"].threshold) == ("h2.behind", 0.02)
    assert (gates["searched"].metric, gates["searched"].threshold) == ("transposed.square_8_taken", 0.1)
    for claim in system.claims:
        assert "converged" in claim.gates
        if any(name in claim.metric for name in ("pgd", "square")):
            assert claim.metric.endswith("_left")
            assert claim.baseline.endswith("_left")
        assert ("control" in claim.gates) == ("h2" in (claim.metric.split(".")[0], claim.baseline.split(".")[0]))
    assert "searched" in next(claim for claim in system.claims if claim.id == "19.j").gates


def test_figures_of_gates_follow_from_those_of_the_networks(smoke):
    assert smoke["h2.behind"] == pytest.approx(smoke["transposed.clean"] - smoke["h2.clean"])
    assert smoke["transposed.square_8_taken"] == pytest.approx(smoke["transposed.clean"] - smoke["transposed.square_8"])
    for name in VARIANTS:
        assert smoke[f"{name}.cospgd_8_left"] == pytest.approx(smoke[f"{name}.cospgd_8"] / smoke[f"{name}.clean"])


def test_the_picture_shows_repeats_where_nothing_is_filtered():
    drawn = np.array(spectra())
    assert drawn.shape[2] == 3
    assert drawn.std() > 10


def test_networks_have_the_size_that_the_page_names():
    counts = {
        name: sum(weight.numel() for weight in ContextUNet(len(CLASSES), **options).parameters())
        for name, options in VARIANTS.items()
    }
    assert 100_000 < counts["transposed"] < 130_000
    assert counts["lctc11"] < counts["h2"] < counts["pixel_shuffle"]
    assert SMALL.side == 32


@pytest.fixture
def voc(tmp_path, monkeypatch):
    """A folder with the names of VOC 2012, three pictures of two sizes in each list, palette masks with borders."""
    folder = tmp_path / "VOC 2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(6):
        height, width = ((40, 70), (80, 50))[number % 2]
        Image.fromarray(generator.integers(0, 255, (height, width, 3)).astype(np.uint8)).save(
            folder / "JPEGImages" / f"{number}.jpg"
        )
        mask = np.zeros((height, width), np.uint8)
        mask[10:20, 10:30], mask[9, :] = 15, 255
        palette = Image.fromarray(mask, "P")
        palette.putpalette([value for value in range(256) for _ in range(3)])
        palette.save(folder / "SegmentationClass" / f"{number}.png")
    for name, numbers in (("train", "0\n1\n2\n"), ("val", "3\n4\n5\n")):
        (folder / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(numbers, encoding="utf-8")
    monkeypatch.setenv(full.DATA, str(folder))
    return folder


def test_the_full_experiment_runs_with_the_true_encoder(voc):
    torch.manual_seed(0)
    figures = full.full(
        0, Silent(), side=64, variants=("transposed", "lctc11"), steps=1, plan=TrainingPlan(epochs=1, batch_size=2)
    )
    assert {"transposed.clean", "transposed.pgd_8_left", "lctc11.cospgd_8"} <= set(figures)
    assert all(value >= 0 for value in figures.values())


def test_palette_masks_are_read_as_classes_and_padded_with_void(voc):
    examples = full.VocExamples(voc, "train", 64)
    pixels, classes = examples.read(torch.tensor([0]))
    assert pixels.shape == (1, 3, 64, 64)
    assert set(classes.unique().tolist()) == {-1, 0, 15}
    assert (classes[0, 40:] == -1).all()
    assert (classes[0, 9] == -1).all()
    assert examples.fingerprint() != full.VocExamples(voc, "val", 64).fingerprint()


def test_variants_of_the_full_network_share_all_but_upsampling():
    base, other = (full.ConvNextUNet(3, seed=0, **full.VARIANTS[name]) for name in ("transposed", "lctc7"))
    for name, value in base.state_dict().items():
        if not name.startswith("upsampling."):
            assert torch.equal(other.state_dict()[name], value)


def test_without_data_the_full_experiment_says_what_it_needs(monkeypatch, tmp_path):
    monkeypatch.delenv(full.DATA, raising=False)
    with pytest.raises(InputError, match="SNELLEN_UPSAMPLING_VOC: the folder VOC2012"):
        context_upsampling("full", 0, Silent())
    with pytest.raises(InputError, match=r"train\.txt is missing"):
        full.VocExamples(tmp_path, "train", 64)
