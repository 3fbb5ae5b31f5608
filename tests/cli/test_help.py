"""Help pages: what matters first, the rest in groups, and nothing wider than 80 columns."""

import pytest
import typer
from typer import rich_utils

from snellen.cli.app import PANELS, app

#: A method of each verb.
PAGES = [
    ("audit",), ("init",), ("compare",), ("reproduce",), ("attack", "pgd"), ("explain", "rise"),
    ("certify", "smoothing"),
    ("scan", "backdoor"), ("shift", "corruption"), ("generate", "sample"), ("train", "supervised"),
]  # fmt: skip

#: Options outside of any group, --help among them.
MOST = 11


def command_of(page):
    command = typer.main.get_command(app)
    context = type(command).context_class(command, info_name="snellen")
    for name in page:
        _, command, _ = command.resolve_command(context, [name])
        context = type(command).context_class(command, info_name=name, parent=context)
    return command


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_ten_options_come_first_and_the_rest_in_groups(page):
    first = [
        one.name
        for one in command_of(page).params
        if one.param_type_name == "option" and getattr(one, "rich_help_panel", None) is None
    ]
    assert len(first) < MOST, first
    assert set(first) & {"out", "as_json", "record"}, first


@pytest.mark.parametrize("page", [(), *PAGES], ids=" ".join)
def test_a_page_fits_80_columns(run, monkeypatch, page):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(rich_utils, "MAX_WIDTH", 80)  # read once, when it is imported
    code, out, _ = run(*page, "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80


def test_verbs_are_listed_in_the_order_of_the_work(run):
    _, out, _ = run("--help")
    places = [out.index(panel) for panel in PANELS]
    assert places == sorted(places)
    for verb in ("audit", "explain", "train", "certify"):
        assert f"│ {verb} " in out


def test_a_field_of_a_method_gives_way_to_a_shared_option():
    spelled = {one.name: one.opts for one in command_of(("explain", "rise")).params}
    assert spelled["masks"] == ["--masks"]
    assert spelled["field_masks"] == ["--rise.masks"]
