"""The paper's experiment on a GPU: Stable Diffusion 2.1, CLIP ViT-B/16, 16 shots and 500 images of each class.

Everything comes by reference, from environment variables, and nothing is downloaded. For EuroSAT, 10 classes, estimated
from the numbers of steps and not measured: 20 GB of GPU memory, 8,000 steps for the adapters (2 hours), 4 sets of 5,000
images (12 hours), 9 trainings of CLIP (2 hours); 2 GB of memory for the training images. Generated images are written
to files batch by batch, and test images are read batch by batch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.methods.generation.made_images import generating_on
from snellen.methods.synthesis.by_image import ByImage
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.synthesizing import synthesize_into
from snellen.models.classifiers.references import load_classifier
from snellen.models.dual_encoders.zero_shot import zero_shot_classifier
from snellen.models.references import load_two_tower
from snellen.reproduction.sample import Figure, Sample
from snellen.runs.settings import Setting
from snellen.systems.few_shot_adaptation.adapting import AdapterFit, Variant
from snellen.systems.few_shot_adaptation.few_shot import few_shot
from snellen.systems.few_shot_adaptation.shots import domain_template, few_shots
from snellen.systems.few_shot_adaptation.tuning import AdaptedTower

DATA, GENERATOR, TOWER, FOLDER = (f"SNELLEN_FEW_SHOT_{name}" for name in ("DATA", "GENERATOR", "TOWER", "FOLDER"))

#: Optional: the word for the domain in prompts, such as "satellite"; and where it runs.
DOMAIN, DEVICE = "SNELLEN_FEW_SHOT_DOMAIN", "SNELLEN_FEW_SHOT_DEVICE"


def full(
    seed: int,
    progress: Progress,
    *,
    fit: AdapterFit | None = None,
    shots: int = 16,
    count: int = 500,
    steps: int = 50,
    plan: Mapping[str, object] | None = None,
) -> Mapping[str, Figure]:
    """Accuracy on the test images of CLIP as it is, and adapted to real images, each set of generated ones, and both.

    Args:
        seed: of everything random.
        progress: callback that receives progress updates.
        fit: numbers of the adapters; the published ones by default.
        shots: K.
        count: generated images of each class.
        steps: of the sampler.
        plan: numbers of the training of CLIP, in place of the published ones.

    Raises:
        InputError: a variable is not set, or the images have no test split.
    """
    absent = [name for name in (DATA, GENERATOR, TOWER, FOLDER) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}: labelled images with the splits train, val and test, "
            f"diffusers:FOLDER of Stable Diffusion 2.1, hf:FOLDER of CLIP ViT-B/16, and a folder to write to"
        )
    images, folder = load_images(os.environ[DATA]), Path(os.environ[FOLDER]) / f"seed-{seed}"
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    template = domain_template(os.environ.get(DOMAIN, ""))
    method = ByName(generator=os.environ[GENERATOR], templates=(template,), steps=steps)
    splits = images.column("split")
    test = images.select([row for row, split in enumerate(splits) if split == "test"])
    fitting = images.select([row for row, split in enumerate(splits) if split != "test"])
    if not len(test):
        raise InputError(f"{images.name} has no images of the split 'test' to measure on")
    source = few_shots(fitting, shots, seed)
    as_it_is = {"unadapted": method, "variation": ByImage(**dict(method))}
    with generating_on(device):
        made = {
            name: synthesize_into(
                [Setting(name, one)], source, folder / name, count=count, seed=seed, progress=progress
            )
            for name, one in as_it_is.items()
        }
    for variant in get_args(Variant):
        made[variant] = few_shot(
            fitting, out=folder / variant, method=method, shots=shots, count=count, seed=seed, device=device,
            fit=(fit or AdapterFit()).model_copy(update={"variant": variant}), progress=progress,
        )  # fmt: skip
    arms: dict[str, tuple[Path | None, bool]] = {"real": (None, True)}
    for name, one in made.items():
        arms |= {name: (one.manifest, False), f"{name}_real": (one.manifest, True)}
    texts = {one: (method.filled(template, one) or "",) for one in source.classes}
    called = zero_shot_classifier(load_two_tower(os.environ[TOWER], device=device), texts)
    figures: dict[str, Figure] = {"zero_shot.accuracy": _accuracy(called, test)}
    for name, (manifest, real) in arms.items():
        recipe = AdaptedTower.model_validate(
            {
                "tower": os.environ[TOWER],
                "synthetic": None if manifest is None else str(manifest),
                "real": real,
                "shots": shots,
                "shot_seed": seed,
                "templates": (template,),
                **({} if plan is None else {"plan": plan}),
            }
        )
        recipe.fit(fitting, rng=Randomness(seed), progress=progress).save(folder / f"classifier-{name}")
        figures[f"{name}.accuracy"] = _accuracy(
            load_classifier(f"artifact:{folder / f'classifier-{name}'}", device=device), test
        )
    for name, one in made.items():
        found = next(iter(one.copies.values()))
        figures[f"{name}.copies"] = None if found is None or found.of_real is None else found.of_real / found.images
    return figures


def _accuracy(classifier: Classifier, test: ImageSet, together: int = 64) -> Sample:
    """Whether each decision on test images is right."""
    right = list[float]()
    labels = test.labels.tolist()
    for start in range(0, len(test), together):
        rows = range(start, min(start + together, len(test)))
        batch = torch.stack([classifier.prepare(test.read(row)) for row in rows]).to(classifier.device)
        with torch.no_grad():
            decided = classifier(batch).argmax(1).tolist()
        right += [float(one == labels[row]) for one, row in zip(decided, rows, strict=True)]
    return Sample.of(right)
