"""Networks as ONNX files of standard operators alone."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from frnet.export.decompositions import decompositions
from frnet.io.files import write_whole
from frnet.models.network import Network
from frnet.morphable import MorphableModel
from frnet.morphable.decoding import decode
from frnet.weights import Checkpoint, check_basis, choose_whitening

__all__ = ["to_onnx"]


def to_onnx(
    model: nn.Module | Checkpoint,
    path: str | os.PathLike[str],
    morphable: MorphableModel | None = None,
    *,
    example: Tensor | Sequence[Tensor] | None = None,
    fuse: bool = True,
) -> None:
    """Writes a network, and with a morphable model the decoding of its output, as an ONNX file.

    The graph has standard operators alone, a dynamic batch and float32 throughout. For a network of the registry the
    input ``crops`` is [batch, 3, size, size], BGR, ``(pixel - 127.5) / 128``, and the outputs are:

    - ``whitened_params`` [batch, num_params]: what ``model(crops)`` gives;
    - with a morphable model also ``params`` [batch, num_params], de-whitened; ``landmarks`` [batch, L, 3], where the
      model has landmarks; and ``vertices`` [batch, N, 3]: pixels of the crop from 0, x right, y down, z towards the
      viewer, as in docs/conventions.md. An image's pixels are a scale and a shift away: see
      :func:`frnet.geometry.crop_to_image`.

    Any other module, such as one that :func:`frnet.nn.replace_depthwise` has been through, goes with an example of what
    it takes. Its inputs are named as in its ``forward``, its outputs ``output``, or ``output_0`` and so on.

    The file appears complete or not at all. What torch and onnxscript have to say on the way, short of errors, is not
    printed. Needs ``pip install frnet[export]``.

    Args:
        model: a network of the registry or any module, in evaluation; or a checkpoint, whose whitening is taken as
            :func:`frnet.weights.choose_whitening` finds it, and which refuses a morphable model that it was not trained
            for.
        path: ends in ``.onnx``.
        morphable: the model of the parameters; for a network, with the whitening that belongs to its weights.
        example: what ``model`` takes, a tensor or several, the first dimension of each being the batch; None for a
            network of the registry.
        fuse: whether to fold batch normalisations first, where the network can.

    Raises:
        ImportError: onnx or onnxscript is missing.
        RuntimeError: the network is in training.
        CheckpointError: the checkpoint belongs to another morphable model, or to another whitening than its own.
        ValueError: the morphable model has no whitening, or another number of parameters than the network; the name
            does not end in ``.onnx``; a module that is no network of the registry comes without an example or with a
            morphable model.
        OSError: the folder does not exist or cannot be written to.

    Example:
        >>> import tempfile, torch
        >>> from frnet.nn import replace_depthwise
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.BatchNorm2d(8), torch.nn.ReLU6())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     to_onnx(replace_depthwise(model.eval()), f"{folder}/model.onnx", example=torch.zeros(1, 8, 16, 16))
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"to_onnx: {path} must end in .onnx")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"to_onnx: there is no folder {path.parent} to write {path.name} in")
    if isinstance(model, Checkpoint):
        morphable = None if morphable is None else _belonging(morphable, model)
        model = model.model
    if model.training:
        raise RuntimeError("to_onnx: the network is in training: call eval() first")
    if example is None and not isinstance(model, Network):
        raise ValueError(f"to_onnx: {type(model).__name__} is no network of frnet.list_models(): give an example")
    if morphable is not None and not isinstance(model, Network):
        raise ValueError(f"to_onnx: {type(model).__name__} is no network of frnet.list_models(): leave morphable out")
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"to_onnx needs onnx and onnxscript ({error}): pip install frnet[export]") from error
    graph = (model.fuse() if fuse and hasattr(model, "fuse") else copy.deepcopy(model)).cpu().float()
    names: dict[str, list[str]] = {}
    if isinstance(model, Network):
        graph = _Network(graph) if morphable is None else _Decoded(graph, model.config, morphable)
        names = {"input_names": ["crops"], "output_names": list(graph.output_names)}
        size = model.config.input_size
        example = torch.zeros(1, 3, size, size)
    with _quietly():
        write_whole(path, _onnx(graph.eval(), [example] if isinstance(example, Tensor) else example, names))


def _onnx(graph: nn.Module, example: Sequence[Tensor], names: dict[str, list[str]]) -> bytes:
    # Three: sizes of 0 and 1 would be taken as facts about the graph.
    inputs = tuple(torch.cat([value.detach()[:1].cpu()] * 3) for value in example)
    inputs = tuple(value.float() if value.is_floating_point() else value for value in inputs)
    program = torch.export.export(graph, inputs, dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs))
    program = program.run_decompositions(decompositions())
    if not names:
        outputs = len(program.graph_signature.user_outputs)
        names = {"output_names": ["output"] if outputs == 1 else [f"output_{i}" for i in range(outputs)]}
    return torch.onnx.export(program, dynamo=True, verbose=False, **names).model_proto.SerializeToString()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the notes of torch and onnxscript on their own affairs (deprecations, operators of other libraries)."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _belonging(morphable: MorphableModel, checkpoint: Checkpoint) -> MorphableModel:
    """The morphable model with the checkpoint's whitening, once neither contradicts the checkpoint."""
    check_basis(checkpoint, morphable)
    chosen = choose_whitening(checkpoint, morphable=morphable)
    return morphable if chosen is None else morphable.with_whitening(*chosen.whitening)


class _Network(nn.Module):
    """The network alone."""

    output_names = ("whitened_params",)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        return (self.network(crops),)


class _Decoded(nn.Module):
    """The network and what ``frnet.ops.reconstruct_vertices`` makes of its output, in the crop's pixels."""

    def __init__(self, network: nn.Module, config, morphable: MorphableModel) -> None:
        super().__init__()
        if morphable.param_mean is None:
            raise ValueError("to_onnx: morphable must have the whitening of the weights; see with_whitening")
        if morphable.num_params != config.num_params:
            raise ValueError(
                f"to_onnx: the network gives {config.num_params} parameters, morphable has {morphable.num_params}"
            )
        self.network = network
        self.size = config.input_size
        for name in ("mean", "basis", "param_mean", "param_std"):
            self.register_buffer(name, getattr(morphable, name).float())
        self.register_buffer("landmarks", morphable.landmarks)
        names = ["whitened_params", "params", "landmarks", "vertices"]
        self.output_names = tuple(name for name in names if name != "landmarks" or morphable.landmarks is not None)

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        whitened = self.network(crops)
        params = whitened * self.param_std + self.param_mean
        x, y, z = decode(params, self.mean, self.basis).unbind(2)
        vertices = torch.stack([x - 1, self.size - y, z - 1], 2)
        landmarks = () if self.landmarks is None else (vertices[:, self.landmarks],)
        return whitened, params, *landmarks, vertices
