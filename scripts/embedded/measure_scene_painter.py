"""Measure the embedded painter beside the embedded text-to-image model: which of them draws objects of its own accord.

    python scripts/embedded/measure_scene_painter.py [--count 200]

A small network that counts objects is trained on drawn scenes, sharp and blurred ones, for half a minute. It made and
guided nothing; what it says of drawn scenes stands beside what it says of made ones. Pictures that are made of noise
can be judged by it alone. Others are also compared with what was there before. A round trip is the edit
``inver`` of :mod:`snellen.systems.attribute_editing`: a picture is noised to the last 25 of 100 steps and denoised.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from measured import share, write
from scene_examples import SceneExamples
from scene_world import PAIRS, SIZE, scenes
from torch import Tensor, nn
from train_scene_painter import PAINTED, painted

from snellen.core.images import Split
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.scene import Nuisances, Scene
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.reproduction.attribute_editing.materials import drawn_into
from snellen.reproduction.shared.small_networks import small_network
from snellen.systems.attribute_editing.editor import BackgroundEditor
from snellen.training import TrainingPlan, train
from snellen.training.acceleration import seeded

NAMES = ("scene-diffusion", "scene-painter")

#: Steps of the schedule, how many of them a round trip makes, and steps of a picture that is made of noise.
STEPS, MADE, SAMPLED = 100, 25, 50

#: Scenes that the counter is trained on, and the strengths of blur of every second one.
COUNTED, BLUR = 9000, (0.5, 3.0)

#: Two objects that do not touch, of sizes that fit beside each other.
TWO = PAIRS.model_copy(update={"sizes": ("tiny", "small"), "tilts": PAINTED.tilts, "seed": 271})


def counted(split: Split, count: int) -> tuple[SceneExamples, Tensor]:
    """Scenes without, with one and with two objects, a third each, every second one blurred; and how many they show."""
    each = count // 3
    seen = split == "train"
    drawn = painted(split, 3 * each, seen=seen)
    none = [scene for scene in drawn if not scene.objects][:each]
    one = [scene for scene in drawn if scene.objects][:each]
    found = [*none, *one, *scenes(TWO, split, count=each, seen=seen)]
    numbers = torch.tensor([len(scene.objects) for scene in found])
    return SceneExamples([_blurred(scene) for scene in found], SIZE, numbers, split), numbers


def _blurred(scene: Scene) -> Scene:
    if scene.seed % 2:
        return scene
    share_of_range = derive_seed(scene.seed, "blur") % 1000 / 1000
    strength = BLUR[0] + (BLUR[1] - BLUR[0]) * share_of_range
    return scene.model_copy(update={"nuisances": Nuisances(blur=strength)})


def counter() -> nn.Module:
    """Train the network that counts objects: images (n, 3, 32, 32) in [0, 1] → scores of none, one and two."""
    examples, _ = counted("train", COUNTED)
    with seeded(derive_seed(PAINTED.seed, "counter"), torch.device("cpu")):
        network = small_network("plain", 3)
    plan = TrainingPlan(epochs=6, batch_size=64, learning_rate=3e-3, drop_last=True, seed=PAINTED.seed)
    network.load_state_dict(dict(train(network, examples, plan=plan).weights))
    return network.eval()


def numbers_of(network: nn.Module, images: Tensor) -> Tensor:
    """How many objects the counter sees, int64 (n,)."""
    with torch.inference_mode():
        return torch.cat([network(part).argmax(1) for part in images.split(256)])


def shares(numbers: Tensor) -> dict[str, Any]:
    """Share of the images that show none, one and two objects."""
    return {str(number): share((numbers == number).tolist()) for number in range(3)}


def held_out(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Empty scenes of new grain; scenes of combinations never trained on, their masks, and the same without objects."""
    drawn = painted("test", 3 * count, seen=False)
    none = [scene for scene in drawn if not scene.objects][:count]
    one = [scene for scene in drawn if scene.objects][:count]
    behind = [scene.model_copy(update={"objects": ()}) for scene in one]
    empty, full, without = (SceneExamples(part, SIZE, None, "test") for part in (none, one, behind))
    masks = full.masks()[:, 0] >= 128
    return to_unit(empty.images()), to_unit(full.images()), masks, to_unit(without.images())


def outside(made: Tensor, drawn: Tensor, masks: Tensor) -> float:
    """Mean absolute difference of pictures (n, 3, h, w) where no object stands, masks bool (n, h, w)."""
    return round(float((made - drawn).abs()[~masks[:, None].expand(-1, 3, -1, -1)].mean()), 4)


def measured(generator: Generator, network: nn.Module, count: int) -> dict[str, Any]:
    """What one generator makes of noise, of empty scenes, and around objects that stay."""
    sampler = Sampler(generator, solver="ddim", steps=SAMPLED)
    condition = generator.null(count)
    made = generate(sampler, range(count), condition=condition, batch_size=100).images
    editor = BackgroundEditor(generator, STEPS, MADE, batch_size=100)
    empty, full, masks, without = held_out(count)
    seeds = list(range(count))
    tripped = editor.edit(empty, torch.zeros_like(masks), empty, seeds)
    around = editor.edit(full, masks, without, seeds)
    return {
        "made": shares(numbers_of(network, made)),
        "empty": {
            "error": round(float((tripped - empty).abs().mean()), 4),
            "drawn": share(drawn_into(tripped, empty).tolist()),
            "objects": shares(numbers_of(network, tripped)),
        },
        "around": {
            "error": outside(around, full, masks),
            "drawn": share(drawn_into(around, full).tolist()),
            "objects": shares(numbers_of(network, around)),
        },
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="images of each kind")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    network = counter()
    examples, truth = counted("test", 3 * given.count)
    said = numbers_of(network, to_unit(examples.images()))
    empty, full, masks, without = held_out(given.count)
    found: dict[str, Any] = {
        "steps": STEPS,
        "made": MADE,
        "sampled": SAMPLED,
        "counter": {str(number): shares(said[truth == number]) for number in range(3)},
        "drawn": {
            "empty": shares(numbers_of(network, empty)),
            "around": shares(numbers_of(network, full)),
            "pasted": outside(without, full, masks),
        },
        "generators": {},
    }
    for name in NAMES:
        found["generators"][name] = measured(load_generator(f"bundled:{name}"), network, given.count)
        print(name, found["generators"][name], flush=True)
    ours = found["generators"]["scene-painter"]
    headline = {
        "empty.error": ours["empty"]["error"],
        "empty.drawn": ours["empty"]["drawn"]["share"],
        "around.error": ours["around"]["error"],
    }
    write("scene-painter", "scene-painter", found, headline)


if __name__ == "__main__":
    main()
