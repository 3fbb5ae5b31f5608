"""The adapter of the large follower, on a LLaVA of random weights."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.captioners.random_llava import write_random_llava
from snellen.models.diffusion.low_rank import LowRank, chosen_layers
from snellen.models.references import load_question_answerer
from snellen.systems.unsafe_content.examples import prompt_of
from snellen.systems.unsafe_content.outcomes import answer_for
from snellen.systems.unsafe_content.policy import default_policy
from snellen.systems.unsafe_content.training import fit_large
from snellen.training.answer_fitting import ADAPTER, AnswerFit, fit_answers

POLICY = default_policy().of(["Spam", "Hate", "Political"])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_question_answerer(f"hf:{write_random_llava(tmp_path_factory.mktemp('large') / 'llava')}")


def test_published_numbers_are_the_defaults():
    fit = AnswerFit()
    assert (fit.adapter.rank, fit.adapter.alpha, fit.adapter_rate, fit.projector_rate) == (128, 256, 2e-4, 2e-5)
    assert (fit.epochs, fit.batch_size, fit.accumulated, fit.warmup) == (1, 8, 2, 0.03)


def test_adapters_sit_on_the_language_model_alone(model):
    names = list(chosen_layers(model.module, AnswerFit().adapter))
    assert len(names) == 2 * 7
    assert all("language_model" in name and "vision" not in name for name in names)


def test_training_lowers_the_loss_and_leaves_the_rest_as_it_was(model):
    images = torch.rand(6, 3, 32, 32)
    unsafe, categories = [True, False] * 3, ["Spam", "Hate", "Political"] * 2
    before = {name: one.clone() for name, one in model.module.named_parameters()}
    fit = AnswerFit(
        adapter=LowRank(rank=4, alpha=8, layers=AnswerFit().adapter.layers), adapter_rate=2e-2, epochs=6, batch_size=4
    )
    prompts = [prompt_of(POLICY)] * 2
    wanted = [answer_for("Spam"), answer_for(None)]
    with torch.no_grad():
        at_first = model.log_probabilities(images[:2], prompts, wanted)
    adapters = fit_large(model, lambda rows: images[list(rows)], unsafe, categories, POLICY, fit=fit, rng=Randomness(0))
    try:
        with torch.no_grad():
            with adapters.on({ADAPTER: 1.0}):
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


def test_without_dialogues_nothing_is_trained(model):
    with pytest.raises(InputError, match="needs dialogues"):
        fit_answers(model, lambda rows: torch.rand(len(rows), 3, 32, 32), lambda _: [], rng=Randomness(0))
    assert not hasattr(model.module, "peft_config")


def test_small_steps_move_a_network_of_half_precision(tmp_path):
    half = load_question_answerer(f"hf:{write_random_llava(tmp_path / 'llava')}")
    half.module.to(torch.bfloat16)
    images, projector = torch.rand(8, 3, 32, 32), half.module.model.multi_modal_projector.linear_1.weight
    before = projector.detach().clone()
    fit = AnswerFit(
        adapter=LowRank(rank=2, alpha=4, layers=AnswerFit().adapter.layers), epochs=10, batch_size=4, accumulated=1
    )
    prompt, answer = [prompt_of(POLICY)], [answer_for("Spam")]
    adapters = fit_large(
        half, lambda rows: images[list(rows)], [True, False] * 4, ["Spam", "Hate"] * 4, POLICY, fit=fit,
        rng=Randomness(0),
    )  # fmt: skip
    large = before.abs() > 0.02  # neighbours in bfloat16 are more than 1e-4 apart, and a step is at most 2e-5
    assert int(large.sum()) > 100
    assert float((projector != before)[large].float().mean()) > 0.3
    assert {one.dtype for one in half.module.model.multi_modal_projector.parameters()} == {torch.bfloat16}
    with torch.no_grad(), adapters.on({ADAPTER: 1.0}):
        assert half.log_probabilities(images[:1], prompt, answer).isfinite().all()
        assert len(half.answer(images[:1], prompt, max_tokens=3)) == 1


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
