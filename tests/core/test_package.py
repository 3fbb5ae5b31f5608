"""What is found by a path is found, and is not empty; the hash of the code sees every room."""

import shutil
from pathlib import Path

import pytest

from snellen.core import index, package, system
from snellen.core.errors import InputError

#: Rooms of the package; folders that hold data alone are none.
ROOMS = sorted(path.parent.name for path in package.root().glob("*/__init__.py"))


def test_the_root_is_the_package_itself():
    assert (package.root() / "py.typed").is_file()
    assert package.root().name == "snellen"


@pytest.mark.parametrize(
    "area", ["attacks", "shifts", "certificates", "explanations", "scans", "recipes", "generation"]
)
def test_indexes_of_methods_are_not_empty(area):
    assert index.methods(area)


def test_checks_systems_and_architectures_are_not_empty():
    assert len(index.checks()) >= 23
    assert len(index.system_tables()) == len(system.list_systems()) == 39
    assert {"fashion_cnn", "concept_bottleneck", "smoothed"} <= set(index.architectures())
    assert index.commands("shift")
    assert index.form("attack", "views").target


def test_results_are_found_and_each_belongs_to_a_system():
    (folder, *_) = package.results_folders()
    records = {path.stem for path in folder.glob("*.json")}
    assert records
    assert records <= set(index.system_tables())


def test_models_that_ship_are_found():
    assert (package.asset("fashion-cnn") / "weights.safetensors").is_file()
    assert package.asset("fashion-mnist-2000.npz").stat().st_size > 100_000


def test_models_of_the_other_distribution_are_found_or_the_distribution_is_named(monkeypatch):
    for name in package.EMBEDDED:
        assert (package.asset(name) / "card.json").is_file()
    monkeypatch.setattr(package, "asset_folders", lambda: [package.root() / "assets"])
    with pytest.raises(
        InputError, match=r"scene-clip is not part of this installation.*pip install ./distributions/snellen-models"
    ):
        package.asset("scene-clip")
    with pytest.raises(InputError, match="no-such-model is not part of this installation; check the name"):
        package.asset("no-such-model")


@pytest.mark.parametrize(
    "path",
    [
        "auditing/templates/report.html.j2",
        "auditing/compare/templates/comparison.html.j2",
        "verbs/templates/explain.html.j2",
        "systems/viewpoints/templates/views.html.j2",
        "methods/corruptions/imagenet_c.toml",
        "data/files/catalogue/catalogue.toml",
    ],
)
def test_templates_tables_and_schema_are_not_empty(path):
    assert len(package.text(path)) > 200
    assert package.content(path).decode() == package.text(path)


def test_a_file_that_is_missing_is_named():
    with pytest.raises(InputError, match=r"templates/nothing\.css is missing from this installation of snellen"):
        package.text("auditing/templates/nothing.css")


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the package's sources."""
    folder = tmp_path_factory.mktemp("copied") / "snellen"
    shutil.copytree(package.root(), folder, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    return folder


@pytest.mark.parametrize("room", [*ROOMS, "systems/smooth_inversion", "reproduction/smooth_inversion"])
def test_the_hash_of_the_code_changes_with_a_file_of_any_room(monkeypatch, copied, room):
    monkeypatch.setattr(package, "root", lambda: copied)
    before = package.code_hash()
    changed = next(path for path in sorted((copied / room).rglob("*.py")) if path.stat().st_size)
    content = changed.read_bytes()
    changed.write_bytes(content + b"\n")
    try:
        assert package.code_hash() != before
    finally:
        changed.write_bytes(content)
    assert package.code_hash() == before


def test_the_hash_of_the_code_changes_with_a_table_of_numbers(monkeypatch, copied):
    monkeypatch.setattr(package, "root", lambda: copied)
    before = package.code_hash()
    with (copied / "methods" / "corruptions" / "imagenet_c.toml").open("a") as table:
        table.write("# another number\n")
    assert package.code_hash() != before


def test_results_are_looked_for_here_then_in_the_package_then_in_the_working_copy(monkeypatch, tmp_path):
    here, copy = tmp_path / "here", tmp_path / "copy"
    inside = copy / "src" / "snellen"
    for folder in (here, inside, copy):
        (folder / "results").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(package, "root", lambda: inside)
    assert [folder.resolve() for folder in package.results_folders()] == [
        folder / "results" for folder in (here, inside, copy)
    ]
    shutil.rmtree(here / "results")
    assert package.results_folders() == [inside / "results", copy / "results"]


def test_nothing_else_looks_beside_its_own_file():
    """Paths that start at ``__file__`` break in silence when a file moves."""
    allowed = {
        "core/package.py",
        "models/classifiers/efficientnet_lite.py",
        "models/encoders/sentence_encoder.py",
    }  # of others
    found = {
        path.relative_to(package.root()).as_posix()
        for path in Path(package.root()).rglob("*.py")
        if "__file__" in (text := path.read_text(encoding="utf-8")) or "importlib.resources" in text
    }
    assert found <= allowed
