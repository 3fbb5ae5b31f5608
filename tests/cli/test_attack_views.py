"""``snellen attack viewpoint-attack`` as a user meets it."""

import json

import numpy as np
import pytest

import snellen
from snellen.systems.viewpoints.method import ViewpointAttack

MODEL = "bundled:fashion-cnn"
DATA = "optotypes:solids?classes=mug,car&objects=2&views=2&size=32"
QUICK = ("--components", "1", "--popsize", "3", "--iterations", "1", "--samples", "3")


@pytest.fixture(autouse=True)
def prepared(monkeypatch, tmp_path):
    """Lines that do not wrap; code that stands still; a model that has classes of solids."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: "0" * 64)
    (tmp_path / "classes.txt").write_text("\n".join(["mug", "car", *(f"other {n}" for n in range(8))]))


def test_the_command_is_the_python_call_and_tells_its_figures(run, tmp_path):
    asked = ["attack", "viewpoint-attack", MODEL, DATA, "--classes", "classes.txt", *QUICK, "--out", "here"]
    code, out, err = run(*asked, "--limit", "3")
    assert (code, err.strip()) == (0, "")
    record = json.loads((tmp_path / "here" / "attack.json").read_bytes())
    figures = record["settings"]["viewpoint_attack"]
    told = " ".join(out.split())
    assert f"natural_accuracy {record['natural_accuracy']['value']:.4f}" in told
    assert f"viewpoint_attack.accuracy_under_attack {figures['accuracy_under_attack']['value']:.4f}" in told
    assert figures["verdict"] in told
    assert all(one["object_id"] in told for one in figures["objects"])
    assert len(figures["objects"]) == 3
    assert "Written: here/attack.html" in told
    classifier = snellen.load_classifier(MODEL, (tmp_path / "classes.txt").read_text().split("\n"))
    quick = ViewpointAttack(components=1, popsize=3, iterations=1, samples=3)
    again = snellen.attack(classifier, snellen.load_images(DATA), quick, limit=3, out=tmp_path / "python")
    assert again.to_json() == record
    code, out, _ = run(*asked, "--limit", "3", "--json")
    assert json.loads(out) == record


def test_images_whose_objects_nobody_can_look_at_are_refused_with_what_to_give(run, tmp_path):
    np.savez(tmp_path / "plain.npz", test_images=np.zeros((2, 28, 28), np.uint8), test_labels=[0, 1])
    code, _, err = run("attack", "viewpoint-attack", MODEL, "plain.npz", *QUICK, "--out", "here")
    assert code == 2
    told = " ".join(err.replace("│", " ").split())
    assert "not views whose renderer is known" in told
    assert "meshes:FOLDER" in told
    assert not (tmp_path / "here").exists()
