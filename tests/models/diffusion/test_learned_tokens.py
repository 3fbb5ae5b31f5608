"""Learned tokens: one row is new, all others stay bit for bit, and diffusers reads what is written."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from snellen.core.errors import InputError
from snellen.models.diffusion.generator_adapters import model_hashes
from snellen.models.diffusion.learned_tokens import (
    TOKENS,
    knowing,
    load_tokens,
    row_of,
    save_tokens,
    token_of,
)
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.smoke import write_smoke_folder

PROMPT = "a photo of a <star>"


@pytest.fixture(scope="module", params=["stable-diffusion-2.1", "bundled:scene-diffusion"])
def generator(request, tmp_path_factory):
    if request.param.startswith("bundled:"):
        return load_generator(request.param)
    folder = write_smoke_folder(request.param, tmp_path_factory.mktemp("tokens") / "sd")
    return load_generator(f"diffusers:{folder}")


def states(generator, prompt):
    return generator.encode_prompts([prompt]).text


def test_a_new_token_begins_as_the_word_that_it_begins_as(generator):
    start = row_of(generator, "a")
    plain = states(generator, "a photo of a a")
    with knowing(generator, {"<star>": start}):
        assert torch.equal(states(generator, PROMPT), plain)
        assert torch.equal(states(generator, "a photo of a a"), plain)


def test_the_new_row_alone_can_be_trained_and_the_generator_is_as_it_was(generator):
    before, weights, plain = states(generator, "a star"), model_hashes(generator), states(generator, PROMPT)
    table = generator.text.towers[0].network.get_input_embeddings()
    with knowing(generator, {"<star>": row_of(generator, "a")}) as rows:
        trained = {id(one) for one in generator.text.towers[0].network.parameters() if one.requires_grad}
        assert trained == {id(rows)}
        text = generator.encode_prompts([PROMPT], gradients=True).text
        text.square().sum().backward()
        assert bool((rows.grad != 0).any())
        with torch.no_grad():
            rows += 1
        assert not torch.equal(states(generator, PROMPT), plain)
        assert torch.equal(states(generator, "a star"), before)
    assert table.weight.grad is None
    assert generator.text.towers[0].network.get_input_embeddings() is table
    assert model_hashes(generator) == weights
    assert torch.equal(states(generator, PROMPT), plain)


def test_a_file_is_read_again_and_by_diffusers(generator, tmp_path):
    start = row_of(generator, "a")
    save_tokens({"<star>": start}, tmp_path / "one" / TOKENS)
    save_tokens({"<star>": start.clone()}, tmp_path / "two" / TOKENS)
    files = [(tmp_path / name / TOKENS).read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]
    found = load_tokens(tmp_path / "one" / TOKENS)
    assert torch.equal(found["<star>"], start)
    from diffusers.loaders import TextualInversionLoaderMixin

    class Pipeline(TextualInversionLoaderMixin):
        """What the mixin needs of a pipeline."""

        hf_device_map, components = None, {}

    tower, copied = generator.text.towers[0], __import__("copy").deepcopy(generator.text.towers[0])
    pipeline = Pipeline()
    pipeline.tokenizer, pipeline.text_encoder = copied.tokenizer, copied.network
    pipeline.load_textual_inversion(str(tmp_path / "one"), weight_name=TOKENS, local_files_only=True)
    ids, _ = copied.tokens([PROMPT])
    place = pipeline.tokenizer.convert_tokens_to_ids("<star>")
    assert int((ids == place).sum()) == 1
    assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight[place].float(), start)
    with knowing(generator, found):
        assert torch.equal(tower.tokens([PROMPT])[0], ids)


def test_what_cannot_be_learned_or_read_says_why(generator, tmp_path):
    with pytest.raises(InputError, match=r"'unforeseen' is [0-9]+ tokens"):
        row_of(generator, "unforeseen")
    row = row_of(generator, "a")
    with pytest.raises(InputError, match="carries learned tokens already"), knowing(generator, {"<one>": row}):  # noqa: SIM117
        with knowing(generator, {"<two>": row}):
            pass
    with pytest.raises(InputError, match="spelled <word>"), knowing(generator, {"star": row}):
        pass
    with (
        pytest.raises(InputError, match=r"row of shape \(3,\).*another generator"),
        knowing(generator, {"<a>": row[:3]}),
    ):
        pass
    with pytest.raises(InputError, match="one text tower"):
        row_of(SimpleNamespace(text=None, takes="classes", name="dit"), "a")
    with pytest.raises(InputError, match="cannot be read as learned tokens"):
        load_tokens(tmp_path / TOKENS)
    save_file({"star": torch.ones(3)}, tmp_path / TOKENS)
    with pytest.raises(InputError, match="expected finite rows"):
        load_tokens(tmp_path / TOKENS)
    assert token_of("Golden retriever") == "<golden-retriever>"


def test_a_generator_of_two_towers_is_refused(tmp_path):
    generator = load_generator(f"diffusers:{write_smoke_folder('stable-diffusion-xl', tmp_path / 'xl')}")
    with pytest.raises(InputError, match=r"one text tower.*prompts by two towers"):
        row_of(generator, "a")
