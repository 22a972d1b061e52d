"""What the commands say and how: standard output and error, errors of a user, tables."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import typer
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Column, Table

__all__ = ["attempt", "complain", "err", "note", "out", "print_whole", "require", "right", "say"]

# File names are no place for emoji codes.
out, err = Console(emoji=False), Console(stderr=True, emoji=False)


def say(text: object) -> None:
    """A line of results to standard output, as it is."""
    out.print(str(text), markup=False, highlight=False, soft_wrap=True)


def note(text: object) -> None:
    """A line about the run to standard error, as it is."""
    err.print(str(text), markup=False, highlight=False, soft_wrap=True)


def complain(problem: object) -> None:
    """One error, as a line of standard error."""
    err.print(f"[red]error:[/red] {escape(str(problem))}", highlight=False, soft_wrap=True)


def attempt(action: Callable[[], None]) -> bool:
    """False, and the error said, if ``action`` fails in a way that a user can bring about."""
    try:
        action()
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        complain(error)
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
