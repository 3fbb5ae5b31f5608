"""The image side of an open_clip model, with vectors of its patches where it has them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from snellen.models.dual_encoders.towers import ImageTower


class OpenClipImageTower(ImageTower):
    """The visual part of an open_clip model: a vision transformer, a residual network, or a network of timm.

    A transformer's patches are its last tokens, normed and projected on the way of the class token. A residual network
    ends in attention over its positions; a patch is what that attention would give if it saw one position only.
    Networks of timm, and transformers with attention pooling, have no patches here.
    """

    def __init__(self, visual: Any) -> None:  # noqa: ANN401 - of an extra
        super().__init__()
        self.visual = visual
        self._transformer = type(visual).__name__ == "VisionTransformer" and visual.attn_pool is None
        self.has_patches = self._transformer or type(visual).__name__ == "ModifiedResNet"
        self.has_tokens = self._transformer and visual.pool_type == "tok"

    def forward(self, images: Tensor) -> Tensor:
        """Encode: (n, 3, h, w) → (n, d)."""
        vectors = self.visual(images)
        # With output_tokens in its configuration, the tower gives its tokens too.
        pooled: Tensor = vectors[0] if isinstance(vectors, tuple) else vectors
        return pooled

    def patches(self, images: Tensor) -> Tensor:
        """Encode patches: (n, 3, h, w) → (n, rows, columns, d)."""
        found = self.visual.forward_intermediates(
            images, indices=1, normalize_intermediates=True, intermediates_only=True
        )
        maps: Tensor = found["image_intermediates"][-1].movedim(1, -1)
        if self._transformer:
            return maps if self.visual.proj is None else maps @ self.visual.proj
        pool = self.visual.attnpool
        positions = pool.positional_embedding[1:].view(1, *maps.shape[1:])
        projected: Tensor = pool.c_proj(pool.v_proj(maps + positions))
        return projected

    def tokens(self, images: Tensor) -> Tensor:
        """What enters the layers of a transformer: (n, 3, h, w) → (n, 1 + patches, width)."""
        if not self.has_tokens:
            return super().tokens(images)
        entering: Tensor = self.visual._embeds(images)
        return entering

    def of_tokens(self, tokens: Tensor) -> Tensor:
        """The layers, the last norm and the projection: (n, t, width) → (n, d)."""
        if not self.has_tokens:
            return super().of_tokens(tokens)
        pooled: Tensor = self.visual._pool(self.visual.transformer(tokens))[0]
        return pooled if self.visual.proj is None else pooled @ self.visual.proj

    def patch_area(self) -> int:
        """Pixels of a patch."""
        if not self.has_tokens:
            return super().patch_area()
        height, width = self.visual.patch_size
        return int(height * width)
