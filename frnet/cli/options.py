"""Options that several commands have, and what is checked before anything large is loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Device",
    "Landmarks",
    "WhiteningFile",
    "check_writable",
    "detector_source",
    "file_option",
    "model_source",
    "named_option",
    "weights_source",
]

_BUILTIN = "builtin"  # what stands for the part that comes with frnet


def file_option(help_text: str, *names: str, envvar: str | None = None):
    """An option that names a file, which must exist."""
    return typer.Option(*names, exists=True, dir_okay=False, envvar=envvar, help=help_text)


def named_option(parse: Callable[[str], Any], metavar: str, help_text: str, *names: str, **settings: Any):
    """An option that names a file, or something that comes with frnet.

    Args:
        parse: what makes the value of the text, such as :func:`weights_source`.
        metavar: what stands for the value in the help.
        help_text: what the help says.
        names: of the option.
        settings: as ``typer.Option`` takes them.
    """
    return typer.Option(*names, parser=parse, metavar=metavar, help=help_text, **settings)


def weights_source(text: str) -> str:
    """A checkpoint file, or a name of :func:`frnet.weights.builtin_weights`."""
    if not Path(text).is_file():
        from frnet.weights import builtin_weights

        if text not in builtin_weights():
            names = ", ".join(builtin_weights())
            raise typer.BadParameter(f"there is no file {text}, and the weights that come with frnet are {names}")
    return text


def model_source(text: str) -> str:
    """A file or folder of a morphable model, or ``builtin``."""
    if text != _BUILTIN and not Path(text).exists():
        raise typer.BadParameter(f"there is no file or folder {text}; the face that comes with frnet is {_BUILTIN}")
    return text


def detector_source(text: str) -> str:
    """A file of a detector, or ``builtin``."""
    if text != _BUILTIN and not Path(text).is_file():
        raise typer.BadParameter(f"there is no file {text}; the detector that comes with frnet is {_BUILTIN}")
    return text


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
