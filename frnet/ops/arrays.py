"""NumPy and CuPy arrays in the place of tensors.

The public ops look for them first, at the price of one isinstance: torch refuses them too, but prints them into a
message on the way, which takes milliseconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch

__all__ = ["is_array", "run_on_arrays"]

_DTYPES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16))


def is_array(value: object) -> bool:
    return isinstance(value, np.ndarray) or _is_cupy(value)


def run_on_arrays(
    operation: Callable, arrays: dict[str, object], *, updated: tuple[str, ...] = (), **options
) -> np.ndarray | tuple:
    """operation(**arrays, **options) with the arrays' memory as tensors, and its results' memory as arrays again.

    CuPy arrays are worked on in the current CuPy stream. The first array decides which kind all others, None aside,
    must be. No gradients.

    Args:
        operation: a function of frnet.ops.
        arrays: its arguments that are arrays, by name; the first one is no None.
        updated: names of those that it writes to.
        options: its other arguments.

    Raises:
        TypeError: arrays of two kinds, or with a dtype that the ops do not have.
        ValueError: an array that the operation writes to is read-only, or torch cannot express its strides.
    """
    op = operation.__name__
    arrays = dict(arrays)
    first_name, first = next(iter(arrays.items()))
    kind = "cupy" if _is_cupy(first) else "numpy"
    for name, value in arrays.items():
        if value is None:
            continue
        if not is_array(value) or _is_cupy(value) != (kind == "cupy"):
            got = f"{type(value).__module__}.{type(value).__name__}"
            raise TypeError(f"{op}: {name} must be a {kind}.ndarray, as {first_name} is, got {got}")
        if value.dtype not in _DTYPES:
            raise TypeError(f"{op}: {name} must be float32, float64 or float16, got {value.dtype}")
        if any(stride < 0 or stride % value.itemsize for stride in value.strides):  # torch has no words for these
            if name in updated:
                raise ValueError(f"{op}: {name} is written to and must have positive strides, got {value.strides}")
            arrays[name] = value.copy()
    with torch.no_grad():
        return (_run_on_cupy if kind == "cupy" else _run_on_numpy)(op, operation, arrays, updated, options)


def _run_on_numpy(op: str, operation: Callable, arrays: dict, updated: tuple[str, ...], options: dict):
    tensors = {}
    for name, value in arrays.items():
        if value is not None and not value.flags.writeable:
            if name in updated:
                raise ValueError(f"{op}: {name} is written to, got a read-only array")
            # torch has no read-only tensors, and would warn; the ops only read.
            value = np.asarray(_Writable(value))
        tensors[name] = None if value is None else torch.from_dlpack(value)
    return _map(lambda result: result.numpy(), operation(**tensors, **options))


class _Writable:
    """The memory of a read-only array, offered as if it were not."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # np.asarray keeps this object, and so the memory
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def _run_on_cupy(op: str, operation: Callable, arrays: dict, updated: tuple[str, ...], options: dict):
    if not torch.cuda.is_available():
        raise RuntimeError(f"{op}: got CuPy arrays, but this torch ({torch.__version__}) has no CUDA device")
    cupy = _cupy()
    first = next(iter(arrays.values()))
    with first.device:
        pointer = cupy.cuda.get_current_stream().ptr
        # 1 is CUDA's own name of the default stream, which torch knows as 0 alone.
        stream = torch.cuda.ExternalStream(0 if pointer == 1 else pointer, device=first.device.id)
        # Both libraries now agree on the stream: neither waits for the other, and torch's allocator hands out the
        # result's memory in this stream's order.
        with torch.cuda.stream(stream):
            tensors = {name: None if value is None else torch.from_dlpack(value) for name, value in arrays.items()}
            return _map(cupy.from_dlpack, operation(**tensors, **options))


def _map(convert: Callable, results):
    return tuple(map(convert, results)) if isinstance(results, tuple) else convert(results)


def _cupy() -> ModuleType | None:
    """CuPy, where the caller has imported it: nobody else has its arrays."""
    return sys.modules.get("cupy")


def _is_cupy(value: object) -> bool:
    cupy = _cupy()
    return cupy is not None and isinstance(value, cupy.ndarray)
