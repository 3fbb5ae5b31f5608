"""Prompts as conditions: the same as the pipelines', once for each different prompt, and never cut."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.models.diffusion.condition import Condition

PROMPTS = ["a red star on grass", "A photo of a dog", "a red star on grass"]
TEXTUAL = ("stable-diffusion-1.5", "stable-diffusion-2.1", "stable-diffusion-xl", "pixart")


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize("name", TEXTUAL)
def test_states_are_those_of_the_pipeline(smoke, pipeline, name):
    generator = smoke(name)
    pipe = pipeline(name, "DDIMScheduler")
    ours = generator.encode_prompts(PROMPTS)
    with torch.no_grad():
        if name == "stable-diffusion-xl":
            text, _, pooled, _ = pipe.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
            torch.testing.assert_close(ours.pooled, pooled, atol=1e-5, rtol=0)
            assert float((ours.pooled[0] - ours.pooled[1]).abs().max()) > 1e-3
        elif name == "pixart":
            text, mask, _, _ = pipe.encode_prompt(PROMPTS, do_classifier_free_guidance=False, device="cpu")
            assert torch.equal(ours.mask, mask)
        else:
            text, _ = pipe.encode_prompt(PROMPTS, "cpu", 1, False)
    torch.testing.assert_close(ours.text, text, atol=1e-5, rtol=0)
    assert float((ours.text[0] - ours.text[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("name", TEXTUAL)
def test_equal_prompts_are_encoded_once(smoke, counted, name):
    generator = smoke(name)
    rows = []
    tower = generator.text.towers[0].network
    handle = tower.register_forward_hook(lambda _, __, output: rows.append(len(output[0])))
    try:
        condition = generator.encode_prompts(PROMPTS)
    finally:
        handle.remove()
    assert rows == [2]
    assert len(condition) == 3
    assert torch.equal(condition.text[0], condition.text[2])


def test_no_prompt_is_the_empty_prompt_or_zeros(smoke):
    for name in ("stable-diffusion-1.5", "pixart"):
        assert torch.equal(smoke(name).null(2).text, smoke(name).encode_prompts(["", ""]).text)
    null = smoke("stable-diffusion-xl").null(2)
    assert not null.text.any()
    assert not null.pooled.any()
    assert len(null) == 2


def test_sizes_are_given_to_models_that_ask(smoke):
    generator = smoke("stable-diffusion-xl")
    expected = [[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]] * 2
    assert generator.encode_prompts(["a", "the"]).time_ids.tolist() == expected
    assert generator.null(1, size=(64, 32)).time_ids.tolist() == [[64.0, 32.0, 0.0, 0.0, 64.0, 32.0]]
    assert smoke("stable-diffusion-1.5").encode_prompts(["a"]).time_ids is None


@pytest.mark.parametrize(
    ("name", "longest", "limit"),
    [("stable-diffusion-1.5", 75, 77), ("stable-diffusion-xl", 75, 77), ("pixart", 119, 120)],
)
def test_a_prompt_that_is_too_long_is_named_and_never_cut(smoke, name, longest, limit):
    generator = smoke(name)
    generator.encode_prompts([" ".join(["red"] * longest)])
    with pytest.raises(InputError, match=rf"prompt 'red .* has {limit + 1} tokens .*, the text encoder reads {limit}"):
        generator.encode_prompts(["a", " ".join(["red"] * (longest + 1))])


def test_states_can_be_edited_on_their_way(smoke):
    generator = smoke("stable-diffusion-1.5")
    seen = []

    def edit(text, mask):
        seen.append((tuple(text.shape), mask.sum(1).tolist()))
        return torch.where(mask[:, :, None] > 0, -text, text)

    plain, edited = generator.encode_prompts(PROMPTS), generator.encode_prompts(PROMPTS, edit=edit)
    assert seen == [((2, 77, 32), [7, 7])]  # five words and four, … and both ends
    torch.testing.assert_close(edited.text[:, :6], -plain.text[:, :6], atol=1e-6, rtol=0)
    torch.testing.assert_close(edited.text[:, 8:], plain.text[:, 8:], atol=1e-6, rtol=0)
    with pytest.raises(InputError, match=r"an edit turned text states \(2, 77, 32\) into \(2, 1, 32\)"):
        generator.encode_prompts(PROMPTS, edit=lambda text, mask: text[:, :1])


def test_own_text_states_are_a_condition(smoke):
    generator = smoke("stable-diffusion-1.5")
    text = generator.encode_prompts(["a red star"]).text
    latents = torch.zeros(1, 4, 8, 8)
    own = generator.denoiser(latents, torch.tensor([500]), Condition(count=1, text=text))
    assert torch.equal(own, generator.denoiser(latents, torch.tensor([500]), generator.encode_prompts(["a red star"])))


def test_what_is_no_prompt_is_refused(smoke):
    generator = smoke("stable-diffusion-1.5")
    with pytest.raises(InputError, match="a list of strings, one for each image; got the string 'a star'"):
        generator.encode_prompts("a star")
    with pytest.raises(InputError, match="no prompt to encode"):
        generator.encode_prompts([])
    with pytest.raises(InputError, match="a prompt is a string; got int"):
        generator.encode_prompts([3])
    with pytest.raises(InputError, match="takes classes, not prompts"):
        smoke("dit").encode_prompts(["a"])
