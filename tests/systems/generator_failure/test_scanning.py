"""A search in all spaces: what is shared and kept, resuming, reproducing, a review, and what cannot be carried out."""

import json

import pytest

from snellen.core.errors import InputError, ModelError
from snellen.systems.generator_failure.language_prior import TrigramPrior
from snellen.systems.generator_failure.latent_search import LatentSearch
from snellen.systems.generator_failure.prompt_search import PromptSearch
from snellen.systems.generator_failure.record import GeneratorFailures, SearchRow, space_figures
from snellen.systems.generator_failure.review import review_cases
from snellen.systems.generator_failure.searching import SearchNumbers, find_failures, reproduce
from snellen.systems.generator_failure.token_search import TokenSearch
from tests.systems.generator_failure.parts import cnn, judge, scene_generator
from tests.verbs.stopping import Stopping, contents

pytestmark = pytest.mark.filterwarnings("ignore::snellen.systems.generator_failure.discriminator.WeakEnsembleWarning")

NUMBERS = SearchNumbers(
    searches=1,
    steps=2,
    guidance_scale=1.0,
    prompts=PromptSearch(latents=1, checked=2, gradient_latents=1, beam=1, calls=8, most_perplexity=500.0),
    latents=LatentSearch(calls=14, rate=0.3),
    token=TokenSearch(iterations=1, batch=1, measured=1, calls=12, share=0.01),
    directions=2,
    draws=2,
)
PRIOR = TrigramPrior(["a red star", "a blue cross on sand", "a green heart"], name="few")


def everything(out, **options):
    return find_failures(
        scene_generator(), [cnn()], ["star", "cross", "heart"], out=out, spaces=("prompts", "latents", "token"),
        templates=("a {}",), prior=PRIOR, judge=judge(), numbers=NUMBERS, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return everything(tmp_path_factory.mktemp("made") / "out")


@pytest.mark.covers("7.1")
def test_all_spaces_share_a_discriminator_and_every_case_names_its_space(made):
    assert set(made.spaces) == {"prompts", "latents", "token"}
    assert len(made.searches) == 3 * 3 * 2
    assert made.plan["discriminator"]["members"][0]["name"] == "bundled:scene-cnn"
    assert made.cases
    for one in made.cases:
        assert one.name.startswith(one.space)
        assert one.mode in {"prompts": (1,), "latents": (2, 3), "token": (4,)}[one.space]


@pytest.mark.covers("7.2")
def test_stored_latents_reproduce_the_images_of_every_case_bit_for_bit(made):
    for one in made.cases:
        reproduce(made, one.name, scene_generator())
    record = json.loads((made.folder / "generator-failures.json").read_text(encoding="utf-8"))
    assert len(record["cases"]) == len(made.cases)
    first = made.cases[0].model_copy(update={"digest": "0" * 64})
    with pytest.raises(ModelError, match="draws other images here"):
        reproduce(made.model_copy(update={"cases": (first,)}), first.name, scene_generator())
    with pytest.raises(InputError, match="there is no case 'none'"):
        reproduce(made, "none", scene_generator())


@pytest.mark.covers("7.3")
def test_plausibility_stands_in_the_record_and_on_the_page(made):
    latents = [one for one in made.cases if one.space == "latents"]
    assert latents
    assert all(one.normality is not None and 0 <= one.normality.p <= 1 for one in latents)
    assert made.spaces["latents"].ngr is not None
    assert all(one.perplexity is not None for one in made.cases if one.space == "prompts")
    page = (made.folder / "generator-failures.html").read_text(encoding="utf-8")
    assert "p of normality" in page
    assert "<script" not in page


@pytest.mark.covers("7.8")
def test_regions_stand_in_the_record(made):
    grown = [one.region for one in made.cases if one.region is not None]
    assert grown
    assert all(one.mass_error > 0 and one.draws == 2 for one in grown)


@pytest.mark.covers("7.9")
def test_random_search_gets_no_more_calls(made):
    for row in made.searches:
        if row.rival and row.space != "token":  # a token is measured whole
            own = next(
                one for one in made.searches
                if (one.space, one.label, one.number, one.rival) == (row.space, row.label, row.number, False)
            )  # fmt: skip
            assert row.calls <= own.calls


def test_a_stopped_search_resumes_with_the_same_bytes(made, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        everything(tmp_path / "out", progress=Stopping(4, "searching for failures"))
    assert not (tmp_path / "out" / "generator-failures.json").exists()
    everything(tmp_path / "out")
    assert contents(tmp_path / "out") == contents(made.folder)


def test_words_of_a_prior_are_escaped_on_the_page(tmp_path):
    made = find_failures(
        scene_generator(), [cnn()], ["star", "heart"], out=tmp_path / "my search", templates=("a {} & <i>",),
        spaces=("latents",), numbers=NUMBERS.model_copy(update={"directions": 0}),
    )  # fmt: skip
    assert "<i>" not in (made.folder / "generator-failures.html").read_text(encoding="utf-8")


def row(number, *, rival=False, invalid=False, case=None):
    return SearchRow(space="latents", label="star", number=number, rival=rival, calls=3, invalid=invalid, case=case)


def test_searches_that_ended_invalid_count_in_no_share(made):
    case = next(one for one in made.cases if one.space == "latents")
    figures = space_figures([row(0, case=case), row(1), row(2, invalid=True), row(0, rival=True)], "latents")
    assert (figures.found.value, figures.found.n, figures.invalid) == (0.5, 2, 1)
    assert (figures.random.value, figures.random.n) == (0.0, 1)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"spaces": ("prompts",)}, "needs a language prior"),
        ({"spaces": ("words",)}, "spaces are prompts, latents, token"),
        ({"spaces": ("token",), "classes": ["star", "cross"]}, "name three classes"),
        ({"templates": ("a star",)}, "each template has {}"),
        ({"templates": ("very " * 60 + "{}",)}, "the text encoder reads"),
        ({"budget": 3}, "neither a budget nor a part"),
    ],
)
def test_calls_that_cannot_be_carried_out(tmp_path, options, fault):
    given = {"classes": ["star", "cross", "heart"], "spaces": ("latents",), "templates": ("a {}",), **options}
    classes = given.pop("classes")
    with pytest.raises(InputError, match=fault):
        find_failures(scene_generator(), [cnn()], classes, out=tmp_path / "out", numbers=NUMBERS, **given)
    assert not (tmp_path / "out").exists()


def test_an_answer_that_is_none_and_a_record_without_a_folder(made, tmp_path):
    with pytest.raises(InputError, match="an answer is y, n, s or q"):
        review_cases(made, lambda question, image: "maybe")
    with pytest.raises(InputError, match="has none"):
        review_cases(made.model_copy(update={"folder": None}), lambda question, image: "y")
    assert isinstance(made, GeneratorFailures)
