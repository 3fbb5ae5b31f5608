"""A slider in a folder: an adapter in the form of the peft library, and a card that says what it is made of and for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.models.diffusion.adapter_files import CONFIG, WEIGHTS, load_adapter, save_adapter
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.low_rank import SLIDER, LowRank
from snellen.models.weights.state_dict_file import WeightsIdentity


class SliderFit(BaseModel):
    """Numbers of a slider's training; the defaults are the published ones.

    >>> SliderFit().low_rank() == SLIDER
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(4, ge=1, description="of the change of each layer")
    alpha: float = Field(1.0, gt=0, description="a change is multiplied by alpha / rank")
    iterations: int = Field(400, ge=1, description="optimizer steps")
    learning_rate: float = Field(2e-4, gt=0, description="of AdamW, constant")
    batch_size: int = Field(16, ge=1, description="latents of one step")
    eta: float = Field(4.0, gt=0, allow_inf_nan=False, description="how far beyond the shifted prompt to aim")
    steps: int = Field(50, ge=2, description="of the sampler (DDIM) whose latents are trained on")
    size: int | None = Field(None, ge=8, description="height and width that are trained on; none: the generator's own")
    parity: bool = Field(
        False, description="tell the network timestep int(k * 1000 / steps) of a schedule of all timesteps (published)"
    )

    def low_rank(self) -> LowRank:
        """Rank, alpha and the layers: all but cross-attention and time embeddings."""
        return SLIDER.model_copy(update={"rank": self.rank, "alpha": self.alpha})


#: A training of seconds for the small generator of scenes.
SMALL_FIT = SliderFit(iterations=40, learning_rate=1e-3, batch_size=8, steps=12)


#: The card beside the files of peft.
CARD = "slider.json"

#: Large weights take seconds to hash, and every call that samples needs the hash.
_IDENTITIES: WeakKeyDictionary[Generator, WeightsIdentity] = WeakKeyDictionary()


class SliderCard(BaseModel):
    """What a user must know about a slider."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: str = Field(description="of the shift, as prompts say it")
    prompts: tuple[str, ...] = Field(description="c, those that it was trained on")
    shifted: tuple[str, ...] = Field(description="the same under the shift, c+")
    fit: SliderFit
    generator: str = Field(description="reference of the generator that it belongs to")
    generator_identity: str = Field(description="hash of what that generator computes")
    losses: tuple[float, ...] = Field((), description="mean loss of each tenth of the training")
    seed: int = 0
    code_version: str = ""
    environment: dict[str, str] = Field(default_factory=dict)
    sha256: str = Field("", description="hash of the weights file")


@dataclass(frozen=True)
class Slider:
    """One shift of one generator, in a folder.

    Args:
        folder: with :data:`CARD` and what peft reads.
        card: what it is.
    """

    folder: Path
    card: SliderCard

    @classmethod
    def load(cls, folder: Path) -> Slider:
        """Read a card, and check that the weights are its own.

        Raises:
            InputError: files are missing or damaged, or the weights are not those of the card.
        """
        for name in (CARD, WEIGHTS, CONFIG):
            if not (folder / name).is_file():
                raise InputError(f"{folder} is no slider: {name} is missing")
        try:
            card = SliderCard.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise InputError(f"{folder / CARD} is not the card of a slider: {error}") from error
        if (found := _hash(folder / WEIGHTS)) != card.sha256:
            raise InputError(
                f"{folder / WEIGHTS}: sha256 {found[:16]}… is not the card's {card.sha256[:16]}…; file changed?"
            )
        return cls(folder, card)

    def check(self, generator: Generator) -> None:
        """Refuse a generator that it was not trained for.

        Raises:
            InputError: another generator.
        """
        now = generator_identity(generator)
        if now != self.card.generator_identity:
            raise InputError(
                f"the slider {self.folder} ({self.card.words!r}) was trained for {self.card.generator} "
                f"({self.card.generator_identity[:12]}…), and {generator.name} has other weights, text encoder or "
                f"noise schedule ({now[:12]}…): name that generator, or train a slider for this one in another folder"
            )


def save_slider(adapters: Adapters, name: str, folder: Path, card: SliderCard) -> Slider:
    """Write one adapter with its card; the same weights give the same bytes of weights."""
    save_adapter(adapters, name, folder)
    whole = card.model_copy(update={"sha256": _hash(folder / WEIGHTS)})
    text = json.dumps(whole.model_dump(mode="json"), indent=1)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")
    return Slider(folder, whole)


def generator_identity(generator: Generator) -> str:
    """Hash of what a slider depends on: denoiser, text encoders, noise schedule and kind of prediction.

    Ask before adapters are put into the denoiser: they change the names of its layers. Weights are hashed once.
    """
    if generator not in _IDENTITIES:
        parts = [module for name, module in generator.modules().items() if name != "vae"]
        _IDENTITIES[generator] = WeightsIdentity(*parts)
    schedule = hash_tensors({"schedule": generator.denoiser.alphas_cumprod})
    told = f"{generator.denoiser.prediction} {schedule} {_IDENTITIES[generator]()}"
    return hashlib.sha256(told.encode()).hexdigest()


@contextmanager
def sliders_on(generator: Generator, sliders: Mapping[str, Slider]) -> Iterator[tuple[Adapters, dict[str, str]]]:
    """Put sliders into a generator's denoiser inside a ``with`` block; they act where a strength is requested.

    Yields:
        The adapters, and the name in them of each slider.

    Raises:
        InputError: no slider, one of another generator, or a generator that carries adapters already.
    """
    if not sliders:
        raise InputError("there is no slider: give one for each shift")
    for slider in sliders.values():
        slider.check(generator)
    adapters = Adapters(generator.denoiser.network)
    names = {key: f"slider-{number}" for number, key in enumerate(sliders)}
    try:
        for key, slider in sliders.items():
            load_adapter(adapters, names[key], slider.folder)
        yield adapters, names
    finally:
        adapters.unload()


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
