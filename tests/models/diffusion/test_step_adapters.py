"""Adapters and edits inside the sampler: each sample as if it ran alone, whatever the rows of a call are."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.guidance import classifier_free
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.low_rank import SLIDER
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.models.diffusion.step_adapters import StepAdapters, StepEdit, TimeGate, by_rows
from snellen.models.diffusion.step_view import NetworkCall
from snellen.models.layers.layer_edits import scale

pytest.importorskip("diffusers")
pytest.importorskip("peft")


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    folder = write_smoke_folder("stable-diffusion-2.1", tmp_path_factory.mktemp("smoke") / "sd")
    return load_generator(f"diffusers:{folder}")


@pytest.fixture(scope="module")
def adapters(generator):
    made = Adapters(generator.denoiser.network)
    made.add("snow", SLIDER, rng=Randomness(0))
    with torch.no_grad():
        for index, parameter in enumerate(made.parameters("snow")):
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    return made


def sample(generator, seeds, context=None, *, scales=5.0, steps=4):
    """Latents before each step and at the end, under guidance."""
    sampler = Sampler(generator, steps=steps)
    condition = generator.encode_prompts(["a red star"] * len(seeds))
    negative = generator.encode_prompts(["blurry"] * len(seeds))
    state = sampler.start(seeded(seeds))
    trail = [state.latents]
    for step in range(steps):
        state = sampler.run(
            state, condition, guidance=[classifier_free(scales, negative)], context=context, until=step + 1
        )
        trail.append(state.latents)
    return torch.stack(trail)


# -- oracle ----------------------------------------------------------------------------------------------------------


def test_each_sample_of_a_guided_batch_runs_as_if_alone(generator, adapters):
    strengths = torch.tensor([0.0, 0.5, 2.0])
    # The second sample is not guided: calls have three and two rows for each sample in turn, not whole batches.
    together = sample(generator, [1, 2, 3], StepAdapters(adapters, {"snow": strengths}), scales=[5.0, 1.0, 3.0])
    for row, (seed, guidance) in enumerate([(1, 5.0), (2, 1.0), (3, 3.0)]):
        alone = sample(generator, [seed], StepAdapters(adapters, {"snow": float(strengths[row])}), scales=guidance)
        assert torch.allclose(together[:, row], alone[:, 0], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(together[-1, 2], sample(generator, [3], scales=3.0)[-1, 0], atol=1e-2)


def test_an_edit_of_layers_equals_the_same_edit_of_single_samples(generator):
    factors = torch.tensor([1.0, 0.0, -2.0])
    network = generator.denoiser.network
    edit = StepEdit(network, "*.attn1", lambda call: scale(by_rows(factors, call)))
    together = sample(generator, [1, 2, 3], edit)
    for row, seed in enumerate([1, 2, 3]):
        alone = sample(generator, [seed], StepEdit(network, "*.attn1", lambda _, row=row: scale(float(factors[row]))))
        assert torch.allclose(together[:, row], alone[:, 0], rtol=1e-3, atol=1e-4)
    plain = sample(generator, [1, 2, 3])
    assert torch.equal(together[:, 0], plain[:, 0])
    assert not torch.allclose(together[-1, 1], plain[-1, 1], atol=1e-3)


# -- properties ------------------------------------------------------------------------------------------------------


def test_strength_zero_is_the_generator_without_adapters_bit_for_bit(generator, adapters):
    off = sample(generator, [1, 2], StepAdapters(adapters, {"snow": torch.zeros(2)}))
    plain = sample(generator, [1, 2])
    assert torch.equal(off, plain)
    mixed = sample(generator, [1, 2], StepAdapters(adapters, {"snow": torch.tensor([0.0, 1.0])}))
    assert torch.equal(mixed[:, 0], plain[:, 0])


def test_no_strength_changes_latents_before_the_gate_opens(generator, adapters):
    gate = TimeGate(at_most=750)
    sampler = Sampler(generator, steps=4)
    solver = sampler.new_solver()
    closed = sum(solver.timestep(step) > 750 for step in range(4))
    assert 0 < closed < 4
    plain = sample(generator, [1])
    for strength in (0.5, 2.0):
        trail = sample(generator, [1], StepAdapters(adapters, {"snow": strength}, gate))
        assert torch.equal(trail[: closed + 1], plain[: closed + 1])
        assert not torch.equal(trail[closed + 1], plain[closed + 1])


def test_calls_of_other_networks_are_left_alone(generator, adapters, tmp_path):
    folder = write_smoke_folder("stable-diffusion-2.1", tmp_path / "sd", seed=1)
    other = load_generator(f"diffusers:{folder}")
    stranger = Adapters(other.denoiser.network)
    stranger.add("fog", SLIDER, rng=Randomness(0))
    plain = sample(generator, [1])
    assert torch.equal(sample(generator, [1], StepAdapters(stranger, {"fog": 3.0})), plain)
    assert torch.equal(sample(generator, [1], StepEdit(other.denoiser.network, "*.attn1", lambda _: torch.neg)), plain)
    stranger.unload()


def test_an_edit_may_leave_a_call_alone(generator):
    edit = StepEdit(
        generator.denoiser.network, "*.attn1", lambda call: torch.zeros_like if call.timestep < 500 else None
    )
    plain, edited = sample(generator, [1]), sample(generator, [1], edit)
    assert torch.equal(edited[2], plain[2])
    assert not torch.equal(edited[-1], plain[-1])


def test_nothing_is_left_after_an_error(generator, adapters):
    call = NetworkCall(generator.denoiser, 500.0, torch.arange(2), 2)
    context = StepAdapters(adapters, {"snow": 1.0})
    with pytest.raises(ZeroDivisionError), context.active(call):
        raise ZeroDivisionError
    plain = sample(generator, [1])
    assert torch.equal(sample(generator, [1], StepAdapters(adapters, {"snow": 0.0})), plain)


@pytest.mark.parametrize("timestep", [0, 199, 200, 201, 399, 400, 750, 999])
def test_gates_of_experts_share_the_schedule_without_overlap(timestep):
    gates = [TimeGate(at_least=200 * part, below=200 * (part + 1)) for part in range(5)]
    assert [gate.is_open(timestep) for gate in gates].index(True) == timestep // 200
    assert sum(gate.is_open(timestep) for gate in gates) == 1
    assert TimeGate().is_open(timestep)
    assert TimeGate(at_most=750).is_open(timestep) == (timestep <= 750)


# -- failures --------------------------------------------------------------------------------------------------------


def test_strengths_of_another_batch_are_refused(generator, adapters):
    with pytest.raises(InputError, match=r"one value for each of the 2 samples of the batch, got \(3,\)"):
        sample(generator, [1, 2], StepAdapters(adapters, {"snow": torch.ones(3)}))


@pytest.mark.parametrize("limits", [{"at_least": 500, "at_most": 400}, {"at_least": 400, "below": 400}])
def test_a_gate_that_never_opens_is_refused(limits):
    with pytest.raises(InputError, match="no timestep passes this gate"):
        TimeGate(**limits)
