"""Fine-tuning drops conditions for each example, by the null condition of decoding; the rest is the one loop."""

import itertools

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.captioners.hugging_face_captioners import write_captioner
from snellen.models.language.causal import load_causal_language_model, small_causal_model, write_causal_model
from snellen.models.references import load_captioner
from snellen.models.tokens.small_tokenizers import gpt2_tokenizer
from snellen.systems.guided_captions.caption_tuning import (
    CaptionRows,
    DroppedConditions,
    encoded,
    next_token_losses,
    train_language_model,
    tune_captioner,
)
from snellen.training.batches import Batch
from snellen.training.plan import TrainingPlan, learning_rate_factor

CAPTIONS = [["a red star", "a star on grass"], ["a blue ring", "a ring"], ["a green heart", "a small heart"]]
PLAN = TrainingPlan(epochs=20, batch_size=3, learning_rate=1e-2, weight_decay=0.0, schedule="linear")


def batch_of(images, epoch=1):
    count = len(images)
    rng = Randomness(0).child("epoch", epoch).for_examples([str(n) for n in range(count)])
    return Batch(
        images=images,
        targets=torch.zeros(count),
        weights=torch.ones(count),
        positions=torch.arange(count),
        rng=rng,
        epoch=epoch,
    )


def rows(count):
    return CaptionRows(torch.zeros(count, 1, 3, dtype=torch.long), torch.ones(count, 1, 3, dtype=torch.long))


@pytest.mark.covers("39.2")
def test_the_condition_is_dropped_for_each_example_by_a_draw_of_its_own():
    states = torch.ones(400, 2, 3)
    objective = DroppedConditions(rows(400), torch.zeros(2, 3), 0.5)
    dropped = (objective.states(batch_of(states)) == 0).flatten(1)
    assert torch.equal(dropped.any(1), dropped.all(1))  # whole examples
    assert 0.4 < float(dropped.all(1).double().mean()) < 0.6
    again = (objective.states(batch_of(states, epoch=2)) == 0).flatten(1).all(1)
    assert not torch.equal(again, dropped.all(1))
    part = batch_of(states)
    alone = Batch(**{**part.__dict__, "images": states[:7], "rng": part.rng[list(range(7))], "weights": torch.ones(7),
                     "positions": torch.arange(7), "targets": torch.zeros(7)})  # fmt: skip
    assert torch.equal((objective.states(alone) == 0).flatten(1).all(1), dropped.all(1)[:7])


@pytest.mark.covers("39.2")
def test_what_replaces_a_condition_is_the_null_condition_of_decoding(vit_gpt2, pictures, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "snellen.systems.guided_captions.caption_tuning.next_token_losses",
        lambda logits, tokens, mask: logits.mean((1, 2)),
    )
    objective = DroppedConditions(rows(5), vit_gpt2.null_condition(1)[0], 1.0)

    def model(states, tokens):
        seen.append(states)
        return states

    objective(model, batch_of(vit_gpt2.encode(pictures)))
    assert torch.equal(seen[0], vit_gpt2.null_condition(5))
    assert not bool(seen[0].any())
    black = vit_gpt2.encode(torch.zeros(1, 3, 32, 32))
    assert not torch.allclose(black, vit_gpt2.null_condition(1))


@pytest.mark.covers("39.2", "39.11")
@pytest.mark.parametrize("dropped", [0.0, 1.0])
def test_the_ends_drop_nothing_and_everything(dropped):
    states = torch.ones(50, 2, 3)
    found = DroppedConditions(rows(50), torch.zeros(2, 3), dropped).states(batch_of(states))
    assert torch.equal(found, states * (1 - dropped))


@pytest.mark.parametrize("dropped", [-0.1, 1.1])
def test_a_share_outside_of_its_range_is_refused(dropped):
    with pytest.raises(InputError, match=r"lies in \[0, 1\]"):
        DroppedConditions(rows(2), torch.zeros(2, 3), dropped)


def test_losses_count_words_and_the_end_mark_alone():
    logits = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[0, 1, 2, 3], [0, 4, 3, 3]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    logs = logits.log_softmax(2)
    first = -(logs[0, 0, 1] + logs[0, 1, 2] + logs[0, 2, 3]) / 3
    second = -(logs[1, 0, 4] + logs[1, 1, 3]) / 2
    assert torch.allclose(next_token_losses(logits, tokens, mask), torch.stack([first, second]))


@pytest.mark.covers("39.2")
def test_tuning_teaches_both_sides_and_leaves_the_given_one_alone(vit_gpt2, pictures, tmp_path, caption_folders):
    before, states = vit_gpt2.identity(), encoded(vit_gpt2, pictures[:3])
    texts = [told[0] for told in CAPTIONS]
    tuned, trained = tune_captioner(vit_gpt2, states, CAPTIONS, plan=PLAN, dropped=0.5)
    assert vit_gpt2.identity() == before != tuned.identity()
    assert trained.steps == 20
    assert bool((tuned.score(pictures[:3], texts) > vit_gpt2.score(pictures[:3], texts) + 5).all())
    assert bool((tuned.score(None, texts) > vit_gpt2.score(None, texts) + 5).all())
    same, _ = tune_captioner(vit_gpt2, states, CAPTIONS, plan=PLAN, dropped=0.5)
    assert same.identity() == tuned.identity()
    folder = write_captioner(tuned, caption_folders / "vit_gpt2", tmp_path / "tuned")
    again = load_captioner(f"hf:{folder}")
    assert again.identity() == tuned.identity()
    assert again.caption(pictures).texts == tuned.caption(pictures).texts
    with pytest.raises(InputError, match="is not empty"):
        write_captioner(tuned, caption_folders / "vit_gpt2", folder)


def test_a_tuned_captioner_writes_words_as_the_given_one_does():
    captioner = load_captioner("bundled:scene-captioner")
    plan = PLAN.model_copy(update={"epochs": 1, "learning_rate": 1e-6})
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tuned, _ = tune_captioner(captioner, encoded(captioner, images), [["a red star"]], plan=plan)
    assert tuned.caption(images).texts == captioner.caption(images).texts
    assert tuned.texts(tuned.tokenise(["a red star"])[0][None]) == ("a red star",)


def test_captions_must_fit_the_images(vit_gpt2, pictures):
    with pytest.raises(InputError, match="states of 5 images, and captions of 3"):
        tune_captioner(vit_gpt2, encoded(vit_gpt2, pictures), CAPTIONS, plan=PLAN)
    with pytest.raises(InputError, match="the same number of captions"):
        CaptionRows.of(vit_gpt2, [["a star"], ["a ring", "a heart"]])


def test_a_language_model_learns_captions_and_loads_as_any_other(vit_gpt2, tmp_path):
    begin = int(vit_gpt2.tokenise([""], ended=False)[0][0])
    torch.manual_seed(0)
    network = small_causal_model(
        len(vit_gpt2.vocabulary), begin=begin, end=vit_gpt2.end_token, context_length=32, width=32
    )
    plan = PLAN.model_copy(update={"epochs": 60})
    train_language_model(network, CaptionRows.of(vit_gpt2, [["a red star"], ["a red star"], ["a ring"]]), plan=plan)
    folder = write_causal_model(network, gpt2_tokenizer(context_length=32), tmp_path)
    language = load_causal_language_model(f"hf:{folder}")
    assert language.vocabulary == vit_gpt2.vocabulary
    row = language.tokenise(["a red star"])[0][None]
    logs = language.sequence_logits(row).log_softmax(2)[0]
    told = [float(logs[place, token].exp()) for place, token in enumerate(row[0, 1:].tolist())]
    assert told[1] == pytest.approx(2 / 3, abs=0.1)  # "red" after "a"
    assert min(told[2:]) > 0.9
    with pytest.raises(InputError, match="at most 32 tokens"):
        language.logits(row.repeat(1, 10))


def test_the_rate_falls_in_a_straight_line_after_its_rise():
    factors = [learning_rate_factor("linear", step, total_steps=10, warmup_steps=2) for step in range(10)]
    assert factors[:3] == [0.5, 1.0, 1.0]
    assert [a - b for a, b in itertools.pairwise(factors[2:])] == pytest.approx([1 / 8] * 7)
