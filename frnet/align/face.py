"""What an aligned face consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Pose(NamedTuple):
    """Orientation of the head in degrees, by 300W-LP's rotation R = Rx(pitch) Ry(yaw) Rz(roll) (FACTS A5)."""

    yaw: float
    pitch: float
    roll: float


@dataclass(eq=False)
class Face:
    """One aligned face. Coordinates are image pixels, 0-based, pixel centres at integers, x right, y down.

    Depth z is in pixels too, positive towards the viewer. It has no absolute origin in one picture, so the
    rearmost of the 68 landmarks is put at 0, for landmarks and vertices alike (vertices behind it, such as
    ears, are negative).

    Attributes:
        landmarks: float32 [68, 3].
        vertices: float32 [N, 3], every vertex of the morphable model.
        params: float32 [P], de-whitened parameters, which refer to the crop that ``roi`` cut.
        pose: yaw, pitch, roll in degrees.
        roi: float32 [4]: x0, y0, x1, y1 of the square the network looked at last.
        box: float32 [4], the detector's or the caller's box, where there was one. Of a face that is followed through
            a video: the box it was found with, carried along by its landmarks.
        score: the detector's score in [0, 1], where there was a detector; of a followed face the one it was found with.
        roi_roll: degrees by which that square was turned clockwise about its centre, so that the face stood upright
            in it; 0 for faces that are less than 30 degrees from upright. ``params`` are those of the square as it is.
        reliability: in [0, 1], whether there is a face where the landmarks are, and of their size: see
            :func:`frnet.align.reliability.reliability`. None where the detector is another than frnet's own. Of a
            followed face: when it was found.
    """

    landmarks: NDArray[np.float32]
    vertices: NDArray[np.float32]
    params: NDArray[np.float32]
    pose: Pose
    roi: NDArray[np.float32]
    box: NDArray[np.float32] | None = None
    score: float | None = None
    roi_roll: float = 0.0
    reliability: float | None = None

    def to_dict(self, vertices: bool = False) -> dict[str, Any]:
        """Plain lists and numbers, ready for JSON; the dense vertices only if asked for."""
        result = {
            "landmarks": self.landmarks.tolist(),
            "pose": {"yaw": self.pose.yaw, "pitch": self.pose.pitch, "roll": self.pose.roll},
            "roi": self.roi.tolist(),
            "roi_roll": self.roi_roll,
            "box": None if self.box is None else self.box.tolist(),
            "score": self.score,
            "reliability": self.reliability,
            "params": self.params.tolist(),
        }
        if vertices:
            result["vertices"] = self.vertices.tolist()
        return result
