"""The command and the call: a model that is trained once, requests of every kind, files, and bad input."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import snellen
from snellen.cli.app import app
from snellen.core.errors import InputError, RunConflictError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.worlds.moving_shapes import MovingShapes
from snellen.generation import TextImageToVideo
from snellen.systems.text_image_to_video import films
from snellen.systems.text_image_to_video.video_model import SampleSettings, load_video_model
from snellen.training import loop
from tests.systems.text_image_to_video.small_videos import FRAMES, NETWORK, TRAINING, model

TEXT = "a red circle moves left slowly on black"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("video models") / "my model"
    model().save(path)
    return path


@pytest.fixture
def method(folder):
    return TextImageToVideo(model=str(folder), steps=2)


def picture(seed=0, size=(16, 16)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def pixels(images, row):
    return np.asarray(images.read(row)).astype(int)


@pytest.mark.covers("30.2")
@pytest.mark.covers("30.11")
def test_one_model_makes_videos_of_text_of_an_image_of_both_ends_and_of_the_first_frames(method):
    first, last = picture(0), picture(1)
    requests = [
        {"id": "text", "prompt": TEXT},
        {"id": "image", "prompt": TEXT, "image": first, "class": "star"},
        {"id": "ends", "frames": {"0": first, "3": last}},
        {"id": "prefix", "prompt": TEXT, "frames": {0: first, 1: last}},
    ]
    made = method.generate(requests, rng=Randomness(0))
    assert made.ids[:5] == ["text/000", "text/001", "text/002", "text/003", "image/000"]
    known = [json.loads(text) for text in made.column("attributes")]
    given = {(one["video"], one["frame"]) for one in known if one["given"]}
    assert given == {("image", 0), ("ends", 0), ("ends", 3), ("prefix", 0), ("prefix", 1)}
    for key, frame, source in (("image", 0, first), ("ends", 3, last), ("prefix", 1, last)):
        assert np.array_equal(pixels(made, made.ids.index(f"{key}/{frame:03d}")), np.asarray(source))
    assert made.class_names == ("star",)
    assert [made.labels[made.ids.index(f"{key}/002")] for key in ("text", "image")] == [-1, 0]
    assert made.column("unit_id")[:5] == ["text"] * 4 + ["image"]
    origin = json.loads(made.column("provenance")[4])
    assert (origin["prompt"], origin["source_id"], origin["guidance_scale"]) == (TEXT, "image", 1.5)


@pytest.mark.covers("30.12")
def test_seeds_repeat_bytes_and_the_network_stays_as_it_is(folder):
    found = load_video_model(folder)
    flags = [(name, weight.requires_grad) for name, weight in found.network.named_parameters()]
    identity = found.identity
    one = found.generate([TEXT, ""], [4, 5], settings=SampleSettings(steps=2))
    again = found.generate([TEXT, ""], [4, 5], settings=SampleSettings(steps=2))
    assert torch.equal(one, again)
    other = found.generate([TEXT], [5], settings=SampleSettings(steps=2))
    assert float((one[:1] - other).abs().mean()) > 1e-3, "another seed is another video"
    assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert found.identity == identity == model().identity
    assert [(name, weight.requires_grad) for name, weight in found.network.named_parameters()] == flags
    assert not found.network.training
    assert (folder / "weights.safetensors").stat().st_size < 4e6


@pytest.mark.covers("30.3")
@pytest.mark.covers("30.9")
def test_settings_of_guidance_change_what_comes_and_a_scale_of_one_is_the_same_for_all(folder):
    found, first = load_video_model(folder), torch.rand(1, FRAMES, 3, 16, 16)
    mask = torch.tensor([[True, False, False, False]])
    # A model of a few steps says the same with and without conditions: make it say something else.
    with torch.no_grad():
        for weight in found.network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    make = lambda **numbers: found.generate(  # noqa: E731
        [TEXT], [0], given=first, replaced=mask, settings=SampleSettings(**{"steps": 3, "norm": "none", **numbers})
    )
    plain = make(scale=1.0)
    for kind in ("joint", "text", "separate"):
        assert torch.equal(make(scale=1.0, guidance=kind), plain)
    made = [
        plain,
        make(scale=3.0),
        make(scale=3.0, guidance="text"),
        make(scale=3.0, guidance="separate", image_scale=1.5),
    ]
    made += [make(scale=3.0, norm="video"), make(scale=3.0, norm="frame"), make(scale=3.0, reference_frame="tracked")]
    for one in range(len(made)):
        assert torch.allclose(made[one][:, 0], first[:, 0], atol=1e-6)
        for other in range(one):
            assert not torch.equal(made[one], made[other]), (one, other)


def test_longer_videos_are_made_and_what_cannot_be_made_is_refused(folder):
    found = load_video_model(folder)
    assert found.generate([TEXT], [0], frames=6, settings=SampleSettings(steps=1)).shape == (1, 6, 3, 16, 16)
    with pytest.raises(InputError, match="nothing to generate"):
        found.generate(
            [""], [0], given=torch.zeros(1, FRAMES, 3, 16, 16), replaced=torch.ones(1, FRAMES, dtype=torch.bool)
        )
    with pytest.raises(InputError, match="given frames are"):
        found.generate([""], [0], given=torch.zeros(1, 2, 3, 16, 16))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"prompt": "a red hippo"}, "unknown word for this video model 'hippo'"),
        ({"prompt": " ".join(["red"] * 40)}, "has 40 words"),
        ({"prompt": 3}, "a prompt is a text; got 3"),
        ({"image": "nowhere.png"}, "frame 0 cannot be read"),
        ({"image": 7}, "frame 0 is the path of an image; got 7"),
        ({"frames": {"9": "a.png"}}, "gives frame 9, and the video has frames 0 to 3"),
        ({"frames": {"last": "a.png"}}, "a whole number from 0 on; got 'last'"),
        ({"frames": ["a.png"]}, "'frames' names images by the number of their frame"),
        ({"frames": {str(k): "a.png" for k in range(4)}}, "all 4 frames"),
        ({"image": "a.png", "frames": {"0": "a.png"}}, "first frame twice"),
        ({"image": picture()}, "an image is the path of a file"),
        ({"frames": {"0": picture()}}, "an image is the path of a file"),
        ({"seed": "x"}, "a seed is a whole number"),
    ],
)
def test_requests_that_make_no_sense_are_refused_before_anything_is_made(method, request_, message, tmp_path):
    with pytest.raises((InputError, UnknownNameError), match=re.escape(message)):
        snellen.generate(method, [{"prompt": TEXT}, request_], out=tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))


def test_images_of_a_set_become_first_frames_and_keep_class_split_and_unit(folder, tmp_path):
    images = load_arrays(
        np.random.default_rng(0).integers(0, 255, (2, 20, 30, 3), dtype=np.uint8),
        [0, 1],
        class_names=["circle", "cross"],
    )
    method = TextImageToVideo(model=str(folder), steps=1, template="a red {} moves left fast on grey")
    made = snellen.generate(method, images, out=tmp_path / "out")
    assert "4 given images" not in str(made.notes)
    assert "2 given images were cut and scaled to 16x16 pixels" in made.notes
    again = snellen.generate(method, images, out=tmp_path / "again")
    assert again.notes == made.notes, "nothing is counted on from one call to the next"
    found = snellen.load_images(made.manifest)
    assert found.class_names == ("circle", "cross")
    assert sorted(found.column("caption"))[0] == "a red circle moves left fast on grey"
    assert len(set(found.column("unit_id"))) == 2
    lacking = TextImageToVideo(model=str(folder), template="a {}")
    with pytest.raises(InputError, match=r"no class for the \{\}"):
        lacking.generate([{"id": "a"}], rng=Randomness(0))


def test_files_can_be_watched_and_the_same_call_gives_the_same_bytes(method, tmp_path):
    Image.fromarray(np.asarray(picture())).save(tmp_path / "first.png")
    requests = [{"prompt": TEXT, "image": str(tmp_path / "first.png")}, {"prompt": TEXT}]
    folders = [tmp_path / name for name in ("one", "other")]
    for out in folders:
        made = snellen.generate(method, requests, out=out)
        assert made.files == ("manifest.csv", "films.png", "sheet.png")
    files = sorted(path.relative_to(folders[0]) for path in folders[0].rglob("*") if path.is_file())
    assert len([path for path in files if path.suffix == ".webp"]) == 2
    for path in files:
        assert (folders[0] / path).read_bytes() == (folders[1] / path).read_bytes(), path
    with Image.open(next((folders[0] / "videos").glob("*.webp"))) as film:
        assert film.n_frames == FRAMES
        assert film.size == (160, 160)
    # Another picture under the same name is another plan.
    picture(9).save(tmp_path / "first.png")
    with pytest.raises(RunConflictError):
        snellen.generate(method, requests, out=folders[0])


def test_mp4_is_written_or_the_extra_is_named(method, tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    mp4 = method.model_copy(update={"mp4": True})
    snellen.generate(mp4, [TEXT], out=tmp_path / "out")
    (film,) = (tmp_path / "out" / "videos").glob("*.mp4")
    assert film.read_bytes()[4:8] == b"ftyp"

    def absent(module, extra, purpose):
        raise InputError(f"{purpose} needs {module}: snellen[{extra}]")

    monkeypatch.setattr(films, "import_extra", absent)
    with pytest.raises(InputError, match=r"snellen\[opencv\]"):
        films.write_mp4(tmp_path / "other.mp4", torch.zeros(2, 3, 16, 16, dtype=torch.uint8))


def test_a_missing_model_is_trained_once_and_a_stopped_training_goes_on(tmp_path, monkeypatch):
    reference = "optotypes:moving_shapes?count=8&frames=4#train"
    method = TextImageToVideo(
        model=str(tmp_path / "new" / "model"), videos=reference, network=NETWORK, training=TRAINING, steps=1
    )
    steps, plain = [0], loop._Training.step

    def dying(self, *arguments):
        steps[0] += 1
        if steps[0] == 5:
            raise KeyboardInterrupt
        plain(self, *arguments)

    monkeypatch.setattr(loop._Training, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        method.make_ready()
    assert not (tmp_path / "new" / "model").exists()
    method.make_ready()
    assert steps[0] == 5 + 5, "the stages that were done are not done again"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]
    trained = load_video_model(tmp_path / "new" / "model")
    assert trained.identity == model().identity
    method.make_ready()
    assert steps[0] == 10
    method.model_copy(update={"training": TRAINING.model_copy(update={"checkpoint_every": 7})}).make_ready()
    other = method.model_copy(update={"training": TRAINING.model_copy(update={"joint_steps": 9})})
    with pytest.raises(InputError, match=r"was trained with training .* name another folder"):
        other.make_ready()
    with pytest.raises(InputError, match="was trained with width 16, not 32"):
        method.model_copy(update={"network": NETWORK.model_copy(update={"width": 32})}).make_ready()


def test_what_is_missing_is_named(tmp_path):
    assert "--model FOLDER" in TextImageToVideo().missing()
    assert "--videos REFERENCE" in TextImageToVideo(model=str(tmp_path / "none")).missing()
    (tmp_path / "else").mkdir()
    with pytest.raises(InputError, match="holds no video model"):
        TextImageToVideo(model=str(tmp_path / "else"), videos="optotypes:moving_shapes").make_ready()
    (tmp_path / "shots" / "star").mkdir(parents=True)
    picture().save(tmp_path / "shots" / "star" / "a.png")
    with pytest.raises(InputError, match="does not say which images belong to one video"):
        TextImageToVideo(model=str(tmp_path / "m"), videos=str(tmp_path / "shots")).make_ready()
    with pytest.raises(InputError, match="test"):
        TextImageToVideo(model=str(tmp_path / "m"), videos="optotypes:moving_shapes?count=2#test").make_ready()


def test_the_command(folder, tmp_path):
    prompts = tmp_path / "some prompts.txt"
    prompts.write_text(f"{TEXT}\n", encoding="utf-8")
    command = ["generate", "stiv", str(prompts), "--model", str(folder), "--steps", "2", "--out", str(tmp_path / "out")]
    run = CliRunner().invoke(app, command)
    assert run.exit_code == 0, run.output
    assert "films.png" in run.output
    assert "videos are in the folder 'videos'" in run.output
    refused = CliRunner().invoke(app, [*command[:-1], str(tmp_path / "more"), "--scale", "-1"])
    assert refused.exit_code != 0
    assert "--scale" in str(refused.exception)


def test_a_world_by_reference_gives_videos():
    images = MovingShapes(count=2, frames=2).images()
    assert len(snellen.load_images("optotypes:moving_shapes?count=2&frames=2")) == len(images)
