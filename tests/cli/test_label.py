"""``snellen label`` as a user calls it: a plan, a review by keys, labels from a table, and what goes wrong."""

import csv
import io
import json
from pathlib import Path

import pytest

import snellen

WORLD = "shapes=star,heart&colours=red,blue&backgrounds=grass,sand&sizes=large&tilts=upright"
POOL = f"optotypes:scenes?count=60&{WORLD}#train"
LISTS = """
definition = {necessary = ["a star"], negative = ["on sand"]}
queries = {positive = ["a star on grass"], near_misses = ["a star on sand", "a heart on grass"]}
questions.questions = [
  {condition = "necessary 1", question = "A star?", phrases = ["a star"], instead = ["a heart"]},
  {condition = "negative 1", question = "On sand?", phrases = ["a star on sand"], instead = ["a star on grass"]},
]
"""
COMMAND = (
    "label", "star: a star that is not on sand", POOL, "--language", "file:lists.toml", "--captioner",
    "bundled:scene-captioner", "--answers", "bundled:scene-clip", "--towers", "bundled:scene-clip", "--initial", "16",
    "--rounds", "1", "--batch", "4", "--per-query", "12", "--store", "kept.sqlite", "--out", "made",
)  # fmt: skip


#: Keys at the top of a TOML file stand before its first table.
CLARIFYING = 'clarifying = ["Does sand count?", "And toys?"]' + LISTS


@pytest.fixture(autouse=True)
def lists(tmp_path):
    (tmp_path / "lists.toml").write_text(LISTS, encoding="utf-8")


def keys(monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_plan_shows_calls_and_tokens_and_writes_nothing(run, tmp_path):
    code, out, err = run(*COMMAND, "--dry-run")
    assert (code, err.strip()) == (0, "")
    assert "calls: 263: 20 captions, 240 questions (12 an image), 3 requests to the language model" in out
    assert [path.name for path in tmp_path.iterdir()] == ["lists.toml"]


def test_a_review_by_keys_resumes_and_its_labels_validate(run, monkeypatch, tmp_path):
    keys(monkeypatch, "yxns\nq")
    code, out, err = run(*COMMAND, "--review", "12")
    assert code == 0
    assert "the review stopped; the same command resumes it (made-review)" in out
    assert "1 of 12: does it show star? y yes, n no, s skip, q stop" in err
    assert not Path("made").exists()
    answers = list(csv.DictReader(Path("made-review/labels.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["label"] for row in answers] == ["yes", "no", ""]
    other = [part if part != COMMAND[1] else "heart: a heart" for part in COMMAND]
    (tmp_path / "lists.toml").write_text(LISTS, encoding="utf-8")
    code, _, err = run(*other, "--review", "12")
    assert code == 2
    assert "made-review holds labels of another concept" in err
    assert len(list(csv.DictReader(Path("made-review/labels.csv").read_text(encoding="utf-8").splitlines()))) == 3
    keys(monkeypatch, "yynnyynny")
    code, out, err = run(*COMMAND, "--review", "12", "--json")
    assert code == 0
    assert "4 of 12" in err
    assert "3 of 12" not in err
    record = json.loads(out)
    assert record["effort"] == {"labels": 11, "corrections": 0}
    assert [one["who"] for one in record["agreement"]][:2] == ["teacher", "student"]
    assert len(list(Path("made-review").glob("*.png"))) == 12
    assert snellen.load_images("made/labels.csv").class_names == ("not star", "star")
    table = {row["id"] for row in csv.DictReader(Path("made/labels.csv").read_text(encoding="utf-8").splitlines())}
    reviewed = {row["id"] for row in csv.DictReader(Path("made-review/labels.csv").read_text("utf-8").splitlines())}
    assert not table & {one for one in reviewed if one != answers[2]["id"]}


def test_labels_of_a_table_and_both_at_once(run, tmp_path):
    Path("mine.csv").write_text("id,label\ntrain/000001,yes\ntrain/000002,no\n", encoding="utf-8")
    code, out, _ = run(*COMMAND, "--labels", "mine.csv")
    assert code == 0
    assert "machine labels:" in out
    assert "Written: made/classifier/weights.safetensors" in out
    code, _, err = run(*COMMAND, "--labels", "mine.csv", "--review", "5")
    assert code == 2
    told = " ".join(err.split())
    assert "into made-review/labels.csv; leave one out. To use both, label with --review first, join the" in told


def test_questions_are_answered_in_words_and_change_what_the_definition_is_made_of(run, monkeypatch):
    Path("lists.toml").write_text(CLARIFYING, encoding="utf-8")
    keys(monkeypatch, "no sand\nq\n")
    code, out, err = run(*COMMAND, "--clarify", "3")
    assert code == 0
    assert "the questions stopped; the same command resumes them (made-clarified.json)" in out
    assert "1 of 2: Does sand count? (Enter leaves it open, q stops)" in err
    assert not Path("made").exists()
    keys(monkeypatch, "\n")
    code, out, err = run(*COMMAND, "--clarify", "3", "--json")
    assert code == 0
    assert "2 of 2: And toys?" in err
    assert "1 of 2" not in err
    description = json.loads(out)["definition"]["description"]
    assert description == 'a star that is not on sand\nTo "Does sand count?" its owner answers "no sand".'
    code, _, err = run(*COMMAND, "--clarify", "3", "--dry-run")
    assert (code, err.strip()) == (0, "")


def test_an_answer_that_cannot_be_kept_is_asked_for_again(run, monkeypatch):
    Path("lists.toml").write_text(CLARIFYING, encoding="utf-8")
    typed = b"s\xffnd\n" + b"x" * 501 + b"\nno sand\nq\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
    code, _, err = run(*COMMAND, "--clarify", "2")
    assert code == 0, err
    assert err.count("1 of 2: Does sand count?") == 3
    assert "holds bytes that are not; type it again" in err
    assert "at most 500 letters, got 501; say it in fewer" in err
    kept = json.loads(Path("made-clarified.json").read_bytes())
    assert [one["answer"] for one in kept["exchanges"]] == ["no sand", None]


def test_a_resumed_call_says_whose_questions_are_kept_and_ctrl_c_how_to_resume(run, monkeypatch):
    class Interrupted(io.StringIO):
        def readline(self, *_):
            raise KeyboardInterrupt

    Path("lists.toml").write_text(CLARIFYING, encoding="utf-8")
    monkeypatch.setattr("sys.stdin", Interrupted())
    code, _, err = run(*COMMAND, "--clarify", "2")
    assert code == 130
    assert "stopped; the same command resumes the questions (made-clarified.json)" in err
    assert "keeps" not in err
    Path("other.toml").write_text('clarifying = ["Red ones?"]' + LISTS, encoding="utf-8")
    keys(monkeypatch, "no\nq\n")
    code, _, err = run(
        *("file:other.toml" if word == "file:lists.toml" else word for word in COMMAND), "--clarify", "1"
    )
    assert code == 0
    assert "made-clarified.json keeps 2 questions of file:lists.toml, 0 of them answered" in err
    assert "Red ones?" not in err
    code, _, err = run(*COMMAND[:-2], "--out", "other", "--clarify", "2")
    assert "keeps" not in err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("nowhere" if word == POOL else word for word in COMMAND), "nowhere"),
        ((POOL.replace("#train", "#test") if word == POOL else word for word in COMMAND), "holds test images"),
        ((*COMMAND, "--labels", "lists.toml", "--review", "5"), "leave one out"),
        ((*COMMAND, "--labels", "absent.csv"), "no table of labels at absent.csv"),
        ((*COMMAND[:-1], "lists.toml/made"), "is a file"),
    ],
)
def test_what_can_be_refused_is_refused_before_the_first_question(run, monkeypatch, arguments, fault):
    Path("lists.toml").write_text(CLARIFYING, encoding="utf-8")
    keys(monkeypatch, "no\nno\n")
    code, _, err = run(*arguments, "--clarify", "2")
    assert code == 2
    assert fault in " ".join(err.split())
    assert "Does sand count?" not in err
    assert not Path("made-clarified.json").exists()


def test_corrections_of_a_concept_in_a_file_outlive_the_questions(run, monkeypatch):
    Path("lists.toml").write_text(CLARIFYING, encoding="utf-8")
    Path("star.toml").write_text('name = "star"\ndescription = "a star"\ncorrections = ["red ones too"]\n', "utf-8")
    keys(monkeypatch, "no\n\n")
    command = ("star.toml" if word == COMMAND[1] else word for word in COMMAND)
    code, out, err = run(*command, "--clarify", "2", "--json")
    assert code == 0, err
    definition = json.loads(out)["definition"]
    assert definition["corrections"] == ["red ones too"]
    assert definition["description"] == 'a star\nTo "Does sand count?" its owner answers "no".'


def test_conditions_that_are_written_already_are_not_clarified(run, monkeypatch):
    Path("star.toml").write_text('name = "star"\ndescription = "a star"\nnecessary = ["a star"]\n', encoding="utf-8")
    keys(monkeypatch, "")
    code, _, err = run(*(("star.toml" if word == COMMAND[1] else word) for word in COMMAND), "--clarify", "3")
    assert code == 2
    assert "the conditions of 'star' are written already" in " ".join(err.split())


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"star: a star that is not on sand": "star:"}, "a name and a description in words, and one of them is empty"),
        ({"star: a star that is not on sand": "star"}, None),
        ({"star: a star that is not on sand": "nowhere.toml"}, "no file of a concept"),
        ({"file:lists.toml": "file:absent.toml"}, "no file of lists"),
        ({"bundled:scene-captioner": "scene-captioner"}, "is not a captioner"),
        ({POOL: POOL.replace("#train", "#test")}, "holds test images"),
    ],
)
def test_what_cannot_be_used_ends_in_one_sentence(run, changed, fault):
    code, _, err = run(*(changed.get(word, word) for word in COMMAND), "--dry-run")
    if fault is None:
        assert code == 0, "a name alone describes itself"
        return
    assert code == 2
    assert fault in " ".join(err.split())


def test_a_list_decides_about_no_image(run):
    code, _, err = run(*COMMAND, "--no-rules")
    assert code == 2
    assert "is a list and decides about no image" in " ".join(err.split())


@pytest.mark.parametrize("folder", [".", ".."])
def test_a_folder_without_a_name_is_refused_in_words(run, folder):
    code, _, err = run(*COMMAND[:-1], folder)
    assert code == 2
    assert f"--out {folder} has no name of its own" in " ".join(err.split())
    assert "name a new folder, such as --out labelled" in " ".join(err.split())
