"""x_0' = sg(x_0) + a (z − sg(z)): the unmodified deterministic sampler, and a surrogate whose gradients do not vanish.

SAGE (Liu et al., ICLR 2024, arXiv 2306.00974): a gradient through all steps of a sampler vanishes and needs the memory
of all of them. So the trajectory runs without a graph, and a residual connection takes the gradient at the image to
where it is needed. To the latent, the connection is the identity times ``a``, optionally with the true Jacobian of the
last m steps on top. To the condition, it is the same skip in every step: the network reads detached latents, and what
it predicts reaches the image along the linear part of the sampler alone, dx_0/dc = −Σ_t (∏_{s<t} cos δ_s) sin δ_t
dv_t/dc with the velocity v and the angles δ between noise levels.

Surrogates give directions. Whether a search has succeeded is decided by :meth:`Drawing.draw` alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import to_epsilon, to_velocity, to_x0
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.guidance import GuidanceTerm, classifier_free, guide
from snellen.models.diffusion.sampler import Sampler, initial_noise, seeded
from snellen.models.diffusion.step_view import Calls


class Drawing:
    """A text-to-image model with one deterministic sampler (DDIM without noise). Counts every image that it makes.

    Args:
        generator: takes prompts.
        steps: of the sampler.
        guidance_scale: of classifier-free guidance; 1 means none.
        together: images that are made at once; memory decides.

    Raises:
        InputError: a generator that takes no prompts.
    """

    def __init__(
        self, generator: Generator, *, steps: int = 50, guidance_scale: float = 7.5, together: int = 32
    ) -> None:
        if generator.takes != "prompts":
            raise InputError(
                f"failures are looked for in text-to-image models, and {generator.name} takes "
                f"{generator.takes}; name a generator that takes prompts"
            )
        if together < 1:
            raise InputError(f"at least one image is made at once; got {together}")
        self.generator, self.steps, self.together = generator, steps, together
        self.scale = guidance_scale
        self.sampler = Sampler(generator, steps=steps, solver="ddim", eta=0.0)
        self.shape = generator.latent_shape()
        self.calls = 0

    @property
    def dimension(self) -> int:
        """Numbers of a latent."""
        return math.prod(self.shape)

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """Latents of N(0, I), (n, c, h, w): those from which generation with these seeds starts."""
        return initial_noise(seeded(seeds), self.shape, self.generator)

    def condition(self, prompts: Sequence[str]) -> Condition:
        """Prompts as a condition; one that is too long for the text tower is refused."""
        return self.generator.encode_prompts(prompts)

    def draw(self, latents: Tensor, condition: Condition) -> Tensor:
        """Images of latents (n, c, h, w) under a condition of n rows: float32 (n, 3, H, W) in [0, 1], on the CPU.

        The sampler as it is for users. Of a latent that leads to numbers that are not finite, the image is NaN.

        Raises:
            InputError: latents of another shape, or another number of rows.
        """
        self._check(latents, condition)
        parts = []
        for rows in torch.arange(len(latents)).split(self.together):
            part, own = latents[rows], condition.select(rows)
            try:
                parts.append(self._drawn(part, own))
            except ModelError:
                parts += [self._alone(part[row : row + 1], own.select([row])) for row in range(len(part))]
        self.calls += len(latents)
        return torch.cat(parts)

    def _alone(self, latent: Tensor, condition: Condition) -> Tensor:
        try:
            return self._drawn(latent, condition)
        except ModelError:
            return torch.full((1, 3, *self.generator.image_size), math.nan)

    def _drawn(self, latents: Tensor, condition: Condition) -> Tensor:
        count = len(latents)
        begun = self.sampler.start(seeded(range(count)), noise=latents)
        state = self.sampler.run(begun, condition, guidance=self._guidance(count))
        with torch.no_grad():
            return self.generator.decode(state.latents).expand(-1, 3, -1, -1).cpu()

    def surrogate(self, latents: Tensor, condition: Condition, *, residual: float = 1.0, last_steps: int = 1) -> Tensor:
        """Images whose gradient with respect to the latents goes through a residual connection.

        Args:
            latents: z (n, c, h, w), with gradients on.
            condition: n rows.
            residual: a; 0 leaves the true Jacobian of the last steps alone.
            last_steps: m; as many as the sampler has is full back-propagation.

        Returns:
            (n, 3, H, W), the same as :meth:`draw` up to rounding, not cut off at [0, 1].
        """
        self._check(latents, condition)
        count, steps = len(latents), self.sampler.new_solver().steps
        if not 0 <= last_steps <= steps:
            raise InputError(f"the last 0 to {steps} steps are differentiated; got {last_steps}")
        before = steps - last_steps
        self.calls += count
        rng = seeded(range(count))
        state = self.sampler.start(rng, noise=latents.detach())
        if before:
            state = self.sampler.run(state, condition, guidance=self._guidance(count), until=before)
        solver, skip = state.solver.copy(), residual * (latents - latents.detach())
        # Where all steps are on the tape there is nothing to skip: this is full back-propagation.
        stored = state.stored + skip if before else solver.from_noise(latents)
        guidance = self._guidance(count)
        for index in range(before, steps):
            view = self.sampler.view(condition, solver, stored, index, rng, Calls())
            stored = solver.step(guide(view, guidance), index, stored, rng)
        clean = solver.external(stored, steps)
        skipped = clean + skip if before and last_steps else clean  # without real steps it is in there already
        return self.generator.decode(skipped, clamp=False).expand(-1, 3, -1, -1)

    def conditioned(self, latents: Tensor, condition: Condition, *, taped: int = 4) -> Tensor:
        """Images whose gradient with respect to the condition goes through the skip of every step.

        Args:
            latents: z (n, c, h, w).
            condition: n rows, with gradients on.
            taped: so many steps, spread over the trajectory, have their network on the tape.
        """
        self._check(latents, condition)
        count = len(latents)
        self.calls += count
        rng, solver = seeded(range(count)), self.sampler.new_solver()
        solver.begin(0)
        stored, guidance = solver.from_noise(latents.detach()), self._guidance(count)
        wanted = {round((number + 0.5) * solver.steps / taped - 0.5) for number in range(min(taped, solver.steps))}
        plain = Condition(count, **{name: one.detach() for name, one in condition.tensors().items()})
        x = solver.external(stored, 0)
        for index in range(solver.steps):
            alpha, sigma = solver.level(index)
            with torch.set_grad_enabled(index in wanted):
                view = self.sampler.view(
                    condition if index in wanted else plain, solver, x.detach(), index, rng, Calls()
                )
                velocity = to_velocity(guide(view, guidance), view.kind, x.detach(), alpha, sigma)
            # DDIM turns (x_0, ε) by the angle between two noise levels; in the velocity this is linear in x and stable.
            clean = to_x0(velocity, "v_prediction", x, alpha, sigma)
            noise = to_epsilon(velocity, "v_prediction", x, alpha, sigma)
            after_alpha, after_sigma = solver.level(index + 1)
            x = after_alpha * clean + after_sigma * noise
        return self.generator.decode(x, clamp=False).expand(-1, 3, -1, -1)

    def check_deterministic(self, prompt: str) -> None:
        """Make sure that one latent gives one image, bit for bit.

        Raises:
            InputError: two draws differ.
        """
        latents, condition = self.latents([0]), self.condition([prompt])
        first, second = self.draw(latents, condition), self.draw(latents, condition)
        if not torch.equal(first.nan_to_num(-1.0), second.nan_to_num(-1.0)):
            raise InputError(
                f"{self.generator.name} gives different images for the same latent: its sampler or a layer is random "
                f"(dropout in training mode?); failures of latents need a deterministic one"
            )

    def _guidance(self, count: int) -> list[GuidanceTerm]:
        return [] if self.scale == 1 else [classifier_free(self.scale, self.generator.null(count))]

    def _check(self, latents: Tensor, condition: Condition) -> None:
        if latents.ndim != 4 or tuple(latents.shape[1:]) != self.shape:
            raise InputError(
                f"{self.generator.name} takes latents (n, {', '.join(map(str, self.shape))}); got "
                f"{tuple(latents.shape)}"
            )
        if len(condition) != len(latents):
            raise InputError(f"{len(latents)} latents came with {len(condition)} prompts; give one for each")


def as_image(made: Tensor) -> Tensor:
    """Images in [0, 1] of images that may lie outside; the gradient is that of the identity, also where it is cut."""
    return made + (made.clamp(0, 1) - made).detach()
