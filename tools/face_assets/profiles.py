"""The profiles on openpeople's character sheets: what they show of cheeks, ears and necks.

No labeller at hand is good at profiles, so a dozen points on each were set by eye. With the shape known from the same
person's pictures from the front, they are plenty.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from face_assets.fit import Fit
from frnet.datasets.faces.head import Head

__all__ = ["Profile", "fit_profile", "read_profiles"]

_PANELS = {"left": (640, 130), "right": (1830, 130)}  # corners on a sheet of 2400 x 1792 pixels
_NAMES = ("nose", "subnasale", "nasion", "eye", "mouth", "upper lip", "stomion", "lower lip", "chin", "lobe", "tragus")
_RIDGE = 3.0  # of the identity's changes, against a square centimetre
_ROUNDS = 8


class Profile(NamedTuple):
    """One view.

    Attributes:
        person: folder of the person.
        panel: which picture of the sheet.
        points: pixels of that picture, in the order of the names above; None: not to be seen.
    """

    person: str
    panel: str
    points: tuple[tuple[int, int] | None, ...]

    @property
    def to_the_right(self) -> bool:
        """Whether the person looks to the viewer's right: then the nose is right of the eye."""
        return self.points[0][0] > self.points[3][0]

    @property
    def shows_the_ear(self) -> bool:
        """Whether hair leaves it free."""
        return self.points[_NAMES.index("lobe")] is not None


def read_profiles(path: Path = Path(__file__).parent / "profiles.csv") -> list[Profile]:
    """The points that were set by eye."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Profile(
            row["person"],
            row["panel"],
            tuple((int(row[f"{name} x"]), int(row[f"{name} y"])) if row[f"{name} x"] else None for name in _NAMES),
        )
        for row in rows
    ]


def fit_profile(head: Head, profile: Profile, identity: np.ndarray) -> Fit:
    """The head in a profile: pose, and small changes of an identity that is known from the front.

    Args:
        head: the mesh.
        profile: with its points.
        identity: coefficients [C] of the person at rest.

    Returns:
        In pixels of the whole sheet.
    """
    seen = np.array([point is not None for point in profile.points])
    wanted = np.array([point for point in profile.points if point is not None], np.float64) + _PANELS[profile.panel]
    wanted = wanted * [1.0, -1.0]
    vertices = _vertices(head, -1.0 if profile.to_the_right else 1.0)
    vertices = [own for own, is_seen in zip(vertices, seen, strict=True) if is_seen]
    modes = head.modes[: head.identities].reshape(head.identities, -1, 3)
    change = np.zeros(head.identities)
    base = head.vertices(identity[None])[0].astype(np.float64)
    yaw = np.deg2rad(75.0 if profile.to_the_right else -75.0)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0]])
    places = np.stack([base[own].mean(0) for own in vertices])
    moves = np.stack([modes[:, own].mean(1) for own in vertices], 1)  # [identities, points, 3]
    for _ in range(_ROUNDS):
        face = places + np.einsum("knc,k->nc", moves, change)
        middle, target = face.mean(0), wanted.mean(0)
        # Rotation and scale of the nearest scaled orthographic camera, from where the last round left it.
        for _ in range(20):
            scale = (turn @ (face - middle).T * (wanted - target).T).sum() / ((turn @ (face - middle).T) ** 2).sum()
            turn = _turned(turn, face - middle, (wanted - target) / scale)
        offset = target - scale * turn @ middle
        left_over = (wanted - offset) / scale - places @ turn.T
        rows = np.einsum("ij,knj->nik", turn, moves).reshape(2 * len(places), -1)
        change = np.linalg.solve(rows.T @ rows + _RIDGE * np.eye(len(change)), rows.T @ left_over.reshape(-1))
    coefficients = identity.copy()
    coefficients[: head.identities] += change
    rotation = np.stack([*turn, np.cross(*turn)])
    found = Fit(rotation, float(scale), offset, coefficients, 0.0)
    off = found.project(places + np.einsum("knc,k->nc", moves, change)) - wanted * [1.0, -1.0]
    return found._replace(error=float(np.linalg.norm(off, axis=1).mean() / (scale * 17)))


def _turned(turn: np.ndarray, face: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """One step of Gauss and Newton on the rotation's angles."""
    rotation = np.stack([*turn, np.cross(*turn)])
    placed = face @ rotation.T
    x, y, z = placed.T
    zero = np.zeros(len(face))
    rows = np.stack([np.stack([zero, z, -y], 1), np.stack([-z, zero, x], 1)], 1)  # d(x, y) / d(angles)
    step = np.linalg.lstsq(rows.reshape(-1, 3), (wanted - placed[:, :2]).reshape(-1), rcond=None)[0].clip(-0.2, 0.2)
    angle = np.linalg.norm(step)
    if angle < 1e-9:
        return turn
    axis = step / angle
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    change = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return (change @ rotation)[:2]


def _vertices(head: Head, side: float) -> list[np.ndarray]:
    """The vertices of each point, as seen from the side where x has this sign."""
    own, field = head.points[68:136], head.landmarks
    at = head.neutral
    near = (head.parts == 0) & (at[:, 0] * side > 7.1) & (np.abs(at[:, 2]) < 2.0)
    lobe = np.flatnonzero(near & (np.abs(at[:, 1] + 1.5) < 2))
    lobe = lobe[at[lobe, 1].argmin()]
    tragus = np.flatnonzero(head.parts == 0)
    tragus = tragus[np.linalg.norm(at[tragus] - [7.2 * side, 1.2, 1.7], axis=1).argmin()]
    eye, mouth = (36, 48) if side < 0 else (45, 54)
    chosen = [[own[30]], [own[33]], [field[27]], [own[eye]], [own[mouth]], [own[51]], [own[62], own[66]], [own[57]],
              [field[8]], [lobe], [tragus]]  # fmt: skip
    return [np.array(each) for each in chosen]
