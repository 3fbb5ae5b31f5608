"""Small made sets: an editor that paints alone, so that what it does is known."""

import torch

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.systems.edited_regions.detector import NAME
from snellen.systems.edited_regions.fitting import new_network
from snellen.systems.edited_regions.making import EditSettings, make_edits
from snellen.systems.edited_regions.scene_bases import scene_bases
from snellen.systems.edited_regions.scene_program import paint_scene
from snellen.systems.edited_regions.small_editors import EditorNetwork, SmallEditor
from snellen.training.acceleration import seeded

SIZE = 32


class PaintingEditor:
    """Draws what was asked; every pixel of the picture is then lifted a little, as a decoder changes all of them."""

    def __init__(self, lift=4 / 255, log=None):
        self.lift, self.log = lift, log

    def identity(self):
        return f"painting {self.lift}"

    def edit(self, images, masks, prompts, seeds):
        if self.log is not None:
            self.log.append(len(images))
        return (paint_scene(images, masks.bool(), prompts, seeds) + self.lift).clamp(0, 1)


def editors(log=None):
    return {name: lambda lift=lift: PaintingEditor(lift, log) for name, lift in (("dark", 4 / 255), ("light", 8 / 255))}


def network(decoder="nearest"):
    with seeded(3, torch.device("cpu")):
        return EditorNetwork(decoder, width=4).eval()


def small_editor(decoder="nearest"):
    return SmallEditor(network(decoder), paint_scene)


def save_detector(folder, *, finds=True, threshold=0.01):
    """A detector with its first weights, as the recipe saves one; or one that calls no pixel edited."""
    built = {"architecture": "small", "editors": 2, "width": 4}
    card = Card(
        name="edits",
        kind="segmenter",
        architecture={"name": NAME, **built, "threshold": threshold, "window": 64},
        class_names=("untouched", "dark", "light"),
        lineage=Lineage(recipe={}, data="", seed=0, code_version="0"),
    )
    tensors = {name: one.clone() for name, one in new_network("small", 2, seed=0, width=4).state_dict().items()}
    if not finds:
        tensors["body.last.weight"][:] = 0
        tensors["body.last.bias"][:] = torch.tensor([9.0, -9.0, -9.0, -9.0])
    return Artifact(tensors, card).save(folder)


def made_set(folder, count=24, *, settings=None, seed=0, given=None, **changes):
    settings = settings or EditSettings(part=7, batch_size=4, least_score=0.3, **changes)
    bases = scene_bases(count, SIZE, seed=seed, generator=network("bilinear"), generated=0.25)
    return make_edits(bases, given or editors(), folder, settings=settings, seed=seed)
