"""Contrast of colours, as WCAG 2.2 defines it."""

from __future__ import annotations

import numpy as np


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio, from 1 to 21, of two colours ``#RRGGBB`` or ``rgb(r, g, b)``."""
    dark, light = sorted(map(_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    if colour.startswith("#"):
        coded = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    else:
        coded = np.array([float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
