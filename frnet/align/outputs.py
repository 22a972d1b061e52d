"""Result files of a run over many images, as ``frnet align`` writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from frnet.io.files import write_whole
from frnet.io.images import Image
from frnet.io.meshes import save_mesh, vertex_colors
from frnet.render.draw import draw_faces

from .face import Face


@dataclass(frozen=True)
class Wanted:
    """Which kinds of file a run writes."""

    json: bool = False
    overlay: bool = False
    obj: bool = False
    ply: bool = False


class ResultWriter:
    """Writes results into one folder, under the names of the inputs.

    ``NAME.json`` (``NAME.jsonl`` for a video), ``NAME_overlay.jpg`` (``.mp4``), ``NAME_0.obj``,
    ``NAME_0.ply`` and so on, one mesh per face. Two inputs of one name become NAME and NAME-2. Files of images appear
    whole or not at all; those of a video grow with it.

    Args:
        folder: exists already.
        wanted: which kinds of file.
        triangles: int [T, 3] of the morphable model, for overlays and meshes.
    """

    def __init__(self, folder: Path, wanted: Wanted, triangles: NDArray[np.integer]) -> None:
        self.folder, self.wanted, self.triangles = folder, wanted, triangles
        self._taken: set[str] = set()

    def write(self, source: Path, image: Image, faces: Sequence[Face]) -> None:
        """Write what is wanted for one image.

        Raises:
            OSError: a file cannot be written.
        """
        stem = self._claim(source)
        if self.wanted.json:
            record = {"image": str(source), "faces": [face.to_dict() for face in faces]}
            write_whole(self.folder / f"{stem}.json", (json.dumps(record, indent=1) + "\n").encode("utf-8"))
        if self.wanted.overlay:
            drawn = draw_faces(image, faces, self.triangles)
            ok, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 95])
            if not ok:
                raise OSError(f"OpenCV cannot encode the overlay of {source}")
            write_whole(self.folder / f"{stem}_overlay.jpg", data.tobytes())
        for suffix in (kind for kind in ("obj", "ply") if getattr(self.wanted, kind)):
            for index, face in enumerate(faces):
                colors = vertex_colors(image, face.vertices)
                save_mesh(self.folder / f"{stem}_{index}.{suffix}", face.vertices, self.triangles, colors)

    def video_files(self, source: Path) -> tuple[Path | None, Path | None]:
        """The overlay video and the JSON lines file for one video, each None where it is not wanted."""
        stem = self._claim(source)
        overlay = self.folder / f"{stem}_overlay.mp4" if self.wanted.overlay else None
        return overlay, self.folder / f"{stem}.jsonl" if self.wanted.json else None

    def _claim(self, source: Path) -> str:
        stem, number = source.stem, 2
        while stem in self._taken:
            stem, number = f"{source.stem}-{number}", number + 1
        self._taken.add(stem)
        return stem
