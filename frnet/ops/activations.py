"""The names of the functions that the ops know, and the numbers they have in the kernels (csrc/math/activation.h)."""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "GATES", "function_code"]

ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 2, "hardswish": 3, "silu": 4}
GATES = {"sigmoid": 0, "hardsigmoid": 1}


def function_code(op: str, argument: str, codes: dict[str, int], value: object) -> int:
    code = codes.get(value) if isinstance(value, str) else None
    if code is None:
        raise ValueError(f"{op}: {argument} must be one of {', '.join(codes)}, got {value!r}")
    return code
