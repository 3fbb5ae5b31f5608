"""Weights of red, green and blue in grey (ITU-R 601-2 luma)."""

from __future__ import annotations

#: As OpenCV and scikit-image mix them.
LUMA = (0.299, 0.587, 0.114)

#: As Pillow mixes them, in 65536ths.
PILLOW_LUMA = (19595, 38470, 7471)
