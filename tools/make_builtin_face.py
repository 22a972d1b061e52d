"""Makes the morphable model that the package ships, from ICT-FaceKit (MIT licence).

    python tools/make_builtin_face.py --ict FaceXModel --landmark-basis DIR --grid bfm_grid64_basis.npz

Writes ``frnet/morphable/data/builtin_face.safetensors`` (the face) and ``frnet/datasets/faces/data/head.npz`` (how the
head that training faces are rendered with is mixed from ICT-FaceKit's vertices). The same input gives the same files.

``--ict`` is the public FaceXModel folder or an npz of it that also holds ``face_material`` and UV; ``--landmark-basis``
and ``--grid`` are the published mean face whose 68 landmarks are the field's (3DDFA, MIT). See the card beside the
face.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

from builtin_face.components import EXPRESSIONS, expression_components, metric, shape_components  # noqa: E402
from builtin_face.head import PARTS, Head, cut_head  # noqa: E402
from builtin_face.landmarks import landmark_targets  # noqa: E402

from frnet.datasets.faces.expressions import draw_expressions  # noqa: E402
from frnet.datasets.faces.poses import draw_rotations, place_in_crop  # noqa: E402
from frnet.morphable import storage  # noqa: E402

SHAPES = 40
SAMPLE = 8000  # faces whose expressions and poses stand for all
OUTER = 11248  # vertices of the outer skin come first
CROP = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ict", type=Path, required=True)
    parser.add_argument("--landmark-basis", type=Path, required=True)
    parser.add_argument("--grid", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=ROOT / "frnet")
    arguments = parser.parse_args()
    with np.load(arguments.ict) as stored:
        ict = {name: stored[name] for name in stored.files}
    points = ict["neutral"].astype(np.float64)
    identity, expression = (ict[name].astype(np.float32) for name in ("identity", "expression"))
    own = ict["landmarks68"].astype(np.int64)

    faces, materials = ict["faces"], ict["face_material"]
    quads = faces[:, 3] >= 0
    skin = np.concatenate([faces[:, :3], faces[quads][:, [0, 2, 3]]])
    skin = skin[np.isin(np.concatenate([materials, materials[quads]]), (0, 1)) & (skin.max(1) < OUTER)]
    targets = landmark_targets(
        arguments.landmark_basis, arguments.grid, points[:OUTER], identity[:, :OUTER].astype(np.float64), skin, own
    )
    head = cut_head(points, faces, materials, own, targets)
    face = head.face_vertices
    rows = head.mesh.weights[:face]
    triangles, labels = head.mesh.triangles[: head.face_triangles], head.mesh.labels[: head.face_triangles]
    mirror = head.mirror[:face]
    mean = rows @ points
    mean = (mean + mean[mirror] * [-1, 1, 1]) / 2
    weights = metric(mean, triangles[labels == PARTS.index("skin")], head.landmarks)
    names = [str(name) for name in ict["expression_names"]]
    rng = np.random.default_rng(0)
    coefficients = draw_expressions(rng, SAMPLE, names)
    shapes = shape_components(np.stack([rows @ mode for mode in identity]), mean, weights, mirror, SHAPES)
    expressions, centre = expression_components(
        np.stack([rows @ mode for mode in expression]), coefficients, weights, mirror, names
    )
    print(f"kept: {shapes.kept:.1%} of the variance of shape, {expressions.kept:.1%} of that of expression")
    basis = np.concatenate([shapes.basis, expressions.basis]).reshape(-1, 3 * face).T
    centre = np.concatenate([np.zeros(SHAPES), centre])  # the mean face is at rest, the population's is not
    whitening = _whitening(rng, mean, basis, centre, head.landmarks)
    data = arguments.output / "morphable/data/builtin_face.safetensors"
    data.parent.mkdir(parents=True, exist_ok=True)
    storage.write(
        data,
        {
            "mean": torch.from_numpy(mean.reshape(-1)).float(),
            "basis": torch.from_numpy(basis).half().contiguous(),
            "param_mean": torch.from_numpy(whitening[0]).float(),
            "param_std": torch.from_numpy(whitening[1]).float(),
            "landmarks": torch.from_numpy(head.landmarks).to(torch.int16),
            "landmarks_multi_pie": torch.from_numpy(head.own_landmarks).to(torch.int16),
            "triangles": torch.from_numpy(triangles).to(torch.int16),
            "parts": torch.from_numpy(_part_of_vertices(head)[:face]).to(torch.uint8),
            "uv": torch.from_numpy(_uv(ict, rows)).half(),
        },
        {
            "name": "builtin",
            "num_shape": str(SHAPES),
            "expression_names": "\n".join(EXPRESSIONS),
            "part_names": "\n".join(PARTS),
            "licence": "MIT; a part of ICT-FaceKit, Copyright (c) 2020 USC Institute for Creative Technologies",
        },
    )
    print(f"{data}: {face} vertices, {len(triangles)} triangles, {data.stat().st_size / 1e6:.2f} MB")
    _write_head(arguments.output / "datasets/faces/data/head.npz", head)


def _whitening(
    rng: np.random.Generator, mean: np.ndarray, basis: np.ndarray, centre: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the parameters of faces in crops of 120 pixels."""
    drawn = centre + rng.standard_normal((SAMPLE, len(centre)))
    rows = (3 * landmarks[:, None] + np.arange(3)).reshape(-1)
    points = (mean.reshape(-1)[rows] + drawn @ basis[rows].T).reshape(SAMPLE, 68, 3)
    rotation = draw_rotations(rng, SAMPLE)
    points = points @ rotation.transpose(0, 2, 1)
    scale, offset = place_in_crop(rng, points, CROP)
    depth = 1 - scale * points[:, :, 2].mean(1)
    placed = np.stack([offset[:, 0] + 1, CROP - offset[:, 1], depth], 1)  # the crop frame counts from 1, y up
    pose = np.concatenate([scale[:, None, None] * rotation, placed[:, :, None]], 2).reshape(SAMPLE, 12)
    one = np.ones(len(centre))
    return np.concatenate([pose.mean(0), centre]), np.concatenate([pose.std(0), one])


def _part_of_vertices(head: Head) -> np.ndarray:
    """Index into PARTS; where parts meet, the one that is listed last."""
    parts = np.zeros(head.mesh.weights.shape[0], np.int64)
    np.maximum.at(parts, head.mesh.triangles.reshape(-1), np.repeat(head.mesh.labels, 3))
    return parts


def _uv(ict: dict[str, np.ndarray], rows: csr_matrix) -> np.ndarray:
    """A place in ICT-FaceKit's texture for every vertex. Where its seams part a vertex, one side is taken."""
    corners, places = ict["faces"].reshape(-1), ict["face_uv"].reshape(-1)
    uv = np.zeros((len(ict["neutral"]), 2))
    uv[corners[corners >= 0]] = ict["uv"][places[corners >= 0]]
    return rows @ uv


def _write_head(path: Path, head: Head) -> None:
    """Each vertex is a mixture of at most three of ICT-FaceKit's, but for the few that were cut twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = head.mesh.weights.tocsr()
    weights.sum_duplicates()
    arrays = {
        "indptr": weights.indptr.astype(np.int32),
        "indices": weights.indices.astype(np.int32),
        "weights": weights.data.astype(np.float32),
        "triangles": head.mesh.triangles.astype(np.int16),
        "parts": _part_of_vertices(head).astype(np.uint8),
        "mirror": head.mirror.astype(np.int16),
        "face": np.array([head.face_vertices, head.face_triangles], np.int32),
    }
    np.savez_compressed(path, **arrays)
    print(f"{path}: {weights.shape[0]} vertices, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
