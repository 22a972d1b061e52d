"""Training and test data: 300W-LP, 3DDFA's lists, AFLW2000-3D, AFLW and faces drawn on the spot; augmentation."""

from frnet.data.augment import (
    AugmentationConfig,
    Blur,
    Colour,
    Downscale,
    Flip,
    Jpeg,
    MotionBlur,
    Noise,
    Occlusion,
    RoiJitter,
    Rotation,
    augment,
)
from frnet.data.benchmarks import AFLW, AFLW2000, CropFolder, ImageCrops
from frnet.data.dataset import FaceDataset, init_worker
from frnet.data.index import IndexReport, Skipped
from frnet.data.mat import LabelError, MatLabel, read_mat
from frnet.data.mirror import Mirror, find_mirror
from frnet.data.sample import Crop, Face, LabelConvention, Sample, network_input
from frnet.data.sampler import EpochSampler
from frnet.data.synthetic import FaceRanges, SyntheticFaces
from frnet.data.three_hundred_wlp import ThreeHundredWLP
from frnet.data.threeddfa_lists import ThreeDDFALists

__all__ = [
    "AFLW",
    "AFLW2000",
    "AugmentationConfig",
    "Blur",
    "Colour",
    "Crop",
    "CropFolder",
    "Downscale",
    "EpochSampler",
    "Face",
    "FaceDataset",
    "FaceRanges",
    "Flip",
    "ImageCrops",
    "IndexReport",
    "Jpeg",
    "LabelConvention",
    "LabelError",
    "MatLabel",
    "Mirror",
    "MotionBlur",
    "Noise",
    "Occlusion",
    "RoiJitter",
    "Rotation",
    "Sample",
    "Skipped",
    "SyntheticFaces",
    "ThreeDDFALists",
    "ThreeHundredWLP",
    "augment",
    "find_mirror",
    "init_worker",
    "network_input",
    "read_mat",
]
