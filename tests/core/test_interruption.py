"""What an interruption carries: which folder is incomplete, and how to go on."""

import numpy as np
import pytest
from torch import nn

import snellen
from snellen.core.interruption import how_to_resume, noted_interruption


def test_the_outermost_folder_is_named(tmp_path):
    outer, inner = tmp_path / "run", tmp_path / "run" / "part"
    inner.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt) as stopped, noted_interruption(outer), noted_interruption(inner):
        raise KeyboardInterrupt
    assert stopped.value.__notes__ == [
        f"stopped; {outer} is incomplete, and the same call resumes where this stopped"
    ]  # fmt: skip


@pytest.mark.parametrize("kept", [False, True])
def test_nothing_is_promised_where_nothing_lies(tmp_path, kept):
    folder = tmp_path / "new" if kept else None
    with pytest.raises(KeyboardInterrupt) as stopped, noted_interruption(folder):
        raise KeyboardInterrupt
    assert not getattr(stopped.value, "__notes__", [])


def test_a_folder_that_goes_with_the_call_is_not_promised(tmp_path):
    with pytest.raises(KeyboardInterrupt) as stopped, noted_interruption(None), noted_interruption(tmp_path):
        raise KeyboardInterrupt
    assert not stopped.value.__notes__


class Stopping:
    """Progress that is interrupted once something is counted."""

    def begin(self, task, total):
        pass

    def advance(self, task, amount, note=""):
        if task in ("audit", "attacking", "clean"):
            raise KeyboardInterrupt

    def finish(self, task):
        pass


def test_notes_of_others_stay(tmp_path):
    other = KeyboardInterrupt()
    other.add_note("of a notebook")
    with pytest.raises(KeyboardInterrupt) as stopped, noted_interruption(tmp_path), noted_interruption(None):
        raise other
    assert stopped.value.__notes__ == ["of a notebook", how_to_resume(tmp_path)]


def test_an_evaluation_names_its_own_folder(tmp_path):
    images = snellen.load_images(np.zeros((8, 3, 8, 8), dtype=np.uint8), np.arange(8) % 2, class_names=["a", "b"])
    models = {"one": nn.Sequential(nn.Flatten(), nn.Linear(192, 2))}
    with pytest.raises(KeyboardInterrupt) as stopped:
        snellen.evaluate(models, "fgsm", images, out=tmp_path / "run", batch_size=2, progress=Stopping())
    assert stopped.value.__notes__ == [how_to_resume(tmp_path / "run")]


@pytest.mark.parametrize("verb", ["attack", "audit"])
def test_verbs_of_python_say_how_to_resume(tmp_path, verb):
    images = snellen.load_images(np.zeros((8, 3, 8, 8), dtype=np.uint8), np.arange(8) % 2, class_names=["a", "b"])
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    given = {"method": "fgsm", "batch_size": 2} if verb == "attack" else {"checks": ["clean"], "batch_size": 2}
    with pytest.raises(KeyboardInterrupt) as stopped:
        getattr(snellen, verb)(model, images, out=tmp_path / "run", progress=Stopping(), **given)
    assert stopped.value.__notes__ == [how_to_resume(tmp_path / "run")]
