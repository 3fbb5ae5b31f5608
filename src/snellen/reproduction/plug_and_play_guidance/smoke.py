"""System 12 in the shapes of the published networks: what an expert adds to them, and every stage on random weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import import_extra
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.methods.generation.class_steer import ClassSteer
from snellen.methods.generation.classifier_scores import by_experts
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.methods.generation.synthetic_images import synthetic_images
from snellen.methods.generation.teachers import classifier_teacher
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.low_rank import LowRank
from snellen.models.diffusion.sampler import Sampler
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit, experts_of, fit_experts
from snellen.systems.plug_and_play_guidance.low_rank_experts import LowRankExperts, NoiseRanges, own_tensors, student_of
from snellen.training.acceleration import seeded

#: The published rank and alpha, and their number of experts in the small experiment.
PUBLISHED, EXPERTS = LowRank(rank=16, alpha=8.0), 4

_IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def shape_figures() -> dict[str, float]:
    """What experts add to a ResNet-50 and a DeiT-S.

    Returns:
        ``parameters`` (trained, of one expert) and ``share`` of the network's, for ``resnet50`` and ``deit_small``;
        ``resnet50.memory``, network and four experts over the network, and ``resnet50.memory_in_use``, with the one
        merged set of tensors that is held while images are made.
    """
    resnet, deit = (fresh_experts(_network(name)) for name in ("resnet50", "deit_small_patch16_224"))
    whole, small = resnet.bytes
    merged = sum(tensor.nbytes for tensor in resnet.merged(0).values())
    return {
        "resnet50.parameters": float(resnet.parameters),
        "resnet50.share": resnet.share,
        "resnet50.memory": (whole + small) / whole,
        "resnet50.memory_in_use": (whole + small + merged) / whole,
        "deit_small.parameters": float(deit.parameters),
        "deit_small.share": deit.share,
    }


def fresh_experts(network: nn.Module) -> LowRankExperts:
    """Four untrained experts of a network, at the published rank."""
    own = []
    for expert in range(EXPERTS):
        own.append(own_tensors(student_of(network, PUBLISHED, Randomness(0), name=f"expert {expert}")))
    return LowRankExperts(network, NoiseRanges(EXPERTS, 1000), tuple(own), PUBLISHED)


def smoke_figures(seed: int) -> dict[str, float]:
    """Synthetic images, transfer, and guidance of two images; of no meaning but that all of it runs and is finite."""
    network = _network("resnet50")
    names = [f"class {number}" for number in range(1000)]
    preparation = Preprocessing(size=(224, 224), resize="shorter", resize_to=(232, 232))
    guide = Classifier(network, class_names=names, preparation=preparation, normalization=_IMAGENET, name="resnet50")
    with tempfile.TemporaryDirectory() as folder:
        generator = load_generator(f"diffusers:{write_smoke_folder('adm-256', Path(folder) / 'adm-256', seed=seed)}")
    teacher, rng = classifier_teacher(guide), Randomness(seed)
    fit = TransferFit(experts=2, synthetic=2, synthetic_steps=2, iterations=1, batch_size=2)
    drawn = synthetic_images(generator, fit.synthetic, steps=fit.synthetic_steps, rng=rng)
    artifact = fit_experts(teacher, generator, drawn, fit=fit, rng=rng)
    experts = experts_of(artifact, teacher, generator)
    requested = GeneratorCall(generator, (0, 1), tuple(names), torch.tensor([3, 7]))

    def made(scale: float) -> Tensor:
        steer = ClassSteer(requested, by_experts(teacher, experts), scale)
        return generate(Sampler(generator, steps=2), requested.seeds, condition=requested.nothing, steer=steer).images

    guided, plain = made(8.5), made(1.0)
    return {
        "images": float(len(guided)),
        "finite": float(guided.isfinite().all()),
        "moved": float((guided - plain).abs().max() > 0),
        "share": experts.share,
        "loss": artifact.card.metrics["expert_1.loss"],
    }


def _network(name: str) -> nn.Module:
    """One of timm's networks with random weights, which do not matter."""
    timm = import_extra("timm", "models", name)
    with seeded(0, torch.device("cpu")):
        network: nn.Module = timm.create_model(name)
    return network.eval()
