"""Scores of concepts and the classifier on them: what reaches a logit, and what a saved model is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError, UnknownNameError, UnsupportedError
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.references import load_two_tower
from snellen.systems.concept_bottleneck.bottleneck import ConceptBottleneck, architecture, build
from snellen.systems.concept_bottleneck.concept_scores import (
    ConceptScores,
    answer_shares,
    check_questions,
    concept_vectors,
    pooled_cosines,
)

PHRASES = ("red", "blue", "a star", "a ring", "dotted")


@pytest.fixture(scope="module", params=["hf", "openclip"])
def tower(request: pytest.FixtureRequest, clip_folder: Path, openclip_folder: Path) -> TwoTower:
    return load_two_tower(f"{request.param}:{clip_folder if request.param == 'hf' else openclip_folder}")


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def made(tower: TwoTower, **options: object) -> ConceptBottleneck:
    torch.manual_seed(0)
    return ConceptBottleneck(tower, PHRASES, 3, **options).eval()  # type: ignore[arg-type]


@pytest.mark.covers("1.12")
def test_scores_are_cosines_of_the_image_or_of_its_patches(tower: TwoTower) -> None:
    texts, shown = tower.encode_texts(PHRASES), images()
    scores = {pooling: made(tower, pooling=pooling) for pooling in ("global", "max", "mean")}
    found = {name: one.concepts((shown - one.mean) / one.std) for name, one in scores.items()}
    assert torch.allclose(found["global"], tower.encode_images(shown) @ texts.T, atol=1e-5)
    each = torch.stack([patch @ texts.T for patch in tower.encode_patches(shown).flatten(1, 2)])
    assert torch.allclose(found["max"], each.max(1).values, atol=1e-5)
    assert torch.allclose(found["mean"], each.mean(1), atol=1e-5)
    assert not torch.allclose(found["max"], found["mean"], atol=1e-3)


def test_templates_are_averaged_in_direction(tower: TwoTower) -> None:
    both = concept_vectors(tower, ["red"], ["a {} star", "{}"])
    by_hand = F.normalize(tower.encode_texts(["a red star", "red"]).mean(0), dim=0)
    assert torch.allclose(both[0], by_hand, atol=1e-6)


def test_answers_share_what_their_question_has_in_common() -> None:
    cosines = torch.tensor([[0.1, 0.5, 0.3, 0.2, 0.7], [0.9, 0.1, 0.0, 0.4, 0.3]])
    questions = ["colour", "shape", "colour", "shape", "colour"]
    found = answer_shares(cosines, questions, 5.0)
    for places in ([0, 2, 4], [1, 3]):
        assert torch.allclose(found[:, places], (5 * cosines[:, places]).softmax(1))
    # What every answer of a question gains alike changes nothing.
    moved = cosines + torch.tensor([0.3, 0.0, 0.3, 0.0, 0.3])
    assert torch.allclose(answer_shares(moved, questions, 5.0), found)


@pytest.mark.covers("1.2")
@pytest.mark.parametrize("scoring", ["cosine", "answer"])
def test_what_is_orthogonal_to_all_concepts_reaches_no_logit(tower: TwoTower, scoring: str) -> None:
    network = made(tower, scoring=scoring, questions=("colour", "colour", "shape", "shape", "shape"))
    vectors = F.normalize(torch.randn(4, tower.dimension), dim=1)
    concepts = network.concepts.vectors
    span = torch.linalg.qr(concepts.T).Q
    inside = vectors @ span @ span.T
    outside = vectors - inside
    # Another vector outside of the span, of the same length, at the same scores.
    other = torch.randn_like(outside)
    other = F.normalize(other - other @ span @ span.T, dim=1) * outside.norm(dim=1, keepdim=True)
    assert (other - outside).norm() > 0.5
    before, after = (network.head(network.concepts.of_vectors(inside + part)) for part in (outside, other))
    assert torch.allclose(before, after, atol=1e-5)
    # And what lies inside of it does.
    turned = network.head(network.concepts.of_vectors(-inside + outside))
    assert not torch.allclose(before, turned, atol=1e-2)


@pytest.mark.covers("1.2")
def test_equal_scores_give_equal_logits_whatever_the_image(tower: TwoTower, monkeypatch: pytest.MonkeyPatch) -> None:
    network = made(tower)
    scores = network.concepts((images() - network.mean) / network.std)
    monkeypatch.setattr(ConceptScores, "forward", lambda _self, _images: scores)
    assert torch.equal(network(images()), network(torch.zeros(3, 3, 32, 32)))


@pytest.mark.covers("1.9")
def test_contributions_and_bias_add_up_to_the_logit(tower: TwoTower) -> None:
    network = made(tower)
    network.head.standardise.fit(torch.randn(50, 5))
    scores = network.concepts((images() - network.mean) / network.std)
    targets = torch.tensor([2, 0, 1])
    total = network.head.contributions(scores, targets).sum(1) + network.head.linear.bias[targets]
    assert torch.allclose(total, network(images()).gather(1, targets[:, None])[:, 0], atol=1e-5)


@pytest.mark.covers("1.3")
def test_the_state_is_the_head_and_the_card_holds_the_phrases_in_order(clip_folder: Path) -> None:
    reference = f"hf:{clip_folder}"
    tower = load_two_tower(reference)
    network = made(tower)
    assert {name.split(".")[0] for name in network.state_dict()} == {"head"}
    record = architecture(
        tower, reference, PHRASES, 3, scoring="cosine", pooling="global", questions=(), templates=("{}",)
    )
    arguments = {key: value for key, value in record.items() if key != "name"}
    again = build(**arguments)
    again.load_state_dict(network.state_dict())
    assert again.phrases == PHRASES
    assert torch.allclose(again.eval()(images()), network(images()), atol=1e-6)
    turned = build(**arguments | {"phrases": PHRASES[::-1]})
    turned.load_state_dict(network.state_dict())
    assert not torch.allclose(turned.eval()(images()), network(images()), atol=1e-4)
    with pytest.raises(InputError, match="other weights than the tower that these concepts were scored by"):
        build(**arguments | {"identity": "0" * 64})
    with pytest.raises(UnknownNameError, match="scoring"):
        build(**arguments | {"scoring": "dot"})
    with pytest.raises(UnknownNameError, match="pooling"):
        build(**arguments | {"pooling": "sum"})


@pytest.mark.covers("1.13")
def test_what_cannot_be_scored_is_refused_by_name(tower: TwoTower, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="more than once: red"):
        concept_vectors(tower, ["red", "blue", "red"])
    with pytest.raises(InputError, match="at least one class name"):
        concept_vectors(tower, [])
    with pytest.raises(InputError, match=r"same length d; got \(2, 5\) and \(3, 4\)"):
        pooled_cosines(torch.ones(2, 5), torch.ones(3, 4))
    with pytest.raises(InputError, match=r"max scores are of vectors of patches \(n, p, d\)"):
        pooled_cosines(torch.ones(2, 4), torch.ones(3, 4), "max")
    with pytest.raises(UnsupportedError, match="one vector for each image alone"):
        ConceptScores(nn.Flatten(), torch.eye(3), pooling="max")
    texts = tower.encode_texts
    broken = texts(["red", "blue"]).clone()
    broken[1, 0] = torch.nan
    monkeypatch.setattr(tower, "encode_texts", lambda _texts: broken, raising=False)
    with pytest.raises(InputError, match="the vector of the concept 'blue' is not finite"):
        concept_vectors(tower, ["red", "blue"])
    monkeypatch.setattr(tower, "encode_texts", lambda _texts: broken[:, :7], raising=False)
    with pytest.raises(InputError, match="texts vectors of 7 numbers and images of 24"):
        concept_vectors(tower, ["red", "blue"])


def test_questions_need_two_answers_each() -> None:
    check_questions(["a", "b", "a", "b"], 4)
    with pytest.raises(InputError, match="the question 'b' has one answer only"):
        check_questions(["a", "b", "a"], 3)
    for lacking in ((), ("a", "a")):
        with pytest.raises(InputError, match="give the concepts as lists by question"):
            check_questions(lacking, 3)
