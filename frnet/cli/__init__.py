"""The ``frnet`` command, a thin skin over :mod:`frnet.align`, ``evaluate``, ``train``, ``export`` and ``models``.

One file per command. They import what they need when they run, so that ``frnet --help`` waits for no torch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

import frnet
from frnet.cli import align, convert, evaluate, export, summary, train
from frnet.cli.console import attempt, say

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Commands, of which ``align`` may be left out: ``frnet photo.jpg``."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and _is_for_align(args[0]):
            args = ["align", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for run in (align.align, evaluate.evaluate, train.train, convert.convert, export.export, summary.summary):
    app.command()(run)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"frnet {frnet.__version__}")
        raise typer.Exit


@app.callback()
def _frnet(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """3D face alignment."""


def main() -> None:
    """Entry point: an error that a user can make ends in one line and exit status 1, without a traceback."""
    # Read when torch is loaded: its threads sleep while they wait, and leave the machine to others.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _quiet_opencv()
    if not attempt(app):
        sys.exit(1)


def _is_for_align(first: str) -> bool:
    """Whether the first word is an input or an option of ``align``, and no misspelt command."""
    if first.startswith("-"):
        return first not in ("--help", "--version")
    return first.isdigit() or any(sign in first for sign in "./\\") or Path(first).exists()


def _quiet_opencv() -> None:
    """No remarks of OpenCV's own between the lines of the report: what fails comes as an error of ours."""
    import cv2

    fatal = 1
    if hasattr(cv2, "setLogLevel"):  # OpenCV 4.10 has it here, 4.14 and 5 only below
        cv2.setLogLevel(fatal)
    else:
        cv2.utils.logging.setLogLevel(fatal)
