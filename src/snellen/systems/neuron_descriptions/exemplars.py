"""The images, and the places in them, that excite each unit of a network most.

Hernandez et al., "Natural Language Descriptions of Deep Visual Features", ICLR 2022 (arXiv 2201.11114), section 3.1
(the exemplar set E), after Bau et al., "Network Dissection", CVPR 2017. One pass for any number of layers: the maps of
the best images are kept while it runs, so that no second pass is needed for the masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.data.loading import prepared_batches
from snellen.models.layers.layer_edits import find_layers, reading
from snellen.systems.neuron_descriptions.activation_maps import unit_maps, upsampled
from snellen.systems.neuron_descriptions.quantiles import RunningQuantile

#: What progress calls the pass.
TASK = "looking for what excites units"


@dataclass(frozen=True, eq=False)
class Exemplars:
    """What excites the u units of one layer.

    Attributes:
        layer: its name.
        positions: in the image set, of the k images with the highest peak of each unit, highest first; of equal peaks
            the earlier image is first. int64 (u, k), −1 where there are fewer images.
        peaks: highest activation in these images, float32 (u, k).
        maps: activations in these images, float32 (u, k, h, w).
        thresholds: activation that a share of all places of all images lies below or at, float32 (u,).
        floors: lowest activation anywhere, float32 (u,).
        active: whether a unit is ever anything else than its floor, bool (u,).
        masses: mean absolute activation over all places, float64 (u,).
        size: height and width of the prepared images, pixels.
        images: number of images.
    """

    layer: str
    positions: Tensor
    peaks: Tensor
    maps: Tensor
    thresholds: Tensor
    floors: Tensor
    active: Tensor
    masses: Tensor
    size: tuple[int, int]
    images: int

    @property
    def units(self) -> int:
        """Number of units u."""
        return len(self.positions)

    def first(self, count: int | None) -> Exemplars:
        """Those of the first units alone; None is all."""
        per_unit = ("positions", "peaks", "maps", "thresholds", "floors", "active", "masses")
        return self if count is None else replace(self, **{name: getattr(self, name)[:count] for name in per_unit})

    def masks(self, unit: int, size: tuple[int, int] | None = None) -> Tensor:
        """Regions of one unit in its images, best first: bool (k, h, w), see :meth:`region_masks`."""
        places = torch.arange(self.positions.shape[1])
        return self.region_masks(torch.full_like(places, unit), places, size)

    def region_masks(self, units: Tensor, places: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Where units are above their thresholds: bool (m, h, w), at the size of the prepared images or another.

        The map is enlarged first and cut then, as published. A place at the unit's floor is never in a mask: the
        threshold of a unit that is silent at more places than the threshold allows *is* its floor.

        Args:
            units: int64 (m,).
            places: which of the k images of each, int64 (m,).
            size: height and width, pixels.
        """
        maps = upsampled(self.maps[units, places], size or self.size)
        limits, floors = self.thresholds[units, None, None], self.floors[units, None, None]
        return (maps >= limits) & (maps > floors) & (self.positions[units, places] >= 0)[:, None, None]


@torch.no_grad()
def find_exemplars(
    classifier: Classifier,
    images: ImageSet,
    layers: Sequence[str],
    *,
    count: int = 15,
    share: float = 0.99,
    batch_size: int = 32,
    workers: int = 0,
    capacity: int = 2048,
    progress: Progress | None = None,
) -> tuple[dict[str, Exemplars], list[tuple[str, str]]]:
    """Run every image once, and keep what excites each unit of some layers most.

    Memory holds, for each unit, ``count`` maps and a sketch of its activations, for any number of images.

    Args:
        classifier: a torch module.
        images: the probing set; labels are not read.
        layers: names of layers.
        count: images for each unit, k.
        share: of the places of all images that lie below the threshold.
        batch_size: images in one pass; changes no result, but for the last digits of the activations.
        workers: threads that read ahead.
        capacity: of the sketch, see :class:`RunningQuantile`.
        progress: callback that receives progress updates.

    Returns:
        What was found, by layer; and id and reason of each image that could not be used. An image whose activations
        are not finite in any of the layers counts nowhere.

    Raises:
        InputError: no layer, no image that can be used, or a count or share out of range.
        UnsupportedError: no torch module; a layer that is called more than once for an image, or gives no maps.
    """
    if count < 1 or not 0 < share < 1:
        raise InputError(f"count must be at least 1, and share between 0 and 1; got {count} and {share}")
    if classifier.module is None:
        raise UnsupportedError(f"{classifier.name} is no torch module: its units cannot be read")
    wanted = list(find_layers(classifier.module, list(layers)))
    found: dict[str, RunningExemplars] = {}
    rejected: list[tuple[str, str]] = []
    listener, size = progress or Silent(), (0, 0)
    listener.begin(TASK, len(images))
    for batch in prepared_batches(images, classifier.preparation, batch_size, workers=workers):
        rejected += batch.rejected
        listener.advance(TASK, len(batch.rejected), "rejected")
        if not batch.ids:
            continue
        with reading(classifier.module, wanted) as activations:
            classifier(to_unit(batch.pixels).to(classifier.device))
        maps = {layer: _once(layer, activations[layer]) for layer in wanted}
        finite = torch.stack([torch.isfinite(one).flatten(1).all(1) for one in maps.values()]).all(0)
        for row in (~finite).nonzero().flatten().tolist():
            rejected.append((batch.ids[row], "its activations are not finite"))
        if not bool(finite.any()):
            continue
        shape = (int(batch.pixels.shape[2]), int(batch.pixels.shape[3]))
        if size not in ((0, 0), shape):
            raise InputError(f"images are {shape} after preparation, and others {size}; give the model a fixed size")
        size, places = shape, torch.tensor(batch.indices)[finite.cpu()]
        for layer, one in maps.items():
            if layer not in found:
                found[layer] = RunningExemplars(one.shape[1], count, capacity)
            found[layer].add(one[finite].cpu().float(), places)
        listener.advance(TASK, len(batch.ids))
    listener.finish(TASK)
    if not found:
        first = f"; first: {rejected[0][0]}: {rejected[0][1]}" if rejected else ""
        raise InputError(f"none of the {len(images)} images of {images.name} could be used{first}")
    return {layer: running.result(layer, share, size) for layer, running in found.items()}, rejected


def _once(layer: str, outputs: list[Tensor]) -> Tensor:
    if len(outputs) != 1:
        raise UnsupportedError(
            f"layer {layer!r} is called {len(outputs)} times for an image, so that its units are not one thing; name "
            f"the block around it"
        )
    return unit_maps(outputs[0], layer)


class RunningExemplars:
    """The exemplars of the units of one layer, while images come in.

    Args:
        units: of the layer, u.
        count: images that are kept for each, k.
        capacity: of the sketch of activations.
    """

    def __init__(self, units: int, count: int, capacity: int = 2048) -> None:
        self.count, self.sketch = count, RunningQuantile(units, capacity=capacity)
        self.peaks = torch.empty(units, 0)
        self.positions = torch.empty(units, 0, dtype=torch.int64)
        self.maps: Tensor | None = None
        self.floors, self.tops = torch.full((units,), torch.inf), torch.full((units,), -torch.inf)
        self.mass, self.images = torch.zeros(units, dtype=torch.float64), 0

    def add(self, maps: Tensor, places: Tensor) -> None:
        """Take in maps (n, u, h, w), all finite, of the images at these positions, which come in order."""
        by_unit = maps.transpose(0, 1)
        values = by_unit.flatten(1)
        self.sketch.add(values)
        self.floors, self.tops = torch.minimum(self.floors, values.amin(1)), torch.maximum(self.tops, values.amax(1))
        self.mass += by_unit.double().abs().mean((2, 3)).sum(1)
        self.images += len(maps)
        kept = maps.new_empty(len(values), 0, *maps.shape[2:]) if self.maps is None else self.maps
        peaks = torch.cat([self.peaks, by_unit.amax((2, 3))], 1)
        positions = torch.cat([self.positions, places.expand(len(values), -1)], 1)
        # A stable sort of what came earlier before what came later: of equal peaks the earlier image stays.
        order = peaks.sort(dim=1, descending=True, stable=True).indices[:, : self.count]
        self.peaks, self.positions = peaks.gather(1, order), positions.gather(1, order)
        both = torch.cat([kept, by_unit], 1)
        self.maps = both.gather(1, order[:, :, None, None].expand(-1, -1, *maps.shape[2:]))

    def result(self, layer: str, share: float, size: tuple[int, int]) -> Exemplars:
        """What was found; see :class:`Exemplars` and :func:`find_exemplars`."""
        assert self.maps is not None
        lacking = self.count - self.positions.shape[1]

        def filled(values: Tensor, filler: float) -> Tensor:
            missing = values.new_full((len(values), lacking, *values.shape[2:]), filler)
            return torch.cat([values, missing], 1) if lacking else values

        return Exemplars(
            layer=layer,
            positions=filled(self.positions, -1),
            peaks=filled(self.peaks, -torch.inf),
            maps=filled(self.maps, 0.0),
            thresholds=self.sketch.quantile(share),
            floors=self.floors,
            active=self.tops > self.floors,
            masses=self.mass / self.images,
            size=size,
            images=self.images,
        )
