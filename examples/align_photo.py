"""A photograph in, every face in 3D out: print what was found and draw it.

Run: python examples/align_photo.py [PHOTO] [FOLDER FOR THE RESULTS]
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

from frnet.align import FaceAligner, draw_faces, read_image

PORTRAIT = Path(__file__).parents[1] / "docs" / "assets" / "portrait.jpg"  # of a computer-made person


def main(photo: Path, out: Path) -> None:
    aligner = FaceAligner()  # weights, face model and detector come with frnet
    image = read_image(photo)
    faces = aligner(image)
    assert faces, f"no face in {photo}"

    for face in faces:
        yaw, pitch, roll = face.pose
        print(f"yaw {yaw:6.1f}  pitch {pitch:6.1f}  roll {roll:6.1f} degrees   detector's score {face.score:.2f}")
        x, y, z = face.landmarks[30]
        print(f"  tip of the nose at ({x:.1f}, {y:.1f}) pixels, {z:.1f} in front of the rearmost landmark")
        print(f"  {len(face.landmarks)} landmarks, {len(face.vertices)} vertices, {len(face.params)} parameters")

    out.mkdir(parents=True, exist_ok=True)
    picture = out / f"{photo.stem}_drawn.jpg"
    cv2.imwrite(str(picture), draw_faces(image, faces, aligner.triangles))
    print("drawn:", picture)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    main(*given, *(PORTRAIT, Path("out"))[len(given) :])
