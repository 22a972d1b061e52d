"""A training run from its configuration to its weights."""

from __future__ import annotations

import os

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import nn

from frnet.morphable import MorphableModel, load_whitening, resize_whitening
from frnet.weights import choose_whitening, create_model, load_checkpoint

from .config import TrainConfig
from .config_files import ConfigError
from .data import TrainingData, open_data, open_network_morphable
from .hardware import describe_environment, deterministic_kernels, open_fabric, process_batch_size
from .logs import RunLog
from .run_folder import RunFolder, RunState
from .trainer import Trainer, TrainResult

__all__ = ["train"]


def train(
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    console: Console | None = None,
) -> TrainResult:
    """Train a network.

    The same configuration gives the same weights: bit for bit with as many processes and threads on the same
    processor, up to rounding with another number of processes. A run that was stopped at any moment, killed even, and
    goes on, gives what it would have given. Several processes are started by ``torchrun``, or by this function where
    ``hardware.devices`` says so; then it has to stand in a script, which they run again.

    Args:
        config: what to do.
        out: the folder of the run.
        resume: go on with the run in ``out``, if there is one.
        console: where messages and the progress bar go; None: nowhere.

    Returns:
        What the run came to; the weights are in ``out``.

    Raises:
        ConfigError: settings that do not fit each other, the data or a run in ``out``.
        TrainingError: there is a run in ``out`` that is not to go on, or the training diverged.
        OSError, ValueError: data or files that cannot be used; the message names them.
    """
    folder = RunFolder(out)
    state = folder.open(config, resume)
    morphable = open_network_morphable(config)
    network = _build_network(config, morphable, begun=state is not None)
    with (
        deterministic_kernels(config.hardware.deterministic),
        open_fabric(config.hardware) as fabric,
        RunLog(console, active=fabric.is_global_zero) as log,
    ):
        return _run(config, folder, state, morphable, network, fabric, log)


def _run(
    config: TrainConfig,
    folder: RunFolder,
    state: RunState | None,
    morphable: MorphableModel,
    network: nn.Module,
    fabric: Fabric,
    log: RunLog,
) -> TrainResult:
    """What each of the processes does. Its trainer is gone when they end, as :func:`open_fabric` asks for."""
    batch_size = process_batch_size(config.batch_size, fabric.world_size)
    with fabric.rank_zero_first(local=True):
        size, cache = network.config.input_size, folder.path / "synthetic"
        data = open_data(config, morphable, size, cache, log.progress_of("preparing the data"))
    if state is None:
        _check_pretrained(config, network, data)
    trainer = Trainer(config, folder, fabric, network, data, batch_size, log)
    if fabric.is_global_zero:
        folder.create(config, describe_environment(fabric))
    log.open_tensorboard(folder.tensorboard, 0 if state is None else state.step)
    if state is not None:
        trainer.restore(state)
    return trainer.train()


def _build_network(config: TrainConfig, morphable: MorphableModel, begun: bool) -> nn.Module:
    """The network with its first weights; those of a run that has begun are put in later."""
    torch.manual_seed(config.seed)
    if "num_params" in config.model.settings:
        raise ConfigError("model.settings.num_params follows from the morphable model: leave it out")
    pretrained = None if begun else config.model.pretrained
    name, settings = config.model.name, config.model.settings
    try:
        network = create_model(name, morphable.num_params, morphable=morphable, **settings)
        if pretrained is not None:  # of crops of any size: it shapes no weight
            settings = {**settings, "input_size": load_checkpoint(pretrained).input_size}
            start = create_model(name, morphable.num_params, pretrained=pretrained, morphable=morphable, **settings)
            network.load_state_dict(start.state_dict())
        return network
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model: {error}") from None


def _check_pretrained(config: TrainConfig, network: nn.Module, data: TrainingData) -> None:
    """Weights mean something with the whitening they were trained with alone."""
    if config.model.pretrained is not None:
        checkpoint = load_checkpoint(config.model.pretrained)
        learned = load_whitening((data.morphable.param_mean, data.morphable.param_std))
        choose_whitening(checkpoint, resize_whitening(learned, checkpoint.input_size / network.config.input_size))
