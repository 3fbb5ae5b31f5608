"""``http://HOST:PORT/v2/models/NAME[/versions/V]?setting=value``: where a model is served, and how requests look."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from snellen.core.errors import InputError, unknown_name
from snellen.core.preprocessing import Interpolation, Resize
from snellen.core.refused_values import refused_values
from snellen.models.remote.permission import ServerUrl, ask_permission, read_url
from snellen.models.remote.retrying import LONGEST_TIMEOUT

FORM = "http://127.0.0.1:8000/v2/models/NAME, with /versions/V behind it for a certain version"

#: Largest side of images that are sent, pixels.
LARGEST_SIDE = 8192

Layout = Literal["nchw", "nhwc"]
Side = Annotated[int, Field(gt=0, le=LARGEST_SIDE)]
Size = tuple[Side, Side]


class ServerSettings(BaseModel):
    """What is written behind ``?`` in a reference. It says how to ask, and is never sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    batch: PositiveInt = Field(16, description="images in one request; fewer where the model insists on it")
    connect: PositiveFloat = Field(10.0, le=LONGEST_TIMEOUT, description="seconds until a connection has to stand")
    timeout: PositiveFloat = Field(
        60.0, le=LONGEST_TIMEOUT, description="seconds until an answer has to be there, all of it"
    )
    retries: int = Field(6, ge=0, description="how often a request is sent again after 408, 409, 429, 5xx or no answer")
    backoff: float = Field(0.5, ge=0, description="seconds before the first repetition; each further one waits twice")
    rate: float = Field(0.0, ge=0, description="requests a second, at most; 0: no limit")
    binary: bool | None = Field(None, description="numbers as bytes; left out: where the server says that it can")
    input: str | None = Field(None, description="name of the input that takes images, where there are several")
    output: str | None = Field(None, description="name of the output with the scores, where there are several")
    layout: Layout | None = Field(None, description="order of the input's axes, where its shape does not show it")
    size: Size | None = Field(None, description="height and width, where the shape does not show it")
    resize: Resize | None = Field(None, description="how images are scaled, as in Preprocessing")
    resize_to: Size | None = Field(None, description="height and width that the scaling aims at")
    interpolation: Interpolation | None = Field(None, description="resampling filter")
    mean: tuple[float, float, float] | None = Field(None, description="mean of each channel, in [0, 1] units")
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        None, description="standard deviation of each channel"
    )

    @field_validator("rate")
    @classmethod
    def _often_enough(cls, value: float) -> float:
        if 0 < value < 1 / LONGEST_TIMEOUT:
            raise ValueError("0 is no limit, and one request a day is the lowest")
        return value

    @field_validator("size", "resize_to", "mean", "std", mode="before")
    @classmethod
    def _numbers(cls, value: object, info: ValidationInfo) -> object:
        """One number stands for all: ``224`` and ``224,192``; ``0.5`` and ``0.485,0.456,0.406``."""
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",")]
        return parts * (3 if info.field_name in ("mean", "std") else 2) if len(parts) == 1 else parts


@dataclass(frozen=True)
class ServedModel:
    """A model at a server.

    Attributes:
        server: address of the model; requests for scores go to ``/infer`` behind it.
        base: address of the server's own description.
        name: of the model.
        version: the requested one; None leaves the choice to the server.
        settings: of the requests.
    """

    server: ServerUrl
    base: str
    name: str
    version: str | None
    settings: ServerSettings


def read_reference(reference: str) -> ServedModel:
    """Read a reference, and see that its host may be reached.

    >>> model = read_reference("http://127.0.0.1:8000/v2/models/pets/versions/3?batch=8&mean=0.5&std=0.5")
    >>> model.server.url, model.name, model.version, model.settings.std
    ('http://127.0.0.1:8000/v2/models/pets/versions/3', 'pets', '3', (0.5, 0.5, 0.5))

    Raises:
        InputError: another form, a setting that is refused, or another machine that is not allowed.
    """
    given, _, query = reference.partition("?")
    server = read_url(given, form=FORM)
    parts = re.fullmatch(r"(.+?/v2)/models/([^/#]+)(?:/versions/([^/#]+))?", server.url)
    if parts is None:
        raise InputError(f"{server.url} is not the address of a model; write {FORM}")
    ask_permission(server, "images")
    return ServedModel(server, parts[1], parts[2], parts[3], _settings(query, server.url))


def _settings(query: str, shown: str) -> ServerSettings:
    written: dict[str, str] = {}
    for part in query.split("&") if query else []:
        name, is_pair, text = part.partition("=")
        if not is_pair or name in written:
            raise InputError(f"{shown}: write settings as ?name=value&name=value, each once; got {part!r}")
        if name not in ServerSettings.model_fields:
            raise unknown_name("setting of a server", name, ServerSettings.model_fields)
        written[name] = text
    try:
        return ServerSettings.model_validate(written)
    except ValidationError as error:
        raise InputError(f"{shown}: {refused_values(error, values=False)}") from None
