"""Options that several commands have, and what is checked before anything large is loaded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Device", "Landmarks", "WhiteningFile", "check_writable", "file_option"]


def file_option(help_text: str, *names: str, envvar: str | None = None):
    """An option that names a file, which must exist."""
    return typer.Option(*names, exists=True, dir_okay=False, envvar=envvar, help=help_text)


Landmarks = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Folder of the landmark basis, for a grid .npz."),
]
WhiteningFile = Annotated[Path | None, file_option("Whitening .pkl; by default the one that comes with the weights.")]
Device = Annotated[str, typer.Option(help="Where the network runs, such as cpu or cuda.")]


def check_writable(folder: Path, name: str, *, create: bool = False) -> None:
    """Make sure that files can be written into a folder.

    Args:
        folder: where results are to go.
        name: of the option or argument, for the message.
        create: whether to make the folder.

    Raises:
        typer.BadParameter: they cannot.
    """
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise typer.BadParameter(
            f"{name}: nothing can be written to {folder} ({reason}); name another folder"
        ) from None
