"""Sizes and steps of the paper on a GPU: pyramid against single-scale encoder around a classifier of 64-pixel crops.

Everything comes by reference, from environment variables, and nothing is downloaded: a ResNet-18 on prostate crops and
one modality of PI-CAI (CC BY-NC 4.0) as a folder or manifest. Estimated from the numbers of passes and not measured:
100,000 steps of 512 images take 20 GB of a GPU and three days for each encoder, the search of 2,464 coordinates on 125
images 616,000 renders (an hour); images are held in memory, 12 KB each. A stopped training resumes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.metrics.generated_images import frechet_distance
from snellen.models.classifiers.references import load_classifier
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.references import load_encoder
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.style_counterfactuals.folder import trained_explainer
from snellen.systems.style_counterfactuals.method import read_images
from snellen.systems.style_counterfactuals.plan import PUBLISHED, StylePlan
from snellen.systems.style_counterfactuals.pyramid import resized
from snellen.systems.style_counterfactuals.seen import Seen
from snellen.systems.style_counterfactuals.study import Search, encode, study

MODEL, DATA, FEATURES, FOLDER = (f"SNELLEN_PROJECTEDEX_{name}" for name in ("MODEL", "DATA", "FEATURES", "FOLDER"))

#: Optional: a pretrained backbone of the pyramid, and where it runs.
BACKBONE, DEVICE = "SNELLEN_PROJECTEDEX_BACKBONE", "SNELLEN_PROJECTEDEX_DEVICE"

#: Images of the published flip study, rounded up; one half of them chooses attributes.
EXPLAINED = 250


def full(
    seed: int, progress: Progress, *, plan: StylePlan = PUBLISHED, search: Search | None = None, held: int = EXPLAINED
) -> Mapping[str, Figure]:
    """Agreement, reconstruction and Fréchet distance of both encoders, and flips of the pyramid's attributes.

    Args:
        seed: of everything random.
        progress: callback that receives progress updates.
        plan: numbers of the trainings.
        search: numbers of the search; ten attributes by default, as in the published flip study.
        held: images held back from the training.

    Raises:
        InputError: a variable is not set, or too few images.
    """
    absent = [name for name in (MODEL, DATA, FEATURES, FOLDER) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}: a classifier of torch by reference, images, an image "
            f"encoder for the Fréchet distance, and a folder to keep the generators in"
        )
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    classifier = load_classifier(os.environ[MODEL], device=device)
    encoder = load_encoder(os.environ[FEATURES], device=device)
    read = read_images(classifier, load_images(os.environ[DATA]), plan.sizes.side)
    if len(read.pixels) < held + 2:
        raise InputError(f"{os.environ[DATA]} has {len(read.pixels)} usable images; {held + 2} or more are needed")
    rng = Randomness(seed)
    order = torch.randperm(len(read.pixels), generator=rng.generator("held back"))
    images, fitting = to_unit(read.pixels[order[:held]]), read.pixels[order[held:]]
    decided = read.decided[order[:held]]
    figures: dict[str, Figure] = {}
    for kind in ("pyramid", "single"):
        backbone = os.environ.get(BACKBONE) or plan.sizes.backbone
        sizes = plan.sizes.model_copy(update={"encoder": kind, "backbone": backbone})
        own = plan.model_copy(update={"sizes": sizes})
        folder = Path(os.environ[FOLDER]) / f"{kind}-{seed}"
        explainer = trained_explainer(folder, classifier, fitting, own, rng, size=read.size, progress=progress)
        seen = Seen(classifier, read.size)
        _, encoded = encode(explainer, seen, images, 64, decided=decided)
        remade = encoded.remade.cpu()
        figures |= {
            f"{kind}.agreement": Sample.of(encoded.agreed.cpu().numpy()),
            f"{kind}.l1": Sample.of((remade - images).abs().mean((1, 2, 3)).numpy()),
            f"{kind}.frechet": frechet_distance(_features(encoder, images), _features(encoder, remade)),
        }
        if kind == "pyramid":
            found = study(
                explainer,
                seen,
                images,
                search or Search(attributes=10, agreement=0.0),
                rng,
                decided=decided,
                progress=progress,
            )
            drawn = torch.stack([one.flipped.float() for one in found.random]).mean(0)
            figures["top.flipped"] = Sample.of(found.top.flipped.cpu().numpy())
            figures["random.flipped"] = Sample.of(drawn.cpu().numpy())
    return figures


def _features(encoder: FrozenEncoder, images: Tensor) -> Tensor:
    size = encoder.preparation.size
    return torch.cat([encoder.encode(resized(part, size)).cpu() for part in images.split(64)])
