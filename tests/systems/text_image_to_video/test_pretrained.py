"""A public video model by reference: tiny instances of its exact classes, beside the pipeline of diffusers itself."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import snellen
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.text_image_to_video.check import Motion
from snellen.systems.text_image_to_video.flow import shifted
from snellen.systems.text_image_to_video.pretrained import load_pretrained_video_model
from snellen.systems.text_image_to_video.video_model import SampleSettings
from tests.systems.text_image_to_video.wan_folder import CHANNELS, FRAMES, SIDE, pipeline, write_wan

pytest.importorskip("diffusers")

STEPS, SHIFT = 3, 5.0
SETTINGS = SampleSettings(steps=STEPS, shift=SHIFT, guidance="text", scale=3.0, norm="none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_wan(tmp_path_factory.mktemp("wan") / "a model")


@pytest.fixture(scope="module")
def model(folder):
    return load_pretrained_video_model(f"diffusers:{folder}?side={SIDE}&frames={FRAMES}")


def first_frame(seed=0, count=1):
    given = torch.zeros(count, FRAMES, 3, SIDE, SIDE)
    given[:, 0] = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    replaced = torch.zeros(count, FRAMES, dtype=torch.bool)
    replaced[:, 0] = True
    return given, replaced


class Steps:
    """A schedule of our times for the pipeline of diffusers: Euler, from noise to the video."""

    order, config = 1, SimpleNamespace(num_train_timesteps=1000)

    def set_timesteps(self, count, device=None):
        self.times = shifted(torch.linspace(0, 1, count + 1), SHIFT)
        self.timesteps = 1000 * (1 - self.times[:-1])
        self.place = 0

    def step(self, velocity, _time, latents, return_dict=False):
        length = self.times[self.place + 1] - self.times[self.place]
        self.place += 1
        return (latents - length * velocity,)


def test_text_guidance_from_a_first_frame_is_what_the_published_pipeline_does(model):
    given, replaced = first_frame()
    made = model.generate(["a star"], [7], given=given, replaced=replaced, settings=SETTINGS)
    noise = Randomness(7).bind(1).normal("video", (2, CHANNELS, SIDE // 8, SIDE // 8))
    whole = pipeline()
    own, whole.scheduler = whole.scheduler, Steps()
    try:
        whole.set_progress_bar_config(disable=True)
        wanted = whole(
            image=given[:, 0], prompt="a star", negative_prompt="", height=SIDE, width=SIDE,
            num_frames=FRAMES, num_inference_steps=STEPS, guidance_scale=3.0, latents=noise.transpose(1, 2),
            output_type="pt", max_sequence_length=512,
        ).frames  # fmt: skip
    finally:
        whole.scheduler = own
    assert made.shape == wanted.shape == (1, FRAMES, 3, SIDE, SIDE)
    assert float(made.std()) > 0.01, "the autoencoder shows something"
    assert torch.allclose(made, wanted, atol=2e-4)


def test_joint_guidance_drops_the_frame_too_and_a_scale_of_1_is_no_guidance(model):
    given, replaced = first_frame()
    shared = {"given": given, "replaced": replaced}
    made = {
        (kind, scale): model.generate(
            ["a star"], [7], **shared, settings=SETTINGS.model_copy(update={"guidance": kind, "scale": scale})
        )
        for kind in ("text", "joint")
        for scale in (1.0, 3.0)
    }
    assert torch.equal(made["text", 1.0], made["joint", 1.0])
    assert not torch.allclose(made["text", 3.0], made["joint", 3.0], atol=1e-3)


def test_the_given_frame_enters_clean_at_time_0_and_only_where_it_is_not_dropped(model, monkeypatch):
    given, replaced = first_frame()
    seen = []
    real = type(model.network).forward

    def watched(self, latents, moments, states, return_dict):
        seen.append((latents.clone(), moments.clone(), states.clone()))
        return real(self, latents, moments, states, return_dict=return_dict)

    monkeypatch.setattr(type(model.network), "forward", watched)
    model.generate(
        ["a star"], [7], given=given, replaced=replaced, settings=SETTINGS.model_copy(update={"guidance": "joint"})
    )
    frames, spots = 2, (SIDE // 8 // 2) ** 2
    assert len(seen) == STEPS
    first = seen[0][0][0, :, 0]
    for latents, moments, states in seen:
        assert torch.equal(latents[0, :, 0], first), "clean at every step"
        by_frame = moments.view(2, frames, spots)
        assert (by_frame[0, 0] == 0).all()
        assert (by_frame[0, 1] == by_frame[1, 1]).all()
        assert (by_frame[1, 0] == by_frame[1, 1]).all(), "a dropped frame is as noisy as the others"
        assert not torch.equal(states[0], states[1]), "the reference pass reads no text"
    assert seen[0][1].max() == 1000


def test_a_video_does_not_depend_on_its_neighbours_and_needs_no_frame(model):
    texts, settings = ["a star", "a red ring"], SETTINGS
    both = model.generate(texts, [1, 2], settings=settings)
    alone = model.generate(texts[1:], [2], settings=settings)
    assert torch.allclose(both[1:], alone, atol=1e-4)
    given, replaced = first_frame(count=2)
    replaced[0] = False
    mixed = model.generate(texts, [1, 2], given=given, replaced=replaced, settings=settings)
    assert torch.allclose(mixed[:1], both[:1], atol=1e-4), "no frame is given: what lies in its place is not read"


def test_a_prefix_of_whole_latents_is_given_too(model):
    given = torch.rand(1, 9, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    replaced = torch.arange(9)[None] < 5
    made = model.generate(["a star"], [3], given=given, replaced=replaced, settings=SETTINGS, frames=9)
    pixels = given[:, :5].transpose(1, 2) * 2 - 1
    with torch.no_grad():
        wanted = model.vae.decode(model.vae.encode(pixels).latent_dist.mode()).sample
    assert torch.allclose(made[:, :5], ((wanted.transpose(1, 2) + 1) / 2).clamp(0, 1), atol=1e-4)


def test_wrong_numbers_of_frames_are_refused(model):
    given, replaced = first_frame()
    with pytest.raises(InputError, match="5, 9, 13 … frames; got 6"):
        model.generate(["a star"], [1], frames=6)
    replaced[0, 2] = True
    with pytest.raises(InputError, match=r"gives the frames \[0, 2\].*give frame 0, or frames 0 to 4"):
        model.generate(["a star"], [1], given=given, replaced=replaced)
    with pytest.raises(InputError, match="all of its"):
        model.generate(["a star"], [1], given=given, replaced=torch.ones(1, FRAMES, dtype=torch.bool))
    with pytest.raises(InputError, match="the text encoder reads 512"):
        model.generate(["star " * 600], [1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expand_timesteps": False}, "not trained with frames in place"),
        ({"transformer": ["diffusers", "CogVideoXTransformer3DModel"]}, "expected one of WanTransformer3DModel"),
        ({"text_encoder": [None, None]}, "names no text_encoder"),
    ],
)
def test_other_folders_are_refused(folder, tmp_path, change, message):
    index = json.loads((folder / "model_index.json").read_text())
    for path in folder.iterdir():
        if path.is_dir():
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "model_index.json").write_text(json.dumps({**index, **change}))
    with pytest.raises(InputError, match=message):
        load_pretrained_video_model(f"diffusers:{tmp_path}")


def test_wrong_references_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"no model_index\.json"):
        load_pretrained_video_model(f"diffusers:{tmp_path}")
    with pytest.raises(InputError, match="a multiple of 16; got 40"):
        load_pretrained_video_model(f"diffusers:{folder}?side=40")
    with pytest.raises(InputError, match=r"expected \?side=PIXELS&frames=NUMBER; got size=3"):
        load_pretrained_video_model(f"diffusers:{folder}?size=3")


def test_the_command_makes_videos_of_it(folder, tmp_path):
    Image.fromarray(np.full((40, 50, 3), 120, dtype=np.uint8)).save(tmp_path / "first frame.png")
    method = {
        "method": "text_image_to_video", "model": f"diffusers:{folder}?side={SIDE}&frames={FRAMES}", "steps": 2,
    }  # fmt: skip
    made = snellen.generate(
        method, [{"id": "one", "prompt": "a star", "image": str(tmp_path / "first frame.png")}], out=tmp_path / "made"
    )
    frames = snellen.load_images(str(made.manifest))
    assert len(frames) == FRAMES
    assert {one["given"] for one in map(json.loads, frames.column("attributes"))} == {True, False}
    assert len(list((tmp_path / "made" / "videos").glob("one-*.webp"))) == 1
    with pytest.raises(InputError, match="is trained already, so that --videos is of no use"):
        snellen.generate({**method, "videos": "optotypes:scenes"}, [{"id": "one", "prompt": "a"}], out=tmp_path / "no")


def test_an_audit_moves_its_images_with_it(folder):
    motion = Motion(
        model=f"diffusers:{folder}?side={SIDE}&frames={FRAMES}", images=20, sampling=SampleSettings(steps=1)
    )
    report = snellen.audit(
        "bundled:fashion-cnn", "bundled:fashion-mnist", limit=40, checks=[motion], out=None, progress=None
    )
    assert "motion.lost" in report.metrics
    assert "figures are of" in " ".join(report.notes)


def test_the_published_shape_fits_what_is_called():
    """One block of Wan 2.2 TI2V 5B's true width, on the shapes of a video of 32 × 32 pixels."""
    import diffusers

    network = diffusers.WanTransformer3DModel(
        num_attention_heads=24, attention_head_dim=128, in_channels=48, out_channels=48, ffn_dim=14336, num_layers=1
    )
    with torch.no_grad():
        found = network(
            torch.zeros(1, 48, 2, 2, 2), torch.tensor([[0.0, 500.0]]), torch.zeros(1, 512, 4096), return_dict=False
        )[0]
    assert found.shape == (1, 48, 2, 2, 2)
