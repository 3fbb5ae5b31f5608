"""Two processes train like one; they run outside of pytest, because the tests block the loopback network too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

WORKER = """
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from snellen.training import ImageStore, TrainingPlan, train
from snellen.training.transforms import random_flips

torch.manual_seed(3)
model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 16), nn.ReLU(), nn.Linear(16, 2))
images = torch.randint(0, 256, (17, 3, 8, 8), dtype=torch.uint8)
store = ImageStore.of_tensors(images, torch.arange(17) % 2, weights=1.0 + torch.arange(17) % 3)
# 17 examples in batches of 4, two to a step: the last batch has one example, and the second process none.
options = {"optimizer": "sgd", "learning_rate": 0.05, "ema_decay": 0.9, "clip_norm": 0.5}
plan = TrainingPlan(epochs=2, batch_size=4, accumulate=2, **options)
out = Path(sys.argv[1])
trained = train(model, store, plan=plan, val=store, transform=random_flips, checkpoint=out / "training.safetensors")
process = torch.distributed.get_rank() if torch.distributed.is_initialized() else "alone"
loss = {f"loss{row['epoch']}": torch.tensor(row["train.loss"]) for row in trained.history}
save_file({**trained.weights, **loss}, out / f"{process}.safetensors")
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
# Nothing is left to do, and the threads of torch's own backend may abort a process that is being taken down.
os._exit(0)
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_train_like_one(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for folder, command in (("one", [sys.executable]), ("two", launcher)):
        (tmp_path / folder).mkdir()
        done = subprocess.run(
            [*command, str(script), str(tmp_path / folder)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    alone = load_file(tmp_path / "one" / "alone.safetensors")
    for process in (0, 1):
        shared = load_file(tmp_path / "two" / f"{process}.safetensors")
        assert set(shared) == set(alone)
        for name, tensor in alone.items():
            assert torch.allclose(tensor, shared[name], atol=1e-6), (process, name)
    assert (tmp_path / "two" / "training.safetensors").is_file()
