"""Attack, certificate and explanation by threads side by side, which is what they do where nobody names an engine."""

import threading

import pytest
import torch
from torch import nn

import snellen
from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.square import Square
from snellen.methods.attacks.transfer import Transfer
from snellen.methods.explanations.grad_cam import GradCAM
from snellen.methods.explanations.rise import RISE
from snellen.methods.smoothing.smoothing import Smoothing
from snellen.runs.engines.lanes import lanes_for
from snellen.runs.settings import named_settings
from snellen.runs.where import Where
from snellen.verbs.attack_shards import Work
from snellen.verbs.certify import Work as Certifying

CALLS = {
    "attack": (snellen.attack, [PGD(epsilon=0.05, steps=3), Square(epsilon=0.05, queries=20)]),
    "certify": (snellen.certify, [Smoothing(sigma=0.1, samples=60, selection=10)]),
    "explain": (snellen.explain, [GradCAM(), RISE(masks=20)]),
}

#: What names another model by default.
ALONE = {"attacks": {"representation_transfer"}, "explanations": {"neuron_descriptions", "visual_language"}}


@pytest.fixture
def two_cores(monkeypatch):
    """Two cores for this process, and two threads of torch."""
    monkeypatch.setattr("snellen.runs.engines.choosing._cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def measuring(monkeypatch):
    """The threads that measured a batch of an attack."""
    seen, measure = set(), Work.measure

    def noted(work, *given):
        seen.add(threading.current_thread().name)
        return measure(work, *given)

    monkeypatch.setattr(Work, "measure", noted)
    return seen


@pytest.fixture
def images():
    return snellen.load_images("bundled:fashion-mnist").limit(12)


@pytest.fixture
def module():
    """A module in memory, which no worker could load."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 10)).eval()


def attack_work(images):
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    return Work(classifier, images, named_settings(PGD(steps=1), "attacks"), None, 0, 0, False)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("verb", CALLS)
def test_side_by_side_gives_the_bytes_of_one_after_the_other(verb, images, two_cores, tmp_path, monkeypatch):
    call, methods = CALLS[verb]
    lanes = []
    crew = Where.crew
    monkeypatch.setattr(Where, "crew", lambda where, *given: lanes.append(crew(where, *given)) or lanes[-1])
    call("bundled:fashion-cnn", images, methods, batch_size=3, out=tmp_path / "beside")
    call("bundled:fashion-cnn", images, methods, batch_size=3, out=tmp_path / "one", engine="in_process", threads=1)
    assert [(chosen.lanes, chosen.threads) for chosen in lanes] == [(2, 1), (1, 1)]
    assert contents(tmp_path / "beside") == contents(tmp_path / "one")
    assert torch.get_num_threads() == 2


def test_a_module_in_memory_is_attacked_by_threads_and_stays_as_it_is(module, images, two_cores, measuring):
    module.train()
    classifier = snellen.load_classifier(module, class_names=images.class_names, size=28)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    snellen.attack(classifier, images, PGD(steps=2), batch_size=2)
    assert measuring == {"snellen-measuring"}
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert classifier.spent.queries > 0


@pytest.mark.parametrize("named", [{"engine": "in_process"}, {"threads": 2}, {"batch_size": 12}])
def test_what_somebody_names_and_a_single_batch_stay_in_the_calling_thread(named, images, two_cores, measuring):
    made = snellen.attack("bundled:fashion-cnn", images, PGD(steps=1), **{"batch_size": 3, **named})
    assert measuring == {threading.current_thread().name}
    assert made.plan["threads"] == 2


def test_a_method_with_another_model_stays_in_the_calling_thread(images, two_cores, measuring):
    method = Transfer(surrogate="bundled:fashion-cnn", crafted_by=PGD(steps=1))
    snellen.attack("bundled:fashion-cnn", images, method, batch_size=3)
    assert measuring == {threading.current_thread().name}


def test_a_function_stays_in_the_calling_thread(images, two_cores, measuring):
    function = Classifier(lambda given: given.mean((2, 3)) @ torch.ones(3, 10), class_names=images.class_names)
    snellen.attack(function, images, Square(queries=2), batch_size=3)
    assert measuring == {threading.current_thread().name}


class Drawing(nn.Module):
    """A network that draws from torch's own generator."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3, 10)

    def forward(self, images):
        pooled = images.mean((2, 3))
        return self.last(pooled + 0.1 * torch.randn_like(pooled))


def test_a_network_that_draws_at_random_stays_in_the_calling_thread(images, two_cores, measuring):
    torch.manual_seed(0)
    classifier = snellen.load_classifier(Drawing(), class_names=images.class_names, size=28)

    def attacked():
        torch.manual_seed(1)
        return snellen.attack(classifier, images, PGD(steps=2), batch_size=2).evidence

    assert attacked().table.equals(attacked().table)
    assert measuring == {threading.current_thread().name}


def test_a_choice_of_threads_leaves_the_generator_of_torch_as_it_is(images, two_cores):
    work = attack_work(images)
    before = torch.get_rng_state()
    assert lanes_for([work.classifier], work.twin, [4, 4, 4], None).lanes == 2
    assert torch.equal(before, torch.get_rng_state())


def test_threads_are_no_more_than_memory_allows_for_the_chunks_of_a_method(images, two_cores, monkeypatch):
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    few, many = (
        Certifying(classifier, images, named_settings(Smoothing(sigma=0.1, chunk=chunk), "certificates"), 0, 0)
        for chunk in (2, 4000)
    )
    monkeypatch.setattr("snellen.runs.engines.choosing.usable_memory", lambda: 2**28)
    assert lanes_for([classifier], few.twin, [2, 2], None).lanes == 2
    assert lanes_for([classifier], many.twin, [2, 2], None) is None


def test_settings_of_the_calling_thread_keep_the_work_in_it(images, two_cores):
    work = attack_work(images)
    with torch.inference_mode():
        assert lanes_for([work.classifier], work.twin, [4, 4], None) is None
    with torch.device("meta"):
        assert lanes_for([work.classifier], work.twin, [4, 4], None) is None


def test_one_process_is_this_one(module, images, two_cores, measuring):
    classifier = snellen.load_classifier(module, class_names=images.class_names, size=28)
    snellen.attack(classifier, images, PGD(steps=1), batch_size=4, processes=1)
    assert measuring == {threading.current_thread().name}


class Sent(FGSM):
    """A method that the package does not know."""

    name = "sent"


def test_a_method_of_ones_own_stays_in_the_calling_thread():
    assert FGSM().concurrent
    assert not Sent().concurrent


def test_an_interrupted_call_goes_on_to_the_same_bytes(images, two_cores, measuring, tmp_path):
    class Interrupted(snellen.core.progress.Silent):
        def advance(self, task, amount, note=""):
            raise KeyboardInterrupt

    def attack(folder, **further):
        return snellen.attack("bundled:fashion-cnn", images, PGD(steps=2), batch_size=2, out=folder, **further)

    with pytest.raises(KeyboardInterrupt):
        attack(tmp_path / "stopped", progress=Interrupted())
    assert not any(thread.name == "snellen-measuring" for thread in threading.enumerate())
    attack(tmp_path / "stopped")
    attack(tmp_path / "whole")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


@pytest.mark.parametrize("area", ["attacks", "certificates", "explanations"])
def test_methods_that_name_no_other_model_may_run_in_several_threads(area):
    made = {name: entry.load()() for name, entry in index.methods(area).items()}
    alone = {name for name, method in made.items() if not method.concurrent}
    assert alone == ALONE.get(area, set())


def test_a_plan_says_that_threads_divide_the_time(images, two_cores):
    planned = snellen.plan(snellen.attack, "bundled:fashion-cnn", images, PGD(steps=1), batch_size=3)
    assert "2 threads side by side" in str(planned)
