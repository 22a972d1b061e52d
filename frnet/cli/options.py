"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Device", "Landmarks", "WhiteningFile", "file_option"]


def file_option(help_text: str, *names: str):
    """An option that names a file, which must exist."""
    return typer.Option(*names, exists=True, dir_okay=False, help=help_text)


Landmarks = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Folder of the landmark basis, for a grid .npz."),
]
WhiteningFile = Annotated[Path | None, file_option("Whitening .pkl; by default the one that comes with the weights.")]
Device = Annotated[str, typer.Option(help="Where the network runs, such as cpu or cuda.")]
