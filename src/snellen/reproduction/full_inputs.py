"""What experiments at full scale read from the environment, checked before anything is loaded.

``full_inputs.toml`` lists the variables of each system; the experiments themselves read them.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from snellen.core import package
from snellen.core.errors import InputError

#: Schemes of references whose rest is a path, and those whose path follows an @.
_OF_PATHS = ("artifact", "checkpoint", "diffusers", "file", "hf", "meshes", "onnx", "slides")
_BEHIND_AT = ("timm", "torchvision")


class FullInput(BaseModel):
    """One environment variable.

    Attributes:
        about: what it names.
        example: a value.
        form: a reference of a model or of images; a path that must be there; a folder that is written to; text.
        between: what stands between several values; empty where there is one.
        optional: whether the experiment runs without it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    example: str
    form: Literal["reference", "path", "kept", "text"] = "reference"
    between: str = ""
    optional: bool = False

    def missing_path(self, value: str) -> str | None:
        """The first file or folder that a value names and that is not there; None where all are.

        >>> FullInput(about="a model", example="hf:folder").missing_path("hf:no-such-folder")
        'no-such-folder'
        """
        if self.form in ("kept", "text"):
            return None
        for one in value.split(self.between) if self.between else [value]:
            path = one.strip() if self.form == "path" else path_in(one.strip())
            if path and not Path(path).exists():
                return path
        return None


def path_in(reference: str) -> str | None:
    """The file or folder that a reference of a model or of images names; None where it names none.

    >>> path_in("torchvision:vgg19@vgg19.pth"), path_in("slides:folder?tile=224"), path_in("cifar.npz#train")
    ('vgg19.pth', 'folder', 'cifar.npz')
    >>> path_in("resnet50=hf:folder"), path_in("bundled:fashion-mnist")
    ('folder', None)
    """
    named = re.fullmatch(r"[\w.-]+=(.+)", reference)  # NAME=REFERENCE
    scheme, colon, rest = (named[1] if named else reference).partition(":")
    if not colon or len(scheme) == 1:  # a letter is a drive of Windows
        rest = named[1] if named else reference
    elif scheme in _BEHIND_AT:
        rest = rest.partition("@")[2]
    elif scheme not in _OF_PATHS:
        return None
    if Path(rest).exists():
        return rest
    return re.split(r"[?#]", rest)[0] or None


def full_inputs(system: str) -> Mapping[str, FullInput]:
    """The variables of a system by name; none where its experiment reads no variable."""
    listed = tomllib.loads(package.text("reproduction/full_inputs.toml"))
    return TypeAdapter(dict[str, FullInput]).validate_python(listed.get(system, {}))


def check_full_inputs(system: str, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse an experiment at full scale whose models or data are not named, or not there: a line for each.

    Raises:
        InputError: so it is.
    """
    wrong = []
    for name, wanted in full_inputs(system).items():
        value, hint = environment.get(name, ""), f"{wanted.about}, for example {name}='{wanted.example}'"
        if not value:
            if not wanted.optional:
                wrong.append(f"{name} is not set: {hint}")
        elif (lost := wanted.missing_path(value)) is not None:
            wrong.append(f"{name}={value}: there is no file or folder {lost}; expected {hint}")
    if wrong:
        count = "1 environment variable" if len(wrong) == 1 else f"{len(wrong)} environment variables"
        lines = "\n".join(f"  {line}" for line in wrong)
        raise InputError(
            f"the full experiment of {system} needs {count}; name what lies on this machine, nothing is downloaded:\n"
            f"{lines}"
        )
