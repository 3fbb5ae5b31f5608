"""``snellen shift`` as a user meets it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import snellen
import snellen.verbs.shift  # its function is patched below
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.corruption import Corruption
from tests.cli.stood_for import check_options


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Lines that do not wrap."""
    monkeypatch.setenv("COLUMNS", "200")


#: One of the few photos is damaged.
LOST = "--allow-rejected"


@pytest.fixture
def photos(tmp_path):
    """Two classes of images of two sizes, and a damaged file."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index, size in enumerate(((40, 32), (32, 32))):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    (tmp_path / "photos" / "dog" / "[red]broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


def flat(text):
    """Rich wraps and draws boxes; messages are compared without either."""
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [["--help"], ["shift", "--help"], ["shift", "-h"], ["shift"]])
def test_help_loads_nothing_that_computes(arguments):
    code = (
        "import sys\n"
        "from snellen.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*sorted({'torch', 'numpy', 'pyarrow', 'PIL'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.stderr.strip() == ""
    assert ("corruption" if "shift" in arguments else "shift") in done.stdout


def test_help_of_a_method_shows_its_fields_with_their_defaults(run):
    code, out, _ = run("shift", "corruption", "--help")
    assert code == 0
    shown = flat(out)
    for field, info in Corruption.model_fields.items():
        assert f"--{field.replace('_', '-')}" in shown
        assert info.description.split(";")[0].split(",")[0] in shown
    for text in (
        "[default: (imagenet-c)]",
        "[default: (all that the benchmark's figures are means of)]",
        "[default: (1 2 3 4 5; 5 for edits of objects)]",
        "bloodmnist",
    ):
        assert text in shown


def test_shift_of_a_folder(run, photos, tmp_path):
    asked = ["shift", "corruption", photos, "--kind", "contrast", "--kind", "brightness", "--out", "here", LOST]
    code, out, err = run(*asked, "--severity", "1", "--severity", "2.5", "--workers", "2", "--seed", "3")
    assert (code, err.strip()) == (0, "")
    told = flat(out)
    assert "contrast 1 2.5 2 × 4 brightness 1 2.5 2 × 4" in told
    assert "rejected: dog/[red]broken.png: not a readable image" in told
    assert "Written: here/manifest.csv Written: here/contact-sheet-contrast.png" in told
    again = snellen.load_images(tmp_path / "here" / "manifest.csv")
    assert len(again) == 16
    assert set(again.column("seed")) == {"3"}
    methods = [Corruption(kind="contrast"), Corruption(kind="brightness")]
    where = tmp_path / "python"
    snellen.shift(snellen.load_images(photos), methods, severities=(1, 2.5), seed=3, out=where, allow_rejected=True)
    files = {path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*") if path.is_file()}
    assert files == {
        path.relative_to(tmp_path / "python") for path in (tmp_path / "python").rglob("*") if path.is_file()
    }
    for file in files:
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "python" / file).read_bytes()
    # A second time: the record as it is; another plan: an error.
    code, out, _ = run(*asked, "--severity", "1", "--severity", "2.5", "--seed", "3", "--json")
    assert code == 0
    assert out == (tmp_path / "here" / "shift.json").read_text()
    code, _, err = run(*asked, "--seed", "4")
    assert code == 2
    assert "holds another shifted data set (differs in: seed, severities)" in flat(err)


def test_archives_by_an_alias_and_a_limit(run, tmp_path):
    code, _, _ = run(
        "shift", "medmnist-c", "bundled:fashion-mnist", "--limit", "6", "--kind", "fog", "--format", "medmnist-c",
        "--out", tmp_path / "a" / "b", "--no-contact-sheet", "--json",
    )  # fmt: skip
    assert code == 0
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"fog.npz", "shift.json"}
    assert json.loads((tmp_path / "a" / "b" / "shift.json").read_text())["written"] == {"fog": 6}
    assert len(snellen.load_images(tmp_path / "a" / "b" / "fog.npz")) == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["corupt", "photos", "--out", "o"], "unknown shift 'corupt'; did you mean 'corruption'"),
        (["corruption", "--out", "o"], "Missing argument"),
        (["corruption", "photos", "--out", "o", "--kind", "fgo"], "with --kind fgo: unknown corruption of imagenet-c"),
        (["corruption", "photos", "--out", "o", "--benchmark", "imagenet"], "--benchmark 'imagenet': expected"),
        (["corruption", "photos", "--out", "o", "--benchmark", "blood"], "did you mean 'bloodmnist' or 'sized-blood'?"),
        (["corruption", "photos", "--out", "o", "--kind", "fog", "--kind", "fog"], "error: fog is given twice"),
        (
            ["corruption", "photos", "--out", "o", "--kind", "frost", "--textures", "none"],
            "cannot use its textures: none",
        ),
        (["corruption", "photos", "--out", "o", "--severity", "7"], "a severity lies in [0, 5], got 7.0"),
        (["corruption", "photos", "--out", "o", "--severity", "high"], "--severity"),
        (["corruption", "photos", "--out", "o", "--format", "tar"], "--format"),
        (["corruption", "photos", "--out", "o", "--batchsize", "3"], "No such option"),
        (["corruption", "phots", "--out", "o"], "did you mean 'photos'"),
        (["corruption", "photos", "--out", "photos"], "is not empty and holds no shifted data set"),
        (["corruption", "photos", "--out", "photos/cat/0.png"], "is a file"),
        (["corruption", "photos", "--out", "o", "--format", "medmnist-c"], "needs images of one size"),
    ],
)
def test_mistakes_exit_with_2_and_one_clear_message(run, photos, tmp_path, arguments, message):
    code, _, err = run("shift", *arguments)
    assert code == 2
    assert message in flat(err)
    assert "Traceback" not in err
    assert not (tmp_path / "o").exists()


def test_without_a_kind_all_that_the_figures_average_are_written_to_a_free_folder(run, photos, tmp_path):
    (tmp_path / "snellen-shift-1").mkdir()
    asked = ["shift", "corruption", photos, "--benchmark", "octmnist", "--severity", "1", "--no-contact-sheet", LOST]
    code, _, err = run(*asked)
    assert (code, err.strip()) == (0, "")
    record = json.loads((tmp_path / "snellen-shift-2" / "shift.json").read_text())
    assert set(record["written"]) == set(benchmark("octmnist").main)
    assert not any((tmp_path / "snellen-shift-1").iterdir())


@pytest.mark.usefixtures("unread_images")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--severity", "6"], "a severity lies in [0, 5], got 6.0"),
        (["--severity", "1", "--severity", "1"], "severity 1 is given twice"),
        (["--kind", "frost", "--textures", "none"], "cannot use its textures: none"),
        (["--kind", "fog", "--kind", "fog"], "fog is given twice"),
        (["--out", "photos"], "is not empty and holds no shifted data set"),
    ],
)
def test_what_needs_no_images_is_refused_before_they_are_read(run, photos, arguments, message):
    code, _, err = run("shift", "corruption", "photos", *arguments)
    assert code == 2
    assert message in flat(err)


def test_textures_that_cannot_be_read_do_not_block_the_folder(run, photos, tmp_path):
    asked = ["shift", "corruption", photos, "--kind", "frost", "--severity", "1", "--out", "here", LOST]
    assert run(*asked, "--textures", "none_such")[0] == 2
    assert not (tmp_path / "here").exists()
    assert run(*asked)[0] == 0


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(run, photos, monkeypatch, tmp_path):
    from snellen.runs.folder_writer import FolderPart

    real, left = FolderPart.add, iter(range(5))

    def interrupted(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(FolderPart, "add", interrupted)
        code, _, err = run("shift", "corruption", photos, LOST, "--kind", "contrast", "--out", "here")
    assert code == 130
    assert "here is incomplete, and the same command resumes where this stopped" in flat(err)
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"contrast", "unfinished"}
    assert run("shift", "corruption", photos, LOST, "--kind", "contrast", "--out", "here")[0] == 0
    assert not (tmp_path / "here" / "unfinished").exists()


def test_names_cannot_drive_the_terminal(run, photos):
    (photos / "dog" / "\x1b[2Jx.png").write_bytes(b"no image")
    code, out, err = run("shift", "corruption", photos, LOST, "--kind", "contrast", "--out", "he\x1b[2Jre")
    assert code == 0
    assert "\x1b[2J" not in out + err


def test_options_have_the_defaults_of_the_function_they_stand_for():
    from snellen.cli.shift import shift

    check_options(shift, snellen.shift)


def test_edits_of_objects_without_a_kind_are_all_that_can_be_made(run, tmp_path):
    """The second object is too long to be turned."""
    rows = ["path,id,label,mask"]
    for name, width in (("small", 8), ("long", 20)):
        mask = np.zeros((20, 20), np.uint8)
        mask[3:17, :width] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}-mask.png")
        Image.fromarray(mask // 2 + 50).save(tmp_path / f"{name}.png")
        rows.append(f"{name}.png,{name},{name},{name}-mask.png")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    data = tmp_path / "manifest.csv"
    code, out, err = run("shift", "attribute-editing", data, LOST, "--out", tmp_path / "out")
    assert code == 0, err
    groups = snellen.load_images(tmp_path / "out" / "manifest.csv").column("group")
    assert len(groups) == len(set(groups)) == 8, "one image in each"
    assert {"inver", "random_background", "size_5", "random_direction"} < set(groups)
    assert "rejected: long under random_direction: its object, scaled by 1" in flat(out)
    assert "An image that one edit cannot be made of is left out of all edits." in flat(out)
    code, out, err = run("shift", "attribute-editing", data, "--kind", "plain_background")
    assert code != 0
    assert "needs a generator: --generator bundled:scene-painter" in flat(err)
