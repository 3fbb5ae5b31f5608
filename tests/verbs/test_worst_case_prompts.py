"""The command on prompts: what it writes, resuming, and what it refuses."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import snellen
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.preprocessing import Preprocessing
from snellen.methods.forgetting.prompt_erasing import Erasing, Redrawing
from snellen.methods.forgetting.prompt_search import PromptSearch
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.verbs import prompt_networks
from snellen.verbs.prompt_table import given_prompts
from snellen.verbs.worst_case_prompts import worst_case_prompts
from tests.cli.conftest import run
from tests.verbs.stopping import Stopping, contents

__all__ = ["run"]

PROMPTS = [
    {"prompt": f"a {colour} {shape}", "concept": shape}
    for colour in ("red<b>", "blue<b>")
    for shape in ("star", "ring")
]
ONE = Erasing(steps=1, batch_size=2)
ANEW = Redrawing(steps=1, batch_size=2)
SETTINGS = {
    "count": 1, "search": PromptSearch(upper_steps=2, lower=ONE), "erasing": ONE, "random_sets": 1, "drawn": 1,
    "images": 1, "steps": 1,
}  # fmt: skip


class Bright(nn.Module):
    def forward(self, images):
        level = images.mean((1, 2, 3))
        return torch.stack([level, 1 - level], 1)


@pytest.fixture(scope="module")
def generator():
    return load_generator("bundled:scene-diffusion")


@pytest.fixture(scope="module")
def judge():
    return snellen.Classifier(
        Bright(), class_names=["star", "ring"], preparation=Preprocessing(size=(64, 64)), name="j"
    )


@pytest.fixture(scope="module")
def whole(generator, judge, tmp_path_factory):
    out = tmp_path_factory.mktemp("prompts") / "set"
    return worst_case_prompts(generator, PROMPTS, judge=judge, retraining=ANEW, out=out, **SETTINGS)


def test_every_set_has_a_row_for_each_generator(whole):
    networks = ("as it was", "erased", "retrained without them")
    sets = ("worst-case", "without search", "random 1")
    assert [(row.forget_set, row.network) for row in whole.rows] == [(one, name) for one in sets for name in networks]
    own = whole.row("worst-case", "as it was")
    assert own.left == 1
    assert own.erasing == pytest.approx(whole.chosen[0].before)
    assert whole.row("worst-case").erasing == pytest.approx(whole.chosen[0].after)
    assert whole.row("random 1").recognised.n == 1
    as_it_was = [row for row in whole.rows if row.network == "as it was"]
    assert len({row.denoising for row in as_it_was}) > 1
    for row in as_it_was:
        assert row.denoising + 3 * row.others_denoising == pytest.approx(own.denoising + 3 * own.others_denoising)
    assert whole.verdict.startswith("After erasing, the erasing loss of the worst-case set is ")


def test_the_folder_holds_the_set_as_the_command_reads_it_and_a_page(whole):
    again = given_prompts([*PROMPTS]).prompts
    listed = (whole.folder / "forget-prompts.csv").read_text().splitlines()
    assert listed[0] == "prompt,concept"
    assert [line.partition(",")[0] for line in listed[1:]] == [one.prompt for one in whole.chosen]
    assert whole.chosen[0].prompt in again
    weights = load_file(whole.folder / "selection.safetensors")["weights"]
    assert weights.shape == (3, 4)
    assert weights[0].tolist() == [0.25] * 4
    assert weights[-1].sort().values.tolist() == [0, 0, 0, 1]
    page = (whole.folder / "forget-prompts.html").read_text()
    assert "Content-Security-Policy" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "seconds" not in (whole.folder / "forget-prompts.json").read_text()


def test_a_stopped_call_resumes_with_the_same_bytes(whole, generator, judge, tmp_path):
    given = {"judge": judge, "retraining": ANEW, "out": tmp_path / "out", **SETTINGS}
    with pytest.raises(KeyboardInterrupt):
        worst_case_prompts(generator, PROMPTS, progress=Stopping(3, prompt_networks.TASK), **given)
    worst_case_prompts(generator, PROMPTS, **given)
    assert contents(tmp_path / "out") == contents(whole.folder)


def test_the_judge_is_right_where_it_names_the_concept_of_the_prompt(generator):
    class Rings(nn.Module):
        def forward(self, images):
            return torch.tensor([[0.0, 1.0]]).repeat(len(images), 1)

    judge = snellen.Classifier(
        Rings(), class_names=["star", "ring"], preparation=Preprocessing(size=(64, 64)), name="rings"
    )
    table = given_prompts([*PROMPTS, "a heart"])
    further = {"table": table, "judge": judge, "retraining": None, "guidance_scale": 1.0, "seed": 0}
    numbers = {**SETTINGS, "sampler": Sampler(generator, 1)}
    del numbers["steps"]
    study = prompt_networks.Study(generator=generator, **numbers, **further)
    networks = prompt_networks.Networks(study, run=None)
    assert networks.seen(generator, [0, 1, 4]) == [[False], [True]]
    assert networks.seen(generator, [4]) == []


def test_what_should_not_be_believed_is_a_warning(generator, monkeypatch):
    drawn, erased_with, judged_with = iter((0.0, 1.0)), set(), set()
    real = prompt_networks.erased

    def erased(prompted, pictures, *rest):
        erased_with.update(pictures.unique().tolist())
        return real(prompted, pictures, *rest)

    class Probe(prompt_networks.Probe):
        @classmethod
        def of(cls, prompted, pictures, *rest):
            judged_with.add(pictures.mean().item())
            return super().of(prompted, pictures, *rest)

    monkeypatch.setattr(prompt_networks, "draw", lambda *_: torch.full((4, 1, 8, 8, 8), next(drawn)))
    monkeypatch.setattr(prompt_networks, "erased", erased)
    monkeypatch.setattr(prompt_networks, "Probe", Probe)
    still = SETTINGS["search"].model_copy(update={"step": 1e-9})
    weak = Erasing(steps=1, rate=1e-9, batch_size=2)
    found = worst_case_prompts(generator, PROMPTS, **{**SETTINGS, "search": still, "erasing": weak})
    assert erased_with == {0.0}, "those of the search"
    assert judged_with == {0.0, 1.0}, "those of the search rank it without a search, and those that judge are others"
    assert any("The search hardly moved: 0.0 % of the weight" in one.replace("%", " %") for one in found.notes)
    assert any("hardly anything was erased" in one for one in found.notes)
    assert found.row("worst-case").recognised is None


def test_a_generator_that_does_not_read_prompts_has_no_share_that_is_left(generator):
    network = copy.deepcopy(generator.denoiser.network)
    with torch.no_grad():
        for name, one in network.named_parameters():
            if "attn2.to_v" in name:
                one.zero_()
    found = worst_case_prompts(generator.with_denoiser(network), PROMPTS, **SETTINGS)
    assert found.row("worst-case", "as it was").left is None
    assert any("there is nothing to erase" in one for one in found.notes)
    assert "of what it was before" not in found.verdict


def test_bad_prompts_are_refused_with_their_line(tmp_path):
    file = tmp_path / "a table.csv"
    for text, reason in (
        ("prompt\na star\na star\n", "'a star' stands there more than once"),
        ("prompt,concept\na star,star\n,ring\n", "line 3: the prompt is empty"),
        ("text\na star\n", "no column 'prompt'; it has: text. Give the column that name"),
        ("prompt\na star\n", "2 prompts or more; got 1"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=reason):
            given_prompts(file)
    file.write_text("\ufeffconcept,prompt\nstar,a star\n,a ring\n", encoding="utf-8")
    assert given_prompts(file).concepts == ("star", None)
    lines = tmp_path / "p.txt"
    lines.write_text("\ufeffa star\n\n a ring \n", encoding="utf-8")
    assert given_prompts(str(lines)).prompts == ("a star", "a ring")
    with pytest.raises(InputError, match="there is no such file"):
        given_prompts(tmp_path / "none.csv")
    held = tmp_path / "p.json"
    held.write_text('\ufeff[{"prompt": "a star", "concept": "star"}, {"prompt": "a ring"}]', encoding="utf-8")
    assert given_prompts(held).concepts == ("star", None)
    for wrong, reason in ((3, "got 3"), ({"concept": "star"}, "a text 'prompt'"), (" ", "a text 'prompt'")):
        with pytest.raises(InputError, match=reason):
            given_prompts(["a star", wrong])


def test_what_cannot_be_judged_is_refused_before_anything_is_drawn(generator, judge, tmp_path):
    refused = {**SETTINGS, "out": tmp_path / "out"}
    for count in (0, 4):
        with pytest.raises(InputError, match=f"at most 3 of 4 prompts; got {count}"):
            worst_case_prompts(generator, PROMPTS, **{**refused, "count": count})
    with pytest.raises(UnknownNameError, match="unknown class of j 'hart'"):
        worst_case_prompts(generator, [{"prompt": "a", "concept": "hart"}, "b"], judge=judge, **refused)
    with pytest.raises(InputError, match="names no concept"):
        worst_case_prompts(generator, ["a", "b"], judge=judge, **refused)
    with pytest.raises(InputError, match="neither a budget nor a part"):
        worst_case_prompts(generator, PROMPTS, budget="5s", **refused)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("retraining", "guidance_scale"), [(ANEW, 1.0), (None, 3.0)])
def test_a_plan_counts_passes_and_says_how_long_it_takes(
    generator, judge, tmp_path, monkeypatch, retraining, guidance_scale
):
    given = {**SETTINGS, "judge": judge, "retraining": retraining, "guidance_scale": guidance_scale}
    found = snellen.plan(worst_case_prompts, generator, PROMPTS, **given, out=tmp_path / "out")
    assert found.seconds > 0
    assert found.memory > 0
    assert "time: about" in str(found)
    assert not (tmp_path / "out").exists()
    forward, backward, predict = [], [], Denoiser.__call__

    def counting(denoiser, noisy, *rest):
        forward.append(len(noisy))
        predicted = predict(denoiser, noisy, *rest)
        if predicted.requires_grad:
            backward.append(len(noisy))
        return predicted

    monkeypatch.setattr(Denoiser, "__call__", counting)
    worst_case_prompts(generator, PROMPTS, **given)
    assert found.notes[0] == f"passes: about {sum(forward):,} pictures forward, {sum(backward):,} backward"


def test_the_command_hands_over_its_options(run, tmp_path, monkeypatch):
    seen = {}

    def stand_in(model, table, **given):
        seen.update(given, model=model, table=table)
        raise InputError("seen")

    monkeypatch.setattr("snellen.verbs.worst_case_prompts.worst_case_prompts", stand_in)
    common = ["forget", "worst-case-prompts", "bundled:scene-diffusion", "p.csv", "--out", str(tmp_path / "out")]
    code, _, err = run(*common, "--preset", "published", "--lower-steps", "7", "--steps", "9", "--reverse")
    assert code == 2
    assert "seen" in err
    search = seen["search"]
    assert (search.step, search.loss, search.lower.steps, search.lower.rate) == (100, "denoising", 7, 1e-5)
    assert (search.reverse, seen["steps"], seen["erasing"].rate, seen["retraining"]) == (True, 9, 3e-7, None)
    run(*common, "--erase-rate", "0.01", "--retrain-steps", "5", "--loss", "denoising")
    assert (seen["erasing"].rate, seen["retraining"].steps, seen["search"].loss) == (0.01, 5, "denoising")
    code, _, err = run(*common, "--step", "-1")
    assert code == 2
    assert "--step '-1': expected a number above 0" in err
