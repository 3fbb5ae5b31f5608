"""An attack that was interrupted, damaged, or is of another plan: nothing is lost, nothing is mixed."""

import numpy as np
import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, RunConflictError, UnsupportedError
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.verbs import attack as attacked_images
from snellen.verbs.attack import attack
from tests.verbs.small_attacks import COUNT, small_images
from tests.verbs.stopping import Stopping, contents

METHODS = [PGD(epsilon=0.01, steps=5), FGSM(epsilon=0.02)]


@pytest.fixture(autouse=True)
def _same_code(monkeypatch):
    """A plan holds a hash of the package, which somebody may edit while the tests run."""
    monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: "0" * 64)


@pytest.mark.parametrize("after", [1, 8, 16, 17, 40])
def test_an_interrupted_call_goes_on_and_gives_the_same_bytes(tmp_path, after):
    classifier, images = small_images()
    whole = attack(classifier, images, METHODS, out=tmp_path / "whole", batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        attack(classifier, images, METHODS, out=tmp_path / "out", batch_size=8, progress=Stopping(after, "attacking"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"unfinished"}, "nothing claims to be complete"
    listener = Stopping(10**9, "attacking")
    again = attack(classifier, images, METHODS, out=tmp_path / "out", batch_size=8, workers=2, progress=listener)
    # The last advance of a shard comes before the shard is written.
    assert listener.notes.count("already done") == sum(after > end for end in (16, 32, 40))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert again.settings == whole.settings
    assert again.evidence.table == whole.evidence.table


def test_interrupted_while_the_images_are_written(tmp_path, monkeypatch):
    classifier, images = small_images()
    attack(classifier, images, METHODS, out=tmp_path / "whole", batch_size=8)
    with monkeypatch.context() as patched:
        from snellen.verbs import attack_pictures

        real, left = attack_pictures.to_image, iter(range(4))

        def interrupted(pixels):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return real(pixels)

        patched.setattr(attack_pictures, "to_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            attack(classifier, images, METHODS, out=tmp_path / "out", batch_size=8)
    assert not (tmp_path / "out" / "attack.json").exists()
    with classifier.counting() as spent:
        attack(classifier, images, METHODS, out=tmp_path / "out", batch_size=8)
    assert spent().queries == 0, "no image is attacked again"
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_damaged_shard_is_done_again(tmp_path):
    classifier, images = small_images()
    attack(classifier, images, METHODS, out=tmp_path / "whole", batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        attack(classifier, images, METHODS, out=tmp_path / "out", batch_size=8, progress=Stopping(40, "attacking"))
    shard = tmp_path / "out" / "unfinished" / "shards" / "000001" / "fgsm.parquet"
    shard.write_bytes(shard.read_bytes()[:100])
    attack(classifier, images, METHODS, out=tmp_path / "out", batch_size=8)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_finished_call_attacks_nothing_and_returns_the_record(tmp_path):
    classifier, images = small_images()
    first = attack(classifier, images, METHODS, out=tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    with classifier.counting() as spent:
        again = attack(classifier, images, METHODS, out=str(tmp_path / "out"), workers=1)
    assert spent().queries == 0
    assert again.to_json() == first.to_json()
    assert again.evidence.table == first.evidence.table
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_killed_after_the_record_before_the_tidying(tmp_path, monkeypatch):
    classifier, images = small_images()
    with monkeypatch.context() as patched:
        patched.setattr(attacked_images.shutil, "rmtree", lambda *_a, **_k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            attack(classifier, images, FGSM(), out=tmp_path / "out")
    attack(classifier, images, FGSM(), out=tmp_path / "out")
    assert not (tmp_path / "out" / "unfinished").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_another_plan_is_refused(tmp_path, finished):
    classifier, images = small_images()
    if finished:
        attack(classifier, images, FGSM(), out=tmp_path / "out", batch_size=8)
    else:
        with pytest.raises(KeyboardInterrupt):
            attack(classifier, images, FGSM(), out=tmp_path / "out", batch_size=8, progress=Stopping(9, "attacking"))
    before = contents(tmp_path / "out")
    other, _ = small_images()
    other.module[0].weight.data.mul_(1.01)
    for model, method, options, what in (
        (classifier, FGSM(epsilon=0.5), {}, "settings"),
        (classifier, FGSM(), {"seed": 1}, "seed"),
        (classifier, FGSM(), {"target": "a"}, "goal"),
        (classifier, FGSM(), {"batch_size": 4}, "batch_size"),
        (classifier, FGSM(), {"limit": 4}, "data"),
        (classifier, FGSM(), {"save_images": False}, "save_images"),
        (other, FGSM(), {}, "model"),
    ):
        with pytest.raises(RunConflictError, match=f"differs in: {what}"):
            attack(model, images, method, **{"out": tmp_path / "out", "batch_size": 8, **options})
    assert contents(tmp_path / "out") == before


def test_a_model_that_cannot_be_hashed_is_not_taken_up(tmp_path):
    classifier, images = small_images()
    plain = Classifier(
        classifier.module.forward, class_names="abcde", preparation=classifier.preparation, differentiable=True
    )
    attack(plain, images, FGSM(), out=tmp_path / "out")
    with pytest.raises(InputError, match="cannot be hashed"):
        attack(plain, images, FGSM(), out=tmp_path / "out")


def test_folders_that_hold_something_else_are_left_alone(tmp_path):
    classifier, images = small_images()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="is not empty and holds no attack"):
        attack(classifier, images, FGSM(), out=tmp_path / "out")
    with pytest.raises(InputError, match="is a file"):
        attack(classifier, images, FGSM(), out=tmp_path / "out" / "thesis.txt")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "attack.json").write_text("{")
    with pytest.raises(InputError, match="is no record of an attack"):
        attack(classifier, images, FGSM(), out=tmp_path / "half")


class _Refusing(FGSM):
    def attack(self, classifier, images, labels, *, criterion=None, rng=None):
        raise UnsupportedError("cannot")


def test_a_call_that_cannot_begin_leaves_nothing(tmp_path):
    classifier, images = small_images()
    by_url = Classifier(lambda x: x.flatten(1)[:, :5], class_names="abcde", preparation=classifier.preparation)
    with pytest.raises(InputError, match="fgsm needs gradients, and classifier gives none"):
        attack(by_url, images, FGSM(), out=tmp_path / "out")
    with pytest.raises(InputError, match="fgsm needs labels"):
        attack(classifier, images.unlabelled(), FGSM(), out=tmp_path / "out")
    with pytest.raises(InputError, match="holds no images"):
        attack(classifier, images.select([]), FGSM(), out=tmp_path / "out")
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        attack(classifier, images, FGSM(), out=tmp_path / "out", batch_size=0)
    with pytest.raises(UnsupportedError, match="cannot"):
        attack(classifier, images, _Refusing(), out=tmp_path / "out")
    with pytest.raises(ValueError, match="target 7 is no class"):
        attack(classifier, images, FGSM(), out=tmp_path / "out", target=7)
    for task in ("segment", "score"):
        odd = Classifier(classifier.module, class_names="abcde", task=task, preparation=classifier.preparation)
        with pytest.raises(UnsupportedError, match=f"of the task {task!r}"):
            attack(odd, images, FGSM(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_scores_that_are_not_finite_reject_the_image_and_all_of_them_the_model(tmp_path):
    classifier, images = small_images()
    real, marked = classifier.module, np.asarray(images.read(5))[0, 0]
    mark = torch.from_numpy(marked.copy()).float() / 255

    class Broken(torch.nn.Module):
        def __init__(self, share):
            super().__init__()
            self.inner, self.everywhere = real, share

        def forward(self, batch):
            lost = ((batch[:, :, 0, 0] - mark).abs().amax(1) < 1e-6) | self.everywhere
            return self.inner(batch).masked_fill(lost[:, None], torch.nan)

    def behind(share):
        return Classifier(Broken(share), class_names="abcde", preparation=classifier.preparation)

    attacked = attack(behind(False), images, FGSM(), out=tmp_path / "out", batch_size=8)
    assert [(row.id, row.reason) for row in attacked.rejected] == [
        (images.ids[5], "the model's scores are not finite (NaN or infinity)")
    ]
    assert attacked.clean_accuracy.n == COUNT - 1
    with pytest.raises(ModelError, match="no finite scores for any of 20 images"):
        attack(behind(True), images, FGSM(), out=tmp_path / "all")
