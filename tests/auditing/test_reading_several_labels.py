"""Models and images of several labels an image: what is read, what is noted of it and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import snellen
from snellen.auditing.audit import audit
from snellen.cli.app import app
from snellen.core.errors import InputError, ModelError
from tests.auditing.several_labels import NAMES, SIDE, classifier, drawn, image_set, network


def test_images_of_one_class_are_refused_with_how_to_say_several() -> None:
    images, labels, _ = drawn(30, 5)
    model = snellen.load_classifier(
        network(30), NAMES, task="multi_label", preparation=snellen.Preprocessing(size=(SIDE, SIDE))
    )
    with pytest.raises(InputError, match="needs several labels for each image"):
        audit(model, snellen.load_images((images, labels[:, 0]), class_names=NAMES))
    with pytest.raises(InputError, match="--task multi_label"):
        audit(
            snellen.load_classifier(network(30), NAMES, preparation=snellen.Preprocessing(size=(SIDE, SIDE))),
            snellen.load_images((images, labels), class_names=NAMES),
        )


def test_a_sigmoid_is_found_and_noted() -> None:
    size = snellen.Preprocessing(size=(SIDE, SIDE))
    sigmoid = torch.nn.Sequential(network(30), torch.nn.Sigmoid())
    found = snellen.load_classifier(sigmoid, NAMES, task="multi_label", preparation=size)
    assert (found.task, found.output) == ("multilabel", "log-probabilities")
    assert found.notes == ("the model ends in a sigmoid: outputs are probabilities, one for each label",)
    assert "logits, one for each label" in classifier().notes[-1]
    callable_ = snellen.load_classifier(lambda x: sigmoid(x), NAMES, task="multi_label", preparation=size)
    assert "taken as sigmoid probabilities" in callable_.notes[-1]
    logits, again = audit(classifier(), image_set(), checks="labels"), audit(found, image_set(), checks="labels")
    for name in ("labels.macro_auroc", "labels.macro_f1", "labels.mass.sensitivity"):
        assert again.metrics[name].value == pytest.approx(logits.metrics[name].value, abs=1e-6)


def test_the_command_line_reads_names_and_columns_and_writes_what_it_found(tmp_path: Path) -> None:
    images, labels, hospitals = drawn(60, 7)
    (tmp_path / "img").mkdir()
    rows, columns = ["file,findings,hospital"], [f"file,hospital,{','.join(NAMES)}"]
    for row, (pixels, own) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(pixels).save(tmp_path / "img" / f"{row}.png")
        named = "|".join(name for name, has in zip(NAMES, own, strict=True) if has) or "No Finding"
        rows.append(f"img/{row}.png,{named},{hospitals[row]}")
        columns.append(f"img/{row}.png,{hospitals[row]},{','.join(map(str, own))}")
    (tmp_path / "names.csv").write_text("\n".join(rows))
    (tmp_path / "columns.csv").write_text("\n".join(columns))
    by_name = snellen.load_images(tmp_path / "names.csv", columns={"image": "file", "labels": "findings"})
    by_column = snellen.load_images(tmp_path / "columns.csv", columns={"image": "file", "labels": ",".join(NAMES)})
    listed = snellen.load_images(tmp_path / "columns.csv", columns={"image": "file", "labels": NAMES})
    assert listed.fingerprint() == by_column.fingerprint()
    assert by_name.class_names == tuple(sorted(NAMES))
    assert by_column.class_names == listed.class_names == NAMES
    order = [by_name.class_names.index(name) for name in NAMES]
    assert (by_name.label_sets[:, order] == labels).all()
    assert (by_column.label_sets == labels).all()
    report = audit(classifier(), by_name, effort="quick", out=tmp_path / "run")
    assert report.metrics == audit(classifier(), by_column, effort="quick").metrics
    shown = CliRunner().invoke(app, ["report", str(tmp_path / "run")])
    assert shown.exit_code == 0
    assert "Labels" in (tmp_path / "run" / "report.html").read_text()
    mistakes = json.loads((tmp_path / "run" / "lists" / "labels.json").read_text())
    assert set(mistakes[0]) == {"id", "missed", "given_wrongly"}


def test_what_cannot_be_is_refused_in_words() -> None:
    images, labels, _ = drawn(12, 5)
    size = snellen.Preprocessing(size=(SIDE, SIDE))
    with pytest.raises(ModelError, match=r"leave \[0, 1\] on probe images"):
        snellen.load_classifier(network(30), NAMES, task="multi_label", output="probabilities", preparation=size)
    with pytest.raises(InputError, match="one class for each image"):
        audit(predictions=labels, labels=labels)
    unknown = labels.astype(float)
    unknown[2, 1] = np.nan
    with pytest.raises(InputError, match=r"nan=-1\)\); got nan for image 2"):
        snellen.load_images((images, unknown), class_names=NAMES)
    assert snellen.load_images((images, np.nan_to_num(unknown, nan=-1)), class_names=NAMES).label_sets[2, 1] == -1


def test_lists_say_what_is_unknown_and_names_may_be_numbers(tmp_path: Path) -> None:
    (tmp_path / "lists.csv").write_text('path,labels\na.png,"[0, -1]"\nb.png,"[1, null]"\n')
    assert snellen.load_images(tmp_path / "lists.csv").label_sets.tolist() == [[0, -1], [1, -1]]
    (tmp_path / "numbers.csv").write_text("path,labels\na.png,0|2\nb.png,1\n")
    numbers = snellen.load_images(tmp_path / "numbers.csv")
    assert (numbers.class_names, numbers.label_sets.tolist()) == (("0", "1", "2"), [[1, 0, 1], [0, 1, 0]])
