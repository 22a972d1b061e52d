"""A folder like 300W-LP, in small: copies of the real samples."""

from __future__ import annotations

import shutil
from pathlib import Path


def make_three_hundred_wlp(root: Path, shared: Path) -> Path:
    """The eight images of AFLW2000-3D (labelled alike) as AFW, the real sample as IBUG; gives the folder of both."""
    for subset, files in (
        ("AFW", (shared / "aflw2000-3d-sample").glob("image*")),
        ("IBUG", (shared / "300w-lp-sample").glob("IBUG*")),
    ):
        (root / subset).mkdir(parents=True)
        for file in files:
            shutil.copy(file, root / subset)
    return root
