"""Candidates that workers evaluate before their turn: the same search, to the byte, whatever was foreseen."""

from concurrent.futures import Future
from dataclasses import asdict

import pytest

import snellen
from snellen.core.errors import InputError, WorkerError
from snellen.core.images import ImageSet
from snellen.core.progress import Silent
from snellen.core.run import Run
from snellen.runs import ahead
from snellen.runs.engines import local
from snellen.runs.engines.engine import InProcess
from snellen.runs.engines.local import Local
from snellen.runs.engines.ray_cluster import Ray
from snellen.systems.functional_hashing.cell_space import CellSettings
from snellen.systems.functional_hashing.search_work import Searched, SearchWork
from tests.systems.functional_hashing.test_cell_search import contents, pictures

IMAGES = "optotypes:scenes?count=24&size=16&shapes=star,ring#train"
TINY = CellSettings(channels=4, epochs=1, batch_size=16, probe_images=4)
SETTINGS = {"candidates": 6, "population": 3, "tournament": 2, "side": 8, "cells": TINY, "final_epochs": 1}


def searched(strategy="evolution", keys="functional", **caching):
    images = pictures(24)
    search = {"strategy": strategy, "population": 6, "tournament": 2, "keys": keys, "mantissa_bits": 24}
    return Searched(images.select(range(18)), images.select(range(18, 24)), 8, TINY, search, caching, 0)


def searched_by_reference():
    images = snellen.load_images(IMAGES)
    search = {"strategy": "evolution", "population": 6, "tournament": 2, "keys": "functional", "mantissa_bits": 24}
    return Searched(images.select(range(18)), images.select(range(18, 24)), 8, TINY, search, {}, 0)


class AtOnce:
    """Evaluates at once what is requested, as workers without any delay would."""

    def __init__(self, space, fails=()):
        self.space, self.fails, self.requested = space, fails, 0

    def check(self):
        pass

    def request(self, candidate, encoded, run):
        assert encoded == self.space.encode(candidate)
        made, number = Future(), self.requested
        made.set_running_or_notify_cancel()
        found = self.space.evaluate(candidate, run)
        made.set_result(None if number in self.fails else [ahead._name_of(type(found)), asdict(found)])
        self.requested += 1
        return made


def trials(work, count, tmp_path):
    """What a search learns of each candidate, without clock readings, and how often it trains by itself."""
    shards = [work.measure("", range(item, item + 1), lambda *_: None, Silent()) for item in range(count)]
    return [shard.extra["candidates"][0] for shard in shards]


@pytest.mark.parametrize(
    ("strategy", "keys", "caching"),
    [
        ("evolution", "functional", {}),
        ("evolution", "none", {}),
        ("elitism", "structural", {"max_num_evals": 2}),
        ("random", "structural", {"remove_probability": 0.5}),
    ],
)
def test_a_search_whose_candidates_are_foreseen_learns_the_same(tmp_path, monkeypatch, strategy, keys, caching):
    given, count = searched(strategy, keys, **caching), 24
    run, space = Run(tmp_path, {}), given.space
    plain = trials(SearchWork(given, run), count, tmp_path)
    workers = AtOnce(space, fails={2})
    here, evaluate = [], type(space).evaluate
    foreseen = SearchWork(ahead._Foreseen(given, workers, 2), run)
    monkeypatch.setattr(type(space), "evaluate", lambda self, cell, run: here.append(cell) or evaluate(self, cell, run))
    assert trials(foreseen, count, tmp_path) == plain
    trained = sum(row["evaluated"] is not None for row in plain)
    by_search = len(here) - workers.requested
    assert by_search < trained / 2, "the others were there already"
    assert workers.requested < 2 * trained, "few are foreseen in vain"


def test_two_processes_write_the_bytes_of_one(tmp_path):
    for folder, options in (("one", {}), ("two", {"engine": "local", "processes": 2})):
        snellen.search(IMAGES, out=tmp_path / folder, threads=1, **SETTINGS, **options)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_what_workers_cannot_do_is_refused_and_nothing_is_left(tmp_path):
    for images, engine, fault in (
        (pictures(), Local(1), "workers read the images themselves"),
        (IMAGES, InProcess(), "by processes of this machine"),
        (IMAGES, Ray(1), "by processes of this machine"),
    ):
        with pytest.raises(InputError, match=fault):
            snellen.search(images, out=tmp_path / "out", engine=engine, **SETTINGS)
        assert not (tmp_path / "out").exists()


def test_a_worker_that_dies_twice_ends_the_wait_for_its_candidate_and_of_the_others(monkeypatch):
    """The other worker has nothing to do by then, and waits for a job that never comes."""

    class Dies:
        def __init__(self, name, setup):
            self.name = name

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def begin(self):
            pass

        kill = begin

        def answer(self, job):
            if b"deadly" in job[1]:
                raise local._DiedError("worker 1 ended twice", working=True)
            return b"null"

    monkeypatch.setattr(local, "_Worker", Dies)
    evaluations = ahead._Evaluations(Local(2), {})
    harmless, deadly = (evaluations.request(object(), word, 0) for word in ("harmless", "deadly"))
    assert harmless.result(60) is None, "a candidate that fails"
    with pytest.raises(ahead._WorkersEndedError):
        deadly.result(60)
    evaluations._thread.join(60)
    assert not evaluations._thread.is_alive()
    with pytest.raises(WorkerError, match="ended twice"):
        evaluations.check()
    evaluations.close()


def test_images_that_changed_are_refused_by_the_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageSet, "contents_fingerprint", lambda self: "as it was")
    with monkeypatch.context() as others:
        setup = ahead._reopening(searched_by_reference()).setup()
        others.setattr(ImageSet, "contents_fingerprint", lambda self: "as it is")
        with pytest.raises(WorkerError, match="other images here than where the search began"):
            ahead.open_evaluations(setup)


def test_workers_that_end_end_the_search_and_are_no_failed_candidates(tmp_path):
    class Dying:
        def run(self, work, setup, jobs):
            next(iter(jobs))
            raise WorkerError("worker 1 ended")
            yield

    with pytest.raises(WorkerError, match="worker 1 ended"):
        snellen.search(IMAGES, out=tmp_path / "out", engine=Dying(), **SETTINGS)
    snellen.search(IMAGES, out=tmp_path / "out", **SETTINGS)
    rows = (tmp_path / "out" / "candidates.jsonl").read_text()
    assert '"problem": ""' in rows
    assert rows.count('"problem": ""') == SETTINGS["candidates"]
