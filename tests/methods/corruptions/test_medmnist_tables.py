"""The tables of MedMNIST-C: literal rows, and a sum over each set that any changed, lost or moved number changes."""

import tomllib
from importlib import resources

import pytest

CONTENT = tomllib.loads(resources.files("snellen.methods.corruptions").joinpath("medmnist_c.toml").read_text("utf-8"))
SETS = [name for name in CONTENT if name not in {"families", "datasets"}]
NOT_COLUMNS = {"strict", "jumps", "augmentation_start", "augmentation_end"}

PARAMETERS = {
    "pixelate": ["factor"],
    "jpeg_compression": ["quality"],
    "gaussian_noise": ["deviation"],
    "speckle_noise": ["deviation"],
    "impulse_noise": ["share"],
    "shot_noise": ["photons"],
    "defocus_blur": ["radius", "alias"],
    "motion_blur": ["radius", "deviation"],
    "zoom_blur": ["end", "step"],
    "gaussian_blur": ["kernel"],
    "brightness_up": ["factor"],
    "brightness_down": ["factor"],
    "contrast_up": ["factor"],
    "contrast_down": ["factor"],
    "saturate": ["offset"],
    "stain_deposit": ["marks", "side"],
    "bubble": ["radius", "count"],
    "black_corner": ["radius"],
    "characters": ["words", "letters", "scale"],
    "gamma_corr_up": ["exponent"],
    "gamma_corr_down": ["exponent"],
}

#: (set, kind): columns, each in the order of the parameters above, read off the authors' registry.
ROWS = {
    ("pathmnist", "pixelate"): [[0.8, 0.6, 0.4, 0.3, 0.25]],
    ("pathmnist", "defocus_blur"): [[3, 4, 5, 6, 7], [0.1, 0.1, 0.2, 0.2, 0.3]],
    ("pathmnist", "stain_deposit"): [[1, 2, 3, 4, 5], [24, 24, 24, 24, 32]],
    ("pathmnist", "bubble"): [[7, 10, 12, 15, 17], [15, 15, 15, 20, 25]],
    ("bloodmnist", "motion_blur"): [[3, 5, 10, 10, 10], [3, 5, 5, 7, 9]],
    ("bloodmnist", "stain_deposit"): [[1, 2, 3, 3, 3], [24, 24, 24, 24, 32]],
    ("bloodmnist", "saturate"): [[0.05, 0.1, 0.15, 0.17, 0.2]],
    ("dermamnist", "zoom_blur"): [[1.11, 1.16, 1.21, 1.26, 1.31], [0.01, 0.01, 0.02, 0.02, 0.03]],
    ("dermamnist", "black_corner"): [[1.1, 1.05, 1.0, 0.9, 0.95]],
    ("dermamnist", "characters"): [[1, 2, 3, 4, 6], [6, 7, 8, 9, 10], [0.14, 0.15, 0.16, 0.17, 0.18]],
    ("dermamnist", "shot_noise"): [[60, 25, 18, 10, 5]],
    ("retinamnist", "jpeg_compression"): [[30, 25, 20, 10, 5]],
    ("retinamnist", "defocus_blur"): [[4, 5, 6, 7, 8], [0.1, 0.2, 0.3, 0.4, 0.5]],
    ("retinamnist", "motion_blur"): [[8, 15, 15, 15, 20], [5, 5, 8, 12, 15]],
    ("tissuemnist", "gaussian_blur"): [[13, 15, 17, 21, 25]],
    ("tissuemnist", "impulse_noise"): [[0.01, 0.015, 0.02, 0.025, 0.03]],
    ("octmnist", "defocus_blur"): [[0.5, 1, 1.5, 2, 2.5], [0.6, 0.5, 0.1, 0.5, 0.1]],
    ("octmnist", "contrast_down"): [[0.6, 0.4, 0.3, 0.2, 0.15]],
    ("breastmnist", "motion_blur"): [[5, 9, 9, 13, 17], [5, 7, 10, 10, 12]],
    ("breastmnist", "brightness_down"): [[0.55, 0.5, 0.45, 0.4, 0.3]],
    ("chestmnist", "speckle_noise"): [[0.05, 0.15, 0.2, 0.35, 0.45]],
    ("chestmnist", "gaussian_blur"): [[3, 5, 7, 9, 11]],
    ("pneumoniamnist", "impulse_noise"): [[0.005, 0.01, 0.013, 0.017, 0.02]],
    ("pneumoniamnist", "shot_noise"): [[300, 200, 150, 100, 80]],
    ("organamnist", "gamma_corr_up"): [[1.3, 1.4, 1.6, 1.8, 2.0]],
    ("organamnist", "brightness_down"): [[0.8, 0.75, 0.7, 0.65, 0.6]],
    ("organcmnist", "contrast_up"): [[1.3, 1.4, 1.6, 1.7, 1.8]],
    ("organsmnist", "jpeg_compression"): [[50, 30, 15, 10, 7]],
}

X_RAY_AND_CT = (
    "pixelate jpeg_compression gaussian_noise speckle_noise impulse_noise shot_noise gaussian_blur "
    "brightness_up brightness_down contrast_up contrast_down gamma_corr_up gamma_corr_down"
)

#: Set: kinds in the published order, and the sum of its numbers, each times its place among them.
KINDS = {
    "pathmnist": (
        "pixelate jpeg_compression defocus_blur motion_blur brightness_up brightness_down contrast_up "
        "contrast_down saturate stain_deposit bubble",
        24093.56,
    ),
    "bloodmnist": (
        "pixelate jpeg_compression defocus_blur motion_blur brightness_up brightness_down contrast_up "
        "contrast_down saturate stain_deposit bubble",
        19681.49,
    ),
    "dermamnist": (
        "pixelate jpeg_compression gaussian_noise speckle_noise impulse_noise shot_noise defocus_blur "
        "motion_blur zoom_blur brightness_up brightness_down contrast_up contrast_down black_corner "
        "characters",
        17647.96,
    ),
    "retinamnist": (
        "pixelate jpeg_compression gaussian_noise speckle_noise defocus_blur motion_blur brightness_down contrast_down",
        5913.05,
    ),
    "tissuemnist": (
        "pixelate jpeg_compression impulse_noise gaussian_blur brightness_up brightness_down contrast_up contrast_down",
        2845.55,
    ),
    "octmnist": (
        "pixelate jpeg_compression speckle_noise defocus_blur motion_blur contrast_down",
        4318.95,
    ),
    "breastmnist": (
        "pixelate jpeg_compression speckle_noise motion_blur brightness_up brightness_down contrast_down",
        3250.9,
    ),
    "chestmnist": (
        X_RAY_AND_CT,
        6678.64,
    ),
    "pneumoniamnist": (
        X_RAY_AND_CT,
        26180.672,
    ),
    "organamnist": (
        X_RAY_AND_CT,
        15512.79,
    ),
    "organcmnist": (
        X_RAY_AND_CT,
        15512.79,
    ),
    "organsmnist": (
        X_RAY_AND_CT,
        15512.79,
    ),
}


def columns(name, kind):
    return {key: values for key, values in CONTENT[name][kind].items() if key not in NOT_COLUMNS}


@pytest.mark.parametrize(("name", "kind"), ROWS)
def test_rows_are_the_published_ones(name, kind):
    assert list(columns(name, kind).values()) == ROWS[name, kind]


def test_every_kind_has_five_severities_of_its_parameters():
    assert {kind for name in SETS for kind in CONTENT[name]} == set(PARAMETERS)
    for name in SETS:
        for kind in CONTENT[name]:
            assert list(columns(name, kind)) == PARAMETERS[kind]
            assert all(len(values) == 5 for values in columns(name, kind).values())


def test_sets_are_complete_and_in_the_published_order():
    assert list(KINDS) == SETS == list(CONTENT["datasets"])
    assert {name: list(CONTENT[name]) for name in SETS} == {name: kinds.split() for name, (kinds, _) in KINDS.items()}


@pytest.mark.parametrize("name", SETS)
def test_checksums_of_all_numbers(name):
    # The weight is the number's place among all of the set: two numbers that trade places change the sum too.
    numbers = [value for kind in CONTENT[name] for values in columns(name, kind).values() for value in values]
    weighted = sum(place * value for place, value in enumerate(numbers, start=1))
    assert weighted == pytest.approx(KINDS[name][1], abs=1e-6)


def test_extra_entries():
    extras = {
        (name, kind, key): value
        for name in SETS
        for kind, table in CONTENT[name].items()
        for key, value in table.items()
        if key in NOT_COLUMNS - {"jumps"}  # of our own, not published
    }
    assert extras == {
        ("dermamnist", "zoom_blur", "augmentation_start"): {"end": 1},
        ("dermamnist", "zoom_blur", "augmentation_end"): {"end": 1.3},
        ("dermamnist", "black_corner", "strict"): [1, 2, 3, 5, 4],
        ("retinamnist", "defocus_blur", "augmentation_end"): {"radius": 9, "alias": 0.6},
        ("chestmnist", "gaussian_blur", "augmentation_end"): {"kernel": 13},
        ("pneumoniamnist", "gaussian_blur", "augmentation_end"): {"kernel": 13},
    }


def test_organ_sets_share_their_tables():
    assert CONTENT["organamnist"] == CONTENT["organcmnist"] == CONTENT["organsmnist"]


def test_families_hold_every_kind_once():
    families = CONTENT["families"]
    assert sorted(kind for kinds in families.values() for kind in kinds) == sorted(PARAMETERS)
    assert {name: len(kinds) for name, kinds in families.items()} == {
        "digital": 2,
        "noise": 4,
        "blur": 4,
        "colour": 5,
        "task_specific": 6,
    }


def test_data_sets_are_those_of_medmnist():
    about = CONTENT["datasets"]
    assert [name for name in about if about[name]["rgb"]] == ["pathmnist", "bloodmnist", "dermamnist", "retinamnist"]
    assert [about[name]["labels"] for name in about] == [9, 8, 7, 5, 8, 4, 2, 14, 2, 11, 11, 11]
    tasks = {name: values["task"] for name, values in about.items() if values["task"] != "multi-class"}
    assert tasks == {
        "retinamnist": "ordinal-regression",
        "breastmnist": "binary-class",
        "chestmnist": "multi-label",
        "pneumoniamnist": "binary-class",
    }
