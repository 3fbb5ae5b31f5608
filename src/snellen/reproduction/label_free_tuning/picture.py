"""The picture of system 35: scenes under noise with what words, the teacher and the tuned student take each for.

Teacher and student are those of the small experiment, on fewer scenes and in fewer epochs: about half a minute.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Silent
from snellen.models.encoders.references import load_encoder
from snellen.reproduction.label_free_tuning.arms import Setting, Study
from snellen.reproduction.label_free_tuning.experiment import imagenet_classifier, scene_setting
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, tile_sheet, verdict
from snellen.systems.label_free_tuning.tuning import tune_network

#: Seed of no record, scenes of the collection, other scenes, and epochs.
SEED, COLLECTED, TESTED, EPOCHS = 100, 480, 60, 4

#: Scenes of a row, and the side of one: three pixels of the sheet for each of a scene.
SHOWN, SIDE = 6, 96


def tuned(study: Study, labels: Tensor) -> Tensor:
    """Classes of the collection by a student of these labels, int64 (n,)."""
    of: Setting = study.setting
    network = study._network(None)
    trained = tune_network(network, replace(of.images, targets=labels), plan=of.plan, view=of.view, progress=Silent())
    network.load_state_dict(dict(trained.weights))
    with torch.no_grad():
        return torch.cat([network.eval()(to_unit(part)).argmax(1) for part in of.images.images.split(250)])


def draw(root: Path, target: Path) -> str:
    """Teach, train the student, and show scenes by who is right; truth is read for the frames alone."""
    setting = scene_setting(load_encoder(imagenet_classifier()), SEED, collected=COLLECTED, tested=TESTED)
    setting = replace(setting, plan=setting.plan.model_copy(update={"epochs": EPOCHS}))
    study = Study(setting, Silent())
    taught = study.teaching()
    said = {"words": study.probabilities.argmax(1), "teacher": taught.labels, "student": tuned(study, taught.labels)}
    truth, chosen = setting.known, torch.zeros(COLLECTED, dtype=torch.bool)
    chosen[taught.selected.positions] = True
    right = {way: found == truth for way, found in said.items()}
    follows = said["student"] == said["teacher"]
    mended = ~chosen & ~right["words"] & right["teacher"] & follows
    kinds = {
        "the teacher learns from scenes that the words are surest of": chosen & right["words"],
        "it corrects the words on other scenes, and the student follows": mended,
        "the student repeats the teacher's mistakes": ~right["teacher"] & follows,
    }
    rows = []
    for title, kind in kinds.items():
        tiles = []
        for at in kind.nonzero().flatten()[:SHOWN].tolist():
            names = {way: setting.names[int(found[at])] for way, found in said.items()}
            lines = tuple(f"{way[0].upper()}: {name}" for way, name in names.items())
            own = setting.names[int(truth[at])]
            tiles.append(Tile(setting.images.images[at], lines, verdict(names["student"], own)))
        rows.append((title, tiles))
    tile_sheet(rows, SIDE).save(target, "WEBP", quality=50, method=6)
    shares = ", ".join(f"{way} {found.double().mean():.0%}" for way, found in right.items())
    return f"right: {shares}; student and teacher agree on {follows.double().mean():.0%}"


PICTURES: Pictures = {"label-free-tuning": draw}
