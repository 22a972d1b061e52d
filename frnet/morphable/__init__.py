"""3D morphable face models: the model itself, its parameter vector, and readers of the published formats."""

from frnet.morphable.layout import ParamLayout
from frnet.morphable.model import MorphableModel
from frnet.morphable.whitening import Whitening, identify_whitening, load_whitening

__all__ = ["MorphableModel", "ParamLayout", "Whitening", "identify_whitening", "load_whitening"]
