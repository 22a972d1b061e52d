"""How much boxes have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["box_overlap"]


def box_overlap(boxes: Any, others: Any, *, of_smaller: bool = False) -> np.ndarray:
    """Intersection over union of boxes x0, y0, x1, y1; or over the smaller of the two.

    Args:
        boxes: [..., 4], pixels.
        others: [..., 4]; both broadcast against each other.
        of_smaller: whether the smaller box is what the intersection is compared with: 1 for a box inside another.

    Returns:
        float64 [...], in [0, 1]; 0 where there is no area.

    Example:
        >>> box_overlap([0, 0, 2, 2], [[0, 0, 2, 1], [1, 1, 3, 3], [5, 5, 6, 6]]).round(3).tolist()
        [0.5, 0.143, 0.0]
        >>> float(box_overlap([0, 0, 2, 2], [0, 0, 2, 1], of_smaller=True))
        1.0
    """
    boxes, others = np.asarray(boxes, np.float64), np.asarray(others, np.float64)
    low, high = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    common = (high - low).clip(0).prod(axis=-1)
    areas, other_areas = ((sides[..., 2:] - sides[..., :2]).prod(axis=-1) for sides in (boxes, others))
    whole = np.minimum(areas, other_areas) if of_smaller else areas + other_areas - common
    return common / np.maximum(whole, 1e-12)
