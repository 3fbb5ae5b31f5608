"""An artifact comes back as it was saved, or not at all."""

import json

import pytest
import torch

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.errors import InputError


def make_card(**changes):
    lineage = Lineage(recipe={"method": "demo", "steps": 3}, data="f00d", seed=7, code_version="1", parent="beef")
    return Card(
        **{
            "name": "demo",
            "kind": "classifier",
            "architecture": {"name": "linear", "width": 4},
            "class_names": ("a", "ü"),
            "metrics": {"clean.accuracy": 0.5},
            "lineage": lineage,
            **changes,
        }
    )


@pytest.fixture
def saved(tmp_path):
    tensors = {"weight": torch.rand(3, 4).t(), "half": torch.rand(2).half(), "steps": torch.tensor(5)}
    artifact = Artifact(tensors, make_card()).save(tmp_path / "new" / "artifact")
    return artifact, tmp_path / "new" / "artifact"


def test_round_trip(saved):
    artifact, folder = saved
    loaded = Artifact.load(folder)
    assert loaded.card == artifact.card == make_card(sha256=artifact.card.sha256)
    assert loaded.tensors.keys() == artifact.tensors.keys()
    for name, tensor in artifact.tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]


def test_saving_again_gives_the_same_bytes_and_changes_no_argument(saved, tmp_path):
    artifact, folder = saved
    card = make_card()
    again = Artifact(dict(reversed(artifact.tensors.items())), card).save(tmp_path / "again")
    assert card.sha256 == ""
    assert again.card.sha256 == artifact.card.sha256
    for name in ("card.json", "weights.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", ["card.json", "weights.safetensors"])
def test_a_missing_file_is_named(saved, name):
    _, folder = saved
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"is not an artifact: {name} is missing"):
        Artifact.load(folder)
    with pytest.raises(InputError, match="is not an artifact"):
        Artifact.load(folder / "nowhere")


def test_tampered_weights_are_refused(saved):
    _, folder = saved
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"sha256 .* is not the card's .*; file changed\?"):
        Artifact.load(folder)


def test_a_card_without_a_hash_vouches_for_nothing(saved):
    _, folder = saved
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "sha256": ""}))
    with pytest.raises(InputError, match="is not the card's"):
        Artifact.load(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle in a zip", b"\x08\0\0\0\0\0\0\0{}      trailing"])
def test_weights_of_another_format_are_refused_even_with_the_right_hash(saved, content):
    import hashlib

    _, folder = saved
    card = json.loads((folder / "card.json").read_text())
    (folder / "weights.safetensors").write_bytes(content)
    (folder / "card.json").write_text(json.dumps({**card, "sha256": hashlib.sha256(content).hexdigest()}))
    with pytest.raises(InputError, match="not a safetensors file"):
        Artifact.load(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff\xfe\x00",
        b"{}",
        json.dumps({"name": "demo", "kind": "spaceship"}).encode(),
        make_card().model_dump_json().replace('"licence"', '"license"').encode(),
        make_card().model_dump_json().replace('"seed":7', '"seed":"seven"').encode(),
    ],
)
def test_a_malformed_card_is_refused_with_its_path(saved, content):
    _, folder = saved
    (folder / "card.json").write_bytes(content)
    with pytest.raises(InputError, match=r"card\.json: not an? (artifact|model) card"):
        Artifact.load(folder)
