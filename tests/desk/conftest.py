"""A folder with two runs written by hand, and a desk over it."""

import importlib.util
import shutil

import pytest

#: The extra ``ui`` brings both; without it nothing here is collected.
if importlib.util.find_spec("starlette") is None or importlib.util.find_spec("uvicorn") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from snellen.desk.desk import Desk
    from tests.desk.made_runs import Caller, write_images, write_run


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """What every test gets a copy of."""
    folder = tmp_path_factory.mktemp("written")
    names = write_images(folder / "pictures", 24)
    write_run(folder / "runs" / "first", names, images=folder / "pictures")
    write_run(folder / "runs" / "second", names, images=folder / "pictures", seed=1)
    write_run(folder / "runs" / "begun", names, seed=2, finished=False)
    return folder


@pytest.fixture
def place(written, tmp_path):
    """Runs ``first`` and ``second`` of the same images, and one that is not finished."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.glob("runs/*/inputs.json"):
        file.write_text(file.read_text().replace(str(written), str(tmp_path)))
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
