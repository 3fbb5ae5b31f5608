"""Corrupted images of several labels: one pass for all labels, the same draws at every severity, failures kept."""

import numpy as np
import torch
from torch import nn

from snellen import Preprocessing, load_classifier, load_images
from snellen.auditing.checks.corrupted_sets import measured_sets
from snellen.checks.check import Batch
from snellen.checks.label_sets import LabelSets
from snellen.core.randomness import Randomness


class Mean(nn.Module):
    """Logits by the mean of an image; no number for white ones."""

    def forward(self, images):
        mean = images.mean((1, 2, 3))
        return torch.stack([mean - 0.5, 0.5 - mean], 1) / (mean < 1).float()[:, None]


def test_rows_of_each_kind_and_severity():
    draws = []

    def noise(images, severity, rng):
        draws.append(rng.uniform("noise", ()))
        return (images + 0.2 * severity).clamp(max=1)

    pixels = np.stack([np.full((8, 8, 3), value, dtype=np.uint8) for value in (50, 150, 250)])
    labels = np.array([[1, 0], [1, 1], [0, 1]])
    images = load_images((pixels, labels), class_names=["bright", "dark"])
    model = load_classifier(Mean(), ["bright", "dark"], task="multi_label", preparation=Preprocessing(size=(8, 8)))
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    ids = tuple(images.ids)
    rng = Randomness(0).for_examples(ids)
    given = Batch(model, ids, (None,) * 3, batch, torch.full((3,), -1), model(batch), rng, originals=images)
    found = measured_sets(given, {"fog": noise, "rain": noise}, [1, 2])
    assert set(found.settings) == {"fog.1", "fog.2", "rain.1", "rain.2"}
    for setting, decided in (("fog.1", [[0, 1], [1, 0], [0, 0]]), ("rain.2", [[1, 0], [1, 0], [0, 0]])):
        rows = found.where(setting=setting)
        sets = LabelSets.of(rows.table)
        assert sets.labels.tolist() == labels.tolist()
        assert sets.decisions[:2].tolist() == decided[:2]
        assert rows.table["status"].to_pylist() == ["ok", "ok", "failed"]
        assert rows.table["reason"].to_pylist()[2] == "the model's scores are not finite"
    fog, stronger, rain, _ = draws
    assert fog is stronger, "a curve over severities compares strengths, not draws, and draws once"
    assert not torch.equal(fog, rain)
    assert len(set(fog.tolist())) == 3
    assert found.spent.queries == 4 * 3
