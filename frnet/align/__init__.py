"""From photographs to faces in 3D: detection, alignment, pictures and mesh files of the result."""

from frnet.io.images import ImageError, check_image, read_image
from frnet.io.inputs import expand_inputs
from frnet.io.meshes import face_mesh, save_mesh, vertex_colors
from frnet.render.draw import draw_axes, draw_face, draw_faces, draw_landmarks, draw_mesh

from .aligner import FaceAligner
from .detectors import Detections, Detector, HaarDetector
from .face import Face, Pose
from .face_detector import FaceDetector
from .files import FileResult, align_files
from .open_detector import open_detector
from .regions import Regions
from .video import FaceTracker, Track, align_video
from .yunet import YuNetDetector

__all__ = [
    "Detections",
    "Detector",
    "Face",
    "FaceAligner",
    "FaceDetector",
    "FaceTracker",
    "FileResult",
    "HaarDetector",
    "ImageError",
    "Pose",
    "Regions",
    "Track",
    "YuNetDetector",
    "align_files",
    "align_video",
    "check_image",
    "draw_axes",
    "draw_face",
    "draw_faces",
    "draw_landmarks",
    "draw_mesh",
    "expand_inputs",
    "face_mesh",
    "open_detector",
    "read_image",
    "save_mesh",
    "vertex_colors",
]
