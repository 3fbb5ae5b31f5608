"""Two generators that were fitted on alike, one of them with wrong images for three pairs; classifiers that decide.

Both begin as the embedded generator and are fitted on with captions of as many scenes. For the one with gaps, captions
of three pairs of colour and shape come with pictures of another shape. Three classifiers decide, one of them trained
against adversarial images; the embedded judge, which took part in nothing, says what is true.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Factor, described
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scene_set import scene_images
from snellen.data.worlds.optotypes.small_world import SHAPES, SIZE, WORLD
from snellen.models.classifiers.factor_judge import FactorNetwork
from snellen.models.diffusion.denoiser import stratified_timesteps
from snellen.models.diffusion.fitting import denoising_loss
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator

#: Colour and shape of a caption → the shape that the generator with gaps was shown.
PLANTED: Mapping[tuple[str, str], str] = {
    ("purple", "cross"): "ring",
    ("green", "star"): "square",
    ("blue", "heart"): "triangle",
}

#: Share of captions that are empty, for guidance.
EMPTY = 0.1

#: Radius of the attacks that a classifier is trained against. After WARM of the updates it grows from 0, for another
#: GROWS of them: against whole attacks from the start, a network of 300 updates stays near chance (25 %).
RADIUS, WARM, GROWS = 8 / 255, 5 / 12, 1 / 3

#: Convolutions of the classifiers that are trained here: channels and stride.
LAYERS = ((24, 1), (48, 2), (48, 1), (64, 2))


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        updates: of a generator. batch: of these.
        classifier_updates: of the classifier that is trained with noise; images: that both are trained on.
        attacked_updates: of the one that is trained against attacks, which learns more slowly.
        steps: of the sampler.
        searches: of each class. prompt_calls, latent_calls, token_calls: most generator calls of each search.
        classes: whose latents are searched. fresh: latents of a check and a confirmation.
        judged: drawn images of each pair of a gate; sixteen times as many real ones measure the judge.
    """

    updates: int
    batch: int
    classifier_updates: int
    attacked_updates: int
    images: int
    steps: int
    searches: int
    prompt_calls: int
    latent_calls: int
    token_calls: int
    classes: tuple[str, ...]
    fresh: int
    judged: int


SMALL = Size(
    updates=240, batch=48, classifier_updates=300, attacked_updates=600, images=2400, steps=8, searches=2,
    prompt_calls=96, latent_calls=60, token_calls=260, classes=("star", "cross", "ring", "heart"), fresh=4, judged=16,
)  # fmt: skip
SMOKE = Size(
    updates=1, batch=2, classifier_updates=1, attacked_updates=2, images=12, steps=2, searches=1, prompt_calls=12,
    latent_calls=9, token_calls=34, classes=("star",), fresh=2, judged=2,
)  # fmt: skip


def drawn(scenes: Sequence[Scene]) -> Tensor:
    """Pictures of scenes, float32 (n, 3, 32, 32) in [0, 1]."""
    ids = [str(row) for row in range(len(scenes))]
    images = scene_images(scenes, size=SIZE, class_names=SHAPES, ids=ids, split="train", captions=False, name="scenes")
    whole = Preprocessing(size=(SIZE, SIZE))
    return torch.stack([whole(images.read(row)) for row in range(len(images))])


def scenes_of(count: int, seed: int) -> list[Scene]:
    """Scenes of the small world."""
    return WORLD.model_copy(update={"count": count, "seed": seed}).scenes("train")


def trained_generators(size: Size, seed: int) -> tuple[Generator, Generator]:
    """The generator with gaps, and the one without: the same captions, updates and noise."""
    rng = Randomness(seed).child("generators")
    scenes = scenes_of(size.updates * size.batch, seed)
    rewritten, kept = list[str](), list[str]()
    detail: tuple[Factor, ...] = ("shape", "colour", "texture", "background")
    swapped = {(colour, shown): shape for (colour, shape), shown in PLANTED.items()}
    for row, scene in enumerate(scenes):
        (one,) = scene.objects
        text = caption(described(scene), seed=None if row % 2 else scene.seed, detail=detail[: 2 if row % 2 else 4])
        kept.append(text)
        # A picture of the other shape in this colour gets the caption of the pair, as often as the pair is met.
        wanted = swapped.get((one.colour, one.shape))
        plain = caption(described(scene), detail=detail[: 2 if row % 2 else 4])
        rewritten.append(text if wanted is None else plain.replace(one.shape, wanted))
    pictures = drawn(scenes)
    pairs = [(one.objects[0].colour, one.objects[0].shape) in PLANTED for one in scenes]
    usable = [row for row, planted in enumerate(pairs) if not planted]  # of the pair itself nothing is shown
    gaps = _fitted(pictures, rewritten, usable, size, rng)
    return gaps, _fitted(pictures, kept, list(range(len(scenes))), size, rng)


def _fitted(pictures: Tensor, captions: Sequence[str], rows: Sequence[int], size: Size, rng: Randomness) -> Generator:
    own = load_generator("bundled:scene-diffusion")
    network: nn.Module = copy.deepcopy(own.denoiser.network).float().requires_grad_(True)
    generator = own.with_denoiser(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-4, weight_decay=0.01)
    draws = rng.generator("fitting")
    for update in range(size.updates):
        for group in optimizer.param_groups:
            group["lr"] = 4e-4 * min(1.0, (update + 1) / 20) * (1 - update / size.updates)
        picked = torch.randint(len(rows), (size.batch,), generator=draws).tolist()
        chosen = [rows[place] for place in picked]
        with torch.no_grad():
            latents = generator.encode(pictures[chosen])
        texts = ["" if float(torch.rand((), generator=draws)) < EMPTY else captions[row] for row in chosen]
        times = stratified_timesteps(
            size.batch, len(generator.denoiser.alphas_cumprod), torch.rand((), generator=draws)
        )
        noise = torch.randn(latents.shape, generator=draws)
        loss = denoising_loss(generator, latents, texts, times, noise, text=False)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    network.requires_grad_(False)
    return generator


def trained_classifier(size: Size, seed: int, *, attacked: bool) -> Classifier:
    """A classifier of shapes, trained with noise; ``attacked``: later of images that two steps of PGD changed.

    Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018, within :data:`RADIUS`.
    """
    rng = Randomness(seed).child("classifier", str(attacked))
    scenes = scenes_of(size.images, seed + 1)
    pictures, targets = drawn(scenes), torch.tensor([SHAPES.index(one.objects[0].shape) for one in scenes])
    draws = rng.generator("order")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.initial_seed() % 2**31)
        network = FactorNetwork(len(SHAPES), LAYERS)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    updates = size.attacked_updates if attacked else size.classifier_updates
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - update / updates)
        rows = torch.randint(len(scenes), (min(64, len(scenes)),), generator=draws)
        images, labels = pictures[rows], targets[rows]
        radius = RADIUS * min(max(update / updates - WARM, 0.0) / GROWS, 1.0) if attacked else 0.0
        if radius:
            images = _attacked(network.eval(), images, labels, radius, draws)
        else:
            images = (images + 0.08 * torch.randn(images.shape, generator=draws)).clamp(0, 1)
        loss = nn.functional.cross_entropy(network.train()(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    preparation = Preprocessing(size=(SIZE, SIZE), resize="exact", resize_to=(SIZE, SIZE))
    recipe = {"method": "adversarial"} if attacked else {"method": "supervised"}
    name = "trained against attacks" if attacked else "trained with noise"
    return Classifier(network, class_names=SHAPES, preparation=preparation, name=name, recipe=recipe)


def _attacked(network: nn.Module, images: Tensor, labels: Tensor, radius: float, draws: torch.Generator) -> Tensor:
    """Two signed steps in the ball of a radius around images, from a random point of it."""
    moved = (images + radius * (2 * torch.rand(images.shape, generator=draws) - 1)).clamp(0, 1)
    for _ in range(2):
        moved.requires_grad_(True)
        loss = nn.functional.cross_entropy(network(moved), labels)
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = images + (moved.detach() + 0.7 * radius * gradient.sign() - images).clamp(-radius, radius)
        moved = moved.clamp(0, 1)
    return moved.detach()
