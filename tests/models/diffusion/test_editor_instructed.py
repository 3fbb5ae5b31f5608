"""Edits by instruction: the pipeline of diffusers itself, with the published scheduler and scales."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.models.diffusion.editor_instructed import PIPELINE, InstructedEditor, load_instructed_editor
from snellen.models.diffusion.smoke import write_instructed_smoke_folder, write_smoke_folder
from snellen.models.weights.quiet_loading import quiet_loading

diffusers = pytest.importorskip("diffusers", reason="edits by instruction need the extra diffusion")
pytestmark = pytest.mark.usefixtures("quietly")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_instructed_smoke_folder(tmp_path_factory.mktemp("smoke") / "instructed")


@pytest.fixture(scope="module")
def editor(folder):
    return load_instructed_editor(f"diffusers:{folder}", steps=2)


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_it_is_the_pipeline_with_the_published_scheduler_and_scales(editor, folder, images):
    assert type(editor.pipeline) is getattr(diffusers, PIPELINE)
    assert type(editor.pipeline.scheduler) is diffusers.EulerAncestralDiscreteScheduler
    published = InstructedEditor("x", None)
    assert (published.steps, published.guidance_scale, published.image_guidance_scale) == (100, 7.5, 1.5)
    with quiet_loading():
        pipeline = getattr(diffusers, PIPELINE).from_pretrained(
            folder, local_files_only=True, safety_checker=None, low_cpu_mem_usage=False
        )
    pipeline.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    words = ["turn the background of grass into sand", "a star"]
    mine = editor.edit(images, words, [1, 2])
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    # Library-default scales: none are given here.
    theirs = pipeline(prompt=words, image=images, num_inference_steps=2, generator=generators, output_type="pt").images
    assert mine.shape == images.shape
    assert float((mine - theirs).abs().max()) < 1e-5


def test_an_edit_follows_image_instruction_and_seed(editor, images):
    first = editor.edit(images[:1], ["a star"], [1])
    assert torch.equal(editor.edit(images[:1], ["a star"], [1]), first)
    for image, words, seed in ((images[1:], "a star", 1), (images[:1], "a dog", 1), (images[:1], "a star", 2)):
        assert not torch.allclose(editor.edit(image, [words], [seed]), first, atol=1e-3)


def test_what_cannot_be_edited_says_why(editor, images, tmp_path):
    with pytest.raises(InputError, match="sides are multiples of 8"):
        editor.edit(images[:, :, :30], ["a", "b"], [0, 1])
    with pytest.raises(InputError, match="shorten it"):
        editor.edit(images[:1], ["a star " * 60], [0])
    with pytest.raises(InputError, match="expected diffusers:FOLDER"):
        load_instructed_editor("hf:x")
    plain = write_smoke_folder("stable-diffusion-1.5", tmp_path / "plain")
    with pytest.raises(InputError, match=f"is of StableDiffusionPipeline; expected {PIPELINE}"):
        load_instructed_editor(f"diffusers:{plain}")
