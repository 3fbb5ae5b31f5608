"""The published models by reference, at their pixels and numbers of classes, with triggers that a test can know."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.sample import mean_of
from snellen.reproduction.seed_file import named_figures
from snellen.reproduction.smooth_inversion import full
from snellen.reproduction.smooth_inversion.experiment import backdoor_inversion
from snellen.reproduction.smooth_inversion.published_models import MODELS, PUBLISHED
from snellen.systems.smooth_inversion.class_scan import ScanPlan
from snellen.systems.smooth_inversion.inversion import Search
from snellen.systems.smooth_inversion.mask_pattern import MaskSearch

CLASSES = {"blind_p": 1000, "blind_s": 1000, "blind_g": 1000, "trojai": 38, "htba": 2}
SIDE = 224

_FEW = Search(samples=2, steps=4, rate=0.3, sure=None)
TINY = full.FullSize(
    search=_FEW,
    lengths=(1.0, 2.0),
    sigmas=(0.0, 0.25),
    sources=2,
    masks=MaskSearch(steps=2),
    plan=ScanPlan(screening=_FEW, refinement=_FEW, screened=(0.25,), sigmas=(0.25,), sources=1, refined=1),
    scanned=3,
    judged=26,
)


class Backdoored(nn.Module):
    """The mean colour decides between the classes, unless one pixel is white: then it is the target."""

    def __init__(self, classes, target):
        super().__init__()
        self.classes, self.target = classes, target

    def forward(self, images):
        inside = images.mean((1, 2, 3))[:, None]
        scores = -20 * (inside - torch.linspace(0.1, 0.9, self.classes)[None]).abs()
        trigger = 80 * (images[:, :, 3, 23].mean(1) - 0.5)
        return scores + nn.functional.one_hot(torch.tensor(self.target), self.classes) * trigger[:, None]


def classifier(name):
    one = next(known for known in PUBLISHED if known.name == name)
    names = [f"c{number:03d}" for number in range(CLASSES[name])]
    module = Backdoored(CLASSES[name], one.target).eval()
    return Classifier(module, class_names=names, preparation=Preprocessing(size=(SIDE, SIDE)), name=name)


def written(folder, classes, count, *, pixel=False):
    """Grey images of two classes that are no target; of two classes, the target's as well."""
    for row in range(count):
        place = folder / f"c{(0, classes // 2 + 3)[row % 2] if classes > 2 else 0:03d}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.full((SIDE, SIDE, 3), 30 + row + 40 * (row % 2), dtype=np.uint8)
        if pixel:
            pixels[3, 23] = 255
        Image.fromarray(pixels).save(place / f"{row}.png")
    if classes == 2:
        (folder / "c001").mkdir()
        Image.fromarray(np.full((SIDE, SIDE, 3), 230, dtype=np.uint8)).save(folder / "c001" / "other.png")
    return folder


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table with every published model, and what each of its references gives."""
    sources = written(tmp_path / "sources", 1000, 2)
    images = {classes: written(tmp_path / f"images-{classes}", classes, 26) for classes in set(CLASSES.values())}
    triggered = {
        classes: written(tmp_path / f"triggered-{classes}", classes, 3, pixel=True) for classes in set(CLASSES.values())
    }
    lines = []
    for one in PUBLISHED:
        classes = CLASSES[one.name]
        lines += [f"[{one.name}]", f'model = "{one.name}"', f'sources = "{sources}"', f'images = "{images[classes]}"']
        if one.pattern is None:
            lines += [f'triggered = "{triggered[classes]}"']
    path = tmp_path / "models.toml"
    path.write_text("\n".join(lines))
    monkeypatch.setenv(MODELS, str(path))
    monkeypatch.setattr(full, "load_classifier", lambda reference, device: classifier(reference))
    return path


def test_every_figure_of_a_claim_is_measured_and_a_known_trigger_is_found(table):
    found = full.full(0, Silent(), size=TINY)
    renamed = {name.replace(".1.", ".5.", 1).replace(".2.", ".10.", 1): value for name, value in found.items()}
    lengths = {name for name in named_figures(find_system("33"), "full") if ".0.12" not in name and ".0.5" not in name}
    assert lengths <= set(renamed)
    for name in CLASSES:
        assert mean_of(found[f"{name}.2.success.0"]) == 1.0, "a white pixel is within reach"
        assert mean_of(found[f"{name}.2.success.oracle"]) >= mean_of(found[f"{name}.2.success.chosen"])
    assert mean_of(found["blind_s.true_success"]) == 1.0
    assert mean_of(found["blind_p.true_success"]) == 1.0, "the corner of its pattern is the pixel"
    assert mean_of(found["blind_s.2.inside.0"]) > 0.1, "one of 50,176 pixels"
    assert mean_of(found["all.rank"]) == 1.0
    assert "htba.rank" not in found
    assert len(found["all.success.oracle"].values) == 2 * len(CLASSES) == len(found["all.masks.success"].values)
    assert found["all.trigger_short"] <= 0


def test_the_pattern_of_blind_p_leaves_pixels_out():
    stamped = PUBLISHED[0].stamped(torch.full((1, 3, SIDE, SIDE), 0.5))
    changed = (stamped != 0.5).any(1)[0]
    assert changed.nonzero().tolist() == [
        [3, 23],
        [3, 24],
        [3, 25],
        [4, 24],
        [5, 25],
        [6, 24],
        [7, 23],
        [7, 24],
        [7, 25],
    ]
    assert stamped[0, 0, 3, 23:26].tolist() == [1.0, 0.0, 1.0]


def test_what_the_table_lacks_is_named(table, monkeypatch):
    text = table.read_text()
    for changed, reason in (
        (text.replace("[htba]", "[other]"), "lacks htba; expected a TOML file with a table for each of blind_p"),
        (text.replace("triggered", "images_with"), "blind_g.images_with: Extra inputs"),
        (text[: text.rindex("\ntriggered")], "lacks htba.triggered"),
        ("[", "cannot be used"),
    ):
        table.write_text(changed)
        with pytest.raises(InputError, match=reason):
            backdoor_inversion("full", 0, Silent())
    monkeypatch.delenv(MODELS)
    with pytest.raises(InputError, match=r"needs SNELLEN_SMOOTHINV_MODELS: .* SNELLEN_SMOOTHINV_DENOISER may name"):
        backdoor_inversion("full", 0, Silent())


def test_a_model_without_the_class_of_its_trigger_is_refused(table, monkeypatch):
    monkeypatch.setattr(full, "load_classifier", lambda reference, device: classifier("htba"))
    with pytest.raises(InputError, match="has 2 classes, and the trigger of blind_p leads to number 8"):
        full.full(0, Silent(), size=TINY)
