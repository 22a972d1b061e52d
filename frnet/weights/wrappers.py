"""Networks inside the modules that torch wraps around them: ``torch.compile``, data parallelism, averages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["plain_names", "unwrapped"]

# Names under which torch keeps what it wraps. Those of the first row it gives to nothing else, wherever they stand.
_RESERVED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_OUTERMOST = "module"
_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``, DistributedDataParallel, DataParallel and AveragedModel, nested or not.

    Example:
        >>> from torch import nn
        >>> network = nn.Linear(2, 3)
        >>> unwrapped(nn.DataParallel(nn.DataParallel(network))) is network
        True
    """
    inner = next((model._modules[name] for name in (*_RESERVED, _OUTERMOST) if name in model._modules), None)
    return model if inner is None else unwrapped(inner)


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict under the network's own names, whatever was wrapped around the network or around parts of it.

    Raises:
        ValueError: two tensors have the same name then.

    Example:
        >>> sorted(plain_names({"module._orig_mod.fc.bias": 1, "module._orig_mod.stem._orig_mod.weight": 2}))
        ['fc.bias', 'stem.weight']
    """
    plain: dict[str, Tensor] = {}
    for name, value in state.items():
        parts = [part for part in str(name).split(".") if part not in _RESERVED]
        while len(parts) > 1 and parts[0] == _OUTERMOST:
            parts = parts[1:]
        if parts == [_COUNTER]:
            continue
        short = ".".join(parts)
        if short in plain:
            raise ValueError(f"it holds {short} twice")
        plain[short] = value
    return plain
