"""How well the built-in face can be any face of ICT-FaceKit: fits it to random ones made of all their modes.

python tools/measure_builtin_face.py --ict ict_face_model_light.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from frnet.datasets.faces.expressions import draw_expressions  # noqa: E402
from frnet.morphable import MorphableModel  # noqa: E402
from frnet.morphable.builtin import builtin_parts  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ict", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with np.load(arguments.ict) as stored, np.load(ROOT / "frnet/datasets/faces/data/head.npz") as head:
        shape = (len(head["indptr"]) - 1, len(stored["neutral"]))
        rows = csr_matrix((head["weights"], head["indices"], head["indptr"]), shape)[: head["face"][0]]
        names = [str(name) for name in stored["expression_names"]]
        neutral = rows @ stored["neutral"].astype(np.float64)
        modes = np.stack(
            [rows @ mode.astype(np.float32) for mode in (*stored["identity"], *stored["expression"])]
        ).reshape(100 + len(names), -1)
    face = MorphableModel.builtin()
    skin = builtin_parts().parts == 0
    landmarks = face.landmarks.numpy()
    mean, basis = face.mean.double().numpy().reshape(-1, 3), face.basis.double().numpy()
    rng = np.random.default_rng(arguments.seed)
    identities = rng.standard_normal((arguments.faces, 100))
    coefficients = np.concatenate([identities, draw_expressions(rng, arguments.faces, names)], 1)
    faces = neutral.reshape(-1) + coefficients @ modes
    weight = np.repeat(np.where(skin, 1.0, 0.0), 3)
    weight[(3 * landmarks[:, None] + np.arange(3)).reshape(-1)] = 20
    weighted = basis * weight[:, None]
    fitted = np.linalg.solve(weighted.T @ basis, weighted.T @ (faces - mean.reshape(-1)).T).T
    away = np.linalg.norm((mean.reshape(-1) + fitted @ basis.T - faces).reshape(len(faces), -1, 3), axis=2)
    marks = faces.reshape(len(faces), -1, 3)[:, landmarks]
    off = ((mean.reshape(-1) + fitted @ basis.T).reshape(len(faces), -1, 3)[:, landmarks] - marks)[..., :2]
    extent = np.ptp(marks[..., :2], axis=1)
    nme = np.linalg.norm(off, axis=2).mean(1) / np.sqrt(extent.prod(1))
    surface = 10 * away[:, skin]
    print(f"{len(faces)} faces of 100 + {len(names)} modes, fitted with {basis.shape[1]} components")
    print(f"surface error: median {np.median(surface):.2f} mm, mean {surface.mean():.2f}, 95 % below "
          f"{np.percentile(surface, 95):.2f} mm")  # fmt: skip
    print(f"68 landmarks from the front, by sqrt(w h): mean {nme.mean():.2%}, worst face {nme.max():.2%}")
    spread = fitted.std(0)
    print(f"deviation of the fitted coefficients: shape {spread[:40].mean():.2f}, expression {spread[40:].mean():.2f}")


if __name__ == "__main__":
    main()
