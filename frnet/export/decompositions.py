"""frnet's ops in terms of torch's, for runtimes that have not heard of them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from frnet.ops.decompositions import DECOMPOSITIONS

__all__ = ["decompositions"]


def decompositions() -> dict[torch._ops.OpOverload, Callable]:
    """A table for ``torch.export.ExportedProgram.run_decompositions``: frnet's ops in terms of torch's own.

    What comes out goes wherever exported programs go: ``torch.onnx.export`` takes it, and so does a runtime that has no
    frnet. :func:`to_onnx` does both steps for a model.

    Returns:
        The ops, and functions that compute what they compute.

    Example:
        >>> import torch
        >>> from frnet.nn import DepthwiseConv2d
        >>> program = torch.export.export(DepthwiseConv2d(4, 3), (torch.zeros(2, 4, 8, 8),))
        >>> program = program.run_decompositions(decompositions())
        >>> [node.target.namespace for node in program.graph.nodes if node.op == "call_function"]
        ['aten']
    """
    return {getattr(torch.ops.frnet, op).default: function for op, function in DECOMPOSITIONS.items()}
