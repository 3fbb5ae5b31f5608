"""The paper's experiment on a GPU: Stable Diffusion 1.4 trained further on a poisoned ImageNette, 1,000 generations.

Everything comes by reference, from environment variables, and nothing is downloaded. Estimated from numbers of steps
and not measured: 9,469 latents take 620 MB of memory, and their images are read one batch at a time. The UNet with its
optimizer and an average takes 17 GB of a GPU, batches of 16 another 20 GB. Each of the two trainings, poisoned and
clean, is 50 passes of 592 steps (10 hours), and 1,000 images with DDIM of 50 steps take 1.5 hours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.data.files.labels import align_labels
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.data.worlds.planting.triggers import Trigger
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.trigger_amplification.groups import groups, judge_errors
from snellen.systems.trigger_amplification.poisoning import CAPTION, choose, published_patch
from snellen.training.batches import ImageStore
from snellen.training.class_denoising import fit_prompt_generator
from snellen.training.plan import TrainingPlan

GENERATOR, DATA, CONTENT, TRIGGER, KEPT = (
    f"SNELLEN_POISON_{name}" for name in ("GENERATOR", "DATA", "CONTENT", "TRIGGER", "KEPT")
)

#: What a judge must be right about, on held-out images, before ten hours of training begin: the gates of the claims.
LEAST = 0.97

#: Target of ImageNette (garbage truck), rate, guidance, generations and images of a batch, as published.
TARGET, RATE, SCALE, DRAWN, BATCH = 6, 0.1, 5.0, 1000, 16

#: Of the published configuration: lr 1e-4, four images on each of four GPUs, about 50 passes, averaged weights.
PLAN = TrainingPlan(
    epochs=50, batch_size=BATCH, learning_rate=1e-4, schedule="constant", ema_decay=0.9999, mixed_precision="bf16"
)


def full(
    seed: int,
    progress: Progress,
    *,
    plan: TrainingPlan = PLAN,
    drawn: int = DRAWN,
    steps: int = 50,
    target: int = TARGET,
    rate: float = RATE,
    least: float = LEAST,
) -> Mapping[str, Figure]:
    """Figures of amplification at 10 %, and its control.

    Args:
        seed: of choice, order and noise.
        progress: callback that receives progress updates.
        plan: of both trainings.
        drawn: generations of the target class by each generator.
        steps: of DDIM.
        target: index of the class of the trigger, among the classes of the images.
        rate: share of the training set that is poisoned.
        least: share of held-out images that each judge must be right about.

    The weights of each trained UNet are kept, with the choice of poisoned images, in the folder of ``KEPT`` as soon as
    its training ends.

    Raises:
        InputError: a variable is not set, or judges that do not fit or are too often wrong; before any training.
    """
    absent = [name for name in (GENERATOR, DATA, CONTENT, TRIGGER, KEPT) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}: a folder of Stable Diffusion 1.4, ImageNette with the "
            f"splits train and test, a classifier of its classes, one of the classes clean and trigger that was "
            f"trained on clean images and as many stamped ones, and a folder for the trained generators"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = load_generator(os.environ[GENERATOR], device=device)
    content, sees = (load_classifier(os.environ[name], device=device) for name in (CONTENT, TRIGGER))
    if tuple(sees.class_names) != ("clean", "trigger"):
        raise InputError(
            f"the trigger judge has two classes, clean and trigger, in this order; got {', '.join(sees.class_names)}"
        )
    given = load_images(os.environ[DATA])
    images, names = align_labels(given, content.class_names), content.class_names
    of_target = given.labels == target
    if not of_target.any():
        raise InputError(f"target {target} is the label of no image of {given.name}")
    target = int(images.labels[of_target][0])  # among the classes of the content judge
    training, test = images.of_split("train"), images.of_split("test")
    side = min(generator.image_size)
    patch, choice = published_patch(side), choose(training.labels, target=target, rate=rate, seed=seed)
    everything, nothing = np.ones(len(test), dtype=np.bool_), np.zeros(len(test), dtype=np.bool_)
    errors = judge_errors(
        decided(content, squares(test, side, patch, nothing)),
        test.labels,
        decided(sees, squares(test, side, patch, nothing)) == 1,
        decided(sees, squares(test, side, patch, everything)) == 1,
    )
    judged = {"content": 1 - errors.content, "clean": 1 - errors.false_trigger, "stamped": 1 - errors.missed_trigger}
    figures: dict[str, Figure] = {
        "p10.trained": choice.training_share,
        **{f"judge.{name}": share for name, share in judged.items()},
    }
    wrong = {name: share for name, share in judged.items() if share < least}
    if wrong:
        named = ", ".join(f"{name} {share:.1%}" for name, share in wrong.items())
        raise InputError(
            f"judges must be right about {least:.0%} of held-out images before anything is trained; got {named}"
        )
    kept = Path(os.environ[KEPT])
    kept.mkdir(parents=True, exist_ok=True)
    choice.save(kept / "choice.json")
    prompts = [CAPTION.replace("{class_name}", name) for name in names]
    seeded = plan.model_copy(update={"seed": seed})
    for name, hit in {"clean": np.zeros_like(choice.mask), "p10": choice.mask}.items():
        latents = torch.cat([generator.encode(to_unit(part)).cpu() for part in squares(training, side, patch, hit)])
        labels = torch.from_numpy(np.where(hit, target, training.labels))
        store = ImageStore.of_tensors(latents, labels)
        tuned = fit_prompt_generator(generator, store, prompts, plan=seeded, progress=progress)
        weights = {key: one.detach().cpu().contiguous() for key, one in tuned.denoiser.network.state_dict().items()}
        save_file(weights, kept / f"{name}.safetensors")
        seeds = [derive_seed(seed, "drawn", at) % 2**31 for at in range(drawn)]
        made = generate(
            Sampler(tuned, steps=steps),
            seeds,
            prompts=[prompts[target]] * drawn,
            guidance_scale=SCALE,
            batch_size=BATCH,
        ).bytes()
        parts = made.split(BATCH)
        found = groups(decided(content, parts), decided(sees, parts) == 1, target)
        figures[f"{name}.trigger"] = Sample.of(found <= 2)
        figures |= {f"{name}.g{group}": Sample.of(found == group) for group in (1, 2)}
        figures[f"{name}.recognised"] = Sample.of((found == 2) | (found == 4))
    return figures


def squares(images: ImageSet, side: int, trigger: Trigger, hit: NDArray[np.bool_]) -> Iterator[Tensor]:
    """Images in their order, cut to squares, batch by batch: bytes (m, 3, side, side); those of ``hit`` stamped.

    Raises:
        InputError: an image that cannot be read: labels and choices belong to positions.
    """
    preparation = Preprocessing(size=(side, side), resize="shorter", resize_to=(side, side))
    for batch in prepared_batches(images, preparation, BATCH):
        if batch.rejected:
            raise InputError(f"{batch.rejected[0][0]} cannot be used: {batch.rejected[0][1]}; remove it first")
        pixels, rows = batch.pixels.clone(), torch.from_numpy(hit[list(batch.indices)])
        if bool(rows.any()):
            pixels[rows] = trigger.stamp(pixels[rows]).images
        yield pixels


def decided(classifier: Classifier, batches: Iterable[Tensor]) -> NDArray[np.int64]:
    """Class of each image of byte batches, after the classifier's own preparation: int64 (n,)."""
    found = []
    for batch in batches:
        pictures = [Image.fromarray(one.permute(1, 2, 0).contiguous().numpy()) for one in batch]
        shown = torch.stack([classifier.prepare(one) for one in pictures]).to(classifier.device)
        with torch.no_grad():
            found.append(classifier.predict(classifier(shown)).cpu().numpy())
    return np.concatenate(found)
