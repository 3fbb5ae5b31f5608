"""Audits inside the trainer of transformers: when they run, what is logged, an undisturbed training."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.core.errors import InputError, MissingExtraError
from snellen.integrations import transformers as integration
from tests.integrations.small_pets import audited, training_set
from tests.tiny_network import NAMES

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

CHECKS = {"checks": ["clean", "calibration"]}


def make_model():
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        num_channels=3, embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic",
        id2label=dict(enumerate(NAMES)), label2id={name: code for code, name in enumerate(NAMES)},
    )  # fmt: skip
    return DrawingForImageClassification(config)


class DrawingForImageClassification(transformers.ResNetForImageClassification):
    """Draws random numbers of all three generators in each pass, in an audit too: a draw more would show."""

    def forward(self, pixel_values=None, labels=None, **more):
        noise = random.random() + float(np.random.rand()) + torch.rand(())
        return super().forward(pixel_values=pixel_values + 0.001 * noise, labels=labels, **more)


def make_processor():
    return transformers.ConvNextImageProcessor(
        do_resize=False, size={"shortest_edge": 4}, do_normalize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )


class Watch(transformers.TrainerCallback):
    def __init__(self):
        self.modes, self.logs = [], []

    def on_step_begin(self, args, state, control, model, **given):
        self.modes.append((model.training, next(model.parameters()).requires_grad))

    def on_log(self, args, state, control, logs, **given):
        self.logs.append(dict(logs))


def trained(folder, make_callbacks, epochs=3):
    transformers.set_seed(5)
    settings = transformers.TrainingArguments(
        output_dir=str(folder), num_train_epochs=epochs, per_device_train_batch_size=16, learning_rate=0.05,
        save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, logging_steps=100,
    )  # fmt: skip
    rows = [{"pixel_values": 2 * image - 1, "labels": int(label)} for image, label in training_set()]
    trainer = transformers.Trainer(make_model(), settings, train_dataset=rows, processing_class=make_processor())
    watch = Watch()
    trainer.add_callback(watch)
    callbacks = make_callbacks(trainer)
    for one in callbacks:
        trainer.add_callback(one)
    trainer.train()
    return trainer, watch, callbacks


def weights(trainer):
    return torch.cat([value.flatten().double() for value in trainer.model.state_dict().values()])


def test_audits_leave_no_trace_in_the_training_and_are_logged(tmp_path):
    plain, _, _ = trained(tmp_path, lambda trainer: [])

    def callbacks(trainer):
        return [integration.AuditCallback(trainer, audited(), when=when, **CHECKS) for when in (2, "end")]

    trainer, watch, (second, end) = trained(tmp_path, callbacks)
    assert torch.equal(weights(trainer), weights(plain))
    assert set(watch.modes) == {(True, True)}
    assert (list(second.reports), list(end.reports)) == ([2], [3])
    own = snellen.audit((trainer.model, make_processor()), audited(), **CHECKS).metrics["clean.accuracy"]
    assert end.reports[3].metrics["clean.accuracy"] == own
    logged = [row for row in trainer.state.log_history if "eval_snellen/clean.accuracy" in row]
    assert [row["epoch"] for row in logged] == [2, 3]
    assert logged[-1]["eval_snellen/clean.accuracy.low"] == own.low
    assert sum("eval_snellen/clean.accuracy" in row for row in watch.logs) == 2, "other callbacks get the figures"
    assert isinstance(trainer.callback_handler.callbacks[0], integration.AuditCallback), (
        "before trackers end their runs"
    )


def test_what_is_wrong_is_refused_before_the_training(tmp_path):
    with pytest.raises(InputError, match="no such"):
        trained(tmp_path, lambda trainer: [integration.AuditCallback(trainer, "no such folder")])
    trainer = transformers.Trainer(nn.Linear(1, 1), transformers.TrainingArguments(str(tmp_path), report_to=[]))
    with pytest.raises(InputError, match=r"Trainer\(processing_class=processor\)"):
        integration.AuditCallback(trainer, audited())


@pytest.mark.parametrize("kind", ["fsdp", "deepspeed"])
def test_parts_of_weights_are_refused_before_the_training(tmp_path, kind):
    def sharded(trainer):
        setattr(trainer, f"is_{kind}_enabled", True)
        audits = integration.AuditCallback(trainer, audited(), **CHECKS)
        trainer.add_callback(audits)
        audits.on_train_begin(trainer.args, trainer.state, trainer.control)

    with pytest.raises(InputError, match="a part of the weights, which cannot be audited"):
        trained(tmp_path, sharded)


def test_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name, name=name)

    monkeypatch.setattr("snellen.core.errors.importlib.import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'snellen\[vlm\]'"):
        integration._callback_class.__wrapped__()
