"""open_clip: the numbers of the library, one model in two libraries, and what is refused."""

import json
import shutil
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from snellen.core.errors import InputError, MissingExtraError, UnknownNameError, UnsupportedError
from snellen.models.random_folders import Activation, write_random_clip
from snellen.models.references import load_two_tower
from snellen.models.weights.quiet_loading import quiet_loading


def library(folder: Path) -> tuple[torch.nn.Module, object, object]:
    with quiet_loading():
        model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
        return model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{folder}")


def changed(folder: Path, target: Path, part: str, **fields: object) -> Path:
    """A copy of a folder with other fields in its configuration."""
    shutil.copytree(folder, target)
    path = target / "open_clip_config.json"
    config = json.loads(path.read_text())
    (config if part in config else config["model_cfg"])[part].update(fields)
    path.write_text(json.dumps(config))
    return target


def converted(folder: Path, target: Path, *, activation: Activation) -> Path:
    """The same model as a folder of open_clip: its CLIP under the names, and in the shapes, that open_clip uses."""
    config = json.loads((folder / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    theirs = load_file(folder / "model.safetensors")
    ours: dict[str, torch.Tensor] = {}
    for old, new in (("text_model", ""), ("vision_model", "visual.")):
        for block in range(2):
            start, end = f"{old}.encoder.layers.{block}", f"{new}transformer.resblocks.{block}"
            for kind in ("weight", "bias"):
                joined = [theirs[f"{start}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
                ours[f"{end}.attn.in_proj_{kind}"] = torch.cat(joined)
                ours[f"{end}.attn.out_proj.{kind}"] = theirs[f"{start}.self_attn.out_proj.{kind}"]
                for their_part, our_part in (
                    ("layer_norm1", "ln_1"),
                    ("layer_norm2", "ln_2"),
                    ("mlp.fc1", "mlp.c_fc"),
                    ("mlp.fc2", "mlp.c_proj"),
                ):
                    ours[f"{end}.{our_part}.{kind}"] = theirs[f"{start}.{their_part}.{kind}"]
    for kind in ("weight", "bias"):
        ours[f"ln_final.{kind}"] = theirs[f"text_model.final_layer_norm.{kind}"]
        ours[f"visual.ln_pre.{kind}"] = theirs[f"vision_model.pre_layrnorm.{kind}"]
        ours[f"visual.ln_post.{kind}"] = theirs[f"vision_model.post_layernorm.{kind}"]
    ours["token_embedding.weight"] = theirs["text_model.embeddings.token_embedding.weight"]
    ours["positional_embedding"] = theirs["text_model.embeddings.position_embedding.weight"]
    ours["text_projection"] = theirs["text_projection.weight"].T.contiguous()
    ours["visual.proj"] = theirs["visual_projection.weight"].T.contiguous()
    ours["visual.class_embedding"] = theirs["vision_model.embeddings.class_embedding"]
    ours["visual.conv1.weight"] = theirs["vision_model.embeddings.patch_embedding.weight"]
    ours["visual.positional_embedding"] = theirs["vision_model.embeddings.position_embedding.weight"]
    ours["logit_scale"] = theirs["logit_scale"]
    target.mkdir()
    save_file(ours, target / "open_clip_model.safetensors")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / file, target)
    width, heads = vision["hidden_size"], vision["num_attention_heads"]
    model = {
        "embed_dim": config["projection_dim"],
        "quick_gelu": activation == "quick_gelu",
        "vision_cfg": {
            "image_size": vision["image_size"],
            "layers": 2,
            "width": width,
            "head_width": width // heads,
            "patch_size": vision["patch_size"],
            "mlp_ratio": vision["intermediate_size"] / width,
        },
        "text_cfg": {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "width": text["hidden_size"],
            "heads": text["num_attention_heads"],
            "layers": 2,
            "mlp_ratio": text["intermediate_size"] / text["hidden_size"],
            "hf_tokenizer_name": "tokenizer.json",
        },
    }
    (target / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    return target


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_two_libraries_agree_about_one_model(activation: Activation, tmp_path: Path, texts: list[str]) -> None:
    folder = write_random_clip(tmp_path / "hf", activation=activation)
    one = load_two_tower(f"hf:{folder}")
    two = load_two_tower(f"openclip:{converted(folder, tmp_path / 'openclip', activation=activation)}")
    other: Activation = "gelu" if activation == "quick_gelu" else "quick_gelu"
    wrong = load_two_tower(f"openclip:{converted(folder, tmp_path / 'wrong', activation=other)}")
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(one.encode_images(images), two.encode_images(images), atol=1e-5)
    assert torch.allclose(one.encode_texts(texts), two.encode_texts(texts), atol=1e-5)
    assert torch.allclose(one.encode_patches(images), two.encode_patches(images), atol=1e-5)
    assert one.logit_scale == pytest.approx(two.logit_scale, rel=1e-6)
    assert torch.allclose(torch.tensor(one.normalization), torch.tensor(two.normalization))
    assert one.notes == two.notes == (f"activation: {activation}",)
    # The other activation loads without a word, and is wrong by far more than rounding.
    assert (one.encode_images(images) - wrong.encode_images(images)).abs().max() > 1e-3
    assert (one.encode_texts(texts) - wrong.encode_texts(texts)).abs().max() > 1e-3


@pytest.mark.parametrize("fixture", ["openclip_folder", "resnet_folder"])
def test_vectors_are_those_of_the_library(
    fixture: str, photos: dict[str, Image.Image], texts: list[str], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(fixture)
    tower = load_two_tower(f"openclip:{folder}")
    model, transform, tokenizer = library(folder)
    chosen = [photo.convert("RGB") for photo in photos.values()]
    with torch.no_grad():
        images = model.encode_image(torch.stack([transform(photo) for photo in chosen]), normalize=True)
        words = model.encode_text(tokenizer(texts), normalize=True)
    ours = tower.encode_images(torch.stack([tower.preparation(photo) for photo in chosen]))
    assert torch.allclose(ours, images, atol=1e-5)
    assert torch.allclose(tower.encode_texts(texts), words, atol=1e-5)
    assert torch.pdist(words).min() > 1e-3
    assert tower.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()))


@pytest.mark.parametrize(
    "preprocess",
    [
        {"resize_mode": "squash", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        {"resize_mode": "longest", "fill_color": 7},
        {"interpolation": "bilinear", "mean": [0, 0, 0], "std": [1, 1, 1]},
    ],
)
def test_preparation_is_that_of_the_library(
    openclip_folder: Path, tmp_path: Path, preprocess: dict, photos: dict[str, Image.Image]
) -> None:
    folder = changed(openclip_folder, tmp_path / "model", "preprocess_cfg", **preprocess)
    tower, (_, transform, _) = load_two_tower(f"openclip:{folder}"), library(folder)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in tower.normalization)
    for photo in photos.values():
        colour = photo.convert("RGB")
        assert torch.allclose((tower.preparation(colour) - mean) / std, transform(colour), atol=1e-5)


def test_texts_too_long_are_cut_as_the_library_does(openclip_folder: Path) -> None:
    tower, (model, _, tokenizer) = load_two_tower(f"openclip:{openclip_folder}"), library(openclip_folder)
    long = "a small red star and a large blue ring and a black cross on green grass"
    with pytest.raises(InputError, match="has 18 tokens, and at most 16 fit"):
        tower.encode_texts([long])
    with torch.no_grad():
        expected = model.encode_text(tokenizer([long]))
    assert torch.allclose(tower.encode_texts([long], truncate=True, normalised=False), expected, atol=1e-5)


def test_patches_of_a_residual_network_are_what_its_pooling_gives_for_one_position(resnet_folder: Path) -> None:
    """If all positions were alike, attention would not matter, and each patch would be the whole."""
    tower = load_two_tower(f"openclip:{resnet_folder}")
    visual = tower.image_tower.get_submodule("visual")
    images = torch.rand(1, 3, 96, 96)
    assert tower.encode_patches(images).shape == (1, 3, 3, tower.dimension)
    assert torch.pdist(tower.encode_patches(images).flatten(0, 2)).min() > 1e-4
    with torch.no_grad():
        # All positions alike, and none of them zero.
        visual.attnpool.positional_embedding.copy_(visual.attnpool.positional_embedding[:1].expand(10, -1))
        visual.layer4.register_forward_hook(lambda _module, _inputs, maps: maps.mean((2, 3), keepdim=True) + 0 * maps)
    expected = tower.encode_images(images)[:, None, None].expand(1, 3, 3, -1)
    assert torch.allclose(tower.encode_patches(images), expected, atol=1e-5)


def test_a_network_of_timm_has_no_patches(openclip_folder: Path, tmp_path: Path) -> None:
    vision = {"timm_model_name": "resnet10t", "timm_pool": "avg", "timm_proj": "linear", "image_size": 32}
    folder = shutil.copytree(openclip_folder, tmp_path / "model")
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["vision_cfg"] = vision
    path.write_text(json.dumps(config))
    with quiet_loading():
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    tower = load_two_tower(f"openclip:{folder}")
    assert tower.encode_images(torch.rand(2, 3, 32, 32)).shape == (2, tower.dimension)
    with pytest.raises(UnsupportedError, match="none for its patches"):
        tower.encode_patches(torch.rand(2, 3, 32, 32))


def test_an_architecture_by_name_and_its_weights(tmp_path: Path, texts: list[str]) -> None:
    config = {
        "embed_dim": 8,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
    }
    (tmp_path / "snellen-test.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "snellen-test.json")
    with quiet_loading():
        model = open_clip.create_model("snellen-test").eval()
        tokenizer = open_clip.get_tokenizer("snellen-test")
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    tower = load_two_tower(f"openclip:snellen-test@{tmp_path / 'weights.safetensors'}")
    with torch.no_grad():
        expected = model.encode_text(tokenizer(texts), normalize=True)
    assert torch.allclose(tower.encode_texts(texts), expected, atol=1e-5)
    assert tower.notes == (
        "activation: quick_gelu",
        "preparation: open_clip's default, because a file of weights holds none",
    )
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"read from \.safetensors files only"):
        load_two_tower(f"openclip:snellen-test@{tmp_path / 'weights.pt'}")
    with pytest.raises(InputError, match="no weight file"):
        load_two_tower("openclip:snellen-test@missing.safetensors")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("openclip:ViT-B-33@weights.safetensors", "unknown architecture of open_clip 'ViT-B-33'; did you mean"),
        ("openclip:ViT-B-16-SigLIP@weights.safetensors", "its tokenizer is none of open_clip's own"),
        ("openclip:ViT-B-32", "expected a folder with open_clip_config.json"),
        ("open-clip:ViT-B-32", "unknown kind of text–image model 'open-clip'; did you mean 'openclip'"),
        ("ViT-B-32", "is not a text–image model; expected one of: hf:FOLDER"),
        ("bundled:no-such-tower", "unknown bundled model"),
    ],
)
def test_references_that_lead_nowhere(reference: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_two_tower(reference)


def test_an_end_mark_that_is_not_the_largest_token_is_refused(openclip_folder: Path, tmp_path: Path) -> None:
    """open_clip takes the vector at the largest token; with one more token in the vocabulary, that is another one."""
    folder = tmp_path / "model"
    shutil.copytree(openclip_folder, folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    largest = max(content["model"]["vocab"].values())
    content["model"]["vocab"]["unheard-of"] = largest + 1
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="they are not of one model"):
        load_two_tower(f"openclip:{folder}")
    tensors = load_file(folder / "open_clip_model.safetensors")
    rows = tensors["token_embedding.weight"]
    tensors["token_embedding.weight"] = torch.cat([rows, rows[:1]])
    save_file(tensors, folder / "open_clip_model.safetensors")
    changed(folder, tmp_path / "larger", "text_cfg", vocab_size=largest + 2)
    with pytest.raises(InputError, match=rf"at token {largest + 1} \(pool_type 'argmax'\), but texts end with token"):
        load_two_tower(f"openclip:{tmp_path / 'larger'}")
    changed(folder, tmp_path / "told", "text_cfg", vocab_size=largest + 2, pool_type="eos", eos_id=largest)
    tower = load_two_tower(f"openclip:{tmp_path / 'told'}")
    assert torch.pdist(tower.encode_texts(["a cat", "a dog", "a red star"])).min() > 1e-3


def test_what_open_clip_would_fetch_is_refused(openclip_folder: Path, tmp_path: Path) -> None:
    folder = changed(openclip_folder, tmp_path / "text", "text_cfg", hf_model_name="roberta-base")
    with pytest.raises(InputError, match="roberta-base"):
        load_two_tower(f"openclip:{folder}")
    folder = changed(openclip_folder, tmp_path / "coca", "model_cfg", multimodal_cfg={})
    with pytest.raises(InputError, match="CoCa"):
        load_two_tower(f"openclip:{folder}")


def test_damaged_folders(openclip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(openclip_folder, folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="its tokenizer cannot be read"):
        load_two_tower(f"openclip:{folder}")
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(InputError, match="0 files of weights"):
        load_two_tower(f"openclip:{folder}")
    (folder / "open_clip_config.json").write_text('{"model_cfg": {}}')
    with pytest.raises(InputError, match="not a configuration of open_clip"):
        load_two_tower(f"openclip:{folder}")


@pytest.mark.parametrize(("scheme", "package"), [("openclip", "open_clip"), ("hf", "transformers")])
def test_a_missing_package_names_its_extra(
    scheme: str, package: str, openclip_folder: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    folder = openclip_folder if scheme == "openclip" else clip_folder
    with pytest.raises(MissingExtraError, match=rf"needs the package '{package}'.*snellen\[vlm\]"):
        load_two_tower(f"{scheme}:{folder}")


def test_unknown_names_are_distinguished() -> None:
    with pytest.raises(UnknownNameError):
        load_two_tower("bundled:no-such-tower")
