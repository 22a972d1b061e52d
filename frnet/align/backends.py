"""What turns crops into parameters and parameters into vertices: frnet's runtime, or torch.

On a CPU the runtime does it, for the networks that it knows; torch is loaded for other networks and for a GPU alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from frnet.morphable.arrays import FaceArrays
from frnet.morphable.whitening import Whitening
from frnet.runtime import Session, SessionError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from frnet.morphable import MorphableModel

__all__ = ["Backend", "RuntimeBackend", "TorchBackend", "open_session"]


class Backend(Protocol):
    """A network and the morphable model its parameters belong to."""

    def predict(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """De-whitened parameters [n, P] of what the network takes, [n, 3, size, size]."""

    def vertices(self, params: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, N, 3] of parameters [n, P], in the crop frame."""

    def landmarks(self, params: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, 68, 3] of parameters [n, P], in the crop frame."""


class RuntimeBackend:
    """A session of :mod:`frnet.runtime`, and the morphable model in NumPy. Threads may share it."""

    def __init__(self, session: Session, face: FaceArrays, whitening: Whitening) -> None:
        self.session, self.face = session, face
        self._mean, self._std = (np.float32(part) for part in whitening)
        self._marks = face.landmark_model()

    def predict(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Backend`."""
        return self.session.run(crops) * self._std + self._mean

    def vertices(self, params: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Backend`."""
        return self.face.decode(params)

    def landmarks(self, params: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Backend`."""
        return self._marks.decode(params)


class TorchBackend:
    """A network of torch on any device, fused where it can be; on the CPU few crops run on one thread.

    Args:
        network: in evaluation mode; it is not changed.
        morphable: with the whitening of the network.
        device: where both are to be.
    """

    def __init__(self, network: nn.Module, morphable: MorphableModel, device: torch.device) -> None:
        import torch

        from frnet.models import complexity

        self.macs = complexity(network).macs
        self.model = fused(network.to(device, torch.float32).eval())
        self.morphable = morphable.to(device=device, dtype=torch.float32)
        self._marks = self.morphable.landmark_model()

    def predict(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Backend`."""
        import torch

        from .threads import limited_threads

        with torch.inference_mode(), limited_threads(self.macs * len(crops)):
            batch = torch.from_numpy(crops).to(self.morphable.device)
            return self.morphable.dewhiten(self.model(batch)).cpu().numpy()

    def vertices(self, params: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Backend`."""
        return self._decoded(params, self.morphable)

    def landmarks(self, params: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Backend`."""
        return self._decoded(params, self._marks)

    def _decoded(self, params: NDArray[np.float32], model: MorphableModel) -> NDArray[np.float32]:
        import torch

        from frnet import ops

        from .threads import limited_threads

        with torch.inference_mode(), limited_threads(self.macs * len(params)):
            return ops.reconstruct_vertices(torch.from_numpy(params).to(model.device), model).cpu().numpy()


def open_session(network: nn.Module) -> Session | None:
    """The session of a network of torch; None where the runtime does not know it."""
    import torch

    from frnet.models import DAMDNet, MobileFRNet, MobileNetV1, MobileNetV2

    if type(network) not in (DAMDNet, MobileFRNet, MobileNetV1, MobileNetV2):
        return None
    try:
        return network.to("cpu", torch.float32).eval().to_session()
    except SessionError:
        return None


def fused(model: nn.Module) -> nn.Module:
    """The network for inference; the network itself where it has parts that cannot be fused."""
    if not hasattr(model, "fuse"):
        return model
    try:
        return model.fuse()
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return model
