"""Audits of predictions alone: the figures are those of the model that made them."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import snellen
from snellen.core.errors import InputError

NAMES = ["a", "b", "c"]
CHECKS = ["clean", "calibration", "discrimination", "selective"]


def problem(count=90):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    pixels = rng.integers(0, 150, (count, 16, 16, 3))
    pixels[np.arange(count), :, :, labels] += rng.integers(0, 100, (count, 1, 1))
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    model[2].weight.data = 6 * torch.eye(3)
    pixels = pixels.clip(0, 255).astype(np.uint8)
    with torch.no_grad():
        scores = model(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255).numpy()
    return model, pixels, labels, scores


def figures(report):
    return {name: figure.value for name, figure in report.metrics.items()}


@pytest.mark.parametrize("seen", [True, False])
def test_the_figures_are_those_of_the_model(seen):
    model, pixels, labels, scores = problem()
    expected = figures(snellen.audit(model, (pixels, labels), class_names=NAMES, checks=CHECKS))
    probabilities = torch.from_numpy(scores).softmax(1).numpy()
    for predictions in (scores, probabilities, torch.from_numpy(scores)):
        report = snellen.audit(
            predictions=predictions,
            images=pixels if seen else None,
            labels=labels,
            class_names=NAMES if not seen else None,
            checks=CHECKS,
        )
        assert figures(report) == pytest.approx(expected, abs=1e-5)
    assert report.metrics["clean.accuracy"].value == float((scores.argmax(1) == labels).mean())


def test_tables_files_and_labels(tmp_path):
    _, _, labels, scores = problem()
    truth = np.array(NAMES)[labels]
    frame = pd.DataFrame(torch.from_numpy(scores).softmax(1).numpy(), columns=["c", "a", "b"])
    frame = frame.rename(columns={"c": "a", "a": "b", "b": "c"})
    frame.to_csv(tmp_path / "p.csv", index=False)
    frame.to_parquet(tmp_path / "p.parquet")
    answers = np.array(NAMES)[scores.argmax(1)]
    accuracy = float((answers == truth).mean())
    for predictions in (frame, tmp_path / "p.csv", str(tmp_path / "p.parquet"), answers, scores.argmax(1)):
        numbered = predictions is not frame and isinstance(predictions, np.ndarray) and predictions.dtype.kind == "i"
        report = snellen.audit(predictions=predictions, labels=labels if numbered else truth, checks=["clean"])
        assert report.metrics["clean.accuracy"].value == accuracy


def test_checks_that_run_the_model_are_left_out_by_default():
    _, pixels, labels, scores = problem()
    done = {check.name for check in snellen.audit(predictions=scores, images=pixels, labels=labels).checks}
    assert {"clean", "calibration", "selective", "label_noise", "duplicates", "data_quality"} <= done
    assert not {"corruption", "adversarial", "masking", "explanations", "certified"} & done
    unseen = {check.name for check in snellen.audit(predictions=scores, labels=labels).checks}
    assert unseen < done
    assert not {"duplicates", "data_quality"} & unseen


def test_what_cannot_be_is_refused():
    model, pixels, labels, scores = problem()
    for given, message in (
        ({"predictions": scores}, "predictions need labels"),
        ({"predictions": scores, "labels": labels[:-1]}, "89 values of label for 90 images"),
        ({"predictions": scores[:-1], "images": pixels, "labels": labels}, "89 predictions came for 90 images"),
        ({"predictions": scores, "labels": labels, "class_names": NAMES[:2]}, "out of range|are named"),
        ({"predictions": "nowhere.csv", "labels": labels}, "is no table of predictions"),
        ({"predictions": scores[0, 0], "labels": labels}, r"scores \(n, k\) or labels"),
        ({"classifier": model, "predictions": scores}, "a classifier and predictions came"),
        ({"images": pixels}, "takes a classifier and images, or predictions"),
    ):
        with pytest.raises(InputError, match=message):
            snellen.audit(**given)


def test_images_of_the_same_pixels_with_other_predictions_are_reported():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    pixels[4:] = pixels[:2]
    scores = np.eye(2)[[0, 1, 0, 1, 0, 0]] * 0.8 + 0.1
    report = snellen.audit(predictions=scores, images=pixels, labels=[0, 1, 0, 1, 0, 0], checks=["clean"])
    assert "1 images have the pixels of an earlier one" in " ".join(report.model["notes"])
    assert report.metrics["clean.accuracy"].value == pytest.approx(5 / 6), "that of the earlier one stands for it"
