"""One file for an audit: read, refused with lines, won over by options; and snellen init, which writes it."""

import inspect
import json
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import snellen
from snellen.auditing.effort import checks_at
from snellen.auditing.job import AuditJob, arguments_of, parse_job, placed, read_job
from snellen.auditing.probe import Probe, job_text
from snellen.core.errors import InputError
from snellen.models.classifiers.references import SCHEMES

MODEL, DATA = "bundled:fashion-cnn", "bundled:fashion-mnist"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a few garments, their masks, and a table of patients; the work is done beside it."""
    images = snellen.load_images(DATA)
    rows = ["file,patient,site"]
    for number, label in enumerate([1, 1, 5, 5, 8, 8]):
        row = int(np.flatnonzero(images.labels == label)[number % 2])
        place = tmp_path / "work" / "images" / images.class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / "masks").mkdir(exist_ok=True)
        images.read(row).save(place / f"{number}.png")
        Image.new("L", (28, 28), 255).save(tmp_path / "work" / "masks" / f"{number}_mask.png")
        rows.append(f"{number}.png,p{number // 2},site {number % 2}")
    (tmp_path / "work" / "table.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "work"


def write(folder, *lines):
    (folder / "audit.toml").write_text("\n".join([f'model = "{MODEL}"', 'data = "images"', *lines]), encoding="utf-8")
    return "work/audit.toml"


def test_a_file_says_everything_relative_to_itself(run, folder):
    path = write(
        folder, 'out = "run"', 'effort = "quick"', 'masks = "masks"', 'table = "table.csv"', 'checks = ["-slices"]',
        "[columns]", 'unit = "patient"', 'group = "site"', "[gate]", 'require = ["clean.accuracy>=1.1"]',
    )  # fmt: skip
    code, out, err = run("audit", path)
    assert code == 3, err
    assert "not met  clean.accuracy>=1.1" in out
    report = json.loads((folder / "run" / "report.json").read_bytes())
    assert [check["name"] for check in report["checks"]] == [one for one in checks_at("quick") if one != "slices"]
    images = snellen.load_images(
        folder / "images", masks=folder / "masks", table=folder / "table.csv",
        columns={"unit": "patient", "group": "site"},
    )  # fmt: skip
    assert images.column("unit_id") == ["p2", "p2", "p1", "p1", "p0", "p0"]
    options = {"effort": "quick", "checks": "-slices"}
    assert report == snellen.audit(MODEL, images, **options).to_json()
    assert report == snellen.audit(path).to_json()


def test_options_win_over_the_file(run, folder):
    path = write(
        folder, 'out = "run"', 'effort = "full"', "limit = 6", "[settings.corruption]", "severities = [1]"
    )  # fmt: skip
    code, out, err = run("audit", path, "--checks", "clean", "--limit", "5", "--out", "other", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert [check["name"] for check in report["checks"]] == ["clean"]
    assert report["data"]["images"] == 5
    assert not (folder / "run").exists()
    other = snellen.audit(path, checks=["clean"], limit=5, out="third")
    assert other.to_json() == report


def test_settings_of_the_file_and_of_options_add_up(run, folder):
    path = write(folder, 'checks = ["clean", "corruption"]', "[settings.corruption]", "severities = [1]")
    code, _, err = run("audit", path, "--set", "corruption.benchmark=octmnist", "--out", "run")
    assert code == 0, err
    checks = json.loads(Path("run/manifest.json").read_bytes())["checks"]
    (corruption,) = (one for one in checks if one["check"] == "corruption")
    assert corruption["severities"] == [1.0]
    assert corruption["benchmark"] == "octmnist"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('efort = "quick"', r"line 3: unknown key 'efort'; did you mean 'effort'"),
        ('limit = "many"', r"line 3: limit: .*whole number.*, got 'many'"),
        ("[gate]\nfail_onn = 1", r"line 4: unknown key 'fail_onn'; did you mean 'fail_on'"),
        ("limit = x", r"not TOML: .*line 3"),
        ('effort = "quik"', r"line 3: effort: .*'quick'.*, got 'quik'"),
    ],
)
def test_errors_name_file_line_and_key(folder, line, told):
    with pytest.raises(InputError, match=rf"work/audit.toml.*{told}"):
        read_job(write(folder, line))


def test_a_key_that_is_missing_and_a_file_that_is(run, folder):
    (folder / "audit.toml").write_text(f'model = "{MODEL}"')
    with pytest.raises(InputError, match="the key 'data' is missing"):
        read_job(folder / "audit.toml")
    code, _, err = run("audit", "none.toml")
    assert code == 2
    assert "snellen init" in err


def test_paths_hold_from_here(folder):
    path = write(folder, 'train = "tar:shards#train"', 'val = "/data/val"', "[settings.background]",
                 'segmenter = "isnet:net.onnx"')  # fmt: skip
    read = read_job(path)
    assert (read.data, read.train, read.val) == ("work/images", "tar:work/shards#train", "/data/val")
    assert read.settings == {"background": {"segmenter": "isnet:work/net.onnx"}}


def test_the_column_of_the_files_has_a_meaning(run, folder):
    lines = [
        "file,label,site",
        *(f"images/{one.relative_to('work/images')},a,north" for one in sorted(Path("work/images").rglob("*.png"))),
    ]
    Path("work/list.csv").write_text("\n".join(lines))
    code, out, err = run("init", MODEL, "work/list.csv", "--out", "work/listed.toml", "--column", "image=file")
    assert code == 0, err
    assert "columns without a meaning: site\n" in out


def test_init_writes_a_file_that_runs(run, folder):
    code, out, err = run(
        "init", MODEL, "work/images", "--out", "work/audit.toml", "--masks", "work/masks", "--table", "work/table.csv",
        "--column", "unit=patient",
    )  # fmt: skip
    assert code == 0, err
    assert "6 images" in out
    assert "columns without a meaning: site" in out
    assert "unit: 3 (p2, p1, p0)" in out
    assert "6 of 6 images have one" in out
    assert "skipped: group_gap" in out
    written = tomllib.loads((folder / "audit.toml").read_text())
    assert written == {
        "model": MODEL, "data": "images", "masks": "masks", "table": "table.csv", "effort": "standard",
        "columns": {"unit": "patient"},
    }  # fmt: skip
    assert "run it: snellen audit work/audit.toml\n" in out
    code, out, err = run("audit", "work/audit.toml", "--effort", "quick", "--out", "run")
    assert code == 0, err
    assert "Effort quick leaves out: " in out


def test_init_overwrites_nothing_without_force(run, folder):
    write(folder)
    before = (folder / "audit.toml").read_bytes()
    code, out, err = run("init", MODEL, "work/images", "--out", "work/an audit.toml")
    assert "run it: snellen audit 'work/an audit.toml'\n" in out, err
    code, _, err = run("init", MODEL, "work/images", "--out", "work/audit.toml")
    assert (code, (folder / "audit.toml").read_bytes()) == (2, before)
    assert "--force" in err
    assert run("init", MODEL, "work/images", "--out", "work/audit.toml", "--force")[0] == 0
    assert (folder / "audit.toml").read_bytes() != before


def test_init_warns_of_what_an_audit_would_stumble_over(run, folder):
    (folder / "images" / "Bag" / "broken.png").write_bytes(b"")
    (folder / "images" / "Bag").rename(folder / "images" / "Bugs")
    code, out, err = run("init", MODEL, "work/images", "--out", "a.toml")
    assert code == 0, err
    assert "warning: 1 of 3 classes" in out
    assert "1 of 7 images that were read cannot be used" in out


def test_a_checkpoint_is_built_and_fed_as_the_file_says(run, folder):
    """The same by the file, by options, in Python, and by the file that init writes."""
    torch.manual_seed(0)
    weights = timm.create_model("test_vit", num_classes=3, img_size=32, patch_size=8).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "vit.safetensors")
    (folder / "names.txt").write_text("Trouser\nSandal\nBag\n")
    said = {"num_classes": 3, "img_size": 32, "patch_size": 8}
    path = folder / "audit.toml"
    path.write_text(
        'model = "timm:test_vit@vit.safetensors"\ndata = "images"\nclasses = "names.txt"\nsize = 32\nmean = 0.5\n'
        "std = [0.25, 0.25, 0.25]\nmodel_args = {num_classes = 3, img_size = 32, patch_size = 8}\nchecks = ['clean']\n"
    )
    code, out, err = run("audit", "work/audit.toml", "--out", "by-file", "--json")
    assert code == 0, err
    options = (
        "--classes", "work/names.txt", "--size", "32", "--mean", "0.5", "--std", "0.25", "--model-args",
        json.dumps(said),
    )  # fmt: skip
    model = "timm:test_vit@work/vit.safetensors"
    code, other, err = run(
        "audit", model, "work/images", *options, "--checks", "clean", "--out", "by-options", "--json"
    )
    assert code == 0, err
    reports = [json.loads(text) for text in (out, other)]
    assert reports[0]["metrics"] == reports[1]["metrics"]
    assert "normalised by mean (0.5) and std (0.25, 0.25, 0.25)" in reports[0]["model"]["preprocessing"]
    assert snellen.audit("work/audit.toml").to_json()["metrics"] == reports[0]["metrics"]
    code, _, err = run("init", model, "work/images", *options, "--out", "work/again.toml")
    assert code == 0, err
    again = tomllib.loads((folder / "again.toml").read_text())
    assert again["model_args"] == said
    assert again["size"] == [32, 32]
    report = snellen.audit("work/again.toml", checks=["clean"])
    assert report.to_json()["metrics"] == reports[0]["metrics"]


def test_mean_and_std_go_together(folder):
    with pytest.raises(InputError, match="mean and std go together"):
        read_job(write(folder, "mean = 0.5"))


def test_parts_leave_the_gate_of_the_file_to_the_command_that_reports(run, folder):
    path = write(folder, 'checks = ["clean"]', "[gate]", 'require = ["clean.accuracy>=1.1"]')
    code, _, err = run("audit", path, "--out", "run", "--part", "1/1")
    assert code == 0, err
    code, _, err = run("audit", path, "--out", "run", "--part", "1/1", "--fail-on", "severe")
    assert code == 2
    assert "--part needs --out" in err
    code, out, err = run("audit", path, "--out", "run")
    assert code == 3, err
    assert "not met  clean.accuracy>=1.1" in out


@pytest.mark.parametrize(
    ("reference", "placed_there"),
    {
        "artifact:a": "artifact:sub/a",
        "bundled:fashion-cnn": "bundled:fashion-cnn",
        "checkpoint:a.pth": "checkpoint:sub/a.pth",
        "hf:a": "hf:sub/a",
        "http://host/v2/models/a": "http://host/v2/models/a",
        "https://host/v2/models/a": "https://host/v2/models/a",
        "onnx:a.onnx": "onnx:sub/a.onnx",
        "timm:resnet18": "timm:resnet18",
        "timm:resnet18@a.pth": "timm:resnet18@sub/a.pth",
        "torchvision:resnet18@a.pth": "torchvision:resnet18@sub/a.pth",
        "openclip:a": "openclip:sub/a",
        "openclip:ViT-B-32@a.safetensors": "openclip:ViT-B-32@sub/a.safetensors",
        "known:fashion-mnist": "known:fashion-mnist",
        "known:fashion-mnist@a#test": "known:fashion-mnist@sub/a#test",
        "optotypes:scenes?count=5": "optotypes:scenes?count=5",
        "tar:a#train": "tar:sub/a#train",
        "slides:a?tile=256": "slides:sub/a?tile=256",
        "meshes:a": "meshes:sub/a",
        "isnet:a.onnx": "isnet:sub/a.onnx",
        "diffusers:a": "diffusers:sub/a",
        "file:a.json": "file:sub/a.json",
        "a/b.pth": "sub/a/b.pth",
    }.items(),
)
def test_a_reference_in_a_file_is_relative_to_it(reference, placed_there):
    assert placed(reference, Path("sub")) == placed_there
    # Also as the parameter of a check, where a text without a scheme is no path.
    job = AuditJob(model=MODEL, data=DATA, settings={"background": {"segmenter": reference}}).under(Path("sub"))
    assert job.settings["background"]["segmenter"] == (placed_there if ":" in reference else reference)


def test_every_scheme_of_a_classifier_is_either_moved_or_known_to_hold_no_path():
    moved = {scheme for scheme in SCHEMES if placed(f"{scheme}:name@a.pth", Path("sub")) != f"{scheme}:name@a.pth"}
    assert set(SCHEMES) - moved == {"bundled", "http", "https"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("size = -5", "line 3: size: .*more than 0.*, got -5"),
        ("size = [0, 8]", "line 3: size: .*more than 0.*, got 0"),
        ("size = 70000", "line 3: size: .*at most 65535"),
        ("mean = nan\nstd = 1.0", "line 3: mean: .*finite number, got nan"),
        ("mean = [0.0, inf, 0.0]\nstd = 1.0", "line 3: mean: .*finite number, got inf"),
        ("mean = 0.5\nstd = 0.0", "line 4: std: .*more than 0.*, got 0.0"),
        ("mean = 0.5\nstd = [0.2, 0.2, -0.2]", "line 4: std: .*more than 0.*, got -0.2"),
        (f"limit = {'[' * 100_000}", "nested more than 20 deep"),
        (f"limit.{'a.' * 100_000}a = 1", "nested more than 20 deep"),  # would take tens of gigabytes
        (f"[limit.{'a.' * 100_000}a]", "nested more than 20 deep"),
        (f"""limit.{'"a" . ' * 3_000}a = 1""", "nested more than 20 deep"),
        (f"limit = {'[' * 40}{']' * 40}", "nested more than 20 deep"),
        (f"# {'x' * 300_000}", "at most 262144"),
        (f'limit = "{"x" * 5_000}"', r"line 3: limit: .*got 'x{79}…"),
    ],
)
def test_values_that_cannot_be_are_refused_in_a_short_message(folder, line, told):
    with pytest.raises(InputError, match=rf"work/audit.toml.*{told}") as caught:
        read_job(write(folder, line))
    assert len(str(caught.value)) < 2_000


def test_init_writes_names_that_toml_must_escape(run, folder):
    strange = 'im\x7fages "\\ \U0001f600'
    (folder / "images").rename(folder / strange)
    (folder / "names.txt").write_text("Trouser\nSan\x7fdal\x1b[31m\nBag", encoding="utf-8")
    torch.save({"state_dict": timm.create_model("test_vit", num_classes=3).state_dict()}, folder / "a.pth")
    code, _, err = run(
        "init", "timm:test_vit@work/a.pth", f"work/{strange}", "--out", "work/audit.toml", "--classes",
        "work/names.txt", "--table", "work/table.csv", "--column", "unit=patient", "--column", "image=file",
        "--model-args", "drop_rate=0.1",
    )  # fmt: skip
    assert code == 0, err
    job = read_job(folder / "audit.toml")
    assert (job.data, job.columns) == (f"{folder}/{strange}", {"unit": "patient", "image": "file"})
    assert job.model_args == {"drop_rate": 0.1}


def test_init_refuses_what_toml_cannot_hold(run, folder):
    torch.save({"state_dict": timm.create_model("test_vit", num_classes=3).state_dict()}, folder / "a.pth")
    (folder / "names.txt").write_text("Trouser\nSandal\nBag")
    code, _, err = run(
        "init", "timm:test_vit@work/a.pth", "work/images", "--classes", "work/names.txt", "--model-args",
        "global_pool=null",
    )  # fmt: skip
    assert code == 2
    assert "TOML has no null" in err
    assert not Path("audit.toml").exists()
    for value in ([1, None], {"a": None}):
        with pytest.raises(InputError, match="TOML has no null"):
            job_text(PROBE, model=MODEL, data=DATA, built={"model_args": {"a": value}})
    with pytest.raises(InputError, match="not UTF-8"):
        job_text(PROBE, model=MODEL, data="im\udce9ages")


PROBE = Probe((), (), {}, (), dict.fromkeys(checks_at("full")), ())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e-7, True, 2**40, "\x7f\u2028\x01", [[], {}]])
def test_what_init_writes_of_arguments_is_read_as_the_same(value):
    text = job_text(PROBE, model=MODEL, data=DATA, columns={"\U0001f600": "a"}, built={"model_args": {"a": value}})
    job = parse_job(text, Path("audit.toml"))
    assert repr(job.model_args["a"]) == repr(value)
    assert job.columns == {"\U0001f600": "a"}


def laid_over(path, **given):
    """Arguments of the audit that a call with the file makes."""
    return arguments_of(path, {"classifier": path, **given}, inspect.signature(snellen.audit))


def test_arguments_in_python_win_before_anything_is_loaded(folder):
    """As ``snellen audit audit.toml DATA --column ...`` does: what an argument replaces is not even read."""
    path = write(
        folder, 'classes = "none.txt"', 'table = "table.csv"', 'checks = ["clean"]', 'train = "nowhere"',
        'val = "nowhere"', "[columns]", 'unit = "patient"', 'group = "patient"',
    )  # fmt: skip
    names = [*"abcdefghij"]
    found = laid_over(path, class_names=names, columns={"group": "site"}, train=DATA, val=DATA)
    assert found["images"].column("group") == ["site 0", "site 1"] * 3
    assert found["images"].column("unit_id") == ["p2", "p2", "p1", "p1", "p0", "p0"]
    assert found["classifier"].class_names == tuple(names)
    assert found["train"] == found["val"] == DATA
    assert not {"class_names", "columns"} & set(found)


def test_images_in_python_win_over_the_data_of_the_file(run, folder):
    path = write(folder, 'table = "table.csv"', 'checks = ["clean"]', "limit = 5", "[columns]", 'unit = "patient"')
    (folder / "images").rename(folder / "moved")
    # A reference is read as the file says, as on the command line.
    assert laid_over(path, images="work/moved")["images"].column("unit_id") == ["p2", "p2", "p1", "p1", "p0", "p0"]
    code, out, err = run("audit", path, "work/moved", "--out", "run", "--json")
    assert code == 0, err
    assert snellen.audit(path, folder / "moved").to_json()["metrics"] == json.loads(out)["metrics"]
    # Images in memory are what they are.
    pixels, labels = np.zeros((10, 28, 28, 3), dtype=np.uint8), np.arange(10)
    report = snellen.audit(path, pixels, labels=labels, limit=4)
    assert report.to_json()["data"]["images"] == 4
    assert snellen.audit(path, snellen.load_images(DATA)).to_json()["data"]["images"] == 5
    with pytest.raises(InputError, match="labels, class_names and value_range go with images in memory"):
        snellen.audit(path, folder / "moved", labels=labels)
