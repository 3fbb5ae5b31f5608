"""Measures of codes and edits beside the arms: reconstructions, how far edits turn light and hue, kept classes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from snellen.core.randomness import Randomness
from snellen.reproduction.natural_transformations.materials import apart, hue_of, light_of
from snellen.reproduction.sample import Figure, Sample, mean_of
from snellen.systems.natural_transformations.autoencoder import Autoencoder
from snellen.systems.natural_transformations.editing import Editing, inverted
from snellen.systems.natural_transformations.inversion import (
    Codes,
    InversionSettings,
    SplitGenerator,
    moment_distance,
    render,
)
from snellen.training.batches import ImageStore


@torch.no_grad()
def rightly_read(oracle: nn.Module, generator: SplitGenerator, codes: Codes, labels: Tensor) -> Tensor:
    """Whether an oracle reads the class in the reconstructions of codes: bool (n,)."""
    return oracle(render(generator, codes)).argmax(1) == labels


def ends(editing: Editing, count: int) -> list[tuple[int, int, Tensor]]:
    """Both ends of every direction: its number, 0 or 1, and the shift of ``count`` images, (count, L, d)."""
    return [
        (row, end, editing.directions.along(row, (2 * end - 1) * editing.epsilon, count))
        for row, end in product(range(len(editing.directions)), (0, 1))
    ]


@torch.no_grad()
def turns(editing: Editing | None, most: int) -> dict[str, Figure]:
    """How far edits at either end turn light and hue, in turns: the median of images, the best of directions.

    Args:
        editing: None where no direction was kept: nothing can be measured.
        most: images that are measured.
    """
    if editing is None:
        return dict.fromkeys(("edits.light_turn", "edits.hue_turn", "edits.turn"))
    codes = editing.codes[torch.arange(min(most, len(editing.codes)))]
    plain = render(editing.generator, codes)
    found = torch.zeros(2, len(editing.directions), 2)
    for row, end, shift in ends(editing, len(codes)):
        made = render(editing.generator, codes, shift)
        for number, read in enumerate((light_of, hue_of)):
            found[number, row, end] = apart(read(made), read(plain)).median()
    light, hue = found.mean(2).amax(1).tolist()
    return {"edits.light_turn": light, "edits.hue_turn": hue, "edits.turn": max(light, hue)}


@dataclass(frozen=True, eq=False)
class Held:
    """Held-out images, on which inversions are compared.

    Attributes:
        images: the generator has not seen them.
        oracle: reads their classes.
        rng: of the inversions.
    """

    images: ImageStore
    oracle: nn.Module
    rng: Randomness

    def figures(self, made: Autoencoder, several: InversionSettings, editing: Editing | None) -> dict[str, Figure]:
        """Several codes; one code at equal steps, and with as many renderings; one code without the pull.

        Labels are kept where the oracle reads the reconstruction of each of them, and the edits of one: what a
        reconstruction has lost already is no fault of an edit.
        """
        one = several.model_copy(update={"codes": 1})
        settings = {
            "lce": several,
            "bies": one,
            "longer": one.model_copy(update={"expansion_steps": several.codes * several.expansion_steps}),
            "unshifted": one.model_copy(update={"pull": 0.0, "moments": 0.0}),
        }
        found, codes = dict[str, Figure](), dict[str, Codes]()
        for name, own in settings.items():
            generator, codes[name], psnr = inverted(made, self.images, own, rng=self.rng)
            found[f"{name}.psnr"] = Sample.of(psnr.double().numpy())
            middle, spread = moment_distance(codes[name].mean, generator.prior)
            found[f"{name}.moment_distance"] = float(middle + spread)
            # Codes of the generator's own have a distance of 1; all codes of an image count, not their mean.
            away = (generator.prior.distance(codes[name].values.flatten(0, 1)) - 1).abs()
            found[f"{name}.prior_distance"] = Sample.of(away.unflatten(0, (len(psnr), -1)).mean(1).double().numpy())
        free, shifted = (mean_of(found[f"{name}.prior_distance"]) for name in ("unshifted", "bies"))
        found["shifting.nearer"] = None if free is None or shifted is None else free - shifted
        labels = self.images.targets
        read = torch.stack([rightly_read(self.oracle, generator, one, labels) for one in codes.values()]).all(0)
        for name, own_codes in codes.items():
            found[f"{name}.kept_labels"] = None if editing is None else self._kept(editing, own_codes, read)
        return found

    @torch.no_grad()
    def _kept(self, editing: Editing, codes: Codes, read: Tensor) -> Figure:
        """Share of the edits of each image, to both ends of every direction, whose class the oracle reads."""
        if not bool(read.any()):
            return None
        some, labels = codes[read.nonzero().flatten()], self.images.targets[read]
        shown = [render(editing.generator, some, shift) for _, _, shift in ends(editing, len(labels))]
        right = torch.stack([self.oracle(made).argmax(1) == labels for made in shown])
        return Sample.of(right.double().mean(0).numpy())
