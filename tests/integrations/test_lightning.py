"""Audits inside Lightning's trainer: when they run, what is logged, and a training that goes as it would without."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import snellen
from snellen.core.errors import InputError, MissingExtraError
from snellen.integrations import lightning as integration
from tests.integrations.small_pets import audited, training_set
from tests.tiny_network import NAMES, make_network

CHECKS = {"checks": ["clean", "calibration"]}

lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


class Pets(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = make_network(1)

    def forward(self, images):
        # Random numbers of all three generators, in an audit too: a draw more would show in the weights.
        noise = random.random() + float(np.random.rand()) + torch.rand(())
        return self.network(images + 0.001 * noise)

    def training_step(self, batch, index):
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


class Seen(lightning.Callback):
    """Mode and gradients of the module after every epoch; runs after the audit."""

    def __init__(self):
        self.modes = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.modes.append((pl_module.training, pl_module.network[0].weight.requires_grad))


class Kept(lightning.loggers.logger.Logger):
    """A logger that keeps what it is given."""

    name, version = "kept", 0

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def log_hyperparams(self, *arguments, **more):
        pass


def fit(callbacks, epochs=4, logger=None, module=None):
    lightning.seed_everything(7, verbose=False)
    module = module or Pets()
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, callbacks=callbacks, logger=logger or False,
        enable_checkpointing=any(isinstance(one, lightning.callbacks.ModelCheckpoint) for one in callbacks),
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, DataLoader(training_set(), batch_size=16, shuffle=True))
    return module, trainer


def weights(module):
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


@pytest.fixture(scope="module")
def plain():
    return weights(fit([])[0])


@pytest.fixture(scope="module")
def watched():
    """A training that was audited after every second epoch, and what its logger was given."""
    callback, seen, logger = integration.AuditCallback(audited(), when=2, **CHECKS), Seen(), Kept()
    module, trainer = fit([callback, seen], logger=logger)
    return callback, seen, logger, module, trainer


def test_the_training_goes_as_it_would_without(plain, watched):
    _, seen, _, module, _ = watched
    assert torch.equal(weights(module), plain)
    assert seen.modes == [(True, True)] * 4


def test_audits_are_made_when_they_are_due_and_logged(watched):
    callback, _, logger, module, trainer = watched
    assert list(callback.reports) == [2, 4]
    own = snellen.audit(module, audited(), **CHECKS).metrics["clean.accuracy"]
    assert callback.reports[4].metrics["clean.accuracy"] == own, "the last audit is of the last weights"
    assert callback.reports[2].model["identity"] != callback.reports[4].model["identity"]
    logged = [metrics for _, metrics in logger.rows if "snellen/clean.accuracy" in metrics]
    assert len(logged) == 2
    assert logged[-1]["snellen/clean.accuracy"] == pytest.approx(own.value)
    assert logged[-1]["snellen/clean.accuracy.low"] == pytest.approx(own.low)
    assert trainer.callback_metrics["snellen/findings.severe"] >= 0
    assert not any(name.startswith("snellen/clean.brier") for name in logged[-1])


def test_at_the_end_alone_and_after_named_epochs(plain):
    logger = Kept()
    end, named = (integration.AuditCallback(audited(), when=when, **CHECKS) for when in ("end", [1, 3]))
    module, trainer = fit([end, named], logger=logger)
    assert (list(end.reports), list(named.reports)) == ([4], [1, 3])
    assert logger.rows[-1][0] == trainer.global_step
    assert "snellen/clean.accuracy" in logger.rows[-1][1]
    assert torch.equal(weights(module), plain)


def test_a_checkpoint_is_chosen_by_an_audit(tmp_path):
    best = lightning.callbacks.ModelCheckpoint(tmp_path, monitor="snellen/clean.accuracy.low", mode="max")
    fit([integration.AuditCallback(audited(), when=1, network="network", **CHECKS), best], epochs=2)
    assert best.best_model_path


def test_an_audit_that_cannot_be_made_is_a_warning_or_ends_the_training():
    class Broken(Pets):
        def forward(self, images):
            scores = super().forward(images)
            return scores if self.training else scores * float("nan")

    with pytest.warns(RuntimeWarning, match="no audit after epoch 1: "):
        fit([integration.AuditCallback(audited(), **CHECKS)], epochs=1, module=Broken())
    with pytest.raises(snellen.core.errors.SnellenError):
        fit([integration.AuditCallback(audited(), strict=True, **CHECKS)], epochs=1, module=Broken())


def test_what_is_wrong_is_refused_before_the_training():
    module = Pets()
    before = weights(module).clone()
    with pytest.raises(InputError, match="no such"):
        fit([integration.AuditCallback("no such folder")], module=module)
    with pytest.raises(InputError, match="Pets has no part 'head'; it has network"):
        fit([integration.AuditCallback(audited(), network="head")], module=module)
    assert torch.equal(weights(module), before)
    assert list(NAMES) == list(audited().class_names)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("snellen.core.errors.importlib.import_module", _missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'snellen\[lightning\]'"):
        integration._lightning()


def _missing(name):
    raise ModuleNotFoundError(name, name=name)
