"""What a command says about a model beside its reference, and that every verb with a model takes it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from snellen.cli.app import app
from snellen.cli.run_options import model_options
from snellen.core.errors import InputError
from snellen.core.preprocessing import Normalization
from snellen.models.classifiers.timm_models import build_untrained

OPTIONS = ["--model-args", "num_classes=3", "--size", "64", "--mean", "0.1,0.2,0.3", "--std", "0.5"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network as a training script leaves them, names of its classes, and 27 images."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    network = build_untrained(model="test_resnet", class_count=3)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, folder / "w.pth")
    (folder / "names.txt").write_text("a\nb\nc\n")
    noise = np.random.default_rng(0)
    for number in range(27):
        place = folder / "images" / "abc"[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(place / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("command", "extra", "record"),
    [
        (["audit"], ["--checks", "clean"], "report.json"),
        (["attack", "fgsm"], ["--limit", "3"], "attack.json"),
        (["explain", "gradient"], ["--limit", "2"], "explain.json"),
        (
            ["scan", "backdoor"],
            [
                *("--steps", "1", "--refined-steps", "1", "--samples", "2", "--refined-samples", "2"),
                *("--sources", "2", "--confirming", "0", "--copies", "0"),
            ],
            "scan.json",
        ),
        (
            ["certify", "smoothing"],
            ["--sigma", "0.25", "--samples", "20", "--selection", "10", "--limit", "2"],
            "certify.json",
        ),
    ],
)
def test_every_verb_with_a_model_takes_them(
    data: Path, tmp_path: Path, command: list[str], extra: list[str], record: str
) -> None:
    arguments = [*command, f"timm:test_resnet@{data / 'w.pth'}", str(data / "images"), "--out", str(tmp_path / "run")]
    classes = ["--classes", str(data / "names.txt")]
    result = CliRunner().invoke(app, [*arguments, *classes, *OPTIONS, *extra])
    assert result.exit_code == 0, result.output
    said = json.dumps(json.loads((tmp_path / "run" / record).read_text()))
    assert "0.1, 0.2, 0.3" in said
    assert "64x64" in said or '"size": [64, 64]' in said


def test_options_become_arguments() -> None:
    assert model_options() == {"model_args": None, "size": None, "normalization": None}
    given = model_options(['{"img_size": 96, "depths": [1, 2]}', "global_pool=max", "drop_rate=0.5"], "96x64")
    assert given["model_args"] == {"img_size": 96, "depths": [1, 2], "global_pool": "max", "drop_rate": 0.5}
    assert given["size"] == (96, 64)
    assert model_options(mean="0.5", std="1,2,3")["normalization"] == Normalization((0.5,), (1.0, 2.0, 3.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_args": ["num_classes"]}, "expected KEY=VALUE or a JSON object"),
        ({"model_args": ["[1]"]}, "expected KEY=VALUE"),
        ({"model_args": ["a=1", "a=2"]}, "each key once"),
        ({"size": "0"}, "expected pixels"),
        ({"size": "1x2x3"}, "height and width"),
        ({"mean": "0.5"}, "go together"),
        ({"mean": "0.5,0.5", "std": "1"}, "--mean '0.5,0.5': expected three numbers"),
        ({"mean": "0.5", "std": "0"}, "--std '0': expected three positive numbers"),
        ({"mean": "0.5", "std": "nan"}, "positive"),
        ({"mean": "nan", "std": "1"}, "--mean 'nan': expected three numbers"),
        ({"mean": "0.5", "std": "inf"}, "--std 'inf': expected three positive numbers"),
    ],
)
def test_options_that_cannot_be_read(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_options(**options)  # type: ignore[arg-type]


def test_the_error_names_the_option(data: Path, tmp_path: Path) -> None:
    arguments = ["audit", f"timm:test_resnet@{data / 'w.pth'}", str(data / "images"), "--out", str(tmp_path / "run")]
    with pytest.raises(InputError, match="--model-args num_classes=10"):
        CliRunner().invoke(app, [*arguments, "--model-args", "num_classes=5"], catch_exceptions=False)
