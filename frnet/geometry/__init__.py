"""Where a face is in an image: roi boxes, crops, coordinate frames and head pose. NumPy, float64 inside."""

from frnet.geometry.crop import crop, normalize
from frnet.geometry.frames import crop_to_image, crop_to_image_3ddfa_v1, image_to_crop
from frnet.geometry.labels import (
    Frame,
    first_pixel,
    params_from_pose_para,
    pose_para_from_params,
    project_300wlp,
)
from frnet.geometry.overlap import box_overlap
from frnet.geometry.pose import (
    Pose,
    decompose_pose,
    euler_from_rotation,
    matrix2angle_3ddfa,
    place,
    pose_angles,
    rotation_from_euler,
)
from frnet.geometry.procrustes import Similarity, similarity_alignment
from frnet.geometry.roi import (
    benchmark_roi,
    clamp_roi,
    require_roi,
    roi_from_box,
    roi_from_landmarks,
    roi_from_landmarks_benchmark,
    roi_is_valid,
)
from frnet.geometry.similarity import (
    crop_affine,
    crop_view,
    label_positions,
    relative_affine,
    resize_params,
    transform_params,
    transform_points,
)
from frnet.geometry.upright import clockwise, straight_box, upright_box

__all__ = [
    "Frame",
    "Pose",
    "Similarity",
    "benchmark_roi",
    "box_overlap",
    "clamp_roi",
    "clockwise",
    "crop",
    "crop_affine",
    "crop_to_image",
    "crop_to_image_3ddfa_v1",
    "crop_view",
    "decompose_pose",
    "euler_from_rotation",
    "first_pixel",
    "image_to_crop",
    "label_positions",
    "matrix2angle_3ddfa",
    "normalize",
    "params_from_pose_para",
    "place",
    "pose_angles",
    "pose_para_from_params",
    "project_300wlp",
    "relative_affine",
    "require_roi",
    "resize_params",
    "roi_from_box",
    "roi_from_landmarks",
    "roi_from_landmarks_benchmark",
    "roi_is_valid",
    "rotation_from_euler",
    "similarity_alignment",
    "straight_box",
    "transform_params",
    "transform_points",
    "upright_box",
]
