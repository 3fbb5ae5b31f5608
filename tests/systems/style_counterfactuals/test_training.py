"""A training that stops and resumes, the folder it ends in, and the average that images are made with."""

import shutil
from itertools import pairwise

import pytest
import torch

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, RunConflictError
from snellen.core.randomness import Randomness
from snellen.systems.style_counterfactuals.folder import CHECKPOINT, load_explainer, trained_explainer
from snellen.systems.style_counterfactuals.plan import PRESETS, kind_of
from snellen.systems.style_counterfactuals.training import train_explainer
from tests.systems.style_counterfactuals.small import PLAN, classifier, images, trained


class StoppedError(Exception):
    """Raised by the test in the middle of a training."""


def stop_at(step):
    def watch(training):
        if training.step == step:
            raise StoppedError

    return watch


@pytest.fixture(scope="module")
def whole():
    return trained(PLAN)


def equal(one, other):
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_stopped_training_ends_with_the_same_weights(whole, tmp_path):
    file = tmp_path / CHECKPOINT
    with pytest.raises(StoppedError):
        trained(PLAN, checkpoint=file, every=1, watch=stop_at(3))
    assert file.is_file()
    steps = []
    resumed = trained(PLAN, checkpoint=file, every=1, watch=lambda one: steps.append(one.step))
    assert steps == [3, 4]  # the row and the checkpoint of step 3 were not written yet
    assert equal(resumed.explainer, whole.explainer)


@pytest.mark.parametrize(("what", "differs"), [("plan", r"plan\.batch_size"), ("seed", "seed"), ("images", "images")])
def test_a_checkpoint_of_another_training_is_refused(what, differs, tmp_path):
    file = tmp_path / CHECKPOINT
    trained(PLAN.model_copy(update={"steps": 1}), checkpoint=file)
    plan = PLAN.model_copy(update={"steps": 1, **({"batch_size": 3} if what == "plan" else {})})
    rng, data = Randomness(1 if what == "seed" else 0), images(seed=5 if what == "images" else 0)
    with pytest.raises(RunConflictError, match=differs):
        train_explainer(classifier(), data, plan, rng, checkpoint=file)


def test_the_folder_of_a_generator_gives_the_same_generator(tmp_path):
    folder = tmp_path / "my generator"
    made = trained_explainer(folder, classifier(), images(), PLAN, Randomness(0), size=None)
    assert sorted(one.name for one in folder.iterdir()) == ["card.json", "weights.safetensors"]
    assert equal(load_explainer(folder, classifier()), made)
    again = trained_explainer(folder, classifier(), images(), PLAN, Randomness(3), size=None)
    assert equal(again, made)
    with pytest.raises(InputError, match="trained on other images"):
        trained_explainer(folder, classifier(), images(seed=9), PLAN, Randomness(0), size=None)
    other = PLAN.model_copy(update={"rec_scale": 7.0})
    with pytest.raises(InputError, match=r"was trained with rec_scale 1.0, and 7.0 is asked for"):
        trained_explainer(folder, classifier(), images(), other, Randomness(0), size=None)


def test_a_kill_while_a_finished_training_is_saved_loses_nothing(whole, tmp_path, monkeypatch):
    """Weights are written before the card: with weights and checkpoint alone, the training is saved again."""
    folder, save = tmp_path / "generator", Artifact.save

    def stopping(artifact, place):
        save(artifact, place)
        (place / "card.json").unlink()
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(Artifact, "save", stopping)
        with pytest.raises(StoppedError):
            trained_explainer(folder, classifier(), images(), PLAN, Randomness(0), size=None)
    assert sorted(one.name for one in folder.iterdir()) == [CHECKPOINT, "weights.safetensors"]
    assert equal(trained_explainer(folder, classifier(), images(), PLAN, Randomness(0), size=None), whole.explainer)
    (folder / "card.json").unlink()
    with pytest.raises(InputError, match=r"holds 'weights.safetensors' and no generator"):
        trained_explainer(folder, classifier(), images(), PLAN, Randomness(0), size=None)


def test_a_folder_for_another_classifier_or_of_something_else_is_refused(tmp_path):
    folder = tmp_path / "generator"
    trained_explainer(folder, classifier(), images(), PLAN, Randomness(0), size=None)
    with pytest.raises(InputError, match="for another classifier than bright"):
        load_explainer(folder, classifier(3))
    changed = classifier()
    torch.nn.init.constant_(changed.module.map.bias, 0.01)
    with pytest.raises(InputError, match="for another classifier than bright"):
        load_explainer(folder, changed)
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes.txt' and no generator"):
        trained_explainer(folder, classifier(), images(), PLAN, Randomness(0), size=None)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        trained_explainer(file, classifier(), images(), PLAN, Randomness(0), size=None)


def test_damaged_weights_are_refused(tmp_path):
    folder = tmp_path / "generator"
    trained_explainer(folder, classifier(), images(), PLAN, Randomness(0), size=None)
    file = folder / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(InputError, match="sha256"):
        load_explainer(folder, classifier())


def test_the_average_starts_at_the_generator_and_follows_it():
    plan = PLAN.model_copy(update={"steps": 2, "average_start": 2})
    copied = trained(plan).explainer
    assert equal(copied.average, copied.generator)
    states = []

    def keep(training):
        states.append({name: one.clone() for name, one in training.explainer.generator.state_dict().items()})

    plan = PLAN.model_copy(update={"steps": 5, "average_start": 1, "average_every": 2, "average_decay": 0.9})
    followed = trained(plan, watch=keep).explainer.average.state_dict()
    for name, first in states[0].items():  # copied after step 0, moved after steps 2 and 4
        by_hand = 0.9 * (0.9 * first + 0.1 * states[2][name]) + 0.1 * states[4][name]
        assert torch.allclose(followed[name], by_hand, atol=1e-6), name
    assert any(not torch.allclose(followed[name], states[0][name], atol=1e-6) for name in followed)


@pytest.mark.parametrize("preset", ["published", "small"])
@pytest.mark.parametrize("factor", [0.05, 0.5, 3])
def test_an_average_spans_the_same_share_of_a_run_of_any_length(preset, factor):
    def spans(plan):
        """Times that the average forgets to 37 % until the end."""
        return (plan.steps - plan.average_start) * (1 - plan.average_decay) / plan.average_every

    own = PRESETS[preset]
    other = own.lasting(round(own.steps * factor))
    assert other.average_start / other.steps == pytest.approx(own.average_start / own.steps, abs=0.01)
    assert spans(own) > 5
    assert spans(other) == pytest.approx(spans(own), rel=0.02)
    assert own.lasting(own.steps) == own
    assert own.lasting(2).average_decay == 0


def test_an_average_that_starts_after_the_end_is_the_generator():
    plan = PLAN.model_copy(update={"steps": 2})
    short = trained(plan.model_copy(update={"average_start": 50})).explainer
    assert equal(short.average, short.generator)


def test_steps_take_turns():
    assert [kind_of(step) for step in range(4)] == ["noise", "encoder", "noise", "encoder"]
    assert [kind_of(step, warm_up=2) for step in range(4)] == ["encoder", "encoder", "noise", "encoder"]


def test_a_warm_up_rebuilds_images_and_leaves_the_critic_as_it_was():
    """Every step of it encodes images; noise, mapping and critic wait."""
    states, losses = [], []

    def keep(training):
        states.append({name: one.clone() for name, one in training.explainer.state_dict().items()})
        losses.append(training.losses)

    trained(PLAN.model_copy(update={"steps": 4, "warm_up": 3}), watch=keep)
    assert [sorted(one) for one in losses[:3]] == [["nearness"]] * 3
    assert sorted(losses[3]) == ["adversarial", "consistency", "critic", "reconstruction"]
    for name, first in states[0].items():
        waits = name.startswith(("critic.", "generator.mapping."))
        if waits:
            assert torch.equal(first, states[2][name]), name
    assert any(not torch.equal(states[2][name], states[3][name]) for name in states[0] if name.startswith("critic."))
    assert not torch.equal(states[0]["generator.constant"], states[1]["generator.constant"])


def test_a_warm_up_has_a_rate_and_an_optimiser_of_its_own_and_ends_at_those_of_the_plan():
    plan, seen = PLAN.model_copy(update={"steps": 34, "warm_up": 32, "learning_rate": 1e-4}), []

    def keep(training):
        group = training.maker.param_groups[0]
        seen.append((group["lr"], tuple(group["betas"])))

    trained(plan, watch=keep)
    rates = [rate for rate, _ in seen]
    assert rates[:2] == [plan.warm_up_rate / 2, plan.warm_up_rate], "it rises over a sixteenth of the warm-up"
    assert all(before > after for before, after in pairwise(rates[2:32]))
    assert rates[32:] == [1e-4, 1e-4]
    assert {betas for _, betas in seen[:32]} == {plan.warm_up_betas}
    assert {betas for _, betas in seen[32:]} == {plan.betas}


def test_a_shorter_run_has_a_shorter_warm_up_and_the_published_one_has_none():
    assert PRESETS["published"].warm_up == 0
    small = PRESETS["small"]
    assert 0 < small.warm_up < small.average_start < small.steps
    assert small.lasting(small.steps // 4).warm_up == small.warm_up // 4


def test_presets_are_valid_and_the_small_one_has_few_coordinates():
    assert PRESETS["published"].sizes.side == 64
    assert PRESETS["small"].sizes.shape(2).coordinates == 296


def test_single_scale_encoders_are_trained(tmp_path):
    sizes = PLAN.sizes.model_copy(update={"encoder": "single"})
    found = trained(PLAN.model_copy(update={"sizes": sizes}))
    assert all(one.requires_grad for one in found.explainer.encoder.parameters())
