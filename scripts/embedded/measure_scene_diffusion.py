"""Measure the embedded text-to-image model on captions of combinations that it was never shown.

    python scripts/embedded/measure_scene_diffusion.py [--count 512]

The judge reads what came out; it guided nothing. Reconstructions by the autoencoder say what could be reached at best.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from measured import share_by, write
from scene_examples import SceneExamples
from scene_world import SIZE, WORLD, scenes
from torch import Tensor

from snellen.core.preprocessing import to_unit
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import described
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scene_set import LABELS
from snellen.metrics.generated_images import coverage, density, frechet_distance
from snellen.models.classifiers.factor_judge import FactorJudge, load_judge
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler

CLEAN = WORLD.model_copy(update={"nuisance_share": 0.0})
FOGGY = WORLD.model_copy(update={"nuisance_share": 1.0, "nuisances": ("fog",), "strengths": (2.0, 3.5)})
TOLD = ("shape", "colour", "texture", "background")
SCALES = (1.0, 1.5, 2.0, 3.0, 5.0)
STEPS = 25


def judged(judge: FactorJudge, images: Tensor, drawn: list[Scene]) -> dict[str, Any]:
    """Agreement on each factor that was told, and on all of them at once."""
    answers = judge.answers(images)
    found: dict[str, Any] = {}
    every = [True] * len(drawn)
    for factor in TOLD:
        truths = [LABELS[factor][1](scene) for scene in drawn]
        right = [said == truth for said, truth in zip(answers[factor], truths, strict=True)]
        every = [one and other for one, other in zip(every, right, strict=True)]
        found[factor] = share_by(right, truths)
    found["all"] = round(sum(every) / len(every), 4)
    return found


def compared(judge: FactorJudge, real: Tensor, images: Tensor) -> dict[str, float]:
    """Coverage, density and Fréchet distance in the judge's features."""
    first, second = judge.features(real), judge.features(images)
    return {
        "coverage": round(coverage(first, second), 4),
        "density": round(density(first, second), 4),
        "frechet": round(frechet_distance(first, second), 3),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=512, help="images at each guidance scale")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    judge, generator = load_judge(), load_generator("bundled:scene-diffusion")
    sampler = Sampler(generator, solver="ddim", steps=STEPS)
    drawn = scenes(CLEAN, "test", count=given.count, seen=False)
    real = to_unit(SceneExamples(drawn, SIZE, None, "test").images())
    other = scenes(CLEAN.model_copy(update={"seed": 77}), "test", count=given.count, seen=False)
    found: dict[str, Any] = {
        "steps": STEPS,
        "real": judged(judge, real, drawn),
        "reconstructed": judged(judge, rebuilt(generator, real), drawn),
        "real against real": compared(judge, real, to_unit(SceneExamples(other, SIZE, None, "test").images())),
        "reconstructed against real": compared(judge, real, rebuilt(generator, real)),
        "scales": {},
    }
    prompts = [caption(described(scene), seed=scene.seed, detail=TOLD) for scene in drawn]
    for scale in SCALES:
        images = generate(sampler, range(given.count), prompts=prompts, guidance_scale=scale, batch_size=64).images
        found["scales"][f"{scale:g}"] = {**judged(judge, images, drawn), **compared(judge, real, images)}
        print(scale, found["scales"][f"{scale:g}"], flush=True)
    found["fog"] = fog(judge, sampler, given.count // 2)
    best = max(found["scales"], key=lambda scale: found["scales"][scale]["all"])
    headline = {f"judged.{name}": found["scales"][best][name]["share"] for name in TOLD}
    write("scene-diffusion", "scene-diffusion", found, {"guidance_scale": float(best), **headline})


def rebuilt(generator: Any, images: Tensor) -> Tensor:  # noqa: ANN401 - a Generator, typed where it is made
    """Images after the autoencoder."""
    with torch.inference_mode():
        parts = [generator.decode(generator.encode(part)) for part in images.split(64)]
    return torch.cat(parts).clamp(0, 1)


def fog(judge: FactorJudge, sampler: Sampler, count: int) -> dict[str, float]:
    """Strength of fog that the judge reads, in shares of the strongest, where fog was asked for and where not."""
    drawn = scenes(FOGGY, "test", count=count, seen=False)
    read = {}
    for name, detail in (("asked", [*TOLD, "nuisances"]), ("not asked", TOLD)):
        prompts = [caption(described(scene), seed=scene.seed, detail=detail) for scene in drawn]
        images = generate(sampler, range(count), prompts=prompts, guidance_scale=2.0, batch_size=64).images
        read[name] = round(float(judge.measured(images)["fog"].mean()), 4)
    real = to_unit(SceneExamples(drawn, SIZE, None, "test").images())
    return {**read, "real": round(float(judge.measured(real)["fog"].mean()), 4)}


if __name__ == "__main__":
    main()
