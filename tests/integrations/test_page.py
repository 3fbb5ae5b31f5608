"""The examples of docs/integrations.md that need another library run where it is installed."""

import importlib
import importlib.util

import pytest

from tests.document_blocks import ROOT, blocks_of

BLOCKS = {
    block.reason.split()[1]: block.text
    for block in blocks_of(ROOT / "docs" / "integrations.md")
    if block.reason is not None and block.reason.startswith("needs ")
}


def test_every_library_has_an_example():
    assert set(BLOCKS) == {"lightning", "transformers", "mlflow", "wandb", "dataeval"}


@pytest.mark.enable_socket  # wandb speaks to its own process on this machine through a socket
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", BLOCKS)
def test_an_example_runs(tmp_path, monkeypatch, library):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    for name in ("CACHE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path))
    exec(compile(BLOCKS[library], library, "exec"), {"__name__": "example"})
    if library == "mlflow":
        assert list(tmp_path.glob("mlruns/*/*/artifacts/snellen/report.html"))
    if library == "wandb":
        assert list(tmp_path.glob("wandb/offline-run-*"))
        importlib.import_module("wandb").teardown()  # or the next test gets the folders of this one
