"""BLIP, and ViT with GPT-2: token by token what the library decodes, with a cache that may be cut and mixed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from snellen.core.artifact import Lineage
from snellen.core.errors import InputError
from snellen.models import references
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.captioners.greedy import sequence_log_probabilities
from snellen.models.references import load_captioner
from snellen.models.weights.bundled_folders import bundled_folder, write_card
from snellen.models.weights.quiet_loading import quiet_loading

KINDS = {"blip": "BlipForConditionalGeneration", "vit_gpt2": "VisionEncoderDecoderModel"}
FOLDERS = ["blip", "vit_gpt2", "narrow"]

Library = Callable[[Path, str], tuple[torch.nn.Module, object]]


def normalised(captioner: CrossAttentionCaptioner, images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in captioner.normalization)
    return (images - mean) / std


def kind(name: str) -> str:
    return KINDS["blip" if name == "blip" else "vit_gpt2"]


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("prompt", ["", "a photo of"])
def test_captions_are_those_of_the_library_token_by_token(
    name: str, prompt: str, images: torch.Tensor, library: Library, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(name)
    captioner = load_captioner(f"hf:{folder}")
    model, tokenizer = library(folder, kind(name))
    pixels = normalised(captioner, images)
    given = tokenizer([prompt] * len(images), return_tensors="pt") if prompt else {}
    start = {}
    if prompt and name == "blip":
        start = {"input_ids": given["input_ids"], "attention_mask": given["attention_mask"]}
    elif prompt:
        begin = torch.full((len(images), 1), model.generation_config.decoder_start_token_id)
        start = {"decoder_input_ids": torch.cat([begin, given["input_ids"]], 1)}
    with quiet_loading():
        theirs = model.generate(pixels, max_new_tokens=12, do_sample=False, num_beams=1, **start)
    ours = captioner.caption(images, max_tokens=12, prompt=prompt)
    assert torch.equal(ours.tokens, theirs)
    begun = theirs[:, 1:]  # GPT-2 begins with the token that also ends
    assert list(ours.texts) == [text.strip() for text in tokenizer.batch_decode(begun, skip_special_tokens=True)]
    assert all(text.startswith(prompt) for text in ours.texts)
    assert len(set(ours.texts)) > 1
    assert not ours.log_probabilities.requires_grad


def test_sentences_that_end_early_are_those_of_the_library(
    blip: Path, tmp_path: Path, images: torch.Tensor, library: Library, eager: Callable
) -> None:
    folder = eager(blip, tmp_path, 4.0)
    captioner = load_captioner(f"hf:{folder}")
    model, _ = library(folder, "BlipForConditionalGeneration")
    with quiet_loading():
        theirs = model.generate(normalised(captioner, images), max_new_tokens=20, do_sample=False, num_beams=1)
    ours = captioner.caption(images, max_tokens=20)
    assert torch.equal(ours.tokens, theirs)
    assert len(set(ours.lengths.tolist())) > 1
    assert int(ours.lengths.min()) < 20
    for row, length in zip(ours.tokens, ours.lengths, strict=True):
        ends = (row == captioner.end_token).nonzero().flatten().tolist()
        assert ends == ([int(length)] if length < 20 else ends[:1])


@pytest.mark.parametrize("name", FOLDERS)
def test_log_probabilities_are_those_of_the_whole_sequence(
    name: str, images: torch.Tensor, request: pytest.FixtureRequest
) -> None:
    captioner = load_captioner(f"hf:{request.getfixturevalue(name)}")
    captions = captioner.caption(images, max_tokens=8, prompt="a dog")
    given = captions.tokens.shape[1] - 8
    mask = torch.arange(captions.tokens.shape[1]) < given + captions.lengths[:, None]
    logits = captioner.sequence_logits(captions.tokens, captioner.encode(images))
    expected = sequence_log_probabilities(logits, captions.tokens, mask.long(), given=given)
    assert torch.allclose(captions.log_probabilities, expected, atol=1e-4)
    each = [captioner.caption(image[None], max_tokens=8, prompt="a dog") for image in images]
    assert [caption.texts[0] for caption in each] == list(captions.texts)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_cache_changes_nothing(name: str, images: torch.Tensor, request: pytest.FixtureRequest) -> None:
    captioner = load_captioner(f"hf:{request.getfixturevalue(name)}")
    states = captioner.encode(images[:3])
    tokens = torch.stack(captioner.tokenise(["a red star", "a red ring", "a dog cat"], ended=False))
    every = captioner.sequence_logits(tokens, states)
    cache = None
    for length in range(1, tokens.shape[1] + 1):
        logits, cache = captioner.logits(tokens[:, :length], states, cache)
        assert cache.length == length
        assert torch.allclose(logits, every[:, length - 1], atol=1e-4)
        assert torch.allclose(logits, captioner.logits(tokens[:, :length], states)[0], atol=1e-4)
    # A prefix of several tokens after a cache of one.
    _, cache = captioner.logits(tokens[:, :1], states)
    assert torch.allclose(captioner.logits(tokens, states, cache)[0], every[:, -1], atol=1e-4)
    with pytest.raises(InputError, match="nothing is left to read"):
        captioner.logits(tokens, states, cache)


@pytest.mark.parametrize("name", FOLDERS)
def test_rows_of_a_cache_leave_and_change_places(
    name: str, images: torch.Tensor, request: pytest.FixtureRequest
) -> None:
    captioner = load_captioner(f"hf:{request.getfixturevalue(name)}")
    states = captioner.encode(images[:3])
    tokens = torch.stack(captioner.tokenise(["a red star", "a red ring", "a dog cat"], ended=False))
    _, cache = captioner.logits(tokens[:, :2], states)
    rows = torch.tensor([2, 0, 2, 1, 1])
    logits, cache = captioner.logits(tokens[rows, :3], states[rows], cache.select(rows))
    assert torch.allclose(logits, captioner.sequence_logits(tokens, states)[rows, 2], atol=1e-4)
    rows = torch.tensor([1])
    logits, _ = captioner.logits(tokens[:1, :4], states[:1], cache.select(rows))
    assert torch.allclose(logits, captioner.sequence_logits(tokens[:1, :4], states[:1])[:, 3], atol=1e-4)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_null_condition_is_zeros_and_sees_no_image(
    name: str, images: torch.Tensor, library: Library, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(name)
    captioner = load_captioner(f"hf:{folder}")
    model, _ = library(folder, kind(name))
    decoder = model.text_decoder if name == "blip" else model.decoder
    tokens = torch.stack(captioner.tokenise(["a red star", "a red ring"]))
    shape = (2, *captioner.state_shape)
    assert captioner.encode(images[:2]).shape == shape
    assert torch.equal(captioner.null_condition(2), torch.zeros(shape))
    with torch.no_grad():
        expected = decoder(input_ids=tokens, encoder_hidden_states=torch.zeros(shape)).logits
    assert torch.allclose(captioner.sequence_logits(tokens, None), expected, atol=1e-4)
    assert torch.allclose(captioner.logits(tokens, None)[0], expected[:, -1], atol=1e-4)
    assert not torch.allclose(captioner.sequence_logits(tokens, captioner.encode(images[:2])), expected, atol=1e-2)
    texts = ["a red star", "a dog on grass"]
    assert torch.allclose(captioner.score(None, texts), torch.cat([captioner.score(None, [text]) for text in texts]))


@pytest.mark.parametrize("name", FOLDERS)
def test_scores_are_the_losses_of_the_library(
    name: str, images: torch.Tensor, library: Library, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(name)
    captioner = load_captioner(f"hf:{folder}")
    model, _ = library(folder, kind(name))
    texts = ["a red star", "two dogs on green grass under the sky", ""]
    expected = []
    for image, tokens in zip(images, captioner.tokenise(texts), strict=False):
        pixels, row = normalised(captioner, image[None]), tokens[None]
        assert int(row[0, -1]) == captioner.end_token
        with torch.no_grad():
            if name == "blip":
                loss = model(pixel_values=pixels, input_ids=row, labels=row).loss
            else:
                loss = model(pixel_values=pixels, labels=row[:, 1:]).loss
        expected.append(float(-loss * (row.shape[1] - 1)))
    assert captioner.score(images[:3], texts).tolist() == pytest.approx(expected, abs=1e-3)
    with pytest.raises(InputError, match="got 2 images, 3 texts"):
        captioner.score(images[:2], texts)


@pytest.mark.parametrize("name", FOLDERS)
def test_training_reaches_decoder_and_encoder(name: str, images: torch.Tensor, request: pytest.FixtureRequest) -> None:
    captioner = load_captioner(f"hf:{request.getfixturevalue(name)}")
    before = captioner.identity()
    assert not any(parameter.requires_grad for parameter in captioner.module.parameters())
    captioner.module.requires_grad_(True)
    tokens = torch.stack(captioner.tokenise(["a red star", "a red ring"]))
    mask = torch.ones_like(tokens)
    optimizer = torch.optim.SGD(captioner.module.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        conditions = captioner.encode(images[:2])
        loss = -sequence_log_probabilities(captioner.sequence_logits(tokens, conditions), tokens, mask).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert captioner.identity() != before
    pixels = images[:1].clone().requires_grad_(True)
    captioner.sequence_logits(tokens[:1], captioner.encode(pixels)).sum().backward()
    assert float(pixels.grad.abs().sum()) > 0


def test_preparation_is_that_of_the_processor(blip: Path, photos: dict[str, Image.Image]) -> None:
    captioner = load_captioner(f"hf:{blip}")
    with quiet_loading():
        processor = transformers.AutoImageProcessor.from_pretrained(blip, backend="pil")
    for photo in photos.values():
        theirs = processor(images=photo.convert("RGB"), return_tensors="pt")["pixel_values"][0]
        assert torch.allclose(normalised(captioner, captioner.preparation(photo)), theirs, atol=1e-5)


@pytest.mark.parametrize("name", FOLDERS)
def test_tokens_and_texts(name: str, request: pytest.FixtureRequest) -> None:
    captioner = load_captioner(f"hf:{request.getfixturevalue(name)}")
    texts = ["a red star", "is it a dog ?"]
    rows = captioner.tokenise(texts)
    assert captioner.texts(rows[0][None]) == (texts[0],)
    unended = captioner.tokenise(texts, ended=False)
    assert all(row.tolist() == [*short.tolist(), captioner.end_token] for row, short in zip(rows, unended, strict=True))
    pieces = [captioner.vocabulary[token].lstrip("Ġ") for token in unended[0][1:]]
    assert pieces == ["a", "red", "star"]
    with pytest.raises(InputError, match=r"the text 'star star .* has 42 tokens, and at most 32 fit"):
        captioner.tokenise([" ".join(["star"] * 40)])


def test_the_context_bounds_a_sentence(blip: Path, images: torch.Tensor) -> None:
    captioner = load_captioner(f"hf:{blip}")
    captions = captioner.caption(images[:2], max_tokens=1000)
    assert captions.tokens.shape[1] <= captioner.context_length == 32
    with pytest.raises(InputError, match="cannot decode 5 tokens after a prompt of 31"):
        captioner.caption(images, max_tokens=5, prompt=" ".join(["star"] * 31))
    with pytest.raises(InputError, match="max_tokens is at least 1"):
        captioner.caption(images, max_tokens=0)


def test_what_cannot_be_decoded_is_reported(blip: Path, images: torch.Tensor) -> None:
    captioner = load_captioner(f"hf:{blip}")
    tokens = torch.stack(captioner.tokenise(["a red star"]))
    for wrong in (torch.zeros(2, 17, 32), torch.zeros(1, 17, 31), torch.zeros(17, 32)):
        with pytest.raises(InputError, match=r"reads states \(1, s, 32\), one set for each of 1 rows"):
            captioner.logits(tokens, wrong)
    with pytest.raises(InputError, match="a cache of type object"):
        captioner.logits(tokens, None, object())
    with pytest.raises(InputError, match="takes images of 32x32"):
        captioner.caption(torch.rand(1, 3, 16, 16))
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        captioner.encode(images * 3)


def test_settings_that_are_not_followed_are_reported(vit_gpt2: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(vit_gpt2, tmp_path / "strict")
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"repetition_penalty": 1.5, "num_beams": 3}))
    assert load_captioner(f"hf:{vit_gpt2}").notes == ()
    assert load_captioner(f"hf:{folder}").notes == ("decoded greedily, without the folder's repetition_penalty=1.5",)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("sep_token_id", 102, r"ends a sentence with token 102 \(sep_token_id of text_config\), the tokenizer with 3"),
        ("bos_token_id", 30522, "the token that begins a sentence is 30522, but the decoder knows 0 to 180"),
    ],
)
def test_marks_of_another_vocabulary_are_refused(blip: Path, tmp_path: Path, field: str, value: int, says: str) -> None:
    folder = shutil.copytree(blip, tmp_path / "marks")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"][field] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=says):
        load_captioner(f"hf:{folder}")


def test_a_decoder_without_a_beginning_or_eyes_is_refused(vit_gpt2: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(vit_gpt2, tmp_path / "beginning")
    for file in ("config.json", "generation_config.json"):
        content = json.loads((folder / file).read_text())
        content.pop("decoder_start_token_id", None)
        (folder / file).write_text(json.dumps(content))
    with pytest.raises(InputError, match="the token that begins a sentence is None"):
        load_captioner(f"hf:{folder}")
    folder = shutil.copytree(vit_gpt2, tmp_path / "ends")
    content = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(content | {"eos_token_id": [3, 4]}))
    with pytest.raises(InputError, match=r"eos_token_id is \[3, 4\]; one mark is expected"):
        load_captioner(f"hf:{folder}")


def test_a_processor_of_another_size_is_refused(blip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(blip, tmp_path / "size")
    text = (folder / "processor_config.json").read_text()
    assert '"height": 32' in text
    (folder / "processor_config.json").write_text(text.replace('"height": 32', '"height": 64'))
    with pytest.raises(InputError, match="its processor makes images of 64x32 pixels, which its network does not take"):
        load_captioner(f"hf:{folder}")


def test_a_bundled_captioner(blip: Path, tmp_path: Path, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(blip, tmp_path / "words")
    lineage = Lineage(recipe={"method": "none"}, data="-", seed=0, code_version="0")
    write_card(tmp_path / "words", name="words", kind="captioner", description="Random.", lineage=lineage)
    monkeypatch.setattr(references, "bundled_folder", lambda name: bundled_folder(name, assets=tmp_path))
    captioner = load_captioner("bundled:words")
    assert captioner.name == "bundled:words"
    assert captioner.caption(images).texts == load_captioner(f"hf:{blip}").caption(images).texts


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("blip", "is not a captioner; expected one of: hf:FOLDER, bundled:NAME"),
        ("timm:blip", "unknown kind of captioner 'timm'"),
        ("hf:Salesforce/blip-image-captioning-base", "hf download"),
        ("bundled:no-such", "unknown bundled model"),
    ],
)
def test_references_that_lead_nowhere(reference: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_captioner(reference)


def test_another_kind_of_model_is_refused(blip: Path, answerer: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(blip, tmp_path / "bert")
    with quiet_loading():
        transformers.BertConfig().save_pretrained(folder)
    with pytest.raises(InputError, match=r"of type 'bert', not a captioner \(blip or vision-encoder-decoder\)"):
        load_captioner(f"hf:{folder}")
    # Its decoder was trained to read questions; alone it would be a captioner by name only.
    with pytest.raises(InputError, match="holds a BlipForQuestionAnswering, and a captioner is a BlipForCond"):
        load_captioner(f"hf:{answerer}")


def test_loading_says_nothing(blip: Path, vit_gpt2: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state = torch.random.get_rng_state()
    for folder in (blip, vit_gpt2):
        load_captioner(f"hf:{folder}").caption(torch.rand(1, 3, 32, 32, generator=torch.Generator()), max_tokens=2)
    assert torch.equal(state, torch.random.get_rng_state())
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_pooling_layer_that_nothing_reads_may_be_missing(vit_gpt2: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(vit_gpt2, tmp_path / "unpooled")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("encoder.pooler.")}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_captioner(f"hf:{folder}").identity() == load_captioner(f"hf:{vit_gpt2}").identity()
    kept.pop("decoder.transformer.wte.weight")
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"weights lack .* tensors of a captioner \(decoder\."):
        load_captioner(f"hf:{folder}")
