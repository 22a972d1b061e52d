"""Loads the torch ops."""

from pathlib import Path

import torch

from frnet.env import not_built

_LIBRARY = Path(__file__).parent.parent / "_ops.so"


def _load() -> None:
    if not _LIBRARY.is_file():
        raise ImportError(not_built(_LIBRARY.parent))
    try:
        torch.ops.load_library(_LIBRARY)
    except OSError as error:
        raise ImportError(
            f"frnet: {_LIBRARY} does not load into torch {torch.__version__} ({error}): it was built for another; "
            "build it again in this environment, with torch 2.10 or newer"
        ) from error


_load()
