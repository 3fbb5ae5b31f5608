"""What an installation must find: run against unpacked wheels, away from any working copy.

PYTHONPATH=FOLDER python -P scripts/check_installation.py FOLDER
"""

import sys
from pathlib import Path

import snellen
from snellen.core import index, package

folder = Path(sys.argv[1]).resolve()
assert package.root() == folder / "snellen", f"{package.root()} is not of the wheel"
systems = snellen.list_systems()
assert len(systems) == 39, len(systems)
assert any("claims hold" in system.state for system in systems), "recorded results are not in the wheel"
assert len(index.checks()) >= 23, sorted(index.checks())
assert all(index.methods(area) for area in ("attacks", "shifts", "explanations", "recipes", "generation"))
for name in package.EMBEDDED:
    assert package.asset(name).is_relative_to(folder / "snellen_models"), package.asset(name)
assert snellen.load_classifier("bundled:scene-cnn").class_names
images = snellen.load_images("bundled:fashion-mnist").limit(16)
report = snellen.audit(snellen.load_classifier("bundled:fashion-cnn"), images, checks=["clean"])
assert report.metrics["clean.accuracy"].n == 16
print(f"{len(systems)} systems, {len(index.checks())} checks, {len(package.EMBEDDED)} embedded models")
