"""``snellen scan trigger-amplification``, ``strip`` and ``cognitive-distillation`` as a user calls them."""

import json

import pyarrow.parquet as pq

MODEL, DATA, GENERATOR = "bundled:fashion-cnn", "bundled:fashion-mnist", "bundled:fashion-diffusion"


def test_both_views_are_written_and_the_same_command_measures_nothing_twice(run, tmp_path):
    command = ["scan", "trigger-amplification", MODEL, DATA, "--generator", GENERATOR, "--limit", "400"]
    command += ["--count", "40", "--steps", "1", "--guidance", "1", "--out", "my scan"]
    code, _, err = run(*command)
    assert (code, err.strip()) == (0, "")
    record = tmp_path / "my scan" / "scan.json"
    written = record.read_bytes()
    (found,) = json.loads(written)["settings"].values()
    assert found["figures"]["generated images"] == 400
    assert found["figures"]["training images"] == 400
    rows = pq.read_table(tmp_path / "my scan" / "evidence.parquet").to_pylist()
    assert [row["view"] for row in rows] == ["training"] * 400 + ["generated"] * 400
    assert len({row["example_id"] for row in rows}) == 800
    assert run(*command)[0] == 0
    assert record.read_bytes() == written


def test_what_is_missing_or_wrong_is_one_sentence(run):
    def refused(*words):
        code, _, err = run("scan", *words)
        assert code == 2
        return " ".join(err.split())

    assert "needs a generator that was trained on these images" in refused("trigger-amplification", MODEL, DATA)
    assert "name it before the images" in refused("trigger-amplification", DATA, "--generator", GENERATOR)
    named = ("--generator", "bundled:scene-diffusions")
    assert "scene-diffusion" in refused("trigger-amplification", MODEL, DATA, *named)
    few = ("--generator", GENERATOR, "--count", "3")
    assert "expected at least 40" in refused("trigger-amplification", MODEL, DATA, *few)
    assert "name it before the images" in refused("strip", DATA)


def test_images_are_scored_one_by_one(run, tmp_path):
    code, _, err = run("scan", "superposition", MODEL, DATA, "--limit", "30", "--overlays", "2", "--out", "here")
    assert (code, err.strip()) == (0, "")
    rows = pq.read_table(tmp_path / "here" / "evidence.parquet").to_pylist()
    assert len(rows) == 30
    assert all(0 <= row["value"] <= 2.31 for row in rows)
    code, out, err = run("scan", "cognitive-distillation", MODEL, DATA, "--limit", "5", "--steps", "2", "--json")
    assert (code, err.strip()) == (0, "")
    (found,) = json.loads(out)["settings"].values()
    assert found["verdict"].startswith("nothing could be judged")
