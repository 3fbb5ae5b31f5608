"""``snellen optotypes`` as a user meets it."""

import json
import subprocess
import sys

import pytest
from PIL import Image

import snellen
from snellen.data.worlds.planting.truth import true_labels


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Lines that do not wrap."""
    monkeypatch.setenv("COLUMNS", "200")


def test_show_draws_a_picture(run, tmp_path):
    code, out, err = run("optotypes", "show", "scenes", "--count", 8, "--shown", 4, "--columns", 2, "--size", 40)
    assert (code, err) == (0, "")
    assert out == "Written: optotypes-scenes.png (4 of 8 images of optotypes scenes)\n"
    with Image.open(tmp_path / "optotypes-scenes.png") as picture:
        assert picture.size[0] == 8 + 2 * 168


def test_show_writes_captions_on_request(run, tmp_path):
    plain = run("optotypes", "show", "scenes", "--count", 3, "--shown", 3, "--out", "new/plain.png")
    told = run("optotypes", "show", "scenes", "--count", 3, "--shown", 3, "--with-captions", "--out", "new/told.png")
    assert plain[0] == told[0] == 0
    with Image.open(tmp_path / "new/plain.png") as first, Image.open(tmp_path / "new/told.png") as second:
        assert second.height > first.height


def test_write_makes_a_set_that_is_read_again(run, tmp_path):
    code, out, _ = run(
        "optotypes", "write", "scenes", "--count", 4, "--shapes", "star", "--shapes", "ring", "--out", "new"
    )
    assert (code, out) == (0, "Written: new/manifest.csv (12 images and 12 masks)\n")
    images = snellen.load_images(tmp_path / "new" / "manifest.csv")
    assert images.class_names == ("ring", "star")
    assert sorted(set(images.column("split"))) == ["test", "train", "val"]


def test_write_plants_defects_in_order(run, tmp_path):
    planted = json.dumps({"method": "random_label_noise", "rate": 1.0})
    code, _, _ = run(
        "optotypes", "write", "scenes", "--count", 6, "--split", "train", "--out", "new",
        "--plant", "background-shortcut", "--plant", planted,
    )  # fmt: skip
    assert code == 0
    images = snellen.load_images(tmp_path / "new" / "manifest.csv")
    truths = [json.loads(text) for text in images.column("planted")]
    assert all(set(truth) == {"background_shortcut", "random_label_noise"} for truth in truths)
    assert all(
        images.class_names[label] != true
        for label, true in zip(images.labels, images.column("true_label"), strict=True)
    )


def test_defects_leave_test_images_alone_beside_others(run, tmp_path):
    noise = json.dumps({"method": "random_label_noise", "rate": 1.0})
    options = ("--count", 5, "--out", "new", "--plant", "background_shortcut", "--plant", noise)
    code, out, err = run("optotypes", "write", "scenes", *options)
    assert (code, out) == (0, "Written: new/manifest.csv (15 images and 15 masks)\n"), err
    images = snellen.load_images(tmp_path / "new" / "manifest.csv")
    wrong = true_labels(images) != images.labels
    assert [bool(one) for one in wrong] == [split != "test" for split in images.column("split")]
    told = [text is not None and "background_shortcut" in text for text in images.column("planted")]
    assert told == wrong.tolist()


def test_a_split_named_twice_is_written_once(run, tmp_path):
    code, _, _ = run("optotypes", "write", "scenes", "--count", 2, "--split", "val", "--split", "val", "--out", "new")
    assert code == 0
    assert len(snellen.load_images(tmp_path / "new" / "manifest.csv")) == 2


def test_a_folder_of_its_own_without_out(run, tmp_path):
    run("optotypes", "write", "textures", "--count", 2, "--size", 32, "--split", "test")
    assert (tmp_path / "snellen-optotypes-1" / "manifest.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "scene"], "unknown world 'scene'; did you mean 'scenes'"),
        (["show", "scenes", "--shapes", "blob"], "--shapes 'blob'"),
        (["show", "scenes", "--size", "32", "--size", "48"], "one world at a time"),
        (["show", "scenes", "--count", "3", "--plant", "rust"], "unknown defect 'rust'"),
        (["show", "scenes", "--count", "3", "--plant", '{"method": '], "--plant"),
        (["write", "scenes", "--count", "3", "--objects", "3", "--objects", "1"], "the smaller one first"),
        (["show", "textures", "--plant", "background_shortcut", "--split", "train"], "scene"),
        (["show", "scenes", "--count", "3", "--plant", "background_shortcut"], "test images only"),
    ],
)
def test_refused(run, arguments, message):
    code, out, err = run("optotypes", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_help_loads_nothing_that_computes():
    code = (
        "import sys\n"
        "from snellen.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*sorted({'torch', 'numpy', 'pyarrow', 'PIL'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, "optotypes", "show", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.split()) == (0, [])
    assert "slides" in done.stdout
