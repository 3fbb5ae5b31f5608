"""Every combination in real shapes: a latent transformer of ImageNet's classes, a ResNet-50, weights drawn."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from snellen.core.classifier import Classifier, Normalization
from snellen.core.preprocessing import Preprocessing
from snellen.methods.generation.generator_call import GeneratorCall, names_of
from snellen.models.classifiers.artifact_models import architecture_of, untrained
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.models.random_folders import draw_weights
from snellen.systems.gradient_free_guidance.gradient_free import Tally
from snellen.systems.gradient_free_guidance.method import GradientFreeGuidance, GradientFreeSteer

_STEPS, _CLASSES = 2, (207, 985)

_METHODS = {
    "gfcg": GradientFreeGuidance(),
    "cfg": GradientFreeGuidance(guidance_scale=2.0),
    "mixed": GradientFreeGuidance(guidance_scale=2.0, mix=True),
    "auto": GradientFreeGuidance(),
    "lagged": GradientFreeGuidance(lagged_reference=True),
    "every_2": GradientFreeGuidance(every=2),
    "random": GradientFreeGuidance(reference="even"),
}


def smoke_figures(seed: int) -> dict[str, float]:
    """Two images of every combination: what each called, decided and decoded; the images mean nothing."""
    with tempfile.TemporaryDirectory() as folder:
        strong, weak = (
            load_generator(f"diffusers:{write_smoke_folder('dit', Path(folder) / str(number), seed=seed + number)}")
            for number in range(2)
        )
    network = untrained(architecture_of("timm:resnet50", len(names_of(strong))))
    draw_weights(network, seed=seed)
    guide = Classifier(
        network,
        class_names=names_of(strong),
        preparation=Preprocessing(size=(224, 224), resize="shorter", resize_to=(256, 256), interpolation="bicubic"),
        normalization=Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        name="ResNet-50 with random weights",
    )
    requested = GeneratorCall(strong, tuple(range(len(_CLASSES))), names_of(strong), torch.tensor(_CLASSES))
    figures = dict[str, float]()
    for name, method in _METHODS.items():
        steer = GradientFreeSteer(method, guide, requested, None if method.weak is None else weak.denoiser, Tally())
        made = generate(
            Sampler(strong, steps=_STEPS), requested.seeds, classes=_CLASSES, condition=requested.own, steer=steer
        )
        steer.reported()
        figures |= {
            f"{name}.rows": made.rows / len(made),
            f"{name}.calls": float(made.calls),
            f"{name}.decoded": steer.tally.decoded / len(made),
            f"{name}.mean_scale": steer.tally.scale / steer.tally.decisions,
            f"{name}.finite": float(made.images.isfinite().all()),
        }
    return figures
