"""Makes the pictures of the documentation, in docs/assets, and the figures that pages show of them.

Run: pip install openpeople==0.1.2 && python docs/make_pictures.py

What they show may be shown: the portrait is computer-made (openpeople, MIT), the grey heads are the built-in
face, cut out of ICT-FaceKit (MIT); the notices lie beside the pictures. Run it again when the weights that come with
frnet are others.
"""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path

import cv2
import numpy as np
import torch

from frnet import geometry, ops
from frnet.align import Face, FaceAligner, draw_axes, draw_landmarks, draw_mesh, read_image
from frnet.morphable import MorphableModel

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "docs" / "assets"
CLAY = (205, 215, 228)  # BGR
PORTRAIT_SIZE, PANEL_SIZE = 720, 320  # pixels


def main() -> None:
    package = importlib.resources.files("openpeople")
    person = package / "data" / "curated" / "P007" / "assets" / "amateur_selfie.jpg"
    portrait = cut_portrait(read_image(Path(str(person))))
    save("portrait.jpg", portrait, 85)

    aligner = FaceAligner()
    (face,) = aligner(ASSETS / "portrait.jpg")
    write_between(ROOT / "README.md", "face", table(face))
    write_between(ROOT / "docs" / "command-line.md", "record", record(face))
    save("face.jpg", panels(portrait, face, aligner.triangles), 88)
    save("landmarks.jpg", numbered(portrait, face), 82)
    save("parameters.jpg", parameters(), 85)


def cut_portrait(picture: np.ndarray) -> np.ndarray:
    """Head and shoulders."""
    left, top, side = 150, 120, 1330
    return cv2.resize(picture[top : top + side, left : left + side], (PORTRAIT_SIZE,) * 2, interpolation=cv2.INTER_AREA)


def panels(portrait: np.ndarray, face: Face, triangles: np.ndarray) -> np.ndarray:
    """Photograph, landmarks, mesh and axes side by side, drawn at twice the size."""
    size = 2 * PANEL_SIZE
    middle = (face.roi[:2] + face.roi[2:]) / 2
    roi = np.concatenate([middle - 230, middle + 230]) - np.array([0, 25, 0, 25])  # with some hair
    view = geometry.crop(portrait, roi, size)
    scale = size / (roi[2] - roi[0])
    landmarks, vertices = ((points - (*roi[:2], 0)) * scale for points in (face.landmarks, face.vertices))
    views = (
        view,
        draw_landmarks(view, landmarks, thickness=4),
        draw_mesh(view, vertices, triangles, opacity=0.95, color=CLAY),
        draw_axes(view, face.params, landmarks),
    )
    return cv2.hconcat([cv2.resize(each, (PANEL_SIZE,) * 2, interpolation=cv2.INTER_AREA) for each in views])


def numbered(portrait: np.ndarray, face: Face) -> np.ndarray:
    """The 68 landmarks with their numbers."""
    roi = geometry.roi_from_landmarks(face.landmarks)
    size = 760
    view = cv2.addWeighted(geometry.crop(portrait, roi, size), 0.5, np.full((size, size, 3), 255, np.uint8), 0.5, 0)
    points = (face.landmarks[:, :2] - roi[:2]) * (size / (roi[2] - roi[0]))
    for number, (x, y) in enumerate(points.round().astype(int).tolist()):
        cv2.circle(view, (x, y), 4, (60, 60, 230), cv2.FILLED, cv2.LINE_AA)
        cv2.putText(view, str(number), (x + 5, y - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
    return view


def parameters() -> np.ndarray:
    """What the parameters do, a row each: two shape coefficients, two expressions, the angle of the pose."""
    model = MorphableModel.builtin()
    size = 400

    def head(yaw: float = -25, coefficient: int = 0, value: float = 0) -> np.ndarray:
        pose = np.hstack([0.038 * size * geometry.rotation_from_euler(yaw, 0, 0), [[size / 2], [0.46 * size], [0]]])
        params = torch.zeros(1, model.num_params)
        params[0, :12] = torch.from_numpy(pose).flatten()
        params[0, 12 + coefficient] = value
        vertices = ops.reconstruct_vertices(params, model)[0].numpy() * (1, -1, 1) + (0, size, 0)
        white = np.full((size, size, 3), 255, np.uint8)
        picture = draw_mesh(white, vertices, model.triangles.numpy(), 1.0, CLAY)
        return cv2.resize(picture, (size // 2,) * 2, interpolation=cv2.INTER_AREA)

    smile, jaw = (model.layout.num_shape + model.expression_names.index(name) for name in ("smile", "jaw open"))
    rows = (
        [head(coefficient=0, value=value) for value in (-3, -1.5, 0, 1.5, 3)],
        [head(coefficient=1, value=value) for value in (-3, -1.5, 0, 1.5, 3)],
        [head(coefficient=smile, value=value) for value in (-1, 0, 1, 2, 3)],
        [head(coefficient=jaw, value=value) for value in (-1, 0, 1, 2, 3)],
        [head(yaw=yaw) for yaw in (-60, -30, 0, 30, 60)],
    )
    return cv2.vconcat([cv2.hconcat(row) for row in rows])


def table(face: Face) -> str:
    """What the README says of the portrait."""
    yaw, pitch, roll = face.pose
    x, y = face.landmarks[30, :2]
    return f"""| what comes out | | in the picture above |
|---|---|---|
| `face.pose` | yaw, pitch and roll of the head, in degrees | {yaw:.1f}, {pitch:.1f}, {roll:.1f} |
| `face.landmarks` | 68 points: x and y in pixels, z towards you | the tip of the nose at ({x:.1f}, {y:.1f}) |
| `face.vertices` | the mesh | {len(face.vertices)} points |
| `face.params` | the 62 numbers of a face model that all of this is made from | |
| `face.score`, `face.box`, `face.roi` | how surely a face was found, and where | {face.score:.2f} |"""


def record(face: Face) -> str:
    """What the page of the command line says of the JSON of the portrait."""
    values = face.to_dict()
    values["landmarks"] = [np.round(values["landmarks"][0], 1).tolist(), "... 68 of them"]
    values["params"] = [*(float(f"{value:.3g}") for value in values["params"][:4]), "... 62 of them"]
    values["pose"] = {name: round(value, 1) for name, value in values["pose"].items()}
    for name in ("roi", "box"):
        values[name] = np.round(values[name], 1).tolist()
    values["score"] = round(values["score"], 2)
    lines = ",\n            ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in values.items())
    return f'```json\n{{"image": "docs/assets/portrait.jpg",\n "faces": [{{{lines}}}]}}\n```'


def write_between(page: Path, name: str, text: str) -> None:
    """Puts a text between two marks of a page."""
    begin, end = f"<!-- {name}: written by docs/make_pictures.py -->\n", f"<!-- end of {name} -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{before}{begin}\n{text}\n\n{end}{rest.split(end)[1]}", encoding="utf-8")


def save(name: str, picture: np.ndarray, quality: int) -> None:
    path = ASSETS / name
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
