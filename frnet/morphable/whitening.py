"""Whitening of the parameter vector: ``z = (p - mean) / std``, one mean and one std per entry.

A network predicts ``z``. Two whitenings of the 62-vector are in circulation, with different numbers, and a
checkpoint works with the one it was trained on alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from frnet.geometry import resize_params
from frnet.io.unpickle import UnpickleError, load_pickle

__all__ = [
    "WHITENING_FILES",
    "Whitening",
    "describe_whitening",
    "identify_whitening",
    "load_whitening",
    "published_whitening",
    "resize_whitening",
]

WHITENING_FILES = {"3ddfa-v1": "param_whitening.pkl", "3ddfa-v2": "param_mean_std_62d_120x120.pkl"}
"""The files in which the two whitenings are published."""

_TRANSLATION = (3, 7, 11)
# Mean and std of the translation (crop pixels) tell the two apart; they differ by pixels, not by rounding.
_FINGERPRINTS = {
    "3ddfa-v1": ((60.681393, 69.360855, -76.648643), (19.854187, 14.679167, 18.297916)),
    "3ddfa-v2": ((60.167957, 74.278198, -66.671577), (26.550232, 6.982563, 20.803040)),
}
_KEYS = (("param_mean", "param_std"), ("mean", "std"))
_FOLDERS = ("configs", "train.configs")  # where 3DDFA_V2 and 3DDFA have them


class Whitening(NamedTuple):
    """Mean and standard deviation of every parameter, float64 [12 + S + E]."""

    mean: np.ndarray
    std: np.ndarray


def identify_whitening(mean: Any, std: Any) -> Literal["3ddfa-v1", "3ddfa-v2"] | None:
    """Which of the two published whitenings these numbers are, or None.

    Decided by the translation entries (3, 7, 11), to 1e-4 relative, so a truncated whitening and one read
    from text are recognised too. Sources: 3DDFA ``param_whitening.pkl``, 3DDFA_V2
    ``param_mean_std_62d_120x120.pkl``.

    Args:
        mean: array or tensor [12 + S + E].
        std: array or tensor [12 + S + E].

    Returns:
        ``"3ddfa-v1"``, ``"3ddfa-v2"`` or None.

    Example:
        >>> mean, std = np.zeros(62), np.ones(62)
        >>> identify_whitening(mean, std) is None
        True
        >>> mean[[3, 7, 11]] = 60.681393, 69.360855, -76.648643
        >>> std[[3, 7, 11]] = 19.854187, 14.679167, 18.297916
        >>> identify_whitening(mean, std)
        '3ddfa-v1'
    """
    mean, std = _vector(mean), _vector(std)
    if mean.size < 12 or std.size != mean.size:
        return None
    index = list(_TRANSLATION)
    for name, (known_mean, known_std) in _FINGERPRINTS.items():
        if np.allclose(mean[index], known_mean, rtol=1e-4) and np.allclose(std[index], known_std, rtol=1e-4):
            return name  # type: ignore[return-value]
    return None


def load_whitening(source: str | os.PathLike[str] | tuple[Any, Any]) -> Whitening:
    """Reads a whitening in any of the published forms.

    Args:
        source: a pickle of a dictionary with ``param_mean`` and ``param_std`` (3DDFA) or ``mean`` and ``std``
            (3DDFA_V2); or a pair (mean, std), each an array, a tensor or the path of a text file with one
            number per line.

    Returns:
        Whitening of two float64 vectors of one length.

    Raises:
        ValueError: lengths that differ, NaN, a std that is not positive, or missing keys; names the file.
        OSError: a file cannot be opened.

    Example:
        >>> load_whitening((np.zeros(62), np.ones(62))).std.shape
        (62,)
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        stored = load_pickle(path)
        if not isinstance(stored, dict):
            raise UnpickleError(f"{path}: expected a dictionary with mean and std, got {type(stored).__name__}")
        for mean_key, std_key in _KEYS:
            if mean_key in stored and std_key in stored:
                return _checked(stored[mean_key], stored[std_key], str(path))
        raise ValueError(
            f"{path}: a whitening has the keys param_mean and param_std, or mean and std; got {sorted(stored)}"
        )
    if not isinstance(source, (tuple, list)) or len(source) != 2:
        raise ValueError("whitening must be the path of a pickle or a pair (mean, std)")
    mean, std = (_read_text(p) if isinstance(p, (str, os.PathLike)) else p for p in source)
    return _checked(mean, std, f"whitening {describe_whitening(source)}")


def published_whitening(version: Literal["3ddfa-v1", "3ddfa-v2"], folder: Path) -> Path | None:
    """The file of a published whitening in a folder, or in ``configs`` or ``train.configs`` inside or beside it.

    Args:
        version: which of the two.
        folder: an absolute path, such as that of the weights.
    """
    places = [folder, *(base / sub for base in (folder, folder.parent) for sub in _FOLDERS)]
    files = (place / WHITENING_FILES[version] for place in places)
    return next((file for file in files if file.is_file()), None)


def resize_whitening(whitening: Whitening, factor: float) -> Whitening:
    """That of the same faces in crops whose side is another by a factor: their whitened parameters stay as they are."""
    std = whitening.std.copy()
    std[:12] *= factor
    return Whitening(resize_params(whitening.mean, factor), std)


def describe_whitening(source: Any) -> str:
    """What messages call what :func:`load_whitening` takes: its file or files, or that it is a pair."""
    parts = source if isinstance(source, (tuple, list)) else [source]
    names = [str(part) for part in parts if isinstance(part, (str, os.PathLike))]
    return ", ".join(names) or "a pair (mean, std)"


def _read_text(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        return np.loadtxt(path, dtype=np.float64, ndmin=1)
    except ValueError as error:
        raise ValueError(f"{path}: not one number per line ({error})") from None


def _vector(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu().double()
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _checked(mean: Any, std: Any, source: str) -> Whitening:
    mean, std = _vector(mean), _vector(std)
    if mean.size != std.size or mean.size < 12:
        raise ValueError(f"{source}: mean and std must have one length of at least 12, got {mean.size} and {std.size}")
    if not np.isfinite(mean).all() or not np.isfinite(std).all() or (std <= 0).any():
        raise ValueError(f"{source}: mean must be finite and std positive throughout")
    return Whitening(mean, std)
