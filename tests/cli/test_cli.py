"""The command line as a user meets it: output, exit codes, messages."""

import importlib
import inspect
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

import snellen
import snellen.auditing.audit  # its module is patched below
from snellen.cli.text import terminal
from snellen.systems.few_shot_adaptation.shots import FewerShotsWarning
from snellen.testing.conformance import small_problem


@pytest.fixture
def photos(tmp_path):
    """A folder with two classes of grey and colour images of several sizes."""
    rng = np.random.default_rng(0)
    for name, level in (("Trouser", 60), ("Bag", 180)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index, size in enumerate(((28, 28), (40, 31), (64, 64))):
            pixels = np.clip(rng.normal(level, 30, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).convert("RGB" if index else "L").save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


def flat(text):
    """Rich wraps and draws boxes; messages are compared without either."""
    return " ".join(text.replace("│", " ").split())


@pytest.mark.smoke
def test_help_version_and_no_arguments(run):
    code, out, _ = run("--help")
    assert code == 0
    assert {"audit", "systems", "reproduce"} <= set(flat(out).split())
    assert run("--version")[:2] == (0, "0.1.0\n")
    code, out, _ = run("audit", "--help")
    assert code == 0
    for default in ("bundled:fashion-cnn", "bundled:fashion-mnist", "snellen-audit-N"):
        assert f"[default: ({default})]" in flat(out), "square brackets in a help text are markup and vanish"
    for option in ("--out", "--classes", "--checks", "--device", "--workers", "--batch-size", "--limit", "--seed"):
        assert option in out
    assert run()[0] == 2


def test_the_module_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "snellen", "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stdout) == (0, f"{snellen.__version__}\n"), done.stderr


def test_audit_of_a_folder(run, photos, tmp_path):
    code, out, _ = run("audit", "bundled:fashion-cnn", photos, "--checks", "clean,corruption", "--out", "here")
    assert code == 0
    assert "clean.accuracy" in out
    assert not [line for line in out.split("\n") if line.endswith(" ")]
    assert "report.html" in out
    report = json.loads((tmp_path / "here" / "report.json").read_text())
    assert report["data"]["images"] == 6
    # A second time: the same plan, so the same run.
    again = run("audit", "bundled:fashion-cnn", photos, "--checks", "clean,corruption", "--out", "here")
    assert again[0] == 0
    assert json.loads((tmp_path / "here" / "report.json").read_text()) == report
    code, _, err = run("audit", "bundled:fashion-cnn", photos, "--checks", "clean", "--out", "here")
    assert code == 2
    assert "holds another run" in flat(err)


def test_audit_without_out_takes_a_free_folder_and_prints_json(run, photos, tmp_path):
    code, out, _ = run("audit", "bundled:fashion-cnn", photos, "--checks", "clean", "--json")
    assert code == 0
    assert json.loads(out)["checks"] == [{"name": "clean", "status": "done", "reason": None, "setting": None}]
    assert out.encode() == (tmp_path / "snellen-audit-1" / "report.json").read_bytes()
    run("audit", "bundled:fashion-cnn", photos, "--checks", "clean")
    assert (tmp_path / "snellen-audit-2").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audti"], "Did you mean"),
        (["audit", "--batchsize", "3"], "No such option"),
        (["audit", "--tune", "photos"], "--val"),
        (["train", "supervised", "photos", "--tune", "photos"], "--val"),
        (["audit", "--batch-size", "0"], "greater than or equal to 1"),
        (["audit", "--checks", "adversaril"], "did you mean 'adversarial'"),
        (["audit", "--checks", ","], "names no check; name one or more of clean, labels, discrimination, calibration"),
        (["audit", "--checks", ""], "names no check"),
        (["audit", "bundled:fashion-cn", "photos"], "fashion-cnn"),
        (["audit", "timm:resnet10t@missing.safetensors", "photos"], "missing.safetensors"),
        (["audit", "onnx:missing.onnx", "photos"], "missing.onnx"),
        (["audit", "torch:resnet", "photos"], "torch"),
        (["audit", "bundled:fashion-cnn", "phots"], "phots"),
        (
            ["audit", "onnx:my dir/model.onnx"],
            "name the images to audit 'onnx:my dir/model.onnx' on: snellen audit 'onnx:",
        ),
        (["audit", "bundled:fashion-cnn", "photos", "--device", "cuda"], "cuda"),
        (["audit", "bundled:fashion-cnn", "photos", "--classes", "names.txt"], "names.txt"),
        (["reproduce", "medmnistc"], "unknown system 'medmnistc'"),
        (["reproduce", "37", "--scale", "tiny"], "tiny"),
    ],
)
def test_mistakes_exit_with_2_and_one_clear_message(run, photos, arguments, message):
    code, _, err = run(*arguments)
    assert code == 2
    assert message in flat(err)
    assert "Traceback" not in err


def test_empty_folder_and_wrong_class_count(run, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run("audit", "bundled:fashion-cnn", tmp_path / "empty")
    assert code == 2
    assert "empty" in flat(err)
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    code, _, err = run("audit", "bundled:fashion-cnn", photos, "--classes", "names.txt")
    assert code == 2
    assert "10" in err
    assert "2" in err


def test_nan_weights_are_one_clear_error(run, photos, tmp_path):
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_resnet", num_classes=2)
    state = {
        name: tensor * float("nan") if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    save_file(state, tmp_path / "nan.safetensors")
    (tmp_path / "names.txt").write_text("Bag\nTrouser\n")
    code, _, err = run("audit", "timm:test_resnet@nan.safetensors", photos, "--classes", "names.txt")
    assert code == 2
    assert "finite" in err or "NaN" in err
    assert "Traceback" not in err


def test_a_missing_extra_is_named(run, photos, monkeypatch):
    real = importlib.import_module

    def without(name, package=None):
        if name == "onnxruntime":
            raise ModuleNotFoundError(name=name)
        return real(name, package)

    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr("importlib.import_module", without)
    (photos.parent / "m.onnx").write_bytes(b"not read")
    code, _, err = run("audit", "onnx:m.onnx", photos)
    assert code == 2
    assert "pip install 'snellen[onnx]'" in flat(err)


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(run, photos, monkeypatch):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["snellen.auditing.audit"], "audit", interrupted)
    code, _, err = run("audit", "bundled:fashion-cnn", photos, "--out", "here")
    assert code == 130
    assert "here is incomplete, and the same command resumes where this stopped" in flat(err)


def test_a_fault_of_ours_exits_with_70_and_a_traceback(run, photos, monkeypatch):
    def faulty(*_arguments, **_options):
        raise ZeroDivisionError("our fault")

    monkeypatch.setattr(sys.modules["snellen.auditing.audit"], "audit", faulty)
    code, _, err = run("audit", "bundled:fashion-cnn", photos)
    assert code == 70
    assert "our fault" in err
    assert "a fault in Snellen" in err


def test_options_have_the_defaults_of_the_functions_they_stand_for():
    from snellen.cli.audit import audit
    from snellen.cli.reproduce import reproduce

    shared = set()
    for command, function in ((audit, snellen.audit), (reproduce, snellen.reproduce)):
        options, parameters = inspect.signature(command).parameters, inspect.signature(function).parameters
        for name in options.keys() & parameters.keys() - {"system"}:
            assert options[name].default == parameters[name].default, name
            shared.add(name)
    assert shared >= {"checks", "batch_size", "workers", "limit", "seed", "out", "scale", "seeds"}


def test_systems(run):
    code, out, _ = run("systems", "--json")
    assert code == 0
    listed = json.loads(out)
    assert [system["number"] for system in listed] == list(range(1, 40))
    assert listed[0].keys() >= {"number", "title", "acronym", "source", "area", "command", "summary", "state"}
    code, out, _ = run("systems")
    assert code == 0
    assert "MedMNIST-C" in out
    assert not [line for line in out.split("\n") if line.endswith(" ")]


def test_an_exported_problem_runs_through_onnx(run, tmp_path):
    """The same decisions as by hand, with gradients unless another runtime is asked for."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3 * 8 * 8, 5)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["out"], axis=1),
        ],
        "g",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    _, images, _ = small_problem(count=20)
    pixels = (images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    truth = ((pixels.transpose(0, 3, 1, 2).reshape(20, -1) / 255) @ weight).argmax(1)
    np.savez(tmp_path / "data.npz", test_images=pixels, test_labels=truth[:, None].astype(np.uint8))
    (tmp_path / "names.txt").write_text("0\n1\n2\n3\n4\n")
    asked = ("audit", "onnx:m.onnx", "data.npz", "--classes", "names.txt", "--checks", "clean,adversarial")
    code, out, _ = run(*asked, "--out", "torch")
    assert (code, "skipped" in out) == (0, False)
    report = json.loads((tmp_path / "torch" / "report.json").read_text())
    assert report["metrics"]["clean.accuracy"]["value"] == 1.0
    assert {check["status"] for check in report["checks"]} == {"done"}
    code, out, _ = run(*asked, "--model-args", "run_by=onnxruntime", "--out", "run")
    assert code == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["metrics"]["clean.accuracy"]["value"] == 1.0
    status = {check["name"]: check for check in report["checks"]}
    assert status["adversarial"]["status"] == "skipped"
    assert "gradients" in status["adversarial"]["reason"]
    assert report["model"]["output"] == "log-probabilities"
    assert any("probabilit" in note for note in report["model"]["notes"])
    assert "gradients" in (tmp_path / "run" / "report.html").read_text()
    assert "skipped" in out


def test_what_would_have_been_found_stands_on_the_terminal(run, tmp_path):
    code, out, _ = run("audit", "--checks", "clean,label_noise", "--limit", "1500", "--out", "run")
    assert code == 0
    sight = json.loads((tmp_path / "run" / "report.json").read_text())["sight"]
    assert sight
    assert all(" ".join(words.split()) in " ".join(out.split()) for words in sight)


def test_names_cannot_drive_the_terminal(run, photos, tmp_path):
    evil = "Bag\x1b[2J[red]"
    (tmp_path / "names.txt").write_text("\n".join([evil, *"bcdefghij"]) + "\n")
    code, _, err = run("audit", "bundled:fashion-cnn", photos, "--classes", "names.txt")
    assert code == 2, "the folders Bag and Trouser are no classes of this list"
    assert "\x1b[2J" not in err
    pixels = np.zeros((4, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "\x1b[2Jdata[red].npz", test_images=pixels, test_labels=np.zeros((4, 1), dtype=np.uint8))
    code, out, _ = run("audit", "bundled:fashion-cnn", "\x1b[2Jdata[red].npz", "--checks", "clean")
    assert "\x1b[2J" not in out
    code, _, err = run("audit", "bundled:fashion-cnn", "\udce9.csv")
    assert code == 2, "half a character, as names that are not UTF-8 hold, cannot be encoded"
    assert "�.csv" in err


def test_images_without_labels_are_said_to_measure_nothing(run, photos, tmp_path):
    (tmp_path / "flat").mkdir()
    for index, path in enumerate(sorted(photos.rglob("*.png"))):
        path.rename(tmp_path / "flat" / f"{index}.png")
    code, out, _ = run("audit", "bundled:fashion-cnn", "flat")
    assert code == 0
    assert "Nothing could be measured: no usable image has a label." in flat(out)
    assert "No significant problems found" not in out
    page = (tmp_path / "snellen-audit-1" / "report.html").read_text()
    assert "Nothing could be measured: no usable image has a label." in page


def test_the_name_of_a_class_is_no_emoji(capsys):
    terminal().print("worst_class:star: right in 3 of 9")
    assert capsys.readouterr().out == "worst_class:star: right in 3 of 9\n"


def test_a_warning_is_one_line_like_an_error_and_shows_no_code(run):
    with warnings.catch_warnings():
        warnings.simplefilter("always", FewerShotsWarning)
        code, _, shown = run(
            "synthesize", "few-shot", "optotypes:scenes?count=12&shapes=star,heart&size=32#train", "--preset", "small",
            "--most-steps", "1", "--shots", "50", "--count", "1", "--steps", "1", "--out", "made",
        )  # fmt: skip
    assert code == 0
    (line,) = [one for one in shown.splitlines() if "fewer than 50 training images" in one]
    assert line.startswith("warning: 2 classes have fewer")
    assert "warnings.warn" not in shown
