"""Glasses, hands, things held up, and what is below the head."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from frnet.datasets.faces.poses import rotations
from frnet.datasets.faces.shapes import Piece, box, ribbon, sheet, tube
from frnet.datasets.faces.skin import linear

__all__ = ["Lens", "glasses", "hand_or_thing", "torso"]


class Lens(NamedTuple):
    """A pane: vertices float32 [n, 3] in the head's directions, triangles, linear colour [3] and opacity."""

    vertices: np.ndarray
    triangles: np.ndarray
    colour: np.ndarray
    opacity: float


def glasses(rng: np.random.Generator, marks: np.ndarray) -> tuple[list[Piece], list[Lens]]:
    """Frames and panes on a face.

    Args:
        rng: random numbers.
        marks: [68, 3], landmarks of Multi-PIE in the head's directions.
    """
    frame = linear(rng.uniform(0, 60, 3) if rng.random() < 0.65 else rng.uniform(0, 230, 3))
    thick = rng.choice([0.0, 0.08, 0.16, 0.3], p=[0.08, 0.32, 0.35, 0.25])
    dark = rng.random() < 0.4
    pane = linear(rng.uniform(0, 60, 3) if dark else rng.uniform(120, 255, 3))
    opacity = rng.uniform(0.6, 1.0) if dark else rng.uniform(0.0, 0.25) * (rng.random() < 0.6)
    wide, high, power = rng.uniform(2.1, 3.1), rng.uniform(1.3, 2.6), rng.choice([2.0, 2.6, 4.0, 8.0])
    drop, ahead, curve = rng.uniform(-0.6, 0.3), rng.uniform(1.1, 1.9), rng.uniform(0.0, 0.035)
    nose = (marks[39] + marks[42]) / 2
    angle = np.linspace(0, 2 * np.pi, 26, endpoint=False)
    cosine, sine = (np.sign(f) * np.abs(f) ** (2 / power) for f in (np.cos(angle), np.sin(angle)))
    pieces, panes, inner_ends, outer_ends = [], [], [], []

    def bent(x: np.ndarray, y: np.ndarray, depth: float) -> np.ndarray:
        return np.stack([x, y, depth - curve * (x - nose[0]) ** 2], -1)

    depth = max(marks[36:48, 2].max(), nose[2]) + ahead
    for eye, out in ((slice(36, 42), -1.0), (slice(42, 48), 1.0)):
        middle = marks[eye].mean(0)
        x, y = middle[0] + out * 0.3, middle[1] + drop
        rim = bent(x + wide * cosine, y + high * sine * (1 - 0.12 * (np.sin(angle) < 0)), depth)
        outside = bent(x + (wide + thick) * cosine, y + (high + thick) * sine * (1 - 0.12 * (np.sin(angle) < 0)), depth)
        if thick > 0:
            pieces.append(ribbon(rim, outside, frame, closed=True))
        if opacity > 0.02:
            fan = np.array([[k, (k + 1) % 26, 26] for k in range(26)], np.int32)
            panes.append(Lens(np.concatenate([rim, rim.mean(0, keepdims=True)]).astype(np.float32), fan, pane, opacity))
        inner_ends.append(rim[13 if out > 0 else 0])
        outer_ends.append(rim[0 if out > 0 else 13])
    bar = max(0.08, thick) * rng.uniform(0.6, 1.4)
    left, right = inner_ends
    lift = np.array([0, rng.uniform(0.0, 0.5), 0.25])
    pieces.append(tube([left, (left + right) / 2 + lift, right], np.full(3, bar / 2), frame, sides=4))
    for end, ear in zip(outer_ends, (marks[0], marks[16]), strict=True):
        hinge = end + np.array([0, high * rng.uniform(0.2, 0.8), 0])
        side = np.sign(end[0] - nose[0])
        behind = np.array([ear[0] + side * 0.5, hinge[1] - 0.2, ear[2] - 3.5])
        tall = np.array([0, max(0.1, thick) * rng.uniform(0.5, 1.5), 0])
        hinge[0] = side * max(abs(hinge[0]), abs(behind[0]) - 0.8)
        path = np.stack([end, hinge, behind])
        pieces.append(ribbon(path - tall / 2, path + tall / 2, frame, closed=False))
    return pieces, panes


def hand_or_thing(rng: np.random.Generator, marks: np.ndarray, skin: np.ndarray) -> list[Piece]:
    """Something that covers a part of a face, in the camera's directions.

    Args:
        rng: random numbers.
        marks: [68, 3], landmarks in the camera's directions.
        skin: [3], linear colour of the face.
    """
    at = marks[rng.integers(68)] + rng.normal(0, 1.5, 3) * [1, 1, 0]
    at[2] = marks[:, 2].max() * rng.uniform(0.5, 1.0) + rng.uniform(0.5, 3)
    if rng.random() < 0.6:
        return _hand(rng, at, skin * np.float32(rng.uniform(0.6, 1.2)))
    colour = linear(rng.uniform(0, 255, 3))
    turn = rotations(*rng.uniform(-180, 180, (3, 1)))[0]
    kind = rng.integers(3)
    if kind == 0:
        return [box(at, rng.uniform((0.3, 1.5, 2.5), (1.0, 4.5, 8)), turn, colour, np.eye(3))]
    along = turn[0] * [1, 1, 0.4]
    length = rng.uniform(3, 16)
    line = at + np.linspace(0, 1, 5)[:, None] * along * length
    radii = rng.uniform(0.4, 3.5) * np.array([1.0, 1.0, 0.9, 0.9, 0.85])
    pieces = [tube(line, radii, colour, np.eye(3), sides=12)]
    if kind == 2:  # a microphone, a spoon, a flower: something thicker at its end
        bulb = at + np.linspace(-0.5, 0.5, 3)[:, None] * along
        head = tube(bulb, radii[:3], linear(rng.uniform(0, 255, 3)), np.eye(3), sides=12)
        pieces = [tube(line, radii * 0.35, colour, np.eye(3)), head]
    return pieces


def _hand(rng: np.random.Generator, at: np.ndarray, skin: np.ndarray) -> list[Piece]:
    """Palm, four fingers and a thumb, the finger tips at a place."""
    angle = rng.uniform(0, 2 * np.pi)
    up = np.array([np.cos(angle), np.sin(angle), rng.normal(0, 0.25)])
    up /= np.linalg.norm(up)
    across = np.cross(up, [0, 0, 1.0])
    across /= np.linalg.norm(across)
    across *= rng.choice([-1, 1])
    away = np.cross(across, up)
    wrist = at - up * rng.uniform(6, 15)
    palm = wrist + up * 7.5
    pieces = [tube([wrist - up * 14, wrist - up * 3, wrist], [3.2, 2.8, 2.7], skin, np.eye(3), flat=0.75),
              tube([wrist, wrist + up * 3.5, palm], [2.7, 4.0, 3.9], skin, np.eye(3), flat=0.35)]  # fmt: skip
    curl = rng.uniform(0, 1) ** 2 * 1.6
    spread = rng.uniform(0.0, 0.22)
    for finger, reach in enumerate((6.6, 7.4, 7.0, 5.6)):
        base = palm + across * (finger - 1.5) * 1.9
        lean = up + across * (finger - 1.5) * spread
        bend = curl * rng.uniform(0.7, 1.3)
        line = [base]
        for joint, share in enumerate((0.45, 0.32, 0.23)):
            turned = np.cos(bend * (joint + 0.3)) * lean - np.sin(bend * (joint + 0.3)) * away * np.sign(away[2] + 1e-9)
            line.append(line[-1] + turned * reach * share)
        pieces.append(tube(line, [0.95, 0.9, 0.8, 0.7], skin * np.float32(rng.uniform(0.9, 1.05)), np.eye(3)))
    root = wrist + up * 3 - across * 3.2
    side = -across * 0.8 + up * rng.uniform(0.2, 1)
    pieces.append(tube([root, root + side * 2.8, root + side * 4.6 + up * 1.2], [1.2, 1.0, 0.8], skin, np.eye(3)))
    return pieces


def torso(rng: np.random.Generator, rotation: np.ndarray) -> Piece:
    """Shoulders, which follow the head's turn in part."""
    rows, columns = 14, 30
    u, v = np.meshgrid(np.linspace(0, 1, columns, endpoint=False), np.linspace(0, 1, rows))
    collar, width = rng.uniform(-17, -12), rng.uniform(15, 25)
    angle, reach = 2 * np.pi * u, np.minimum(1, 1.6 * v) ** 0.6
    places = np.stack(
        [
            np.sin(angle) * (5.2 + (width - 5) * reach),
            collar - 2.5 * reach - 24 * v,
            -1.5 + np.cos(angle) * (4.8 + (0.45 * width - 4.5) * reach),
        ],
        -1,
    )
    yaw = np.degrees(np.arctan2(rotation[0, 2], rotation[2, 2]))
    turn = rotations(np.array([yaw * rng.uniform(0, 1) + rng.normal(0, 10)]), rng.normal(0, 8, 1), rng.normal(0, 8, 1))[
        0
    ]
    stripes = 0.4 * np.sin(v * rng.uniform(5, 90)) * (rng.random() < 0.3)
    colours = linear(rng.uniform(5, 245, 3)) * np.exp(stripes + rng.normal(0, 0.12, (rows, columns)))[:, :, None]
    return sheet(places, colours, turn, closed=True)
