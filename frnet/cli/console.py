"""What the commands say and how: standard output and error, errors of a user, tables."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable

import typer
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Column, Table

__all__ = ["attempt", "complain", "err", "in_options", "note", "out", "print_whole", "require", "right", "say"]

# File names are no place for emoji codes.
out, err = Console(emoji=False), Console(stderr=True, emoji=False)


# Arguments of the library, by which its messages call what is an option here.
_OPTIONS = {
    "detector": "--detector",
    "device": "--device",
    "morphable": "--model",
    "score_threshold": "--min-score",
    "weights": "--weights",
    "whitening": "--whitening",
}


def say(text: object) -> None:
    """A line of results to standard output, as it is."""
    out.print(str(text), markup=False, highlight=False, soft_wrap=True)


def note(text: object) -> None:
    """A line about the run to standard error, as it is."""
    err.print(str(text), markup=False, highlight=False, soft_wrap=True)


def complain(problem: object) -> None:
    """One error, as a line of standard error."""
    err.print(f"[red]error:[/red] {escape(str(problem))}", highlight=False, soft_wrap=True)


def in_options(message: str) -> str:
    """A message of the library in the words of the command line: options, where Python has arguments.

    Example:
        >>> in_options("FaceAligner: no whitening for mb05.pth; pass whitening=")
        'no whitening for mb05.pth; pass --whitening'
        >>> in_options("YuNetDetector: thresholds must lie in (0, 1), got score_threshold=2, nms_threshold=0.3")
        'thresholds must lie in (0, 1), got --min-score 2, nms_threshold=0.3'
    """
    message = re.sub(r"^(?:[A-Z][a-z]+[A-Z]\w*|[a-z]+(?:_[a-z0-9]+)+): ", "", message)  # of a class or a function
    return re.sub(
        rf"(?<![^\s(])({'|'.join(_OPTIONS)})=(?=(\w)?)", lambda m: _OPTIONS[m[1]] + (" " if m[2] else ""), message
    )


def attempt(action: Callable[[], None]) -> bool:
    """False, and the error said, if ``action`` fails in a way that a user can bring about."""
    try:
        action()
    except (OSError, ValueError, RuntimeError, MemoryError, ImportError) as error:
        complain(in_options(str(error)))
        return False
    return True


def require(module: str, what: str, extra: str) -> None:
    """Ends the command where a package that an extra of frnet brings is missing.

    Args:
        module: to import.
        what: needs it.
        extra: of frnet, with which pip installs it.

    Raises:
        typer.Exit: it is missing.
    """
    if importlib.util.find_spec(module) is None:
        complain(f"{what} needs {module}: pip install 'frnet[{extra}]'")
        raise typer.Exit(1)


def print_whole(table: Table) -> None:
    """Also where it is wider than the terminal: a figure cut short is none."""
    width = Measurement.get(out, out.options.update(max_width=1000), table).maximum
    Console(width=max(width, out.width), emoji=False).print(table)


def right(*headers: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(header, justify="right") for header in headers]
