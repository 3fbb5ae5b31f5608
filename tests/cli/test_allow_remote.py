"""``--allow-remote``: on every command that loads a model, for everything that the command loads, and no longer."""

import importlib
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import snellen.cli
from snellen.cli.on_images import model_choice
from snellen.models.remote.permission import permitted
from snellen.models.remote.sent_log import SENT
from tests.models.classifiers.served.inference_server import inference_server, refusal
from tests.models.remote.contacted_hosts import contacted_hosts

REMOTE = "https://models.example/v2/models/pets"
FOLDER = Path(snellen.cli.__file__).parent


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog", "bird"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for place in range(3):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"secret-{place}.png")
    return tmp_path / "photos"


def flat(text: str) -> str:
    return " ".join(text.split())


def test_every_command_that_loads_a_model_has_the_option():
    loading = [path.stem for path in FOLDER.glob("*.py") if "load_classifier(" in path.read_text(encoding="utf-8")]
    assert {"audit", "evaluate", "init", "on_images"} <= set(loading)
    assert inspect.signature(model_choice).parameters["allow_remote"].default is None
    for name in {*loading, "attack", "certify", "explain", "generate", "scan", "train"} - {
        "on_images",
        "search",
    }:  # a search loads what it made
        parameters = inspect.signature(getattr(importlib.import_module(f"snellen.cli.{name}"), name)).parameters
        assert "model_choice" in parameters or parameters["allow_remote"].default is None, name


@pytest.mark.parametrize("verb", [("audit",), ("attack", "square")])
def test_another_machine_is_refused_with_the_way_to_allow_it(run, photos, verb):
    with contacted_hosts() as asked:
        code, _, err = run(*verb, REMOTE, photos, "--out", "out")
        assert code == 2
        assert "models.example is another machine: images would leave this one" in flat(err)
        assert "--allow-remote models.example" in flat(err)
        code, _, err = run(*verb, REMOTE, photos, "--out", "out", "--allow-remote", "models.other")
        assert code == 2
        assert "models.example is another machine" in flat(err)
        assert not asked
        assert not Path("out").exists()


def test_a_machine_that_is_allowed_is_queried(run, photos):
    with contacted_hosts() as asked:
        reference = f"{REMOTE}?retries=0"
        code, _, err = run(
            "audit", reference, photos, "--allow-remote", "a.example", "--allow-remote", "Models.Example"
        )
        assert code == 2
        assert "models.example" in flat(err)
        assert "cannot be reached" in flat(err)
        assert set(asked) == {"models.example"}
        assert permitted() == ()


@pytest.mark.parametrize("name", ["*", "*.example", "https://models.example", "models.example:443"])
def test_what_is_no_name_of_a_host(run, photos, name):
    code, _, err = run("audit", "bundled:fashion-cnn", photos, "--allow-remote", name)
    assert code == 2
    assert "is not the name of one host" in flat(err)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_permission_holds_for_what_a_method_loads(run, photos, tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with inference_server() as server:
        call = ("attack", "transfer", server.reference, photos, "--surrogate", "torchvision:resnet18", "--out", "out")
        code, _, err = run(*call)
        assert (code, "without permission" in flat(err)) == (2, True), err
        code, _, err = run(*call, "--allow-remote", "download.pytorch.org")
        assert (code, "nor downloaded" in flat(err)) == (2, True), err
    assert permitted() == ()


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_this_machine_needs_no_permission(run, photos):
    with inference_server() as server:
        code, out, err = run("audit", server.reference, photos, "--checks", "clean", "--out", "out")
        assert code == 0, err
        assert "the scores come from a server" in flat(out)
        code, out, _ = run("attack", "square", server.reference, photos, "--queries", 3, "--out", "attacked")
        assert code == 0
        assert str(Path("attacked") / SENT) in out
    for folder in ("out", "attacked"):
        text = (Path(folder) / SENT).read_text()
        assert "secret" not in text
        assert all(json.loads(line)["status"] == 200 for line in text.splitlines())


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("verb", [("audit", "--checks", "clean"), ("attack", "square", "--queries", "3")])
def test_a_server_that_goes_away_says_how_to_go_on(run, photos, verb):
    with inference_server() as server:
        call = (*verb, f"{server.reference}?retries=0", photos, "--batch-size", 1, "--out", "out")
        real = server.post
        server.post = lambda received: refusal(503, "gone") if len(server.requested) > 7 else real(received)
        code, _, err = run(*call)
        assert code == 2
        assert "does not recover" in flat(err)
        assert "--out out" in flat(err) or "the same command resumes where this stopped" in flat(err)
        server.post = real
        assert run(*call)[0] == 0
