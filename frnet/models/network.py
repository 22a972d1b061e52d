"""What every network of the registry can do."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict

import safetensors.torch
import torch
from torch import nn

from frnet.nn import MobileBlock
from frnet.runtime import CHECKPOINT_FORMAT, Session

__all__ = ["Fusible", "Network"]


class Fusible(nn.Module):
    """What has a form for inference. Subclasses have ``architecture``."""

    architecture: str

    @torch.no_grad()
    def fuse(self) -> nn.Module:
        """A copy for inference: normalisations folded, gates fused with what stands in front of them.

        Raises:
            RuntimeError: the network is in training.
        """
        if self.training:
            raise RuntimeError(
                f"{self.architecture}: fuse() folds the running statistics, which training changes: call eval() first"
            )
        fused = copy.deepcopy(self)
        fused._fuse_parts()
        return fused

    def to_session(self, **options) -> Session:
        """The network in the runtime that needs no torch; weights are copied.

        Args:
            options: ``num_threads``, ``precision`` and ``instruction_set`` of :class:`frnet.runtime.Session`.

        Raises:
            SessionError: the runtime does not know the architecture.

        Example:
            >>> from frnet.models import create_model
            >>> session = create_model("mobilenet_v2", width=0.25).eval().to_session()
            >>> session.run(torch.zeros(1, 3, 120, 120).numpy()).shape
            (1, 62)
        """
        state = {f"model.{name}": value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        about = {
            "format": CHECKPOINT_FORMAT,
            "architecture": self.architecture,
            "config": json.dumps(asdict(self.config)),
        }
        return Session(safetensors.torch.save(state, about), **options)

    def _fuse_parts(self) -> None:
        """Puts inference forms in the places of the parts that have one."""
        _fuse_children(self)


class Network(Fusible):
    """A network from crops to whitened parameters. Subclasses have ``architecture`` and ``config``."""

    def reset_parameters(self) -> None:
        """Draws the weights as torchvision's MobileNetV2 does: He's normal by fan-out, 0.01 for the linear layer.

        With the config's ``zero_init_residual`` blocks start as their shortcuts alone.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.fc.weight, 0, 0.01)
        if self.fc.bias is not None:
            nn.init.zeros_(self.fc.bias)
        if getattr(self.config, "zero_init_residual", False):
            for module in self.modules():
                if isinstance(module, MobileBlock):
                    nn.init.zeros_(module.project.norm.weight)


def _fuse_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if hasattr(child, "fuse"):
            setattr(module, name, child.fuse())
        else:
            _fuse_children(child)
