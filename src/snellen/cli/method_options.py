"""The fields of a method as options of a command: how they are spelled and shown, and how text becomes a value.

Fields are written as text: numbers (8/255 too), names, ``--flag/--no-flag``, an option repeated for each item of a
sequence, JSON for anything else, and the name of a method (or ``{"method": name, ...}``) for a method in a field. An
option that is repeated for a field of one value makes a method for each value, and for each combination where several
options are. A method says by ``when_left_out`` what values an option stands for that is not given, where that is not
the default.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Union, get_args, get_origin, runtime_checkable

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from snellen.cli.text import dashed
from snellen.core import index
from snellen.core.errors import InputError, unknown_name
from snellen.core.refused_values import likely, refused_values

if TYPE_CHECKING:
    from snellen.core.method import Method

#: Types whose values are one word, and how help texts call them.
_WORDS: dict[object, str] = {str: "text", int: "integer", float: "number", Path: "path"}

#: As many choices are shown beside the option; more are listed in its text.
_FEW = 4


@dataclass(frozen=True)
class FieldOption:
    """A field as an option.

    Attributes:
        field: its name in the method.
        flag: how the option is spelled.
        form: whether it is a flag, one value, or an item of a sequence.
        expected: what a value is, in a word.
        help: description and choices.
        default: the default as text; None where there is none to show.
        required: whether it must be given.
        adapter: checks and converts a value.
        choices: the values there are; empty where there are too many to list.
        keys: keys of a value that is a mapping of named parameters, else empty.
    """

    field: str
    flag: str
    form: Literal["flag", "one", "items"]
    expected: str
    help: str
    default: str | None
    required: bool
    adapter: TypeAdapter[Any]
    choices: Sequence[str] = ()
    keys: Sequence[str] = ()

    def values(self, given: bool | Sequence[str]) -> list[object]:
        """The values that were given, each for a method of its own.

        Raises:
            InputError: one that the field does not take; the message names option, value and what was expected.
        """
        if isinstance(given, bool):
            return [given]
        if self.form == "one":
            return [self._convert(text, text) for text in given]
        parsed = [_from_json(text) for text in given]
        whole = parsed if len(given) == 1 and isinstance(parsed[0], list) else []
        return [self._convert(" ".join(given), *whole, list(given), _NO_JSON if _NO_JSON in parsed else parsed)]

    def _convert(self, came: str, *candidates: object) -> object:
        """The first reading that the field takes: as it is, nothing, JSON, a fraction."""
        readings = [*candidates, *([None] if came.lower() == "none" else []), _from_json(came), _from_fraction(came)]
        shown: ValidationError | None = None
        for reading in readings:
            if reading is not _NO_JSON:
                try:
                    return self.adapter.validate_python(reading)
                except ValidationError as error:
                    # What was written as a JSON object is refused for its content, not for being text.
                    shown = error if shown is None or isinstance(reading, dict) else shown
        assert shown is not None
        raise self._refused(came, shown)

    def _refused(self, came: str, error: ValidationError) -> InputError:
        """The error for a value that the field does not take, with near names where a name is wrong."""
        for one in error.errors():
            if self.keys and one["type"] == "extra_forbidden" and len(one["loc"]) == 1:
                return unknown_name(f"key in {self.flag}", str(one["loc"][0]), self.keys)
        near = difflib.get_close_matches(came, self.choices, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
        # A number came as text: what was meant is seen from the number.
        read = _from_json(came)
        meant = next((words for one in error.errors() if (words := likely(self.field, {**one, "input": read}))), "")
        return InputError(
            f"{self.flag} {came!r}: {refused_values(error, values=False)}{meant}{hint} takes {self.expected}"
        )


def field_options(method_class: type[BaseModel], taken: Sequence[str] = (), name: str = "") -> list[FieldOption]:
    """The fields of a method as options; a spelling that is taken gets the name of the method before it.

    >>> class Fade(BaseModel):
    ...     amount: float = 0.5
    ...     keep_grey: bool = True
    >>> [(option.flag, option.form, option.default) for option in field_options(Fade)]
    [('--amount', 'one', '0.5'), ('--keep-grey', 'flag', 'keep-grey')]
    """
    options = []
    for field, info in method_class.model_fields.items():
        word = dashed(field)
        flag = f"--{word}" if not {f"--{word}", f"--no-{word}"} & set(taken) else f"--{name}.{word}"
        annotation: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        form, expected, choices = _form(annotation)
        help_texts = [info.description or "", f"one of {', '.join(choices)}" if len(choices) > _FEW else ""]
        options.append(
            FieldOption(
                field=field,
                flag=flag,
                form=form,
                expected=expected,
                help="; ".join(text for text in help_texts if text),
                default=_default(info, word),
                required=info.is_required(),
                adapter=TypeAdapter(annotation),
                choices=choices,
                keys=_keys(annotation),
            )
        )
    return options


def methods_of(entry: index.MethodEntry, options: Sequence[FieldOption], given: Mapping[str, Any]) -> list[Method]:
    """Make a method for every combination of the given values, by field; None or nothing leaves the default.

    Raises:
        InputError: a value, or values together, that the method refuses.
    """
    by_field = {option.field: option for option in options}
    chosen = {field: by_field[field].values(came) for field, came in given.items() if came not in (None, [], ())}
    method_class = entry.load()
    made: list[Method] = []
    for combination in itertools.product(*chosen.values()):
        written = dict(zip(chosen, combination, strict=True))
        for parameters in _filled(method_class, written):
            try:
                made.append(method_class.model_validate(parameters))
            except ValidationError as error:
                values = ", ".join(f"{by_field[field].flag} {value}" for field, value in written.items())
                raise InputError(
                    f"{entry.name}{f' with {values}' if values else ''}: {refused_values(error)}"
                ) from error
    return made


@runtime_checkable
class SaysWhatIsMeant(Protocol):
    """A method class that says what values stand for options that were not given."""

    @classmethod
    def when_left_out(cls, given: Mapping[str, object]) -> Mapping[str, Sequence[object]]:
        """Values by field, each for a method of its own; ``given`` is what was given, by field."""
        ...


def _filled(method_class: type, written: Mapping[str, object]) -> list[dict[str, object]]:
    """Parameters with every combination of what the method class fills in for fields that were left out."""
    meant = method_class.when_left_out(written) if isinstance(method_class, SaysWhatIsMeant) else {}
    return [{**written, **dict(zip(meant, values, strict=True))} for values in itertools.product(*meant.values())]


def _form(annotation: object) -> tuple[Literal["flag", "one", "items"], str, list[str]]:
    """Form of the option, what its values are, and the choices there are."""
    core = _core(annotation)
    if core is bool:
        return "flag", "true or false", []
    origin, parts = get_origin(core), get_args(core)
    if origin in (tuple, list, set, frozenset, Sequence) and parts:
        words = list(dict.fromkeys(_word(part) for part in parts if part is not Ellipsis))
        if None not in words:
            times = f"{len(parts)} times" if origin is tuple and Ellipsis not in parts else "repeatable"
            return "items", f"{'|'.join(map(str, words))}, {times}", []
    choices = [str(choice) for choice in parts] if origin is Literal else []
    if _holds_method(annotation):
        return "one", "JSON list of methods" if origin in (tuple, list, Sequence) else "method", choices
    return "one", _word(core) or "JSON", choices


def _keys(annotation: object) -> tuple[str, ...]:
    """Names of the parameters that a value has, where it is a model."""
    core = _core(annotation)
    return tuple(core.model_fields) if isinstance(core, type) and issubclass(core, BaseModel) else ()


def _holds_method(annotation: object) -> bool:
    """Whether a value is a method, as :func:`snellen.core.method.method_field` declares it."""
    about = getattr(annotation, "__metadata__", ())
    if any("x-snellen-area" in (getattr(part, "json_schema", None) or ()) for part in about):
        return True
    return any(_holds_method(part) for part in get_args(annotation))


def _word(annotation: object) -> str | None:
    """What one value is, if it is one word."""
    core = _core(annotation)
    if get_origin(core) is Literal:
        choices = [str(choice) for choice in get_args(core)]
        return "|".join(choices) if len(choices) <= _FEW else "name"
    if get_origin(core) in (Union, types.UnionType):
        words = [_word(part) for part in get_args(core) if part is not type(None)]
        return None if None in words else "|".join(dict.fromkeys(word for word in words if word))
    return _WORDS.get(core)


def _core(annotation: object) -> object:
    """An annotation without its metadata, and without None."""
    if get_origin(annotation) is Annotated:
        return _core(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return _core(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _default(info: FieldInfo, word: str) -> str | None:
    if info.is_required():
        return None
    if isinstance(info.json_schema_extra, dict) and "x-snellen-left-out" in info.json_schema_extra:
        return str(info.json_schema_extra["x-snellen-left-out"])
    value = info.get_default(call_default_factory=True)
    if value is None or value == ():
        return None
    if isinstance(value, bool):
        return word if value else f"no-{word}"
    if isinstance(value, BaseModel):
        value = value.record() if hasattr(value, "record") else value.model_dump(mode="json")
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple | list | set | frozenset):
        if any(isinstance(item, dict) for item in value):
            return json.dumps(list(value), ensure_ascii=False)
        return " ".join(map(str, value))
    return str(value)


_NO_JSON = object()


def _from_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NO_JSON


def _from_fraction(text: str) -> object:
    """A number written as the field writes sizes in grey levels: 8/255."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)/(\d+)", text)
    return float(parts[1]) / int(parts[2]) if parts and int(parts[2]) else _NO_JSON
