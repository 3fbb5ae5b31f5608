"""Folders of files that come with the package: every byte is on the card, and nothing else lies there."""

import json
from pathlib import Path

import pytest

from snellen.core.artifact import Lineage
from snellen.core.errors import InputError, UnknownNameError
from snellen.models.weights.bundled_folders import bundled_folder, bundled_folders, hashes, read_card, write_card

LINEAGE = Lineage(recipe={"method": "none"}, data="-", seed=0, code_version="0")


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    folder = tmp_path / "assets" / "tower"
    (folder / "text").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "text" / "model.safetensors").write_bytes(b"weights")
    write_card(folder, name="tower", kind="two-tower", description="A tower.", lineage=LINEAGE)
    other = tmp_path / "assets" / "classifier"
    other.mkdir()
    (other / "card.json").write_text('{"name": "classifier", "sha256": ""}')
    return tmp_path / "assets"


def test_a_folder_is_found_by_name_and_its_card_lists_every_file(assets: Path) -> None:
    assert list(bundled_folders(assets)) == ["tower"]
    folder = bundled_folder("tower", assets=assets)
    assert folder == assets / "tower"
    card = read_card(folder)
    assert card.kind == "two-tower"
    # printf 'weights' | sha256sum
    expected = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert set(card.files) == {"config.json", "text/model.safetensors"}
    assert card.files["text/model.safetensors"] == hashes(folder)["text/model.safetensors"]
    assert card.files["text/model.safetensors"] == expected


@pytest.mark.parametrize("name", ["towr", "classifier", "../assets/tower", ""])
def test_an_unknown_name_is_reported_with_those_there_are(assets: Path, name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown bundled model .*Known: tower"):
        bundled_folder(name, assets=assets)


def test_a_missing_file_is_named(assets: Path) -> None:
    (assets / "tower" / "config.json").unlink()
    with pytest.raises(InputError, match=r"lacks config\.json"):
        bundled_folder("tower", assets=assets)


def test_a_changed_file_is_named(assets: Path) -> None:
    (assets / "tower" / "text" / "model.safetensors").write_bytes(b"weight5")
    with pytest.raises(InputError, match=r"model\.safetensors: sha256 .* is not the card's 9a129038"):
        bundled_folder("tower", assets=assets)


@pytest.mark.parametrize("name", ["model.safetensors", "text/pytorch_model.bin", "generation_config.json"])
def test_a_file_that_is_not_on_the_card_is_named(assets: Path, name: str) -> None:
    (assets / "tower" / name).write_bytes(b"planted")
    with pytest.raises(InputError, match=f"does not list: {name}"):
        bundled_folder("tower", assets=assets)


@pytest.mark.parametrize("content", ["{", "[]", '{"files": {}}'])
def test_a_damaged_card(assets: Path, content: str) -> None:
    (assets / "tower" / "card.json").write_text(content)
    with pytest.raises(InputError, match=r"card\.json"):
        read_card(assets / "tower")
    with pytest.raises(InputError):
        bundled_folder("tower", assets=assets)


def test_the_card_can_be_written_again_after_a_change(assets: Path) -> None:
    folder = assets / "tower"
    (folder / "extra.json").write_text("{}")
    metrics = {"test.accuracy": 0.5}
    write_card(folder, name="tower", kind="two-tower", description="", lineage=LINEAGE, metrics=metrics)
    assert read_card(folder).metrics == metrics
    assert "card.json" not in json.loads((folder / "card.json").read_text())["files"]


def test_an_empty_folder_gets_no_card(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no files"):
        write_card(tmp_path, name="x", kind="other", description="", lineage=LINEAGE)


def test_what_comes_with_the_package_is_whole() -> None:
    for name in bundled_folders():
        bundled_folder(name)
