"""Every way to steer that both systems of guided generation are compared by, and the scales that are tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """One way to steer.

    Args:
        label: its name in tables and legends.
        scales: five that are tried; 1 is no guidance. For adaptive ways, the largest scale that occurs.
        labelled: whether it uses networks of its own, whose calls the harness does not see.
    """

    label: str
    scales: tuple[float, ...]
    labelled: bool = False


_REFERENCE, _ADAPTIVE, _GRADIENT = (1.25, 1.5, 2.0, 3.0, 5.0), (1.5, 2.0, 3.0, 5.0, 9.0), (3.0, 5.0, 9.0, 15.0, 21.0)

#: The denoiser knows the class (gradient-free guidance).
CONDITIONAL: Mapping[str, Way] = {
    "cfg": Way("classifier-free", _REFERENCE),
    "auto": Way("autoguidance", _REFERENCE),
    "gradient": Way("gradient on the estimate", _ADAPTIVE),
    "gfcg": Way("gradient-free", _ADAPTIVE),
    "gfcg_cfg": Way("gradient-free + classifier-free", _ADAPTIVE),
    "gfcg_auto": Way("gradient-free + autoguidance", _REFERENCE),
    "fixed": Way("competitor, fixed scale", _REFERENCE),
    "random": Way("random class, adaptive scale", _ADAPTIVE),
}

#: The denoiser does not know it: the classifier alone decides what is shown (plug-and-play guidance).
UNCONDITIONAL: Mapping[str, Way] = {
    "off_the_shelf": Way("off the shelf", _GRADIENT),
    "estimate": Way("on the estimate, stopped", _GRADIENT),
    "noise_held": Way("on the estimate, noise held", _GRADIENT),
    "through": Way("on the estimate, through", _GRADIENT),
    "experts": Way("four experts (PPAP)", _GRADIENT),
    "one_expert": Way("one expert", _GRADIENT),
    "noise_aware": Way("one noise-aware, labels", _GRADIENT, labelled=True),
    "supervised": Way("four noise-aware, labels", _GRADIENT, labelled=True),
}
