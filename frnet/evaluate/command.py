"""What ``frnet evaluate`` does: read the truth, get predictions, measure them under every protocol asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frnet.datasets.aflw2000 import AFLW2000Sample, list_aflw2000
from frnet.io.images import read_image
from frnet.morphable import MorphableModel, open_morphable
from frnet.weights import find_morphable, load_checkpoint
from frnet.weights.builtin import find_weights

from .aflw2000 import Evaluation, evaluate_aflw2000, truth_of_aflw2000
from .bootstrap import BootstrapIntervals
from .configs_3ddfa import ANNOTATIONS, SPLITS, is_test_configs, read_aflw2000_configs, read_aflw_configs
from .contact_sheet import View
from .crops import crop_files, predict_crops, read_list
from .mesh import DenseResult, DenseTruth, measure_dense, read_dense_truth
from .pose import pose_mae
from .predict import Predict
from .predictions import CROP_SIZE, Predictions, read_predictions
from .protocol import COORDINATES
from .reference import landmark_difference
from .sparse import SparseResult, measure
from .tables import PoseResult
from .truth import ROI_RULES, Truth

__all__ = ["Network", "OpenNetwork", "Report", "Request", "RequestError", "run"]


class RequestError(ValueError):
    """Options that contradict each other."""


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, on what, and how; the options of ``frnet evaluate``.

    Attributes:
        truth: folder of images with ``.mat`` files, or 3DDFA's ``test.configs``.
        weights, model, landmarks, whitening, detector, device: the network, if one is evaluated. Weights, model and
            detector are files or what such parts of frnet are called, as ``"builtin"``; without a model it is the
            built-in face, for weights that were trained for it.
        predictions: files of other methods.
        crops, crop_list: folder of published crops, for a network on ``test.configs``, and their order.
        data: of ``test.configs``: ``"aflw2000"`` or ``"aflw"``.
        annotation, split: of ``test.configs``; or ``"all"``.
        roi: ``"3ddfa-compat"``, ``"exact"`` or ``"both"``.
        coordinates: see :func:`measure`.
        dense_truth: file of true meshes.
        reference: file of landmarks to compare those of a network on images with.
        bootstrap: resamples; 0 for no intervals.
        seed: of the resamples.
        name: of the network in the tables.
    """

    truth: Path
    weights: str | Path | None = None
    model: str | Path | None = None
    landmarks: Path | None = None
    whitening: Path | None = None
    detector: str | Path | None = None
    device: str = "cpu"
    predictions: tuple[Path, ...] = ()
    crops: Path | None = None
    crop_list: Path | None = None
    data: str = "aflw2000"
    annotation: str = "original"
    split: str = "pose"
    roi: str = "both"
    coordinates: str = "as-stored"
    dense_truth: Path | None = None
    reference: Path | None = None
    bootstrap: int = 1000
    seed: int = 0
    name: str | None = None

    def check(self) -> None:
        """Raises RequestError for options that contradict each other, before anything is read."""
        for option, value, known in (
            ("--data", self.data, ("aflw2000", "aflw")),
            ("--annotation", self.annotation, (*ANNOTATIONS, "all")),
            ("--split", self.split, (*SPLITS, "all")),
            ("--roi", self.roi, ("exact", "3ddfa-compat", "both")),
            ("--coordinates", self.coordinates, COORDINATES),
        ):
            if value not in known:
                raise RequestError(f"{option} must be {' or '.join(known)}, got {value}")
        if self.weights is None and not self.predictions:
            raise RequestError("give --weights to evaluate a network, or --predictions FILE")
        configs = is_test_configs(self.truth)
        if configs and self.weights is not None and self.crops is None:
            raise RequestError("a network on test.configs also needs --crops DIR, the 120x120 crops that belong to it")
        if configs and self.detector is not None:
            raise RequestError("--detector is for folders of images; test.configs has crops alone")
        if self.data == "aflw" and self.crops is not None and self.crop_list is None:
            raise RequestError("--data aflw also needs --list FILE, which says in which order the crops are")
        own = (self.data, self.annotation, self.split) == ("aflw2000", "original", "pose")
        if not configs and (self.crops or self.crop_list or not own):
            raise RequestError(
                f"--data, --annotation, --split, --crops and --list are for 3DDFA's test.configs, and {self.truth} "
                "holds none of its files"
            )
        if self.reference is not None and (configs or self.weights is None):
            raise RequestError("--reference is for a network on a folder of images")
        if self.data == "aflw" and (self.annotation, self.split) != ("original", "pose"):
            raise RequestError("--annotation and --split are for aflw2000; AFLW has one of each")

    @property
    def roi_rules(self) -> tuple[str, ...]:
        """The rules asked for, 3DDFA's first."""
        return ROI_RULES if self.roi == "both" else (self.roi,)


@dataclass(eq=False)
class Report:
    """All that was measured.

    Attributes:
        request: what was asked for.
        results: one per method and protocol, their ``method`` unlike each other.
        intervals: of each result.
        pose, dense: where both sides have one.
        evaluations: of a network on a folder of images, by result's index.
        reference_difference: of the first evaluation, in pixels per image; see :func:`landmark_difference`.
        views: by result's index: pictures for contact sheets, where they are at hand.
        whitening: which one the network used.
        notes: what was left out.
    """

    request: Request
    results: list[SparseResult] = field(default_factory=list)
    intervals: list[BootstrapIntervals | None] = field(default_factory=list)
    pose: list[PoseResult] = field(default_factory=list)
    dense: list[DenseResult] = field(default_factory=list)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    reference_difference: NDArray[np.float64] | None = None
    views: dict[int, Callable[[int], View]] = field(default_factory=dict)
    whitening: str | None = None
    notes: list[str] = field(default_factory=list)


class Network(NamedTuple):
    """A network, ready to predict.

    Attributes:
        predict: what is evaluated.
        whitening: where its whitening comes from, in words.
    """

    predict: Predict
    whitening: str


OpenNetwork = Callable[[Request, MorphableModel, str | Path | None], Network]
"""Opens the network of a request: with its morphable model, and with a detector where it has to find faces."""


def run(request: Request, open_network: OpenNetwork) -> Report:
    """Evaluate what is asked for.

    Args:
        request: what is asked for.
        open_network: called if it asks for a network, once everything else has been read.

    Raises:
        RequestError: options that contradict each other.
        OSError, ValueError, RuntimeError: a file is missing, damaged or does not match the others; the message
            names it.
    """
    request.check()
    report = Report(request)
    samples, truths, crops = None, None, None
    if is_test_configs(request.truth):
        names = None if request.crop_list is None else read_list(request.crop_list)
        if request.crops is not None:
            crops = crop_files(request.crops, names)
            names = [path.name for path in crops] if names is None else names
        truths = _configs_truths(request, names)
    else:
        samples = list_aflw2000(request.truth)
        truths = [truth_of_aflw2000(samples)]
    dense = None if request.dense_truth is None else read_dense_truth(request.dense_truth)
    morphable = None if request.model is None and request.weights is None else _open_model(request)
    files = [read_predictions(path, morphable, dense is not None) for path in request.predictions]
    for predictions in files:  # before a network runs, which takes longer
        predictions.in_order_of(truths[0].names, len(truths[0]))
    methods: list[tuple[Predictions, Evaluation | None]] = [(predictions, None) for predictions in files]
    if request.weights is not None:
        methods = [
            *_network(request, report, partial(open_network, request, morphable), samples, truths[0], crops),
            *methods,
        ]
    for predictions, evaluation in methods:
        _measure_all(request, report, predictions, evaluation, truths, crops)
        _measure_pose_and_mesh(request, report, predictions, truths[0], dense)
    if request.reference is not None:
        report.reference_difference = landmark_difference(report.evaluations[0], request.reference)
    report.results = _with_own_names(report.results, ("annotation", "split", "roi"))
    report.pose, report.dense = _with_own_names(report.pose), _with_own_names(report.dense)
    if request.bootstrap:
        report.intervals = [result.intervals(request.bootstrap, seed=request.seed) for result in report.results]
    else:
        report.intervals = [None] * len(report.results)
    return report


def _configs_truths(request: Request, names: list[str] | None) -> list[Truth]:
    if request.data == "aflw":
        return [read_aflw_configs(request.truth, names)]
    annotations = tuple(ANNOTATIONS) if request.annotation == "all" else (request.annotation,)
    splits = tuple(SPLITS) if request.split == "all" else (request.split,)
    return [read_aflw2000_configs(request.truth, split, a, names) for a, split in product(annotations, splits)]


def _network(
    request: Request,
    report: Report,
    open_network: Callable[[str | Path | None], Network],
    samples: list[AFLW2000Sample] | None,
    truth: Truth,
    crops: list[Path] | None,
) -> Iterator[tuple[Predictions, Evaluation | None]]:
    """What the network says: once for crops, once per rule of cropping for images."""
    name, vertices = request.name or find_weights(request.weights).stem, request.dense_truth is not None
    predict, report.whitening = open_network(None)
    if samples is None:
        yield predict_crops(predict, crops, truth, name, vertices), None
        return
    runs = [(predict, rule) for rule in request.roi_rules]
    if request.detector is not None:
        runs.append((open_network(request.detector).predict, "detector"))
    for method, rule in runs:
        evaluation = evaluate_aflw2000(method, samples, rule, coordinates=request.coordinates)
        yield evaluation.predictions(f"{name}, roi {evaluation.crops}", vertices), evaluation


def _open_model(request: Request) -> MorphableModel:
    """The model of the request; cut down to its landmarks where no mesh is asked for, which saves time and memory."""
    if request.model is not None:
        model = open_morphable(request.model, request.landmarks)
    elif (model := find_morphable(load_checkpoint(request.weights))) is None:
        raise RequestError(f"{request.weights} also needs --model: it is not known to be trained for the built-in face")
    whole = request.dense_truth is not None or model.landmarks is None
    return model if whole else model.landmark_model()


def _measure_all(
    request: Request,
    report: Report,
    predictions: Predictions,
    evaluation: Evaluation | None,
    truths: list[Truth],
    crops: list[Path] | None,
) -> None:
    rules = _rules(request, report, truths[0]) if predictions.frame == "crop120" else request.roi_rules[:1]
    for truth, rule in product(truths, rules):
        index = len(report.results)
        report.results.append(measure(predictions, truth, rule, request.coordinates))
        if evaluation is not None:
            report.evaluations[index] = evaluation
        if truth.images is not None:
            report.views[index] = partial(_whole_image, truth)
        elif crops is not None:
            report.views[index] = partial(_crop, crops, truth.boxes.of(rule))


def _rules(request: Request, report: Report, truth: Truth) -> tuple[str, ...]:
    """The rules asked for; where "both" are, and the whole boxes are unknown, 3DDFA's alone and a note."""
    rules = request.roi_rules
    if request.roi != "both" or truth.boxes is None:
        return rules
    try:
        truth.boxes.of("exact")
    except ValueError as error:
        report.notes = [f"roi exact is left out: {error}"]
        return rules[:1]
    return rules


def _measure_pose_and_mesh(
    request: Request, report: Report, predictions: Predictions, truth: Truth, dense: DenseTruth | None
) -> None:
    rule = request.roi_rules[0]
    nobody = predictions.found is not None and not predictions.found.any()
    if predictions.pose is not None and truth.pose is not None and not nobody:
        error = pose_mae(predictions.in_order_of(truth.names, len(truth)).pose, truth.pose)
        protocol = (
            f"{truth.data}, {error.counted.sum()} of {len(truth)} images (none with a true angle beyond 99 degrees, "
            "which leaves 1969 of the whole data set); angles of Pose_Para, exact inverse; mean of the three; "
            f"crops {predictions.crops}"
        )
        report.pose.append(PoseResult(predictions.method, protocol, error))
    if dense is not None:
        report.dense.append(measure_dense(predictions, dense, truth, rule))


def _with_own_names(results: list[Any], fields: tuple[str, ...] = ()) -> list[Any]:
    """Rows of one method get the fields of the protocol in which they differ into their names, else a number."""
    seen: Counter[str] = Counter()
    named = []
    for result in results:
        alike = [other.protocol for other in results if other.method == result.method]
        differing = [name for name in fields if len({getattr(protocol, name) for protocol in alike}) > 1]
        label = ", ".join([result.method, *(f"{name} {getattr(result.protocol, name)}" for name in differing)])
        seen[label] += 1
        named.append(replace(result, method=label if seen[label] == 1 else f"{label} ({seen[label]})"))
    return named


def _whole_image(truth: Truth, index: int) -> View:
    return View(read_image(truth.images[index]))


def _crop(crops: list[Path], boxes: NDArray[np.float64], index: int) -> View:
    x0, y0, x1, y1 = boxes[index]
    scale = (CROP_SIZE / (x1 - x0), CROP_SIZE / (y1 - y0))
    return View(read_image(crops[index]), scale, (-x0 * scale[0] - 1, -y0 * scale[1] - 1))
