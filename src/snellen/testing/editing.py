"""The conformance suite for edits of objects: what every shift promises that takes masks."""

from __future__ import annotations

import torch

from snellen.core.method import Editing
from snellen.core.randomness import Randomness


def check_edit(editing: Editing, severities: tuple[float, ...] = (1.0, 2.5, 5.0)) -> None:
    """What every edit of objects promises.

    Severity 0 is the identity; range, shape and inputs kept; the same pixels again and in any batch; masks that show an
    object; a mask that names none has a status, and its image stays as it is.
    """
    generator = torch.Generator().manual_seed(0)
    images, masks = torch.rand(4, 3, 16, 20, generator=generator), torch.zeros(4, 16, 20, dtype=torch.bool)
    for row in range(3):
        masks[row, 4 + row : 10 + row, 6:11] = True
    backgrounds = torch.rand(4, 3, 16, 20, generator=generator)
    kept = images.clone(), masks.clone(), backgrounds.clone()
    rng = Randomness(0).for_examples(["a", "b", "c", "d"])
    same = editing.edit(images, masks, 0.0, rng=rng, backgrounds=backgrounds)
    assert torch.equal(same.images, images), "severity 0 must be the identity"
    assert torch.equal(same.masks, masks), "severity 0 must leave the masks as they are"
    for severity in severities:
        edited = editing.edit(images, masks, severity, rng=rng, backgrounds=backgrounds)
        assert edited.images.shape == images.shape
        assert edited.images.dtype == images.dtype
        assert edited.masks.shape == masks.shape
        assert edited.masks.dtype == torch.bool
        assert bool(((edited.images >= 0) & (edited.images <= 1)).all()), "images leave [0, 1]"
        for given, before in zip((images, masks, backgrounds), kept, strict=True):
            assert torch.equal(given, before), "the edit changed its input in place"
        assert edited.status[:3] == ("ok",) * 3, f"a plain object cannot be edited: {edited.status}"
        assert edited.status[3] not in ("ok", ""), "an empty mask passes for an object"
        assert torch.equal(edited.images[3], images[3]), "an image that cannot be edited must stay as it is"
        assert bool(edited.masks[:3].flatten(1).any(1).all()), "an edited image shows no object"
        again = editing.edit(images, masks, severity, rng=rng, backgrounds=backgrounds)
        assert torch.equal(again.images, edited.images), "the same seed gives other pixels"
        single = editing.edit(images[2:3], masks[2:3], severity, rng=rng[[2]], backgrounds=backgrounds[2:3])
        assert torch.allclose(single.images, edited.images[2:3], atol=1e-6), "another batch gives other pixels"
        assert torch.equal(single.masks, edited.masks[2:3]), "another batch gives other masks"
