"""MATLAB files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["load_mat"]


def load_mat(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The variables of a MATLAB file up to version 7.2.

    Raises:
        OSError: the file is missing.
        ValueError: a damaged file, or one of version 7.3; names it.
    """
    import scipy.io

    path = Path(path)
    with path.open("rb"):
        pass
    try:
        return scipy.io.loadmat(path)
    except NotImplementedError:
        raise ValueError(f"{path}: a MATLAB 7.3 (HDF5) file; save it again with -v7") from None
    except OSError:
        raise
    except Exception as error:  # scipy raises whatever the damage leads to
        raise ValueError(f"{path}: not a readable MATLAB file ({type(error).__name__}: {error})") from error
