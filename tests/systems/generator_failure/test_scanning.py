"""A search in all spaces: what is shared and kept, resuming, reproducing, a review, and what cannot be carried out."""

import json

import pytest
import torch
from pydantic import ValidationError

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Silent
from snellen.methods.generation.made_images import identities_of
from snellen.methods.synthesis.avoided_failures import AvoidedFailures
from snellen.models.language.listed_answers import ListedAnswers
from snellen.systems.generator_failure import space_searches
from snellen.systems.generator_failure.drawing import Drawing
from snellen.systems.generator_failure.language_prior import ServerPrior, TrigramPrior
from snellen.systems.generator_failure.latent_search import LatentSearch
from snellen.systems.generator_failure.prompt_search import PromptSearch
from snellen.systems.generator_failure.record import GeneratorFailures, SearchRow, reasons, space_figures
from snellen.systems.generator_failure.review import review_cases
from snellen.systems.generator_failure.searching import find_failures, reproduce
from snellen.systems.generator_failure.space_searches import Searching, SearchNumbers
from snellen.systems.generator_failure.token_search import TokenSearch
from tests.systems.generator_failure.parts import Stub, cnn, judge, scene_generator
from tests.verbs.stopping import Stopping, contents

pytestmark = pytest.mark.filterwarnings("ignore::snellen.systems.generator_failure.discriminator.WeakEnsembleWarning")

NUMBERS = SearchNumbers(
    searches=1,
    steps=2,
    guidance_scale=1.0,
    prompts=PromptSearch(latents=2, checked=2, gradient_latents=1, beam=1, calls=12, perplexity_ratio=1e4),
    latents=LatentSearch(calls=16, rate=0.3),
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
def test_no_search_and_no_rival_spends_more_than_its_calls(made):
    for row in made.searches:
        assert row.calls <= NUMBERS.most_calls(row.space)
        if row.rival and row.space == "token" and row.case is None:  # each random token takes two calls
            assert row.calls == 12


@pytest.mark.covers("7.9")
@pytest.mark.parametrize("space", ["prompts", "latents", "token"])
def test_random_search_differs_from_random_search_by_chance_alone(space, monkeypatch):
    """Images fail by chance, whoever searches: neither column is favoured."""
    monkeypatch.setattr(Drawing, "draw", _undrawn)  # nobody looks at the images
    own = space_searches.search_token
    monkeypatch.setattr(space_searches, "search_token", lambda *given, **more: own(*_random_token(given), **more))
    numbers = SearchNumbers(
        searches=60, steps=1, guidance_scale=1.0,
        prompts=PromptSearch(rule="random", latents=2, checked=4, calls=12, share=1.0, perplexity_ratio=1e4),
        latents=LatentSearch(rule="random", calls=12),
        token=TokenSearch(batch=1, measured=1, calls=6, share=0.5),
    )  # fmt: skip
    one = Drawing(scene_generator(), steps=1, guidance_scale=1.0)
    chance = torch.Generator().manual_seed(3)

    class Chance(Stub):
        """All images of a prompt fail, or none; each latent by itself."""

        def verdict(self, images, name):
            draws = torch.rand(1 if space == "prompts" else len(images), generator=chance).expand(len(images)).tolist()
            self.fails = lambda image, name: draws.pop() < 0.4
            return super().verdict(images, name)

        def decides(self, images, name):
            return (torch.rand(len(images), 1, generator=chance) < 0.3).expand(-1, 1)

    work = Searching(one, Chance(None), None, PRIOR, None, [(space, "star")], ("a {}",), {}, numbers, 0)
    rows = [
        SearchRow.model_validate(row) for row in work.measure("", range(1), lambda *_: None, Silent()).extra["searches"]
    ]
    assert len(rows) == 120
    figures = space_figures(rows, space)
    assert 0.1 < figures.found.value < 0.9
    assert abs(figures.found.value - figures.random.value) < 0.25


def _undrawn(drawing, latents, condition):
    drawing.calls += len(latents)
    return torch.zeros(len(latents), 3, *drawing.generator.image_size)


def _random_token(given):
    return (*given[:5], given[5].model_copy(update={"iterations": 0}), *given[6:])


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


def row(number, *, rival=False, invalid=False, case=None, **more):
    return SearchRow(
        space="latents", label="star", number=number, rival=rival, calls=3, invalid=invalid, case=case, **more
    )


def test_searches_that_ended_invalid_count_in_no_share(made):
    case = next(one for one in made.cases if one.space == "latents")
    figures = space_figures([row(0, case=case), row(1), row(2, invalid=True), row(0, rival=True)], "latents")
    assert (figures.found.value, figures.found.n, figures.invalid) == (0.5, 2, 1)
    assert (figures.random.value, figures.random.n) == (0.0, 1)


def test_searches_that_were_not_run_count_in_no_share_and_are_named_once(made):
    case = next(one for one in made.cases if one.space == "latents")
    rows = [row(0, case=case), row(1), row(2, not_run="no words"), row(3, not_run="no words"), row(2, rival=True)]
    rows += [row(4, not_run="the class as such fails: 'a star' …", class_fails=True) for _ in range(2)]
    figures = space_figures(rows, "latents")
    assert (figures.found.value, figures.found.n, figures.not_run) == (0.5, 2, 4)
    assert reasons(rows) == [
        "latents, star: 2 searches not run, and no failure: no words",
        "latents, star: 2 searches reported here alone: the class as such fails: 'a star' …",
    ]


def test_a_data_set_that_avoids_the_failures_reads_the_record(made):
    found = AvoidedFailures.read(made.folder)
    assert found.weights == identities_of(scene_generator())
    assert found.classes.keys() == {row.label for row in made.searches if row.class_fails and not row.rival}
    named = {(one.label, one.added) for one in made.cases if one.space == "prompts" and one.real is not False}
    assert {(one.label, one.words) for one in found.prompts} == {pair for pair in named if pair[1]}


def test_a_prior_without_probabilities_limits_no_naturalness_and_the_record_says_so(tmp_path):
    made = find_failures(
        scene_generator(), [cnn()], ["star", "heart"], out=tmp_path / "out", templates=("a {}",), judge=judge(),
        prior=ServerPrior(ListedAnswers(["red", "blue"], name="server")), numbers=NUMBERS,
    )  # fmt: skip
    assert any("naturalness was not limited: server gives no probabilities" in one for one in made.notes)


def test_held_out_prompts_are_a_fixed_random_sample(monkeypatch):
    """Of many other classes a few confirm a latent, so that failures of mode 2 can be reached."""
    used = []
    monkeypatch.setattr(
        space_searches, "search_latents", lambda drawing, discriminator, prompts, *_: used.append(prompts) or []
    )
    one, stub = Drawing(scene_generator(), steps=1, guidance_scale=1.0), Stub(None)
    stub.classes = ("star", *(f"class {number}" for number in range(99)))
    numbers = SearchNumbers(searches=1)
    work = Searching(one, stub, None, None, None, [("latents", "star")], ("a {}",), {}, numbers, 0)
    for _ in range(2):
        work.measure("", range(1), lambda *_: None, Silent())
    assert len({prompts.held_out for prompts in used}) == 1
    assert len(used[0].held_out) == 8
    assert all(text == f"a {name}" and name != "star" for text, name in used[0].held_out)
    monkeypatch.undo()
    stub.fails, stub.seen = lambda image, name: True, ""
    (first, _) = work.measure("", range(1), lambda *_: None, Silent()).extra["searches"]
    assert first["case"]["mode"] == 2
    assert first["case"]["persists"] == 1.0


def test_held_out_prompts_of_a_token_are_few(monkeypatch):
    used = []

    def watched(drawing, discriminator, target, searched, held_out, *_, **__):
        used.append((searched, held_out))
        raise KeyboardInterrupt

    monkeypatch.setattr(space_searches, "search_token", watched)
    stub = Stub(None)
    stub.classes = ("star", *(f"class {number}" for number in range(99)))
    one = Drawing(scene_generator(), steps=1, guidance_scale=1.0)
    work = Searching(one, stub, None, None, None, [("token", "star")], ("a {}",), {}, SearchNumbers(), 0)
    with pytest.raises(KeyboardInterrupt):
        work.measure("", range(1), lambda *_: None, Silent())
    ((searched, held_out),) = used
    assert len(held_out) == 8
    assert len(searched) == 91
    assert not set(searched) & set(held_out)


def test_one_direction_is_refused_at_once():
    with pytest.raises(ValidationError, match="2 directions or more"):
        SearchNumbers(directions=1)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"spaces": ("prompts",)}, "needs a language prior"),
        ({"spaces": ("words",)}, "spaces are prompts, latents, token"),
        ({"spaces": ("token",), "classes": ["star", "cross"]}, "name three classes"),
        ({"templates": ("a star",)}, "each template has {}"),
        ({"templates": ("very " * 60 + "{}",)}, "the text encoder reads"),
        ({"spaces": ("token",), "numbers": SearchNumbers(token=TokenSearch(calls=9))}, "calls are too few for a token"),
        ({"spaces": ("prompts",), "prior": PRIOR, "templates": ("a {} & more",)}, "is not one word"),
        ({"budget": 3}, "neither a budget nor a part"),
    ],
)
def test_calls_that_cannot_be_carried_out(tmp_path, options, fault):
    given = {"classes": ["star", "cross", "heart"], "spaces": ("latents",), "templates": ("a {}",), **options}
    classes = given.pop("classes")
    with pytest.raises(InputError, match=fault):
        find_failures(scene_generator(), [cnn()], classes, out=tmp_path / "out", **{"numbers": NUMBERS, **given})
    assert not (tmp_path / "out").exists()


def test_an_answer_that_is_none_and_a_record_without_a_folder(made, tmp_path):
    with pytest.raises(InputError, match="an answer is y, n, s or q"):
        review_cases(made, lambda question, image: "maybe")
    with pytest.raises(InputError, match="has none"):
        review_cases(made.model_copy(update={"folder": None}), lambda question, image: "y")
    assert isinstance(made, GeneratorFailures)
