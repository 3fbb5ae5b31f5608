"""The command that the list of systems advertises for each built system runs as it stands; train's early refusals."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import snellen
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.core.system import list_systems
from snellen.data.files.folder import load_folder
from snellen.reproduction.language_guided_augmentation.experiment import world
from snellen.systems.label_maps.annotating import annotate
from snellen.training.fitting.groundwork import initial_network
from tests.systems.edited_regions.parts import save_detector
from tests.systems.label_maps.annotators import colour_annotator
from tests.systems.language_guided_augmentation.leaning import save_leaning
from tests.systems.perturbation_estimation.denoisers import save_untrained

BUILT = [system for system in list_systems() if system.experiment is not None]

_SMALL_NETWORK = ("--architecture", "fashion_cnn", "--side", "28", "--no-onnx")

#: What a language model would write about a concept.
STAR = """
definition = {necessary = ["a star"]}
queries = {positive = ["a star"], near_misses = ["a heart"]}
questions.questions = [{condition = "necessary 1", question = "A star?", phrases = ["a star"], instead = ["a heart"]}]
"""

#: Laid over the defaults, so that each command takes seconds.
SMALLER = {
    1: ("--no-onnx", "--penalty", "0.01"),
    2: (
        "--seeds", "1", "--strength", "0:1:2", "--steps", "2", "--guidance-scale", "1", "--no-filter",
        "--fit", '{"iterations": 1, "batch_size": 1, "steps": 2}',
    ),
    3: (
        "--limit", "2", "--attribution", '{"method": "partition_shap", "budget": 8}', "--captioner", "none",
        "--fill", "blur",
    ),
    4: ("--preset", "small", "--token-steps", "1", "--count", "2", "--steps", "1"),
    5: ("--limit", "2"),
    6: ("--steps", "1", "--epochs", "1", "--seeds", "2", "--pool", "1", "--no-augmentations", "--side", "16"),
    7: ("--steps", "1", "--searches", "1", "--calls", "8", "--fresh", "2", "--robust", "artifact:other"),
    8: ("--preset", "small", "--shots", "2", "--most-steps", "1", "--check-every", "0", "--count", "2", "--steps", "2"),
    9: (*_SMALL_NETWORK, "--plan", '{"epochs": 1}'),
    10: (*_SMALL_NETWORK, "--plan", '{"epochs": 1}'),
    11: ("--components", "1", "--popsize", "3", "--iterations", "1", "--samples", "2", "--limit", "1"),
    12: (
        "--generator", "bundled:fashion-diffusion", "--steps", "2", "--fit",
        '{"experts": 2, "rank": 1, "synthetic": 4, "synthetic_steps": 2, "iterations": 1, "batch_size": 4}',
    ),
    13: ("--limit", "2", "--sigma", "0.1", "--samples", "100", "--selection", "50"),
    14: (
        "--steps", "1", "--probe", "2", "--count", "4", "--seeds", "2", "--amount", "2", "--side", "16",
    ),
    15: ("--limit", "2", "--queries", "60"),
    16: ("--limit", "2", "--steps", "2"),
    17: ("--limit", "4", "--units", "2", "--beams", "2"),
    18: ("--initial", "20", "--rounds", "0", "--per-query", "12"),
    23: (
        "--candidates", "3", "--population", "2", "--tournament", "2", "--side", "8", "--channels", "4",
        "--epochs", "1", "--final-epochs", "1", "--probe-images", "4",
    ),
    20: (
        "--autoencoder", "perceptron", "--width", "8", "--copies", "2", "--steps", "2", "--side", "8",
        "--largest-error", "100", "--no-onnx", "--autoencoder-plan", '{"epochs": 2}',
        "--plan", '{"epochs": 1, "batch_size": 2}',
    ),
    24: (
        "--test", "optotypes:scenes?count=12&size=16&shapes=star,ring#test", "--plan", '{"epochs": 1}', "--count", "2",
        "--upper-steps", "1", "--lower-epochs", "1", "--random-sets", "1",
    ),
    25: ("--limit", "40", "--count", "40", "--steps", "1", "--guidance", "1"),
    27: ("--limit", "2", "--kind", "size_5"),
    28: (
        "--words", "red", "--words", "green", "--words", "blue", "--template", "a {} shape", "--shares", "uniform",
        "--fit", '{"steps": 2, "checked": 8}', "--samples", "256",
    ),
    30: (
        "--videos", "optotypes:moving_shapes?count=4&frames=2#train", "--steps", "1",
        "--network", '{"frames": 2, "width": 16, "heads": 2, "blocks": 1}',
        "--training", '{"image_steps": 1, "text_steps": 1, "joint_steps": 1, "unmasked_steps": 1, "batch_size": 2}',
    ),
    26: (
        *("--architecture", "fashion_cnn", "--side", "16", "--no-onnx", "--plan", '{"epochs": 1, "batch_size": 2}'),
        "--autoencoder",
        '{"latent": 4, "widths": [8, 8, 8], "held_out": 0.5, "plan": {"epochs": 1, "batch_size": 1}}',
        *("--inversion", '{"codes": 2, "steps": 1, "expansion_steps": 1}'),
        *("--edits", '{"count": 1, "most_changed": 1, "least_visible": 0, "least_psnr": -20}'),
    ),
    31: (*_SMALL_NETWORK, "--parts", "2", "--plan", '{"epochs": 1, "batch_size": 2}'),
    32: ("--limit", "20", "--steps", "2", "--agreement", "0", "--held-back", "10", "--share", "0.01"),
    33: (
        "--limit", "60", "--sources", "1", "--steps", "2", "--samples", "2",
        "--refined-steps", "2", "--refined-samples", "2",
    ),
    34: (
        "--fit-on", "seen.txt", "--fit", '{"latents": 256, "active": 4, "steps": 20}', "--selected", "6",
        "--templates", "a {} heart on sand", "--steps", "2",
    ),
    36: (
        "--encoder", "bundled:fashion-cnn", "--width", "8", "--warmup-epochs", "1", "--bags-from", "2", "--no-onnx",
        "--plan", '{"epochs": 3}',
    ),
    35: (
        # Noise in which the embedded towers see one of each.
        "--classes", "blue heart", "--classes", "yellow cross",
        "--features", "bundled:fashion-cnn", "--least", "1", "--head", '{"epochs": 100}', "--no-onnx",
        "--plan", '{"epochs": 1, "batch_size": 2}',
    ),
}  # fmt: skip

#: Systems that learn from bags, which two images of a folder are none of.
OF_BAGS = {36: "optotypes:slides?count=4&tiles_across=4&tile_size=32#train"}

#: Systems that need to know where objects are.
OF_OBJECTS = {27: "optotypes:scenes?count=2"}

#: Systems that need more images of each class.
OF_SHAPES = dict.fromkeys((6, 8, 14, 19, 23), "optotypes:scenes?count=30&size=16&shapes=star,ring#train")

#: Systems that need textures, and those of a side.
OF_TEXTURES = {21: "optotypes:textures?count=4&size=32"}

#: Systems that look at objects again, and the classes of these.
OF_VIEWS = {11: ("optotypes:solids?classes=car,mug&objects=1&views=2&size=16", ("car", "mug"))}

#: Systems that need the training images of the classifier, and its classes.
OF_TRAINING = {24: ("optotypes:scenes?count=30&size=16&shapes=star,ring#train", ("star", "ring"))}

#: Systems that are asked for classes instead of prompts.
BY_CLASS = dict.fromkeys((12, 38), "classes:Bag?count=2") | {28: "draws:2", 30: "draws:2"}


def untrained_classifier(classes, side):
    """A small classifier with its first weights."""
    record = {"name": "fashion_cnn", "widths": [4, 4, 4], "class_count": len(classes)}
    preparation = Preprocessing(size=(side, side)).model_dump(mode="json")
    lineage = Lineage(recipe={}, data="", seed=0, code_version="0")
    card = Card(
        name="small", kind="classifier", architecture=record, class_names=classes, preparation=preparation,
        lineage=lineage,
    )  # fmt: skip
    return Artifact(initial_network(record, Randomness(0)).state_dict(), card)


@pytest.fixture
def data(tmp_path):
    """Two classes of one small image each."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / name / "0.png")
    return tmp_path / "data"


def test_some_systems_are_built():
    assert 37 in {system.number for system in BUILT}


@pytest.mark.parametrize("system", BUILT, ids=lambda system: str(system.number))
def test_the_advertised_command_runs(run, data, tmp_path, system):
    # A model comes with images of its own classes.
    images = (
        "bundled:fashion-mnist"
        if "MODEL" in system.command
        else {**OF_BAGS, **OF_OBJECTS, **OF_SHAPES, **OF_TEXTURES}.get(system.number, str(data))
    )
    model = "bundled:fashion-cnn"
    if system.number in OF_VIEWS | OF_TRAINING:
        images, classes = (OF_VIEWS | OF_TRAINING)[system.number]
        untrained_classifier(classes, 16).save(tmp_path / "model")
        model = f"artifact:{tmp_path / 'model'}"
    if system.number == 7:
        untrained_classifier(("star", "ring"), 32).save(Path("other"))
        model = "bundled:scene-cnn"
    if system.number == 4:
        model = save_leaning(tmp_path / "model")
        images = str(snellen.write_images(world("train", 120, 0.95, 0), tmp_path / "planted").manifest)
    stands_for = {"DATA": images, "MODEL": model, "MAPS": str(tmp_path / "maps")}
    stands_for |= {
        "REQUESTS": BY_CLASS.get(system.number, "prompts.txt"),
        "IMAGES": "optotypes:scenes?count=12&size=16&shapes=star,ring&backgrounds=brick#test",
        # Poison is looked for in images of its own classes, which are those of the generator of garments.
        "GENERATOR": "bundled:fashion-diffusion" if system.number == 25 else "bundled:scene-diffusion",
        "NAMES": "star,ring",
        "WORD": "red",
        "CONCEPT": "star",
        "POOL": "optotypes:scenes?count=80&size=32#train",
        "LISTS": "file:star.toml",
        "CAPTIONER": "bundled:scene-captioner",
        "ANSWERS": "bundled:scene-clip",
        "TOWERS": "bundled:scene-clip",
        "CLASSIFIER": "towers:bundled:scene-clip",
        "PROMPTS": "keep.txt",
        "FOLDER": "sae",
        "FILE": "signs.txt",
        "DENOISER": str(tmp_path / "denoiser"),
        "DETECTOR": str(tmp_path / "detector"),
    }
    colours = ("red", "green", "blue", "yellow")
    Path("prompts.txt").write_text("a red heart on sand\n")
    Path("signs.txt").write_text("a red star\na blue ring\n")
    Path("keep.txt").write_text("a blue heart on sand\na green heart on sand\n")
    Path("seen.txt").write_text("\n".join(f"a {c} {s} on sand" for c in colours for s in ("heart", "cross")))
    Path("star.toml").write_text(STAR, encoding="utf-8")
    if "DENOISER" in system.command:
        save_untrained(tmp_path / "denoiser")
    if "DETECTOR" in system.command:
        save_detector(tmp_path / "detector")
    if "MAPS" in system.command:
        annotate(load_folder(data), colour_annotator(names=("cat", "dog")), tmp_path / "maps")
    program, *arguments = [stands_for.get(word, word) for word in shlex.split(system.command)]
    assert program == "snellen"
    code, out, err = run(*arguments, *SMALLER.get(system.number, ()))
    assert (code, err.strip()) == (0, "")
    assert "Written" in out or "Report" in out


@pytest.mark.usefixtures("unread_images")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--architecture", "resnet18"], "unknown architecture 'resnet18'; did you mean 'timm:resnet18'"),
        (["--plan", '{"epochs": 1, "batch": 3}'], "unknown key in --plan 'batch'; did you mean 'batch_size'"),
        (["--plan", '{"epochs": 0}'], "epochs: expected at least 1"),
        (["--benchmark", "blood"], "did you mean 'bloodmnist' or 'sized-blood'?"),
    ],
)
def test_train_refuses_what_needs_no_images_before_they_are_read(run, data, arguments, message):
    code, _, err = run("train", "targeted-augmentation", data, "--out", "trained", *arguments)
    assert code == 2
    assert message in " ".join(err.split())
