"""The method ``erase``: prompts in, images with verdicts out; autoencoders in a folder; what it refuses."""

import json
import shutil

import numpy as np
import pytest
import torch

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError
from snellen.core.index import entry
from snellen.core.randomness import Randomness
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.sampler import Sampler
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.systems.concept_erasing.fitting import AutoencoderFit
from snellen.systems.concept_erasing.method import Erase, prepared, prompts_of

COLOURS, SHAPES = ("red", "green", "blue"), ("star", "ring", "heart", "box")
FIT = AutoencoderFit(latents=128, active=6, steps=60, batch_size=128, dead_after=5000)
REQUESTS = [
    {"id": "a", "prompt": "a red star", "seed": 1},
    {"id": "b", "prompt": "a green ring", "seed": 2},
    {"id": "c", "caption": "a blue box"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A smoke pipeline of one tower and one of two, and files of prompts."""
    made = tmp_path_factory.mktemp("erase")
    for name in ("stable-diffusion-1.5", "stable-diffusion-xl"):
        write_smoke_folder(name, made / name)
    prompts = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    (made / "all.txt").write_text("\n\n".join(prompts) + "\n", encoding="utf-8")
    (made / "keep.txt").write_text("\n".join(one for one in prompts if "red" not in one), encoding="utf-8")
    return made


def method(folder, name="stable-diffusion-1.5", **changes):
    given = {
        "generator": f"diffusers:{folder / name}",
        "autoencoder": str(folder / f"sae-{name}"),
        "fit_on": str(folder / "all.txt"),
        "erase": ("red",),
        "templates": tuple(f"a {{}} {shape}" for shape in SHAPES),
        "keep": str(folder / "keep.txt"),
        "selected": 24,
        "fit": FIT,
        "steps": 2,
        "guidance_scale": 2.0,
    }
    return Erase(**{**given, **changes})


@pytest.mark.parametrize(("name", "towers"), [("stable-diffusion-1.5", 1), ("stable-diffusion-xl", 2)])
def test_images_come_with_verdicts_and_provenance(folder, name, towers):
    images = method(folder, name).generate(REQUESTS, rng=Randomness(0))
    assert images.ids == ["a", "b", "c"]
    assert images.column("caption") == ["a red star", "a green ring", "a blue box"]
    told = [json.loads(str(row)) for row in images.column("attributes")]
    assert [row["text edited"] for row in told] == [True, False, False]
    assert all(len(row["scores"]) == towers for row in told)
    origin = json.loads(str(images.column("provenance")[0]))
    assert (origin["prompt"], origin["seed"]) == ("a red star", 1)
    assert len(list((folder / f"sae-{name}").iterdir())) == towers


@pytest.mark.covers("34.5")
def test_a_prompt_that_passes_gives_the_image_of_the_plain_model(folder):
    own = method(folder)
    images = own.generate(REQUESTS[:2], rng=Randomness(0))
    ready = prepared(own)
    plain = generate(
        Sampler(ready.generator, steps=2), [1, 2], prompts=["a red star", "a green ring"], guidance_scale=2.0
    ).bytes()
    found = [torch.from_numpy(np.array(images.read(row))) for row in range(2)]
    wanted = [image.permute(1, 2, 0) for image in plain]
    assert torch.equal(found[1], wanted[1])
    assert not torch.equal(found[0], wanted[0])


def test_seeds_follow_from_run_and_id(folder):
    own = method(folder)
    one, again, other = (
        own.generate([{"id": "x", "prompt": "a red star"}], rng=Randomness(seed)) for seed in (0, 0, 1)
    )
    assert one.column("provenance") == again.column("provenance") != other.column("provenance")
    assert one.content_hash(0) == again.content_hash(0)


@pytest.mark.covers("34.8")
def test_another_concept_uses_the_same_autoencoder(folder):
    first = prepared(method(folder))
    weights = (folder / "sae-stable-diffusion-1.5" / "text_encoder" / "weights.safetensors").read_bytes()
    (folder / "blue.txt").write_text("\n".join(f"a blue {shape}" for shape in SHAPES), encoding="utf-8")
    both = method(folder, erase=("red", "green"), keep=str(folder / "blue.txt"), fit_on="")
    told = [
        json.loads(str(row))["text edited"] for row in both.generate(REQUESTS, rng=Randomness(0)).column("attributes")
    ]
    assert told == [True, True, False]
    assert (folder / "sae-stable-diffusion-1.5" / "text_encoder" / "weights.safetensors").read_bytes() == weights
    assert first.erasers[0].threshold is not None


def test_always_edits_every_prompt(folder):
    images = method(folder, always=True).generate(REQUESTS, rng=Randomness(0))
    assert all(json.loads(str(row))["text edited"] for row in images.column("attributes"))


def test_the_autoencoder_says_what_it_is(folder):
    own = method(folder)
    prepared(own)
    card = Artifact.load(folder / "sae-stable-diffusion-1.5" / "text_encoder").card
    assert card.kind == "sae"
    assert card.lineage.recipe["latents"] == 128
    assert card.lineage.parent == card.architecture["text_encoder"]
    assert card.metrics["explained_variance"] > 0.5
    told = card.architecture["top_prompts"]
    assert told
    assert all(prompt in prompts_of(str(folder / "all.txt")) for prompts in told.values() for prompt in prompts)
    assert set(own.identities()) >= {"denoiser", "text_encoder", "autoencoder 0"}


def test_what_decides_the_images_is_in_the_identities(folder, tmp_path):
    keep = tmp_path / "keep.txt"
    keep.write_text((folder / "keep.txt").read_text(encoding="utf-8"), encoding="utf-8")
    own = method(folder, keep=str(keep))
    before = own.identities()
    keep.write_text("a green star\na green ring", encoding="utf-8")
    after = own.identities()
    assert {name for name in before if before[name] != after[name]} >= {"kept prompts", "features 0", "threshold 0"}
    assert prepared(own).keep == ("a green star", "a green ring")


def test_other_numbers_than_the_autoencoders_are_refused(folder):
    assert prepared(method(folder)).erasers
    assert prepared(method(folder, fit=None)).erasers
    with pytest.raises(InputError, match="latents 128, not 64"):
        prepared(method(folder, fit=FIT.model_copy(update={"latents": 64})))


@pytest.mark.covers("34.7")
def test_flagged_prompts_to_keep_are_reported(folder):
    own = method(folder, margin=1e-9)
    ready = prepared(own)
    eraser = ready.erasers[0]
    share = float((eraser.score_prompts(ready.keep) >= eraser.threshold).double().mean())
    assert ready.kept_flagged == share
    assert f"{share:.1%} of the 8 prompts to keep" in own.notes()[1]
    assert own.identities()["kept prompts flagged"] == f"{share:.4f}"
    assert ("more than a tenth" in own.notes()[1]) == (share > 0.1)
    assert len(method(folder, always=True).notes()) == 1
    with pytest.raises(InputError, match="margin"):
        method(folder, margin=1.5)


@pytest.mark.covers("34.7")
@pytest.mark.parametrize("name", ["stable-diffusion-1.5", "stable-diffusion-xl"])
def test_how_well_targets_are_distinguished_from_kept_prompts_is_recorded(folder, name):
    own = method(folder, name, margin=0.5)
    ready = prepared(own)
    red = [f"a red {shape}" for shape in SHAPES]
    least = [eraser.score_prompts(red).min() for eraser in ready.erasers]
    shows, kept = (
        torch.stack(
            [eraser.score_prompts(group) / lowest for eraser, lowest in zip(ready.erasers, least, strict=True)]
        ).amax(0)
        for group in (red, list(ready.keep))
    )
    above = (shows[:, None] > kept[None]).double() + 0.5 * (shows[:, None] == kept[None]).double()
    assert ready.kept_auroc == pytest.approx(float(above.mean()))
    assert f"area under the ROC curve of {ready.kept_auroc:.3f}" in own.notes()[0]
    assert own.identities()["AUROC of target prompts against kept prompts"] == f"{ready.kept_auroc:.4f}"
    # It judges the ranking alone: neither the margin nor the threshold changes it.
    assert prepared(method(folder, name, always=True)).kept_auroc == pytest.approx(ready.kept_auroc)


def test_other_prompts_than_the_autoencoders_are_refused(folder, tmp_path):
    assert prepared(method(folder)).erasers
    other = tmp_path / "other.txt"
    other.write_text("a red star\na green ring", encoding="utf-8")
    with pytest.raises(InputError, match="fitted to other prompts than those of --fit-on, of which there are 2"):
        prepared(method(folder, fit_on=str(other)))
    assert prepared(method(folder, fit_on="")).erasers
    copied = tmp_path / "sae"
    shutil.copytree(folder / "sae-stable-diffusion-1.5", copied)
    card = copied / "text_encoder" / "card.json"
    told = json.loads(card.read_text(encoding="utf-8"))
    del told["lineage"]["recipe"]["prompts"]
    card.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(InputError, match="does not tell its prompts"):
        prepared(method(folder, autoencoder=str(copied)))
    assert prepared(method(folder, autoencoder=str(copied), fit_on="")).erasers


def test_a_changed_file_of_prompts_is_seen_again(folder, tmp_path):
    seen = tmp_path / "seen.txt"
    seen.write_text((folder / "all.txt").read_text(encoding="utf-8"), encoding="utf-8")
    own = method(folder, fit_on=str(seen), autoencoder=str(tmp_path / "sae"))
    assert prepared(own).erasers
    assert prepared(own).erasers
    seen.write_text("a red star\na green ring", encoding="utf-8")
    with pytest.raises(InputError, match="fitted to other prompts"):
        prepared(own)


def test_an_autoencoder_of_another_encoder_is_refused(folder, tmp_path):
    prepared(method(folder))
    shutil.copytree(folder / "sae-stable-diffusion-1.5", tmp_path / "sae")
    write_smoke_folder("stable-diffusion-1.5", tmp_path / "other", seed=5)
    with pytest.raises(InputError, match="fitted to layer 1 of another"):
        prepared(method(folder, generator=f"diffusers:{tmp_path / 'other'}", autoencoder=str(tmp_path / "sae")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"erase": ()}, "concepts to erase"),
        ({"keep": ""}, "prompts to keep"),
        ({"autoencoder": ""}, "folder of the autoencoders"),
        ({"templates": ("no place",)}, "once for the concept"),
        ({"autoencoder": "nowhere", "fit_on": ""}, "is not there; --fit-on"),
        ({"keep": "nothing.txt"}, "cannot be read"),
        ({"generator": "bundled:fashion-diffusion"}, "no text to edit"),
    ],
)
def test_what_is_not_given_is_reported(folder, changes, said):
    with pytest.raises(InputError, match=said):
        prepared(method(folder, **changes))


def test_requests_need_prompts(folder):
    with pytest.raises(InputError, match="request 'x' has no text 'prompt'"):
        method(folder).generate([{"id": "x"}], rng=Randomness(0))
    (folder / "empty.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(InputError, match="holds no prompts"):
        prompts_of(str(folder / "empty.txt"))


def test_captions_of_images_are_prompts():
    assert len(prompts_of("optotypes:scenes?count=3")) == 3


@pytest.mark.parametrize("name", ["erase", "itd", "interpret-then-deactivate"])
def test_it_is_in_the_index(name):
    assert entry("generation", name).load() is Erase
