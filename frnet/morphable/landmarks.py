"""The 68 points of a face in the iBUG order, and how they mirror."""

from __future__ import annotations

import numpy as np

__all__ = ["LANDMARK_MIRROR"]

_PAIRS = [
    *((i, 16 - i) for i in range(8)),  # jaw
    *((17 + i, 26 - i) for i in range(5)),  # brows
    *((31 + i, 35 - i) for i in range(2)),  # nostrils
    (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),  # eyes
    (48, 54), (49, 53), (50, 52), (59, 55), (58, 56),  # outer lips
    (60, 64), (61, 63), (67, 65),  # inner lips
]  # fmt: skip


def _landmark_mirror() -> np.ndarray:
    order = np.arange(68)
    for left, right in _PAIRS:
        order[[left, right]] = right, left
    return order


LANDMARK_MIRROR = _landmark_mirror()
"""int64 [68]: which of the 68 points each becomes in a mirrored image."""
