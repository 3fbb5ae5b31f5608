"""The adapter of the large follower, on a LLaVA of random weights."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.low_rank import LowRank, chosen_layers
from snellen.models.random_folders import write_random_llava
from snellen.models.references import load_question_answerer
from snellen.systems.unsafe_content.examples import prompt_of
from snellen.systems.unsafe_content.large import LargeFit, adapted, fit_large
from snellen.systems.unsafe_content.outcomes import answer_for
from snellen.systems.unsafe_content.policy import default_policy

POLICY = default_policy().of(["Spam", "Hate", "Political"])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_question_answerer(f"hf:{write_random_llava(tmp_path_factory.mktemp('large') / 'llava')}")


def test_published_numbers_are_the_defaults():
    fit = LargeFit()
    assert (fit.adapter.rank, fit.adapter.alpha, fit.adapter_rate, fit.projector_rate) == (128, 256, 2e-4, 2e-5)
    assert (fit.epochs, fit.batch_size, fit.accumulated, fit.warmup) == (1, 8, 2, 0.03)


def test_adapters_sit_on_the_language_model_alone(model):
    names = list(chosen_layers(model.module, LargeFit().adapter))
    assert len(names) == 2 * 7
    assert all("language_model" in name and "vision" not in name for name in names)


def test_training_lowers_the_loss_and_leaves_the_rest_as_it_was(model):
    images = torch.rand(6, 3, 32, 32)
    unsafe, categories = [True, False] * 3, ["Spam", "Hate", "Political"] * 2
    before = {name: one.clone() for name, one in model.module.named_parameters()}
    fit = LargeFit(
        adapter=LowRank(rank=4, alpha=8, layers=LargeFit().adapter.layers), adapter_rate=2e-2, epochs=6, batch_size=4
    )
    prompts = [prompt_of(POLICY)] * 2
    wanted = [answer_for("Spam"), answer_for(None)]
    with torch.no_grad():
        at_first = model.log_probabilities(images[:2], prompts, wanted)
    adapters = fit_large(model, lambda rows: images[list(rows)], unsafe, categories, POLICY, fit=fit, rng=Randomness(0))
    try:
        with torch.no_grad():
            with adapted(model, adapters):
                assert bool((model.log_probabilities(images[:2], prompts, wanted) > at_first + 1).all())
            after = model.log_probabilities(images[:2], prompts, wanted)
        assert torch.allclose(after, at_first, atol=0.3), "outside of its block only the projector has changed"
    finally:
        adapters.unload()
    changed = {name for name, one in model.module.named_parameters() if not torch.equal(one, before[name])}
    assert changed
    assert all("multi_modal_projector" in name for name in changed)
    assert not any(one.requires_grad for one in model.module.parameters())
    assert not model.module.training


def test_one_question_does_not_change_the_answer_to_another(model):
    images = torch.rand(3, 3, 32, 32)
    questions = ["is it safe?", prompt_of(POLICY), "a"]
    together = model.answer(images, questions, max_tokens=6)
    assert together == tuple(model.answer(images[at : at + 1], [questions[at]], max_tokens=6)[0] for at in range(3))
    scores = model.score(images, questions, ["safe", "unsafe"])
    for at in range(3):
        assert torch.allclose(
            scores[at], model.score(images[at : at + 1], [questions[at]], ["safe", "unsafe"])[0], atol=1e-3
        )


def test_a_mark_in_a_question_is_no_second_image_and_a_long_policy_is_refused(model):
    image = torch.rand(1, 3, 32, 32)
    assert len(model.answer(image, ["what is <image> here"], max_tokens=3)) == 1
    with pytest.raises(InputError, match="shorten the policy"):
        model.answer(image, ["word " * 3000], max_tokens=3)
    with pytest.raises(InputError, match="one question for each image"):
        model.answer(image, ["a", "b"], max_tokens=3)
    with pytest.raises(InputError, match="one answer for each image"):
        model.log_probabilities(image, ["a"], ["b", "c"])
