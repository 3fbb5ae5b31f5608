"""A latent generator from a reference: ``bundled:``, ``artifact:``, ``diffusers:`` or ``autoencoder:``."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, RejectedImageError, unknown_name
from snellen.core.images import ImageSet
from snellen.core.package import asset
from snellen.core.preprocessing import to_unit
from snellen.data.references import load_images
from snellen.models.diffusion.folder import DECODERS, Part, load_network, read_json
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.models.latent_generators.decoder_network import DecoderNetwork
from snellen.models.latent_generators.latent_generator import LatentGenerator
from snellen.models.latent_generators.of_autoencoder import decoded_prior
from snellen.models.latent_generators.of_diffusion import first_noise
from snellen.models.latent_generators.style_network import ARCHITECTURE as STYLE_ARCHITECTURE
from snellen.models.latent_generators.style_network import style_network
from snellen.models.weights.devices import resolve_device
from snellen.models.weights.state_dict_file import load_strictly

FORMS = (
    "bundled:NAME, artifact:FOLDER, diffusers:FOLDER?steps=5[&prompt=TEXT], bundled:NAME?steps=5[&class=NUMBER], "
    "autoencoder:FOLDER?dimension=64&images=REFERENCE"
)

#: Name of the architecture in the card of an artifact.
ARCHITECTURE = "latent_decoder"

#: Most images that a prior is fitted to.
MOST_IMAGES = 4096


class FewerImagesWarning(UserWarning):
    """A prior was fitted to fewer images than there are."""


def load_latent_generator(
    reference: str, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> LatentGenerator:
    """Load a latent generator. Nothing is downloaded, and no code of a folder is run.

    A generator of your own library, such as StyleGAN2, is given as a module in Python:
    ``LatentGenerator(module, 512, name="stylegan2", values="signed")``.

    Args:
        reference: ``artifact:FOLDER`` or ``bundled:NAME`` of a decoder of this package; ``diffusers:FOLDER`` or
            ``bundled:NAME`` of a diffusion model, whose first noise is the latent, with ``steps`` (5) and a ``prompt``
            or ``class`` that all images share; ``autoencoder:FOLDER`` of an ``AutoencoderKL`` or of a pipeline with
            one, whose prior is fitted to ``images``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: of the weights of a diffusion model.

    Raises:
        InputError: a reference, folder or option that cannot be used.
        MissingExtraError: diffusers is not installed.
    """
    where = resolve_device(str(device))
    scheme, _, rest = reference.partition(":")
    path, _, query = rest.partition("?")
    if scheme not in ("artifact", "autoencoder", "bundled", "diffusers"):
        raise unknown_name("kind of latent generator", scheme, ["artifact", "autoencoder", "bundled", "diffusers"])
    if not path:
        raise InputError(f"{reference!r} names no latent generator; expected one of {FORMS}")
    if scheme == "autoencoder":
        return _autoencoder(reference, Path(path), query, where)
    folder = asset(path) if scheme == "bundled" else Path(path)
    if scheme == "artifact" or (scheme == "bundled" and (folder / "weights.safetensors").is_file()):
        if query:
            raise InputError(f"{reference!r}: a decoder has no options; leave out ?{query}")
        return _decoder(reference, folder, where)
    generator = load_generator(f"{scheme}:{path}", device=where, dtype=dtype)
    return _diffusion(reference, generator, query)


def _options(reference: str, query: str, known: tuple[str, ...]) -> dict[str, str]:
    """``a=1&b=2`` as a mapping; the last known option may hold anything, so that references fit into it."""
    found: dict[str, str] = {}
    while query:
        key, _, rest = query.partition("=")
        if key not in known:
            raise unknown_name(f"option of {reference!r}", key, known)
        value, _, query = (rest, "", "") if key == known[-1] else rest.partition("&")
        found[key] = value
    return found


def _whole(reference: str, options: dict[str, str], key: str, default: int, least: int) -> int:
    text = options.get(key, str(default))
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"{reference!r}: {key} is a whole number of at least {least}; got {text!r}")
    return int(text)


def _decoder(reference: str, folder: Path, device: torch.device) -> LatentGenerator:
    artifact = Artifact.load(folder)
    described = artifact.card.architecture
    if described.get("name") == STYLE_ARCHITECTURE:
        styled = style_network(artifact, source=str(folder / "weights.safetensors"))
        return LatentGenerator(styled, styled.shape.latent, name=reference, device=device)
    if described.get("name") != ARCHITECTURE:
        raise InputError(
            f"{folder} holds a {artifact.card.kind}, and not a decoder of latents "
            f"({ARCHITECTURE}, {STYLE_ARCHITECTURE})"
        )
    with torch.random.fork_rng(devices=[]):
        network = DecoderNetwork(int(described["dimension"]), tuple(described["widths"]))
    load_strictly(network, artifact.tensors, source=str(folder / "weights.safetensors"))
    return LatentGenerator(network, int(described["dimension"]), name=reference, device=device)


def _diffusion(reference: str, generator: Generator, query: str) -> LatentGenerator:
    options = _options(reference, query, ("steps", "class", "prompt"))
    return first_noise(
        generator,
        steps=_whole(reference, options, "steps", 5, 1),
        prompt=options.get("prompt"),
        class_index=_whole(reference, options, "class", 0, 0) if "class" in options else None,
        name=reference,
    )


def _autoencoder(reference: str, folder: Path, query: str, device: torch.device) -> LatentGenerator:
    options = _options(reference, query, ("dimension", "images"))
    if not options.get("images"):
        raise InputError(
            f"{reference!r}: the prior of an autoencoder is fitted to images; add ?dimension=64&images=REFERENCE"
        )
    inner = folder / "vae" if (folder / "vae").is_dir() else folder
    if not (inner / "config.json").is_file():
        raise InputError(f"{folder} holds no AutoencoderKL: there is no config.json in it, nor in a folder vae")
    kind = str(read_json(inner / "config.json").get("_class_name", ""))
    if kind not in DECODERS:
        raise InputError(f"{inner}: a {kind or 'network without a class'} is no {', '.join(DECODERS)}")
    network = load_network(Part("vae", kind, DECODERS[kind], inner), device, torch.float32)
    size = getattr(network.config, "sample_size", None)
    images = pixels_of(load_images(options["images"]), None if size is None else int(size))
    return decoded_prior(network, images, dimension=_whole(reference, options, "dimension", 64, 2), name=reference)


def pixels_of(images: ImageSet, side: int | None = None) -> Tensor:
    """The first images of a set as one tensor, float (n, 3, side, side) in [0, 1]: the middle square of each.

    Args:
        images: at most :data:`MOST_IMAGES` of them are read.
        side: pixels; None: the size of the first one.

    Raises:
        InputError: no image.
    """
    found, refused, count = list[Tensor](), list[str](), min(len(images), MOST_IMAGES)
    for row in range(count):
        try:
            picture = images.read(row).convert("RGB")
        except RejectedImageError as error:
            refused.append(f"{images.ids[row]} ({error})")
            continue
        square = min(picture.size)
        left, top = (picture.width - square) // 2, (picture.height - square) // 2
        cut = picture.crop((left, top, left + square, top + square)).resize((side or square,) * 2)
        side = side or square
        found.append(to_unit(torch.from_numpy(np.array(cut)).permute(2, 0, 1)))
    if not found:
        raise InputError(f"{images.name} holds no image that a prior can be fitted to; first: {', '.join(refused[:1])}")
    if refused:
        warnings.warn(
            f"{len(refused)} of {count} images cannot be read and are left out of the prior; first: {refused[0]}",
            FewerImagesWarning,
            stacklevel=2,
        )
    return torch.stack(found)
