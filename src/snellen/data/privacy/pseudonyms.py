"""Keyed pseudonyms for the names of images, patients, bags and groups, and the file that leads back to the names.

A pseudonym is the beginning of HMAC-SHA256(key, name), so that equal names have equal pseudonyms: units stay units, and
what training and test images share is still found. Without the key nobody can try out names. Key and table lie in one
file of the owner, which no run directory may hold.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snellen.core.errors import InputError
from snellen.core.rehearsal import rehearsing
from snellen.core.renaming import rename_over
from snellen.core.unwritable import unwritable

#: Bytes of a key.
KEY_BYTES = 32

#: Bytes of a pseudonym: with a million names, two are alike once in 10¹² times.
PSEUDONYM_BYTES = 10

#: What every pseudonym begins with.
MARK = "p-"


@dataclass(frozen=True, eq=False)
class Pseudonyms:
    """A key, and the names that it has replaced.

    >>> pseudonyms = Pseudonyms(bytes(KEY_BYTES))
    >>> pseudonyms.of("Jane Doe/1.png"), pseudonyms.of("Jane Doe/1.png") == pseudonyms.of("jane doe/1.png")
    ('p-ebwk5l6rnyjnkilq', False)
    >>> list(pseudonyms.names.values())
    ['Jane Doe/1.png', 'jane doe/1.png']

    Attributes:
        key: secret.
        names: name by pseudonym.
        path: the file that both come from; None for a key in memory.
    """

    key: bytes = field(repr=False)
    names: dict[str, str] = field(default_factory=dict, repr=False)
    path: Path | None = None

    @classmethod
    def open(cls, path: Path | str, *, outside: Path | None = None) -> Pseudonyms:
        """Read the file, or make one with a new key, for its owner alone to read (mode 0600).

        Args:
            path: the file.
            outside: a folder that may not hold it, because it is to be given away.

        Raises:
            InputError: it lies in that folder, is no such file, or cannot be read.
            UnwritableError: it cannot be written.
        """
        path = Path(path)
        # Neither the file nor a link to it: programs that pack the folder may follow links.
        places = (os.path.realpath(path), os.path.join(os.path.realpath(path.parent), path.name))
        if outside is not None and any(Path(place).is_relative_to(os.path.realpath(outside)) for place in places):
            raise InputError(
                f"{path} lies in {outside}, which is to hold no names; name a file of pseudonyms outside of it"
            )
        if not path.exists():
            made = cls(secrets.token_bytes(KEY_BYTES), path=path)
            if rehearsing():
                return made
            made._write(new=True)
        return cls._read(path)

    @classmethod
    def _read(cls, path: Path) -> Pseudonyms:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} cannot be read: it is no regular file")  # a pipe would be waited for
        try:
            record: Any = json.loads(path.read_bytes())
            key, names = bytes.fromhex(record["key"]), dict(record["names"])
            fits = len(key) == KEY_BYTES and all(isinstance(one, str) for one in (*names, *names.values()))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError):
            fits = False
        if not fits:
            raise InputError(f"{path} is no file of pseudonyms; name one that Snellen made, or a new one")
        return cls(key, names, path)

    @property
    def key_id(self) -> str:
        """Identifies this key, and reveals nothing of it."""
        return hmac.digest(self.key, b"snellen: which key is this", hashlib.sha256).hex()[:16]

    def of(self, name: str) -> str:
        """The pseudonym of a name.

        Raises:
            InputError: another name has the same; a new key is needed.
        """
        digest = hmac.digest(self.key, name.encode("utf-8", "surrogatepass"), hashlib.sha256)
        pseudonym = MARK + base64.b32encode(digest[:PSEUDONYM_BYTES]).decode().rstrip("=").lower()
        if self.names.setdefault(pseudonym, name) != name:
            raise InputError(
                f"two names have the same pseudonym {pseudonym} under the key of {self.path}; name a new file, which "
                f"gets another key"
            )
        return pseudonym

    def of_model(self, name: str) -> str:
        """The name of a model without names of files: ``bundled:NAME`` and names of architectures stay.

        >>> Pseudonyms(bytes(KEY_BYTES)).of_model("timm:resnet50")
        'timm:resnet50'
        >>> Pseudonyms(bytes(KEY_BYTES)).of_model("onnx:clinic of Dr. Doe.onnx").startswith("onnx:p-")
        True
        """
        scheme, colon, rest = name.partition(":")
        if not colon:
            return self.of(name)
        public, at, file = rest.partition("@")
        if scheme not in _PUBLIC:
            return f"{scheme}:{self.of(rest)}" if scheme.isidentifier() else self.of(name)
        return f"{scheme}:{public}@{self.of(file)}" if at else name

    def all_of(self, names: Iterable[object]) -> list[str | None]:
        """The pseudonym of each name; None stays None."""
        return [None if name is None else self.of(str(name)) for name in names]

    def write(self) -> None:
        """Add the names to the file; what others have written there in the meantime is kept.

        Where it holds all of them and is its owner's alone, it is left as it is: it may lie where nobody writes.

        Raises:
            UnwritableError: it cannot be written.
        """
        if self.path is not None and not rehearsing():
            there = self._read(self.path).names
            alone = os.name == "nt" or not self.path.stat().st_mode & 0o077  # Windows has no such modes
            if self.names.items() <= there.items() and alone:
                return
            self.names.update({**there, **self.names})
            self._write()

    def _write(self, *, new: bool = False) -> None:
        assert self.path is not None
        path = Path(os.path.realpath(self.path))  # a link stays, and what it leads to is replaced
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        record = json.dumps({"key": self.key.hex(), "names": dict(sorted(self.names.items()))}, indent=1) + "\n"
        try:
            # The mode is there from the first moment on: nobody else can open it in between.
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(record)
                stream.flush()
                os.fsync(stream.fileno())
            if new and _linked(temporary, path):
                return
            rename_over(temporary, path)
        except OSError as error:
            raise unwritable(error, self.path) from error
        finally:
            with suppress(OSError):  # where nothing may be written, nothing may be taken away
                temporary.unlink(missing_ok=True)


#: Schemes whose names are public: what ships with this package, and architectures.
_PUBLIC = frozenset({"bundled", "timm", "torchvision"})


def _linked(temporary: Path, path: Path) -> bool:
    """Give a new file its name unless another process was first; False where the disk knows no links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True
