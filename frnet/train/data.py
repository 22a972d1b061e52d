"""From a configuration's sections to a training set, a validation set and the morphable model of their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frnet.datasets import (
    FaceDataset,
    LabelConvention,
    Mirror,
    ProceduralFaces,
    SyntheticFaces,
    ThreeDDFALists,
    ThreeHundredWLP,
    find_mirror,
)
from frnet.datasets.parallel import Progress
from frnet.morphable import MorphableModel, load_whitening, open_morphable, procedural_face

from .config import MadeFacesData, SyntheticData, ThreeDDFAListsData, ThreeHundredWLPData, TrainConfig
from .config_files import ConfigError

__all__ = ["TrainingData", "open_data", "open_network_morphable"]

_CROP_SIZE_3DDFA = 120


class TrainingData(NamedTuple):
    """What is learned from.

    Attributes:
        train: augmented as the configuration says.
        validation: as it is.
        morphable: the model of the labels, with the whitening that the network learns.
        report: lines on what was found, for the user.
    """

    train: FaceDataset
    validation: FaceDataset
    morphable: MorphableModel
    report: list[str]


def open_network_morphable(config: TrainConfig) -> MorphableModel:
    """The model the configuration names, without looking at data.

    Where it names none that is the built-in face for faces from a store, and else the procedural one.

    Raises:
        FileNotFoundError, ValueError: see :func:`frnet.morphable.open_morphable`.
    """
    section = config.morphable
    if section.path is not None:
        morphable = open_morphable(section.path, section.landmarks)
    else:
        morphable = MorphableModel.builtin() if isinstance(config.data, MadeFacesData) else procedural_face()
    if isinstance(section.whitening, Path):
        morphable = morphable.with_whitening(*load_whitening(section.whitening))
    return morphable


def open_data(
    config: TrainConfig,
    morphable: MorphableModel,
    size: int,
    synthetic_cache: Path,
    progress: Progress | None = None,
) -> TrainingData:
    """Open the data sets; indexes and synthetic faces that are not there yet are made.

    Args:
        config: of the run.
        morphable: what :func:`open_network_morphable` opened.
        size: side of the network's crops.
        synthetic_cache: where synthetic faces are kept if the configuration does not say.
        progress: called with faces done and faces in all while they are indexed or drawn.

    Raises:
        ConfigError: sections that do not fit each other; the message names the setting.
        OSError, ValueError: data that cannot be used; the message names the file. See the data sets.
    """
    data = config.data
    if isinstance(data, SyntheticData):
        opened = _synthetic(config, data, morphable, size, data.cache or synthetic_cache, progress)
    elif isinstance(data, MadeFacesData):
        opened = _made_faces(config, data, size)
    elif isinstance(data, ThreeHundredWLPData):
        opened = _three_hundred_wlp(config, data, morphable, size, progress)
    else:
        opened = _threeddfa_lists(config, data, morphable, size)
    if config.morphable.whitening == "labels":
        opened = opened._replace(morphable=_whitened_by_labels(opened))
    if opened.morphable.param_mean is None:
        raise ConfigError(
            f"morphable.whitening: {config.morphable.path} has none; give a file, or 'labels' for the mean and "
            "standard deviation of the training labels"
        )
    return opened


def _synthetic(
    config: TrainConfig, data: SyntheticData, morphable: MorphableModel, size: int, cache: Path,
    progress: Progress | None,
) -> TrainingData:  # fmt: skip
    workers = config.hardware.workers
    common = {"ranges": data.ranges, "size": size, "cache": cache, "workers": workers, "progress": progress}
    train = ProceduralFaces(
        data.count,
        morphable,
        data_seed=data.data_seed,
        augmentation=config.augmentation,
        seed=config.seed,
        mirror=_mirror(config, morphable),
        **common,
    )
    validation = ProceduralFaces(data.validation_count, morphable, data_seed=data.data_seed + 1, **common)
    report = [f"{len(train)} faces drawn to train with, {len(validation)} to validate with, kept in {cache}"]
    return TrainingData(train, validation, train.morphable, report)


def _made_faces(config: TrainConfig, data: MadeFacesData, size: int) -> TrainingData:
    train = SyntheticFaces(data.store, size=size, mirrored=data.mirrored, seed=config.seed)
    if data.validation_store is None:
        train, validation = train.split(data.validation_share, config.seed)
    else:
        validation = SyntheticFaces(data.validation_store, size=size, mirrored=False)
    validation = validation.subset(range(min(len(validation), data.validation_count)))
    report = [f"{len(train)} made faces to train with, {len(validation)} to validate with"]
    return TrainingData(train, validation, train.morphable, report)


def _three_hundred_wlp(
    config: TrainConfig, data: ThreeHundredWLPData, morphable: MorphableModel, size: int, progress: Progress | None
) -> TrainingData:
    faces = ThreeHundredWLP(
        data.root,
        _model_of_landmarks(data.bfm or config.morphable.path, morphable, config.morphable.path),
        subsets=data.subsets,
        num_shape=morphable.layout.num_shape,
        num_expression=morphable.layout.num_expression,
        convention=LabelConvention(size),
        cache=data.cache,
        workers=config.hardware.workers,
        progress=progress,
        augmentation=config.augmentation,
        seed=config.seed,
        mirror=_mirror(config, morphable),
    )
    train, validation = faces.split(data.validation_share, config.seed)
    report = [faces.report.summary(), f"{len(train)} to train with, {len(validation)} to validate with"]
    return TrainingData(train, validation, morphable, report)


def _model_of_landmarks(path: Path, morphable: MorphableModel, path_of_morphable: Path) -> MorphableModel:
    if path.suffix == ".mat":
        return MorphableModel.from_bfm(path, None, None)
    return morphable if path == path_of_morphable else open_morphable(path)


def _threeddfa_lists(
    config: TrainConfig, data: ThreeDDFAListsData, morphable: MorphableModel, size: int
) -> TrainingData:
    if size != _CROP_SIZE_3DDFA:
        raise ConfigError(
            f"model.settings.input_size: 3DDFA's crops are {_CROP_SIZE_3DDFA} x {_CROP_SIZE_3DDFA}, got {size}"
        )

    def read(params: Path, names: Path, **training: Any) -> ThreeDDFALists:
        return ThreeDDFALists(
            params,
            names,
            data.images,
            data.whitening,
            morphable,
            cache=data.cache,
            **training,
        )

    mirror = _mirror(config, morphable)
    faces = read(data.params, data.file_list, augmentation=config.augmentation, seed=config.seed, mirror=mirror)
    report = [faces.report.summary()]
    if data.validation_params is None:
        train, validation = faces.split(data.validation_share, config.seed)
    else:
        train, validation = faces, read(data.validation_params, data.validation_file_list)
        report.append(f"validation: {validation.report.summary()}")
    report.append(f"{len(train)} to train with, {len(validation)} to validate with")
    if config.morphable.whitening is None:
        morphable = morphable.with_whitening(*load_whitening(data.whitening))
    return TrainingData(train, validation, morphable, report)


def _mirror(config: TrainConfig, morphable: MorphableModel) -> Mirror | None:
    """Only looked for where it is needed: of a large mesh it takes seconds."""
    augmentation = config.augmentation
    return None if augmentation is None or augmentation.flip is None else find_mirror(morphable)


def _whitened_by_labels(data: TrainingData) -> MorphableModel:
    params = data.train.params().astype(np.float64)
    spread = params.std(0)
    return data.morphable.with_whitening(params.mean(0), np.where(spread > 0, spread, 1.0))
