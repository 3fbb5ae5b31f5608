"""snellen generate: files, messages and options."""

import json

import pytest
from typer.testing import CliRunner

from snellen.cli.app import app
from snellen.core.errors import InputError, UnknownNameError
from snellen.data.references import load_images


def run(*arguments):
    done = CliRunner().invoke(app, ["generate", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


SCENES = "optotypes:scenes?count=3&size=32"


def test_captions_are_written_with_a_sheet(tmp_path):
    out = tmp_path / "said"
    done = run("caption", SCENES, "--scale", "4", "--max-tokens", "6", "--out", out)
    assert done.exit_code == 0, done.output
    assert "3 images" in done.output
    assert "a scale above 3" in done.output
    made = load_images(out / "manifest.csv")
    assert all(made.column("caption"))
    assert {json.loads(one)["guidance_scale"] for one in made.column("provenance")} == {4.0}
    assert (out / "sheet.png").is_file()
    told = run("guided-captions", SCENES, "--scale", "4", "--max-tokens", "6", "--out", out, "--json")
    assert json.loads(told.output)["written"] == 3


def test_what_cannot_run_is_refused_before_images_are_read(tmp_path):
    with pytest.raises(InputError, match="name one"):
        run("caption", "no-such-images", "--rule", "language_model", "--out", tmp_path / "out")
    with pytest.raises(InputError, match="one setting at a time"):
        run("caption", SCENES, "--scale", "1", "--scale", "2", "--out", tmp_path / "out")
    with pytest.raises(UnknownNameError, match="did you mean 'caption'"):
        run("captoin", SCENES)
    assert not (tmp_path / "out").exists()


def test_prompts_are_no_images(tmp_path):
    (tmp_path / "prompts.txt").write_text("a star\n", encoding="utf-8")
    with pytest.raises(InputError, match="name images, not a list of prompts"):
        run("caption", tmp_path / "prompts.txt", "--out", tmp_path / "out")


def test_help_shows_the_fields_of_the_method():
    done = run("caption", "--help")
    assert "--scale" in done.output
    assert "--language-model" in done.output


def test_a_number_of_images_of_each_class_is_requested_in_a_word(tmp_path):
    out = tmp_path / "made"
    options = ("--generator", "bundled:fashion-diffusion", "--guidance-scale", "2", "--steps", "2", "--out", out)
    done = run("sample", "classes:?count=1", *options)
    assert done.exit_code == 0, done.output
    made = load_images(out / "manifest.csv")
    assert len(made) == 10
    assert made.ids[8] == "Bag-0001"
    assert {json.loads(one)["guidance_scale"] for one in made.column("provenance")} == {2.0}
    assert (out / "sheet.png").is_file()
    assert not (out / "grid.png").exists(), "one image of each class: the sheet shows as much"
    with pytest.raises(InputError, match="did you mean 'Bag'"):
        run("sample", "classes:Bagg", "--generator", "bundled:fashion-diffusion", "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()
