"""The mean distance to the clean image grows with the severity, on real photographs and between the anchors too."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images

from snellen.core.randomness import Randomness
from snellen.data.files.bundled import load_bundled
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import BENCHMARKS, MEDMNIST_C, benchmark

HALVES = [number / 2 for number in range(11)]
#: Draws are the same at every severity; what they leave, and pixels that count whole, may hide a share of the change.
TOLERANCE = 0.02

#: Kinds whose mean change does not grow with the published severity, and the order in which it does.
NOT_AS_PUBLISHED = {
    "large": {
        "frost": (1, 2, 4, 3, 5),
        "saturate": (3, 1, 2, 4, 5),
        "elastic_transform": (3, 4, 5, 1, 2),
    },
    "small": {
        "glass_blur": (3, 2, 1, 5, 4),
        "frost": (1, 2, 5, 4, 3),
        "spatter": (1, 4, 2, 5, 3),
        "saturate": (3, 1, 4, 2, 5),
        "elastic_transform": (5, 4, 3, 2, 1),
    },
}

#: What 28-pixel pictures in grey on black do not show: on them, these may fall.
NOT_ON_FASHION = {
    "saturate": "grey has no saturation",
    "frost": "on black, what frost adds counts for more than what it hides",
    "pixelate": "23 pixels in place of 28 fall together with their outlines better than 24",
    "defocus_blur": "the disk of severity 4 is 7/8 pixel in radius, which is one pixel",
}


def square(pixels, side):
    """The largest centred square of a photograph, shrunk: float (3, side, side) in [0, 1]."""
    least = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - least) // 2, (pixels.shape[1] - least) // 2
    image = Image.fromarray(pixels[top : top + least, left : left + least]).convert("RGB")
    shrunk = np.asarray(image.resize((side, side), Image.Resampling.BOX))
    return torch.from_numpy(shrunk.copy()).permute(2, 0, 1).float() / 255


@cache
def photographs(side):
    found = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.stereo_motorcycle()[0]]
    found += [*load_sample_images().images, data.immunohistochemistry()]
    return torch.stack([square(pixels, side) for pixels in found])


@cache
def grey_photographs(side):
    return torch.stack([square(pixels(), side) for pixels in (data.camera, data.coins, data.moon, data.cell)])


@cache
def pieces():
    """72 pieces of 32 pixels of the photographs, each twice."""
    tiles = photographs(96).unfold(2, 32, 32).unfold(3, 32, 32)
    return tiles.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 32, 32).repeat(2, 1, 1, 1)


@cache
def fashion():
    images = load_bundled("fashion-mnist")
    return torch.stack([torch.from_numpy(np.array(images.read(row))).permute(2, 0, 1) / 255 for row in range(64)])


def curve(name, kind, images, severities, *, strict):
    rng = Randomness(0).bind(len(images)).remembering()
    changed = (corrupt(images, benchmark(name), kind, severity, rng, strict=strict) for severity in severities)
    return [float((images_at - images).abs().mean()) for images_at in changed]


def falls(changes):
    """Shares of the change that are lost from one severity to the next."""
    return [1 - after / before for before, after in pairwise(changes) if before > 0]


def grows(changes):
    assert changes[0] == 0
    assert changes[-1] > 0
    assert max(falls(changes)) <= TOLERANCE, [round(change, 5) for change in changes]


@pytest.mark.covers("37.8")
@pytest.mark.parametrize("kind", benchmark("imagenet-c").kinds)
def test_common_kinds_on_photographs(kind):
    grows(curve("imagenet-c", kind, photographs(224), HALVES, strict=True))


@pytest.mark.covers("37.8")
@pytest.mark.parametrize("kind", benchmark("imagenet-c").kinds)
def test_common_kinds_on_small_photographs(kind):
    grows(curve("imagenet-c", kind, pieces(), HALVES, strict=True))


@pytest.mark.parametrize("kind", sorted(set(benchmark("imagenet-c").kinds) - set(NOT_ON_FASHION)))
def test_common_kinds_on_fashion(kind):
    grows(curve("imagenet-c", kind, fashion(), HALVES, strict=True))


def medical():
    """A set and kind for every table on coloured and on grey images."""
    seen = {}
    for name in MEDMNIST_C:
        for kind in benchmark(name).kinds:
            seen.setdefault((kind, str(benchmark(name).table(kind, 224)), benchmark(name).rgb), (name, kind))
    return list(seen.values())


@pytest.mark.covers("37.8")
@pytest.mark.parametrize(("name", "kind"), medical())
def test_medical_kinds(name, kind):
    images = photographs(224)[:4] if benchmark(name).rgb else grey_photographs(224)
    grows(curve(name, kind, images, HALVES, strict=True))


@pytest.mark.covers("37.8")
@pytest.mark.parametrize(
    ("tables", "kind"), [(tables, kind) for tables, kinds in NOT_AS_PUBLISHED.items() for kind in kinds]
)
def test_the_published_order_is_kept_beside_the_strict_one(tables, kind):
    images = photographs(224) if tables == "large" else pieces()
    published = curve("imagenet-c", kind, images, (1, 2, 3, 4, 5), strict=False)
    strict = curve("imagenet-c", kind, images, (1, 2, 3, 4, 5), strict=True)
    assert max(falls(published)) > TOLERANCE
    order = NOT_AS_PUBLISHED[tables][kind]
    assert getattr(benchmark("imagenet-c"), tables)[kind].strict == order
    assert strict == [published[severity - 1] for severity in order]


@pytest.mark.covers("37.8")
def test_black_corners_of_the_skin_set_are_swapped_as_published():
    published = curve("dermamnist", "black_corner", photographs(224)[:4], (4, 5), strict=False)
    assert published[0] > 1.1 * published[1]
    assert curve("dermamnist", "black_corner", photographs(224)[:4], (4, 5), strict=True) == published[::-1]


def test_no_other_kind_has_an_order_of_its_own():
    found = {
        (name, tables, kind)
        for name in BENCHMARKS
        for tables in ("large", "small")
        for kind, table in getattr(benchmark(name), tables).items()
        if table.strict != (1, 2, 3, 4, 5)
    }
    known = {("imagenet-c", tables, kind) for tables, kinds in NOT_AS_PUBLISHED.items() for kind in kinds}
    assert found == {*known, ("dermamnist", "large", "black_corner")}
