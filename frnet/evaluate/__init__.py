"""Measuring alignment against ground truth, to the field's protocols (docs/evaluation.md)."""

from frnet.datasets.aflw2000 import AFLW2000Sample, list_aflw2000, read_aflw2000
from frnet.geometry.procrustes import Similarity, sadrnet_alignment, similarity_alignment

from .aflw2000 import Evaluation, evaluate_aflw2000, truth_of_aflw2000
from .bins import YAW_BINS, BinSummary, summarise_bins, yaw_bin
from .bootstrap import BootstrapIntervals, bootstrap_bins
from .configs_3ddfa import read_aflw2000_configs, read_aflw_configs
from .contact_sheet import View, worst_images, write_contact_sheet
from .crops import crop_files, predict_crops, read_list
from .curves import area_under_curve, cumulative_error, write_curve_plots, write_curve_table
from .dense import dense_nme_percent, reconstruction_nme_percent
from .mesh import DenseResult, DenseTruth, measure_dense, read_dense_truth
from .nme import nme_percent
from .pose import PoseError, pose_mae
from .predict import Predict, PredictedFace
from .predictions import Predictions, read_predictions
from .protocol import Protocol
from .published import PUBLISHED_NME, PublishedMethod, PublishedNME
from .reference import landmark_difference
from .sparse import SparseResult, aflw2000_sparse, aflw_sparse, landmarks_68_to_21, measure
from .truth import Boxes, Truth

__all__ = [
    "PUBLISHED_NME",
    "YAW_BINS",
    "AFLW2000Sample",
    "BinSummary",
    "BootstrapIntervals",
    "Boxes",
    "DenseResult",
    "DenseTruth",
    "Evaluation",
    "PoseError",
    "Predict",
    "PredictedFace",
    "Predictions",
    "Protocol",
    "PublishedMethod",
    "PublishedNME",
    "Similarity",
    "SparseResult",
    "Truth",
    "View",
    "aflw2000_sparse",
    "aflw_sparse",
    "area_under_curve",
    "bootstrap_bins",
    "crop_files",
    "cumulative_error",
    "dense_nme_percent",
    "evaluate_aflw2000",
    "landmark_difference",
    "landmarks_68_to_21",
    "list_aflw2000",
    "measure",
    "measure_dense",
    "nme_percent",
    "pose_mae",
    "predict_crops",
    "read_aflw2000",
    "read_aflw2000_configs",
    "read_aflw_configs",
    "read_dense_truth",
    "read_list",
    "read_predictions",
    "reconstruction_nme_percent",
    "sadrnet_alignment",
    "similarity_alignment",
    "summarise_bins",
    "truth_of_aflw2000",
    "worst_images",
    "write_contact_sheet",
    "write_curve_plots",
    "write_curve_table",
    "yaw_bin",
]
