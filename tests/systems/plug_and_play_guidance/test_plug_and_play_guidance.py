"""The methods that a classifier steers: images of a class, experts in a folder, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError
from snellen.core.index import entry
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.methods.generation.classifier_guidance import ClassifierGuidance
from snellen.methods.generation.made_images import generator_of
from snellen.methods.generation.teachers import map_teacher
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.sampler import Sampler
from snellen.systems.plug_and_play_guidance import expert_fitting
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit
from snellen.systems.plug_and_play_guidance.method import PlugAndPlayGuidance, ready
from snellen.verbs.generate import generate as write
from snellen.verbs.requests import ListedRequests, load_requests

FIT = TransferFit(experts=2, rank=2, alpha=4, synthetic=4, synthetic_steps=2, iterations=2, batch_size=4)
SCENES = {"generator": "bundled:scene-diffusion", "classifier": "bundled:scene-cnn", "steps": 3}
REQUESTS = [{"id": "a", "class": "star", "seed": 1}, {"id": "b", "class": "ring", "seed": 2}, {"id": "c", "class": 0}]


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ppap") / "experts"
    PlugAndPlayGuidance(**SCENES, experts=str(folder), fit=FIT).make_ready()
    return folder


def pixels(images):
    return torch.stack([torch.from_numpy(np.array(images.read(row))) for row in range(len(images))])


def test_names_and_defaults():
    assert entry("generation", "ppap").load() is PlugAndPlayGuidance
    assert entry("generation", "classifier-guidance").load() is ClassifierGuidance
    assert PlugAndPlayGuidance().guidance_scale == ClassifierGuidance().guidance_scale == 8.5


def test_images_of_classes_come_with_provenance(experts):
    images = PlugAndPlayGuidance(**SCENES, experts=str(experts)).generate(REQUESTS, rng=Randomness(0))
    assert images.ids == ["a", "b", "c"]
    assert [images.class_names[label] for label in images.labels] == ["star", "ring", "square"]
    origin = json.loads(str(images.column("provenance")[0]))
    assert (origin["origin"], origin["seed"], origin["guidance_scale"]) == ("generated", 1, 8.5)
    assert [json.loads(str(row)) for row in images.column("attributes")] == [{"gradients dropped": 0}] * 3


@pytest.mark.parametrize("sees", ["estimate", "estimate-through", "noisy", "experts"])
@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_without_guidance_the_generator_gets_nothing(experts, sees, solver):
    own = {"experts": str(experts)} if sees == "experts" else {"sees": sees}
    kind = PlugAndPlayGuidance if sees == "experts" else ClassifierGuidance
    made = {
        scale: pixels(kind(**SCENES, **own, solver=solver, guidance_scale=scale).generate(REQUESTS, rng=Randomness(0)))
        for scale in (1.0, 8.5)
    }
    generator = generator_of(SCENES["generator"])
    plain = generate(Sampler(generator, steps=3, solver=solver), [1, 2], condition=generator.null(2)).bytes()
    assert (made[1.0][:2].int() - plain.permute(0, 2, 3, 1).int()).abs().max() <= 1
    assert not torch.equal(made[1.0], made[8.5])


def test_experts_are_fitted_once_and_then_read(experts, monkeypatch):
    weights = (experts / "weights.safetensors").read_bytes()
    assert not experts.with_name("experts.unfinished").exists()
    monkeypatch.setattr(expert_fitting, "fit_experts", lambda *_, **__: pytest.fail("fitted again"))
    own = PlugAndPlayGuidance(**SCENES, experts=str(experts))
    assert ready(own)[1].ranges.experts == 2
    assert "2 experts, each with" in own.notes()[0]
    assert set(own.identities()) >= {"denoiser", "classifier", "experts"}
    assert (experts / "weights.safetensors").read_bytes() == weights
    with pytest.raises(InputError, match="was fitted with rank 2, not 3"):
        ready(PlugAndPlayGuidance(**SCENES, experts=str(experts), fit=FIT.model_copy(update={"rank": 3})))


@pytest.mark.covers("12.11")
def test_experts_of_another_classifier_or_generator_are_refused(experts):
    with pytest.raises(InputError, match=r"knows 6 classes .* and bundled:fashion-cnn 10"):
        ready(PlugAndPlayGuidance(**{**SCENES, "classifier": "bundled:fashion-cnn"}, experts=str(experts)))
    with pytest.raises(InputError, match="was fitted with the generator bundled:scene-diffusion"):
        ready(PlugAndPlayGuidance(**{**SCENES, "generator": "bundled:fashion-diffusion"}, experts=str(experts)))


@pytest.mark.covers("12.8")
def test_a_stopped_fit_goes_on_with_the_images_that_it_had(tmp_path, monkeypatch):
    own = PlugAndPlayGuidance(**SCENES, experts=str(tmp_path / "experts"), fit=FIT)
    drawn = []
    real_images, real_fit = expert_fitting.synthetic_images, expert_fitting.fit_experts

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(expert_fitting, "synthetic_images", lambda *a, **k: drawn.append(1) or real_images(*a, **k))
    monkeypatch.setattr(expert_fitting, "fit_experts", stop)
    with pytest.raises(KeyboardInterrupt):
        own.make_ready()
    assert not (tmp_path / "experts").exists()
    monkeypatch.setattr(expert_fitting, "fit_experts", real_fit)
    own.make_ready()
    assert drawn == [1]
    whole = PlugAndPlayGuidance(**SCENES, experts=str(tmp_path / "other"), fit=FIT)
    whole.make_ready()
    one, other = (Artifact.load(tmp_path / name) for name in ("experts", "other"))
    assert one.card.lineage.data == other.card.lineage.data
    assert all(torch.equal(part, other.tensors[name]) for name, part in one.tensors.items())


def test_what_cannot_be_fitted_is_refused_before_images_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(expert_fitting, "synthetic_images", lambda *_, **__: pytest.fail("images were drawn"))
    generator, folder = generator_of(SCENES["generator"]), tmp_path / "experts"
    flat = map_teacher(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2)), name="flat")
    with pytest.raises(InputError, match="no layer of the Sequential can be adapted"):
        expert_fitting.experts_in(folder, flat, generator, fit=FIT)
    own = PlugAndPlayGuidance(**SCENES, experts=str(folder), fit=FIT.model_copy(update={"experts": 1001}))
    with pytest.raises(InputError, match="there are 1 to 1000 experts"):
        own.make_ready()
    assert not list(tmp_path.iterdir())


def test_a_fit_that_is_stopped_while_it_is_written_leaves_no_part_of_it(tmp_path, monkeypatch):
    own = PlugAndPlayGuidance(**SCENES, experts=str(tmp_path / "experts"), fit=FIT)
    real = Artifact.save

    def stop(artifact, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Artifact, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        own.make_ready()
    assert not (tmp_path / "experts").exists()
    monkeypatch.setattr(Artifact, "save", real)
    own.make_ready()
    assert [path.name for path in tmp_path.iterdir()] == ["experts"]
    assert ready(own)[1].ranges.experts == 2


def test_the_command_writes_a_data_set_and_tells_of_the_fit(tmp_path):
    heard = []

    class Listening(Silent):
        def begin(self, task, total):
            heard.append(task)

    path = tmp_path / "requests.json"
    path.write_text(json.dumps(REQUESTS))
    own = PlugAndPlayGuidance(**SCENES, experts=str(tmp_path / "experts"), fit=FIT)
    requests = load_requests(str(path))
    made = write(own, requests, out=tmp_path / "out", batch_size=2, sheet=False, progress=Listening())
    assert made.written == 3
    assert heard == ["generating", "asking the teacher", "train", "train", "generating"]
    assert write(own, requests, out=tmp_path / "out", batch_size=2, sheet=False) == made
    assert len(list(Path(tmp_path / "out" / "images").iterdir())) == 3


def test_what_is_missing_is_said(tmp_path):
    assert "needs the classifier that guides" in str(ClassifierGuidance().missing())
    assert "needs the classifier that guides" in str(PlugAndPlayGuidance(experts="x").missing())
    assert "needs the folder of the experts" in str(PlugAndPlayGuidance(classifier="bundled:scene-cnn").missing())
    own = ClassifierGuidance(**SCENES)
    with pytest.raises(InputError, match="2 of 3 requests name none"):
        own.generate([{"id": "a", "class": "star"}, {"prompt": "a"}, {"prompt": "b"}], rng=Randomness(0))
    with pytest.raises(InputError, match="names class 'dog'"):
        own.generate([{"id": "a", "class": "dog"}], rng=Randomness(0))
    with pytest.raises(InputError, match="sees"):
        ClassifierGuidance(sees="everything")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is not an artifact"):
        ready(PlugAndPlayGuidance(**SCENES, experts=str(tmp_path / "empty")))


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([*REQUESTS, {"id": "d", "class": "moon"}], {}, "names class 'moon'"),
        (REQUESTS, {"solver": "euler", "eta": 0.5}, "eta"),
    ],
)
def test_wrong_requests_and_settings_are_refused_before_anything_is_fitted(
    tmp_path, monkeypatch, rows, settings, message
):
    monkeypatch.setattr(expert_fitting, "synthetic_images", lambda *_, **__: pytest.fail("images were drawn"))
    own = PlugAndPlayGuidance(**SCENES, **settings, experts=str(tmp_path / "experts"), fit=FIT)
    with pytest.raises(InputError, match=message):
        write(own, ListedRequests("asked", rows), out=tmp_path / "out", batch_size=2)
    assert not (tmp_path / "out").exists()
