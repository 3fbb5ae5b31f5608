"""A classifier cut at a layer: images → representation → scores.

Channels lie along dim 1 of maps (n, c, h, w) and of vectors (n, c), and along the last dim of tokens (n, t, c).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, UnsupportedError
from snellen.core.layer_hooks import find_layer
from snellen.core.outcomes import PIXELS as PIXELS  # the layer in front of all others: the prepared image itself
from snellen.models.layers.forward_replay import Prefix, replayed, watch_prefix
from snellen.models.layers.layer_edits import edited, reading


def channel_dim(ndim: int) -> int:
    """Where the channels of an activation lie, from the number of its dims.

    Raises:
        InputError: neither vectors, tokens nor maps.
    """
    if ndim not in (2, 3, 4):
        raise InputError(f"an activation is vectors (n, c), tokens (n, t, c) or maps (n, c, h, w); got {ndim} dims")
    return 2 if ndim == 3 else 1


def channel_rows(activations: Tensor) -> Tensor:
    """One row of channels for each image and place: (n, c) → (n, c), (n, t, c) → (n·t, c), (n, c, h, w) → (n·h·w, c).

    >>> import torch
    >>> channel_rows(torch.zeros(2, 5, 3, 3)).shape
    torch.Size([18, 5])
    """
    return activations.movedim(channel_dim(activations.ndim), -1).flatten(0, -2)


def apply_to_channels(activations: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the channels at every place, as rows: (n, c, ...) and a matrix (c, k) → (n, k, ...).

    >>> import torch
    >>> apply_to_channels(torch.ones(1, 2, 1, 1), torch.tensor([[1.0, 0.0, 2.0], [1.0, 1.0, 0.0]])).flatten().tolist()
    [2.0, 1.0, 2.0]

    Raises:
        InputError: another number of channels than the matrix has rows.
    """
    dim = channel_dim(activations.ndim)
    if matrix.ndim != 2 or activations.shape[dim] != matrix.shape[0]:
        raise InputError(
            f"a map of channels {tuple(matrix.shape)} for an activation {tuple(activations.shape)} with "
            f"{activations.shape[dim]} channels"
        )
    return (activations.movedim(dim, -1) @ matrix.to(activations)).movedim(-1, dim)


#: Largest difference of scores, relative to the largest score (at least 1), at which two passes count as the same.
TOLERANCE = 1e-5

_NONLINEARITIES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
    nn.ELU,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Mish,
)


class SplitClassifier:
    """``decode(encode(images))`` is what the classifier gives, checked when the cut is made.

    Where everything that reaches the scores goes through the layer (:attr:`whole`), decoding computes only what lies
    behind it. Where a shortcut goes around it, as around a layer inside a residual block, or where the layer gives
    several values and only one is the representation, decoding may need the images again; the split finds out.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> classifier = Classifier(model, class_names=["a", "b"])
    >>> images = torch.rand(5, 3, 2, 2)
    >>> split = SplitClassifier(classifier, "1", images)
    >>> representation = split.encode(images)
    >>> representation.shape, split.whole, bool(torch.allclose(split.decode(representation), classifier(images)))
    (torch.Size([5, 4]), True, True)

    Args:
        classifier: what is cut.
        layer: full name of the layer, or ``pixels``.
        images: prepared images (n, 3, h, w) on which the cut is checked, at least one; the first four are used.
        where: the representation is what the layer gives (``output``) or what it takes (``input``). At a nonlinearity:
            after it or before it.
        basis: invertible matrix (c, c) M: the representation is z · M in the channels, and decoding begins with M⁻¹.

    Raises:
        UnsupportedError: a model without layers; a layer that is called several times in a pass.
        UnknownNameError: no such layer.
        ModelError: the model is random, or the cut does not give its scores again.
    """

    def __init__(
        self,
        classifier: Classifier,
        layer: str,
        images: Tensor,
        *,
        where: Literal["output", "input"] = "output",
        basis: Tensor | None = None,
    ) -> None:
        self.classifier, self.layer, self.where, self.basis = classifier, layer, where, basis
        self._inverse = None if basis is None else torch.linalg.inv(basis.double()).to(basis)
        self._examples = images[:4].detach()
        #: Whether decoding needs nothing but the representation.
        self.whole = True
        self._prefix = Prefix()
        if layer != PIXELS:
            if classifier.module is None:
                raise UnsupportedError(f"{classifier.name} is not a torch module: it can be cut at {PIXELS!r} only")
            self._module = classifier.module
            self._target = find_layer(self._module, layer, classifier.name)
            self._find_prefix()
            self._check()

    def __repr__(self) -> str:
        return f"SplitClassifier({self.classifier.name!r}, {self.place})"

    @property
    def place(self) -> str:
        """Where the cut is, in words, with the side of a nonlinearity where the layer is one."""
        if self.layer == PIXELS:
            return PIXELS
        name = type(self._target).__name__
        if isinstance(self._target, _NONLINEARITIES):
            return f"{self.layer}, {'after' if self.where == 'output' else 'before'} the nonlinearity {name}"
        return f"{self.layer}, {self.where} of {name}"

    def with_basis(self, matrix: Tensor) -> SplitClassifier:
        """The same classifier with its representation in another basis: z · M, decoded through M⁻¹.

        The outputs stay the same: the control under which attacks on images transfer exactly.

        Args:
            matrix: invertible (c, c), in rows: new = old · matrix.
        """
        if self.layer == PIXELS:
            raise UnsupportedError("images have no other basis: cut the classifier at a layer to change it")
        basis = matrix if self.basis is None else self.basis.to(matrix) @ matrix
        return SplitClassifier(self.classifier, self.layer, self._examples, where=self.where, basis=basis)

    def encode(self, images: Tensor) -> Tensor:
        """Prepared images (n, 3, h, w) → representations (n, ...). One query an image, unless the layer is pixels."""
        if self.layer == PIXELS:
            return images
        with reading(self._module, self.layer, where=self.where) as activations:
            self.classifier(images)
        found = activations[self.layer][0]
        return found if self.basis is None else apply_to_channels(found, self.basis)

    def decode(self, representations: Tensor, images: Tensor | None = None) -> Tensor:
        """Representations (n, ...) → scores (n, k). One query an image; differentiable in the representations.

        Args:
            representations: as :meth:`encode` gives them.
            images: the images (n, 3, h, w) that they are of; needed where the cut is not :attr:`whole`.

        Raises:
            InputError: images are needed and did not come.
        """
        if self.layer == PIXELS:
            return self.classifier(representations)
        if not self.whole and images is None:
            raise InputError(
                f"what layer {self.layer!r} of {self.classifier.name} gives is not all that reaches the scores (a "
                f"shortcut goes around it): pass the images too, or cut at a layer that ends a block"
            )
        # A copy: layers behind may work in place, and the hook counts each backward pass through it exactly once.
        representations = representations.clone()
        if representations.requires_grad:
            representations.register_hook(self.classifier.count_gradients)
        inner = representations if self._inverse is None else apply_to_channels(representations, self._inverse)
        if self.whole:
            return self._continued(inner)
        assert images is not None
        with edited(self._module, self.layer, lambda _: inner, where=self.where):
            return self.classifier(images)

    def difference(self, images: Tensor) -> float:
        """Largest difference between decode(encode(images)) and the classifier's scores, relative to the largest score.

        Scores below 1 count as 1.
        """
        with torch.no_grad():
            scores = self.classifier(images)
            again = self.decode(self.encode(images), images)
        return float((again - scores).abs().max() / scores.abs().max().clamp(min=1.0))

    def _continued(self, inner: Tensor) -> Tensor:
        blank = self._examples[:1].expand(len(inner), *self._examples.shape[1:]).to(inner.dtype)
        with (
            replayed(self._prefix, len(inner)),
            edited(self._module, self.layer, lambda _: inner, where=self.where),
        ):
            return self.classifier(blank)

    def _find_prefix(self) -> None:
        first = self._examples[:1]
        with torch.no_grad():
            self._prefix = watch_prefix(
                self._module, self._target, lambda: self.classifier(first), computed=self.where == "output"
            )
        if self._prefix.calls != 1:
            raise UnsupportedError(
                f"layer {self.layer!r} of {self.classifier.name} is called {self._prefix.calls} times in a pass; a "
                f"classifier is cut at a layer that is called once, such as one around it"
            )

    def _check(self) -> None:
        with torch.no_grad():
            scores, repeated = self.classifier(self._examples), self.classifier(self._examples)
        if not torch.equal(scores, repeated):
            raise ModelError(
                f"{self.classifier.name} gives other scores for the same images: a model that is random at inference "
                f"cannot be cut. Turn its randomness off, or average over it first"
            )
        self.whole = self._bears_all()
        difference = self.difference(self._examples)
        if not difference <= TOLERANCE:
            raise ModelError(
                f"{self.classifier.name} cut at {self.place} gives scores that differ by {difference:.1e} from its "
                f"own; expected at most {TOLERANCE:g}. Cut it at another layer"
            )

    def _bears_all(self) -> bool:
        """Whether going on from the layer, with everything before it as for another image, gives the same scores."""
        # Not the first image, and turned round: a shortcut must not carry the right values by chance.
        others = self._examples.flip(-1) if len(self._examples) == 1 else self._examples[1:]
        with torch.no_grad():
            scores = self.classifier(others)
            try:
                again = self._continued(self._plain(others))
            except (RuntimeError, ValueError, TypeError, IndexError, ModelError, UnsupportedError):
                # Shapes that do not come from a batch of one, such as windows folded into the batch.
                return False
        limit = TOLERANCE * float(scores.abs().max().clamp(min=1.0))
        # Of a model that says the same of every image, nothing can be learnt.
        varied = bool((self.classifier(self._examples) - scores[:1]).abs().max() > limit)
        return varied and float((again - scores).abs().max()) <= limit

    def _plain(self, images: Tensor) -> Tensor:
        with reading(self._module, self.layer, where=self.where) as activations:
            self.classifier(images)
        return activations[self.layer][0]
