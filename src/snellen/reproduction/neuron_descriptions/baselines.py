"""What a unit is called without a describer: one value of a factor, the one that its mask agrees with most.

Bau et al., "Network Dissection: Quantifying Interpretability of Deep Visual Representations", CVPR 2017, section 2.3:
the masks of a unit over the whole set against those of each concept, by intersection over union.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.models.layers.layer_edits import reading
from snellen.systems.neuron_descriptions.activation_maps import unit_maps
from snellen.systems.neuron_descriptions.exemplars import Exemplars
from snellen.systems.neuron_descriptions.region_truth import VALUES, FactorMaps

#: From this share on, a pixel belongs to a value.
_FROM = 0.5

#: Images that are compared together.
_TOGETHER = 50


@torch.no_grad()
def single_concepts(
    classifier: Classifier, images: Tensor, maps: FactorMaps, found: Mapping[str, Exemplars]
) -> dict[str, list[str]]:
    """The value with the highest intersection over union with each unit, by layer.

    Args:
        classifier: whose units they are.
        images: prepared, all that the exemplars were chosen from, (n, 3, h, w).
        maps: of the same scenes.
        found: thresholds of the units, by layer.
    """
    assert classifier.module is not None
    size = (maps.shares.shape[2], maps.shares.shape[3])
    both = {layer: torch.zeros(one.units, len(VALUES)) for layer, one in found.items()}
    own = {layer: torch.zeros(one.units) for layer, one in found.items()}
    concept = torch.zeros(len(VALUES))
    for first in range(0, len(images), _TOGETHER):
        rows = slice(first, first + _TOGETHER)
        wanted = (maps.shares[rows] >= 255 * _FROM).float().transpose(0, 1).flatten(1)
        concept += wanted.sum(1)
        with reading(classifier.module, list(found)) as activations:
            classifier(images[rows])
        for layer, one in found.items():
            raised = F.interpolate(unit_maps(activations[layer][0], layer), size, mode="bilinear", align_corners=False)
            limits, floors = one.thresholds[:, None, None], one.floors[:, None, None]
            masks = ((raised >= limits) & (raised > floors)).float().transpose(0, 1).flatten(1)
            both[layer] += masks @ wanted.T
            own[layer] += masks.sum(1)
    return {
        layer: [
            VALUES[int(place)]
            for place in (both[layer] / (own[layer][:, None] + concept - both[layer]).clamp(min=1)).argmax(1)
        ]
        for layer in found
    }
