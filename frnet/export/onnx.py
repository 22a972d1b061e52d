"""Networks as ONNX files of standard operators alone."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from frnet.export.decompositions import decompositions
from frnet.io.files import write_whole
from frnet.morphable import MorphableModel
from frnet.morphable.decoding import decode
from frnet.weights import Checkpoint, check_basis, choose_whitening

__all__ = ["to_onnx"]


def to_onnx(
    model: nn.Module | Checkpoint,
    path: str | os.PathLike[str],
    morphable: MorphableModel | None = None,
    *,
    fuse: bool = True,
) -> None:
    """Writes a network, and with a morphable model the decoding of its output, as an ONNX file.

    The graph has standard operators alone, a dynamic batch and float32 throughout. Its input ``crops`` is
    [batch, 3, size, size], BGR, ``(pixel - 127.5) / 128``. Its outputs:

    - ``whitened_params`` [batch, num_params]: what ``model(crops)`` gives;
    - with a morphable model also ``params`` [batch, num_params], de-whitened; ``landmarks`` [batch, L, 3], where the
      model has landmarks; and ``vertices`` [batch, N, 3]: pixels of the crop from 0, x right, y down, z towards the
      viewer, as in docs/conventions.md. An image's pixels are a scale and a shift away: see
      :func:`frnet.geometry.crop_to_image`.

    The file appears complete or not at all. Needs ``pip install frnet[export]``.

    Args:
        model: a network of the registry, in evaluation; or a checkpoint, whose whitening is taken as
            :func:`frnet.weights.choose_whitening` finds it, and which refuses a morphable model that it was not trained
            for.
        path: ends in ``.onnx``.
        morphable: the model of the parameters; for a network, with the whitening that belongs to its weights.
        fuse: whether to fold batch normalisations first, where the network can.

    Raises:
        ImportError: onnx or onnxscript is missing.
        RuntimeError: the network is in training.
        CheckpointError: the checkpoint belongs to another morphable model, or to another whitening than its own.
        ValueError: the morphable model has no whitening, or another number of parameters than the network; the name
            does not end in ``.onnx``.
        OSError: the folder does not exist or cannot be written to.
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
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"to_onnx needs onnx and onnxscript ({error}): pip install frnet[export]") from error
    network = model.fuse() if fuse and hasattr(model, "fuse") else copy.deepcopy(model)
    graph = _Network(network) if morphable is None else _Decoded(network, model.config, morphable)
    names = graph.output_names
    size = model.config.input_size
    # Three: sizes of 0 and 1 would be taken as facts about the graph.
    crops = torch.zeros(3, 3, size, size)
    program = torch.export.export(graph.eval(), (crops,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    program = program.run_decompositions(decompositions())
    onnx = torch.onnx.export(program, dynamo=True, input_names=["crops"], output_names=names, verbose=False)
    write_whole(path, onnx.model_proto.SerializeToString())


def _belonging(morphable: MorphableModel, checkpoint: Checkpoint) -> MorphableModel:
    """The morphable model with the checkpoint's whitening, once neither contradicts the checkpoint."""
    check_basis(checkpoint, morphable)
    chosen = choose_whitening(checkpoint, morphable=morphable)
    return morphable if chosen is None else morphable.with_whitening(*chosen.whitening)


class _Network(nn.Module):
    """The network alone, in float32."""

    output_names = ("whitened_params",)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.float()

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
        self.network = network.float()
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
