"""Fields of a method as options of a subcommand: spelling, conversion, combinations, messages."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from pydantic import BaseModel, ConfigDict, Field, model_validator
from typer.testing import CliRunner

from snellen.cli.method_commands import method_commands
from snellen.cli.method_options import field_options, methods_of
from snellen.core import index
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.method import Method, method_field
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD


class Range(BaseModel):
    model_config = ConfigDict(extra="forbid")

    low: int = 0
    high: int = 1


class Everything(Method):
    """Has a field of every kind."""

    name = "every_thing"
    text: str = "a"
    number: float = Field(0.5, ge=0, le=1, description="share in [0, 1], not [red]")
    whole: int = 3
    flag_on: bool = True
    choice: Literal["fog", "snow"] = Field("fog", description="what falls")
    many_choices: Literal["a", "b", "c", "d", "e"] = "a"
    numbered: Literal[1, 2] = 1
    maybe: float | None = 0.25
    file: Path | None = None
    either: int | str = 0
    pair: tuple[int, int] = (2, 3)
    items: tuple[float, ...] = ()
    names: list[str] = Field(default_factory=lambda: ["x", "y"])
    table: dict[str, int] = Field({"a": 1})
    span: Range = Range()
    inner: method_field("attacks") | None = None
    numbers: tuple[Literal[1, 2], ...] = (1,)
    seed: int = 7

    @model_validator(mode="after")
    def _fits(self):
        if self.whole == 13 and self.choice == "snow":
            raise ValueError("13 does not go with snow")
        return self

    def shift(self, images, severity, *, rng):
        return images


class Weather(Method):
    """Says what it stands for when no kind is given."""

    name = "weather"
    place: str = "land"
    kind: str = Field("rain", json_schema_extra={"x-snellen-left-out": "all of the place"})

    @classmethod
    def when_left_out(cls, given):
        kinds = {"land": ("rain", "fog"), "sea": ("storm",)}[given.get("place", "land")]
        return {} if "kind" in given else {"kind": kinds}

    def shift(self, images, severity, *, rng):
        return images


class Needy(Method):
    name = "needy"
    amount: float
    on: bool

    def shift(self, images, severity, *, rng):
        return images


ENTRIES = {
    name: index.MethodEntry(name=name, area="shifts", target=f"{__name__}:{target}", summary=summary, aliases=aliases)
    for name, target, summary, aliases in (
        ("every_thing", "Everything", "All of [it].", ("all-of-it",)),
        ("needy", "Needy", "Needs an amount.", ()),
        ("absent", "NotThere", "Cannot be imported.", ()),
    )
}
OPTIONS = field_options(Everything, ["--seed"], "every-thing")


@pytest.fixture(autouse=True)
def _own_index(monkeypatch):
    real = index.methods
    monkeypatch.setattr(index, "methods", lambda area: ENTRIES if area == "shifts" else real(area))


def made(**given):
    return methods_of(ENTRIES["every_thing"], OPTIONS, given)


def test_several_methods_are_a_list():
    class Attacked(Method):
        attacks: tuple[method_field("attacks"), ...] = ()

    (option,) = field_options(Attacked)
    assert option.values(['["fgsm", {"method": "pgd", "steps": 3}]']) == [(FGSM(), PGD(steps=3))]
    with pytest.raises(InputError, match=r"--attacks 'fgsm': .*; takes JSON list of methods"):
        option.values(["fgsm"])


def test_fields_become_options():
    found = {option.field: option for option in OPTIONS}
    assert list(found) == list(Everything.model_fields)
    shown = {field: (option.flag, option.form, option.expected, option.default) for field, option in found.items()}
    assert shown == {
        "text": ("--text", "one", "text", "a"),
        "number": ("--number", "one", "number", "0.5"),
        "whole": ("--whole", "one", "integer", "3"),
        "flag_on": ("--flag-on", "flag", "true or false", "flag-on"),
        "choice": ("--choice", "one", "fog|snow", "fog"),
        "many_choices": ("--many-choices", "one", "name", "a"),
        "numbered": ("--numbered", "one", "1|2", "1"),
        "maybe": ("--maybe", "one", "number", "0.25"),
        "file": ("--file", "one", "path", None),
        "either": ("--either", "one", "integer|text", "0"),
        "pair": ("--pair", "items", "integer, 2 times", "2 3"),
        "items": ("--items", "items", "number, repeatable", None),
        "names": ("--names", "items", "text, repeatable", "x y"),
        "table": ("--table", "one", "JSON", '{"a": 1}'),
        "span": ("--span", "one", "JSON", '{"low": 0, "high": 1}'),
        "inner": ("--inner", "one", "method", None),
        "numbers": ("--numbers", "items", "1|2, repeatable", "1"),
        "seed": ("--every-thing.seed", "one", "integer", "7"),
    }
    assert found["many_choices"].help == "one of a, b, c, d, e"
    assert not any(option.required for option in OPTIONS)
    assert all(option.required for option in field_options(Needy))


@pytest.mark.parametrize(
    ("field", "given", "value"),
    [
        ("text", ["none"], "none"),
        ("text", ["12"], "12"),
        ("number", ["0.75"], 0.75),
        ("whole", ["-4"], -4),
        ("flag_on", False, False),
        ("choice", ["snow"], "snow"),
        ("numbered", ["2"], 2),
        ("maybe", ["none"], None),
        ("maybe", ["1e-3"], 0.001),
        ("file", ["a/b.png"], Path("a/b.png")),
        ("either", ["four"], "four"),
        ("pair", ["4", "5"], (4, 5)),
        ("pair", ["[4, 5]"], (4, 5)),
        ("items", ["1", "2.5"], (1.0, 2.5)),
        ("items", ["1"], (1.0,)),
        ("names", ["p,q"], ["p,q"]),
        ("names", ["1", "[2]"], ["1", "[2]"]),
        ("numbers", ["2", "1"], (2, 1)),
        ("table", ['{"b": 2}'], {"b": 2}),
        ("span", ['{"high": 4}'], Range(high=4)),
        ("inner", ["fgsm"], FGSM()),
        ("inner", ['{"method": "fgsm", "epsilon": 0.5}'], FGSM(epsilon=0.5)),
    ],
)
def test_text_becomes_a_value(field, given, value):
    (one,) = made(**{field: given})
    assert getattr(one, field) == value
    assert type(getattr(one, field)) is type(value)
    assert one == Everything(**{field: value})


def test_nothing_given_is_the_default_and_repeated_options_are_combined():
    assert made() == [Everything()]
    assert made(text=None, whole=[], items=None) == [Everything()]
    found = made(choice=["fog", "snow"], whole=["1", "2"], items=["3", "4"], flag_on=False)
    assert [(one.choice, one.whole) for one in found] == [("fog", 1), ("fog", 2), ("snow", 1), ("snow", 2)]
    assert {one.items for one in found} == {(3.0, 4.0)}
    assert {one.flag_on for one in found} == {False}


def test_a_method_says_what_an_option_that_is_left_out_stands_for():
    entry = index.MethodEntry(name="weather", area="shifts", target=f"{__name__}:Weather", summary="Weather.")
    options = field_options(Weather)
    assert {option.field: option.default for option in options} == {"place": "land", "kind": "all of the place"}

    def kinds(**given):
        return [(one.place, one.kind) for one in methods_of(entry, options, given)]

    assert kinds() == [("land", "rain"), ("land", "fog")]
    assert kinds(place=["sea", "land"]) == [("sea", "storm"), ("land", "rain"), ("land", "fog")]
    assert kinds(kind=["hail"]) == [("land", "hail")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"number": ["lots"]}, "--number 'lots': expected a number.*; takes number$"),
        ({"number": ["0.5", "7"]}, r"--number '7': expected at most 1 \(7 % is 0.07\); takes number"),
        ({"whole": ["2.5"]}, "--whole '2.5': expected a whole number.*; takes integer"),
        ({"choice": ["rain"]}, "--choice 'rain': expected 'fog' or 'snow'; takes fog|snow"),
        ({"pair": ["1"]}, "--pair '1': 1: is missing; takes integer, 2 times"),
        ({"pair": ["1", "2", "3"]}, "--pair '1 2 3': .*at most 2"),
        ({"table": ["{x"]}, "--table '{x': expected a table of names and values; takes JSON"),
        ({"inner": ["fgms"]}, "--inner 'fgms': unknown attack 'fgms'; did you mean 'fgsm'.*; takes method"),
        ({"many_choices": ["bc"]}, r"--many-choices 'bc': expected .*; did you mean 'c' or 'b'\? takes name"),
        ({"span": ['{"hihg": 2}']}, "unknown key in --span 'hihg'; did you mean 'high'\\? Known: high, low$"),
        ({"span": ['{"high": "x"}']}, "--span '.*': high: expected a whole number.*; takes JSON"),
        ({"whole": ["13"], "choice": ["snow"]}, "every_thing with --whole 13, --choice snow: 13 does not go with snow"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_option(given, message):
    with pytest.raises(InputError, match=message.replace("|", r"\|")) as raised:
        made(**given)
    assert "\n" not in str(raised.value)


# -- as commands -------------------------------------------------------------------------------------------------------


class App:
    """A group of commands, what its commands were called with, and what they show."""

    def __init__(self):
        self.called = None

        def run(
            methods: list[Method],
            data: Annotated[str, typer.Argument(help="Images.")],
            seed: Annotated[int, typer.Option(help="Seed.")] = 0,
            as_json: Annotated[bool, typer.Option("--json")] = False,
        ) -> None:
            """Do something to images."""
            self.called = (methods, data, seed, as_json)

        self.app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
        self.app.add_typer(method_commands("shifts", run), name="do")
        self.app.command("other")(lambda: None)

    def __call__(self, *arguments):
        done = CliRunner().invoke(self.app, arguments, env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"})
        if isinstance(done.exception, SystemExit) or done.exception is None:
            return done.exit_code, " ".join(done.output.split())
        raise done.exception


@pytest.fixture
def app():
    return App()


def test_methods_are_listed_without_importing_them(app):
    code, out = app("do", "--help")
    assert code == 0
    for text in ("Do something to images.", "every-thing", "All of [it].", "absent", "Cannot be imported.", "METHOD"):
        assert text in out
    assert app("do")[0] == 2
    assert "Do something to images." in app("--help")[1]


@pytest.mark.parametrize("spelling", ["every-thing", "every_thing", "Every-Thing", "all-of-it", "all_of_it"])
def test_a_subcommand_takes_fields_and_shared_options(app, spelling):
    code, _ = app(
        "do", spelling, "photos", "--choice", "snow", "--no-flag-on", "--every-thing.seed", "5", "--seed", "9"
    )
    assert code == 0
    assert app.called == ([Everything(choice="snow", flag_on=False, seed=5)], "photos", 9, False)
    app("do", spelling, "--whole", "-1", "photos", "--json")
    assert app.called == ([Everything(whole=-1)], "photos", 0, True)


def test_help_shows_descriptions_and_defaults(app):
    code, out = app("do", "every-thing", "-h")
    assert code == 0
    plain = out.replace("│ ", "").replace("│", "")
    for text in ("share in [0, 1], not [red]", "[default: (0.5)]", "what falls", "fog|snow", "[default: (flag-on)]"):
        assert text in plain
    assert "--no-flag-on" in out
    assert "All of [it]." in out


def test_required_fields_are_requested(app):
    code, out = app("do", "needy", "photos", "--on")
    assert code == 2
    assert "Missing option '--amount'" in out
    assert app("do", "needy", "photos", "--on", "--amount", "2")[0] == 0
    assert app.called[0] == [Needy(amount=2, on=True)]


def test_mistakes(app):
    with pytest.raises(UnknownNameError, match="unknown shift 'neady'; did you mean 'needy'"):
        app("do", "neady", "photos")
    code, out = app("do", "needy", "photos", "--on", "--amonut", "2")
    assert code == 2
    assert "No such option" in out
    assert app("do", "--bogus")[0] == 2
    with pytest.raises(InputError, match="--amount 'x'"):
        app("do", "needy", "photos", "--on", "--amount", "x")
