"""What a training run can be told, as classes that check it: the YAML file of ``frnet train``, section by section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from frnet.datasets import AugmentationConfig

from .config_data import (
    Data,
    MadeFacesData,
    ModelSection,
    MorphableSection,
    SyntheticData,
    ThreeDDFAListsData,
    ThreeHundredWLPData,
)
from .config_losses import (
    FRNetLossSection,
    Loss,
    PDCLossSection,
    PointsLossSection,
    VDCLossSection,
    WingLossSection,
    WPDCLossSection,
)
from .config_optimisation import EMA, SGD, AdamW, Cosine, Milestones, Optimizer, Schedule
from .config_values import Count, Positive, Section

__all__ = [
    "EMA",
    "SGD",
    "AdamW",
    "CheckpointSection",
    "Cosine",
    "FRNetLossSection",
    "HardwareSection",
    "LoggingSection",
    "Loss",
    "MadeFacesData",
    "Milestones",
    "ModelSection",
    "MorphableSection",
    "Optimizer",
    "PDCLossSection",
    "PointsLossSection",
    "Schedule",
    "SyntheticData",
    "ThreeDDFAListsData",
    "ThreeHundredWLPData",
    "TrainConfig",
    "VDCLossSection",
    "WPDCLossSection",
    "WingLossSection",
]


class HardwareSection(Section):
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


class CheckpointSection(Section):
    """The state of the run, from which it goes on after whatever stopped it.

    Attributes:
        every_steps: it is written at the end of every epoch, and every so many steps; null: at the end of epochs alone.
    """

    every_steps: Count | None = 500


class LoggingSection(Section):
    """What TensorBoard is told.

    Attributes:
        every_steps: losses, learning rate and images a second.
        pictures: validation faces with their landmarks, at every validation; 0: none.
    """

    every_steps: Count = 20
    pictures: Annotated[int, Field(ge=0, le=64)] = 8


class TrainConfig(Section):
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
        if self.data.kind in ("300w-lp", "3ddfa-lists") and self.morphable.path is None:
            raise ValueError(f"morphable.path: data of kind {self.data.kind} needs the morphable model of its labels")
        if self.data.kind == "faces" and (self.morphable.path is not None or self.augmentation is not None):
            raise ValueError("data of kind faces bring their own morphable model and augmentation: set both to null")
        if self.loss.kind == "points" and self.data.kind != "faces":
            raise ValueError(f"loss.kind: points needs labels that data of kind {self.data.kind} lack")
        return self
