"""A folder with two runs written by hand, and a desk over it."""

import importlib.util

import pytest

#: The extra ``ui`` brings both; without it nothing here is collected.
if importlib.util.find_spec("starlette") is None or importlib.util.find_spec("uvicorn") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from snellen.desk.desk import Desk
    from tests.desk.made_runs import Caller, write_images, write_run


@pytest.fixture
def place(tmp_path):
    """Runs ``first`` and ``second`` of the same images, and one that is not finished."""
    names = write_images(tmp_path / "pictures", 24)
    write_run(tmp_path / "runs" / "first", names, images=tmp_path / "pictures")
    write_run(tmp_path / "runs" / "second", names, images=tmp_path / "pictures", seed=1)
    write_run(tmp_path / "runs" / "begun", names, seed=2, finished=False)
    return tmp_path / "runs"


@pytest.fixture
def desk(place):
    made = Desk(place)
    yield made
    made.close()


@pytest.fixture
def caller(desk):
    return Caller(desk)


@pytest.fixture
def first(desk):
    return next(run for run in desk.workplace.runs() if run.name == "first")
