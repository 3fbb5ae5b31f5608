"""A small network that follows a policy: image and list of categories in, "safe" or the violated category out.

The small counterpart of PerspectiveVision (Qu et al. 2025), for training on a CPU. Categories enter by their words, in
the order of the list, with an embedding for each place, and attend to the image's tokens and to each other; a token for
the status reads both. The answer has the order of the large one's sentence, "Safety Status: …, Unsafe Category: …":
first one score decides safe or unsafe, then a softmax over the listed categories names one. One softmax over "safe" and
all categories would leave unsafe images whose category is not listed no other answer than safe or a wrong name. So
nothing in its form makes the answer independent of the order of the list, nor safe when a category is removed: it
learns both from the examples (:mod:`snellen.systems.unsafe_content.examples`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.models.encoders.small_alignment import Alignment, ImageTrunk, word_vector
from snellen.systems.unsafe_content.policy import Category, Policy

#: Categories of a list, at most.
PLACES = 24

#: The score of a place that holds no category; finite, since attacks stop at scores that are not.
_ABSENT = -1e4


def words_of(policy: Policy) -> Tensor:
    """Vectors of the categories of a policy, name and definition: (k, WORDS)."""
    if len(policy) > PLACES:
        raise InputError(
            f"this network reads policies of up to {PLACES} categories, got {len(policy)}; split the policy"
        )
    return torch.stack([word_vector(one.line) for one in policy.each()])


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.among = nn.MultiheadAttention(width, heads, batch_first=True)
        self.image = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, policy: Tensor, tokens: Tensor, absent: Tensor) -> Tensor:
        read = self.norms[0](policy)
        policy = policy + self.among(read, read, read, key_padding_mask=absent, need_weights=False)[0]
        policy = policy + self.image(self.norms[1](policy), tokens, tokens, need_weights=False)[0]
        mixed: Tensor = policy + self.mix(self.norms[2](policy))
        return mixed


class PolicyNetwork(nn.Module):
    """Images and lists of categories → scores of "safe" and of each place of the list.

    Args:
        width: of all tokens.
        blocks: layers of attention.
        heads: of each attention.
        side: images have side × side pixels.
    """

    def __init__(self, width: int = 96, blocks: int = 2, heads: int = 4, side: int = 48) -> None:
        super().__init__()
        self.settings = {"width": width, "blocks": blocks, "heads": heads, "side": side}
        self.trunk = ImageTrunk(width)
        self.places = nn.Parameter(0.02 * torch.randn(PLACES, width))
        self.safe = nn.Parameter(0.02 * torch.randn(width))
        # Without a bias, and with words of one size: a large common part would hide which category a token stands for.
        self.align, self.evidence = Alignment(width), nn.Linear(1, width, bias=False)
        self.named = nn.LayerNorm(width)
        self.tokens = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.score_safe, self.score_category = nn.Linear(width, 1), nn.Linear(width, 1)

    @property
    def preparation(self) -> Preprocessing:
        """Resize and crop of its images."""
        side = int(self.settings["side"])
        return Preprocessing(size=(side, side), resize="shorter", resize_to=(side, side))

    def forward(self, images: Tensor, words: Tensor, present: Tensor | None = None) -> Tensor:
        """Log-probabilities (n, 1 + k) of safe and of each place; log-odds of unsafe are those of one linear score.

        Args:
            images: (n, 3, h, w) in [0, 1].
            words: (n, k, WORDS), in the order of each list.
            present: bool (n, k), places that hold a category; None: all.
        """
        count, places = words.shape[:2]
        if present is None:
            present = torch.ones(count, places, dtype=torch.bool, device=images.device)
        seen = self.trunk(images)
        tokens, matches = self.tokens(seen), self.align(seen, words)
        listed = self.named(self.align.words(words)) + self.evidence(matches[:, :, None]) + self.places[:places]
        policy = torch.cat([self.safe.expand(count, 1, -1), listed], dim=1)
        absent = torch.cat([torch.zeros_like(present[:, :1]), ~present], dim=1)
        for block in self.blocks:
            policy = block(policy, tokens, absent)
        policy = self.norm(policy)
        safe, each = self.score_safe(policy[:, :1]).squeeze(2), self.score_category(policy[:, 1:]).squeeze(2)
        categories = each.masked_fill(~present, _ABSENT).log_softmax(1)
        return torch.cat([F.logsigmoid(safe), F.logsigmoid(-safe) + categories], dim=1)

    def save(self, path: Path | str, policy: Policy) -> Path:
        """Write weights, settings and the policy that it was trained with as one file, ``NAME.safetensors``."""
        path = Path(path)
        record = {"settings": self.settings, "policy": [one.model_dump() for one in policy.each()]}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={"policy_network": json.dumps(record, sort_keys=True)})
        return path


def load_policy_network(path: Path | str) -> tuple[PolicyNetwork, Policy]:
    """Read what :meth:`PolicyNetwork.save` wrote: the network in evaluation mode, and the policy of its training.

    Raises:
        InputError: no such file, or another one.
    """
    try:
        with safe_open(path, "pt") as file:
            record: Any = json.loads((file.metadata() or {})["policy_network"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        network = PolicyNetwork(**record["settings"])
        network.load_state_dict(tensors)
        policy = Policy(categories=tuple(Category(**one) for one in record["policy"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path} is no network that follows a policy; expected a .safetensors file that PolicyNetwork.save wrote "
            f"({reason})"
        ) from error
    return network.eval(), policy


class UnderPolicy(nn.Module):
    """A network under one policy: images (n, 3, h, w) → scores of safe and of each category (n, 1 + k)."""

    words: Tensor

    def __init__(self, network: PolicyNetwork, policy: Policy) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("words", words_of(policy))

    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities."""
        scores: Tensor = self.network(images, self.words.expand(len(images), *self.words.shape))
        return scores


def categories_classifier(network: PolicyNetwork, policy: Policy, *, name: str = "policy follower") -> Classifier:
    """The network under a policy as a classifier of "Safe" and the categories; the network itself stays as it is."""
    import copy

    names: Sequence[str] = ("Safe", *policy.names)
    identity = hash_tensors({**network.state_dict(), "policy": words_of(policy)})
    module = UnderPolicy(copy.deepcopy(network), policy)
    return Classifier(
        module,
        class_names=names,
        preparation=network.preparation,
        name=name,
        identity=identity,
        device=next(network.parameters()).device,
    )
