"""The ``frnet`` command, a thin skin over :mod:`frnet.align`, ``evaluate``, ``train`` and ``models``.

One file per command. They import what they need when they run, so that ``frnet --help`` waits for no torch.
"""

from __future__ import annotations

import sys

import typer

from frnet.cli import align, convert, evaluate, summary, train
from frnet.cli.console import attempt

__all__ = ["app", "main"]

app = typer.Typer(help="3D face alignment.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for run in (align.align, evaluate.evaluate, train.train, convert.convert, summary.summary):
    app.command()(run)


def main() -> None:
    """Entry point: an error that a user can make ends in one line and exit status 1, without a traceback."""
    _quiet_opencv()
    if not attempt(app):
        sys.exit(1)


def _quiet_opencv() -> None:
    """Errors only: OpenCV's warnings would come between the lines of the report."""
    import cv2

    error_level = 2
    if hasattr(cv2, "setLogLevel"):  # OpenCV 4.10 has it here, 4.14 and 5 only below
        cv2.setLogLevel(error_level)
    else:
        cv2.utils.logging.setLogLevel(error_level)
