"""Few functions lie between a verb and the network."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "count_frames.py"


@pytest.fixture(scope="module")
def frames():
    described = importlib.util.spec_from_file_location("count_frames", SCRIPT)
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def paths(frames):
    return frames.paths()


@pytest.mark.parametrize("verb", ["attack", "audit", "scan"])
def test_no_path_is_deeper_than_its_bound(frames, paths, verb):
    assert len(paths[verb]) <= frames.BOUNDS[verb], "\n".join(paths[verb])
    assert paths[verb][0].endswith(f":{verb}"), "it begins at the public function"
    assert len(set(paths[verb])) > 3, "and leads through the package"
