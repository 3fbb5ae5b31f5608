"""Transfer without data: what teacher and student see, the loss, and that nothing else is read."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.images import ImageSet, Provenance
from snellen.core.randomness import Randomness
from snellen.methods.generation.synthetic_images import SyntheticImages, synthetic_images
from snellen.methods.generation.teachers import classifier_teacher, map_teacher, pictures
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.systems.plug_and_play_guidance.expert_fitting import experts_of, fit_experts
from snellen.systems.plug_and_play_guidance.knowledge_transfer import (
    NoisyImages,
    Transfer,
    map_error,
    sharpened_divergence,
    taught_examples,
)
from snellen.systems.plug_and_play_guidance.low_rank_experts import NoiseRanges
from snellen.training.batches import ImageStore
from tests.methods.generation.tiny_guided import (
    FIT,
    NAMES,
    batch_of,
    made,
    normal_generator,
    tiny_classifier,
)


@pytest.mark.covers("12.6")
def test_the_teacher_sees_clean_images_under_its_own_normalisation(teacher):
    store = taught_examples(teacher, normal_generator(), made())
    classifier = tiny_classifier()
    for turned, images in enumerate((made().images, made().images.flip(3))):
        expected = classifier(images.float() / 255)
        torch.testing.assert_close(store.targets[:, turned], expected, atol=1e-5, rtol=1e-5)
    assert store.images.dtype == torch.uint8


@pytest.mark.covers("12.6")
def test_the_student_sees_the_noisy_image_and_gets_what_the_teacher_said_of_the_same_side(teacher):
    generator, seen = normal_generator(), []
    store = taught_examples(teacher, generator, made())
    ranges = NoiseRanges(4, 100)

    class Student(nn.Module):
        def forward(self, images):
            seen.append(images)
            return torch.zeros(len(images), 3)

    told = []
    transfer = Transfer(NoisyImages(generator, teacher, ranges, 2), lambda answers, taught: told.append(taught))
    batch = batch_of(store, [5, 1, 0, 7])
    transfer(Student(), batch)
    mirrored = batch.rng.uniform("mirrored", ()) < 0.5
    assert 0 < int(mirrored.sum()) < 4
    for row, position in enumerate([5, 1, 0, 7]):
        clean = made().images[position].float() / 255
        clean = clean.flip(2) if mirrored[row] else clean
        timestep = int(ranges.draw(2, batch.rng, like=clean)[row])
        assert 50 <= timestep < 75
        kept = generator.denoiser.alphas_cumprod[timestep]
        noise = batch.rng.normal("noise", (3, 8, 8))[row]
        noisy = kept.sqrt() * (2 * clean - 1) + (1 - kept).sqrt() * noise
        expected = tiny_classifier().normalise((noisy / 2 + 0.5)[None])[0]
        torch.testing.assert_close(seen[0][row], expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(told[0][row], tiny_classifier()(clean[None])[0], atol=1e-5, rtol=1e-4)


@pytest.mark.covers("12.6")
def test_no_label_is_read(teacher, monkeypatch):
    """Neither a label of images, nor a class that a generator could be told, nor a loss on labels."""

    def refuse(*_):
        raise AssertionError("a label was asked for")

    monkeypatch.setattr(ImageSet, "labels", property(refuse))
    monkeypatch.setattr("snellen.models.diffusion.generator.Generator.encode_classes", refuse)
    monkeypatch.setattr("snellen.models.diffusion.generator.Generator.encode_prompts", refuse)
    monkeypatch.setattr("snellen.training.objectives.cross_entropy", refuse)
    monkeypatch.setattr("torch.nn.functional.cross_entropy", refuse)
    generator = normal_generator()
    drawn = synthetic_images(generator, 8, steps=2, rng=Randomness(0))
    artifact = fit_experts(teacher, generator, drawn, fit=FIT, rng=Randomness(0))
    assert len(artifact.card.history) == 2
    assert not hasattr(drawn, "labels")


@pytest.mark.covers("12.7")
def test_the_temperature_is_the_teachers_alone_and_the_reduction_is_a_factor():
    teacher, student = torch.randn(4, 5), torch.randn(4, 5)
    wanted = (teacher / 0.25).softmax(1)
    by_hand = (wanted * (wanted.log() - student.log_softmax(1))).sum(1)
    torch.testing.assert_close(sharpened_divergence(0.25, "sum")(student, teacher), by_hand, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sharpened_divergence(0.25)(student, teacher), by_hand / 5, atol=1e-4, rtol=1e-4)
    published = nn.KLDivLoss(reduction="none")(student.log_softmax(1), wanted).mean(-1)
    torch.testing.assert_close(sharpened_divergence()(student, teacher), published)
    assert not torch.allclose(sharpened_divergence(1.0, "sum")(student, teacher), by_hand, atol=1e-2)
    half = sharpened_divergence()(student.to(torch.bfloat16), teacher)
    assert half.dtype == torch.float32
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="temperature is a number above 0"):
            sharpened_divergence(wrong)


@pytest.mark.covers("12.8")
def test_images_are_the_generators_own():
    generator = normal_generator()
    drawn = synthetic_images(generator, 5, steps=2, rng=Randomness(1))
    assert (drawn.images.dtype, len(drawn)) == (torch.uint8, 5)
    assert {origin.generator for origin in drawn.provenance} == {"normal"}
    assert len({origin.seed for origin in drawn.provenance}) == 5
    again = synthetic_images(generator, 3, steps=2, rng=Randomness(1))
    assert torch.equal(again.images, drawn.images[:3]), "an image does not depend on how many there are"
    assert not torch.equal(synthetic_images(generator, 3, steps=2, rng=Randomness(2)).images, again.images)


def test_a_generator_with_an_autoencoder_is_read_decoded(tmp_path):
    """The latents are noised, and what is decoded of them is shown."""
    generator = load_generator(f"diffusers:{write_smoke_folder('stable-diffusion-1.5', tmp_path / 'sd')}")
    teacher = map_teacher(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1)), name="depth")
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    synthetic = SyntheticImages(images, (Provenance(origin="generated", generator=generator.name),) * 4)
    store = taught_examples(teacher, generator, synthetic)
    assert (tuple(store.images.shape), tuple(store.targets.shape)) == ((4, 2, 4, 8, 8), (4, 2, 1, 64, 64))
    noisy = NoisyImages(generator, teacher, NoiseRanges(2, 1000), 1)
    batch, mirrored = batch_of(store, [2, 0]), torch.tensor([True, False])
    latents = torch.stack([store.images[2, 1], store.images[0, 0]])
    kept = generator.denoiser.alphas_cumprod[noisy.ranges.draw(1, batch.rng, like=latents)].view(-1, 1, 1, 1)
    expected = kept.sqrt() * latents + (1 - kept).sqrt() * batch.rng.normal("noise", (4, 8, 8))
    with torch.no_grad():
        torch.testing.assert_close(noisy(batch, mirrored), pictures(generator, expected), atol=1e-4, rtol=1e-4)
    fit = FIT.model_copy(update={"iterations": 1})
    artifact = fit_experts(teacher, generator, synthetic, fit=fit, rng=Randomness(0))
    assert artifact.card.class_names == ()
    assert artifact.card.metrics["expert_0.loss"] > 0


def test_a_training_may_run_on_another_device_than_teacher_and_generator(teacher):
    """Latents go to the generator, and what is seen comes back; "meta" stands for a device that may be missing here."""
    generator, seen = normal_generator(), []
    generator.denoiser.network.to("meta")
    far = dataclasses.replace(teacher, prepare=lambda images: seen.append(images) or images)
    noisy = NoisyImages(generator, far, NoiseRanges(2, 100), 1)
    batch = batch_of(ImageStore.of_tensors(torch.zeros(2, 2, 3, 8, 8), torch.zeros(2)), [0, 1])
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        noisy(batch, torch.tensor([True, False]))
    assert [(images.device.type, tuple(images.shape)) for images in seen] == [("meta", (2, 3, 8, 8))]


def test_a_segmentation_is_taught_place_by_place():
    teacher = map_teacher(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 1)), name="parts")
    answers, taught = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    loss = sharpened_divergence()
    places = loss(answers.permute(0, 2, 3, 1).reshape(-1, 5), taught.permute(0, 2, 3, 1).reshape(-1, 5))
    torch.testing.assert_close(loss(answers, taught), places.view(2, -1).mean(1))
    artifact = fit_experts(teacher, normal_generator(), made(), fit=FIT, rng=Randomness(0), loss=loss)
    found = experts_of(artifact, teacher, normal_generator())(torch.rand(2, 3, 8, 8), torch.tensor([3.0, 70.0]))
    assert tuple(found.shape) == (2, 5, 8, 8)


def test_maps_are_compared_by_their_squared_error():
    found = map_error(torch.zeros(2, 1, 2, 2), torch.stack([torch.ones(1, 2, 2), torch.eye(2)[None]]))
    assert found.tolist() == [1.0, 0.5]


def test_a_teacher_tells_one_class_of_several_and_has_gradients():
    assert classifier_teacher(tiny_classifier()).class_names == NAMES
    with pytest.raises(UnsupportedError, match="needs a torch module with gradients"):
        classifier_teacher(Classifier(lambda images: images.mean((2, 3)), class_names=NAMES))
