"""``snellen.attack`` on the camera: figures by hand, files, resuming, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.core.classifier import Classifier, Normalization
from snellen.core.criterion import Misclassified
from snellen.core.errors import InputError, ModelError, RunConflictError
from snellen.core.preprocessing import Preprocessing
from snellen.methods.attacks.fgsm import FGSM
from snellen.systems.viewpoints.attacked_view_set import AttackedViewSet, verdict
from snellen.systems.viewpoints.method import ViewpointAttack
from snellen.systems.viewpoints.search import judge
from snellen.systems.viewpoints.seen_objects import viewpoints_in
from snellen.systems.viewpoints.views import look_of
from tests.data.worlds.glowing_objects import SIDE, glowing_set, is_light, reader
from tests.verbs.stopping import Stopping, contents

OBJECTS = ("light-a", "<b>light", "dark-c", "blank-d", "damaged-e")
ATTACK = ViewpointAttack(components=2, popsize=21, iterations=15, samples=20, mean_rate=1.0, start_spread=0.3)


@pytest.fixture(autouse=True)
def same_code(monkeypatch):
    monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: "0" * 64)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("snellen.core.run_plan.code_hash", lambda: "0" * 64)
        folder = tmp_path_factory.mktemp("attacked") / "out"
        return snellen.attack(reader(), glowing_set(OBJECTS), ATTACK, out=folder, allow_rejected=True)


@pytest.mark.covers("11.1")
def test_figures_are_those_of_the_evidence_counted_by_hand(attacked):
    assert isinstance(attacked, AttackedViewSet)
    evidence, figures = attacked.evidence, attacked.settings["viewpoint_attack"]
    assert attacked.natural_accuracy.value == 1.0
    random = evidence.where(setting="random", status="ok")
    light = np.array(["light" in unit for unit in random.table["unit_id"].to_pylist()])
    right = np.where(light, is_light(viewpoints_in(random)).numpy(), True)
    assert 0.5 < right.mean() < 1.0
    assert random.table["right"].to_pylist() == right.tolist()
    assert attacked.random_accuracy.value == pytest.approx(right.mean())
    by_id = {one.object_id: one for one in figures.objects}
    fresh = evidence.where(setting="viewpoint_attack", unit_id="light-a")
    assert len(fresh) == 20
    assert by_id["light-a"].attacked == pytest.approx(float(is_light(viewpoints_in(fresh)).double().mean()))
    assert by_id["light-a"].attacked < by_id["light-a"].random < by_id["light-a"].natural
    assert by_id["light-a"].taken_for == "dark"
    assert (by_id["dark-c"].status, by_id["dark-c"].attacked, by_id["dark-c"].taken_for) == ("not found", 1.0, None)
    assert by_id["blank-d"].status == "blank"
    assert (by_id["blank-d"].natural, by_id["blank-d"].attacked) == (None, None)
    assert figures.accuracy_under_attack.n == 60, "blank views count nowhere"
    assert figures.statuses == {"blank": 1, "found": 2, "not found": 1}
    assert figures.verdict.endswith("found for 2 of 3 objects; 1 was never seen (blank)")
    lost = by_id["light-a"].model_copy(update={"natural": 0.0})
    assert verdict([lost, by_id["dark-c"]]).endswith(
        "1 of 2 objects, 1 of which is wrong from all natural viewpoints as well"
    )
    assert verdict([by_id["dark-c"]]).endswith("within budget for any of 1 objects")
    assert verdict([by_id["blank-d"]]) == "nothing is known: no object could be judged; 1 was never seen (blank)"
    assert [(one.id, one.reason) for one in attacked.rejected] == [("damaged-e", "its file is damaged")]
    assert figures.renders == sum(one.renders for one in figures.objects) > figures.blanks > 0


def test_files_are_those_that_the_record_names_and_names_are_escaped(attacked):
    folder = attacked.folder
    assert {path.name for path in folder.iterdir()} == {*attacked.files, "attack.json"}
    assert "sheet-viewpoint_attack-1.png" in attacked.files
    page = (folder / "attack.html").read_text()
    assert "default-src 'none'" in page
    assert "&lt;b&gt;light" in page
    assert "<b>light" not in page
    assert page.count("data:image/webp") == 3, "two maps and a sheet"
    assert "<code>damaged-e</code> its file is damaged" in page
    record = json.loads((folder / "attack.json").read_text())
    mixture = record["settings"]["viewpoint_attack"]["objects"][0]
    assert np.array(mixture["means"]).shape == (2, 6)
    assert sum(mixture["weights"]) == pytest.approx(1.0)


def test_a_stopped_call_goes_on_with_the_next_object_and_ends_with_the_same_bytes(attacked, tmp_path):
    images = glowing_set(OBJECTS)
    with pytest.raises(KeyboardInterrupt):
        snellen.attack(reader(), images, ATTACK, out=tmp_path / "out", progress=Stopping(2, "attacking the camera"))
    assert not (tmp_path / "out" / "attack.json").exists()
    again = glowing_set(OBJECTS)
    snellen.attack(reader(), again, ATTACK, out=tmp_path / "out", allow_rejected=True)
    assert contents(tmp_path / "out") == contents(attacked.folder)
    searched = {name for name, views in again.source.renderer.calls if views == 22}
    # The second was searched, but the call stopped before it could be written.
    assert searched == {"<b>light", "dark-c", "blank-d"}, "objects that were done are not searched again"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    third = snellen.attack(reader(), glowing_set(OBJECTS), ATTACK, out=tmp_path / "out", allow_rejected=True)
    assert third.settings == attacked.settings
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    with pytest.raises(RunConflictError, match="seed"):
        snellen.attack(reader(), glowing_set(OBJECTS), ATTACK, out=tmp_path / "out", seed=1)


def test_an_object_does_not_depend_on_the_others_and_a_limit_is_of_objects(attacked):
    alone = snellen.attack(reader(), glowing_set(("light-a",)), ATTACK)
    (one,) = alone.settings["viewpoint_attack"].objects
    assert one == next(o for o in attacked.settings["viewpoint_attack"].objects if o.object_id == "light-a")
    many = tuple(f"light-{number}" for number in range(6))
    quick = ViewpointAttack(components=1, popsize=3, iterations=1, samples=2)
    limited = [snellen.attack(reader(), glowing_set(many), quick, limit=2, seed=seed) for seed in range(4)]
    chosen = [tuple(o.object_id for o in run.settings["viewpoint_attack"].objects) for run in limited]
    assert all(len(ids) == 2 for ids in chosen)
    assert len(set(chosen)) > 1
    assert alone.folder is None


def test_a_target_is_what_objects_of_other_classes_are_to_be_taken_for():
    found = snellen.attack(reader(), glowing_set(("light-a", "dark-c")), ATTACK, target="dark")
    assert [(one.id, one.reason) for one in found.rejected] == [("dark-c", "it is of the target class")]
    (one,) = found.settings["viewpoint_attack"].objects
    assert (one.status, one.success_rate) == ("found", pytest.approx(1 - one.attacked))


def test_without_pictures_no_object_is_drawn_again(tmp_path):
    quick = ViewpointAttack(components=1, popsize=3, iterations=1, samples=2)
    found = snellen.attack(reader(), glowing_set(("light-a",)), quick, out=tmp_path / "out", save_images=False)
    assert [file for file in found.files if file.startswith("sheet")] == []
    assert "map-random.png" in found.files


class NotFinite(nn.Module):
    def forward(self, images):
        return torch.full((len(images), 2), torch.nan)


@pytest.mark.covers("11.3")
def test_the_search_needs_no_gradient_and_asks_the_model_forward_only():
    class Steps(nn.Module):
        """A model whose scores are steps: no gradient anywhere."""

        def forward(self, images):
            assert not torch.is_grad_enabled()
            level = (images.mean((1, 2, 3)) * 20).round() / 2
            return torch.stack([-level, level], 1) + 5.0

    model = Classifier(
        Steps(), class_names=["dark", "light"], preparation=Preprocessing(size=(SIDE, SIDE)), name="steps"
    )
    images = glowing_set(("light-a",))
    found = snellen.attack(model, images, ATTACK)
    rendered = sum(count for _, count in images.source.renderer.calls)
    assert (model.spent.queries, model.spent.gradients) == (rendered, 0)
    (one,) = found.settings["viewpoint_attack"].objects
    assert one.renders == rendered - len(images) - 20, "beside its own views and random ones"


@pytest.mark.covers("11.10")
def test_renderings_are_prepared_and_normalised_as_the_images_of_the_set_are():
    class Level(nn.Module):
        def forward(self, images):
            level = images.mean((1, 2, 3))
            return torch.stack([-level, level], 1)

    model = Classifier(
        Level(),
        class_names=["dark", "light"],
        preparation=Preprocessing(size=(4, 4), resize="shorter", resize_to=(6, 6)),
        normalization=Normalization((0.7, 0.6, 0.5), (0.2, 0.3, 0.4)),
        name="normalised",
    )
    images = glowing_set(("light-a",))
    own = model(torch.stack([model.prepare(images.read(row)) for row in range(len(images))]))
    look = look_of(images.source.renderer, "light-a", prepare=model.prepare, least_coverage=0.005)
    judged = judge(look, model, images.source.viewpoints, label=1, criterion=Misclassified())
    assert own.std() > 0
    assert torch.allclose(judged.scores, own, atol=1e-5)
    found = snellen.attack(model, images, ViewpointAttack(components=1, popsize=3, iterations=1, samples=2))
    natural = found.evidence.where(setting="natural").table["prediction"].to_pylist()
    assert natural == model.predict(own).tolist()


@pytest.mark.covers("11.13")
def test_what_is_refused(tmp_path):
    images, photos = glowing_set(("light-a",)), snellen.load_images("bundled:fashion-mnist").limit(2)
    fashion = snellen.load_classifier("bundled:fashion-cnn")
    quick = ViewpointAttack(components=1, popsize=3, iterations=1, samples=2)
    with pytest.raises(InputError, match="not views whose renderer is known"):
        snellen.attack(fashion, photos, quick)
    with pytest.raises(InputError, match="viewpoint_attack attacks the camera and fgsm images"):
        snellen.attack(reader(), images, [FGSM(epsilon=0.1), quick])
    with pytest.raises(InputError, match="under pseudonyms"):
        snellen.attack(reader(), images, quick, pseudonyms=tmp_path / "key")
    with pytest.raises(InputError, match=r"none of the 2 objects .* first: damaged-e"):
        snellen.attack(reader(), glowing_set(("damaged-e", "damaged-f")), quick, out=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(InputError, match="none is seen in any view"):
        snellen.attack(reader(), glowing_set(("blank-d",)), quick)
    broken = Classifier(
        NotFinite(), class_names=["dark", "light"], preparation=Preprocessing(size=(SIDE, SIDE)), name="broken"
    )
    with pytest.raises(ModelError, match="no finite scores for any view of 1 objects"):
        snellen.attack(broken, images, quick)
