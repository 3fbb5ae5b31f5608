"""Training of policy followers, a small one and LLaVA, on constructed examples that are drawn anew in each pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.models.captioners.llava import LlavaAnswerer
from snellen.models.diffusion.adapters import Adapters
from snellen.models.encoders.small_alignment import Alignment, ImageTrunk
from snellen.systems.unsafe_content.examples import Example, construct, conversations
from snellen.systems.unsafe_content.network import PolicyNetwork, words_of
from snellen.systems.unsafe_content.policy import Policy
from snellen.training.answer_fitting import AnswerFit, fit_answers

#: What progress calls it.
TASK = "training a policy follower"


class PolicyFit(BaseModel):
    """How the network is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(2000, ge=1, description="of AdamW; each pass over the images draws its examples anew")
    batch_size: int = Field(64, ge=1, description="examples in a step")
    learning_rate: float = Field(2e-3, gt=0, description="of AdamW, at its highest")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    negatives: bool = Field(True, description="show unsafe images without their category too, with the answer safe")
    shuffle: bool = Field(True, description="list categories in random order")


def fit_policy_network(
    images: Tensor,
    unsafe: Sequence[bool],
    categories: Sequence[str],
    policy: Policy,
    *,
    fit: PolicyFit | None = None,
    start: tuple[ImageTrunk, Alignment] | None = None,
    network: PolicyNetwork | None = None,
    rng: Randomness,
    progress: Progress | None = None,
) -> PolicyNetwork:
    """Train a network that follows policies.

    Args:
        images: uint8 (n, 3, side, side).
        unsafe: whether each image is unsafe.
        categories: the category of each image; safe images have one too.
        policy: all categories.
        fit: numbers.
        start: image trunk and alignment whose weights the network begins with; None: random ones.
        network: a fresh network of another size; changed in place.
        rng: of weights, examples and batches.
        progress: callback that receives progress updates.

    Returns:
        The network in evaluation mode.

    Raises:
        InputError: examples that cannot be constructed, safe or unsafe images alone, or a loss that is not finite.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or len(images) != len(unsafe):
        raise InputError(
            f"training takes bytes (n, 3, side, side) and a truth for each; got {images.dtype} {tuple(images.shape)} "
            f"and {len(unsafe)} truths"
        )
    if len(set(map(bool, unsafe))) < 2:
        raise InputError("training needs safe and unsafe images; got one kind alone")
    fit, listener = fit or PolicyFit(), progress or Silent()
    if network is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng.generator("weights").initial_seed())
            network = PolicyNetwork(side=images.shape[-1])
    if start is not None:
        network.trunk.load_state_dict(start[0].state_dict())
        network.align.load_state_dict(start[1].state_dict())
    device = next(network.parameters()).device
    vectors, place = words_of(policy).to(device), {name: at for at, name in enumerate(policy.names)}

    def examples(epoch: int) -> list[Example]:
        return construct(
            unsafe, categories, policy, rng=rng.child("epoch", epoch), negatives=fit.negatives, shuffle=fit.shuffle
        )

    def batches() -> Iterator[list[Example]]:
        for epoch in itertools.count():
            shown = examples(epoch)
            yield from (shown[at : at + fit.batch_size] for at in range(0, len(shown), fit.batch_size))

    optimiser = torch.optim.AdamW(network.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, fit.learning_rate, total_steps=fit.steps + 1, pct_start=0.15
    )
    listener.begin(TASK, fit.steps)
    network.train()
    with torch.enable_grad():
        for batch in itertools.islice(batches(), fit.steps):
            words, present, answers = batch_of(batch, vectors, place)
            pixels = to_unit(images[[one.image for one in batch]]).to(device)
            loss = F.cross_entropy(network(pixels, words, present), answers)
            if not bool(loss.isfinite()):
                raise InputError("the loss is not finite any more; lower the learning rate")
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            listener.advance(TASK, 1)
    listener.finish(TASK)
    return network.eval()


def batch_of(examples: Sequence[Example], vectors: Tensor, place: dict[str, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Words (n, k, WORDS), bool (n, k) of places that hold a category, and answers int64 (n,): 0 is safe, 1 + place."""
    longest = max(len(one.policy) for one in examples)
    rows = torch.zeros(len(examples), longest, dtype=torch.int64)
    present = torch.zeros(len(examples), longest, dtype=torch.bool)
    for at, one in enumerate(examples):
        rows[at, : len(one.policy)] = torch.tensor([place[name] for name in one.policy])
        present[at, : len(one.policy)] = True
    answers = [0 if one.answer is None else 1 + one.policy.index(one.answer) for one in examples]
    device = vectors.device
    return vectors[rows.to(device)], present.to(device), torch.tensor(answers, device=device)


def flips_when_removed(
    network: PolicyNetwork, images: Tensor, categories: Sequence[str], policy: Policy
) -> tuple[list[bool], list[bool]]:
    """Of unsafe images: whether each is unsafe under the whole policy, and whether it is safe without its category.

    Only images of the first kind can flip; count the second among them.

    Args:
        network: in evaluation mode.
        images: uint8 (n, 3, side, side), all unsafe.
        categories: of each.
        policy: the whole policy.
    """
    named = [int(one) for one in decisions(network, images, [policy.names] * len(images), policy)]
    lists = [policy.without(one).names for one in categories]
    removed = [int(one) for one in decisions(network, images, lists, policy)]
    return [one > 0 for one in named], [one == 0 for one in removed]


@torch.no_grad()
def decisions(
    network: PolicyNetwork, images: Tensor, lists: Sequence[Sequence[str]], policy: Policy, batch_size: int = 128
) -> list[int]:
    """0 for safe, else 1 + the place of the violated category in the image's own list; the status is decided first."""
    device = next(network.parameters()).device
    vectors, place = words_of(policy).to(device), {name: at for at, name in enumerate(policy.names)}
    found: list[int] = []
    for at in range(0, len(images), batch_size):
        batch = [Example(0, tuple(one), None, "original") for one in lists[at : at + batch_size]]
        words, present, _ = batch_of(batch, vectors, place)
        scores = network(to_unit(images[at : at + batch_size]).to(device), words, present)
        unsafe = scores[:, 1:].logsumexp(1) > scores[:, 0]
        found += torch.where(unsafe, 1 + scores[:, 1:].argmax(1), 0).tolist()
    return found


def fit_large(
    model: LlavaAnswerer,
    read: Callable[[Sequence[int]], Tensor],
    unsafe: Sequence[bool],
    categories: Sequence[str],
    policy: Policy,
    *,
    fit: AnswerFit | None = None,
    rng: Randomness,
    progress: Progress | None = None,
) -> Adapters:
    """PerspectiveVision at its published size: a LLaVA with a low-rank adapter, trained on examples as dialogues.

    Args and errors: as :func:`fit_policy_network`, and :func:`snellen.training.answer_fitting.fit_answers`, which says
    what is changed and when the adapter acts.
    """

    def dialogues(epoch: int) -> list[tuple[int, str, str]]:
        return conversations(construct(unsafe, categories, policy, rng=rng.child("epoch", epoch)), policy)

    return fit_answers(model, read, dialogues, fit=fit, rng=rng, progress=progress)
