"""Image variations: what diffusers' own pipeline gives from the same noise, and never a name of a class."""

import json
import shutil

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

import snellen
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.methods.generation.sample import Sample
from snellen.methods.synthesis.by_image import ByImage
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import Source
from snellen.models.diffusion.guidance import classifier_free
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.models.diffusion.smoke import write_variations_smoke_folder
from snellen.models.weights.quiet_loading import quiet_loading

pytestmark = pytest.mark.usefixtures("quietly")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_variations_smoke_folder(tmp_path_factory.mktemp("variations") / "folder")


def photos():
    """Two that are not square, and of other sizes."""
    draw = np.random.default_rng(0)
    smooth = [Image.fromarray(draw.integers(0, 256, (5, 7, 3), dtype=np.uint8)) for _ in range(2)]
    return [smooth[0].resize((60, 40), Image.Resampling.BICUBIC), smooth[1].resize((33, 50), Image.Resampling.BICUBIC)]


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_it_gives_what_the_pipeline_of_diffusers_gives(folder, scale):
    generator = load_generator(f"diffusers:{folder}")
    assert generator.takes == "images"
    noise = seeded([5, 9]).normal("x", generator.latent_shape())
    terms = [] if scale == 1 else [classifier_free(scale, generator.null(2))]
    sampler = Sampler(generator, steps=6, solver="ddim")
    state = sampler.run(sampler.start(seeded([1, 2]), noise=noise), generator.encode_images(photos()), guidance=terms)
    with torch.no_grad():
        mine = generator.decode(state.latents)
    with quiet_loading():
        pipe = diffusers.StableDiffusionImageVariationPipeline.from_pretrained(
            folder, local_files_only=True, low_cpu_mem_usage=False
        )
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = diffusers.DDIMScheduler.from_config({**pipe.scheduler.config, "clip_sample": False})
    given = pipe.feature_extractor(images=photos(), return_tensors="pt").pixel_values
    assert torch.allclose(generator.image.pixels(photos()), given, atol=0.06), "one grey level of 255 after scaling"
    own = generator.image.pixels(photos())
    expected = pipe(image=own, guidance_scale=scale, num_inference_steps=6, latents=noise, output_type="np").images
    expected = torch.from_numpy(expected).permute(0, 3, 1, 2)
    assert float((mine - expected).abs().max()) < 5e-5
    assert float(mine[0].sub(mine[1]).abs().max()) > 0.05


@pytest.mark.covers("6.8")
def test_a_twin_by_images_alone_reads_the_images_and_no_name(folder, tmp_path):
    pixels = np.stack([np.asarray(photos()[row % 2].resize((40, 40))) for row in range(3)])

    def drawn(names, out, shown=pixels):
        images = load_arrays(shown, [0, 1, 1], class_names=names, name="shots")
        method = ByImage(generator=f"diffusers:{folder}", named=False, steps=2, guidance_scale=3)
        made = snellen.synthesize(method, images, out=tmp_path / out, one_each=True, sheet=False)
        twin = snellen.load_images(made.manifest)
        assert made.plan["models"]["by_image"]["image_encoder"]
        return [twin.read(twin.ids.index(key)).tobytes() for key in sorted(twin.ids)]

    first = drawn(("star", "ring"), "first")
    assert first == drawn(("heart", "cross"), "second")
    assert first != drawn(("star", "ring"), "third", shown=pixels[:, ::-1].copy())


def test_what_it_refuses(folder, tmp_path):
    images = load_arrays(np.zeros((2, 16, 16, 3), np.uint8), [0, 1], class_names=("star", "ring"))
    reference = f"diffusers:{folder}"
    with pytest.raises(InputError, match="takes images alone, and never a name: add --no-named"):
        ByImage(generator=reference).rows(Source.of_images(images), None, 0)
    with pytest.raises(InputError, match="some requests bring none"):
        Sample(generator=reference, steps=1).generate([{"id": "a"}], rng=Randomness(0))
    with pytest.raises(InputError, match="vary a data set by images"):
        ByName(generator=reference, steps=1).generate([{"id": "a", "label": "star"}], rng=Randomness(0))
    generator = load_generator(reference)
    with pytest.raises(InputError, match="takes pictures"):
        generator.encode_images([])
    with pytest.raises(InputError, match="takes images, not prompts"):
        generator.encode_prompts(["a star"])
    with pytest.raises(InputError, match="takes prompts, not images"):
        load_generator("bundled:scene-diffusion").encode_images(photos())
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = other / "feature_extractor" / "preprocessor_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "image_std": [1.0, 0.0, 1.0]}))
    with pytest.raises(InputError, match="three means and deviations"):
        load_generator(f"diffusers:{other}")
