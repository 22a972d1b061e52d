"""What a training run can be told, as classes that check it: the YAML file of ``frnet train``, section by section."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from frnet.datasets import AugmentationConfig, FaceRanges

__all__ = [
    "EMA",
    "SGD",
    "AdamW",
    "CheckpointSection",
    "Cosine",
    "FRNetLossSection",
    "HardwareSection",
    "LoggingSection",
    "Milestones",
    "ModelSection",
    "MorphableSection",
    "PDCLossSection",
    "SyntheticData",
    "ThreeDDFAListsData",
    "ThreeHundredWLPData",
    "TrainConfig",
    "VDCLossSection",
    "WPDCLossSection",
    "WingLossSection",
]

Location = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
"""A file or folder; relative ones start from the current directory, as on a command line."""

Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


# ----------------------------------------------------------------------------------------- network and face model


class ModelSection(_Section):
    """The network.

    Attributes:
        name: one of :func:`frnet.models.list_models`.
        settings: fields of its config, such as ``width``.
        pretrained: a checkpoint whose weights it starts with; for VDC after WPDC, say.
    """

    name: str
    settings: dict[str, Any] = {}
    pretrained: Location | None = None


class MorphableSection(_Section):
    """The morphable model whose parameters the network learns.

    Attributes:
        path: as :func:`frnet.morphable.open_morphable` takes it; synthetic data can do without.
        landmarks: the folder of the landmark basis, for a grid.
        whitening: a file, ``labels`` for mean and standard deviation of the training labels, or null for the one that
            comes with the model or with the data.
    """

    path: Location | None = None
    landmarks: Location | None = None
    whitening: Literal["labels"] | Location | None = None


# --------------------------------------------------------------------------------------------------------- data


class SyntheticData(_Section):
    """:class:`frnet.datasets.SyntheticFaces`, drawn before training starts.

    Attributes:
        count: training faces.
        validation_count: others, to validate with.
        data_seed: of the training faces; the others have the next one.
        ranges: what is drawn.
        cache: the folder of the pictures; null: ``synthetic`` in the run's.
    """

    kind: Literal["synthetic"]
    count: Count = 4096
    validation_count: Count = 256
    data_seed: int = 0
    ranges: FaceRanges = FaceRanges()
    cache: Location | None = None


class ThreeHundredWLPData(_Section):
    """:class:`frnet.datasets.ThreeHundredWLP`.

    Attributes:
        root: the folder of AFW, AFW_Flip, HELEN and so on.
        subsets: folders in it; null: all that are there.
        bfm: the model of the landmarks, with as many components as it has; null: the file of the network's morphable
            model. Of a Basel Face Model (.mat) all 199 + 29 are taken, so that landmarks are exact.
        validation_share: of the photographs, held out.
        cache: the folder of the index; null: the user's.
    """

    kind: Literal["300w-lp"]
    root: Location
    subsets: list[str] | None = None
    bfm: Location | None = None
    validation_share: Share = 0.02
    cache: Location | None = None


class ThreeDDFAListsData(_Section):
    """:class:`frnet.datasets.ThreeDDFALists`.

    Attributes:
        params: ``param_all_norm.pkl`` or an array of its kind.
        file_list: the names, such as ``train_aug_120x120.list.train``.
        images: the folder of crops.
        whitening: of the labels, ``param_whitening.pkl``.
        validation_params: of the held-out faces, ``param_all_norm_val.pkl``; null: a share of the training faces.
        validation_file_list: their names.
        validation_share: of the training faces, held out where there are no validation lists.
        cache: the folder of the index; null: the user's.
    """

    kind: Literal["3ddfa-lists"]
    params: Location
    file_list: Location
    images: Location
    whitening: Location
    validation_params: Location | None = None
    validation_file_list: Location | None = None
    validation_share: Share = 0.02
    cache: Location | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> ThreeDDFAListsData:
        if (self.validation_params is None) != (self.validation_file_list is None):
            raise ValueError("validation_params and validation_file_list go together: give both or neither")
        return self


Data = Annotated[SyntheticData | ThreeHundredWLPData | ThreeDDFAListsData, Field(discriminator="kind")]


# --------------------------------------------------------------------------------------------------------- losses


class _VertexLossSection(_Section):
    vertices: Literal["all", "landmarks"] = "all"
    target_tz: bool = True
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"


class FRNetLossSection(_VertexLossSection):
    """:class:`frnet.nn.FRNetLoss`: WPDC and Wing. Attributes are its arguments; ``vertices`` are Wing's."""

    kind: Literal["frnet"] = "frnet"
    lambda_wpdc: NotNegative = 0.5
    lambda_wing: NotNegative = 1.0
    balance: Literal["gradient", "none"] | Positive = "gradient"
    normalization: Literal["max", "sum"] = "max"
    shape: Literal["target", "pred"] = "target"
    resample: Annotated[int, Field(ge=0)] | None = None
    width: Positive = 10.0
    curvature: Positive = 2.0


class WPDCLossSection(_Section):
    """:class:`frnet.nn.WPDCLoss`. Attributes are its arguments."""

    kind: Literal["wpdc"]
    normalization: Literal["max", "sum"] = "max"
    shape: Literal["target", "pred"] = "target"
    resample: Annotated[int, Field(ge=0)] | None = None


class WingLossSection(_VertexLossSection):
    """:class:`frnet.nn.WingLoss`. Attributes are its arguments."""

    kind: Literal["wing"]
    width: Positive = 10.0
    curvature: Positive = 2.0


class VDCLossSection(_VertexLossSection):
    """:class:`frnet.nn.VDCLoss`. Attributes are its arguments."""

    kind: Literal["vdc"]


class PDCLossSection(_Section):
    """Parameter distance cost, the mean squared difference of whitened parameters (Zhu et al., CVPR 2016, eq. 5)."""

    kind: Literal["pdc"]


Loss = Annotated[
    FRNetLossSection | WPDCLossSection | WingLossSection | VDCLossSection | PDCLossSection, Field(discriminator="kind")
]


# ------------------------------------------------------------------------------------------- optimiser and schedule


class SGD(_Section):
    """:class:`torch.optim.SGD`, by default as 3DDFA has it.

    Attributes:
        lr: the learning rate that the schedule's factors multiply.
        weight_decay_of_vectors: whether what has one dimension (normalisations, biases) decays too.
    """

    kind: Literal["sgd"]
    lr: Positive = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: NotNegative = 5e-4
    weight_decay_of_vectors: bool = True

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class AdamW(_Section):
    """:class:`torch.optim.AdamW`. Attributes as of :class:`SGD`."""

    kind: Literal["adamw"]
    lr: Positive = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: NotNegative = 0.05
    weight_decay_of_vectors: bool = False


class Milestones(_Section):
    """3DDFA's rule: ``lr * factor^n``, with n = 1 in the warm-up, 0 behind it and one more behind each milestone.

    Attributes:
        milestones: the last epochs of each rate but the last one, counting from 1, rising.
        factor: of one step.
        warmup_epochs: at the front, at ``factor`` times the rate.
    """

    kind: Literal["milestones"]
    milestones: list[Count] = [30, 40]
    factor: Annotated[float, Field(gt=0, le=1)] = 0.2
    warmup_epochs: Annotated[int, Field(ge=0)] = 5

    @model_validator(mode="after")
    def _rising(self) -> Milestones:
        steps = [self.warmup_epochs, *self.milestones]
        if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
            raise ValueError(f"milestones must rise, and lie behind the {self.warmup_epochs} epochs of warm-up")
        return self


class Cosine(_Section):
    """A straight line up, then half a cosine down, both step by step.

    Attributes:
        warmup_epochs: of the line; may be a fraction.
        final_factor: of the learning rate, where it ends.
    """

    kind: Literal["cosine"]
    warmup_epochs: NotNegative = 1.0
    final_factor: Annotated[float, Field(ge=0, le=1)] = 0.01


Optimizer = Annotated[SGD | AdamW, Field(discriminator="kind")]
Schedule = Annotated[Milestones | Cosine, Field(discriminator="kind")]


class EMA(_Section):
    """An exponential moving average of the weights, with which is validated and which is saved for use.

    Attributes:
        decay: of the average at a step; less at the beginning: at most (1 + n) / (10 + n) at step n.
    """

    decay: Share = 0.999


# ------------------------------------------------------------------------------------------------------ the rest


class HardwareSection(_Section):
    """Where it runs. Under ``torchrun`` devices and nodes are what that started.

    Attributes:
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        devices: processes of a machine, one for each device; ``auto``: all CUDA devices, or one process on the CPU.
        nodes: machines.
        precision: of the network: float32; mixed with bfloat16 or float16, the loss staying float32; or float64
            throughout, to compare runs without their rounding.
        workers: processes that read data, for each training process.
        deterministic: torch's own kernels give the same bits in every run too, on CUDA at some cost.
    """

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Count | Literal["auto"] = 1
    nodes: Count = 1
    precision: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    workers: Annotated[int, Field(ge=0)] = 2
    deterministic: bool = True


class CheckpointSection(_Section):
    """The state of the run, from which it goes on after whatever stopped it.

    Attributes:
        every_steps: it is written at the end of every epoch, and every so many steps; null: at the end of epochs alone.
    """

    every_steps: Count | None = 500


class LoggingSection(_Section):
    """What TensorBoard is told.

    Attributes:
        every_steps: losses, learning rate and images a second.
        pictures: validation faces with their landmarks, at every validation; 0: none.
    """

    every_steps: Count = 20
    pictures: Annotated[int, Field(ge=0, le=64)] = 8


class TrainConfig(_Section):
    """A training run.

    Attributes:
        model: the network.
        morphable: the face model.
        data: what is learned from.
        augmentation: what is done to it; null: nothing.
        loss: what is minimised.
        optimizer: how.
        schedule: of the learning rate.
        epochs: passes through the data.
        batch_size: images of a step, of all processes together; what is left of an epoch below it is left out.
        seed: of weights, order, augmentation and resampled vertices. Two runs with equal configs are equal.
        ema: null for none.
        gradient_clip: longest gradient, as a Euclidean norm over all parameters; null: any.
        validate_every: epochs from one validation to the next; there always is one at the end.
        hardware: where.
        checkpoint: of the run's state.
        logging: for TensorBoard.
        licence: of the weights, written into their files.
    """

    model: ModelSection
    morphable: MorphableSection = MorphableSection()
    data: Data
    augmentation: AugmentationConfig | None = AugmentationConfig()
    loss: Loss = FRNetLossSection()
    optimizer: Optimizer
    schedule: Schedule
    epochs: Count
    batch_size: Count = 128
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    ema: EMA | None = None
    gradient_clip: Positive | None = None
    validate_every: Count = 1
    hardware: HardwareSection = HardwareSection()
    checkpoint: CheckpointSection = CheckpointSection()
    logging: LoggingSection = LoggingSection()
    licence: str = "unknown"

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs ({self.schedule.warmup_epochs:g}) must be less than epochs ({self.epochs})"
            )
        if self.data.kind != "synthetic" and self.morphable.path is None:
            raise ValueError(f"morphable.path: data of kind {self.data.kind} needs the morphable model of its labels")
        return self
