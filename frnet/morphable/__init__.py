"""3D morphable face models: the model itself, its parameter vector, and readers of the published formats."""

from typing import TYPE_CHECKING

from frnet.late import late_names
from frnet.morphable.landmarks import LANDMARK_MIRROR
from frnet.morphable.layout import ParamLayout
from frnet.morphable.open_morphable import open_morphable
from frnet.morphable.whitening import Whitening, identify_whitening, load_whitening, resize_whitening

if TYPE_CHECKING:
    from frnet.morphable.model import MorphableModel
    from frnet.morphable.procedural import procedural_face

__all__ = [
    "LANDMARK_MIRROR",
    "MorphableModel",
    "ParamLayout",
    "Whitening",
    "identify_whitening",
    "load_whitening",
    "open_morphable",
    "procedural_face",
    "resize_whitening",
]

__getattr__, __dir__ = late_names(
    __name__, {"MorphableModel": "frnet.morphable.model", "procedural_face": "frnet.morphable.procedural"}
)
