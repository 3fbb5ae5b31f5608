"""A generator of images: a denoiser, what turns prompts or classes into conditions, and what decodes latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.image_encoding import ImageEncoding
from snellen.models.diffusion.text_encoding import TextEdit, TextEncoding


@dataclass(frozen=True, eq=False)
class Generator:
    """A diffusion model that is ready to be sampled from.

    Args:
        name: its reference.
        denoiser: the network and what it predicts.
        schedule: settings of its noise schedule, as its folder gives them.
        text: how prompts are encoded; None where it takes none.
        image: how pictures are encoded, of a generator of image variations; None for any other.
        classes: number of classes; 0 where it takes none.
        null_class: the class id that means "no class"; None where there is none.
        class_names: names of the classes, where the folder has them.
        vae: encodes and decodes latents; None where the latents are the pixels.
        sized: conditions carry sizes and crops.
    """

    name: str
    denoiser: Denoiser
    schedule: Mapping[str, Any]
    text: TextEncoding | None = None
    image: ImageEncoding | None = None
    classes: int = 0
    null_class: int | None = None
    class_names: tuple[str, ...] | None = None
    vae: Any = None
    sized: bool = False

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"Generator({self.name!r}, {self.takes}, {height}x{width})"

    @property
    def takes(self) -> Literal["prompts", "images", "classes", "nothing"]:
        """What says how the picture shall be."""
        if self.image is not None:
            return "images"
        return "prompts" if self.text is not None else "classes" if self.classes else "nothing"

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.denoiser.device

    @property
    def factor(self) -> int:
        """Pixels of an image per latent, in each direction."""
        return 1 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that it was made for."""
        height, width = self.denoiser.size
        return height * self.factor, width * self.factor

    def modules(self) -> dict[str, nn.Module]:
        """Its networks by the names of the parts of a diffusers folder."""
        found: dict[str, nn.Module] = {"denoiser": self.denoiser.network}
        if self.text is not None:
            for number, tower in enumerate(self.text.towers, start=1):
                found["text_encoder" if number == 1 else f"text_encoder_{number}"] = tower.network
        if self.image is not None:
            found["image_encoder"] = self.image.network
        if self.vae is not None:
            found["vae"] = self.vae
        return found

    def with_denoiser(self, network: nn.Module) -> Generator:
        """The same generator with another network of the same class, a fine-tuned one for instance."""
        return replace(self, denoiser=replace(self.denoiser, network=network))

    def latent_shape(self, size: tuple[int, int] | None = None) -> tuple[int, int, int]:
        """Channels, height and width of the latents for images of a size; None is the generator's own.

        Raises:
            InputError: a size that is not divisible by what the networks need.
        """
        height, width = size or self.image_size
        multiple = self.factor * self.denoiser.size_multiple
        if height < 1 or width < 1 or height % multiple or width % multiple:
            raise InputError(f"{self.name} makes images whose height and width are multiples of {multiple}; got {size}")
        return self.denoiser.channels, height // self.factor, width // self.factor

    def encode_prompts(
        self,
        prompts: Sequence[str],
        *,
        size: tuple[int, int] | None = None,
        edit: TextEdit | None = None,
        gradients: bool = False,
    ) -> Condition:
        """Encode prompts; equal ones are encoded once.

        Args:
            prompts: one for each row.
            size: height and width of the images, where the model takes it (SDXL); None is the generator's own.
            edit: a function (text states (n, tokens, width), mask (n, tokens)) → states, for the *different* prompts.
            gradients: keep the condition differentiable in what is trained of the text towers.

        Raises:
            InputError: a generator without text, or a prompt with more tokens than it reads; none is cut.
        """
        if isinstance(prompts, str):
            raise InputError(f"prompts are a list of strings, one for each image; got the string {prompts!r}")
        return self._text().encode(prompts, self._sizes(size), edit, gradients=gradients)

    def encode_classes(self, ids: Sequence[int]) -> Condition:
        """Classes as a condition, one for each row.

        Raises:
            InputError: a generator without classes, or an id that it does not have.
        """
        if not self.classes:
            raise InputError(f"{self.name} takes {self.takes}, not classes")
        wrong = next((index for index in ids if not 0 <= index < self.classes), None)
        if wrong is not None:
            raise InputError(f"{self.name} has classes 0 to {self.classes - 1}; got {wrong}")
        return self._of_classes(list(ids))

    def encode_images(self, pictures: Sequence[Image.Image]) -> Condition:
        """Pictures of any size as conditions, one for each row, of a generator of image variations.

        Raises:
            InputError: another generator, or something else than pictures.
        """
        if self.image is None:
            raise InputError(f"{self.name} takes {self.takes}, not images")
        return self.image.encode(pictures)

    def null(self, count: int, *, size: tuple[int, int] | None = None) -> Condition:
        """The condition that says nothing, ``count`` times: the reference of classifier-free guidance.

        Raises:
            InputError: a class-conditional generator that was trained without one.
        """
        if self.image is not None:
            return self.image.null(count)
        if self.text is not None:
            return self.text.null(count, self._sizes(size))
        if not self.classes:
            return Condition(count=count)
        if self.null_class is None:
            raise InputError(f"{self.name} has no class that means 'none', so nothing can be guided away from it")
        return self._of_classes([self.null_class] * count)

    def encode(self, images: Tensor, rng: Randomness | None = None) -> Tensor:
        """Images (n, c, h, w) in [0, 1] as latents.

        Args:
            images: of this generator's channels.
            rng: draw the latents from the distribution that the encoder gives; None takes its mean.

        Raises:
            InputError: images of the wrong shape or size.
        """
        if images.ndim != 4:
            raise InputError(f"images have shape (n, channels, height, width); got {tuple(images.shape)}")
        self.latent_shape((images.shape[2], images.shape[3]))
        pixels = images.to(self.device, torch.float32) * 2 - 1
        if self.vae is None:
            if pixels.shape[1] != self.denoiser.channels:
                raise InputError(
                    f"{self.name} makes images of {self.denoiser.channels} channels; got {pixels.shape[1]}"
                )
            return pixels
        with torch.no_grad():
            found = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        latents: Tensor = found.mean
        if rng is not None:
            latents = latents + found.std * rng.bind(len(images)).normal("encode", latents.shape[1:], like=latents)
        return (latents.float() - self._shift()) * float(self.vae.config.scaling_factor)

    def decode(self, latents: Tensor, *, clamp: bool = True) -> Tensor:
        """Latents as images, float32 (n, c, h, w) in [0, 1]; differentiable where gradients are on."""
        pixels = latents
        if self.vae is not None:
            scaled = latents / float(self.vae.config.scaling_factor) + self._shift()
            pixels = self.vae.decode(scaled.to(self.vae.dtype), return_dict=False)[0].float()
        images = pixels / 2 + 0.5
        return images.clamp(0, 1) if clamp else images

    def _shift(self) -> float:
        return float(getattr(self.vae.config, "shift_factor", None) or 0.0)

    def _of_classes(self, ids: list[int]) -> Condition:
        return Condition(count=len(ids), classes=torch.tensor(ids, dtype=torch.int64, device=self.device))

    def _text(self) -> TextEncoding:
        if self.text is None:
            raise InputError(f"{self.name} takes {self.takes}, not prompts")
        return self.text

    def _sizes(self, size: tuple[int, int] | None) -> Tensor | None:
        """Original size, crop and target size, (1, 6)."""
        if not self.sized:
            return None
        height, width = size or self.image_size
        return torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device=self.device)
