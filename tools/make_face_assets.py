"""Makes what training faces are painted with, from computer-made portraits (openpeople, MIT licence).

    pip install openpeople==0.1.2
    python tools/make_face_assets.py --ict FaceXModel --points face_points.npz --output DIR [--pictures DIR ...]

``--points`` holds 478 points of MediaPipe's face mesh for the faces found in openpeople's pictures (``files``,
``boxes`` and ``points``); ``--pictures`` are folders of photographs without faces, for backgrounds. Nothing of the
result is shipped: DIR is a cache for ``frnet.datasets.SyntheticFaces``.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

from face_assets.colours import Side, sample_colours, sample_side  # noqa: E402
from face_assets.fit import FACE_MESH_68, Fit, fit_head, is_a_knee  # noqa: E402
from face_assets.portraits import cut_portrait, depth_grid  # noqa: E402
from face_assets.profiles import fit_profile, read_profiles  # noqa: E402

from frnet.datasets.faces.head import Head  # noqa: E402

_ERROR, _YAW = 0.03, 28.0  # a fit is used up to this error, and on pictures that show the face from the front
_SIDE = 160  # of backgrounds, pixels
_SCALES = (200, 350, 500, 800)
_LARGEST = 1600  # of a picture that backgrounds are cut of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ict", type=Path, required=True)
    parser.add_argument("--points", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--openpeople", type=Path, help="folder of the package; default: the installed one")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    people = arguments.openpeople or Path(importlib.util.find_spec("openpeople").origin).parent
    people = people / "data" / "curated"
    head = Head(arguments.ict)
    with np.load(arguments.points) as stored:
        files, boxes, points = (stored[name] for name in ("files", "boxes", "points"))
    fits = [fit_head(head, marks) for marks in points[:, FACE_MESH_68, :2].astype(np.float64)]
    good = [
        fit.error < _ERROR and abs(fit.yaw) < _YAW and fit.scale > 7 and not is_a_knee(name, box)
        for name, box, fit in zip(files.tolist(), boxes, fits, strict=True)
    ]
    sides, profiles = _profiles(head, people, files, [fit if ok else None for fit, ok in zip(fits, good, strict=True)])
    colours, portraits, observed = [], [], []
    pictures = _Pictures(people)
    for name, marks, fit in zip(files[good].tolist(), points[good][:, FACE_MESH_68, :2].astype(np.float64),
                                [fit for fit, ok in zip(fits, good, strict=True) if ok], strict=True):  # fmt: skip
        if fit.scale > 9:
            colours.append(sample_colours(head, pictures(name), marks, fit, sides.get(name.split("/")[0])))
        portraits.append((name, pictures(name), fit))
        observed.append(fit.coefficients[head.identities :])
    cut = [_portrait(head, *each) for each in (*portraits, *profiles)]
    patches, depths, poses, coefficients = zip(*cut, strict=True)
    names = [name for name, *_ in (*portraits, *profiles)]
    rng = np.random.default_rng(0)
    backgrounds = [*_openpeople_backgrounds(people, files, boxes, rng), *_pictures(arguments.pictures, rng)]
    arguments.output.mkdir(parents=True, exist_ok=True)
    arrays = {
        "colours": np.array(colours),
        "patches": np.array(patches),
        "depths": np.array(depths),
        "poses": np.array(poses, np.float32),
        "coefficients": np.array(coefficients, np.float32),
        "observed": np.array(observed, np.float32).clip(0, 1),
        "backgrounds": np.array(backgrounds),
        "names": np.array(names),
    }
    for name, array in arrays.items():
        np.save(arguments.output / f"{name}.npy", array)
        print(name, array.shape, array.dtype)


class _Pictures:
    """Reads pictures by name, person/file; keeps the last one."""

    def __init__(self, people: Path) -> None:
        self._people, self._held = people, ("", None)

    def __call__(self, name: str) -> np.ndarray:
        if name != self._held[0]:
            person, file = name.split("/")
            self._held = name, cv2.imread(str(self._people / person / "assets" / file))
        return self._held[1]


def _profiles(
    head: Head, people: Path, files: np.ndarray, fits: list[Fit | None]
) -> tuple[dict[str, Side], list[tuple[str, np.ndarray, Fit]]]:
    """What profiles show of each person, and the profiles as portraits."""
    sides, portraits, all_profiles = {}, [], read_profiles()
    for person in sorted({profile.person for profile in all_profiles}):
        known = [fit.coefficients for name, fit in zip(files, fits, strict=True) if fit and name.startswith(person)]
        identity = np.mean(known, 0)
        identity[head.identities :] = 0
        picture = cv2.imread(str(people / person / "assets" / "character_sheet.jpg"))
        views = []
        for profile in all_profiles:
            if profile.person == person:
                fit = fit_profile(head, profile, identity)
                views.append((picture, fit, profile.shows_the_ear))
                portraits.append((f"{person}/{profile.panel}", picture, fit))
        sides[person] = sample_side(head, views)
    return sides, portraits


def _portrait(
    head: Head, name: str, picture: np.ndarray, fit: Fit
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Patch, depth, pose and coefficients."""
    patch, centre = cut_portrait(picture, fit)
    vertices = head.vertices(fit.coefficients[None])[0]
    depth = depth_grid(head, vertices, fit.rotation, centre).astype(np.float16)
    return patch, depth, np.concatenate([fit.rotation.reshape(-1), centre]), fit.coefficients


def _openpeople_backgrounds(
    people: Path, files: np.ndarray, boxes: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    crops = []
    for path in sorted(people.glob("*/assets/*.jpg")):
        picture = cv2.imread(str(path))
        faces = boxes[files == f"{path.parent.parent.name}/{path.name}"]
        crops += _crops(picture, 40 if "amateur" in path.name else 8, rng, faces)
    return crops


def _pictures(folders: list[Path], rng: np.random.Generator) -> list[np.ndarray]:
    crops = []
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            picture = cv2.imread(str(path))
            if picture is None or min(picture.shape[:2]) < _SIDE:
                continue
            if max(picture.shape) > _LARGEST:
                factor = _LARGEST / max(picture.shape)
                picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            crops += _crops(picture, 30, rng, np.zeros((0, 5)))
    return crops


def _crops(picture: np.ndarray, count: int, rng: np.random.Generator, faces: np.ndarray) -> list[np.ndarray]:
    """Squares of all sizes; those that hold most of a face are left out."""
    crops = []
    for _ in range(count):
        side = min(int(rng.choice(_SCALES)), *picture.shape[:2])
        top, left = (int(rng.integers(extent - side + 1)) for extent in picture.shape[:2])
        middle = faces[:, :2] + faces[:, 2:4] / 2 - [left, top] if len(faces) else np.zeros((0, 2))
        if not ((middle > 0) & (middle < side)).all(1).any():
            square = picture[top : top + side, left : left + side]
            crops.append(cv2.resize(square, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA))
    return crops


if __name__ == "__main__":
    main()
