"""Training and test data: 300W-LP, 3DDFA's lists, AFLW2000-3D, AFLW and faces drawn on the spot; augmentation."""

from frnet.datasets.aflw2000 import AFLW2000Sample, list_aflw2000, read_aflw2000
from frnet.datasets.augment import (
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
from frnet.datasets.benchmarks import AFLW, AFLW2000, CropFolder, ImageCrops
from frnet.datasets.dataset import FaceDataset, init_worker
from frnet.datasets.index import IndexReport, Skipped
from frnet.datasets.mat import LabelError, MatLabel, read_mat
from frnet.datasets.mirror import Mirror, find_mirror
from frnet.datasets.procedural import FaceRanges, ProceduralFaces
from frnet.datasets.sample import Crop, Face, LabelConvention, Sample, network_input
from frnet.datasets.sampler import EpochSampler
from frnet.datasets.synthetic import SyntheticFaces
from frnet.datasets.three_hundred_wlp import ThreeHundredWLP
from frnet.datasets.threeddfa_lists import ThreeDDFALists

__all__ = [
    "AFLW",
    "AFLW2000",
    "AFLW2000Sample",
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
    "ProceduralFaces",
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
    "list_aflw2000",
    "network_input",
    "read_aflw2000",
    "read_mat",
]
