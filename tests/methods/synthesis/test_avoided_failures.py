"""What a search found a generator to fail at is not drawn, and counts as rejected."""

import json

import pytest

import snellen
from snellen.core.errors import InputError
from snellen.core.formats import FORMATS
from snellen.methods.generation.made_images import generator_of, identities_of
from snellen.methods.synthesis.avoided_failures import RECORD, AvoidedFailures, failures_in
from snellen.methods.synthesis.by_name import ByName

GENERATOR = "bundled:scene-diffusion"


def case(label, added, confirmed=None, space="prompts"):
    return {"name": f"{space}-{label}", "space": space, "label": label, "added": added, "confirmed": confirmed}


@pytest.fixture
def failures(tmp_path):
    """Ring fails by itself; a star is lost on sand; a judge denied that grass loses it; noise is no prompt."""

    def write(name="found", weights=None):
        searches = [
            {"label": "ring", "class_fails": True, "rival": False, "not_run": "6 of 8 images of 'a ring' fail"},
            {"label": "heart", "class_fails": True, "rival": True, "not_run": "of random search"},
        ]
        cases = [case("star", ["sand"]), case("star", ["grass"], 0.25), case("heart", [], space="latents")]
        plan = {"weights": weights or identities_of(generator_of(GENERATOR))}
        folder = tmp_path / name
        folder.mkdir()
        content = FORMATS[RECORD].stamped({"plan": plan, "searches": searches, "cases": cases})
        (folder / RECORD).write_text(json.dumps(content), encoding="utf-8")
        return folder

    return write


def method(folder, templates=("a {}", "a {} on sand", "a {} on grass")):
    return ByName(generator=GENERATOR, steps=1, templates=templates, avoid=folder)


def test_classes_and_words_are_read_and_what_a_judge_denied_is_not(failures):
    found = failures_in(failures())
    assert found.classes == {"ring": "6 of 8 images of 'a ring' fail"}
    assert [(one.label, one.words) for one in found.prompts] == [("star", ("sand",))]
    assert "fails at 'ring' itself" in found.reason(("ring",), "a ring")
    assert "'sand'" in found.reason(("asterisk", "Star"), "a star on Sand")
    for prompt in ("a star on grass", "a star on sandstone", "a star", None):
        assert found.reason(("star",), prompt) is None
    assert found.reason(("heart",), "a heart on sand") is None, "another class"


def test_their_rows_are_rejected_with_the_reason_and_no_other(failures, tmp_path):
    made = snellen.synthesize(method(failures()), ["star", "ring", "heart"], out=tmp_path / "set", count=6, sheet=False)
    images = snellen.load_images(made.manifest)
    prompts = [json.loads(one)["prompt"] for one in images.column("provenance")]
    assert set(images.class_names) == {"star", "heart"}
    assert "a heart on sand" in prompts
    assert "a star on sand" not in prompts
    assert sum("ring' itself" in one.reason for one in made.rejected) == 6
    assert any("'sand'" in one.reason for one in made.rejected)
    assert len(images) + len(made.rejected) == 18
    assert made.notes[0] == "no image of ring is in the set; the reasons are among the rejected"
    untouched = snellen.synthesize(method(failures("more")), ["heart"], out=tmp_path / "heart", count=2, sheet=False)
    assert any("nothing was left out" in note for note in untouched.notes)
    plain = ByName(generator=GENERATOR, steps=1, templates=("a {}", "a {} on sand", "a {} on grass"))
    other = snellen.synthesize(plain, ["star", "ring", "heart"], out=tmp_path / "plain", count=6, sheet=False)
    whole = snellen.load_images(other.manifest)
    kept = dict(zip(whole.ids, whole.content_hashes, strict=True))
    assert all(kept[key] == one for key, one in zip(images.ids, images.content_hashes, strict=True))


def test_the_plan_holds_the_failures(failures):
    folder = failures()
    first = method(folder).identities()
    record = json.loads((folder / RECORD).read_text())
    record["cases"] = []
    (folder / RECORD).write_text(json.dumps(record))
    assert AvoidedFailures.read(folder).prompts == ()
    assert method(folder).identities() != first
    assert "avoided" not in ByName(generator=GENERATOR).identities()


def test_failures_of_another_generator_and_an_empty_rest_are_refused(failures, tmp_path):
    with pytest.raises(InputError, match="another generator than bundled:scene-diffusion: search this one"):
        snellen.synthesize(method(failures("b", {"unet": "0" * 64})), ["star"], out=tmp_path / "one", count=2)
    with pytest.raises(InputError, match=r"nothing is left to generate.*'ring' itself"):
        snellen.synthesize(method(failures("c")), ["ring"], out=tmp_path / "two", count=2)
    with pytest.raises(InputError, match="give the folder that 'snellen scan generator' wrote"):
        snellen.synthesize(method(tmp_path / "absent"), ["star"], out=tmp_path / "three", count=2)
