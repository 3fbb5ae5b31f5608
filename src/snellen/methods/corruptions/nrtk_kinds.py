"""Kinds of damage from NRTK, the Natural Robustness Toolkit of Kitware (Apache-2.0): optics, sensors, haze.

NRTK models a camera in physical units by pyBSM: the optical transfer functions of defocus, jitter, turbulence and of
the size of a detector, a whole sensor with its noise, haze by its optical depth, and the distortion of a lens. Its
perturbers take one image of bytes at a time, and some a seed; here they take batches, our seeds, and a severity.

The extra ``nrtk`` brings the package. It is imported when one of its kinds is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import import_extra
from snellen.core.randomness import Randomness

#: Metres on the ground that a pixel shows. A pixel is a pixel at any size of image, so that NRTK's blurs act on all.
GROUND_SAMPLE = 0.1

#: Seeds that NumPy takes.
_LARGEST_SEED = 2**31 - 1

_OTF = "nrtk.impls.perturb_image.optical.otf"
_OPTICAL = "nrtk.impls.perturb_image.optical"
_ENVIRONMENT = "nrtk.impls.perturb_image.environment"

#: image uint8 (h, w, 3), seed → image uint8 (any height, any width, 3).
_Perturb = Callable[[np.ndarray, int], np.ndarray]


def nrtk_defocus(images: Tensor, rng: Randomness, *, spot: float) -> Tensor:
    """A lens out of focus: ``spot`` is the radius at which its blur spot falls to 1/e, as pyBSM takes it.

    Images (n, 3, h, w) in [0, 1]; draws nothing.
    """
    return _perturbed(images, rng, _still(_class(_OTF, "DefocusPerturber")(w_x=spot, w_y=spot), img_gsd=GROUND_SAMPLE))


def nrtk_jitter(images: Tensor, rng: Randomness, *, amplitude: float) -> Tensor:
    """A line of sight that trembles while the camera exposes: root mean square amplitude, radians.

    Images (n, 3, h, w) in [0, 1]; draws nothing.
    """
    perturber = _class(_OTF, "JitterPerturber")(s_x=amplitude, s_y=amplitude)
    return _perturbed(images, rng, _still(perturber, img_gsd=GROUND_SAMPLE))


def nrtk_turbulence(images: Tensor, rng: Randomness, *, strength: float) -> Tensor:
    """Turbulent air before the aperture: refractive index structure parameter Cn² at 1 m, m^(−2/3).

    Images (n, 3, h, w) in [0, 1]; draws nothing.
    """
    perturber = _class(_OTF, "TurbulenceAperturePerturber")(cn2_at_1m=strength)
    return _perturbed(images, rng, _still(perturber, img_gsd=GROUND_SAMPLE))


def nrtk_detector(images: Tensor, rng: Randomness, *, width: float) -> Tensor:
    """A detector of that width, metres, which averages the light that falls on it.

    Images (n, 3, h, w) in [0, 1]; draws nothing.
    """
    perturber = _class(_OTF, "DetectorPerturber")(w_x=width, w_y=width)
    return _perturbed(images, rng, _still(perturber, img_gsd=GROUND_SAMPLE))


def nrtk_pybsm(images: Tensor, rng: Randomness, *, distance: float) -> Tensor:
    """A whole sensor in the air by pyBSM, with optics, detector, noise and atmosphere, at a distance in metres.

    The distance is that along the ground. The sensor has pixels of its own, the fewer the farther; its picture is
    brought back to the size of the image. The noise is drawn. Images (n, 3, h, w) in [0, 1].
    """
    make = _class(_OPTICAL, "PybsmPerturber")

    def change(image: np.ndarray, seed: int) -> np.ndarray:
        return np.asarray(make(seed=seed, ground_range=distance)(image=image, img_gsd=GROUND_SAMPLE)[0])

    return _perturbed(images, rng, change)


def nrtk_haze(images: Tensor, rng: Randomness, *, depth: float) -> Tensor:
    """Haze of an optical depth: light of the scene falls to exp(−depth), the rest has its mean colour.

    Images (n, 3, h, w) in [0, 1]; draws nothing.
    """
    return _perturbed(images, rng, _still(_class(_ENVIRONMENT, "HazePerturber")(factor=float(depth))))


def nrtk_radial_distortion(images: Tensor, rng: Randomness, *, coefficient: float) -> Tensor:
    """A lens that bends straight lines: first coefficient of the radial distortion, which shows black corners.

    Images (n, 3, h, w) in [0, 1]; draws nothing.
    """
    make = _class(_OPTICAL, "RadialDistortionPerturber")
    return _perturbed(images, rng, _still(make(k=[float(coefficient), 0.0, 0.0])))


#: Kinds by name, as the benchmarks of our own have them.
NRTK_KINDS: dict[str, Callable[..., Tensor]] = {
    one.__name__: one
    for one in (
        nrtk_haze,
        nrtk_radial_distortion,
        nrtk_defocus,
        nrtk_jitter,
        nrtk_turbulence,
        nrtk_detector,
        nrtk_pybsm,
    )
}


def _class(module: str, name: str) -> Callable[..., Any]:
    import_extra("nrtk", "nrtk", "damage by NRTK")
    return getattr(import_extra(module, "nrtk", "damage by NRTK"), name)


def _still(perturber: Callable[..., Any], **given: object) -> _Perturb:
    """A perturber that draws nothing."""
    return lambda image, _: np.asarray(perturber(image=image, **given)[0])


def _perturbed(images: Tensor, rng: Randomness, change: _Perturb) -> Tensor:
    """Each image through bytes and back; a picture of another size is brought to that of the image.

    The seed of an image is drawn from its own randomness, so that it is the same in every batch and at every severity.
    """
    seeds = rng.integers("nrtk", (), 0, _LARGEST_SEED).tolist()
    pixels = (images * 255).round().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    parts = [
        _sized(torch.from_numpy(np.array(change(np.ascontiguousarray(one), seed))), images.shape[2:])
        for one, seed in zip(pixels, seeds, strict=True)
    ]
    if not parts:
        return images.clone()
    return torch.stack(parts).to(images).div_(255).clamp_(0, 1)


def _sized(picture: Tensor, size: tuple[int, ...]) -> Tensor:
    """A picture (h, w, 3 or none) at another size: float32 (3, height, width)."""
    planes = (picture[..., None].expand(-1, -1, 3) if picture.ndim == 2 else picture).permute(2, 0, 1).float()
    if planes.shape[1:] == torch.Size(size):
        return planes
    return F.interpolate(planes[None], size=tuple(size), mode="bilinear", align_corners=False, antialias=True)[0]
