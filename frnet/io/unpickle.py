"""Read pickled arrays without running what the file says.

Several public models and label lists of the field are pickles. Unpickling a file normally calls whatever the
file names; :func:`load_pickle` calls nothing of the file's choosing. Every name a pickle may refer to is
mapped to a small stand-in of this module, arrays are rebuilt from their bytes, and all else is refused.
"""

from __future__ import annotations

import itertools
import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["UnpickleError", "load_pickle"]

_PLAIN_KINDS = "biufcSU"  # no objects, and no structured types: their field offsets come from the file


class UnpickleError(ValueError):
    """A pickle that is damaged, or that holds more than arrays and plain containers."""


class _RefusedError(Exception):
    """Something in the stream that is not admitted; becomes an UnpickleError that names the file."""


class _Name:
    """Stand-in for one admitted global: callable, without attributes, made afresh for every file."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError("an attempt to change a function")


def _plain_dtype(spec: Any) -> np.dtype:
    if not isinstance(spec, str):
        raise _RefusedError(f"a dtype given as {type(spec).__name__}")
    try:
        dtype = np.dtype(spec)
    except (TypeError, ValueError, SyntaxError):  # SyntaxError: NumPy parses comma-separated strings
        raise _RefusedError(f"the dtype {spec!r}") from None
    if dtype.kind not in _PLAIN_KINDS or dtype.fields is not None or dtype.subdtype is not None:
        raise _RefusedError(f"an array of dtype {spec!r}; only numbers, booleans and strings are read")
    return dtype


class _DType:
    """A dtype under construction: the name first, its byte order with the pickle's state."""

    __slots__ = ("value",)

    def __init__(self, spec: Any, align: Any = False, copy: Any = True) -> None:
        self.value = _plain_dtype(spec)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 8:
            raise _RefusedError("a dtype with an unknown state")
        _, order, subdtype, names, fields, itemsize = state[:6]
        if subdtype is not None or names is not None or fields is not None:
            raise _RefusedError("a structured dtype")
        if itemsize not in (-1, self.value.itemsize) or order not in ("<", ">", "|", "="):
            raise _RefusedError("a dtype whose size or byte order contradicts its name")
        if order in ("<", ">"):
            self.value = self.value.newbyteorder(order)


def _dtype_of(value: Any) -> np.dtype:
    if not isinstance(value, _DType):
        raise _RefusedError(f"a dtype given as {type(value).__name__}")
    return value.value


def _bytes_of(data: Any) -> bytes:
    if isinstance(data, str):  # an 8-bit string of Python 2, read as latin-1
        return data.encode("latin-1")
    if isinstance(data, (bytes, bytearray)):
        return bytes(data)
    raise _RefusedError(f"array data given as {type(data).__name__}")


def _array(data: Any, dtype: np.dtype, shape: Any, fortran: bool) -> np.ndarray:
    if isinstance(shape, int):
        shape = (shape,)
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise _RefusedError(f"an array of shape {shape!r}")
    raw = _bytes_of(data)
    wanted = dtype.itemsize
    for n in shape:
        wanted *= n
    if len(raw) != wanted:
        raise _RefusedError(f"an array of shape {shape} that needs {wanted} bytes and has {len(raw)}")
    return np.ndarray(shape, dtype, buffer=bytearray(raw), order="F" if fortran else "C")


class _Array:
    """An array under construction; replaced by the real one once the whole file is read."""

    __slots__ = ("value",)
    __hash__ = None  # type: ignore[assignment]  # an array is no dictionary key

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise _RefusedError("an array with an unknown state")
        shape, dtype, fortran, data = state[-4:]  # a leading version number is optional
        self.value = _array(data, _dtype_of(dtype), shape, bool(fortran))


class _NdArray:
    """Stand-in for the class numpy.ndarray, which pickles pass to ``_reconstruct``."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError("an attempt to change a class")


def _reconstruct(cls: Any, shape: Any, kind: Any) -> _Array:
    if not isinstance(cls, _NdArray):
        raise _RefusedError("an array of a class other than numpy.ndarray")
    return _Array()


def _scalar(dtype: Any, data: Any) -> np.generic:
    return _array(data, _dtype_of(dtype), (), False)[()]


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> np.ndarray:
    if order not in ("C", "F") or axis_order is not None:
        raise _RefusedError(f"an array in memory order {order!r}")
    return _array(data, _dtype_of(dtype), shape, order == "F")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _RefusedError("_codecs.encode with anything but latin-1 text")
    return text.encode("latin-1")


def _container(kind: type) -> Callable[..., Any]:
    def build(*args: Any) -> Any:
        if len(args) > 1 or (args and not isinstance(args[0], (list, tuple, bytes, str))):
            raise _RefusedError(f"a {kind.__name__} made of {args!r:.40}")
        if args and kind in (bytes, bytearray):
            return kind(_bytes_of(args[0] if isinstance(args[0], (bytes, str)) else bytes(args[0])))
        return kind(*args)

    return build


def _admitted() -> dict[tuple[str, str], Any]:
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): _NdArray(),
        ("numpy", "dtype"): _Name(_DType),
        ("_codecs", "encode"): _Name(_encode),
    }
    for package in ("numpy.core", "numpy._core"):
        names[package + ".multiarray", "_reconstruct"] = _Name(_reconstruct)
        names[package + ".multiarray", "scalar"] = _Name(_scalar)
        names[package + ".numeric", "_frombuffer"] = _Name(_frombuffer)
    for module in ("builtins", "__builtin__"):
        for kind in (set, frozenset, bytes, bytearray, list, dict, tuple):
            names[module, kind.__name__] = _Name(_container(kind))
        names[module, "complex"] = _Name(lambda *parts: complex(*(float(part) for part in parts)))
    return names


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: Any) -> None:
        super().__init__(stream, fix_imports=False, encoding="latin1")
        self._names = _admitted()

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._names[module, name]
        except KeyError:
            raise _RefusedError(f"the global {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("a persistent id")


def _require_small_memo(stream: Any) -> None:
    """Refuses memo numbers that no file needs: the memo is a table as long as its largest number."""
    opcodes = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
    for count in itertools.count():
        opcode = opcodes.get(stream.read(1))
        if opcode is None or opcode.name == "STOP":  # an unknown opcode is the unpickler's to report
            break
        if opcode.name == "STRING":
            stream.readline()  # pickletools takes these for ASCII; Python 2 wrote arrays into them
        elif opcode.arg is not None:
            argument = opcode.arg.reader(stream)
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count + 1:
                raise _RefusedError(f"the memo number {argument}")
    stream.seek(0)


def _finish(value: Any, done: dict[int, Any]) -> Any:
    """Replaces the arrays under construction, in place in lists and dictionaries."""
    if isinstance(value, _Array):
        if value.value is None:
            raise _RefusedError("an array without data")
        return value.value
    if isinstance(value, _DType):
        return value.value
    if isinstance(value, (_Name, _NdArray)):
        raise _RefusedError("a function or class as a value")
    if isinstance(value, (list, dict)):
        if id(value) not in done:
            done[id(value)] = value
            for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
                value[key] = _finish(item, done)
                if isinstance(value, dict):
                    _finish(key, done)
        return value
    if isinstance(value, tuple):
        return tuple(_finish(item, done) for item in value)
    if isinstance(value, (set, frozenset)):
        for item in value:
            _finish(item, done)
    return value


def load_pickle(path: str | os.PathLike[str]) -> Any:
    """Reads a pickle that holds NumPy arrays, numbers, strings and plain containers, and nothing else.

    Nothing that the file names is imported or called, so a file from an unknown source is safe to read.
    Pickles of Python 2 are read with latin-1 strings; those of NumPy 1 and 2 alike. Arrays of objects and
    structured arrays are refused.

    Args:
        path: the file.

    Returns:
        What was pickled. Arrays are writable and own their memory.

    Raises:
        UnpickleError: the file is damaged, or refers to a name that is not admitted; the message names both.
        OSError: the file cannot be opened.

    Example:
        >>> import pickle, tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "whitening.pkl"
        >>> _ = path.write_bytes(pickle.dumps({"mean": np.zeros(62, np.float32)}))
        >>> load_pickle(path)["mean"].shape
        (62,)
    """
    path = Path(path)
    with path.open("rb") as stream:
        try:
            _require_small_memo(stream)
            return _finish(_Unpickler(stream).load(), {})
        except _RefusedError as refused:
            raise UnpickleError(
                f"{path}: refused {refused}. Only NumPy arrays and plain containers are read from pickles; "
                "convert the file in an environment that you trust."
            ) from None
        except Exception as error:  # a damaged stream can fail in any opcode, with any exception
            raise UnpickleError(f"{path}: not a readable pickle ({type(error).__name__}: {error})") from error
