"""Neural Cleanse with a known pattern: a small mask for its class alone, from many images and from one."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.smooth_inversion.class_outliers import robust_z
from snellen.systems.smooth_inversion.mask_pattern import MaskSearch, invert_masks
from tests.systems.smooth_inversion.toy_models import NAMES, PATCH, TARGET, classifier, pixels

CLASSES = torch.arange(len(NAMES))
SEARCH = MaskSearch(steps=60, batch=8, cost=0.05, learning_rate=0.3)


@pytest.mark.covers("33.7")
def test_the_planted_class_has_the_smallest_mask_and_it_lies_on_the_pattern():
    images, _ = pixels(24)
    found = invert_masks(classifier(threshold=-0.02), images, CLASSES, SEARCH, rng=Randomness(0))
    assert found.reached.all()
    assert int(found.sizes.argmin()) == TARGET
    assert -robust_z(found.sizes.numpy())[TARGET] > 0
    inside = found.masks[TARGET][(slice(None), *PATCH[1:])].sum() / found.masks[TARGET].sum()
    assert float(inside) > 0.6
    others, _ = pixels(40, seed=9)
    named = classifier(threshold=-0.02)(found.applied(others, TARGET)).argmax(1)
    assert float((named == TARGET).double().mean()) > 0.9
    assert torch.equal(found.sizes, found.masks.flatten(1).sum(1))


@pytest.mark.covers("33.7")
def test_one_image_for_each_target_is_laid_out_by_target():
    images, labels = pixels(8)
    shown = torch.stack([images[labels != target][:1] for target in CLASSES.tolist()])
    found = invert_masks(classifier(threshold=-0.02), shown, CLASSES, SEARCH, rng=Randomness(0))
    assert found.reached.all()
    for target in CLASSES.tolist():
        named = classifier(threshold=-0.02)(found.applied(shown[target], target)).argmax(1)
        assert named.tolist() == [target]
    alone = invert_masks(classifier(threshold=-0.02), shown[[2]], CLASSES[[2]], SEARCH, rng=Randomness(0))
    assert torch.allclose(alone.masks[0], found.masks[2], atol=1e-3)


def test_without_success_the_last_masks_are_reported_as_such_and_no_images_are_refused():
    images, _ = pixels(4)
    found = invert_masks(
        classifier(threshold=-0.02), images, CLASSES, MaskSearch(steps=1, success=1.0), rng=Randomness(0)
    )
    assert not found.reached.any()
    assert torch.isfinite(found.sizes).all()
    with pytest.raises(InputError, match="got none"):
        invert_masks(classifier(threshold=-0.02), images[:0], CLASSES, SEARCH, rng=Randomness(0))
