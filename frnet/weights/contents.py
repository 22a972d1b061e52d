"""What belongs to a trained network, and the check that a morphable model is the one it was trained for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .basis import BasisIdentity
from .errors import CheckpointError
from .stored import Normalisation, StoredCheckpoint
from .wrappers import unwrapped

if TYPE_CHECKING:
    from torch import nn

    from frnet.morphable import MorphableModel, Whitening
    from frnet.morphable.arrays import FaceArrays

__all__ = ["Checkpoint", "Normalisation", "check_basis"]


@dataclass
class Checkpoint:
    """A trained network and what belongs to it.

    Attributes:
        model: the network, in evaluation mode, on the CPU; or one that torch wrapped (``torch.compile``, data
            parallelism).
        whitening: mean and std that turn its output into parameters, where the file holds them.
        source_format: ``"3ddfa"``, ``"3ddfa_v2"`` or ``"frnet"``: where the weights came from first. It
            survives conversion, because it tells which whitening the weights belong to.
        normalisation: what the network expects of a pixel.
        licence: as stated by whoever wrote the file; ``"unknown"`` where nobody did.
        path: the file it was read from, if any.
        basis: which morphable model the weights were trained for, where the file says so.
        recipe: how the weights were trained, as whoever wrote the file stated it; JSON can hold it. It is kept and
            shown, never acted upon.
    """

    model: nn.Module = field(repr=False)
    whitening: Whitening | None = None
    source_format: str = "frnet"
    normalisation: Normalisation = field(default_factory=Normalisation)
    licence: str = "unknown"
    path: Path | None = None
    basis: BasisIdentity | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"checkpoint {self.path}" if self.path else f"the {self.architecture}"

    @property
    def network(self) -> nn.Module:
        """The network itself, without what torch wrapped around it."""
        return unwrapped(self.model)

    @property
    def architecture(self) -> str:
        """Name of the architecture, as in :func:`frnet.models.list_models`."""
        return self.network.architecture

    @property
    def input_size(self) -> int:
        """Side of the crop the network takes, in pixels."""
        return self.network.config.input_size

    @property
    def num_params(self) -> int:
        """Outputs of the network."""
        return self.network.config.num_params

    def trained_for(self, morphable: MorphableModel) -> Checkpoint:
        """The same, remembered to belong to this morphable model.

        Raises:
            CheckpointError: the model has another number of parameters, or the weights are known to belong to another.
        """
        check_basis(self, morphable)
        return replace(self, basis=BasisIdentity.of(morphable))


def check_basis(checkpoint: Checkpoint | StoredCheckpoint, morphable: MorphableModel | FaceArrays) -> None:
    """Refuse a morphable model that is not the one the checkpoint was trained for.

    A part of its vertices is the same model. So is a grid whose file has a wrong expression basis beside the landmarks
    (see :meth:`frnet.morphable.MorphableModel.from_3ddfa_grid`), with the file's or with an interpolated one: the
    coefficients mean the same in both, and the landmarks move alike. A checkpoint that does not say which model it was
    trained for takes any with its number of parameters.

    Raises:
        CheckpointError: the landmarks or the numbers of coefficients are others; the message says what differs.
    """
    if checkpoint.basis is not None:
        given = BasisIdentity.of(morphable)
        difference = checkpoint.basis.difference(given)
        if difference is not None:
            raise CheckpointError(
                f"{checkpoint.title} was trained with the basis {checkpoint.basis}, the one given is {given}: "
                f"{difference}"
            )
    if morphable.num_params != checkpoint.num_params:
        raise CheckpointError(
            f"{checkpoint.title} gives {checkpoint.num_params} parameters, the morphable model {morphable.name!r} "
            f"takes {morphable.num_params}"
        )
