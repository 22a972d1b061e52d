"""Loads the torch ops."""

from pathlib import Path

import torch

_LIBRARY = Path(__file__).parent.parent / "_ops.so"


def _load() -> None:
    if not _LIBRARY.is_file():
        raise ImportError(
            f"frnet: {_LIBRARY} is missing. The ops are compiled when frnet is installed: run "
            "'pip install .' (or 'pip install -e .') in the source tree, and import frnet from there."
        )
    torch.ops.load_library(_LIBRARY)


_load()
