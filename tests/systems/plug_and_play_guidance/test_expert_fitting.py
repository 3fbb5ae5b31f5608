"""The fit of experts: ranges, starts, what is kept of it and to what it belongs; the baselines with labels."""

import pytest
import torch

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.methods.generation.synthetic_images import SyntheticImages
from snellen.methods.generation.teachers import classifier_teacher, latents_of
from snellen.systems.plug_and_play_guidance import expert_fitting
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit, experts_of, fit_experts, recorded_fit
from snellen.systems.plug_and_play_guidance.knowledge_transfer import (
    NoisyImages,
    sharpened_divergence,
    taught_examples,
)
from snellen.systems.plug_and_play_guidance.low_rank_experts import NoiseRanges
from snellen.systems.plug_and_play_guidance.supervised_experts import fit_supervised
from snellen.training.batches import ImageStore
from snellen.training.transforms import random_shifts
from tests.methods.generation.tiny_guided import (
    FIT,
    batch_of,
    bytes_of,
    made,
    normal_generator,
    tiny_classifier,
    tiny_network,
)


@pytest.mark.covers("12.7")
def test_temperature_and_reduction_reach_the_training(teacher):
    losses = [
        fit_experts(
            teacher, normal_generator(), made(), fit=FIT.model_copy(update=changes), rng=Randomness(0)
        ).card.metrics["expert_0.loss"]
        for changes in ({}, {"reduction": "sum"}, {"temperature": 1.0})
    ]
    assert losses[1] > 2 * losses[0]
    assert losses[2] < losses[0]


@pytest.mark.covers("12.8")
def test_images_of_another_generator_are_refused(teacher):
    with pytest.raises(InputError, match="they will guide, normal; these were made by another"):
        fit_experts(teacher, normal_generator(), made(generator="another"), fit=FIT, rng=Randomness(0))
    with pytest.raises(InputError, match="synthetic images are bytes"):
        SyntheticImages(bytes_of().float() / 127.5 - 1, made().provenance)
    with pytest.raises(InputError, match="8 images came with the provenance of 7"):
        SyntheticImages(bytes_of(), made().provenance[:7])
    with pytest.raises(InputError, match=r"clean images lie in \[0, 1\]; got values from -1 to 1"):
        latents_of(normal_generator(), torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 8, 2))


def test_experts_learn_what_the_teacher_says(teacher):
    fit = TransferFit(experts=2, rank=4, alpha=8, synthetic=64, iterations=150, batch_size=32, learning_rate=5e-3)
    generator, images = normal_generator(), made(64)
    artifact = fit_experts(teacher, generator, images, fit=fit, rng=Randomness(0))
    store = taught_examples(teacher, generator, images)
    experts, loss = experts_of(artifact, teacher, generator), sharpened_divergence()
    batch = batch_of(store, list(range(64)))
    noisy = NoisyImages(generator, teacher, experts.ranges, 0)
    seen, plain = noisy(batch, torch.zeros(64, dtype=torch.bool)), store.targets[:, 0]
    before, after = loss(teacher.network(seen), plain).mean(), loss(experts.answer(0, seen), plain).mean()
    assert float(after) < 0.7 * float(before)


@pytest.mark.covers("12.1", "12.2", "12.9")
def test_each_expert_is_fitted_to_its_own_range_and_keeps_its_own_statistics(teacher, monkeypatch):
    seen = []
    real = NoiseRanges.draw

    def watched(ranges, expert, rng, *, like):
        found = real(ranges, expert, rng, like=like)
        seen.append(sorted({int(timestep) // 50 for timestep in found}))
        return found

    monkeypatch.setattr(NoiseRanges, "draw", watched)
    artifact = fit_experts(teacher, normal_generator(), made(), fit=FIT, rng=Randomness(0))
    assert seen == [[0], [0], [1], [1]], "two steps of each expert, in its half of 100 timesteps"
    means = [artifact.tensors[f"{expert}.1.running_mean"] for expert in range(2)]
    for one, other in ((means[0], means[1]), (means[0], teacher.network[1].running_mean)):
        assert not torch.equal(one, other)
    seen.clear()
    store = ImageStore.of_tensors(bytes_of(), torch.arange(8) % 3)
    fit_supervised(teacher, normal_generator(), store, fit=FIT, rng=Randomness(0))
    assert seen == [[0], [0], [1], [1]]


def test_a_fit_takes_as_many_steps_as_requested_and_its_rate_falls_to_nothing_in_a_line():
    plan = TransferFit(iterations=160, batch_size=64, learning_rate=2e-3).plan(600, 7)
    steps = plan.epochs * (600 // 64)
    assert 160 <= steps < 160 + 600 // 64
    assert (plan.schedule, plan.warmup_steps, plan.clip_norm, plan.drop_last) == ("linear", 0, None, True)
    assert (plan.learning_rate, plan.weight_decay, plan.optimizer, plan.seed) == (2e-3, 0.05, "adamw", 7)
    assert TransferFit(batch_size=64).plan(10, 0).batch_size == 10


@pytest.mark.parametrize("warm", [True, False])
def test_an_expert_begins_where_the_last_one_ended_or_anew(teacher, monkeypatch, warm):
    begun = []
    real = expert_fitting.train

    def watched(student, *given, **options):
        begun.append(expert_fitting.own_tensors(student))
        return real(student, *given, **options)

    monkeypatch.setattr(expert_fitting, "train", watched)
    fit = FIT.model_copy(update={"warm_start": warm})
    artifact = fit_experts(teacher, normal_generator(), made(), fit=fit, rng=Randomness(0))
    ended = {name: artifact.tensors[f"0.{name}"] for name in begun[0]}
    assert all(torch.equal(begun[1][name], ended[name]) for name in ended) == warm
    assert (float(begun[1]["0.lora_B"].abs().max()) > 0) == warm


@pytest.mark.covers("12.11")
def test_an_artifact_holds_the_adapters_alone_and_goes_onto_a_fresh_teacher(teacher, tmp_path):
    generator = normal_generator()
    artifact = fit_experts(teacher, generator, made(), fit=FIT, rng=Randomness(0))
    artifact.save(tmp_path / "experts")
    loaded = Artifact.load(tmp_path / "experts")
    teachers_own = set(teacher.network.state_dict())
    weights = {name for name in teachers_own if name.split(".")[0] in ("0", "3", "5") and name.endswith("weight")}
    assert not {name.split(".", 1)[1] for name in loaded.tensors} & (weights - {"3.norm.weight", "3.shortcut.1.weight"})
    assert not any(name.endswith(("5.weight", "5.bias")) for name in loaded.tensors)
    card = loaded.card
    assert (card.kind, card.architecture["ranges"]) == ("adapter", [[0, 50], [50, 100]])
    assert card.lineage.parent == card.architecture["teacher_weights"] == teacher.identity()
    assert recorded_fit(loaded) == FIT.model_dump(mode="json")
    fresh = classifier_teacher(tiny_classifier())
    images = torch.rand(4, 3, 8, 8)
    timesteps = torch.tensor([3.0, 70.0, 49.0, 50.0])
    one, other = experts_of(artifact, teacher, generator), experts_of(loaded, fresh, generator)
    assert torch.equal(one(images, timesteps), other(images, timesteps))
    assert not torch.equal(one(images, timesteps), teacher.network(images))


@pytest.mark.covers("12.11")
def test_what_experts_do_not_belong_to_is_refused(teacher):
    generator = normal_generator()
    artifact = fit_experts(teacher, generator, made(), fit=FIT, rng=Randomness(0))
    with pytest.raises(InputError, match=r"fitted with the teacher tiny .* tiny has other weights"):
        experts_of(artifact, classifier_teacher(tiny_classifier(seed=1)), generator)
    other = normal_generator()
    other.denoiser.network.weight.data.fill_(0.5)
    with pytest.raises(InputError, match="fitted with the generator normal"):
        experts_of(artifact, teacher, other)
    pets = Classifier(tiny_network(), class_names=["cat", "dog", "owl"])
    with pytest.raises(InputError, match=r"knows 3 classes \(red, green, blue, …\) and classifier 3 \(cat"):
        experts_of(artifact, classifier_teacher(pets), generator)
    missing = Artifact({name: part for name, part in artifact.tensors.items() if name[0] == "0"}, artifact.card)
    with pytest.raises(InputError, match="no tensors of expert 1, so its range of noise has no expert"):
        experts_of(missing, teacher, generator)
    wrong = Artifact(artifact.tensors, artifact.card.model_copy(update={"kind": "sae"}))
    with pytest.raises(InputError, match="is a sae"):
        experts_of(wrong, teacher, generator)
    with pytest.raises(InputError, match="there are 1 to 100 experts"):
        fit_experts(teacher, generator, made(), fit=FIT.model_copy(update={"experts": 101}), rng=Randomness(0))


def test_a_stopped_fit_goes_on_with_the_expert_that_it_was_at(teacher, tmp_path):
    class Counting(Silent):
        steps = 0.0

        def advance(self, task, amount, note=""):
            self.steps += amount * (task == "train" and note != "")

    fit, generator = FIT, normal_generator()
    whole = Counting()
    first = fit_experts(
        teacher, generator, made(), fit=fit, rng=Randomness(0), checkpoint=tmp_path / "c.safetensors", progress=whole
    )
    again = Counting()
    second = fit_experts(
        teacher, generator, made(), fit=fit, rng=Randomness(0), checkpoint=tmp_path / "c.safetensors", progress=again
    )
    assert (whole.steps, again.steps) == (4, 0)
    assert all(torch.equal(part, second.tensors[name]) for name, part in first.tensors.items())


@pytest.mark.parametrize("experts", [1, 2])
def test_baselines_with_labels_change_every_weight(teacher, experts):
    generator = normal_generator()
    store = ImageStore.of_tensors(bytes_of(), torch.arange(8) % 3)
    fit = FIT.model_copy(update={"experts": experts, "iterations": 4})
    found = fit_supervised(teacher, generator, store, fit=fit, rng=Randomness(0), transform=random_shifts(1))
    images, timesteps = torch.rand(3, 3, 8, 8), torch.tensor([99.0, 0.0, 60.0])
    answers = found(images, timesteps)
    for row, timestep in enumerate(timesteps):
        network = found.networks[int(timestep) * experts // 100]
        torch.testing.assert_close(answers[row : row + 1], network(images[row : row + 1]), atol=1e-5, rtol=1e-5)
    for name, weight in found.networks[0].named_parameters():
        assert not torch.equal(weight, teacher.network.get_parameter(name)), name
    assert len(found.networks) == experts
    wrong = ImageStore.of_tensors(bytes_of(), torch.arange(8))
    with pytest.raises(InputError, match="tiny has 3 classes"):
        fit_supervised(teacher, generator, wrong, fit=fit, rng=Randomness(0))
