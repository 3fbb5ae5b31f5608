"""What the callbacks of all training libraries share: a failing audit, a second training, an untouched model."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

import snellen
from snellen.core.errors import InputError, SnellenError
from snellen.integrations import training_audits
from snellen.integrations.training_audits import TrainingAudits
from tests.integrations.small_pets import audited, pixels_and_labels
from tests.tiny_network import NAMES, make_network


def make(images=None, *, when="end", out=None, strict=False, **options):
    return TrainingAudits(
        audited() if images is None else images, when=when, figures=["clean.*"], out=out, strict=strict,
        options={"checks": ["clean"], **options},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("when", "due"),
    [(2, [2, 4]), (np.int64(2), [2, 4]), ([1, 3], [1, 3]), (np.array([1, 3]), [1, 3]), (range(2, 4), [2, 3]),
     ("end", [])],
)  # fmt: skip
def test_epochs_after_which_an_audit_is_due(when, due):
    audits = make(when=when)
    assert [epoch for epoch in range(1, 5) if audits.after(epoch, end=False)] == due
    assert audits.after(4, end=True) == (not due)


@pytest.mark.parametrize("when", ["always", "12", "", 0, 2.0, None, [], [0, 1], ["1"]])
def test_epochs_that_are_none_are_refused(when):
    with pytest.raises(InputError, match="epochs counted from 1; got"):
        make(when=when)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chekcs": ["clean"]}, "unexpected keyword argument 'chekcs'"),
        ({"checks": ["claen"]}, "did you mean 'clean'"),
        ({"checks": None, "effort": "fast"}, "effort"),
        ({"checks": ["clean"], "effort": "full"}, "leave one of them out"),
    ],
)
def test_options_that_no_audit_takes_are_refused_before_the_training(options, message):
    with pytest.raises((InputError, TypeError), match=message):
        make(**options)


def test_what_fails_for_another_reason_is_a_warning_too(monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training_audits, "audit", full)
    with pytest.warns(RuntimeWarning, match="no audit after epoch 1: OSError: .*No space left"):
        assert make().audit(make_network(0), 1) == {}
    with pytest.raises(OSError, match="No space left"):
        make(strict=True).audit(make_network(0), 1)


def test_nobody_but_the_caller_ends_a_training(monkeypatch):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training_audits, "audit", stopped)
    with pytest.raises(KeyboardInterrupt):
        make().audit(make_network(0), 1)


@pytest.mark.smoke
def test_a_second_training_is_audited_like_the_first(tmp_path):
    pixels, labels = pixels_and_labels()
    audits = make(pixels, out=tmp_path, labels=labels, class_names=list(NAMES))
    found = []
    for seed in (0, 1):
        audits.prepare()
        assert audits.after(1, end=True)
        audits.audit(make_network(seed), 1)
        assert not audits.after(1, end=True), "once a training"
        found.append(audits.reports[1])
    assert found[0].model["identity"] != found[1].model["identity"]
    assert sorted(file.parent.name for file in tmp_path.glob("*/report.json")) == ["epoch-1", "epoch-1-2"]


def make_table(folder, name, seed):
    """A table of 24 images whose columns have names of their own; patients 0 to 5 are in all tables."""
    pixels, labels = pixels_and_labels(24, seed)
    for row, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{name}-{row}.png")
    rows = [f"{name}-{row}.png,{NAMES[label]},{row // 4},{row + seed}" for row, label in enumerate(labels)]
    (folder / f"{name}.csv").write_text("\n".join(["file,dx,patient,age", *rows]), encoding="utf-8")
    return folder / f"{name}.csv"


def test_training_images_are_read_once_and_by_the_same_columns(tmp_path):
    """Also the units, which leak, and the bands of the audited images."""
    audited_table, train = (make_table(tmp_path, name, seed) for seed, name in enumerate(("audited", "train")))
    columns = {"image": "file", "label": "dx", "unit": "patient", "group": "age:12"}
    options = {"columns": columns, "checks": ["clean", "group_gap", "leakage"]}
    network = make_network(0)
    direct = snellen.audit(network, audited_table, train=train, **options)
    audits = make(audited_table, strict=True, train=train, **options)
    audits.prepare()
    for table in (audited_table, train):
        table.unlink()
    for epoch in (1, 2):
        audits.audit(network, epoch)
        found = audits.reports[epoch]
        assert found.metrics == direct.metrics
        assert [one.title for one in found.findings] == [one.title for one in direct.findings]
        assert {one.name: one.status for one in found.checks} == dict.fromkeys(options["checks"], "done")
    assert any(one.kind == "leakage" for one in found.findings), "six patients are in both"
    with pytest.raises(SnellenError, match="no such"):
        make(train=tmp_path / "no such").prepare()


def test_random_numbers_threads_and_gradients_are_as_before(monkeypatch):
    def drawing(*arguments, **options):
        assert torch.is_grad_enabled()
        assert options["effort"] == "quick"
        random.random(), np.random.rand(), torch.rand(1)
        torch.set_num_threads(2)
        raise SnellenError("no audit")

    def state():
        drawn = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        return drawn, torch.get_num_threads(), torch.is_grad_enabled()

    network = make_network(0)
    audits = TrainingAudits(audited(), when=1, figures=["*"], out=None, strict=False, options={})
    monkeypatch.setattr(training_audits, "audit", drawing)
    torch.set_num_threads(1)
    with torch.no_grad():
        before = state()
        with pytest.warns(RuntimeWarning, match="no audit after epoch 1: no audit"):
            audits.audit(network, 1)
        assert state() == before


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails):
    """Mode of each part, gradients that are not yet used, statistics of batches, random numbers."""
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5), make_network(0)).train()
    network[0].eval()
    network(torch.rand(2, 3, 4, 4)).sum().backward()
    network[2].requires_grad_(False)
    if fails:
        network.register_forward_hook(lambda module, given, scores: scores * float("nan"))

    def state():
        drawn = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        modes = [part.training for part in network.modules()]
        values = [value.tolist() for value in network.state_dict().values()]
        kept = [(one.requires_grad, None if one.grad is None else one.grad.tolist()) for one in network.parameters()]
        return drawn, modes, values, kept

    before = state()
    audits = make(strict=True, checks=["clean", "adversarial"])
    with torch.inference_mode():
        if fails:
            with pytest.raises(SnellenError):
                audits.audit(network, 1)
        else:
            audits.audit(network, 1)
            assert {one.name: one.status for one in audits.reports[1].checks} == {
                "clean": "done",
                "adversarial": "done",
            }
    assert state() == before
