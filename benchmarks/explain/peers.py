"""The same attributions by other packages: shap, captum, quantus. Imported when asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from problems import Problem
from torch import Tensor, nn


def shap_partition(at: Problem, backgrounds: Tensor | None, budget: int, batch: int) -> Callable[[], Tensor]:
    """PartitionExplainer of shap, image by image: maps (n, 3, h, w). No backgrounds: Telea's inpainting, on bytes."""
    import shap

    def model(shown: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(shown, dtype=np.float32)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            return at.scores(pixels / 255 if backgrounds is None else pixels).softmax(1).numpy()

    images = at.images.permute(0, 2, 3, 1).numpy() * (255 if backgrounds is None else 1)
    shape = images.shape[1:]

    def run() -> Tensor:
        maps = []
        for row, image in enumerate(images):
            if backgrounds is None:
                masker = shap.maskers.Image("inpaint_telea", shape)
            else:
                masker = shap.maskers.Image(backgrounds[row].permute(1, 2, 0).numpy(), shape)
            found = shap.PartitionExplainer(model, masker)(
                image[None], max_evals=budget, batch_size=batch, outputs=[int(at.targets[row])], silent=True
            )
            maps.append(torch.from_numpy(found.values[0, ..., 0]).permute(2, 0, 1))
        return torch.stack(maps)

    return run


def captum_integrated_gradients(at: Problem, steps: int) -> Callable[[], Tensor]:
    """From black, as captum does it by default (Gauss-Legendre), and with the gap, as ours: maps (n, 3, h, w)."""
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(at.scores)
    asked = {"target": at.targets, "n_steps": steps, "internal_batch_size": 64, "return_convergence_delta": True}
    return lambda: method.attribute(at.images, **asked)[0].detach()


def captum_grad_cam(at: Problem, layer: str) -> Callable[[], Tensor]:
    """Coarse maps (n, y, x), with both signs."""
    from captum.attr import LayerGradCam

    method = LayerGradCam(at.scores, at.module.get_submodule(layer))
    return lambda: method.attribute(at.images, target=at.targets).detach()[:, 0]


def quantus_pixel_flipping(at: Problem, maps: Tensor) -> Callable[[], Tensor]:
    """Probabilities as values turn black, the most important first: (n, 48), without the whole image.

    Quantus flips single values, and takes steps that divide the number of pixels: 1/16 of them here. The channels of a
    pixel go one after the other, because each has the pixel's attribution, so that every third step is a whole one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import quantus

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = at.module

        def forward(self, images: Tensor) -> Tensor:
            return at.scores(images)

    images, targets, each = at.images.numpy(), at.targets.numpy(), maps[:, None].numpy()
    module = Normalised().eval()

    def run() -> Tensor:
        metric = quantus.PixelFlipping(
            features_in_step=maps[0].numel() // 16,
            perturb_baseline=0.0,
            normalise=False,
            abs=False,
            disable_warnings=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = metric(
                model=module, x_batch=images, y_batch=targets, a_batch=each, device="cpu", channel_first=True,
                softmax=True, batch_size=64,
            )  # fmt: skip
        return torch.tensor(np.asarray(told, dtype=np.float64))

    return run
