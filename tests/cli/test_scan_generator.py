"""``snellen scan generator`` as a user calls it: a plan, a search with a review by keys, and what goes wrong."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

#: One classifier alone is warned of, which is tested with the discriminator.
pytestmark = pytest.mark.filterwarnings("ignore::snellen.systems.generator_failure.discriminator.WeakEnsembleWarning")

COMMAND = (
    "scan", "generator", "bundled:scene-diffusion", "--classifiers", "bundled:scene-cnn", "--classes", "star,cross",
    "--space", "latents", "--steps", "3", "--guidance-scale", "1", "--searches", "2", "--calls", "14",
)  # fmt: skip


def test_the_command_plans_searches_reviews_and_resumes(run, monkeypatch, tmp_path):
    code, out, _ = run(*COMMAND, "--out", "my search", "--dry-run")
    assert code == 0
    assert "112 generator calls at most" in out
    assert not Path("my search").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("y"))
    code, out, err = run(*COMMAND, "--out", "my search", "--review")
    assert code == 0
    assert "searches that" in out, "a narrow terminal breaks the line behind it"
    cases = json.loads(Path("my search/generator-failures.json").read_text(encoding="utf-8"))["cases"]
    assert cases
    assert f"1 of {len(cases)}: do most of these images fail to show" in err
    answers = list(csv.DictReader(Path("my search/review.csv").read_text(encoding="utf-8").splitlines()))
    assert [one["answer"] for one in answers] == ["y"]
    monkeypatch.setattr("sys.stdin", io.StringIO("n" * 99))
    code, out, _ = run(*COMMAND, "--out", "my search", "--review")
    assert code == 0
    assert f"people confirm {1 / len(cases):.2f}" in out


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (("--classes", "dog"), "class of bundled:scene-cnn"),
        (("--space", "prompts", "--prior", "words"), "a language prior is captions"),
        (("--templates", "a star"), "template"),
        (("--guidance-scale", "2", "--guidance-scale", "3"), "one setting of the generator"),
        (("--judge", "bundled:scene-cnn"), "took part in the search"),
        (("--quorum", "3"), "a quorum is 1 to 1"),
        (("--directions", "1"), "--directions 1 gives no standard error"),
    ],
)
def test_what_cannot_be_used_ends_in_one_sentence(run, changed, fault):
    code, _, err = run(*COMMAND, *changed, "--out", "made")
    assert code == 2
    assert re.search(fault, err), err
    assert not Path("made").exists()
