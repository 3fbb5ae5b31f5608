"""CLIP and SigLIP of transformers: the numbers of the library, and the mistakes that give all texts one vector."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from snellen.core.errors import InputError
from snellen.models.random_folders import write_random_clip
from snellen.models.references import load_two_tower
from snellen.models.weights.quiet_loading import quiet_loading


def library_logits(folder: Path, kind: str, photos: list[Image.Image], texts: list[str]) -> tuple[torch.Tensor, ...]:
    """What the library computes with its own processor and model: vectors of images and texts, and logits."""
    with quiet_loading():
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = getattr(transformers, kind).from_pretrained(folder).eval()
    padding = "max_length" if kind == "SiglipModel" else True
    tokens = tokenizer(texts, padding=padding, return_tensors="pt")
    pixels = processor(images=[photo.convert("RGB") for photo in photos], return_tensors="pt")["pixel_values"]
    # SigLIP's own example passes no attention mask; the others do.
    mask = {} if kind == "SiglipModel" else {"attention_mask": tokens["attention_mask"]}
    with torch.no_grad():
        output = model(input_ids=tokens["input_ids"], pixel_values=pixels, **mask)
    return output.image_embeds, output.text_embeds, output.logits_per_image


@pytest.mark.parametrize(
    ("fixture", "kind"),
    [
        ("clip_folder", "CLIPModel"),
        ("siglip_folder", "SiglipModel"),
        ("pair_folder", "VisionTextDualEncoderModel"),
    ],
)
def test_vectors_and_logits_are_those_of_the_library(
    fixture: str, kind: str, photos: dict[str, Image.Image], texts: list[str], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(fixture)
    chosen = list(photos.values())
    images, words, logits = library_logits(folder, kind, chosen, texts)
    tower = load_two_tower(f"hf:{folder}")
    ours = tower.encode_images(torch.stack([tower.preparation(photo) for photo in chosen]))
    assert torch.allclose(ours, images, atol=1e-5)
    assert torch.allclose(tower.encode_texts(texts), words, atol=1e-5)
    scores = tower.logit_scale * ours @ tower.encode_texts(texts).T + tower.logit_bias
    assert torch.allclose(scores, logits, atol=1e-4)
    assert ours.shape == (len(chosen), tower.dimension)
    assert tower.pairwise is (kind == "SiglipModel")


@pytest.mark.parametrize("fixture", ["clip_folder", "siglip_folder"])
def test_one_at_a_time_is_the_same(fixture: str, texts: list[str], request: pytest.FixtureRequest) -> None:
    reference = f"hf:{request.getfixturevalue(fixture)}"
    together, apart = load_two_tower(reference), load_two_tower(reference)
    images = torch.rand(3, 3, 32, 32)
    each = torch.cat([apart.encode_images(image[None]) for image in images])
    assert torch.allclose(together.encode_images(images), each, atol=1e-6)
    each = torch.cat([apart.encode_texts([text]) for text in reversed(texts)]).flip(0)
    assert torch.allclose(together.encode_texts(texts), each, atol=1e-6)


@pytest.mark.parametrize("fixture", ["clip_folder", "siglip_folder"])
def test_different_texts_have_different_vectors(fixture: str, request: pytest.FixtureRequest) -> None:
    tower = load_two_tower(f"hf:{request.getfixturevalue(fixture)}")
    vectors = tower.encode_texts(["a red star", "a blue star", "two dogs on grass"], normalised=False)
    assert torch.pdist(vectors).min() > 1e-3
    assert not torch.allclose(vectors.norm(dim=1), torch.ones(3))
    assert torch.allclose(tower.encode_texts(["a red star"]).norm(), torch.tensor(1.0))


def test_the_image_side_has_gradients_and_no_weight_does(clip_folder: Path) -> None:
    tower = load_two_tower(f"hf:{clip_folder}")
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    (tower.encode_images(images) @ tower.encode_texts(["a red star"]).T).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in tower.image_tower.parameters())


def test_a_part_that_is_unfrozen_is_trained_and_changes_the_identity(clip_folder: Path) -> None:
    tower = load_two_tower(f"hf:{clip_folder}")
    before, images = tower.identity(), torch.rand(2, 3, 32, 32)
    vectors = tower.encode_images(images)
    assert tower.identity() == before == load_two_tower(f"hf:{clip_folder}").identity()
    projection = tower.image_tower.get_submodule("projection").requires_grad_(True)
    optimizer = torch.optim.SGD(projection.parameters(), lr=1.0)
    tower.encode_images(images)[:, 0].sum().backward()
    optimizer.step()
    assert not torch.allclose(tower.encode_images(images), vectors)
    assert tower.identity() != before


def test_a_text_is_encoded_once_until_the_weights_change(clip_folder: Path) -> None:
    tower = load_two_tower(f"hf:{clip_folder}")
    seen = []
    tower.text_tower.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    first = tower.encode_texts(["a cat", "a dog", "a cat"])
    assert torch.equal(tower.encode_texts(["a dog", "a cat"]), first[[1, 0]])
    assert seen == [2]
    with torch.no_grad():
        tower.text_tower.get_parameter("projection.weight").mul_(-1)
    assert torch.allclose(tower.encode_texts(["a cat"]), -first[:1], atol=1e-6)
    assert seen == [2, 1]


def test_texts_longer_than_the_context_are_named_or_cut(clip_folder: Path) -> None:
    tower = load_two_tower(f"hf:{clip_folder}")
    long = "a small red star and a large blue ring and a black cross on green grass"
    with pytest.raises(InputError, match=r"the text 'a small red star and .* has 18 tokens, and at most 16 fit"):
        tower.encode_texts(["a cat", long])
    with quiet_loading():
        tokenizer = transformers.AutoTokenizer.from_pretrained(clip_folder)
        model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
        tokens = tokenizer([long], truncation=True, max_length=16, return_tensors="pt")
        with torch.no_grad():
            expected = model.get_text_features(**tokens).pooler_output
    assert torch.allclose(tower.encode_texts([long], truncate=True, normalised=False), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("end", "says"),
    [(49407, r"takes the vector of a text at token 49407 \(text_config\.eos_token_id\)"), (0, "at token 0 ")],
)
def test_an_end_token_that_would_give_all_texts_one_vector_is_refused(clip_folder: Path, tmp_path: Path, end, says):
    folder = changed_config(clip_folder, tmp_path, eos_token_id=end)
    with quiet_loading():
        # The library says nothing, and pools every text at its first token.
        model = transformers.CLIPModel.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        with torch.no_grad():
            vectors = model.get_text_features(**tokenizer(["a cat", "a dog"], return_tensors="pt")).pooler_output
    assert torch.equal(vectors[0], vectors[1])
    with pytest.raises(InputError, match=says):
        load_two_tower(f"hf:{folder}")


def test_the_old_end_token_of_public_configurations_is_accepted_where_it_works(
    clip_folder: Path, tmp_path: Path, texts: list[str]
) -> None:
    folder = changed_config(clip_folder, tmp_path, eos_token_id=2)
    expected = load_two_tower(f"hf:{clip_folder}").encode_texts(texts)
    assert torch.equal(load_two_tower(f"hf:{folder}").encode_texts(texts), expected)
    swap_marks(folder)
    with pytest.raises(InputError, match="at its largest token"):
        load_two_tower(f"hf:{folder}")


def test_a_tokenizer_of_another_model_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(clip_folder, folder)
    shutil.copy(
        write_random_clip(tmp_path / "other", words=["antidisestablishmentarianism"] * 2) / "config.json", folder
    )
    other = load_file(tmp_path / "other" / "model.safetensors")
    save_file(other, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="they are not of one model"):
        load_two_tower(f"hf:{folder}")


def test_weights_in_half_precision_run_in_single(clip_folder: Path, tmp_path: Path, texts: list[str]) -> None:
    folder = tmp_path / "half"
    shutil.copytree(clip_folder, folder)
    tensors = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tower = load_two_tower(f"hf:{folder}")
    vectors = tower.encode_texts(texts)
    assert vectors.dtype == torch.float32
    assert torch.allclose(vectors, load_two_tower(f"hf:{clip_folder}").encode_texts(texts), atol=5e-3)


def test_patches_are_on_the_way_of_the_class_token(clip_folder: Path) -> None:
    tower = load_two_tower(f"hf:{clip_folder}")
    images = torch.rand(2, 3, 32, 32)
    with quiet_loading(), torch.no_grad():
        model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in tower.normalization)
        tokens = model.vision_model((images - mean) / std).last_hidden_state
        expected = model.visual_projection(model.vision_model.post_layernorm(tokens))
    assert torch.allclose(tower.encode_images(images, normalised=False), expected[:, 0], atol=1e-5)
    patches = tower.encode_patches(images, normalised=False)
    assert torch.allclose(patches.flatten(1, 2), expected[:, 1:], atol=1e-5)


def test_patches_of_siglip_are_what_its_pooling_gives_for_one_token(siglip_folder: Path) -> None:
    """If all patches were alike, attention would not matter, and each patch would be the whole."""
    tower = load_two_tower(f"hf:{siglip_folder}")
    with torch.no_grad():
        tower.image_tower.get_parameter("vision_model.embeddings.position_embedding.weight").zero_()
    images = torch.full((1, 3, 32, 32), 0.3)
    expected = tower.encode_images(images)[:, None, None].expand(1, 4, 4, -1)
    assert torch.allclose(tower.encode_patches(images), expected, atol=1e-5)


@pytest.mark.parametrize("fixture", ["clip_folder", "siglip_folder"])
def test_patches_lie_where_they_are_seen(fixture: str, request: pytest.FixtureRequest) -> None:
    """Without attention between them, only the patch that changed has another vector."""
    tower = load_two_tower(f"hf:{request.getfixturevalue(fixture)}")
    with torch.no_grad():
        for name, parameter in tower.image_tower.named_parameters():
            if "self_attn.out_proj" in name:
                parameter.zero_()
    plain = torch.full((1, 3, 32, 32), 0.5)
    painted = plain.clone()
    painted[:, :, 8:16, 24:32] = torch.rand(3, 8, 8)
    changed = (tower.encode_patches(plain) - tower.encode_patches(painted)).abs().amax(-1)[0] > 1e-4
    assert changed.nonzero().tolist() == [[1, 3]]


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.rand(1, 3, 16, 32), "takes images of 32x32 pixels .*, got 16x32"),
        (torch.rand(3, 32, 32), "float \\(n, 3, h, w\\) in \\[0, 1\\]; got"),
        (torch.randint(0, 255, (1, 3, 32, 32), dtype=torch.uint8), "got torch.uint8"),
        (torch.full((1, 3, 32, 32), 1.5), "in \\[0, 1\\], got values from 1.5 to 1.5"),
        (torch.full((1, 3, 32, 32), torch.nan), "in \\[0, 1\\]"),
        (torch.rand(0, 3, 32, 32), "empty batch"),
        ([1], "a list, not a tensor"),
    ],
)
def test_images_that_are_not_prepared(clip_folder: Path, images: object, says: str) -> None:
    tower = load_two_tower(f"hf:{clip_folder}")
    for encode in (tower.encode_images, tower.encode_patches):
        with pytest.raises(InputError, match=says):
            encode(images)


@pytest.mark.parametrize(
    ("texts", "says"), [("a cat", "a list of texts"), ([], "no texts"), (["a", 1], "takes texts, got a int")]
)
def test_texts_that_are_none(clip_folder: Path, texts: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_two_tower(f"hf:{clip_folder}").encode_texts(texts)


def test_folders_that_hold_something_else(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"hf download openai/clip-vit-base-patch32 --local-dir"):
        load_two_tower("hf:openai/clip-vit-base-patch32")
    with quiet_loading():
        config = transformers.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
        transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="has no preprocessor_config"):
        load_two_tower(f"hf:{tmp_path}")
    for file in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(clip_folder / file, tmp_path)
    with pytest.raises(
        InputError,
        match=r"a model of type 'vit', not a text–image model \(clip or siglip or vision-text-dual-encoder\)",
    ):
        load_two_tower(f"hf:{tmp_path}")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).unlink()
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        load_two_tower(f"hf:{tmp_path}")


def test_loading_says_nothing(clip_folder: Path, openclip_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state, handlers = torch.random.get_rng_state(), list(logging.getLogger().handlers)
    load_two_tower(f"hf:{clip_folder}")
    load_two_tower(f"openclip:{openclip_folder}")
    assert torch.equal(state, torch.random.get_rng_state())
    assert logging.getLogger().handlers == handlers
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def changed_config(folder: Path, target: Path, **text_config: object) -> Path:
    shutil.copytree(folder, target / "changed")
    path = target / "changed" / "config.json"
    config = json.loads(path.read_text())
    config["text_config"] |= text_config
    path.write_text(json.dumps(config))
    return path.parent


def swap_marks(folder: Path) -> None:
    """Give the beginning the largest number, and the end the one before."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    swapped = {"<|startoftext|>": "<|endoftext|>", "<|endoftext|>": "<|startoftext|>"}
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {piece: vocabulary[swapped.get(piece, piece)] for piece in vocabulary}
    for added in content["added_tokens"]:
        added["id"] = content["model"]["vocab"][added["content"]]
    for mark in ("sep", "cls"):
        name, _ = content["post_processor"][mark]
        content["post_processor"][mark] = [name, content["model"]["vocab"][name]]
    path.write_text(json.dumps(content))


def test_a_folder_in_the_old_format_of_public_models(clip_folder: Path, tmp_path: Path, texts: list[str]) -> None:
    """vocab.json and merges.txt, sizes as numbers, half of the marks wrong, names of tensors that nothing reads."""
    folder = changed_config(clip_folder, tmp_path, eos_token_id=2, bos_token_id=0, pad_token_id=1)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(tokenizer["vocab"]))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in tokenizer["merges"])]))
    old = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, "errors": "replace"}
    (folder / "tokenizer_config.json").write_text(json.dumps(old))
    processor = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    settings = {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "do_resize": True,
        "size": 32,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": 32,
        "do_normalize": True,
        "image_mean": processor["image_mean"],
        "image_std": processor["image_std"],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    for file in ("tokenizer.json", "processor_config.json"):
        (folder / file).unlink()
    tensors = load_file(folder / "model.safetensors")
    tensors["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    old_tower, tower = load_two_tower(f"hf:{folder}"), load_two_tower(f"hf:{clip_folder}")
    assert torch.equal(old_tower.encode_texts(texts), tower.encode_texts(texts))
    assert old_tower.preparation == tower.preparation
    assert old_tower.context_length == 16


def test_a_processor_of_another_size_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "size")
    text = (folder / "processor_config.json").read_text()
    (folder / "processor_config.json").write_text(text.replace('"height": 32', '"height": 64'))
    with pytest.raises(InputError, match=r"images of \(64, 32\) pixels, its image tower takes squares of 32"):
        load_two_tower(f"hf:{folder}")
