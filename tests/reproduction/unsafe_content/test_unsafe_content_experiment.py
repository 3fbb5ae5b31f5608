"""The experiment's parts: harmless symbols, figures of every claim, and the full scale on small models."""

import csv
import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.files.arrays import load_arrays
from snellen.models.captioners.random_llava import write_random_llava
from snellen.models.diffusion.low_rank import LowRank
from snellen.reproduction.sample import Sample
from snellen.reproduction.unsafe_content import full
from snellen.reproduction.unsafe_content.experiment import CLAIMS, SMOKE, Experiment, _uniform, unsafe_content
from snellen.reproduction.unsafe_content.symbols import POLICY, draw_symbols
from snellen.systems.unsafe_content.network import PolicyNetwork
from snellen.systems.unsafe_content.outcomes import answer_for
from snellen.systems.unsafe_content.policy import default_policy
from snellen.training.answer_fitting import AnswerFit


@pytest.fixture(scope="module")
def figures():
    return unsafe_content("smoke", 0, Silent())


@pytest.mark.covers("29.12")
def test_a_smoke_run_on_symbols_has_every_figure_of_every_claim(figures):
    system = find_system("unsafe_content")
    wanted = {gate.metric for gate in system.gates}
    for claim in system.claims:
        wanted |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    assert wanted <= set(figures)
    assert isinstance(figures["follower.named"], Sample)


@pytest.mark.covers("29.2")
def test_every_classifier_is_measured_on_its_claims(figures):
    for name in (*CLAIMS, "features_both", "end_to_end", "follower", "without_negatives", "fixed_order"):
        assert {f"{name}.real", f"{name}.generated", f"{name}.both", f"{name}.gap"} <= set(figures)
    assert CLAIMS["sd-filter"] == ("Star",)


@pytest.mark.covers("29.1")
def test_symbols_of_both_sources_have_one_truth_and_different_looks():
    real, made = (draw_symbols(220, source, 1) for source in ("real", "generated"))
    for one in (real, made):
        assert one.images.shape == (220, 3, 48, 48)
        assert {one.categories.count(name) for name in POLICY.names} == {20}
        assert 0.4 < sum(one.unsafe) / 220 < 0.6
        alike = [
            text for bad, text in zip(one.unsafe, one.sentences, strict=True) if not bad and text != "an empty scene"
        ]
        assert 0.35 < len(alike) / (220 - sum(one.unsafe)) < 0.65
        assert torch.equal(one.images[:30], draw_symbols(30, one.source, 1).images), "however many there are"

    def saturation(images):
        return float((images.amax(1).float() - images.amin(1).float()).mean())

    def roughness(images):
        return float((images[..., 1:].float() - images[..., :-1].float()).abs().mean())

    assert saturation(made.images) > 2 * saturation(real.images)
    assert roughness(made.images) < 0.7 * roughness(real.images)
    assert real.of(["Star"]).categories == ("Star",) * 20


class Same(nn.Module):
    """Every image gets one answer."""

    def __init__(self, margin):
        super().__init__()
        self.margin = margin

    def forward(self, images):
        return torch.tensor([0.0, self.margin]).expand(len(images), 2)


@pytest.mark.parametrize("margin", [1.0, -1.0], ids=["always unsafe", "always safe"])
def test_one_answer_for_all_images_opens_no_gate(margin):
    parts = Experiment(SMOKE, 0, Silent())
    found = parts._scores("any", _uniform(Same(margin), "any", POLICY), POLICY.names)
    for name in ("any.balanced", "any.real.balanced", "any.generated.balanced"):
        assert found[name] == 0.5
    if margin > 0:
        assert found["any.both"] > 0.6, "which F1 alone would call good"
    assert all(
        gate.metric.endswith(".balanced") and gate.threshold >= 0.75 for gate in find_system("unsafe_content").gates
    )


class Status(nn.Module):
    """A follower that looks at the length of the list alone: what it calls unsafe flips with any category."""

    settings = PolicyNetwork().settings

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images, words, present=None):
        scores = torch.zeros(len(images), 1 + words.shape[1])
        scores[:, 1] = 5.0 if words.shape[1] == len(POLICY) else -5.0
        return scores - 3 * torch.eye(1 + words.shape[1])[0]


def test_a_follower_that_flips_with_any_category_follows_no_policy():
    found = Experiment(SMOKE, 0, Silent())._policy("any", Status())
    assert found["any.named"].mean == 1
    assert found["any.removed"].mean == 0
    assert found["any.permuted"].mean < 0.5


class Scripted:
    """A large model whose answers are a function of the prompt."""

    name, preparation, device = "scripted", Preprocessing(size=(48, 48)), torch.device("cpu")

    def __init__(self, say):
        self.say = say

    def answer(self, images, questions, *, max_tokens=10):
        return tuple(self.say(one) for one in questions)


@pytest.mark.parametrize(
    ("say", "named", "removed", "permuted"),
    [
        (lambda prompt: answer_for("Spam" if "\nSpam: " in prompt else None), 1, 1, 1),
        (lambda _: answer_for("Spam"), 1, 0, 1),
        (lambda prompt: answer_for("Spam" if prompt.count("\n") > 11 else None), 1, 0, 1),
        (lambda prompt: answer_for("Spam" if prompt.split("\n")[1].startswith("Hate") else "Hate"), 1, 0, None),
        (lambda _: answer_for(None), 0, None, None),
    ],
    ids=["follows the policy", "always unsafe", "counts categories", "depends on the order", "always safe"],
)
def test_the_full_scale_measures_what_a_follower_makes_of_its_list(say, named, removed, permuted):
    policy, drawn = default_policy(), draw_symbols(6, "real", 0)
    images = load_arrays(
        drawn.images.permute(0, 2, 3, 1).numpy(), np.ones(6, dtype=np.int64), class_names=("safe", "unsafe")
    )
    images = replace(images, table=images.table.append_column("category", pa.array(["Spam"] * 6)))
    known = full._known(images, policy, {images.ids[0]})
    assert known.rows == [1, 2, 3, 4, 5], "the first is in the training set"
    found = full._follows("any", Scripted(say), policy, {"test": known}, 0)
    assert found["any.named"].values == (named,) * 5
    for figure, wanted in (("any.removed", removed), ("any.permuted", permuted)):
        assert wanted is None or found[figure].mean == wanted
        assert wanted is not None or found[figure] is None or found[figure].mean < 0.5


def test_the_full_scale_runs_on_a_llava_of_random_weights(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("SNELLEN_UNSAFE")]:
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match="needs SNELLEN_UNSAFE_DATA, SNELLEN_UNSAFE_MODEL"):
        unsafe_content("full", 0, Silent())
    names = default_policy().names
    drawn = draw_symbols(16, "real", 0)
    with (tmp_path / "data.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "category", "source", "split"])
        for at, pixels in enumerate(drawn.images):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / f"{at}.png")
            source, split = ("real", "generated")[at % 2], "train" if at < 10 else "test"
            rows.writerow([f"{at}.png", ("safe", "unsafe")[drawn.unsafe[at]], names[at % 11], source, split])
    llava = write_random_llava(tmp_path / "llava", words=("safe", "unsafe", "category"))
    monkeypatch.setenv(full.DATA, str(tmp_path / "data.csv"))
    monkeypatch.setenv(full.MODEL, f"hf:{llava}")
    monkeypatch.setenv(full.TESTS, f"SMID={tmp_path / 'data.csv'}")
    monkeypatch.setenv(full.DEVICE, "cpu")
    adapter = LowRank(rank=2, alpha=4, layers=AnswerFit().adapter.layers)
    found = full.full(0, Silent(), fit=AnswerFit(adapter=adapter), single=True, resamples=100)
    assert found["SMID.leaked"] == 10, "the same images as in training"
    assert found["UnsafeBench.leaked"] == 0
    for name in ("untrained", "follower"):
        assert 0 <= found[f"{name}.unclear"] <= 1
        assert {f"{name}.both", f"{name}.real", f"{name}.generated", f"{name}.SMID.both", f"{name}.gap"} <= set(found)
    assert isinstance(found["follower.named"], Sample), "shares of what was found follow where it found any"
    assert {"follower.removed", "follower.permuted"} <= set(found)
    monkeypatch.setenv(full.TESTS, "SMID")
    with pytest.raises(InputError, match="holds NAME=MANIFEST"):
        full.full(0, Silent())
