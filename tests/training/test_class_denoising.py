"""The training of a generator of classes: its objective, what it leaves alone, and that it knows of no poison."""

import inspect

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.denoiser import add_noise, training_target
from snellen.models.diffusion.loading import load_generator
from snellen.training import class_denoising
from snellen.training.batches import Batch, ImageStore
from snellen.training.class_denoising import (
    NamedDenoising,
    fit_class_generator,
    fit_prompt_generator,
    new_class_generator,
)
from snellen.training.plan import TrainingPlan

ARCHITECTURE = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"] * 2,
    "up_block_types": ["UpBlock2D"] * 2,
    "norm_num_groups": 4,
    "add_attention": False,
}
SCHEDULE = {"num_train_timesteps": 50, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
PLAN = TrainingPlan(epochs=6, batch_size=16, learning_rate=3e-3, drop_last=True)


def fresh():
    return new_class_generator(ARCHITECTURE, SCHEDULE, ("dark", "bright"), seed=0)


def store(count=64):
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 30, (count, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    return ImageStore.of_tensors((noise + 200 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels)


@pytest.mark.covers("25.3")
def test_no_function_of_the_training_has_an_argument_that_knows_of_poison():
    for function in (fit_class_generator, fit_prompt_generator, new_class_generator, NamedDenoising.__init__):
        names = set(inspect.signature(function).parameters)
        assert not {"trigger", "poisoned", "choice", "target", "mask"} & names
    for word in ("trigger", "poison", "snellen.systems", "planting"):
        assert word not in inspect.getsource(class_denoising)


def test_the_loss_is_that_of_the_prediction_and_labels_are_left_out():
    seen = {}

    def network(noisy, timesteps, names):
        seen.update(noisy=noisy, timesteps=timesteps, names=names)
        return torch.zeros_like(noisy)

    images, targets = torch.rand(200, 3, 4, 4), torch.zeros(200, dtype=torch.int64)
    rng = Randomness(0).for_examples([str(row) for row in range(200)])
    batch = Batch(images, targets, torch.ones(200), torch.arange(200), rng)
    alphas = fresh().denoiser.alphas_cumprod
    losses = NamedDenoising(alphas, 1, empty=0.1)(network, batch)
    noise = rng.normal("noise", (3, 4, 4))
    clean = images * 2 - 1
    torch.testing.assert_close(seen["noisy"], add_noise(clean, noise, alphas, seen["timesteps"]))
    target = training_target("v_prediction", clean, noise, alphas, seen["timesteps"])
    torch.testing.assert_close(losses, target.square().flatten(1).mean(1))
    assert 8 <= int((seen["names"] == 1).sum()) <= 34
    assert targets.sum() == 0, "the labels of the batch stay as they are"
    NamedDenoising(alphas, 1, empty=0.0)(network, batch)
    assert int(seen["names"].sum()) == 0


def test_a_training_changes_a_copy_and_lowers_the_loss():
    before, examples = fresh(), store()
    weights = {name: one.clone() for name, one in before.denoiser.network.state_dict().items()}
    after = fit_class_generator(before, examples, plan=PLAN)
    assert all(torch.equal(one, weights[name]) for name, one in before.denoiser.network.state_dict().items())
    assert not before.denoiser.network.training
    assert not any(one.requires_grad for one in after.denoiser.network.parameters())
    objective = NamedDenoising(before.denoiser.alphas_cumprod, 2)
    rng = Randomness(1).for_examples(examples.ids)
    batch = Batch(examples.images.float() / 255, examples.targets, examples.weights, torch.arange(64), rng)
    found = []
    for generator in (before, after):
        torch.manual_seed(0)
        with torch.no_grad():
            call = class_denoising._ClassCall(generator.denoiser.network)
            found.append(float(objective(call, batch).mean()))
    assert found[1] < 0.8 * found[0]
    assert (after.class_names, after.null_class) == (("dark", "bright"), 2)


def test_a_generator_of_prompts_learns_in_latents():
    generator = load_generator("bundled:scene-diffusion")
    draws = torch.Generator().manual_seed(0)
    latents = torch.randn(4, *generator.latent_shape(), generator=draws)
    examples = ImageStore.of_tensors(latents, torch.tensor([0, 1, 0, 1]))
    plan = TrainingPlan(epochs=1, batch_size=4, learning_rate=1e-3)
    after = fit_prompt_generator(generator, examples, ["a star", "a ring"], plan=plan)
    old, new = (one.denoiser.network.state_dict() for one in (generator, after))
    assert any(not torch.equal(old[name], new[name]) for name in old)
    assert after.text is generator.text


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(InputError, match="classes 0 to 1; labels are 0 to 2"):
        fit_class_generator(fresh(), ImageStore.of_tensors(store().images[:3], torch.tensor([0, 1, 2])), plan=PLAN)
    scenes = load_generator("bundled:scene-diffusion")
    with pytest.raises(InputError, match="not a generator of classes in pixels"):
        fit_class_generator(scenes, store(), plan=PLAN)
    with pytest.raises(InputError, match="not a generator of prompts"):
        fit_prompt_generator(fresh(), store(), ["a", "b"], plan=PLAN)
    with pytest.raises(InputError, match="one for each prompt"):
        fit_prompt_generator(scenes, store(), ["a"], plan=PLAN)
    with pytest.raises(InputError, match="two classes at least"):
        new_class_generator(ARCHITECTURE, SCHEDULE, ("one",), seed=0)
