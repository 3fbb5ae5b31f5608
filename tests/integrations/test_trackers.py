"""Audits and comparisons in runs of MLflow and Weights & Biases, read back from what these wrote, without a network."""

import json
from pathlib import Path

import pytest

import snellen
from snellen.core.errors import InputError, MissingExtraError
from snellen.core.finding import Finding
from snellen.integrations import mlflow as in_mlflow
from snellen.integrations import wandb as in_wandb
from snellen.integrations.logged_audit import numbers_of
from tests.integrations.small_pets import audited
from tests.tiny_network import NAMES, make_network

HOSTILE = "a/b: <b>../\x1b\x00é"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Two audits of two networks, with a finding whose name is no word."""
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for seed in (0, 1):
        network = snellen.load_classifier(
            make_network(seed).eval(), NAMES, preparation=snellen.Preprocessing(size=(4, 4))
        )
        made.append(snellen.audit(network, audited(), checks=["clean", "calibration"], out=folder / str(seed)))
    return made


def with_hostile(report):
    found = (Finding(kind="slice", subject=HOSTILE, harm=0.3, title=HOSTILE), *report.findings)
    metrics = {**report.metrics, f"label.{HOSTILE}.auroc": next(iter(report.metrics.values()))}
    return report.model_copy(update={"findings": found, "metrics": metrics}).keeping(folder=None)


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    found = pytest.importorskip("mlflow", reason="mlflow is not installed", exc_type=ImportError)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    return found


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_mlflow_holds_figures_findings_and_the_report(mlflow, reports, tmp_path):
    report = with_hostile(reports[0])
    with mlflow.start_run() as run:
        in_mlflow.log_audit(report, step=3)
        in_mlflow.log_audit(snellen.compare(*reports), prefix="compared/")
    client = mlflow.MlflowClient()
    held = client.get_run(run.info.run_id).data
    expected = numbers_of(report)
    assert held.metrics["snellen/clean.accuracy.low"] == expected["clean.accuracy.low"]
    assert sum(name.startswith("snellen/") for name in held.metrics) == len(expected)
    assert client.get_metric_history(run.info.run_id, "snellen/clean.accuracy")[0].step == 3
    assert held.tags["snellen.model_identity"] == report.model["identity"]
    assert held.metrics["compared/worse"] + held.metrics["compared/better"] <= held.metrics["compared/compared"]
    listed = {file.path for place in ("snellen", "compared") for file in client.list_artifacts(run.info.run_id, place)}
    assert listed == {
        "snellen/report.html", "snellen/report.json", "snellen/findings.json",
        "compared/comparison.html", "compared/comparison.json", "compared/findings.json",
    }  # fmt: skip
    file = client.download_artifacts(run.info.run_id, "snellen/findings.json", str(tmp_path))
    table = json.loads(Path(file).read_text(encoding="utf-8"))
    assert table["data"][0][table["columns"].index("title")] == HOSTILE
    page = client.download_artifacts(run.info.run_id, "snellen/report.html", str(tmp_path))
    assert "<b>.." not in Path(page).read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_mlflow_holds_each_figure_of_labels_with_like_or_long_names(mlflow, reports):
    figure = next(iter(reports[0].metrics.values()))
    names = ("label.a/b.auroc", "label.a|b.auroc", f"label.{'x' * 300}.auroc", f"label.{'x' * 300}.f1")
    report = reports[0].model_copy(update={"metrics": dict.fromkeys(names, figure)})
    with mlflow.start_run() as run:
        in_mlflow.log_audit(report)
    held = mlflow.MlflowClient().get_run(run.info.run_id).data.metrics
    assert len(held) == len(numbers_of(report)) == 16


def test_mlflow_needs_a_run(mlflow, reports):
    with pytest.raises(InputError, match=r"with mlflow.start_run\(\):"):
        in_mlflow.log_audit(reports[0])


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    found = pytest.importorskip("wandb", reason="wandb is not installed", exc_type=ImportError)
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true",
                        "WANDB_CACHE_DIR": str(tmp_path), "WANDB_DATA_DIR": str(tmp_path),
                        "WANDB_CONFIG_DIR": str(tmp_path)}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield found
    found.teardown()  # or the next test gets the folders of this one


@pytest.mark.enable_socket  # its own process on this machine is spoken to through a socket
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_wandb_holds_figures_findings_and_the_report_offline(wandb, reports, tmp_path):
    report = with_hostile(reports[0])
    with wandb.init(project="pets", mode="offline", dir=tmp_path) as run:
        in_wandb.log_audit(report)
        in_wandb.log_audit(snellen.compare(*reports), run=run, prefix="compared/")
        summary = dict(run.summary)
        config = dict(run.config)
    wandb.teardown()  # its log is written by another process
    expected = numbers_of(report)
    assert {name: summary[f"snellen/{name}"] for name in expected} == expected
    assert "compared/worse" in summary
    assert config["snellen.model_identity"] == report.model["identity"]
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/snellen/findings_*.table.json")
    rows = json.loads(table.read_text(encoding="utf-8"))
    assert rows["data"][0][rows["columns"].index("title")] == HOSTILE
    (log,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"report.html" in log.read_bytes()


def test_wandb_needs_a_run(wandb, reports):
    with pytest.raises(InputError, match=r"call wandb\.init"):
        in_wandb.log_audit(reports[0])


@pytest.mark.parametrize(("module", "extra"), [(in_mlflow, "mlflow"), (in_wandb, "wandb")])
def test_the_extra_is_named(monkeypatch, reports, module, extra):
    def missing(name):
        raise ModuleNotFoundError(name, name=name)

    monkeypatch.setattr("snellen.core.errors.importlib.import_module", missing)
    with pytest.raises(MissingExtraError, match=rf"pip install 'snellen\[{extra}\]'"):
        module.log_audit(reports[0])
