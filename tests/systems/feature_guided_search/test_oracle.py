"""The oracle counts, batches and remembers; severities are those of the images."""

import numpy as np
import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.systems.feature_guided_search.manipulation import manipulated
from snellen.systems.feature_guided_search.oracle import Oracle, Request
from snellen.systems.feature_guided_search.severity import Severity
from tests.systems.feature_guided_search.norms import severities


def oracle(budget=10, batch_size=4, norm="l0", **options):
    images = torch.rand(2, 3, 2, 3, generator=torch.Generator().manual_seed(0))
    changes = manipulated(images, "white", step=0.1)
    seen = []

    def bright(candidates):
        seen.append(candidates)
        share = (candidates == 1).all(1).flatten(1).double().mean(1)
        return torch.stack([torch.full_like(share, 0.5), share], 1)

    made = Oracle(
        Classifier(bright, class_names="ab", output="logits"), changes, torch.zeros(2, dtype=torch.int64),
        criterion=Misclassified(), severity=Severity(changes, norm), budget=budget, batch_size=batch_size, **options,
    )  # fmt: skip
    return made, seen


def directions(*pixels):
    instructions = np.zeros(6, dtype=np.int8)
    instructions[list(pixels)] = 1
    return instructions


def test_answers_are_in_order_and_batches_are_counted():
    asked, seen = oracle()
    requests = [
        Request(0, directions(0)),
        Request(1, directions(0, 1, 2, 3)),
        Request(0, directions(0, 1)),
        Request(1, directions(5)),
        Request(1, directions(4)),
    ]
    answers = asked.ask(requests)
    assert [answer.met for answer in answers] == [False, True, False, False, False]
    assert [answer.severity for answer in answers] == [1, 4, 2, 1, 1]
    assert asked.batch_sizes == [len(batch) for batch in seen] == [4, 1]
    assert asked.queries.tolist() == [2, 3]


def test_nothing_is_queried_twice():
    asked, seen = oracle()
    same = [Request(0, directions(0)), Request(0, directions(0)), Request(1, directions(0))]
    answers = asked.ask(same)
    assert answers[0] is answers[1]
    assert asked.queries.tolist() == [1, 1]
    assert asked.recall(0, directions(0), limit=6, below=np.inf) is answers[0]
    assert asked.recall(0, directions(1), limit=6, below=np.inf) is None
    assert sum(map(len, seen)) == 2


def test_what_is_outside_is_known_without_a_query():
    asked, seen = oracle()
    assert asked.recall(0, directions(0, 1, 2), limit=2, below=np.inf).outside
    assert asked.recall(0, directions(0, 1), limit=2, below=np.inf) is None
    assert asked.recall(0, directions(0, 1), limit=2, below=2).outside
    assert seen == []


def test_the_budget_is_that_of_each_image():
    asked, _ = oracle(budget=2)
    answers = asked.ask([Request(0, directions(n)) for n in range(4)] + [Request(1, directions(0))])
    assert [answer is None for answer in answers] == [False, False, True, True, False]
    assert asked.queries.tolist() == [2, 1]


def test_confidence_is_reported_where_it_is_wanted():
    plain, _ = oracle()
    assert np.isnan(plain.ask([Request(0, directions(0))])[0].confidence)
    wanted, _ = oracle(confidence=True)
    answer = wanted.ask([Request(0, directions(0, 1, 2))])[0]
    assert answer.confidence == pytest.approx(0.5)


@pytest.mark.covers("15.6")
@pytest.mark.parametrize("norm", ["l0", "l1", "l2", "linf"])
@pytest.mark.parametrize("manipulation", ["extreme", "step", "white", "black"])
def test_severities_are_those_of_the_images(norm, manipulation):
    images = torch.rand(3, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    images[:, :, 0] = images[:, :, 0].round()
    changes = manipulated(images, manipulation, step=0.4)
    severity, rng = Severity(changes, norm), np.random.default_rng(0)
    for _ in range(30):
        instructions = (rng.choice((0, *changes.instructions), size=20) * (rng.random(20) < 0.6)).astype(np.int8)
        for row in range(3):
            made = changes.candidates(torch.tensor([row]), torch.from_numpy(instructions)[None])
            measured = float(severities(made, images[[row]], norm)[0])
            assert severity.of(row, instructions) == pytest.approx(measured, abs=1e-5)
            untouched = torch.from_numpy(instructions == 0).view(4, 5)
            assert torch.equal(made[0][:, untouched], images[row][:, untouched])
    assert severity.farthest(0) >= severity.of(0, np.eye(20, dtype=np.int8)[3])


def test_manipulations_are_what_their_names_say():
    image = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1)
    assert manipulated(image, "extreme", step=1).up.flatten().tolist() == [1, 0, 0]
    assert manipulated(image, "white", step=1).up.flatten().tolist() == [1, 1, 1]
    assert manipulated(image, "black", step=1).up.flatten().tolist() == [0, 0, 0]
    step = manipulated(image, "step", step=0.3)
    assert step.up.flatten().tolist() == pytest.approx([0.5, 0.8, 1.0])
    assert step.down.flatten().tolist() == pytest.approx([0.0, 0.2, 0.6])
    assert (step.instructions, manipulated(image, "white", step=1).instructions) == ((1, -1), (1,))
