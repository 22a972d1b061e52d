"""The loop of a training run: steps, validation, what is written and when."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader

from frnet.datasets import EpochSampler, Sample, network_input
from frnet.datasets.sampler import seed_of
from frnet.models import Checkpoint, save_checkpoint
from frnet.morphable import load_whitening
from frnet.nn import synchronise_batch_norm

from .config import TrainConfig
from .config_files import ConfigError, dump_config
from .data import TrainingData
from .logs import RunLog, Throughput, face_sheet
from .losses import TrainingLoss
from .optimisation import averaged, build_optimizer, learning_rate
from .run_folder import RunFolder, RunState, TrainingError
from .stop import StopRequest, init_training_worker
from .validation import Validation, Validator

__all__ = ["TrainResult", "Trainer"]


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes:
        folder: of the run; see :class:`frnet.train.RunFolder` for what lies in it.
        steps: taken in all.
        history: a row of figures for each validation, in their order.
        finished: False where the run was asked to stop (SIGINT, SIGTERM); it can go on.
        leads: whether this is the process, of several, that writes and reports.
    """

    folder: RunFolder
    steps: int
    history: list[dict[str, float]]
    finished: bool
    leads: bool

    @property
    def best_nme_percent(self) -> float:
        """The lowest validation error."""
        return min((row["nme_percent"] for row in self.history), default=float("nan"))


class Trainer:
    """A run that is under way.

    Args:
        config: of the run.
        folder: where it writes.
        fabric: its processes and devices, launched.
        network: with its first weights, on the CPU.
        data: what is learned from.
        batch_size: images of a step that this process takes.
        log: for the user and TensorBoard.

    Raises:
        ConfigError: less training data than one batch.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        fabric: Fabric,
        network: nn.Module,
        data: TrainingData,
        batch_size: int,
        log: RunLog,
    ) -> None:
        self.config, self.folder, self.fabric, self.data, self.log = config, folder, fabric, data, log
        self.batch_size = batch_size
        self.dtype = torch.float64 if config.hardware.precision == "float64" else torch.float32  # of labels and losses
        self.morphable = data.morphable.to(fabric.device, self.dtype)
        self.steps_per_epoch = len(data.train) // config.batch_size
        if self.steps_per_epoch == 0:
            raise ConfigError(f"batch_size: {config.batch_size} is more than the {len(data.train)} training samples")
        self.steps = self.steps_per_epoch * config.epochs
        self.state = RunState()
        self.totals: dict[str, Tensor] = {}  # since the last validation: sums of the figures of steps
        self.average = None if config.ema is None else averaged(network, config.ema.decay).to(fabric.device, self.dtype)
        if fabric.world_size > 1:
            network = synchronise_batch_norm(network)
        self.loss = TrainingLoss(config.loss, self.morphable, data.train).to(fabric.device)
        self.network, self.optimizer = fabric.setup(network, build_optimizer(config.optimizer, network))
        self.sampler = EpochSampler(data.train, seed=config.seed, rank=fabric.global_rank, world=fabric.world_size)
        self.loader = DataLoader(
            data.train,
            batch_sampler=BatchSampler(self.sampler, batch_size, drop_last=True),
            num_workers=config.hardware.workers,
            worker_init_fn=init_training_worker,
            persistent_workers=config.hardware.workers > 0,
            pin_memory=fabric.device.type == "cuda",
            generator=torch.Generator(),
        )
        self.validator = Validator(fabric, data.validation, self.morphable, batch_size, config.hardware.workers)
        self.throughput = Throughput()
        self.stop = StopRequest(enabled=fabric.world_size == 1)
        self.unwritten: dict[Path, OSError] = {}

    def train(self) -> TrainResult:
        """All that is left to do."""
        config, state = self.config, self.state
        self._introduce()
        with self.stop:
            while state.step < self.steps and not self.stop.requested:
                epoch, begun = divmod(state.step, self.steps_per_epoch)
                self._train_epoch(epoch, begun)
                if state.step % self.steps_per_epoch:
                    break  # asked to stop
                if (epoch + 1) % config.validate_every == 0 or state.step == self.steps:
                    self._validate(epoch + 1)
                self._save()
        finished = state.step == self.steps
        if self.unwritten:
            reasons = "; ".join(f"{path}: {error}" for path, error in self.unwritten.items())
            raise TrainingError(f"not all of step {state.step} could be written, older files stay: {reasons}")
        if not finished:
            self.log.say(f"stopped after step {state.step} of {self.steps}; --resume goes on from there")
        return TrainResult(self.folder, state.step, state.history, finished, self.fabric.is_global_zero)

    def _introduce(self) -> None:
        for line in self.data.report:
            self.log.say(line)
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        processes = "" if self.fabric.world_size == 1 else f", {self.fabric.world_size} processes"
        self.log.say(
            f"{self.config.model.name}, {parameters / 1e6:.3f} M parameters, on {self.fabric.device}{processes}; "
            f"{self.config.epochs} epochs of {self.steps_per_epoch} steps; {self.folder.path}"
        )
        self.log.config(dump_config(self.config))
        if self.state.step:
            self.log.say(f"going on after step {self.state.step} of {self.steps}")

    # -- training -----------------------------------------------------------------------------------------

    def _train_epoch(self, epoch: int, begun: int) -> None:
        """From the step at which it stands to its end, or to where the run is asked to stop."""
        state, every = self.state, self.config.checkpoint.every_steps
        self.sampler.set_epoch(epoch, begun * self.batch_size)
        self.network.train()
        self.throughput.start()
        title = f"epoch {epoch + 1} of {self.config.epochs}"
        for batch, waited in _timed(self.loader):
            parts = self._step(batch)
            state.step += 1
            self.throughput.add(self.config.batch_size, waited)
            done = state.step % self.steps_per_epoch or self.steps_per_epoch
            self.log.progress(title, done, self.steps_per_epoch)
            if state.step % self.config.logging.every_steps == 0 or done == self.steps_per_epoch:
                self._log_step(parts)
            if done < self.steps_per_epoch and (self.stop.requested or (every and state.step % every == 0)):
                self._check_finite(parts)
                self._save()
                if self.stop.requested:
                    return

    def _step(self, batch: Sample) -> dict[str, Tensor]:
        """One step of the optimiser; detached figures of it."""
        config, device = self.config, self.fabric.device
        # All that is random in a step follows from its number, so a run that goes on needs no generator's state.
        torch.manual_seed(seed_of(config.seed, self.state.step))
        rate = learning_rate(config.schedule, config.optimizer.lr, self.state.step, self.steps_per_epoch, config.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images = network_input(batch.image.to(device, non_blocking=True), self.dtype)
        target = self.morphable.whiten(batch.params.to(device, self.dtype, non_blocking=True))
        self.optimizer.zero_grad()
        points = batch.points.to(device, self.dtype, non_blocking=True)
        loss, parts = self.loss(self.network(images).to(self.dtype), target, points)
        self.fabric.backward(loss)
        if config.gradient_clip is not None:
            # (One that is not finite is seen in the loss, or is what float16's scaler leaves out.)
            parts["gradient_norm"] = self.fabric.clip_gradients(
                self.network, self.optimizer, max_norm=config.gradient_clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.network.module)
        parts = {"loss": loss.detach(), **parts}
        counts = {
            "replaced": batch.replaced.sum().to(device, non_blocking=True),
            "steps": torch.ones_like(parts["loss"]),
        }
        for name, value in {**parts, **counts}.items():
            self.totals[name] = self.totals.get(name, 0) + value
        return parts

    def _log_step(self, parts: dict[str, Tensor]) -> None:
        figures = self._check_finite(parts)
        self.log.scalars("train", figures, self.state.step)
        self.log.scalars("train", {"learning_rate": self.optimizer.param_groups[0]["lr"]}, self.state.step)
        self.log.scalars("speed", self.throughput.figures(), self.state.step)

    def _check_finite(self, parts: dict[str, Tensor]) -> dict[str, float]:
        """The figures of a step, as the mean over all processes, if they are numbers."""
        values = torch.stack([value.double() for value in parts.values()])
        means = self.fabric.all_reduce(values, reduce_op="mean").tolist()
        figures = dict(zip(parts, means, strict=True))
        if not math.isfinite(figures["loss"]):
            kept = f"; {self.folder.state} holds an earlier state" if self.folder.state.exists() else ""
            raise TrainingError(
                f"the loss is {figures['loss']} at step {self.state.step}: the training diverged, usually because the "
                f"learning rate ({self.optimizer.param_groups[0]['lr']:g}) is too high{kept}"
            )
        return figures

    # -- validation ---------------------------------------------------------------------------------------

    def _validate(self, epochs: int) -> None:
        state, speed = self.state, self.throughput.figures()
        begin = time.perf_counter()
        validation = self.validator(self._for_use())
        errors = validation.figures()
        if math.isnan(errors["nme_percent"]):
            raise TrainingError("not one face of the validation split can be read")
        row = {"epoch": epochs, "step": state.step, **errors, **self._means()}
        row |= {"learning_rate": self.optimizer.param_groups[0]["lr"], "images_per_second": speed["images_per_second"]}
        state.history.append(row)
        if self.fabric.is_global_zero:
            self._report(row, validation, time.perf_counter() - begin)
            self._write(self.folder.metrics, lambda: self.folder.write_metrics(state.history))
            self._export(errors["nme_percent"])

    def _means(self) -> dict[str, float]:
        """What the steps since the last validation gave, on average, in all processes; forgets them."""
        values = torch.stack([value.double() for value in self.totals.values()])
        sums = self.fabric.all_reduce(values, reduce_op="sum").tolist()
        totals = dict(zip(self.totals, sums, strict=True))
        self.totals = {}
        steps, replaced = totals.pop("steps"), totals.pop("replaced")
        return {**{f"train_{name}": value / steps for name, value in totals.items()}, "replaced_samples": int(replaced)}

    def _report(self, row: dict[str, float], validation: Validation, seconds: float) -> None:
        step, logging = self.state.step, self.config.logging
        bad = f", {row['replaced_samples']} unreadable samples replaced" if row["replaced_samples"] else ""
        bad += f", {validation.unread} validation faces unreadable" if validation.unread else ""
        parts = [f"{name.removeprefix('train_')} {row[name]:.4g}" for name in row if name.startswith("train_")]
        self.log.say(
            f"epoch {row['epoch']}/{self.config.epochs}: {', '.join(parts)}; NME {row['nme_percent']:.3f} %, "
            f"learning rate {row['learning_rate']:.3g}, {row['images_per_second']:.0f} images/s, "
            f"validated in {seconds:.1f} s{bad}"
        )
        self.log.scalars("validation", {name: row[name] for name in row if name.startswith("nme")}, step)
        if logging.pictures:
            self.log.picture(
                "validation", face_sheet(self.data.validation, validation.landmarks[: logging.pictures]), step
            )

    def _for_use(self) -> nn.Module:
        """The network that is validated and saved."""
        return self.network.module if self.average is None else self.average.module

    def _export(self, nme_percent: float) -> None:
        morphable = self.data.morphable
        whitening = load_whitening((morphable.param_mean, morphable.param_std))
        weights = Checkpoint(self._for_use(), whitening, licence=self.config.licence)
        self._write(self.folder.last, lambda: save_checkpoint(self.folder.last, weights, morphable))
        if nme_percent < self.state.best_nme_percent:
            written = self._write(self.folder.best, lambda: save_checkpoint(self.folder.best, weights, morphable))
            self.state.best_nme_percent = nme_percent if written else self.state.best_nme_percent

    # -- state --------------------------------------------------------------------------------------------

    def restore(self, state: RunState) -> None:
        """Goes on from a state."""
        self.state = state
        self.network.load_state_dict(state.tensors["network"])
        self.optimizer.load_state_dict(state.tensors["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state.tensors["average"])
        self.fabric.strategy.precision.load_state_dict(state.tensors["scaler"])
        self.totals = {name: value.to(self.fabric.device) for name, value in state.tensors["totals"].items()}

    def _save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        self.state.tensors = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "totals": self.totals,
        }
        self._write(self.folder.state, lambda: self.folder.save(self.config, self.state))

    def _write(self, path: Path, write: Callable[[], None]) -> bool:
        """Whether it was written. A full disk does not end the run: it may have room again later."""
        try:
            write()
            self.unwritten.pop(path, None)
            return True
        except OSError as error:
            self.unwritten[path] = error
            self.log.say(f"warning: {path} could not be written and stays as it was: {error}")
            return False


def _timed(loader: Iterable[Sample]) -> Iterator[tuple[Sample, float]]:
    """Batches, and the seconds that each was waited for."""
    begin = time.perf_counter()
    for batch in loader:
        yield batch, time.perf_counter() - begin
        begin = time.perf_counter()
