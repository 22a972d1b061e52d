"""The head that faces are made of, cut out of ICT-FaceKit: the built-in face, and the rest behind it.

Vertices of the built-in face come first, so that it is a prefix of the head: the head is what training faces are
rendered with, the face is what the package ships.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, identity, vstack
from scipy.spatial import cKDTree

from builtin_face.decimate import decimate
from builtin_face.mesh import Mesh, clip, insert_points, normals
from frnet.morphable import LANDMARK_MIRROR

__all__ = ["PARTS", "Head", "cut_head"]

PARTS = (
    "skin", "mouth", "gums", "tongue", "teeth", "left eye", "right eye", "left iris", "right iris", "sockets",
)  # fmt: skip
"""What a triangle can belong to. Left and right are the person's."""

_SKIN, _MOUTH, _GUMS, _TONGUE, _TEETH, _LEFT, _RIGHT, _LEFT_IRIS, _RIGHT_IRIS, _SOCKETS = range(10)
_OTHER_SIDE = np.array([0, 1, 2, 3, 4, 6, 5, 8, 7, 9])
_OUTER = 11248  # vertices of the outer skin come first in ICT-FaceKit's files, then sockets
_FRONT, _BACK = 8200, 700  # triangles of half the face's skin, and of half the head behind it
_IRIS = 0.36  # radius seen from the centre of the eyeball, radians
_FLIP = np.array([-1.0, 1.0, 1.0])


class Head(NamedTuple):
    """A head, and the face at its front.

    Attributes:
        mesh: labels are indices of PARTS.
        face_vertices: the first so many vertices are the face's.
        face_triangles: the first so many triangles.
        landmarks: int64 [68] of the field.
        own_landmarks: int64 [68] of ICT-FaceKit.
        mirror: int64 [N], the vertex of the other side.
    """

    mesh: Mesh
    face_vertices: int
    face_triangles: int
    landmarks: np.ndarray
    own_landmarks: np.ndarray
    mirror: np.ndarray


def face_level(points: np.ndarray) -> np.ndarray:
    """Positive on the part of the head that the face is: in front of the ears' back, above the neck."""
    y, z = points[:, 1], points[:, 2]
    behind = z + 2.6 - 0.25 * (1 - y).clip(0) - 0.28 * (y - 4).clip(0) - 1.3 * np.logaddexp(0, y - 9.0)
    # The neck's line runs from below the chin to the back of the jaw, some way behind the landmarks of the jaw.
    below = y + 6.1 + 0.36 * z
    return _smooth_minimum(behind, below, 1.5)


def _smooth_minimum(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    return -width * np.logaddexp(-a / width, -b / width)


def cut_head(
    points: np.ndarray, faces: np.ndarray, materials: np.ndarray, own: np.ndarray, targets: np.ndarray
) -> Head:
    """The head, from ICT-FaceKit's vertices; everything is done on one half and mirrored.

    Args:
        points: [N, 3], the neutral head, centimetres.
        faces: [F, 4], -1 in a triangle's last place.
        materials: [F], in the order of ICT-FaceKit's materials.
        own: [68], ICT-FaceKit's landmarks.
        targets: [68, 3], places of the field's landmarks on the neutral face.
    """
    quads = faces[:, 3] >= 0
    triangles = np.concatenate([faces[:, :3], faces[quads][:, [0, 2, 3]]]).astype(np.int64)
    materials = np.concatenate([materials, materials[quads]])
    twins = _twins(points, triangles, materials)
    triangles, labels = _half(points, triangles, materials)
    mesh = Mesh(identity(len(points), format="csr"), triangles, labels, points)
    mesh = mesh.keep(np.arange(len(triangles)))
    level = face_level(mesh.points)
    level[np.unique(mesh.triangles[mesh.labels != _SKIN])] = 1
    mesh, front = clip(mesh, level)
    side = targets[:, 0] > -1e-6
    mesh, numbers, front = insert_points(mesh, targets[side], front)
    mesh, front = _lighter(mesh, front, np.concatenate([numbers, *_kept(mesh.points, points[own])]))
    mesh, front = _with_iris(mesh, front)
    face = int(front.sum())
    mesh.triangles = np.concatenate([mesh.triangles[front], mesh.triangles[~front]])
    mesh.labels = np.concatenate([mesh.labels[front], mesh.labels[~front]])
    used = np.unique(mesh.triangles)
    in_face = np.isin(used, mesh.triangles[:face])
    order = np.concatenate([used[in_face], used[~in_face]])
    place = np.full(mesh.weights.shape[0], -1)
    place[order] = np.arange(len(order))
    mesh = mesh.reordered(order)
    return _mirrored(mesh, int(in_face.sum()), face, place[numbers], side, points[own], twins)


def _twins(points: np.ndarray, triangles: np.ndarray, materials: np.ndarray) -> csr_matrix:
    """[N, N]: a row of weights times this is the row of the mirrored vertex."""
    material = np.zeros(len(points))
    # Skin is one; the right eye's parts go with the left eye's.
    material[triangles] = np.where(np.isin(materials, (6, 7)), materials - 2, np.maximum(materials, 1))[:, None]
    apart = np.concatenate([points, 1000 * material[:, None]], 1)  # parts touch, and differ in how they move
    twins = cKDTree(apart).query(apart * [*_FLIP, 1])[1]
    return csr_matrix((np.ones(len(points)), (np.arange(len(points)), twins)), (len(points), len(points)))


def _half(points: np.ndarray, triangles: np.ndarray, materials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The triangles of x >= 0, fewer where they are small and out of sight, and which part each belongs to."""
    middle = points[triangles].mean(1)
    x, y, z = middle.T
    outer = triangles.max(1) < _OUTER
    facing = normals(points, triangles)
    half = (points[triangles][:, :, 0] > -1e-3).all(1)
    inside = (materials == 1) & ~outer
    tongue = (x / 2.1) ** 2 + ((z - 5) / 4.3) ** 2 < 1
    crown = np.where(y > -3.2, y < -1.55, y > -4.75)
    chosen = {
        _SKIN: (np.isin(materials, (0, 1)) & outer, None),
        _MOUTH: (inside & (y < 1), 260),
        _SOCKETS: (inside & (y > 1) & (z > 8.0), 150),
        _GUMS: ((materials == 2) & ~tongue & (z > 4) & (facing[:, 2] > -0.6), 230),
        _TONGUE: ((materials == 2) & tongue & (y > -4.9) & (z > 3), 120),
        _TEETH: ((materials == 3) & crown & (facing[:, 2] > -0.5), 620),
        _LEFT: ((materials == 4) & (z > 7.2), 300),
    }
    parts, labels = [], []
    for label, (mask, count) in chosen.items():
        part = triangles[mask & half]
        if count is not None:
            part = decimate(points, part, count)
        parts.append(part)
        labels.append(np.full(len(part), label))
    return np.concatenate(parts), np.concatenate(labels)


def _kept(points: np.ndarray, own: np.ndarray) -> list[np.ndarray]:
    """The landmarks' vertices, and all about eyes and mouth, whose folds the neutral face does not show."""
    tree = cKDTree(points)
    return [tree.query(own)[1], *(np.array(near, np.int64) for near in tree.query_ball_point(own[36:], 0.9))]


def _lighter(mesh: Mesh, front: np.ndarray, fixed: np.ndarray) -> tuple[Mesh, np.ndarray]:
    """Fewer triangles where skin is flat."""
    stays = np.zeros(mesh.weights.shape[0], bool)
    stays[fixed] = True
    skin = front & (mesh.labels == _SKIN)
    face = decimate(mesh.points, mesh.triangles[skin], _FRONT, stays)
    back = decimate(mesh.points, mesh.triangles[~front], _BACK)
    inner = front & ~skin
    triangles = np.concatenate([face, mesh.triangles[inner], back])
    labels = np.concatenate([np.full(len(face), _SKIN), mesh.labels[inner], np.full(len(back), _SKIN)])
    return Mesh(mesh.weights, triangles, labels, mesh.source), np.arange(len(labels)) < len(face) + inner.sum()


def _with_iris(mesh: Mesh, front: np.ndarray) -> tuple[Mesh, np.ndarray]:
    """The left eye with a round iris: cut along a cone about its axis."""
    eye = np.unique(mesh.triangles[mesh.labels == _LEFT])
    points = mesh.points[eye]
    centre = np.append((points.min(0) + points.max(0))[:2] / 2, points[:, 2].max() - np.ptp(points[:, 0]) / 2)
    rays = points - centre
    level = np.full(mesh.weights.shape[0], -1.0)
    level[eye] = _IRIS - np.arccos(rays[:, 2] / np.linalg.norm(rays, axis=1))
    mesh.labels = np.where(front, mesh.labels, mesh.labels + len(PARTS))  # whether in front travels with the label
    mesh, iris = clip(mesh, level)
    front = mesh.labels < len(PARTS)
    labels = np.where(front, mesh.labels, mesh.labels - len(PARTS))
    mesh.labels = np.where(iris & (labels == _LEFT), _LEFT_IRIS, labels)
    return mesh, front


def _mirrored(
    half: Mesh, face_vertices: int, face_triangles: int, numbers: np.ndarray, side: np.ndarray, own: np.ndarray,
    twins: csr_matrix,
) -> Head:  # fmt: skip
    """Both halves of a mesh of one: the face of both, then the rest of both."""
    points = half.points
    count = len(points)
    single = np.abs(points[:, 0]) < 1e-3
    doubled = np.flatnonzero(~single)
    there = np.arange(count)  # of each vertex on the other side, counted behind this side's
    there[doubled] = count + np.arange(len(doubled))
    rows = vstack([half.weights, half.weights[doubled] @ twins])
    split = np.searchsorted(doubled, face_vertices)
    ours, theirs = np.arange(count), count + np.arange(len(doubled))
    order = [ours[:face_vertices], theirs[:split], ours[face_vertices:], theirs[split:]]
    triangles, labels = half.triangles, half.labels
    mirrored, other = there[triangles][:, ::-1], _OTHER_SIDE[labels]
    cut = face_triangles
    whole = Mesh(
        rows.tocsr(),
        np.concatenate([triangles[:cut], mirrored[:cut], triangles[cut:], mirrored[cut:]]),
        np.concatenate([labels[:cut], other[:cut], labels[cut:], other[cut:]]),
        half.source,
    ).reordered(np.concatenate(order))
    place = np.argsort(np.concatenate(order))
    mirror = np.empty(len(place), np.int64)
    mirror[place[ours]], mirror[place[there]] = place[there], place[ours]
    landmarks = np.empty(68, np.int64)
    landmarks[LANDMARK_MIRROR[side]] = place[there[numbers]]
    landmarks[side] = place[numbers]
    faced = face_vertices + split
    return Head(whole, faced, 2 * cut, landmarks, cKDTree(whole.points[:faced]).query(own)[1], mirror)
